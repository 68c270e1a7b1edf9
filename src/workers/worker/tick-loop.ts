import type { Clock, unrefTimer } from '../../core/clock.js'
import { TICK_MS } from '../../core/limits.js'
import type { FrameHistogram } from '../../telemetry/frame-histogram.js'
import type { LoopStops } from '../../telemetry/loop-stops.js'
import type { WorkerCall } from './worker-call.js'
import { Ticker } from '../shared/ticker.js'
import type { TickTimes } from './tick-times.js'
import { NO_CALL } from '../shared/worker-memory.js'
import type { RunningCode, SocketsRead } from '../shared/worker-memory.js'

/**
 * Tick of a media worker. Every 5 ms all due calls go through one step after another, so a step's code stays cached. If
 * a call's step throws, only this call fails.
 */
export class TickLoop {
  readonly #calls = new Set<WorkerCall>()
  readonly #ticker: Ticker
  readonly #lateness: FrameHistogram
  readonly #busy: FrameHistogram
  readonly #stops: LoopStops | null
  readonly #clock: Clock
  readonly #running: RunningCode
  readonly #sockets: SocketsRead
  readonly #times: TickTimes
  /**
   * Calls that are due in this tick. `#heard`: due calls that also have a frame. The lists are used again in each tick,
   * so that a tick does not allocate memory.
   */
  readonly #due: CallList = { calls: [], count: 0 }
  readonly #heard: CallList = { calls: [], count: 0 }

  /**
   * @param times  receives each tick
   * @param busy  receives each tick's duration
   * @param stops  null on a simulated clock
   * @param setTimer  the clock's timer; a real timer if absent
   */
  constructor(
    clock: Clock,
    running: RunningCode,
    sockets: SocketsRead,
    times: TickTimes,
    lateness: FrameHistogram,
    busy: FrameHistogram,
    stops: LoopStops | null,
    setTimer?: typeof unrefTimer,
  ) {
    this.#clock = clock
    this.#running = running
    this.#sockets = sockets
    this.#times = times
    this.#lateness = lateness
    this.#busy = busy
    this.#stops = stops
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
    const readMs = Math.min(nowMs, this.#sockets.untilMs + READ_LAG_MS)
    const tick = this.#times.add(nowMs, readMs)
    for (const call of this.#calls) if (call.due(nowMs, tick)) add(due, call)
    step(due, catchUp, nowMs, running)
    step(due, receive, nowMs, running)
    // A call usually has one frame or none in a tick. After a stall it has several frames.
    const heard = this.#heard
    for (take(due, heard, nowMs, readMs); heard.count > 0; take(heard, heard, nowMs, readMs)) {
      step(heard, detect, nowMs, running)
      step(heard, attend, nowMs, running)
    }
    step(due, decide, nowMs, running)
    step(due, speak, nowMs, running)
    clear(due)
    const busyMs = this.#clock() - nowMs
    this.#busy.observeMs(busyMs)
    this.#stops?.ticked(nowMs, latenessMs, busyMs)
  }
}

/** List of the calls that go through a step of the tick. */
interface CallList {
  readonly calls: (WorkerCall | null)[]
  count: number
}

function add(list: CallList, call: WorkerCall): void {
  list.calls[list.count++] = call
}

/** Empties a list, so that it does not reference ended calls. */
function clear(list: CallList): void {
  for (let i = 0; i < list.count; i++) list.calls[i] = null
  list.count = 0
}

/**
 * Normal age in ms of `SocketsRead.untilMs`: two ticks of the main thread. A greater age means that the main thread has
 * paused.
 */
const READ_LAG_MS = 2 * TICK_MS

/**
 * Lets each call of `from` take its next frame, and puts the calls with a frame into `heard`. Both may be the same
 * list.
 */
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

/** Takes all calls of a list through a step. If a call throws, it fails and leaves the list. */
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

// Steps as plain functions, because V8 optimises a call site that sees only one type.
function catchUp(call: WorkerCall): void {
  call.catchUp()
}

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
