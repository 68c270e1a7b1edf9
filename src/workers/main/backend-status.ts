import type { CircuitReport } from '../../backends/failover/circuit-breaker.js'
import type { BackendShare } from '../../backends/split.js'
import type { BackendFaultNews, SessionOpened } from '../../backends/watch.js'
import { CIRCUITS_MAX } from '../../core/limits.js'

/** Status of one backend since the start of this process, over all calls. `GET /api/backends` shows it. */
export interface BackendView {
  readonly backend: string
  /**
   * Agents that use this backend. Each entry has the backend's share of the agent's calls in percent, and its position
   * in the agent's order. Position 1 is tried first.
   */
  readonly agents: readonly { readonly agent: string; readonly percent: number; readonly place: number }[]
  /** Sessions that became ready. `sessionsRefused`: sessions that failed before they were ready. */
  readonly sessions: number
  readonly sessionsRefused: number
  /** Time in ms from the start of a connection until the session was ready; null before the first connection. */
  readonly connectMs: { readonly last: number; readonly max: number } | null
  readonly faults: Readonly<Record<string, number>>
  /** The newest fault; null if no fault has occurred. */
  readonly lastFault: { readonly code: string; readonly message: string; readonly at: string } | null
  /**
   * `lostTo`: calls that another backend took over from this one. `tookOver`: calls that this backend took over from
   * another. `rotations`: sessions that this backend replaced by a new session.
   */
  readonly lostTo: number
  readonly tookOver: number
  readonly rotations: number
  /**
   * Gap in ms of a take-over: from the fault of the call's previous backend until this backend was ready. Null before
   * the first take-over.
   */
  readonly gapMs: { readonly last: number; readonly max: number } | null
  /**
   * Circuit breaker of this backend in each media worker. While a breaker is open, new calls do not try this backend.
   */
  readonly circuits: readonly (Omit<CircuitReport, 'name'> & { readonly worker: number })[]
}

type Entry = {
  -readonly [Key in Exclude<keyof BackendView, 'backend' | 'agents' | 'faults' | 'circuits'>]: BackendView[Key]
} & {
  readonly faults: Record<string, number>
  readonly circuits: Map<number, { readonly report: CircuitReport; readonly atMs: number }>
}

/** The agents with their resolved backends. */
type BackendUsers = Iterable<{
  readonly name: string
  readonly shares: readonly BackendShare[]
}>

/**
 * Status of all backends of this process, for operators. If there are more than `CIRCUITS_MAX` backends, the remaining
 * backends count as `other`.
 */
export class BackendStatus {
  readonly #entries = new Map<string, Entry>()

  session(opened: SessionOpened): void {
    const entry = this.#of(opened.backend)
    if (opened.connectMs === null) {
      entry.sessionsRefused++
      return
    }
    entry.sessions++
    entry.connectMs = lastAndMax(opened.connectMs, entry.connectMs)
  }

  /** @param wallMs  calendar time */
  fault({ backend, code, message }: BackendFaultNews, wallMs: number): void {
    const entry = this.#of(backend)
    entry.faults[code] = (entry.faults[code] ?? 0) + 1
    entry.lastFault = { code, message, at: new Date(wallMs).toISOString() }
  }

  takeover(from: string, to: string, gapMs: number): void {
    if (from === to) {
      this.#of(to).rotations++
      return
    }
    this.#of(from).lostTo++
    const entry = this.#of(to)
    entry.tookOver++
    entry.gapMs = lastAndMax(gapMs, entry.gapMs)
  }

  /** @param worker  id of the media worker's thread; a circuit is shown only while that thread is alive */
  circuit(worker: number, report: CircuitReport, nowMs: number): void {
    this.#of(report.name).circuits.set(worker, { report, atMs: nowMs })
  }

  /** @param workers  ids of the threads that are alive */
  view(users: BackendUsers, workers: ReadonlySet<number>, nowMs: number): BackendView[] {
    const agents = new Map<string, { agent: string; percent: number; place: number }[]>()
    for (const { name, shares } of users) {
      for (const { percent, names } of shares)
        for (const [index, backend] of names.entries()) {
          const own = agents.get(backend) ?? []
          const same = own.find(({ agent, place }) => agent === name && place === index + 1)
          if (same === undefined) own.push({ agent: name, percent, place: index + 1 })
          else same.percent += percent
          agents.set(backend, own)
        }
    }
    const names = new Set([...agents.keys(), ...this.#entries.keys()])
    return [...names].map((backend) => {
      const entry = this.#entries.get(backend) ?? newEntry()
      return {
        backend,
        agents: agents.get(backend) ?? [],
        ...entry,
        faults: { ...entry.faults },
        circuits: [...entry.circuits]
          .filter(([worker]) => workers.has(worker))
          .map(([worker, { report, atMs }]) => {
            const { name: _, openForMs, state, ...counts } = report
            const leftMs = Math.max(0, Math.round(openForMs - (nowMs - atMs)))
            return {
              worker,
              state: state === 'open' && leftMs === 0 ? ('half-open' as const) : state,
              openForMs: leftMs,
              ...counts,
            }
          }),
      }
    })
  }

  #of(name: string): Entry {
    const key = this.#entries.has(name) || this.#entries.size < CIRCUITS_MAX ? name : 'other'
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      entry = newEntry()
      this.#entries.set(key, entry)
    }
    return entry
  }
}

function newEntry(): Entry {
  return {
    sessions: 0,
    sessionsRefused: 0,
    connectMs: null,
    faults: {},
    lastFault: null,
    lostTo: 0,
    tookOver: 0,
    rotations: 0,
    gapMs: null,
    circuits: new Map(),
  }
}

function lastAndMax(ms: number, before: BackendView['gapMs']): NonNullable<BackendView['gapMs']> {
  const last = Math.round(ms)
  return { last, max: Math.max(last, before?.max ?? 0) }
}
