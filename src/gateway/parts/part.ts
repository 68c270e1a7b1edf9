import type { Log } from '../../telemetry/log.js'

/** Circumstances of a gateway's stop. */
export interface StopOrder {
  /** Maximum time in ms for which live calls may continue. */
  readonly drainTimeoutMs: number
  /** True after `POST /api/drain`, because the sender waits for the answer. */
  readonly byCommand: boolean
}

/** Part of a gateway: resources that are opened and closed together. */
export interface Part {
  /** Name that is logged if the part cannot be stopped. */
  readonly name: string
  /** Opens the part's resources. If this throws, the part has closed its resources again. */
  start(): Promise<void> | void
  /** Frees the resources. Called once, only after a successful `start`. */
  stop(order: StopOrder): Promise<void> | void
}

const AT_ONCE: StopOrder = { drainTimeoutMs: 0, byCommand: false }

/**
 * Starts the parts in their order. If a start fails, all earlier parts are stopped. If stopping a part fails, the error
 * is logged and the next part is stopped.
 * @returns a function that stops all parts in reverse order; call it once
 * @throws the error of the part that cannot start
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
