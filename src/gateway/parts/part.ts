import type { Log } from '../../telemetry/log.js'

/** How a gateway stops. */
export interface StopOrder {
  /** How long live calls may go on. */
  readonly drainTimeoutMs: number
  /** By `POST /api/drain`: whoever asked waits for the answer. */
  readonly byCommand: boolean
}

/** A part of a gateway: what it opens and closes together. */
export interface Part {
  /** For the log, where it cannot be stopped. */
  readonly name: string
  /** Opens what the part is about. A part that throws has nothing open. */
  start(): Promise<void> | void
  /** Frees it. Called once, and only after `start` has succeeded. */
  stop(order: StopOrder): Promise<void> | void
}

const AT_ONCE: StopOrder = { drainTimeoutMs: 0, byCommand: false }

/**
 * Starts the parts in their order. Where one fails, those before it are stopped. A part that cannot be stopped is logged,
 * and the others are stopped all the same.
 * @returns stops them in the reverse order; once
 * @throws what the part throws that does not start
 */
export async function startParts(parts: readonly Part[], log: Log): Promise<(order: StopOrder) => Promise<void>> {
  const started: Part[] = []
  const stop = async (order: StopOrder): Promise<void> => {
    for (let part = started.pop(); part !== undefined; part = started.pop()) {
      try {
        await part.stop(order)
      } catch (thrown) {
        log.error({ err: thrown, part: part.name }, 'a part of the gateway could not be stopped')
      }
    }
  }
  for (const part of parts) {
    try {
      await part.start()
    } catch (thrown) {
      await stop(AT_ONCE)
      throw thrown
    }
    started.push(part)
  }
  return stop
}
