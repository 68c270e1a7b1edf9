import type { BackendErrorCode } from './backend.js'
import type { CircuitReport } from './failover/circuit-breaker.js'

/** What a session of a backend was opened for. */
export type SessionRole = 'first' | 'takeover' | 'standby' | 'rotation'

/** One session of a backend on one call, told when it is ready or could not get so. Plain data. */
export interface SessionOpened {
  readonly backend: string
  readonly role: SessionRole
  /** From the beginning of its connection until it was ready for audio; null when it never was. */
  readonly connectMs: number | null
  /** Why it never was. */
  readonly fault: BackendErrorCode | null
}

/** Something went wrong with a backend. `message` is fit to be shown: it holds no key, no number, no word of a caller. */
export interface BackendFaultNews {
  readonly backend: string
  readonly code: BackendErrorCode
  readonly message: string
  /** The session is over; another one may take its place. */
  readonly sessionLost: boolean
}

/** Told of what an operator wants to know of the backends while a call runs; none of it is the caller's. */
export interface BackendWatch {
  session(opened: SessionOpened): void
  fault(fault: BackendFaultNews): void
  /** A circuit opened or closed because of this call. */
  circuit(circuit: CircuitReport): void
}

/** Nobody watches. */
export const UNWATCHED: BackendWatch = { session: () => undefined, fault: () => undefined, circuit: () => undefined }

/** Counters of a backend as it tells them (`Backend.counters`), by what they count. */
export type BackendCounters = Readonly<Record<string, number>>

/** Adds `counters` to `sums`, leaving out what is not there: zeros, and times of something that never was. */
export function addCounters(sums: Record<string, number>, counters: BackendCounters): void {
  for (const [kind, count] of Object.entries(counters)) {
    if (Number.isFinite(count) && count > 0) sums[kind] = (sums[kind] ?? 0) + Math.round(count)
  }
}
