import { TOOL_CALLS_MAX } from '../../core/limits.js'
import { asksForAnswer, type ToolWait } from '../backend-events.js'
import type { ToolCallEnd } from '../call-log.js'
import type { CallLogRecords, LoggedToolCall } from '../documents/log-entry.js'
import type { RunningTool, SessionResume } from '../documents/checkpoint.js'
import { earlierIn, logSince } from '../earlier-call.js'
import { secretCallId } from './digit-collection.js'
import { COLLECT_TOOL, isBuiltIn, recordedArguments, sessionTool } from './gateway-tools.js'
import { withoutNoValues } from './value-fault.js'

/** Maximum number of tool calls that run simultaneously in one phone call. */
export const TOOLS_RUNNING_MAX = 8
/** Maximum number of rounds of tool calls before the model must say something to the caller. */
export const TOOL_ROUNDS_MAX = 8
const ENOUGH_ROUNDS =
  `You have called tools ${TOOL_ROUNDS_MAX} times without an answer for the caller. Call no more: tell the caller what you know, ` +
  'and what you could not find out.'
const REPEATED = 'You have made this call already since the caller spoke. This is its answer.'

/** Current time of the session, and the zero of the times in its records. */
interface LedgerClock {
  readonly nowMs: number
  readonly zeroMs: number
}

/** Result for the next worker's model while the outcome of a call is unknown. */
const STILL_PENDING = {
  pending: true,
  note: 'Nobody knows yet how it ends. Do not call it again; you get its outcome as a message of the system.',
}

/** Result for the model if a tool call's worker or node died. The text does not mention if the tool has an effect. */
const LOST =
  'The connection was lost while this ran. If it only looks something up, call it again. Otherwise it is unknown whether ' +
  'it took effect: say neither that it did nor that it did not, do not repeat it, and offer a human if it matters.'

/** Result for the model if the call was cut off, but no worker died. */
export const CUT_OFF =
  'This was cut off while it ran, and it is unknown whether it took effect: say neither that it did nor that it did not, do ' +
  'not repeat it, and offer a human if it matters.'
/** Error code of a tool call whose effect is unknown. */
export const UNCERTAIN = 'TOOL_UNCERTAIN'
/** Error code of a tool call that did not run, because its intent could not be stored. */
const UNSTORED = 'STORE_DOWN'

const COLLECT_AGAIN = `The line had a gap while the caller entered this, and what they entered is lost. Call ${COLLECT_TOOL} again.`

/**
 * Tracks tool calls and decides which may run. A tool call runs at most once and is answered at most once.
 *
 *     (new) --fewer than TOOLS_RUNNING_MAX run--> running       `run`
 *     (new) --otherwise, or an equal call runs--> answered with an error   `refuse`
 *     (new) --an equal call has succeeded in this turn--> answered with its result   `repeat`
 *     (new) --after TOOL_ROUNDS_MAX rounds of this turn--> answered with an error   `enough`
 *     running --result, in time--> answered                      the answer, exactly once
 *     running --cancelled | limit--> answered with an error; a result after that is late and dropped
 *     running --the worker died--> answered with an error by the next worker, never run again
 *     running --result arrives later--> pending --outcome, or end of the wait--> answered, even by the next worker
 *
 * A call that was running when its worker died is always answered with an error, because its effect is unknown.
 *
 * Each call that runs has an occurrence: the number of earlier calls in the log with this tool and these arguments,
 * from 0. The root call's SID, the tool, the arguments and the occurrence make the idempotency key of the effect
 * (`effectKey`). Another worker or node that continues from the log therefore gives equal calls equal keys.
 *
 * - Refused calls do not count. Calls that did not run because the store was unavailable do not count either. A node
 * that continues from an older state does not have these calls, and must compute the same keys.
 * - If the newest equal call is lost or uncertain, a repetition has the same key and therefore does not run.
 * - All calls that a full log has dropped count. Therefore an occurrence is never used twice.
 * - While a call runs, an equal call with another id is refused.
 *
 * Each call is logged once, when it is answered, for any reason.
 */
