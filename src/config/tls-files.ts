import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { GatewayError } from '../core/errors.js'
import type { EdgeTls } from '../edge/options.js'
import type { PeerTls } from '../fleet/peer-listener.js'
import { SETTINGS } from './settings.js'
import type { Config } from './settings.js'

type InternalTls = Pick<Config, 'internalTlsCert' | 'internalTlsKey' | 'internalTlsCa'>
type PublicTls = Pick<Config, 'tlsCert' | 'tlsKey'>

/**
 * Reads the certificate, key and authorities of the internal listener from their files. Returns null if none of the
 * files is set.
 * @throws GatewayError CONFIG_INVALID if only some of the three are set, a file cannot be read, or the certificate does
 * not match the key
 */
export function internalTls(config: InternalTls): PeerTls | null {
  const { internalTlsCert: cert, internalTlsKey: key, internalTlsCa: ca } = config
  if (cert === null && key === null && ca === null) return null
  if (cert === null || key === null || ca === null) {
    const missing = (['internalTlsCert', 'internalTlsKey', 'internalTlsCa'] as const).filter(
      (name) => config[name] === null,
    )
    throw invalid(
      `${missing.map((name) => SETTINGS[name].env).join(' and ')} is not set, but another of the three is; allowed: all of INTERNAL_TLS_CERT, INTERNAL_TLS_KEY and INTERNAL_TLS_CA, or none`,
    )
  }
  return {
    ...certificateAndKey({ certSetting: 'INTERNAL_TLS_CERT', cert, keySetting: 'INTERNAL_TLS_KEY', key }),
    ca: pem('INTERNAL_TLS_CA', ca, 'certificates of authorities'),
  }
}

/**
 * Reads the certificate and the key of the public port. Returns null if neither is set.
 * @throws GatewayError CONFIG_INVALID if one is missing or unreadable, or if they do not match
 */
export function publicTls({ tlsCert: cert, tlsKey: key }: PublicTls): EdgeTls | null {
  if (cert === null && key === null) return null
  if (cert === null || key === null)
    throw invalid(
      `${cert === null ? 'TLS_CERT' : 'TLS_KEY'} is not set, but ${cert === null ? 'TLS_KEY' : 'TLS_CERT'} is; allowed: both, or none if a load balancer terminates TLS`,
    )
  const check = (): void => {
    certificateAndKey({ certSetting: 'TLS_CERT', cert, keySetting: 'TLS_KEY', key })
  }
  check()
  return { certFile: cert, keyFile: key, check }
}

/** @throws GatewayError CONFIG_INVALID */
function certificateAndKey(files: {
  readonly certSetting: string
  readonly cert: string
  readonly keySetting: string
  readonly key: string
}): Pick<PeerTls, 'cert' | 'key'> {
  const { certSetting, keySetting } = files
  const cert = pem(certSetting, files.cert, 'a certificate')
  const key = pem(keySetting, files.key, 'a private key')
  try {
    createSecureContext({ cert, key })
  } catch (thrown) {
    // OpenSSL's message describes the fault of the files and does not quote the key.
    const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unknown'
    throw invalid(
      `${keySetting} is '${files.key}' with the certificate '${files.cert}' (${code}); allowed: the key of that certificate, both as PEM without a passphrase`,
    )
  }
  const { validTo } = new X509Certificate(cert)
  if (Date.parse(validTo) < Date.now())
    throw invalid(
      `${certSetting} is '${files.cert}', valid until ${validTo}; allowed: a certificate that is still valid`,
    )
  return { cert, key }
}

function pem(setting: string, path: string, what: string): string {
  try {
    const text = readFileSync(path, 'utf8')
    if (text.includes('-----BEGIN ')) return text
  } catch (thrown) {
    const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unknown'
    throw invalid(`${setting} is '${path}', which cannot be read (${code}); allowed: a file with ${what} as PEM`)
  }
  throw invalid(`${setting} is '${path}', which is not PEM; allowed: a file with ${what} as PEM`)
}

function invalid(message: string): GatewayError {
  return new GatewayError('CONFIG_INVALID', message)
}
