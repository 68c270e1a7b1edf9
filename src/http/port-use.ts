import { createServer } from 'node:net'
import { GatewayError } from '../core/errors.js'

/** A port that a gateway opens, with the name of its setting for error messages. */
export interface PortUse {
  readonly setting: string
  readonly host: string
  readonly port: number
}

/**
 * Returns the reason why a listener could not be opened now, such as EADDRINUSE; null if it could. This check also
 * finds listeners that share their port.
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
 * Returns an error PORT_IN_USE or CONFIG_INVALID for a port that could not be opened.
 * @param why  result of `whyNotFree`; null if the port was in use and is free now
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
