import { setTimeout as sleep } from 'node:timers/promises'
import type { FleetStatus } from '../fleet/fleet-status.js'
import { messageOf } from '../core/errors.js'
import { OPS_LIST_MAX } from '../core/limits.js'
import { ownSequence } from '../core/terminal-text.js'
import { CALL_COLUMNS, callCells, fleetCalls, opsClientOf } from './ops-client.js'
import type { OpsClient, OpsOptions } from './ops-client.js'
import { painted, shown, table, untilSignal } from './terminal.js'
import type { Terminal } from './terminal.js'

/** The options of `mkondo top`. */
export interface TopOptions extends OpsOptions {
  /** Time in s between two redraws. */
  readonly interval: number
}

/** State of a fleet at one time. */
export interface Look extends Pick<Awaited<ReturnType<typeof fleetCalls>>, 'live' | 'silent'> {
  readonly fleet: FleetStatus
}

const HOME_AND_CLEAR = ownSequence('\u001b[H\u001b[J')
const ENTER = ownSequence('\u001b[?1049h\u001b[?25l')
const LEAVE = ownSequence('\u001b[?25h\u001b[?1049l')
const ROWS_DEFAULT = 24

/** Runs `mkondo top`. On a terminal it redraws until it is stopped; on any other output it prints once. */
export async function top(options: TopOptions, terminal: Terminal): Promise<number> {
  const ops = opsClientOf(options, terminal)
  const first = await look(ops)
  if (options.json === true || terminal.columns() === null) {
    shown(options, terminal, first, () => topScreen(first, { rows: null, colours: false }))
    return first.silent.length > 0 ? 1 : 0
  }
  return untilSignal(terminal, async (signal) => {
    const stop = new AbortController()
    const stopped = AbortSignal.any([signal, stop.signal])
    const keys = readKeys(() => stop.abort())
    terminal.out(ENTER)
    try {
      for (let screen = draw(first, terminal); !stopped.aborted; screen = await nextScreen(ops, terminal)) {
        terminal.out(HOME_AND_CLEAR + screen)
        await sleep(options.interval * 1000, undefined, { signal: stopped }).catch(() => undefined)
      }
    } finally {
      terminal.out(LEAVE)
      keys()
    }
    return 0
  })
}

async function nextScreen(ops: OpsClient, terminal: Terminal): Promise<string> {
  try {
    return draw(await look(ops), terminal)
  } catch (thrown) {
    return `${messageOf(thrown)}\n` // a gateway that is restarting will answer one of the next requests
  }
}

function draw(seen: Look, { colours }: Terminal): string {
  return topScreen(seen, { rows: process.stdout.rows ?? ROWS_DEFAULT, colours })
}

/**
 * Calls `onEnd` at q and at Ctrl-C, which a terminal in raw mode sends as a character.
 * @returns a function that stops reading keys
 */
function readKeys(onEnd: () => void): () => void {
  const { stdin } = process
  if (!stdin.isTTY) return () => undefined
  const onKey = (key: Buffer): void => {
    if (key.includes('q') || key.includes(3)) onEnd()
  }
  stdin.setRawMode(true)
  stdin.on('data', onKey)
  return () => {
    stdin.off('data', onKey)
    stdin.setRawMode(false)
    stdin.pause()
  }
}

/** @throws GatewayError if the node does not answer */
async function look(ops: OpsClient): Promise<Look> {
  const [fleet, { live, silent }] = await Promise.all([
    ops.ask<FleetStatus>('/api/fleet'),
    fleetCalls(ops, `limit=${OPS_LIST_MAX}`),
  ])
  return { fleet, live, silent }
}

/**
 * State as text: one line per node, then the live calls, longest first.
 * @param rows  height of the terminal; calls that do not fit are only counted. Null shows all
 */
export function topScreen(
  { fleet, live, silent }: Look,
  { rows, colours }: { readonly rows: number | null; readonly colours: boolean },
): string {
  const free = fleet.nodes.reduce((sum, node) => sum + node.free, 0)
  const capacity = fleet.nodes.reduce((sum, node) => sum + node.capacity, 0)
  const nodes = fleet.nodes.map((node) => `${node.name} ${node.state} ${node.live}/${node.capacity}`).join(', ')
  const head = [
    painted({ colours }, 'bold', `${live.length} live calls, ${free} of ${capacity} free`),
    `nodes: ${nodes}`,
    ...silent.map((name) => `node ${name} does not answer`),
    ...fleet.alerts.map((what) => `alert: ${what}`),
    '',
  ]
  const longest = [...live].sort((a, b) => b.durationMs - a.durationMs)
  const visible = rows === null ? longest : longest.slice(0, Math.max(0, rows - head.length - 3))
  const calls = table(
    [...CALL_COLUMNS, 'SECONDS'],
    visible.map((call) => [...callCells(call), (call.durationMs / 1000).toFixed(0)]),
    'no live calls',
  )
  const more = longest.length > visible.length ? `and ${longest.length - visible.length} more\n` : ''
  return `${head.join('\n')}\n${calls}${more}`
}
