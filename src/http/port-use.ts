import { createServer } from 'node:net'
import { GatewayError } from '../core/errors.js'

/** A port that a gateway opens, with the name of its setting for messages. */
export interface PortUse {
  readonly setting: string
  readonly host: string
  readonly port: number
}

/**
 * Why a listener could not open there now, such as EADDRINUSE; null when it could. Detects listeners that share their
 * port, too.
 */
export function whyNotFree({ host, port }: PortUse): Promise<string | null> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code ?? error.message)
    })
    probe.listen({ host, port, exclusive: true }, () =>
      probe.close(() => {
        resolve(null)
      }),
    )
  })
}

/**
 * PORT_IN_USE or CONFIG_INVALID for a port that could not be opened.
 * @param why  of `whyNotFree`; null when the port was taken and is free again
 */
export function portFault({ setting, host, port }: PortUse, why: string | null): GatewayError {
  if (why === 'EADDRINUSE' || why === null) {
    return new GatewayError(
      'PORT_IN_USE',
      `${setting}: port ${port} on ${host} is in use by another program; choose another or stop it`,
    )
  }
  return new GatewayError('CONFIG_INVALID', `${setting}: cannot listen on ${host} port ${port} (${why})`)
}
