import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { assert } from '../core/assert.js'
import {
  PROCESS_RESTART_MS,
  PROCESS_RESTART_MS_MAX,
  PROCESS_SHORT_LIFE_MS,
  PROCESS_SHORT_LIVES_MAX,
  PROCESS_START_MS_MAX,
  PROCESS_STOP_GRACE_MS,
} from '../core/limits.js'
import type { Log } from '../telemetry/log.js'
import type { CallStore } from './call-store.js'
import { serveStore } from './channel-store.js'
import type { StoreReply, StoreRequest } from './channel-store.js'

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

export type FromProcess =
  | ({ readonly type: 'ready' } & ProcessReady)
  /** It could not start. `usage`: because of a setting or an argument, so that a restart does not help. */
  | { readonly type: 'failed'; readonly message: string; readonly usage: boolean }
  | StoreRequest

export interface ProcessReady {
  readonly publicPort: number
  readonly opsPort: number
  readonly agents: readonly string[]
}

interface SupervisorOptions<Plan> {
  /** Module that each process runs; it waits for the `start` message. */
  readonly entry: string
  /** The start data of each process, by its index; plain data that the supervisor does not read. */
  readonly plans: readonly Plan[]
  readonly env: NodeJS.ProcessEnv
  /** How long live calls may take to finish; a process that still runs `stopGraceMs` later is killed. */
  readonly drainTimeoutMs: number
  readonly stopGraceMs?: number
  /** What the processes share where they have no store of their own; null where they do. */
  readonly store: CallStore | null
  readonly log: Log
}

/** The exit code, and the reason when the code is not 0. */
interface SupervisorEnd {
  readonly code: 0 | 1 | 2
  readonly reason: string | null
}

interface Node<Plan> {
  readonly index: number
  readonly plan: Plan
  child: ChildProcess | null
  /** Why it could not start, as it reported. */
  failure: { readonly message: string; readonly usage: boolean } | null
  restarts: number
  shortLives: number
  /** Monotonic: when it was started; once it takes calls, when it began to. */
  sinceMs: number
  /** Set during the pause before a start, and until the process takes calls. */
  timer: NodeJS.Timeout | null
  /** True: it was drained, and is not started again. */
  over: boolean
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
  readonly #nodes: readonly Node<Plan>[]
  readonly #ready = new Map<number, ProcessReady>()
  readonly #stopGraceMs: number
  #resolveEnded: (end: SupervisorEnd) => void = () => undefined
  #resolveReady: (() => void) | null = null
  #stopping = false
  #code: SupervisorEnd['code'] = 0
  #reason: string | null = null

