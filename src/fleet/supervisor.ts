import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { assert } from '../core/assert.js'
import { PROCESS_START_MS_MAX } from '../core/limits.js'
import type { Log } from '../telemetry/log.js'
import type { CallStore } from './store/call-store.js'
import { serveStore } from './store/channel-store.js'
import type { StoreReply, StoreRequest } from './store/channel-store.js'

/** Delay in ms before a process that died is started again. */
const PROCESS_RESTART_MS = 250
/** Maximum delay in ms. */
const PROCESS_RESTART_MS_MAX = 30_000
/** Minimum run time in ms: if a process runs for a shorter time, the delay before its next start is doubled. */
const PROCESS_SHORT_LIFE_MS = 10_000
/** Number of successive short runs of a process after which the supervisor ends all processes. */
const PROCESS_SHORT_LIVES_MAX = 5
/** Time in ms after DRAIN_TIMEOUT within which a process must end. */
const PROCESS_STOP_GRACE_MS = 30_000

export type FromProcess =
  | ({ readonly type: 'ready' } & ProcessReady)
  /**
   * The process could not start. `usage` is true if a setting or an argument is wrong, so that a restart does not help.
   */
  | { readonly type: 'failed'; readonly message: string; readonly usage: boolean }
  | StoreRequest

/** Configuration of all processes for a start or a roll. The supervisor does not interpret the plans. */
export interface Start<Plan> {
  /** The start data of each process, by its index. */
  readonly plans: readonly Plan[]
  /** Plan of the spare slot. A process runs in this slot only while all processes are being replaced. */
  readonly spare: Plan
  readonly env: NodeJS.ProcessEnv
  /**
   * Time in ms in which live calls may finish. A process that still runs after this time plus `stopGraceMs` is killed.
   */
  readonly drainTimeoutMs: number
}

export interface ProcessReady {
  readonly publicPort: number
  readonly opsPort: number
  readonly agents: readonly string[]
}

/**
 * Starts the processes of a gateway, restarts them, and stores their shared data. If a process dies, it is started
 * again after a pause. If it dies PROCESS_SHORT_LIVES_MAX times in a row, all processes drain and end. If an operator
 * drained a process, it is not started again.
 */
export class Supervisor<Plan> {
  /** Resolves when all processes have ended. */
  readonly ended: Promise<SupervisorEnd>
  readonly #options: SupervisorOptions<Plan>
  readonly #places: readonly Place<Plan>[]
  readonly #spare: Place<Plan>
  readonly #stopGraceMs: number
  /** Configuration for a process that starts now. */
  #start: Start<Plan>
  /** Maximum drain time in ms of the running processes. */
  #drainTimeoutMs: number
  #rolls = 0
  #rolling = false
  #resolveEnded: (end: SupervisorEnd) => void = () => undefined
  readonly #waiters = new Set<{ readonly done: () => boolean; readonly resolve: () => void }>()
  /** True when all processes have begun to accept calls. */
  #started = false
  #stopping = false
  #over = false
  #code: SupervisorEnd['code'] = 0
  #reason: string | null = null

