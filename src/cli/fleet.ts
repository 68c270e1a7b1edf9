import type { FleetStatus } from '../fleet/fleet-status.js'
import { printed } from './ops-client.js'
import type { OpsOptions } from './ops-client.js'
import { table } from './terminal.js'
import type { Terminal } from './terminal.js'

export type NodeCommand = 'drain' | 'cordon' | 'uncordon'

/** `mkondo fleet`. */
export function fleet(options: OpsOptions, terminal: Terminal): Promise<number> {
  return printed(options, terminal, '/api/fleet', fleetText)
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

/**
 * Runs `mkondo drain`, `cordon` and `uncordon`.
 * @param node  null for the node that answers the request
 */
export function nodeCommand(
  command: NodeCommand,
  node: string | null,
  options: OpsOptions,
  terminal: Terminal,
): Promise<number> {
  const text = (answer: { readonly live?: number; readonly node?: string | null }, url: string): string =>
    `${node ?? `${answer.node ?? 'the gateway'} at ${url}`} ${DONE[command]}; ${answer.live ?? 0} live calls\n`
  return printed(options, terminal, `/api/${command}`, text, node === null ? {} : { node })
}

const DONE: Readonly<Record<NodeCommand, string>> = {
  drain: 'drains',
  cordon: 'is cordoned',
  uncordon: 'accepts calls again',
}
