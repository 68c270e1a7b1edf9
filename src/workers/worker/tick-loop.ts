import type { Clock, unrefTimer } from '../../core/clock.js'
import { TICK_MS } from '../../core/limits.js'
import type { FrameHistogram } from '../../telemetry/frame-histogram.js'
import type { WorkerCall } from './worker-call.js'
import { Ticker } from '../shared/ticker.js'
import { NO_CALL } from '../shared/worker-memory.js'
import type { RunningCode, SocketsRead } from '../shared/worker-memory.js'

/**
 * The one tick of a media worker. Every 5 ms it takes all calls that have work through one step after the other,
 * so that each step handles many calls while its code and tables are in the cache. A call that throws fails alone.
 */
export class TickLoop {
  readonly #calls = new Set<WorkerCall>()
  readonly #ticker: Ticker
  readonly #lateness: FrameHistogram
  readonly #busy: FrameHistogram
  readonly #clock: Clock
  readonly #running: RunningCode
  readonly #sockets: SocketsRead
  /**
   * The calls that are due in this tick, and those of them that have a frame. Reused, so that a tick allocates nothing.
   */
  readonly #due: CallList = { calls: [], count: 0 }
  readonly #heard: CallList = { calls: [], count: 0 }

  /**
   * @param busy  gets how long each tick took
   * @param setTimer  of the clock; a real one when absent
   */
  constructor(
    clock: Clock,
    running: RunningCode,
    sockets: SocketsRead,
    lateness: FrameHistogram,
    busy: FrameHistogram,
    setTimer?: typeof unrefTimer,
  ) {
    this.#clock = clock
    this.#running = running
    this.#sockets = sockets
    this.#lateness = lateness
    this.#busy = busy
    this.#ticker = new Ticker({ periodMs: TICK_MS }, clock, this.#tick, setTimer)
  }

  add(call: WorkerCall): void {
    this.#calls.add(call)
    this.#ticker.start()
  }

  remove(call: WorkerCall): void {
    this.#calls.delete(call)
    if (this.#calls.size === 0) this.#ticker.stop()
  }

  readonly #tick = (nowMs: number, latenessMs: number): void => {
    this.#lateness.observeMs(latenessMs)
    const due = this.#due
    const running = this.#running
    for (const call of this.#calls) if (call.due(nowMs)) add(due, call)
    step(due, receive, nowMs, running)
    // A call has no frame or one; more after a stall, until it has caught up.
    const heard = this.#heard
    const readMs = Math.min(nowMs, this.#sockets.untilMs + READ_LAG_MS)
    for (take(due, heard, nowMs, readMs); heard.count > 0; take(heard, heard, nowMs, readMs)) {
      step(heard, detect, nowMs, running)
      step(heard, attend, nowMs, running)
    }
    step(due, decide, nowMs, running)
    step(due, speak, nowMs, running)
    clear(due)
    this.#busy.observeMs(this.#clock() - nowMs)
  }
}

/** Calls that go through a step together. */
interface CallList {
  readonly calls: (WorkerCall | null)[]
  count: number
}

function add(list: CallList, call: WorkerCall): void {
  list.calls[list.count++] = call
}

/** Empties a list, so that it keeps no reference to a call that is over. */
function clear(list: CallList): void {
  for (let i = 0; i < list.count; i++) list.calls[i] = null
  list.count = 0
}

/** The tick of the main thread that is known to have read the sockets is up to two of its ticks ago. */
const READ_LAG_MS = 2 * TICK_MS

/** Each call takes its next frame. Those that have one are then in `heard`, which may be the same list. */
function take(from: CallList, heard: CallList, nowMs: number, readMs: number): void {
  const { calls, count } = from
  let kept = 0
  for (let i = 0; i < count; i++) {
    const call = calls[i] as WorkerCall | null
    if (call === null) continue
    try {
      if (call.take(nowMs, readMs)) heard.calls[kept++] = call
    } catch (thrown) {
      call.fail(thrown)
    }
  }
  for (let i = kept; i < heard.count; i++) heard.calls[i] = null
  heard.count = kept
}

/** Takes all calls of a list through a step. A call that throws leaves the list and fails. */
function step(
  list: CallList,
  each: (call: WorkerCall, nowMs: number) => void,
  nowMs: number,
  running: RunningCode,
): void {
  const before = running.enter(NO_CALL)
  for (let i = 0; i < list.count; i++) {
    const call = list.calls[i] as WorkerCall | null
    if (call === null) continue
    try {
      running.enter(call.ordinal)
      each(call, nowMs)
    } catch (thrown) {
      list.calls[i] = null
      call.fail(thrown)
    }
  }
  running.leave(before)
}

// The steps as plain functions: one call site each, always of the same type.
function receive(call: WorkerCall, nowMs: number): void {
  call.receive(nowMs)
}

function detect(call: WorkerCall): void {
  call.detect()
}

function attend(call: WorkerCall, nowMs: number): void {
  call.attend(nowMs)
}

function decide(call: WorkerCall, nowMs: number): void {
  call.decide(nowMs)
}

function speak(call: WorkerCall, nowMs: number): void {
  call.speak(nowMs)
}
