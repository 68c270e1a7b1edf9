import type { FleetStatus } from '../fleet/fleet-status.js'
import { opsClientOf, refusalOf } from './ops-client.js'
import type { OpsOptions } from './ops-client.js'
import { json, table } from './terminal.js'
import type { Terminal } from './terminal.js'

export type NodeCommand = 'drain' | 'cordon' | 'uncordon'

/** `mkondo fleet`. */
export async function fleet(options: OpsOptions, terminal: Terminal): Promise<number> {
  const { status, body } = await opsClientOf(options, terminal).get('/api/fleet')
  if (status !== 200) throw refusalOf(body, status)
  terminal.out(options.json === true ? json(body) : fleetText(body as unknown as FleetStatus))
  return 0
}

function fleetText({ nodes, store, alerts }: FleetStatus): string {
  const nodeTable = table(
    ['NODE', 'STATE', 'LIVE', 'FREE', 'CAPACITY', 'VERSION', 'STARTED', 'CLOCK', 'OPS', 'WHY'],
    nodes.map((node) => [
      node.self ? `${node.name} *` : node.name,
      node.state,
      String(node.live),
      String(node.free),
      String(node.capacity),
      node.version,
      node.startedAt,
      node.clockDifferenceMs === null ? '-' : `${(node.clockDifferenceMs / 1000).toFixed(1)} s`,
      node.opsUrl ?? '-',
      node.reason ?? '',
    ]),
    'no nodes',
  )
  const where = store.url === null ? store.home : `${store.home} ${store.url}`
  const standing = alerts.map((what) => `alert: ${what}\n`)
  return `${nodeTable}\nstore: ${where}, ${store.up ? 'up' : 'DOWN'}\n${standing.join('')}`
}

/** `mkondo drain`, `cordon` and `uncordon`. @param node  null: the one that is asked */
export async function nodeCommand(
  command: NodeCommand,
  node: string | null,
  options: OpsOptions,
  terminal: Terminal,
): Promise<number> {
  const { status, body } = await opsClientOf(options, terminal).post(`/api/${command}`, node === null ? {} : { node })
  if (status !== 200 && status !== 202) throw refusalOf(body, status)
  const live = typeof body['live'] === 'number' ? body['live'] : 0
  terminal.out(options.json === true ? json(body) : `${node ?? 'the node'} ${DONE[command]}; ${live} live calls\n`)
  return 0
}

const DONE: Readonly<Record<NodeCommand, string>> = {
  drain: 'drains',
  cordon: 'is cordoned',
  uncordon: 'accepts calls again',
}
