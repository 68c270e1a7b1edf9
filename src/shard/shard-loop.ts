import type { Clock } from '../core/clock.js'
import { TICK_MS } from '../core/limits.js'
import type { FrameHistogram } from '../telemetry/frame-histogram.js'
import type { CallTask } from './call-task.js'
import { Ticker } from './ticker.js'

/**
 * The one tick of a media worker. Every 10 ms it takes all calls that have something to do through each stage in turn,
 * so that the samples of many calls meet the same code while it is hot. A call that throws fails alone.
 */
export class ShardLoop {
  readonly #calls = new Set<CallTask>()
  readonly #ticker: Ticker
  readonly #lateness: FrameHistogram
  readonly #busy: FrameHistogram
  readonly #clock: Clock
  /** The calls of this tick. Kept and filled anew, so that a tick allocates nothing. */
  readonly #due: (CallTask | null)[] = []
  #dueCount = 0

  /** @param busy  gets how long each tick took */
  constructor(clock: Clock, lateness: FrameHistogram, busy: FrameHistogram) {
    this.#clock = clock
    this.#lateness = lateness
    this.#busy = busy
    this.#ticker = new Ticker({ periodMs: TICK_MS }, clock, this.#tick)
  }

  get size(): number {
    return this.#calls.size
  }

  add(call: CallTask): void {
    this.#calls.add(call)
    this.#ticker.start()
  }

  remove(call: CallTask): void {
    this.#calls.delete(call)
    if (this.#calls.size === 0) this.#ticker.stop()
  }

  readonly #tick = (nowMs: number, latenessMs: number): void => {
    this.#lateness.observeMs(latenessMs)
    this.#dueCount = 0
    for (const call of this.#calls) if (call.due(nowMs)) this.#due[this.#dueCount++] = call
    this.#stage(receive, nowMs)
    this.#stage(listen, nowMs)
    this.#stage(decide, nowMs)
    this.#stage(speak, nowMs)
    // A call that is over must not be held by the list.
    for (let i = 0; i < this.#dueCount; i++) this.#due[i] = null
    this.#busy.observeMs(this.#clock() - nowMs)
  }

  #stage(stage: (call: CallTask, nowMs: number) => void, nowMs: number): void {
    for (let i = 0; i < this.#dueCount; i++) {
      const call = this.#due[i] as CallTask
      try {
        stage(call, nowMs)
      } catch (thrown) {
        call.fail(thrown)
      }
    }
  }
}

// The stages as plain functions: one call site each, always of the same type.
function receive(call: CallTask, nowMs: number): void {
  call.receive(nowMs)
}

function listen(call: CallTask, nowMs: number): void {
  call.listen(nowMs)
}

function decide(call: CallTask, nowMs: number): void {
  call.decide(nowMs)
}

function speak(call: CallTask, nowMs: number): void {
  call.speak(nowMs)
}
