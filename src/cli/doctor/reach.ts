import { randomBytes } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'node:tls'
import type { PeerCertificate } from 'node:tls'
import { WebSocket } from 'ws'
import { mayConnect } from '../../http/address-guard.js'
import { messageOf } from '../../core/errors.js'
import { bad, good, lookAt, type Finding } from '../terminal.js'
import { NONCE } from './probe-server.js'
import { DAY_MS } from '../../core/units.js'
import type { ProbeServer } from './probe-server.js'

const TIMEOUT_MS = 10_000
/**
 * Number of remaining days of a certificate below which there is a warning. Certificates are usually renewed a month
 * before their end.
 */
const DAYS_LEFT_MIN = 14
/**
 * BALANCER_MS: time in ms for a load balancer to detect that this port listens again. RETRY_MS: time in ms between two
 * tries.
 */
const BALANCER_MS = 15_000
const RETRY_MS = 500
const SUBPROTOCOL = 'audio.drachtio.org'
/** Size in bytes of the test message. A carrier's message may be as large, and a proxy must not cut it. */
const ECHO_BYTES = 64_000

/**
 * Tests PUBLIC_URL from this machine like the carrier uses it: its name, its certificate, a webhook and an audio
 * socket. The webhook and the socket must come to this process. Stops at the first fault, because the later steps would
 * then fail too.
 */
export async function reachFindings(publicUrl: string, server: ProbeServer): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  const url = new URL(publicUrl)
  const steps = [
    () => dnsFinding(url),
    ...(url.protocol === 'https:' ? [() => tlsFinding(url)] : [() => Promise.resolve(NO_TLS)]),
    () => webhookFinding(server),
    () => socketFinding(server),
  ]
  for (const step of steps) {
    const finding = await step()
    findings.push(finding)
    if (finding.ok === false) break
  }
  return findings
}

const NO_TLS = lookAt('TLS: PUBLIC_URL is http, so calls are not encrypted; the carrier may refuse it')

async function dnsFinding({ hostname }: URL): Promise<Finding> {
  const host = hostname.replace(/^\[|\]$/g, '')
  try {
    const addresses = isIP(host) === 0 ? (await lookup(host, { all: true })).map(({ address }) => address) : [host]
    const shown = addresses.join(', ')
    return addresses.some((address) => mayConnect(address, 'public'))
      ? good(`DNS: ${host} is ${shown}`)
      : lookAt(`DNS: ${host} is ${shown}, which is not a public address: the carrier cannot reach it`)
  } catch (thrown) {
    return {
      ok: false,
      what: `DNS: ${host} has no address (${codeOf(thrown)}); set its A or AAAA record, or PUBLIC_URL`,
    }
  }
}

/** Explanations of certificate errors for the person who corrects them. */
const TLS_FAULTS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'the certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'the certificate is for another name',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the certificate is self-signed; use one of a public authority',
  SELF_SIGNED_CERT_IN_CHAIN: 'the certificate was issued by an authority that is not public',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the intermediate certificate is missing; configure the full chain',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the intermediate certificate is missing, or its authority is not public',
  ECONNREFUSED: 'nothing listens there',
}

function tlsFinding({ hostname, port }: URL): Promise<Finding> {
  const host = hostname.replace(/^\[|\]$/g, '')
  return new Promise((resolve) => {
    const socket = connect({
      host,
      port: port === '' ? 443 : Number(port),
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ALPNProtocols: ['http/1.1'],
      timeout: TIMEOUT_MS,
    })
    const end = (finding: Finding): void => {
      socket.destroy()
      resolve(finding)
    }
    socket.once('secureConnect', () => {
      end(certificateFinding(socket.getPeerCertificate(), socket.getProtocol() ?? 'TLS', Date.now()))
    })
    socket.once('timeout', () => {
      end(bad(`TLS: ${host} does not answer within ${TIMEOUT_MS / 1000} s`))
    })
    socket.once('error', (thrown) => {
      const code = codeOf(thrown)
      end(bad(`TLS: ${TLS_FAULTS[code] ?? messageOf(thrown)} (${code})`))
    })
  })
}

