import { contextZone, untilMidnightMs } from '../../../agents/tools/call-context.js'
import { wallMsOf } from '../worker-context.js'
import type { WorkerDoor } from '../worker-door.js'
import type { WorkerPart, WorkerThings } from '../worker-part.js'

/**
 * Delay in ms from midnight until the model gets the new date. After this delay, the new day has begun on every clock
 * of the gateway.
 */
const MIDNIGHT_MARGIN_MS = 1000

/** Gives the new date to the model at midnight. Sessions that begin later get it too. */
export class Midnight implements WorkerPart {
  readonly #door: Pick<WorkerDoor, 'guard'>
  readonly #of: WorkerThings
  #timer: NodeJS.Timeout | undefined

  constructor(door: Pick<WorkerDoor, 'guard'>, of: WorkerThings) {
    this.#door = door
    this.#of = of
  }

  begin(): void {
    const { start, context } = this.#of
    this.#timer = setTimeout(
      () => this.#door.guard(() => this.#tell()),
      untilMidnightMs(contextZone(start.agent), wallMsOf(context)) + MIDNIGHT_MARGIN_MS,
    ).unref()
  }

  #tell(): void {
    const { backend, briefing } = this.#of
    backend.updateSession({ instructions: briefing.instructions })
    this.begin()
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}