  constructor(options: SupervisorOptions<Plan>) {
    this.#options = options
    this.#stopGraceMs = options.stopGraceMs ?? PROCESS_STOP_GRACE_MS
    this.#nodes = options.plans.map((plan, index) => ({
      index,
      plan,
      child: null,
      failure: null,
      restarts: 0,
      shortLives: 0,
      sinceMs: 0,
      timer: null,
      over: false,
    }))
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve
    })
  }

  /**
   * Starts all processes. Resolves when each takes calls. Resolves with null when one cannot start: then all have
   * ended, and `ended` has the reason.
   */
  async start(): Promise<readonly ProcessReady[] | null> {
    assert(this.#resolveReady === null, 'a supervisor starts once')
    const ready = new Promise<true>((resolve) => {
      this.#resolveReady = () => {
        resolve(true)
      }
    })
    for (const node of this.#nodes) this.#begin(node)
    const all = await Promise.race([ready, this.ended.then(() => false)])
    return all ? this.#nodes.map(({ index }) => this.#ready.get(index) as ProcessReady) : null
  }

  /** Drains every process: it takes no new calls, waits for its live ones, and ends. Idempotent. */
  stop(): void {
    if (this.#stopping) return
    this.#stopping = true
    for (const node of this.#nodes) {
      this.#stopTimer(node)
      node.child?.kill('SIGTERM')
    }
    const deadline = setTimeout(() => {
      this.#options.log.error({}, 'processes did not end in time, and are killed')
      for (const { child } of this.#nodes) child?.kill('SIGKILL')
    }, this.#options.drainTimeoutMs + this.#stopGraceMs)
    void this.ended.then(() => {
      clearTimeout(deadline)
    })
    this.#endIfOver()
  }

  /** Ends every process now, with its calls. */
  stopNow(): void {
    this.stop()
    this.#fail(1, null)
    // SIGQUIT, because a second SIGTERM could be taken for a repetition of the first.
    for (const { child } of this.#nodes) child?.kill('SIGQUIT')
    setTimeout(() => {
      for (const { child } of this.#nodes) child?.kill('SIGKILL')
    }, this.#stopGraceMs / 10).unref()
  }

  #begin(node: Node<Plan>): void {
    const { index, plan } = node
    node.failure = null
    node.sinceMs = performance.now()
    const child = fork(this.#options.entry, [], { env: this.#options.env, serialization: 'advanced' })
    node.child = child
    child.on('message', (message: FromProcess) => {
      this.#received(node, message)
    })
    child.on('error', (error) => {
      this.#options.log.error({ err: error, process: index }, 'the channel to a process failed')
    })
    child.on('exit', (code, signal) => {
      this.#exited(node, code, signal)
    })
    node.timer = setTimeout(() => {
      node.failure = { message: `it takes no calls ${PROCESS_START_MS_MAX / 1000} s after its start`, usage: false }
      child.kill('SIGKILL')
    }, PROCESS_START_MS_MAX)
    this.#send(node, { type: 'start', plan, restarts: node.restarts })
  }

  #send({ child }: Node<Plan>, message: ToProcess<Plan>): void {
    // Without a callback, `send` throws on a closed channel; the process's exit is handled anyway.
    child?.send(message, () => undefined)
  }

  #received(node: Node<Plan>, message: FromProcess): void {
    const { index } = node
    switch (message.type) {
      case 'ready': {
        this.#stopTimer(node)
        node.sinceMs = performance.now()
        this.#ready.set(index, message)
        if (node.restarts > 0)
          this.#options.log.info({ process: index, restarts: node.restarts }, 'a process takes calls again')
        if (this.#ready.size === this.#nodes.length) this.#resolveReady?.()
        return
      }
      case 'failed':
        node.failure = message
        return
      case 'store': {
        const { store } = this.#options
        if (store !== null) void serveStore(store, message).then((reply) => this.#send(node, reply))
      }
    }
  }

  #exited(node: Node<Plan>, code: number | null, signal: NodeJS.Signals | null): void {
    const { index } = node
    const { log } = this.#options
    const lifeMs = performance.now() - node.sinceMs
    this.#stopTimer(node)
    node.child = null
    if (this.#stopping) {
      // A process that is still starting has no signal handler yet, and no calls.
      if (code !== 0 && signal !== 'SIGTERM') this.#fail(1, null)
      return this.#endIfOver()
    }
    if (code === 0) {
      log.info({ process: index }, 'a process was drained and is over')
      node.over = true
      return this.#endIfOver()
    }
    const reason =
      node.failure?.message ?? (signal === null ? `it ended with code ${code ?? -1}` : `it ended by ${signal}`)
    if (this.#ready.size < this.#nodes.length) {
      // Not all processes have started yet, so there are no calls to wait for.
      this.#fail(node.failure?.usage === true ? 2 : 1, node.failure === null ? `process ${index}: ${reason}` : reason)
      this.#stopping = true
      for (const { child } of this.#nodes) child?.kill('SIGKILL')
      return this.#endIfOver()
    }
    node.restarts++
    node.shortLives = lifeMs < PROCESS_SHORT_LIFE_MS ? node.shortLives + 1 : 1
    const pauseMs = Math.min(PROCESS_RESTART_MS_MAX, PROCESS_RESTART_MS * 2 ** (node.shortLives - 1))
    if (node.shortLives < PROCESS_SHORT_LIVES_MAX) {
      log.error(
        { process: index, reason, restarts: node.restarts, pause_ms: pauseMs },
        'a process died, its calls with it, and is started again',
      )
      node.timer = setTimeout(() => {
        this.#begin(node)
      }, pauseMs)
      return
    }
    log.fatal(
      { process: index, reason, restarts: node.restarts },
      'a process does nothing but die: the others finish their calls and end',
    )
    this.#fail(
      node.failure?.usage === true ? 2 : 1,
      `process ${index} died ${node.shortLives} times in a row: ${reason}`,
    )
    this.stop()
  }

  /** Keeps the first reason. */
  #fail(code: 1 | 2, reason: string | null): void {
    if (this.#code === 0) this.#code = code
    this.#reason ??= reason
  }

  #endIfOver(): void {
    if (this.#nodes.some(({ child, over }) => child !== null || (!over && !this.#stopping))) return
    this.#resolveEnded({ code: this.#code, reason: this.#reason })
  }

  #stopTimer(node: Node<Plan>): void {
    if (node.timer !== null) clearTimeout(node.timer)
    node.timer = null
  }
}
