import { TOOL_CALLS_MAX } from '../../core/limits.js'
import { asksForAnswer, type ToolWait } from '../backend-events.js'
import type { ToolCallEnd } from '../call-log.js'
import type { CallLogRecords, LoggedToolCall } from '../documents/log-entry.js'
import type { RunningTool, SessionResume } from '../documents/checkpoint.js'
import { secretCallId } from './digit-collection.js'
import { COLLECT_TOOL, isBuiltIn, recordedArguments, sessionTool } from './gateway-tools.js'
import { withoutNoValues } from './value-fault.js'

/** Tool calls that may run at once for one call. */
export const TOOLS_RUNNING_MAX = 8
/** Times that a model may call tools and wait for them, one after the other, before it says something to the caller. */
export const TOOL_ROUNDS_MAX = 8
const ENOUGH_ROUNDS =
  `You have called tools ${TOOL_ROUNDS_MAX} times without an answer for the caller. Call no more: tell the caller what you know, ` +
  'and what you could not find out.'
const REPEATED = 'You have made this call already since the caller spoke. This is its answer.'

/** The time of the session, and zero of the times of its records. */
interface LedgerClock {
  readonly nowMs: number
  readonly zeroMs: number
}

/** Result for the next worker's model while the outcome of a call is not known yet. */
const STILL_PENDING = {
  pending: true,
  note: 'Nobody knows yet how it ends. Do not call it again; you get its outcome as a message of the system.',
}

/** Result for the model when the worker, or the node, of a tool call died. It does not say whether the tool has an effect. */
const LOST =
  'The connection was lost while this ran. If it only looks something up, call it again. Otherwise it is unknown whether ' +
  'it took effect: say neither that it did nor that it did not, do not repeat it, and offer a human if it matters.'

/** The same where it was cut off, and no worker died. */
export const CUT_OFF =
  'This was cut off while it ran, and it is unknown whether it took effect: say neither that it did nor that it did not, do ' +
  'not repeat it, and offer a human if it matters.'
/** Code of a call of which nobody knows whether it took effect. */
export const UNCERTAIN = 'TOOL_UNCERTAIN'

const COLLECT_AGAIN = `The line had a gap while the caller entered this, and what they entered is lost. Call ${COLLECT_TOOL} again.`

/**
 * Tracks tool calls and decides which may run. A tool call runs at most once and is answered at most once.
 *
 *     (new) --fewer than TOOLS_RUNNING_MAX run--> running       `run`
 *     (new) --otherwise, or the same call runs--> answered with an error   `refuse`
 *     (new) --the same call has succeeded in this turn--> answered with its result   `repeat`
 *     (new) --after TOOL_ROUNDS_MAX rounds of this turn--> answered with an error   `enough`
 *     running --result, in time--> answered                      the answer, exactly once
 *     running --cancelled | limit--> answered with an error; a result after that is late and dropped
 *     running --the worker died--> answered with an error by the next worker, never run again
 *     running --its answer comes later--> pending --outcome, or nobody waits any more--> answered; also with the next worker
 *
 * A call that was running when its worker died is always answered with an error: it is unknown whether it took effect.
 *
 * Each call that runs has an occurrence, from 0. With the root call's SID, the tool and the arguments it makes the key of
 * the effect (`effectKey`). It is the number of earlier calls of the same tool with the same arguments, as the log has
 * them, so that another worker or node that continues from the same log gives the same call the same key. Calls that
 * were refused do not count. A newest call that is lost or uncertain keeps its place: the same call again has its key,
 * and therefore does not run again. Calls that a full log has dropped all count, so that a number is not used twice.
 * While a call runs, the same call under another id is refused.
 *
 * Each call is logged once, when it is answered, for whatever reason.
 */
