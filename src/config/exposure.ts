import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { Config } from './settings.js'

/** Result of a check of the settings: the ways in which they expose the gateway to strangers. */
interface Exposure {
  /** One line for each exposure, with the setting, its value and the allowed values. Secrets are not shown. */
  readonly open: readonly string[]
  /** True if the gateway must not start: a port is exposed, and INSECURE does not allow this. */
  readonly refused: boolean
}

type ExposureSettings = Pick<
  Config,
  | 'host'
  | 'publicUrl'
  | 'webhookSecrets'
  | 'opsHost'
  | 'opsToken'
  | 'opsReadToken'
  | 'opsListenToken'
  | 'internalHost'
  | 'tokenSecrets'
  | 'insecure'
>

/**
 * True if a port at this address can be reached only from this machine. The answer is false for every name except
 * `localhost`, because the name's addresses are unknown. IPv4 addresses written as IPv6 count as IPv4.
 */
export function isLoopback(host: string): boolean {
  return isIP(host) === 0 ? /^(?:.+\.)?localhost$/i.test(host) : ipaddr.process(host).range() === 'loopback'
}

/** True if a listener at this address accepts connections to every address of the machine. */
export function isWildcard(host: string): boolean {
  return isIP(host) !== 0 && ipaddr.process(host).range() === 'unspecified'
}

/**
 * Checks whether strangers could place calls or use the ops port. The commands `serve` and `check` use this function.
 */
export function exposureOf(config: ExposureSettings): Exposure {
  const {
    host,
    publicUrl,
    webhookSecrets,
    opsHost,
    opsToken,
    opsReadToken,
    opsListenToken,
    internalHost,
    tokenSecrets,
    insecure,
  } = config
  const open: string[] = []
  if (webhookSecrets.length === 0) {
    const why = 'without SAUTIKIT_WEBHOOK_SECRETS: anybody could send webhooks; allowed: '
    if (publicUrl !== null)
      open.push(`PUBLIC_URL is '${publicUrl}' ${why}with the secrets that sign the carrier's webhooks`)
    else if (!isLoopback(host))
      open.push(`HOST is '${host}' ${why}a loopback address, or the secrets that sign the carrier's webhooks`)
  }
  if (opsToken === null && !isLoopback(opsHost)) {
    open.push(
      `OPS_HOST is '${opsHost}' without OPS_TOKEN: anybody could end calls and read transcripts; allowed: a loopback address, or an OPS_TOKEN`,
    )
  }
  if (opsListenToken !== null && opsToken === null) {
    open.push('OPS_LISTEN_TOKEN is set without OPS_TOKEN: the ops port would require no token; allowed: both')
  }
  if (opsListenToken !== null && (opsListenToken === opsToken || opsListenToken === opsReadToken)) {
    open.push(
      'OPS_LISTEN_TOKEN is the same as another token: whoever has that could listen to calls; allowed: three different tokens',
    )
  }
  if (opsReadToken !== null && opsToken === null) {
    open.push('OPS_READ_TOKEN is set without OPS_TOKEN: the ops port would require no token; allowed: both')
  }
  if (opsReadToken !== null && opsReadToken === opsToken) {
    open.push(
      'OPS_READ_TOKEN is the same as OPS_TOKEN: whoever reads metrics could end calls; allowed: two different tokens',
    )
  }
  if (tokenSecrets.length === 0 && !isLoopback(internalHost)) {
    open.push(
      `INTERNAL_HOST is '${internalHost}' without TOKEN_SECRET: no node could verify another one; allowed: a loopback address, or a TOKEN_SECRET that all nodes have`,
    )
  }
  return { open, refused: open.length > 0 && !insecure }
}
