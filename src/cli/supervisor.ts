import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { assert } from '../core/assert.js'
import {
  PROCESS_RESTART_MS, PROCESS_RESTART_MS_MAX, PROCESS_SHORT_LIFE_MS, PROCESS_SHORT_LIVES_MAX, PROCESS_START_MS_MAX, PROCESS_STOP_GRACE_MS,
} from '../core/limits.js'
import type { Log } from '../telemetry/log.js'
import type { FromProcess, ProcessReady, ToProcess } from './process-messages.js'
import type { ProcessPlan } from '../gateway/process-plan.js'
import { SiblingSwitch } from './sibling-switch.js'

export interface SupervisorOptions {
  /** Module that each process runs; it waits for the `start` message. */
  readonly entry: string
  readonly plans: readonly ProcessPlan[]
  readonly env: NodeJS.ProcessEnv
  /** How long calls may finish; a process that is still there `stopGraceMs` later is killed. */
  readonly drainTimeoutMs: number
  readonly stopGraceMs?: number
  readonly log: Log
}

/** How it came to an end: the exit code, and the reason where it is another than 0. */
export interface SupervisorEnd {
  readonly code: 0 | 1 | 2
  readonly reason: string | null
}

interface Place {
  readonly plan: ProcessPlan
  child: ChildProcess | null
  /** What it said when it could not start. */
  failure: { readonly message: string; readonly usage: boolean } | null
  restarts: number
  shortLives: number
  /** Monotonic; when it was started, and then when it took calls. */
  sinceMs: number
  /** Runs while a process is to be started, or is starting. */
  timer: NodeJS.Timeout | null
  /** It came to its end in order, and is not started again. */
  over: boolean
}

/**
 * Starts the processes of a gateway, keeps them running, and passes webhooks between them. One that dies is started again
 * after a pause, and the others do not notice; one that does nothing but die ends them all, in order, with its reason. One that
 * an operator drained stays down.
 */
