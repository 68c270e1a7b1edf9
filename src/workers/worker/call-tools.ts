import { businessValues } from '../../agents/file/business.js'
import { CallerIdentity } from '../../agents/tools/tool.js'
import { answerForm } from '../../agents/tools/answer-form.js'
import type { AnsweredTool } from '../../agents/tools/answer-form.js'
import type { EffectAnswer, PendingAnswer, ToolContext, ToolOutcome } from '../../agents/tools/tool.js'
import type { ToolRunner } from '../../agents/tools/tool-runner.js'
import type { AttemptGate, Verdict } from '../../agents/identity/verification-lock.js'
import { REPEATED_DIGITS_MIN, maskedDigits } from '../../call/tools/digit-collection.js'
import type { CallSession } from '../../call/call-session.js'
import type { CallInput, CallOutput } from '../../call/events.js'
import { faultyFields, withoutNoValues } from '../../call/tools/value-fault.js'
import { messageOf } from '../../core/errors.js'
import { forgetOldest } from '../../core/forget-oldest.js'
import { TOOL_CALLS_MAX } from '../../core/limits.js'
import { subscriberNumber } from '../../sautikit/phone.js'
import { plainJson } from '../../core/json.js'
import { toolSpanKey, traceparentOf } from '../../telemetry/trace-id.js'
import type { CallJournal } from '../shared/call-journal.js'
import type { CallStart, FromCall } from '../shared/call-messages.js'
import { effectKey } from '../shared/effects.js'
import { wallMsOf } from './worker-context.js'
import type { WorkerContext } from './worker-context.js'
import { earlierIn, logSince } from '../../call/earlier-call.js'
import type { WorkerDoor } from './worker-door.js'

type ToolResult = Extract<CallInput, { type: 'tool-result' }>
type ToolRun = Extract<CallOutput, { type: 'run-tool' }>

/** Interface of a call to the runner of its agent's tools. */
export type CallToolRunner = Pick<ToolRunner, 'run' | 'serverTools' | 'watchServers'>

interface CallToolsOptions {
  readonly start: CallStart
  readonly context: Pick<WorkerContext, 'clock' | 'wallClock'>
  readonly session: Pick<CallSession, 'language' | 'setIdentity'>
  readonly journal: CallJournal | null
  readonly tools: CallToolRunner
}

/** Runs the tools of one call. They share the caller's identity. */
export class CallTools {
  readonly #door: WorkerDoor
  readonly #options: CallToolsOptions
  readonly #running = new Map<string, AbortController>()
  /**
   * The newest tool calls that ran here, by their ids. The value is the tool; null for a tool of an MCP server or a
   * tool in code.
   */
  readonly #ran = new Map<string, AnsweredTool | null>()
  /** Number of runs of each id. */
  readonly #uses = new Map<string, number>()
  readonly #gate: MainThreadGate
  readonly #effects: MainThreadEffects
  readonly #caller: CallerIdentity
  #identified: boolean

