import { CallerIdentity } from '../agents/caller-identity.js'
import type { ToolRunner } from '../agents/tool-runner.js'
import type { AttemptGate, Verdict } from '../agents/verification-lock.js'
import type { CallCheckpoint } from '../call/checkpoint.js'
import type { CallInput, CallOutput } from '../call/events.js'
import { recordedArguments } from '../call/gateway-tools.js'
import type { ToolCallRecord } from '../call/record.js'
import type { Clock } from '../core/clock.js'
import type { CallStart, FromCall } from './call-messages.js'

type ToolResult = Extract<CallInput, { type: 'tool-result' }>
type ToolRun = Extract<CallOutput, { type: 'run-tool' }>

export interface CallToolsOptions {
  readonly start: CallStart
  readonly checkpoint: CallCheckpoint | null
  readonly tools: Pick<ToolRunner, 'run'>
  readonly clock: Clock
  /** On the clock of the stream. */
  readonly streamMs: (nowMs: number) => number
  readonly post: (message: FromCall) => void
  /** Runs work of this call outside the tick; a fault in it fails this call alone. */
  readonly guard: (work: () => void) => void
  /** The caller proved who he is; told before the answer of the tool that says so, because rules look at it. */
  readonly identified: (identity: Readonly<Record<string, unknown>>) => void
  /** A tool has answered: for the record, then for the session. */
  readonly answered: (record: ToolCallRecord, result: ToolResult) => void
}

/** The tools of one call that run now, and the caller as they know him. */
export class CallTools {
  readonly #options: CallToolsOptions
  readonly #running = new Map<string, AbortController>()
  readonly #gate: MainThreadGate
  readonly #caller: CallerIdentity
  #identified: boolean

  constructor(options: CallToolsOptions) {
    this.#options = options
    const { checkpoint } = options
    this.#gate = new MainThreadGate(options.post)
    this.#caller = CallerIdentity.restored(checkpoint?.identity ?? null, checkpoint?.tools ?? [], this.#gate)
    this.#identified = this.#caller.verified !== null
  }

  run(run: ToolRun): void {
    const { start, tools, clock, streamMs, guard, answered } = this.#options
    const abort = new AbortController()
    this.#running.set(run.callId, abort)
    const startedAtMs = clock()
    const startMs = streamMs(startedAtMs)
    tools.run(run.name, run.args, {
      callSid: start.callSid, from: start.from, to: start.to, agent: start.agent.name,
      caller: this.#caller, idempotencyKey: run.idempotencyKey, signal: abort.signal,
    }).then((outcome) => guard(() => {
      this.#noteIdentity()
      if (!this.#running.delete(run.callId)) return
      const error = outcome.ok || outcome.code === undefined ? {} : { error: outcome.code }
      const ms = clock() - startedAtMs
      answered(
        { name: run.name, args: recordedArguments(run.name, run.args), startMs, ms, ok: outcome.ok, ...error },
        { type: 'tool-result', callId: run.callId, ok: outcome.ok, value: outcome.value, ...error },
      )
    }), (thrown: unknown) => guard(() => {
      throw thrown
    }))
  }

  /** Attempts that the caller's number still has, as the main thread says. */
  attemptsLeft(left: number): void {
    this.#gate.answered(left)
  }

  cancel(callIds: readonly string[]): void {
    for (const callId of callIds) this.#running.get(callId)?.abort()
  }

  /** Ends all; none of them answers any more. */
  release(): void {
    for (const abort of this.#running.values()) abort.abort()
    this.#running.clear()
  }

  #noteIdentity(): void {
    const { verified } = this.#caller
    if (verified === null || this.#identified) return
    this.#identified = true
    this.#options.identified(verified)
  }
}

/**
 * Asks the main thread for each verification attempt: it counts the wrong answers of a number over the calls of all media
 * workers. One attempt at a time, as `VerifyTool` takes them.
 */
class MainThreadGate implements AttemptGate {
  readonly #post: (message: FromCall) => void
  #waiting: ((left: number) => void) | null = null

  constructor(post: (message: FromCall) => void) {
    this.#post = post
  }

  /** Never settles once the call is over: its tools are cancelled by their own signal. */
  take(): Promise<number> {
    return new Promise((resolve) => {
      this.#waiting = resolve
      this.#post({ type: 'verification-attempt' })
    })
  }

  /** The answer of the main thread. */
  answered(left: number): void {
    this.#waiting?.(left)
    this.#waiting = null
  }

  judged(verdict: Verdict): void {
    this.#post({ type: 'verification-verdict', verdict })
  }
}