export class Supervisor {
  /** Resolves when no process is left. */
  readonly ended: Promise<SupervisorEnd>
  readonly #options: SupervisorOptions
  readonly #places: readonly Place[]
  readonly #switch: SiblingSwitch
  readonly #ready = new Map<number, ProcessReady>()
  readonly #stopGraceMs: number
  #tellEnded: (end: SupervisorEnd) => void = () => undefined
  #tellReady: (() => void) | null = null
  #stopping = false
  #code: SupervisorEnd['code'] = 0
  #reason: string | null = null

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#stopGraceMs = options.stopGraceMs ?? PROCESS_STOP_GRACE_MS
    this.#places = options.plans.map((plan) => ({
      plan, child: null, failure: null, restarts: 0, shortLives: 0, sinceMs: 0, timer: null, over: false,
    }))
    this.#switch = new SiblingSwitch((index, message) => { this.#send(index, message) })
    this.ended = new Promise((resolve) => { this.#tellEnded = resolve })
  }

  /** Starts all processes. Resolves when each takes calls; null when that came to nothing: `ended` says why, and none is left. */
  async start(): Promise<readonly ProcessReady[] | null> {
    assert(this.#tellReady === null, 'a supervisor starts once')
    const ready = new Promise<true>((resolve) => { this.#tellReady = () => { resolve(true) } })
    for (const place of this.#places) this.#begin(place)
    const all = await Promise.race([ready, this.ended.then(() => false)])
    return all ? this.#places.map(({ plan }) => this.#ready.get(plan.index) as ProcessReady) : null
  }

  /** Every process takes no more calls, lets those that run end, and ends. Idempotent. */
  stop(): void {
    if (this.#stopping) return
    this.#stopping = true
    for (const place of this.#places) {
      this.#stopTimer(place)
      place.child?.kill('SIGTERM')
    }
    const deadline = setTimeout(() => {
      this.#options.log.error({}, 'processes did not end in time, and are killed')
      for (const { child } of this.#places) child?.kill('SIGKILL')
    }, this.#options.drainTimeoutMs + this.#stopGraceMs)
    void this.ended.then(() => { clearTimeout(deadline) })
    this.#endIfOver()
  }

  /** Every process ends now, with its calls. */
  stopNow(): void {
    this.stop()
    this.#fail(1, null)
    // SIGQUIT: to a process it is never a first signal that came twice.
    for (const { child } of this.#places) child?.kill('SIGQUIT')
    setTimeout(() => {
      for (const { child } of this.#places) child?.kill('SIGKILL')
    }, this.#stopGraceMs / 10).unref()
  }

  #begin(place: Place): void {
    const { plan } = place
    place.failure = null
    place.sinceMs = performance.now()
    const child = fork(this.#options.entry, [], { env: this.#options.env, serialization: 'advanced' })
    place.child = child
    child.on('message', (message: FromProcess) => { this.#received(place, message) })
    child.on('error', (error) => { this.#options.log.error({ err: error, process: plan.index }, 'a process cannot be spoken to') })
    child.on('exit', (code, signal) => { this.#exited(place, code, signal) })
    place.timer = setTimeout(() => {
      place.failure = { message: `it takes no calls ${PROCESS_START_MS_MAX / 1000} s after its start`, usage: false }
      child.kill('SIGKILL')
    }, PROCESS_START_MS_MAX)
    this.#send(plan.index, { type: 'start', plan, restarts: place.restarts, places: this.#switch.started(plan.index) })
  }

  #send(index: number, message: ToProcess): void {
    // A channel that closes meanwhile says so to this callback; its process's exit is what counts.
    this.#places[index]?.child?.send(message, () => undefined)
  }

  #received(place: Place, message: FromProcess): void {
    const { index } = place.plan
    switch (message.type) {
      case 'ready': {
        this.#stopTimer(place)
        place.sinceMs = performance.now()
        this.#switch.opened(index)
        this.#ready.set(index, message)
        if (place.restarts > 0) this.#options.log.info({ process: index, restarts: place.restarts }, 'a process takes calls again')
        if (this.#ready.size === this.#places.length) this.#tellReady?.()
        return
      }
      case 'failed':
        place.failure = message
        return
      case 'took':
      case 'ask':
      case 'answer':
        this.#switch.received(index, message)
    }
  }

  #exited(place: Place, code: number | null, signal: NodeJS.Signals | null): void {
    const { index } = place.plan
    const { log } = this.#options
    const lifeMs = performance.now() - place.sinceMs
    this.#stopTimer(place)
    this.#switch.closed(index)
    place.child = null
    if (this.#stopping) {
      // One that was still starting has no handler yet, and no call.
      if (code !== 0 && signal !== 'SIGTERM') this.#fail(1, null)
      return this.#endIfOver()
    }
    if (code === 0) {
      log.info({ process: index }, 'a process was drained and is over')
      place.over = true
      return this.#endIfOver()
    }
    const reason = place.failure?.message ?? (signal === null ? `it ended with code ${code ?? -1}` : `it ended by ${signal}`)
    if (this.#ready.size < this.#places.length) {
      // Not one has been running with the others yet: there are no calls to let finish.
      this.#fail(place.failure?.usage === true ? 2 : 1, place.failure === null ? `process ${index}: ${reason}` : reason)
      this.#stopping = true
      for (const { child } of this.#places) child?.kill('SIGKILL')
      return this.#endIfOver()
    }
    place.restarts++
    place.shortLives = lifeMs < PROCESS_SHORT_LIFE_MS ? place.shortLives + 1 : 1
    const pauseMs = Math.min(PROCESS_RESTART_MS_MAX, PROCESS_RESTART_MS * 2 ** (place.shortLives - 1))
    if (place.shortLives < PROCESS_SHORT_LIVES_MAX) {
      log.error({ process: index, reason, restarts: place.restarts, pause_ms: pauseMs }, 'a process died, its calls with it, and is started again')
      place.timer = setTimeout(() => { this.#begin(place) }, pauseMs)
      return
    }
    log.fatal({ process: index, reason, restarts: place.restarts }, 'a process does nothing but die: the others finish their calls and end')
    this.#fail(place.failure?.usage === true ? 2 : 1, `process ${index} died ${place.shortLives} times in a row: ${reason}`)
    this.stop()
  }

  /** The first reason is the one that is told. */
  #fail(code: 1 | 2, reason: string | null): void {
    if (this.#code === 0) this.#code = code
    this.#reason ??= reason
  }

  #endIfOver(): void {
    if (this.#places.some(({ child, over }) => child !== null || (!over && !this.#stopping))) return
    this.#tellEnded({ code: this.#code, reason: this.#reason })
  }

  #stopTimer(place: Place): void {
    if (place.timer !== null) clearTimeout(place.timer)
    place.timer = null
  }
}