  constructor(door: WorkerDoor, options: CallToolsOptions) {
    this.#door = door
    this.#options = options
    const { resume } = options.start
    this.#gate = new MainThreadGate(door.post)
    this.#effects = new MainThreadEffects(door.post)
    // Answers that were right in an earlier call prove nothing in this one.
    const { toolCalls = [], handovers = [] } =
      resume === null ? {} : logSince(resume.log, earlierIn(resume.checkpoint, resume.log))
    this.#caller = CallerIdentity.restored(
      resume?.checkpoint.identity ?? null,
      toolCalls,
      this.#gate,
      handovers.at(-1)?.atMs,
    )
    this.#identified = this.#caller.verified !== null
  }

  /**
   * @param digits  DTMF digits for the run's secret argument, which only the tool receives; empty if the run does not
   * need it
   */
  run(run: ToolRun, digits = ''): void {
    const { start, tools } = this.#options
    const { guard, handle, post } = this.#door
    const args = run.secret === undefined ? run.args : { ...run.args, [run.secret.argument]: digits }
    const abort = new AbortController()
    const key = effectKey(start.rootSid, run.name, run.args, run.occurrence)
    this.#running.set(run.callId, abort)
    this.#ran.set(run.callId, start.agent.tools.find(({ name }) => name === run.name) ?? null)
    forgetOldest(this.#ran, TOOL_CALLS_MAX)
    tools
      .run(run.name, args, {
        ...this.#context(key, abort),
        traceparent: this.#traceparentOf(run.callId),
        gate: {
          intend: () => this.#effects.intend(key, run),
          settle: this.#effects.settle,
        },
        coerced: () => post({ type: 'tool-coerced', tool: run.name }),
      })
      .then(
        (outcome) =>
          guard(() => {
            this.#noteIdentity()
            const running = this.#running.delete(run.callId)
            // Even if the session no longer waits for this tool, the main thread waits for the tool's outcome.
            if (outcome.pending !== undefined) return this.#pends(run, key, outcome.pending, running)
            if (!running) return
            if (outcome.ok) this.#noteFaulty(run.name, outcome.value)
            const result = resultOf(run, outcome)
            handle({ ...result, value: withoutDigits(result.value, digits) })
          }),
        (thrown: unknown) =>
          guard(() => {
            throw thrown
          }),
      )
  }

  /** Runs the tool that looks the caller up. The gateway, not the model, calls it and fills in its arguments. */
  lookUp(name: string): Promise<ToolOutcome> {
    const abort = new AbortController()
    const key = effectKey(this.#options.start.rootSid, name, {}, 0)
    this.#running.set(key, abort)
    return this.#options.tools
      .run(name, {}, this.#context(key, abort))
      .then((outcome) => {
        if (outcome.ok) this.#door.guard(() => this.#noteFaulty(name, outcome.value))
        return outcome
      })
      .finally(() => this.#running.delete(key))
  }

  /**
   * Result of a tool call in the form that a model reads. The session, its stages and its rules read the original
   * result.
   */
  forModel(callId: string, value: unknown): unknown {
    const tool = this.#ran.get(callId)
    return tool === undefined ? value : answerForm(withoutNoValues(value), tool)
  }

  #noteFaulty(tool: string, value: unknown): void {
    const fields = faultyFields(value, this.#options.start.from)
    if (fields.length > 0) this.#door.post({ type: 'values-left-out', tool, fields })
  }

  /** Trace parent of the tool's span, followed by the key of its export; undefined if traces are not exported. */
  #traceparentOf(callId: string): string | undefined {
    const { callSid, traceparent } = this.#options.start
    if (traceparent === undefined) return undefined
    const use = this.#uses.get(callId) ?? 0
    this.#uses.set(callId, use + 1)
    forgetOldest(this.#uses, TOOL_CALLS_MAX)
    return traceparentOf(callSid, toolSpanKey(callId, use))
  }

  #context(idempotencyKey: string, { signal }: AbortController): ToolContext {
    const { start, session, context } = this.#options
    const { language } = session
    const wallMs = wallMsOf(context)
    return {
      callSid: start.callSid,
      from: subscriberNumber(start.from) ?? '',
      to: start.to,
      agent: start.agent.name,
      language,
      wallMs,
      business: start.business == null ? undefined : businessValues(start.business, language || 'en', wallMs),
      variables: start.variables,
      traceparent: start.traceparent,
      caller: this.#caller,
      idempotencyKey,
      signal,
    }
  }

  #pends({ callId, name }: ToolRun, key: string, { id, expiresInMs }: PendingAnswer, running: boolean): void {
    const { post, handle } = this.#door
    const { waits } = this.#options.start.agent.tools.find((tool) => tool.name === name) ?? {}
    const waitMs = Math.min(waits?.for ?? 0, expiresInMs ?? Infinity)
    post({ type: 'tool-pending', key, waitMs, id })
    if (running) handle({ type: 'tool-pending', callId, waitMs })
  }

  /**
   * Takes the main thread's answer to a verification attempt: the number of attempts that the caller's number still
   * has.
   */
  attemptsLeft(left: number): void {
    this.#gate.answered(left)
  }

  /** Takes the main thread's answer about a tool with an effect: if the tool may run. */
  intended(key: string, answer: EffectAnswer): void {
    this.#effects.answered(key, answer)
  }

  cancel(callIds: readonly string[]): void {
    for (const callId of callIds) this.#running.get(callId)?.abort()
  }

  /** Cancels all tools. Later answers are dropped. */
  release(): void {
    for (const abort of this.#running.values()) abort.abort()
    this.#running.clear()
  }

  #noteIdentity(): void {
    const { verified } = this.#caller
    if (verified === null || this.#identified) return
    this.#identified = true
    const { session, journal, context } = this.#options
    const identity = plainJson(verified, 'an identity') as typeof verified
    journal?.writer.identity(identity, context.clock())
    // The identity is set before the tool's answer is handled, because the session's rules for this answer need the
    // identity.
    session.setIdentity(identity)
  }
}

/**
 * Gate that asks the main thread before each effect. An intent must outlive this worker, and only the main thread can
 * reach the fleet's store.
 */
class MainThreadEffects {
  readonly #post: (message: FromCall) => void
  readonly #waiting = new Map<string, (answer: EffectAnswer) => void>()

  constructor(post: (message: FromCall) => void) {
    this.#post = post
  }

  /** The promise never settles if the call ends first. At most TOOLS_RUNNING_MAX intents wait at a time. */
  intend(key: string, { callId, name, args }: ToolRun): Promise<EffectAnswer> {
    return new Promise((resolve) => {
      this.#waiting.set(key, resolve)
      this.#post({ type: 'tool-intent', key, tool: name, callId, args })
    })
  }

  readonly settle = (key: string, outcome: ToolOutcome): void => {
    this.#post({ type: 'tool-settled', key, outcome })
  }

  /** Takes the main thread's answer to an intent. */
  answered(key: string, answer: EffectAnswer): void {
    this.#waiting.get(key)?.(answer)
    this.#waiting.delete(key)
  }
}

/** A service may repeat the digits that it received. The model and the records must not contain them. */
function withoutDigits<T>(value: T, digits: string): T {
  if (digits.length < REPEATED_DIGITS_MIN) return value
  const masked = maskedDigits(digits)
  const visit = (part: unknown): unknown => {
    if (typeof part === 'string') return part.replaceAll(digits, masked)
    if (typeof part === 'number') return String(part).includes(digits) ? masked : part
    if (Array.isArray(part)) return part.map(visit)
    if (typeof part !== 'object' || part === null) return part
    return Object.fromEntries(
      Object.entries(part).map(([key, entry]) => [key.replaceAll(digits, masked), visit(entry)]),
    )
  }
  return visit(value) as T
}

/** Makes a tool's answer plain JSON, because it goes into the session and its checkpoint. */
function resultOf({ callId }: ToolRun, outcome: ToolOutcome): ToolResult {
  const error = outcome.ok || outcome.code === undefined ? {} : { error: outcome.code }
  try {
    return { type: 'tool-result', callId, ok: outcome.ok, value: plainJson(outcome.value, 'the result'), ...error }
  } catch (thrown) {
    return { type: 'tool-result', callId, ok: false, value: { error: messageOf(thrown) }, error: 'TOOL_RESPONSE' }
  }
}

/**
 * Gate that asks the main thread for each verification attempt. The main thread counts a number's wrong answers over
 * all media workers. `VerifyTool` makes one attempt at a time.
 */
class MainThreadGate implements AttemptGate {
  readonly #post: (message: FromCall) => void
  #waiting: ((left: number) => void) | null = null

  constructor(post: (message: FromCall) => void) {
    this.#post = post
  }

  /**
   * The promise never settles if the call ends first. That is harmless, because the call's tools are cancelled by a
   * signal.
   */
  take(): Promise<number> {
    return new Promise((resolve) => {
      this.#waiting = resolve
      this.#post({ type: 'verification-attempt' })
    })
  }

  /** Takes the main thread's answer to the attempt. */
  answered(left: number): void {
    this.#waiting?.(left)
    this.#waiting = null
  }

  judged(verdict: Verdict): void {
    this.#post({ type: 'verification-verdict', verdict })
  }
}