export class ToolLedger {
  running = 0
  /** Number of rounds of tool calls since the caller's last turn. */
  #rounds = 0
  /** Tool calls since the caller's last turn or the agent's last answer, whichever is later. */
  readonly #thisTurn = new Set<string>()
  readonly #past: Pick<CallLogRecords, 'toolCalls' | 'dropped'>
  readonly #log: (call: LoggedToolCall) => void
  readonly #clock: () => LedgerClock
  readonly #calls = new Map<string, LedgerCall>()
  readonly #effects: ReadonlySet<string>
  readonly #changes: ReadonlySet<string>
  readonly #lost: { readonly callId: string; readonly value: unknown }[] = []

  /**
   * @param past  the call log, to which `log` appends
   * @param log  receives each call when it is answered
   * @param resume  state from the previous worker: its answered calls are kept, its running calls are lost
   * @param zeroMs  zero of the times in `resume`, on the clock of this session
   * @param effects  names of the tools that have an effect
   * @param changes  names of tools that change something, including tools that may run again
   */
  constructor(
    past: Pick<CallLogRecords, 'toolCalls' | 'dropped'>,
    log: (call: LoggedToolCall) => void,
    clock: () => LedgerClock,
    resume?: SessionResume,
    zeroMs = 0,
    effects: ReadonlySet<string> = new Set(),
    changes: ReadonlySet<string> = new Set(),
  ) {
    this.#past = past
    this.#log = log
    this.#clock = clock
    this.#effects = effects
    this.#changes = changes
    if (resume === undefined) return
    for (const { callId, name, args, startMs, state } of resume.checkpoint.waits ?? []) {
      if (state !== 'waiting') continue
      const call = { callId, name, args, startedAtMs: zeroMs + startMs, gateway: false, waited: 'now' } as const
      this.#calls.set(callId, { ...call, state: 'pending', ok: false, result: null })
    }
    // The calls of an earlier call do not count: their ids may be used again, and their results may be of another person.
    const { checkpoint, log: all } = resume
    for (const tool of resumedTools({ ...resume, log: logSince(all, earlierIn(checkpoint, all)) })) {
      if (this.#calls.has(tool.callId)) continue
      this.#calls.set(tool.callId, { ...tool, startedAtMs: 0, gateway: false, waited: 'now', state: 'answered' })
    }
    const { toolsRunning } = resume.checkpoint
    for (const running of toolsRunning) {
      const { callId, name, args, startMs } = running
      this.#lost.push({ callId, value: lostAnswer(running, toolsRunning) })
      if (isBuiltIn(name)) continue // not lost: the session continues or ends the action of a built-in tool
      const record = {
        name,
        args: recordedArguments(name, args),
        startMs,
        ms: 0,
        ok: false,
        error: 'lost with its worker',
      }
      log({ callId, end: 'lost', record, args, result: { error: LOST } })
    }
  }

  /** Notes that the caller has said something new. */
  turn(): void {
    this.#rounds = 0
    this.#thisTurn.clear()
  }

  /** Notes that the agent has answered. Later calls may need fresh results. */
  answered(): void {
    this.#thisTurn.clear()
  }

  /** True if the model must not call tools until the caller's next turn. */
  get exhausted(): boolean {
    return this.#rounds > TOOL_ROUNDS_MAX
  }

  /**
   * Decides about a tool call.
   * @param gateway  true if the session itself performs the call
   */
  call(
    callId: string,
    name: string,
    args: Readonly<Record<string, unknown>>,
    gateway = false,
    waited: ToolWait = 'now',
  ): ToolDecision {
    const known = this.#calls.get(callId)
    if (known !== undefined) {
      if (known.name === name && sameJson(known.args, args)) {
        if (known.state !== 'answered') return { type: 'ignore' }
        return { type: 'answer', ok: known.ok, value: known.gateway ? known.result : withoutNoValues(known.result) }
      }
      if (known.state !== 'answered') {
        return { type: 'refuse', error: 'This id belongs to another call that still runs.' }
      }
    }
    if (!gateway && this.running >= TOOLS_RUNNING_MAX) {
      return { type: 'refuse', error: 'Too many tools run at once. Wait for their results.' }
    }
    for (const other of this.#calls.values())
      if (other.state === 'running' && other.name === name && sameJson(other.args, args))
        return { type: 'refuse', error: 'The same call still runs. Wait for its result.' }
    if (!gateway) {
      if (this.running === 0) this.#rounds++
      if (this.exhausted) return { type: 'enough', error: ENOUGH_ROUNDS }
      for (const earlierId of this.#thisTurn) {
        const earlier = this.#calls.get(earlierId)
        if (earlier?.ok === true && earlier.name === name && sameJson(earlier.args, args))
          return { type: 'repeat', value: { remark: REPEATED, answer: withoutNoValues(earlier.result) } }
      }
      this.#thisTurn.add(callId)
    }
    const occurrence = this.#occurrence(name, args)
    this.#calls.delete(callId)
    this.#calls.set(callId, {
      callId,
      name,
      args,
      startedAtMs: this.#clock().nowMs,
      gateway,
      waited,
      state: 'running',
      ok: false,
      result: null,
    })
    if (!gateway) this.running++
    this.#forgetOld()
    return { type: 'run', occurrence }
  }

