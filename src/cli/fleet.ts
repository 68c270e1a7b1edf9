import { loadConfig } from '../config/load-config.js'
import type { FleetStatus } from '../fleet/fleet-status.js'
import { HELP_OPTION, PROCESS_TERMINAL, exactly, json, table, wordsAndOptions, wrongUse } from './command-line.js'
import type { Terminal } from './command-line.js'
import { OpsClient, opsUrlOf, refusalOf } from './ops-client.js'

const OPTIONS = `  --json         JSON instead of text
  --ops-url URL  ops port of any node (http://127.0.0.1:9464; token in OPS_TOKEN)
  --config FILE  settings file (default mkondo.yaml, if it is there)

  Exit code: 0 done, 1 refused, or a node does not answer, 2 wrong usage.
`

const FLEET_HELP = `mkondo fleet: the nodes of a fleet, and the store that they share

${OPTIONS}`

type NodeCommand = 'drain' | 'cordon' | 'uncordon'

const NODE_HELP: Readonly<Record<NodeCommand, string>> = {
  drain: `mkondo drain [NODE]: a node takes no new calls, finishes its live ones (DRAIN_TIMEOUT) and ends`,
  cordon: `mkondo cordon [NODE]: a node takes no new calls; live ones go on, and its process stays`,
  uncordon: `mkondo uncordon [NODE]: a cordoned node takes calls again`,
}

const NODE_USE = `

  NODE           name of a node (mkondo fleet); the one behind --ops-url if it is not given
${OPTIONS}`

function given(command: string, argv: readonly string[], terminal: Terminal) {
  const { values, words } = wordsAndOptions(command, argv, {
    json: { type: 'boolean', default: false },
    'ops-url': { type: 'string' },
    config: { type: 'string' },
    help: HELP_OPTION,
  })
  if (values.help) return null
  const config = loadConfig(terminal.env, values.config ?? null)
  return { words, asJson: values.json, ops: new OpsClient(values['ops-url'] ?? opsUrlOf(config), config.opsToken) }
}

/** `mkondo fleet`. */
export async function fleet(argv: readonly string[], terminal: Terminal = PROCESS_TERMINAL): Promise<number> {
  const options = given('fleet', argv, terminal)
  if (options === null) {
    terminal.out(FLEET_HELP)
    return 0
  }
  exactly('fleet', options.words)
  const { status, body } = await options.ops.get('/api/fleet')
  if (status !== 200) throw refusalOf(body, status)
  terminal.out(options.asJson ? json(body) : fleetText(body as unknown as FleetStatus))
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

/** `mkondo drain`, `cordon` and `uncordon`. */
export async function nodeCommand(
  command: NodeCommand,
  argv: readonly string[],
  terminal: Terminal = PROCESS_TERMINAL,
): Promise<number> {
  const options = given(command, argv, terminal)
  if (options === null) {
    terminal.out(NODE_HELP[command] + NODE_USE)
    return 0
  }
  const { words, ops, asJson } = options
  if (words.length > 1) throw wrongUse(command, 'takes the name of one node')
  const [node] = words
  const { status, body } = await ops.post(`/api/${command}`, node === undefined ? {} : { node })
  if (status !== 200 && status !== 202) throw refusalOf(body, status)
  const live = typeof body['live'] === 'number' ? body['live'] : 0
  terminal.out(asJson ? json(body) : `${node ?? 'the node'} ${DONE[command]}; ${live} live calls\n`)
  return 0
}

const DONE: Readonly<Record<NodeCommand, string>> = {
  drain: 'drains',
  cordon: 'is cordoned',
  uncordon: 'takes calls again',
}