/** Finding about a valid certificate. */
export function certificateFinding(
  { valid_to: validTo, issuer }: Pick<PeerCertificate, 'valid_to' | 'issuer'>,
  protocol: string,
  nowMs: number,
): Finding {
  const days = Math.floor((Date.parse(validTo) - nowMs) / DAY_MS)
  const by = [issuer.O, issuer.CN].flat().find((name) => typeof name === 'string') ?? 'an unnamed authority'
  const what = `TLS: ${protocol}, certificate of ${by}, ${days} days left`
  return days < DAYS_LEFT_MIN ? lookAt(`${what}: renew it`) : good(what)
}

/** Sends a webhook through the public address. Its answer proves that the webhook came to this process. */
async function webhookFinding(server: ProbeServer): Promise<Finding> {
  const untilMs = performance.now() + BALANCER_MS
  for (;;) {
    const { finding, mayChange } = await tryWebhook(server)
    if (finding.ok === true || !mayChange || performance.now() > untilMs) return finding
    await sleep(RETRY_MS)
  }
}

/**
 * @returns the finding; `mayChange` is true if a load balancer may not have detected yet that this port listens again
 */
async function tryWebhook(server: ProbeServer): Promise<{ readonly finding: Finding; readonly mayChange: boolean }> {
  const nonce = randomBytes(16).toString('hex')
  const startedMs = performance.now()
  const lead = `route it to port ${server.port} (PORT) of this machine`
  try {
    const response = await fetch(server.voiceUrl, {
      method: 'POST',
      headers: { [NONCE]: nonce, 'content-type': 'application/x-www-form-urlencoded' },
      body: 'doctor=1',
      redirect: 'manual',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    const { status } = response
    const text = (await response.text()).slice(0, 200)
    const ms = Math.round(performance.now() - startedMs)
    if (text === server.proofOf(nonce))
      return { finding: good(`webhooks: PUBLIC_URL leads to this process (${ms} ms)`), mayChange: false }
    const said =
      status >= 300 && status < 400
        ? `a redirect (${status}), which the carrier does not follow`
        : `another server answers (${status})`
    const what = `webhooks: PUBLIC_URL does not lead to this process: ${said}; ${lead}`
    return { finding: bad(what), mayChange: status >= 502 && status <= 504 }
  } catch (thrown) {
    const what = `webhooks: PUBLIC_URL cannot be reached from here (${causeOf(thrown)}); ${lead}, or skip this check with --no-reach if this machine cannot reach its own public address`
    return { finding: bad(what), mayChange: false }
  }
}

/**
 * Opens an audio socket through the public address. Sends one frame of the size that a carrier's frame can have after a
 * pause.
 */
function socketFinding(server: ProbeServer): Promise<Finding> {
  return new Promise((resolve) => {
    const socket = new WebSocket(server.echoUrl(), [SUBPROTOCOL], {
      perMessageDeflate: false,
      handshakeTimeout: TIMEOUT_MS,
    })
    const timer = setTimeout(() => {
      end(bad(`audio: the socket opens, but nothing comes back within ${TIMEOUT_MS / 1000} s`))
    }, 2 * TIMEOUT_MS)
    const end = (finding: Finding): void => {
      clearTimeout(timer)
      socket.on('error', () => undefined)
      socket.terminate()
      resolve(finding)
    }
    let sentMs = 0
    socket.once('open', () => {
      sentMs = performance.now()
      socket.send(Buffer.alloc(ECHO_BYTES, 1))
    })
    socket.once('message', (data: Buffer) => {
      const ms = Math.round(performance.now() - sentMs)
      end(
        data.length === ECHO_BYTES
          ? good(`audio: the socket opens through PUBLIC_URL (${ms} ms round trip)`)
          : bad(`audio: ${data.length} of ${ECHO_BYTES} bytes in one frame came back`),
      )
    })
    socket.once('error', (thrown) => {
      end({
        ok: false,
        what: `audio: the socket cannot be opened through PUBLIC_URL (${thrown.message}); the proxy must forward WebSocket upgrades and the header Sec-WebSocket-Protocol of /audio`,
      })
    })
  })
}

function codeOf(thrown: unknown): string {
  const code = thrown instanceof Error ? (thrown as NodeJS.ErrnoException).code : undefined
  return code ?? messageOf(thrown)
}

function causeOf(thrown: unknown): string {
  return thrown instanceof Error && thrown.cause !== undefined ? codeOf(thrown.cause) : codeOf(thrown)
}
