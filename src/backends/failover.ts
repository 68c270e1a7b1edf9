/**
 * A list of backends that is one backend: takes over from one that fails, rotates sessions that end, keeps one warm.
 * `FailoverBackend` says how; docs/BACKENDS.md says when and why.
 */
import type { BackendFactory } from './backend.js'
import { FailoverBackend } from './failover/failover-backend.js'
import type { FailoverOptions } from './failover/options.js'

export { FailoverBackend }
export type { FailoverMember, FailoverOptions, FailoverReport, FailoverStats } from './failover/options.js'
export type { FailoverSnapshot } from './failover/snapshot.js'
export { clockTimers } from './failover/timers.js'
export type { BackendTimers } from './failover/timers.js'

/** The factory of a list. @see FailoverBackend */
export function failover(options: FailoverOptions): BackendFactory {
  return (sink) => new FailoverBackend(sink, options)
}
