import { portFault, whyNotFree } from '../edge/port-use.js'
import type { PortUse } from '../edge/port-use.js'
import type { ProcessPlan } from '../gateway/process-plan.js'

/** All ports of the processes, the shared one first. */
export function portsOf(plans: readonly ProcessPlan[]): readonly PortUse[] {
  const several = plans.length > 1
  return plans.flatMap(({ index, config: { host, port, opsHost, opsPort }, ownPort }) => [
    ...(index === 0 ? [{ setting: 'PORT', host, port }] : []),
    ...(several ? [{ setting: `PORT + ${index + 1}`, host, port: ownPort }] : []),
    { setting: index === 0 ? 'OPS_PORT' : `OPS_PORT + ${index}`, host: opsHost, port: opsPort },
  ])
}

/**
 * Looks at all ports of several processes before the first is started. The shared one is opened so that others may share it,
 * and another gateway there would get half of the calls in silence.
 * @throws GatewayError PORT_IN_USE or CONFIG_INVALID
 */
export async function freePorts(plans: readonly ProcessPlan[]): Promise<void> {
  for (const use of portsOf(plans)) {
    const why = await whyNotFree(use)
    if (why !== null) throw portFault(use, why)
  }
}
