import type { RedisServer } from '../../test/support/redis.js'
import { table } from '../terminal.js'

interface Load {
  readonly operations: number
  /** Bytes in both directions. */
  readonly bytes: number
  /** CPU time of Redis in ms. */
  readonly cpuMs: number
}

/** Load that a fleet causes on Redis. */
export interface StoreLoad {
  /** Load per node and second, without calls. */
  readonly idle: Load
  /** Load per live call and second. */
  readonly live: Load
  /** Load per call, once in its life. */
  readonly arrival: Load
  readonly end: Load
  /** Memory in bytes that a live call needs in Redis. */
  readonly memoryBytes: number
  /** Number of nodes in this measurement. It is needed because a heartbeat reads the records of all nodes. */
  readonly nodes: number
}

type Phase = 'idle' | 'arriving' | 'live' | 'ending' | 'over'

interface Reading extends Load {
  readonly atMs: number
  readonly memoryBytes: number
}

/** Reads the counters of Redis at the start of each phase of a run. */
export class StoreMeter {
  readonly #redis: RedisServer
  readonly #at = new Map<Phase, Reading>()

  constructor(redis: RedisServer) {
    this.#redis = redis
  }

  async mark(phase: Phase): Promise<void> {
    let info = ''
    for (const section of ['stats', 'memory', 'cpu']) info += String(await this.#redis.command('INFO', section))
    const field = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? NaN)
    this.#at.set(phase, {
      atMs: performance.now(),
      operations: field('total_commands_processed'),
      bytes: field('total_net_input_bytes') + field('total_net_output_bytes'),
      cpuMs: (field('used_cpu_user') + field('used_cpu_sys')) * 1000,
      memoryBytes: field('used_memory'),
    })
  }

  /** Load per node, per call and per second. Call `mark` for all phases first. */
  load(nodes: number, calls: number): StoreLoad {
    const idle = this.#between('idle', 'arriving')
    const live = this.#between('live', 'ending')
    const beyond = (from: Phase, to: Phase, callSeconds: Load | null): Load => {
      const whole = this.#between(from, to)
      const of = (name: keyof Load): number =>
        Math.max(0, whole[name] - (idle[name] / idle.seconds) * whole.seconds) / calls -
        (callSeconds === null ? 0 : (callSeconds[name] * whole.seconds) / 2)
      return each((name) => Math.max(0, of(name)))
    }
    const whileLive = beyond('live', 'ending', null)
    const perSecond = each((name) => whileLive[name] / live.seconds)
    return {
      idle: each((name) => idle[name] / idle.seconds / nodes),
      live: perSecond,
      // While calls are arriving, half of them are live on average.
      arrival: beyond('arriving', 'live', perSecond),
      end: beyond('ending', 'over', null),
      memoryBytes: Math.max(0, this.#of('ending').memoryBytes - this.#of('arriving').memoryBytes) / calls,
      nodes,
    }
  }

  #of(phase: Phase): Reading {
    const reading = this.#at.get(phase)
    if (reading === undefined) throw new Error(`the phase ${phase} was not marked`)
    return reading
  }

  #between(from: Phase, to: Phase): Load & { readonly seconds: number } {
    const [a, b] = [this.#of(from), this.#of(to)]
    return { ...each((name) => b[name] - a[name]), seconds: (b.atMs - a.atMs) / 1000 }
  }
}

function each(of: (name: keyof Load) => number): Load {
  return { operations: of('operations'), bytes: of('bytes'), cpuMs: of('cpuMs') }
}

/**
 * Number of calls that one node in deploy/kubernetes.yaml accepts. The second constant is the average duration of a
 * call in s.
 */
const CALLS_PER_NODE = 100
const CALL_S = 180

/** Load of a fleet with this number of live calls. Each call takes three minutes. */
export function forFleetOf(calls: number, load: StoreLoad, nodes = Math.ceil(calls / CALLS_PER_NODE)) {
  const of = (name: keyof Load): number =>
    calls * (load.live[name] + (load.arrival[name] + load.end[name]) / CALL_S) +
    // Each heartbeat reads the records of all nodes. So its bytes and its time grow with the number of nodes.
    nodes * load.idle[name] * (name === 'operations' ? 1 : nodes / load.nodes)
  return {
    calls,
    nodes,
    ...each(of),
    // With only a few nodes, most of the CPU time is Redis' own housekeeping. So this CPU time cannot be scaled to many
    // nodes.
    cpuMs: nodes === load.nodes ? of('cpuMs') : null,
    memoryBytes: calls * load.memoryBytes,
  }
}

/** Lines of the report about the load. */
export function loadLines(load: StoreLoad, sizes: readonly ReturnType<typeof forFleetOf>[]): string[] {
  const line = (what: string, { operations, bytes, cpuMs }: StoreLoad['idle']): string[] => [
    what,
    operations.toFixed(2),
    bytes.toFixed(0),
    cpuMs.toFixed(3),
  ]
  return [
    '',
    'Redis, by its INFO (bytes both ways)',
    ...table([
      ['', 'operations', 'bytes', 'ms of its processor'],
      line('a fleet without calls, a node and second', load.idle),
      line('a live call, a second', load.live),
      line('a call arrives', load.arrival),
      line('a call ends', load.end),
    ]),
    `memory of a live call: ${(load.memoryBytes / 1024).toFixed(1)} KiB`,
    ...sizes.map(
      ({ calls, nodes, operations, bytes, cpuMs, memoryBytes }) =>
        `${calls} calls of 3 minutes on ${nodes} nodes: ${Math.round(operations)} operations/s, ${(bytes / 1e6).toFixed(2)} MB/s, ${cpuMs === null ? '' : `${(cpuMs / 10).toFixed(0)} % of a core, `}${Math.round(memoryBytes / 2 ** 20)} MiB`,
    ),
  ]
}