  /**
   * @returns null if the result is late or wrong, because the tool call was cancelled, timed out or already answered,
   * or does not exist
   */
  result(callId: string, result: ToolResult, end: ToolCallEnd = 'answered'): ToolAnswer | null {
    const { ok, value, error, recorded } = result
    const call = this.#calls.get(callId)
    if (call === undefined || call.state === 'answered') return null
    const answer = ok ? (value ?? null) : (value ?? { error: error ?? 'The tool failed.' })
    call.ok = ok
    call.result = recorded ?? answer
    this.#answered(call, call.gateway ? 'built-in' : end, ok ? undefined : (error ?? 'failed'))
    return { name: call.name, quiet: !asksForAnswer(call.waited, ok), ok, value: answer }
  }

  /** Marks a running call as pending, because its result arrives later. @returns the call; null if it is not running */
  pending(callId: string): Pick<LedgerCall, 'callId' | 'name' | 'args' | 'startedAtMs'> | null {
    const call = this.#calls.get(callId)
    if (call === undefined || call.state !== 'running') return null
    call.state = 'pending'
    this.running--
    return call
  }

  /**
   * Logs the late outcome of a call after its wait was given up. The outcome is a second entry of that call. A later
   * call with equal arguments may run.
   */
  late(
    { callId, name, args, startedAtMs }: Pick<LedgerCall, 'callId' | 'name' | 'args' | 'startedAtMs'>,
    { ok, value: result, error }: ToolResult,
  ): void {
    this.#ended({ callId, name, args, startedAtMs, ok, result }, 'answered', error)
  }

  /** Logs a tool call that is answered with an error and does not run. */
  refused(callId: string, name: string, args: Readonly<Record<string, unknown>>, startMs: number, error: string): void {
    const record = { name, args: recordedArguments(name, args), startMs, ms: 0, ok: false, error }
    this.#log({ callId, end: 'refused', record, args, result: { error } })
  }

  /**
   * Cancels calls. From now on, their results count as late, and their effects are uncertain.
   * @returns the ids of the calls in `callIds` that were running
   */
  cancel(callIds: readonly string[]): string[] {
    const cancelled: string[] = []
    for (const callId of callIds) {
      const call = this.#calls.get(callId)
      if (call === undefined || call.state !== 'running') continue
      // The call is remembered, because it may have taken effect and must not run again.
      const effect = this.hasEffect(call.name)
      call.result = { error: effect ? CUT_OFF : 'This call was cancelled.' }
      this.#answered(call, 'cancelled', effect ? UNCERTAIN : 'cancelled')
      cancelled.push(callId)
    }
    return cancelled
  }

