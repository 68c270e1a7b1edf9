import type { BackendErrorCode, RateLimit } from './backend.js'
import type { CircuitReport } from './failover/circuit-breaker.js'

/** Purpose of a backend's session. */
export type SessionRole = 'first' | 'takeover' | 'standby' | 'rotation'

/** One session of a backend on one call, reported when the session is ready or its connection failed. Plain data. */
export interface SessionOpened {
  readonly backend: string
  readonly role: SessionRole
  /**
   * Time from the start of the connection until the session was ready for audio, in milliseconds; null if the session
   * never became ready.
   */
  readonly connectMs: number | null
  /** Fault because of which the session did not become ready; null if the session became ready. */
  readonly fault: BackendErrorCode | null
}

/**
 * A fault of a backend. `message` may be shown, because it contains no API key, no phone number and no words of a
 * caller.
 */
export interface BackendFaultNews {
  readonly backend: string
  readonly code: BackendErrorCode
  readonly message: string
  /** True if the session is over. Another session may replace it. */
  readonly sessionLost: boolean
}

/** Receives events of the backends for operators while a call runs. The events contain no data of the caller. */
export interface BackendWatch {
  session(opened: SessionOpened): void
  fault(fault: BackendFaultNews): void
  /** Reports a circuit that opened or closed because of this call. */
  circuit(circuit: CircuitReport): void
  /** Reports the API key's remaining limits, as a service reported them. */
  limits(backend: string, limits: readonly RateLimit[]): void
}

export const UNWATCHED: BackendWatch = {
  session: () => undefined,
  fault: () => undefined,
  circuit: () => undefined,
  limits: () => undefined,
}

/** Counters of a backend by kind, as in `Backend.counters`. */
type BackendCounters = Readonly<Record<string, number>>

/** Reads a number from a service's usage report. @returns 0 if the value is not a positive number */
export function usageNumber(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : 0
}

/** Adds `counters` to `sums`. Zeros and NaN (a time that was not measured) are skipped. */
export function addCounters(sums: Record<string, number>, counters: BackendCounters): void {
  for (const [kind, count] of Object.entries(counters)) {
    if (Number.isFinite(count) && count > 0) sums[kind] = (sums[kind] ?? 0) + Math.round(count)
  }
}
