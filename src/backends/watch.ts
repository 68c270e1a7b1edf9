import type { BackendErrorCode, RateLimit } from './backend.js'
import type { CircuitReport } from './failover/circuit-breaker.js'

/** Purpose of a backend's session. */
export type SessionRole = 'first' | 'takeover' | 'standby' | 'rotation'

/** One session of a backend on one call; reported when it is ready or could not be connected. Plain data. */
export interface SessionOpened {
  readonly backend: string
  readonly role: SessionRole
  /** From the beginning of its connection until it was ready for audio; null when it never became ready. */
  readonly connectMs: number | null
  /** Why it never became ready. */
  readonly fault: BackendErrorCode | null
}

/** A fault of a backend. `message` may be shown: it holds no API key, no phone number and no word of a caller. */
export interface BackendFaultNews {
  readonly backend: string
  readonly code: BackendErrorCode
  readonly message: string
  /** The session is over; another one may replace it. */
  readonly sessionLost: boolean
}

/** Receives what operators want to know about the backends while a call runs; no data of the caller. */
export interface BackendWatch {
  session(opened: SessionOpened): void
  fault(fault: BackendFaultNews): void
  /** A circuit opened or closed because of this call. */
  circuit(circuit: CircuitReport): void
  /** A service reported the key's remaining limits. */
  limits(backend: string, limits: readonly RateLimit[]): void
}

export const UNWATCHED: BackendWatch = {
  session: () => undefined,
  fault: () => undefined,
  circuit: () => undefined,
  limits: () => undefined,
}

/** The counters of `Backend.counters`, by kind. */
type BackendCounters = Readonly<Record<string, number>>

/** A number of a service's usage report, which may hold anything: 0 for what is not a positive number. */
export function usageNumber(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : 0
}

/** Adds `counters` to `sums`, without zeros and NaN (the time of something that never happened). */
export function addCounters(sums: Record<string, number>, counters: BackendCounters): void {
  for (const [kind, count] of Object.entries(counters)) {
    if (Number.isFinite(count) && count > 0) sums[kind] = (sums[kind] ?? 0) + Math.round(count)
  }
}