  constructor(options: SupervisorOptions<Plan>) {
    this.#options = options
    this.#stopGraceMs = options.stopGraceMs ?? PROCESS_STOP_GRACE_MS
    this.#start = options.start
    this.#drainTimeoutMs = options.start.drainTimeoutMs
    const place = (plan: Plan, index: number): Place<Plan> => ({
      index,
      plan,
      child: null,
      ready: null,
      failure: null,
      restarts: 0,
      shortLives: 0,
      roll: 0,
      sinceMs: 0,
      timer: null,
      replaced: false,
      over: false,
    })
    const { plans, spare } = options.start
    this.#places = plans.map(place)
    this.#spare = { ...place(spare, plans.length), over: true }
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve
    })
  }

  /**
   * Starts all processes. Resolves when all of them accept calls. If a process cannot start, all processes are ended
   * and the result is null; `ended` then has the reason.
   */
  async start(): Promise<readonly ProcessReady[] | null> {
    assert(
      this.#places.every(({ child }) => child === null),
      'a supervisor starts once',
    )
    for (const place of this.#places) this.#begin(place, this.#start.env)
    await this.#until(() => this.#over || this.#places.every(({ ready }) => ready !== null))
    if (this.#over) return null
    this.#started = true
    return this.#places.flatMap(({ ready }) => (ready === null ? [] : [ready]))
  }

  /**
   * Replaces all processes with the program that is on the disk, using the configuration `next`. Processes are replaced
   * one at a time; only one roll runs at a time. A spare process starts first. Then each process drains, and a new
   * process starts in its slot. Finally the spare process drains. No call is cut, and the number of processes that
   * accept calls does not change.
   * @returns null; or the reason why the first process could not start, in which case nothing has changed
   */
  async roll(next: Start<Plan>): Promise<string | null> {
    const { log } = this.#options
    assert(!this.#rolling, 'one roll at a time')
    assert(next.plans.length === this.#places.length, 'a roll does not change the number of processes')
    await this.#until(() => this.#stopping || this.#started)
    if (this.#stopping) return null
    const spare = this.#spare
    this.#rolling = true
    try {
      spare.plan = next.spare
      spare.roll = this.#rolls + 1
      this.#begin(spare, next.env)
      await this.#until(() => this.#stopping || spare.ready !== null || spare.child === null)
      if (this.#stopping) return null
      if (spare.ready === null) return spare.failure?.message ?? 'the spare process ended before it took calls'
      this.#drainTimeoutMs = Math.max(this.#drainTimeoutMs, next.drainTimeoutMs)
      this.#start = next
      this.#rolls++
      for (const place of this.#places) await this.#replace(place, next)
      if (spare.child !== null) this.#drain(spare)
      await this.#until(() => this.#stopping || spare.child === null)
      this.#drainTimeoutMs = next.drainTimeoutMs
      if (!this.#stopping) log.info({ processes: this.#places.length }, 'all processes are replaced')
      return null
    } finally {
      this.#rolling = false
    }
  }

  async #replace(place: Place<Plan>, next: Start<Plan>): Promise<void> {
    place.plan = next.plans[place.index] as Plan
    // The plan is replaced first, so that a process that dies during the roll starts again with the new settings.
    if (this.#stopping || place.over) return
    if (place.child !== null && place.roll < this.#rolls) {
      place.replaced = true
      this.#drain(place)
    }
    await this.#until(() => this.#stopping || place.over || (place.ready !== null && place.roll === this.#rolls))
    if (!this.#stopping) this.#options.log.info({ process: place.index }, 'a process is replaced')
  }

  #drain(place: Place<Plan>): void {
    const { child } = place
    this.#stopTimer(place)
    child?.kill('SIGTERM')
    place.timer = setTimeout(() => {
      this.#options.log.error({ process: place.index }, 'a process did not end in time and is killed')
      child?.kill('SIGKILL')
    }, this.#drainTimeoutMs + this.#stopGraceMs)
  }

  /**
   * Drains all processes. A process that drains refuses new calls, waits until its live calls end, and then ends.
   * Idempotent.
   */
  stop(): void {
    if (this.#stopping) return
    this.#stopping = true
    for (const place of this.#all) {
      this.#stopTimer(place)
      place.child?.kill('SIGTERM')
    }
    const deadline = setTimeout(() => {
      this.#options.log.error({}, 'processes did not end in time and are killed')
      for (const { child } of this.#all) child?.kill('SIGKILL')
    }, this.#drainTimeoutMs + this.#stopGraceMs)
    void this.ended.then(() => {
      clearTimeout(deadline)
    })
    this.#changed()
  }

  /** Ends all processes now, with their calls. */
  stopNow(): void {
    this.stop()
    this.#fail(1, null)
    // SIGQUIT is used, because a second SIGTERM could count as a copy of the first.
    for (const { child } of this.#all) child?.kill('SIGQUIT')
    setTimeout(() => {
      for (const { child } of this.#all) child?.kill('SIGKILL')
    }, this.#stopGraceMs / 10).unref()
  }

  get #all(): readonly Place<Plan>[] {
    return [...this.#places, this.#spare]
  }

  #begin(place: Place<Plan>, env: NodeJS.ProcessEnv): void {
    const { index, plan } = place
    place.failure = null
    place.sinceMs = performance.now()
    const child = fork(this.#options.entry, [], { env, serialization: 'advanced' })
    place.child = child
    child.on('message', (message: FromProcess) => {
      this.#received(place, message)
    })
    child.on('error', (error) => {
      this.#options.log.error({ err: error, process: index }, 'the channel to a process failed')
    })
    child.on('exit', (code, signal) => {
      this.#exited(place, code, signal)
    })
    place.timer = setTimeout(() => {
      place.failure = {
        message: `it did not accept calls within ${PROCESS_START_MS_MAX / 1000} s of its start`,
        usage: false,
      }
      child.kill('SIGKILL')
    }, PROCESS_START_MS_MAX)
    this.#send(place, { type: 'start', plan, restarts: place.restarts })
  }

  #send({ child }: Place<Plan>, message: ToProcess<Plan>): void {
    // The callback prevents that `send` throws if the channel is closed. The process's `exit` event is handled
    // elsewhere.
    child?.send(message, () => undefined)
  }

  #received(place: Place<Plan>, message: FromProcess): void {
    const { index } = place
    switch (message.type) {
      case 'ready': {
        this.#stopTimer(place)
        place.sinceMs = performance.now()
        place.ready = message
        if (place.restarts > 0)
          this.#options.log.info({ process: index, restarts: place.restarts }, 'a process accepts calls again')
        return this.#changed()
      }
      case 'failed':
        place.failure = message
        return
      case 'store': {
        const { store } = this.#options
        if (store !== null) void serveStore(store, message).then((reply) => this.#send(place, reply))
      }
    }
  }

  #exited(place: Place<Plan>, code: number | null, signal: NodeJS.Signals | null): void {
    const { index } = place
    const { log } = this.#options
    const lifeMs = performance.now() - place.sinceMs
    const tookCalls = place.ready !== null
    this.#stopTimer(place)
    place.child = null
    place.ready = null
    if (this.#stopping) {
      // An end by SIGTERM is not a failure: a process that is still starting has no signal handler and no calls.
      if (code !== 0 && signal !== 'SIGTERM') this.#fail(1, null)
      return this.#changed()
    }
    const reason =
      place.failure?.message ?? (signal === null ? `it ended with code ${code ?? -1}` : `it ended by ${signal}`)
    if (place === this.#spare) {
      if (code !== 0 && tookCalls) log.error({ process: index, reason }, 'the spare process died')
      place.failure ??= { message: reason, usage: false }
      return this.#changed()
    }
    if (place.replaced) {
      place.replaced = false
      place.restarts = 0
      place.shortLives = 0
      if (code !== 0) log.error({ process: index, reason }, 'a process that was being replaced ended with an error')
      return this.#beginNew(place)
    }
    if (code === 0) {
      log.info({ process: index }, 'a process has drained and ended')
      place.over = true
      return this.#changed()
    }
    if (!this.#started) {
      // All processes are killed, because the gateway has not started and has no calls.
      this.#fail(place.failure?.usage === true ? 2 : 1, place.failure === null ? `process ${index}: ${reason}` : reason)
      this.#stopping = true
      for (const { child } of this.#places) child?.kill('SIGKILL')
      return this.#changed()
    }
    place.restarts++
    place.shortLives = lifeMs < PROCESS_SHORT_LIFE_MS ? place.shortLives + 1 : 1
    const pauseMs = Math.min(PROCESS_RESTART_MS_MAX, PROCESS_RESTART_MS * 2 ** (place.shortLives - 1))
    if (place.shortLives < PROCESS_SHORT_LIVES_MAX) {
      log.error(
        { process: index, reason, restarts: place.restarts, pause_ms: pauseMs },
        'a process died and is started again',
      )
      place.timer = setTimeout(() => {
        this.#beginNew(place)
      }, pauseMs)
      return
    }
    log.fatal(
      { process: index, reason, restarts: place.restarts },
      'a process died too often: the others finish their calls and end',
    )
    this.#fail(
      place.failure?.usage === true ? 2 : 1,
      `process ${index} died ${place.shortLives} times in a row: ${reason}`,
    )
    this.stop()
  }

  #beginNew(place: Place<Plan>): void {
    place.plan = this.#start.plans[place.index] as Plan
    place.roll = this.#rolls
    this.#begin(place, this.#start.env)
  }

  /** Stores a failure. Only the first reason is kept. */
  #fail(code: 1 | 2, reason: string | null): void {
    if (this.#code === 0) this.#code = code
    this.#reason ??= reason
  }

  #until(done: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.add({ done, resolve })
      this.#changed()
    })
  }

  /**
   * Checks what follows from a change. It runs when a process begins to accept calls or ends, and when the supervisor
   * stops.
   */
  #changed(): void {
    const left = this.#all.some(({ child, over }) => child !== null || (!over && !this.#stopping))
    if (!left && !this.#over) {
      this.#over = true
      this.#resolveEnded({ code: this.#code, reason: this.#reason })
    }
    for (const waiter of this.#waiters) {
      if (!waiter.done()) continue
      this.#waiters.delete(waiter)
      waiter.resolve()
    }
  }

  #stopTimer(place: Place<Plan>): void {
    if (place.timer !== null) clearTimeout(place.timer)
    place.timer = null
  }
}

/**
 * Messages between the supervisor and its processes, over the channel that `fork` creates. Secrets are sent only over
 * this channel, never in arguments, environment or log.
 */
export type ToProcess<Plan> =
  | {
      readonly type: 'start'
      readonly plan: Plan
      /** Number of times that this process has been started again. */
      readonly restarts: number
    }
  | StoreReply

interface SupervisorOptions<Plan> {
  /** Module that each process runs. It waits for the `start` message. */
  readonly entry: string
  readonly start: Start<Plan>
  readonly stopGraceMs?: number
  /** Store that the processes share; null if each process has its own store. */
  readonly store: CallStore | null
  readonly log: Log
}

/** Exit code, and the reason if the code is not 0. */
interface SupervisorEnd {
  readonly code: 0 | 1 | 2
  readonly reason: string | null
}

/** Slot for a process, with its ports and its folder. */
interface Place<Plan> {
  readonly index: number
  plan: Plan
  child: ChildProcess | null
  /** Message with which the process reported that it accepts calls; null before this message, and without a process. */
  ready: ProcessReady | null
  /** Reason that the process reported, because it could not start; null without a report. */
  failure: { readonly message: string; readonly usage: boolean } | null
  restarts: number
  shortLives: number
  /** Number of the roll after which the process was started; 0 before the first roll. */
  roll: number
  /**
   * Time in ms, on the monotonic clock, at which the process was started or, later, at which it began to accept calls.
   */
  sinceMs: number
  /** Timer of the current step: the pause before a start, the start itself, or the drain during a replacement. */
  timer: NodeJS.Timeout | null
  /** True while the process is being replaced: it drains, and a new process starts in its slot. */
  replaced: boolean
  /** True if the process was drained and will not be started again. */
  over: boolean
}
