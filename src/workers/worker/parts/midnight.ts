import { contextZone, untilMidnightMs } from '../../../agents/tools/call-context.js'
import { wallMsOf } from '../worker-context.js'
import type { WorkerDoor } from '../worker-door.js'
import type { WorkerPart, WorkerThings } from '../worker-part.js'

/** The day has begun on every clock when its model hears of it. */
const MIDNIGHT_MARGIN_MS = 1000

/** A new day: the model learns it, and so does every later session. */
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