  /** True if the caller waits for the result of a running call. */
  get awaited(): boolean {
    for (const call of this.#calls.values())
      if (call.state === 'running' && !call.gateway && call.waited !== 'later') return true
    return false
  }

  runningIds(): string[] {
    const ids: string[] = []
    for (const call of this.#calls.values()) if (call.state === 'running' && !call.gateway) ids.push(call.callId)
    return ids
  }

  hasEffect(name: string): boolean {
    return this.#effects.has(name)
  }

  /** True for a running call of a tool with an effect. */
  isEffect(callId: string): boolean {
    const call = this.#calls.get(callId)
    return call?.state === 'running' && this.hasEffect(call.name)
  }

  /** Names of the running tools with an effect, once for each running call. */
  get effectsRunning(): readonly string[] {
    if (this.#effects.size === 0 || this.running === 0) return []
    return this.runningNames().filter((name) => this.hasEffect(name))
  }

  /** Names of the running tools, including tools that the session is performing. */
  runningNames(): string[] {
    const names: string[] = []
    for (const call of this.#calls.values()) if (call.state === 'running') names.push(call.name)
    return names
  }

  /**
   * Answers, at the end of the phone call, the pending tool calls and the tool calls that the session performs. Such a
   * tool call counts as done only if its success was confirmed.
   * @param asAsked  true if the tool that the session was performing ended the call
   */
  close(asAsked: boolean): void {
    const pending = { ok: false, value: STILL_PENDING, error: 'no outcome before the end of the conversation' }
    for (const { callId, name, state, gateway } of [...this.#calls.values()]) {
      if (state === 'pending') this.result(callId, pending, 'abandoned')
      if (state !== 'running' || !gateway) continue
      if (sessionTool(name)?.outside === true)
        this.result(callId, { ok: false, value: { error: CUT_OFF }, error: UNCERTAIN })
      else {
        const ok = asAsked && sessionTool(name)?.endsCall === true
        this.result(callId, { ok, value: null, error: 'the call ended first' })
      }
    }
  }

  /** Ids of running calls that started at or before `startedBeforeMs`. */
  overdue(startedBeforeMs: number): string[] {
    const ids: string[] = []
    for (const call of this.#calls.values()) {
      if (call.state === 'running' && !call.gateway && call.startedAtMs <= startedBeforeMs) ids.push(call.callId)
    }
    return ids
  }

  /** Start of the oldest running call; null if no call is running. */
  oldestStartMs(): number | null {
    for (const call of this.#calls.values()) if (call.state === 'running' && !call.gateway) return call.startedAtMs
    return null
  }

  /**
   * Returns the calls that were lost with the previous worker, with the answer for the new backend. Each lost call is
   * returned once.
   */
  takeLost(): { readonly callId: string; readonly value: unknown }[] {
    return this.#lost.splice(0)
  }

  /** Calls without a result. */
  unanswered(): RunningTool[] {
    const { zeroMs } = this.#clock()
    return [...this.#calls.values()]
      .filter(({ state }) => state === 'running')
      .map(({ callId, name, args, startedAtMs }) => ({ callId, name, args, startMs: startedAtMs - zeroMs }))
  }

  #occurrence(name: string, args: Readonly<Record<string, unknown>>): number {
    const { toolCalls, dropped } = this.#past
    const same = toolCalls.filter(
      ({ end, record, args: made }) =>
        end !== 'refused' && record.error !== UNSTORED && record.name === name && sameJson(made, args),
    )
    const open = same.length - 1 - same.findLastIndex((call) => !isOpenEnd(call))
    return dropped.toolCalls + same.length - open
  }

  #answered(call: LedgerCall, end: ToolCallEnd, error: string | undefined): void {
    if (!call.gateway && call.state === 'running') this.running--
    call.state = 'answered'
    this.#ended(call, end, error)
  }

  #ended(
    call: Pick<LedgerCall, 'callId' | 'name' | 'args' | 'startedAtMs' | 'ok' | 'result'>,
    end: ToolCallEnd,
    error: string | undefined,
  ): void {
    const { callId, name, args, startedAtMs, ok, result } = call
    const { nowMs, zeroMs } = this.#clock()
    const record = {
      name,
      args: recordedArguments(name, args),
      startMs: startedAtMs - zeroMs,
      ms: nowMs - startedAtMs,
      ok,
      ...(error === undefined ? {} : { error }),
      ...(this.hasEffect(name) || this.#changes.has(name) ? { effect: true as const } : {}),
    }
    this.#log({ callId, end, record, args, result })
  }

  #forgetOld(): void {
    if (this.#calls.size <= TOOL_CALLS_MAX) return
    for (const call of this.#calls.values()) {
      if (call.state !== 'answered') continue
      this.#calls.delete(call.callId)
      return
    }
  }
}

export interface ToolResult {
  readonly ok: boolean
  readonly value: unknown
  readonly error: string | undefined
  /** Value that the call record contains instead of `value`. */
  readonly recorded?: unknown
}

interface ToolAnswer {
  readonly name: string
  /** True if the model need not speak about the result now. */
  readonly quiet: boolean
  readonly ok: boolean
  readonly value: unknown
}

/** True if the effect of the tool call is unknown, so that the tool call must not be repeated. */
export function isOpenEnd({ end, record }: LoggedToolCall): boolean {
  return end === 'lost' || end === 'expired' || end === 'abandoned' || record.error === UNCERTAIN
}

/**
 * Returns the tool calls of a phone call for its next worker and backend. Calls that were running have an error as
 * result. Pending calls are reported as pending.
 */
export function resumedTools({ checkpoint, log }: SessionResume): {
  callId: string
  name: string
  args: Readonly<Record<string, unknown>>
  ok: boolean
  result: unknown
  pending?: true
}[] {
  return [
    ...log.toolCalls
      .filter(({ end }) => end !== 'refused')
      .map(({ callId, args, result, record }) => ({ callId, name: record.name, args, ok: record.ok, result })),
    ...checkpoint.toolsRunning.map((running, _index, all) => {
      const { callId, name, args } = running
      return { callId, name, args, ok: false, result: lostAnswer(running, all) }
    }),
    ...(checkpoint.waits ?? [])
      .filter(({ state }) => state === 'waiting')
      .map(({ callId, name, args }) => ({
        callId,
        name,
        args,
        ok: true,
        result: STILL_PENDING,
        pending: true as const,
      })),
  ]
}

/**
 * True if two values are equal as JSON, in any order of members. The depth is limited because the size of a model's
 * message is limited.
 */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const left = Object.entries(a)
  const right = new Map(Object.entries(b))
  return left.length === right.size && left.every(([key, value]) => right.has(key) && sameJson(value, right.get(key)))
}

/** One tool call of the model. */
interface LedgerCall {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly startedAtMs: number
  /** True if the session itself performs the tool call. A tool then does not run, and limits do not apply. */
  readonly gateway: boolean
  readonly waited: ToolWait
  /** `pending`: the model has received a first answer, and the outcome arrives later. */
  state: 'running' | 'pending' | 'answered'
  ok: boolean
  result: unknown
}

type ToolDecision =
  /**
   * `occurrence`: number of earlier calls of this tool with these arguments in the root call's chain; see `ToolLedger`.
   */
  | { readonly type: 'run'; readonly occurrence: number }
  | { readonly type: 'refuse'; readonly error: string }
  /** This call is already running, so its result answers both calls. */
  | { readonly type: 'ignore' }
  /** The call already has a result. */
  | { readonly type: 'answer'; readonly ok: boolean; readonly value: unknown }
  /** Result of an equal call with another id, because the model repeats its call. */
  | { readonly type: 'repeat'; readonly value: unknown }
  /** The tool call is refused, and the model must not call tools until the caller has said something. */
  | { readonly type: 'enough'; readonly error: string }

/** Returns the answer for a tool call that ran when its worker died. */
function lostAnswer({ callId, name }: RunningTool, running: readonly RunningTool[]): { readonly error: string } {
  const reached = running.some((other) => other.callId === secretCallId(callId))
  return { error: name === COLLECT_TOOL && !reached ? COLLECT_AGAIN : LOST }
}
