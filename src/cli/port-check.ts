import { createServer } from 'node:net'
import { GatewayError } from '../core/errors.js'
import type { ProcessPlan } from './process-plan.js'

/** A port that a gateway opens, and how it is called in a message. */
export interface PortUse {
  readonly setting: string
  readonly host: string
  readonly port: number
}

/** All ports of the processes, the shared one first. */
export function portsOf(plans: readonly ProcessPlan[]): readonly PortUse[] {
  const several = plans.length > 1
  return plans.flatMap(({ index, config: { host, port, opsHost, opsPort }, ownPort }) => [
    ...(index === 0 ? [{ setting: 'PORT', host, port }] : []),
    ...(several ? [{ setting: `PORT + ${index + 1}`, host, port: ownPort }] : []),
    { setting: index === 0 ? 'OPS_PORT' : `OPS_PORT + ${index}`, host: opsHost, port: opsPort },
  ])
}

/** Why nobody could listen there now, such as EADDRINUSE; null when one could. Sees listeners that share their port, too. */
export function whyNotFree({ host, port }: PortUse): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => { resolve(error.code ?? error.message) })
    server.listen({ host, port, exclusive: true }, () => server.close(() => { resolve(null) }))
  })
}

/**
 * Looks at all ports of several processes before the first is started. The shared one is opened so that others may share it,
 * and another gateway there would get half of the calls in silence.
 * @throws GatewayError PORT_IN_USE or CONFIG_INVALID
 */
export async function freePorts(plans: readonly ProcessPlan[]): Promise<void> {
  for (const use of portsOf(plans)) {
    const why = await whyNotFree(use)
    if (why === null) continue
    if (why === 'EADDRINUSE') {
      throw new GatewayError('PORT_IN_USE', `${use.setting}: port ${use.port} on ${use.host} is in use by another program; choose another or stop it`)
    }
    throw new GatewayError('CONFIG_INVALID', `${use.setting}: cannot listen on ${use.host} port ${use.port} (${why})`)
  }
}
