import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { assert } from '../core/assert.js'
import { PROCESS_START_MS_MAX } from '../core/limits.js'
import type { Log } from '../telemetry/log.js'
import type { CallStore } from './store/call-store.js'
import { serveStore } from './store/channel-store.js'
import type { StoreReply, StoreRequest } from './store/channel-store.js'

/**
 * Delay before a process that died is started again, its maximum, and the run time below which the delay is doubled.
 */
const PROCESS_RESTART_MS = 250
const PROCESS_RESTART_MS_MAX = 30_000
const PROCESS_SHORT_LIFE_MS = 10_000
/** Short runs of one process in a row after which all processes end. */
const PROCESS_SHORT_LIVES_MAX = 5
/** A process has this long beyond DRAIN_TIMEOUT to end. */
const PROCESS_STOP_GRACE_MS = 30_000

export type FromProcess =
  | ({ readonly type: 'ready' } & ProcessReady)
  /** It could not start. `usage`: because of a setting or an argument, so that a restart does not help. */
  | { readonly type: 'failed'; readonly message: string; readonly usage: boolean }
  | StoreRequest

/** Configuration of the processes of a start. Plain data that the supervisor does not read. */
export interface Start<Plan> {
  /** The start data of each process, by its index. */
  readonly plans: readonly Plan[]
  /** Plan of the spare place, which has a process while the others are replaced one after the other. */
  readonly spare: Plan
  readonly env: NodeJS.ProcessEnv
  /** How long live calls may take to finish; a process that still runs `stopGraceMs` later is killed. */
  readonly drainTimeoutMs: number
}

export interface ProcessReady {
  readonly publicPort: number
  readonly opsPort: number
  readonly agents: readonly string[]
}

/**
 * Starts the processes of a gateway, keeps them running, and keeps what they share. A process that dies is
 * started again after a pause; the others continue. When one dies PROCESS_SHORT_LIVES_MAX times in a row, all end,
 * after the others have finished their calls. A process that an operator drained is not started again.
 */
export class Supervisor<Plan> {
  /** Resolves when no process is left. */
  readonly ended: Promise<SupervisorEnd>
  readonly #options: SupervisorOptions<Plan>
  readonly #places: readonly Place<Plan>[]
  readonly #spare: Place<Plan>
  readonly #stopGraceMs: number
  /** Configuration of a process that is started now. */
  #start: Start<Plan>
  /** The longest drain of the processes that run. */
  #drainTimeoutMs: number
  #rolls = 0
  #rolling = false
  #resolveEnded: (end: SupervisorEnd) => void = () => undefined
  readonly #waiters = new Set<{ readonly done: () => boolean; readonly resolve: () => void }>()
  /** All processes have taken calls. */
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
   * Starts all processes. Resolves when each takes calls. Resolves with null when one cannot start: then all have
   * ended, and `ended` has the reason.
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
   * Replaces all processes by such that run the program as it is on the disk now, with `next`: one is started in the
   * spare place, then each drains and is followed by another in its place, then that in the spare place drains. No call
   * is cut, and as many processes as before take calls all the time. Call it again when it has resolved.
   * @returns why the first one could not start, in which case nothing is changed; null when all are replaced, or when
   *   the supervisor stops
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
    // One that died meanwhile was, or will be, started with the new settings.
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

  /** Drains every process: it takes no new calls, waits for its live ones, and ends. Idempotent. */
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

  /** Ends every process now, with its calls. */
  stopNow(): void {
    this.stop()
    this.#fail(1, null)
    // SIGQUIT, because a second SIGTERM could be taken for a repetition of the first.
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
      place.failure = { message: `it takes no calls ${PROCESS_START_MS_MAX / 1000} s after its start`, usage: false }
      child.kill('SIGKILL')
    }, PROCESS_START_MS_MAX)
    this.#send(place, { type: 'start', plan, restarts: place.restarts })
  }

  #send({ child }: Place<Plan>, message: ToProcess<Plan>): void {
    // Without a callback, `send` throws on a closed channel; the process's exit is handled anyway.
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
      // A process that is still starting has no signal handler yet, and no calls.
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
      // Not all processes have started yet, so there are no calls to wait for.
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

  /** Keeps the first reason. */
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

  /** A process began to take calls or ended, or the supervisor stops. */
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
 * Messages between the supervisor and its processes, over the channel that `fork` makes. Secrets travel only here: not
 * in arguments, not in the environment, not in the log.
 */
export type ToProcess<Plan> =
  | {
      readonly type: 'start'
      readonly plan: Plan
      /** How often this process was started again. */
      readonly restarts: number
    }
  | StoreReply

interface SupervisorOptions<Plan> {
  /** Module that each process runs; it waits for the `start` message. */
  readonly entry: string
  readonly start: Start<Plan>
  readonly stopGraceMs?: number
  /** Store that the processes share if they have none of their own; null if they do. */
  readonly store: CallStore | null
  readonly log: Log
}

/** The exit code, and the reason when the code is not 0. */
interface SupervisorEnd {
  readonly code: 0 | 1 | 2
  readonly reason: string | null
}

/** A place for a process: its ports and its folder. */
interface Place<Plan> {
  readonly index: number
  plan: Plan
  child: ChildProcess | null
  /** Message of the process when it began to take calls; null before, and without a process. */
  ready: ProcessReady | null
  /** Why it could not start, as it reported. */
  failure: { readonly message: string; readonly usage: boolean } | null
  restarts: number
  shortLives: number
  /** The roll after which the process was started; 0 before the first. */
  roll: number
  /** Monotonic: when it was started; once it takes calls, when it began to. */
  sinceMs: number
  /** Set during the pause before a start, until the process takes calls, and while it is replaced. */
  timer: NodeJS.Timeout | null
  /** True: it drains, and another one is started in its place. */
  replaced: boolean
  /** True: it was drained, and is not started again. */
  over: boolean
}