export class ToolLedger {
  running = 0
  /** Rounds of calls since the caller's last turn, and the calls since then or since the agent's last answer. */
  #rounds = 0
  readonly #thisTurn = new Set<string>()
  readonly #past: Pick<CallLogRecords, 'toolCalls' | 'dropped'>
  readonly #log: (call: LoggedToolCall) => void
  readonly #clock: () => LedgerClock
  readonly #calls = new Map<string, LedgerCall>()
  readonly #effects: ReadonlySet<string>
  readonly #lost: { readonly callId: string; readonly value: unknown }[] = []

  /**
   * @param past  the call log, which `log` appends to
   * @param log  called with each call when it is answered
   * @param resume  from the previous worker: its answered calls are known, its running calls are lost
   * @param zeroMs  of the times in `resume`, on the clock of this session
   * @param effects  names of the tools that have an effect
   */
  constructor(
    past: Pick<CallLogRecords, 'toolCalls' | 'dropped'>,
    log: (call: LoggedToolCall) => void,
    clock: () => LedgerClock,
    resume?: SessionResume,
    zeroMs = 0,
    effects: ReadonlySet<string> = new Set(),
  ) {
    this.#past = past
    this.#log = log
    this.#clock = clock
    this.#effects = effects
    if (resume === undefined) return
    for (const { callId, name, args, startMs, state } of resume.checkpoint.waits ?? []) {
      if (state !== 'waiting') continue
      const call = { callId, name, args, startedAtMs: zeroMs + startMs, gateway: false, waited: 'now' } as const
      this.#calls.set(callId, { ...call, state: 'pending', ok: false, result: null })
    }
    for (const tool of resumedTools(resume)) {
      if (this.#calls.has(tool.callId)) continue
      this.#calls.set(tool.callId, { ...tool, startedAtMs: 0, gateway: false, waited: 'now', state: 'answered' })
    }
    const { toolsRunning } = resume.checkpoint
    for (const running of toolsRunning) {
      const { callId, name, args, startMs } = running
      this.#lost.push({ callId, value: lostAnswer(running, toolsRunning) })
      if (isBuiltIn(name)) continue // the session continues or ends the built-in action itself
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

  /** The caller has said something new. */
  turn(): void {
    this.#rounds = 0
    this.#thisTurn.clear()
  }

  /** The agent has answered: what it asks for after that may have changed. */
  answered(): void {
    this.#thisTurn.clear()
  }

  /** No tool may be called until the caller's next turn. */
  get exhausted(): boolean {
    return this.#rounds > TOOL_ROUNDS_MAX
  }

  /**
   * @param gateway  the session performs the call itself
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

  /** @returns null when the result is late: the call was cancelled, timed out, already answered, or never made */
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

  /** The answer of a running call comes later. @returns the call; null where it does not run */
  pending(callId: string): Pick<LedgerCall, 'callId' | 'name' | 'args' | 'startedAtMs'> | null {
    const call = this.#calls.get(callId)
    if (call === undefined || call.state !== 'running') return null
    call.state = 'pending'
    this.running--
    return call
  }

  /** The outcome of a call that was given up has come: it is logged once more, and the same call may be made again. */
  late(
    { callId, name, args, startedAtMs }: Pick<LedgerCall, 'callId' | 'name' | 'args' | 'startedAtMs'>,
    { ok, value: result, error }: ToolResult,
  ): void {
    this.#ended({ callId, name, args, startedAtMs, ok, result }, 'answered', error)
  }

  /** Logs a call that does not run and is answered with an error. */
  refused(callId: string, name: string, args: Readonly<Record<string, unknown>>, startMs: number, error: string): void {
    const record = { name, args: recordedArguments(name, args), startMs, ms: 0, ok: false, error }
    this.#log({ callId, end: 'refused', record, args, result: { error } })
  }

  /** @returns those of `callIds` that were running; their results are late from now on. An effect is uncertain. */
  cancel(callIds: readonly string[]): string[] {
    const cancelled: string[] = []
    for (const callId of callIds) {
      const call = this.#calls.get(callId)
      if (call === undefined || call.state !== 'running') continue
      // The call is kept: it may have taken effect, and the same call must not run again.
      const effect = this.hasEffect(call.name)
      call.result = { error: effect ? CUT_OFF : 'This call was cancelled.' }
      this.#answered(call, 'cancelled', effect ? UNCERTAIN : 'cancelled')
      cancelled.push(callId)
    }
    return cancelled
  }

  /** Somebody waits for a running call. */
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

  /** A call that runs, of a tool with an effect. */
  isEffect(callId: string): boolean {
    const call = this.#calls.get(callId)
    return call?.state === 'running' && this.hasEffect(call.name)
  }

  /** Names of the tools with an effect that run, once a call. */
  get effectsRunning(): readonly string[] {
    if (this.#effects.size === 0 || this.running === 0) return []
    return this.runningNames().filter((name) => this.hasEffect(name))
  }

  /** Names of the tools that run, and of those that the session is performing. */
  runningNames(): string[] {
    const names: string[] = []
    for (const call of this.#calls.values()) if (call.state === 'running') names.push(call.name)
    return names
  }

  /**
   * The phone call is over: answers what is open but does not run. Nothing counts as done that nobody has confirmed.
   * @param asAsked  it has ended by what the session was performing
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

  /** Running calls that began at or before `startedBeforeMs`. */
  overdue(startedBeforeMs: number): string[] {
    const ids: string[] = []
    for (const call of this.#calls.values()) {
      if (call.state === 'running' && !call.gateway && call.startedAtMs <= startedBeforeMs) ids.push(call.callId)
    }
    return ids
  }

  /** Start of the oldest running call; null when none runs. */
  oldestStartMs(): number | null {
    for (const call of this.#calls.values()) if (call.state === 'running' && !call.gateway) return call.startedAtMs
    return null
  }

  /** Calls lost with the previous worker, with the answer for the new backend; each is returned once. */
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
      (call) => call.end !== 'refused' && call.record.name === name && sameJson(call.args, args),
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
  /** Replaces `value` in the call record. */
  readonly recorded?: unknown
}

interface ToolAnswer {
  readonly name: string
  /** The model need not say anything now. */
  readonly quiet: boolean
  readonly ok: boolean
  readonly value: unknown
}

/** Nobody knows whether the call took effect, and the same call must not be tried again. */
export function isOpenEnd({ end, record }: LoggedToolCall): boolean {
  return end === 'lost' || end === 'expired' || end === 'abandoned' || record.error === UNCERTAIN
}

/**
 * The tool calls of a call for its next worker and backend. Those that were still running have an error as result, pending
 * ones that they are pending.
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

/** Equal as JSON, in any order of members. The size of a model's message bounds the depth. */
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
  /** Performed by the session itself; no tool runs, and no limit applies. */
  readonly gateway: boolean
  readonly waited: ToolWait
  /** `pending`: the model has an answer for now, and its outcome comes later. */
  state: 'running' | 'pending' | 'answered'
  ok: boolean
  result: unknown
}

type ToolDecision =
  /** `occurrence`: how many calls of this tool with these arguments the root call has made before; see `ToolLedger`. */
  | { readonly type: 'run'; readonly occurrence: number }
  | { readonly type: 'refuse'; readonly error: string }
  /** The same call still runs: its result answers both. */
  | { readonly type: 'ignore' }
  /** The same call already has a result. */
  | { readonly type: 'answer'; readonly ok: boolean; readonly value: unknown }
  /** As `answer`, of another call that was the same: a model that asks again and again. */
  | { readonly type: 'repeat'; readonly value: unknown }
  /** As `refuse`, and the model may call no tool until the caller has said something. */
  | { readonly type: 'enough'; readonly error: string }

/** The answer for a tool call that ran when its worker died. */
function lostAnswer({ callId, name }: RunningTool, running: readonly RunningTool[]): { readonly error: string } {
  const reached = running.some((other) => other.callId === secretCallId(callId))
  return { error: name === COLLECT_TOOL && !reached ? COLLECT_AGAIN : LOST }
}
