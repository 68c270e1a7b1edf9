import type { Log } from '../telemetry/log.js'

/** A second signal within this time of the first is the same one, come by another way. */
const SAME_SIGNAL_MS = 1000

/**
 * Lets signals stop a process: the first SIGTERM or SIGINT calls `drain` once, a second one, or SIGQUIT, `atOnce`.
 * @param atOnce  may be called more than once
 */
export function onStopSignals(log: Log, drain: () => void, atOnce: () => void): void {
  const first = (signal: NodeJS.Signals): void => {
    process.off('SIGTERM', first)
    process.off('SIGINT', first)
    // A terminal gives Ctrl-C to npm and to us, and npm passes it on: the same signal, twice.
    process.on('SIGTERM', () => undefined)
    process.on('SIGINT', () => undefined)
    setTimeout(() => {
      process.once('SIGTERM', atOnce)
      process.once('SIGINT', atOnce)
    }, SAME_SIGNAL_MS).unref()
    log.info({ signal }, 'signal received')
    drain()
  }
  process.once('SIGTERM', first)
  process.once('SIGINT', first)
  process.once('SIGQUIT', atOnce)
}

/** How long a process that was told to end at once may still take. */
const AT_ONCE_MS = 1000

/** Resolves when a gateway of this process has stopped, by signal or by `POST /api/drain`; ends the process itself when told to be quick. */
export function untilStopped(
  gateway: { readonly stopped: Promise<void>; stop(drainTimeoutMs: number): Promise<void> }, drainTimeoutMs: number, log: Log,
): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    onStopSignals(log, () => {
      gateway.stop(drainTimeoutMs).then(resolve, reject)
    }, () => {
      void gateway.stop(0).finally(() => process.exit(1))
      setTimeout(() => process.exit(1), AT_ONCE_MS).unref()
    })
    gateway.stopped.then(resolve, reject)
  })
}
