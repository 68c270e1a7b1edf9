import { FRAME_MS } from '../../src/core/units.js'
import { machineMs } from '../kit/clock.js'

/** What the wheel carries: called once in each turn, when its slot is due. */
export interface Spoke {
  due(dueMs: number): void
}

/**
 * One timer for all calls: a turn of 20 ms in slots of 1 ms, each due at `origin + n` ms whatever happened before. A
 * slot that comes late is made up at once and its calls see the time at which it was due, not at which it came: so
 * no delay of the generator, and none of the server, moves a later frame.
 */
export class Wheel {
  readonly #slots: Spoke[][] = Array.from({ length: FRAME_MS }, () => [])
  #slot = 0
  #nextMs = 0
  #next = 0
  #timer: NodeJS.Timeout | null = null

  start(): void {
    this.#nextMs = Math.ceil(machineMs()) + 1
    this.#timer = setTimeout(this.#run, 1)
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  /** Adds a call where few are: each next one 7 slots on, so that any number is spread over the turn. */
  add(spoke: Spoke): void {
    const slot = this.#next
    this.#next = (this.#next + 7) % FRAME_MS
    ;(this.#slots[slot] as Spoke[]).push(spoke)
  }

  readonly #run = (): void => {
    let nowMs = machineMs()
    while (nowMs >= this.#nextMs) {
      for (const spoke of this.#slots[this.#slot] as Spoke[]) spoke.due(this.#nextMs)
      this.#nextMs++
      this.#slot = (this.#slot + 1) % FRAME_MS
      nowMs = machineMs()
    }
    this.#timer = setTimeout(this.#run, Math.max(0, this.#nextMs - nowMs))
  }
}
