import { TOOL_CALLS_MAX, TOOLS_RUNNING_MAX } from '../core/limits.js'
import type { ToolCheckpoint } from './checkpoint.js'
import { recordedArguments } from './gateway-tools.js'
import type { ToolCallRecord } from './record.js'

/** One tool call of the model. */
interface LedgerCall {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly startedAtMs: number
  /** Carried out by the session itself; no tool runs, and no limit applies. */
  readonly gateway: boolean
  state: 'running' | 'answered'
  ok: boolean
  result: unknown
}

export type ToolDecision =
  | { readonly type: 'run'; readonly idempotencyKey: string }
  | { readonly type: 'refuse'; readonly error: string }
  /** Came before and runs still: its result answers both. */
  | { readonly type: 'ignore' }
  /** Came before and has a result. */
  | { readonly type: 'answer'; readonly ok: boolean; readonly value: unknown }

/** What a tool came back with. */
export interface ToolResult {
  readonly ok: boolean
  readonly value: unknown
  readonly error: string | undefined
}

export interface ToolAnswer {
  readonly callId: string
  readonly ok: boolean
  readonly value: unknown
  readonly record: ToolCallRecord
}

/** What the model is told of a tool call whose worker died. */
const LOST = 'The connection was lost while this ran, and whether it took effect is unknown. '
  + 'Check before you do it again.'

/**
 * Which tool calls ran, run and may run. The promise: one tool call runs at most once and is answered at most once.
 *
 *     (new) --known name, good arguments, room--> running       `run`
 *     (new) --otherwise--> answered with an error                `refuse`
 *     running --result, in time--> answered                      the answer, exactly once
 *     running --cancelled | limit--> answered with an error; a result after that is late and dropped
 *     running --the worker died--> answered with an error in the call's next life, never run again
 *
 * A call that was running when its worker died is answered with an error, whatever tool it was: nobody knows whether
 * it took effect, a second try would have a second idempotency key at best, and the model can look and decide.
 */
export class ToolLedger {
  readonly records: ToolCallRecord[]
  running = 0
  resultsLate = 0
  repeated = 0
  recordsDropped = 0
  readonly #callSid: string
  readonly #calls = new Map<string, LedgerCall>()
  /** Calls whose id had been used for something else before: a new backend instance counts from 1 again. */
  #reusedIds = 0
  readonly #lost: string[] = []

  constructor(callSid: string, before: readonly ToolCheckpoint[], records: readonly ToolCallRecord[]) {
    this.#callSid = callSid
    this.records = records.slice(-TOOL_CALLS_MAX)
    for (const tool of resumedTools(before)) {
      this.#calls.set(tool.callId, { ...tool, startedAtMs: 0, gateway: false, state: 'answered' })
    }
    for (const tool of before) if (tool.state === 'running') this.#lost.push(tool.callId)
  }

  /** `gateway`: the session carries it out itself. */
  call(
    callId: string, name: string, args: Readonly<Record<string, unknown>>, nowMs: number, gateway = false,
  ): ToolDecision {
    const known = this.#calls.get(callId)
    let key = `${this.#callSid}:${callId}`
    if (known !== undefined) {
      if (known.name === name && sameJson(known.args, args)) {
        this.repeated++
        return known.state === 'running' ? { type: 'ignore' } : { type: 'answer', ok: known.ok, value: known.result }
      }
      if (known.state === 'running') {
        return { type: 'refuse', error: 'This id belongs to another call that still runs.' }
      }
      key += `:${++this.#reusedIds}`
    }
    if (!gateway && this.running >= TOOLS_RUNNING_MAX) {
      return { type: 'refuse', error: 'Too many tools run at once. Wait for their results.' }
    }
    this.#calls.delete(callId)
    this.#calls.set(callId, {
      callId, name, args, startedAtMs: nowMs, gateway, state: 'running', ok: false, result: null,
    })
    if (!gateway) this.running++
    this.#forgetOld()
    return { type: 'run', idempotencyKey: key }
  }

  /** Null: the result is late (cancelled, timed out, answered, never asked for). */
  result(callId: string, result: ToolResult, nowMs: number, streamZeroMs: number): ToolAnswer | null {
    const { ok, value, error } = result
    const call = this.#calls.get(callId)
    if (call === undefined || call.state !== 'running') {
      this.resultsLate++
      return null
    }
    const answer = ok ? value : (value ?? { error: error ?? 'The tool failed.' })
    if (!call.gateway) this.running--
    call.state = 'answered'
    call.ok = ok
    call.result = answer
    const timing = { startMs: call.startedAtMs - streamZeroMs, ms: nowMs - call.startedAtMs }
    const record = this.#record(call.name, call.args, timing, ok, ok ? undefined : (error ?? 'failed'))
    return { callId, ok, value: answer, record }
  }

  /** A call that was answered without running, for the record. */
  refused(name: string, args: Readonly<Record<string, unknown>>, startMs: number, error: string): ToolCallRecord {
    return this.#record(name, args, { startMs, ms: 0 }, false, error)
  }

  /** Those of `callIds` that ran; their results are late from now on. */
  cancel(callIds: readonly string[], nowMs: number, streamZeroMs: number): string[] {
    const cancelled: string[] = []
    for (const callId of callIds) {
      const call = this.#calls.get(callId)
      if (call === undefined || call.state !== 'running') continue
      // Remembered: it may have taken effect, and the same call must not run again.
      call.state = 'answered'
      call.result = { error: 'This call was cancelled.' }
      if (!call.gateway) this.running--
      const timing = { startMs: call.startedAtMs - streamZeroMs, ms: nowMs - call.startedAtMs }
      this.#record(call.name, call.args, timing, false, 'cancelled')
      cancelled.push(callId)
    }
    return cancelled
  }

  runningIds(): string[] {
    const ids: string[] = []
    for (const call of this.#calls.values()) if (call.state === 'running' && !call.gateway) ids.push(call.callId)
    return ids
  }

  /** The call is over: enters what the session itself was carrying out, with whether it came to it. */
  closeGateway(ok: boolean, nowMs: number, streamZeroMs: number): void {
    for (const call of [...this.#calls.values()]) {
      if (call.state === 'running' && call.gateway) {
        this.result(call.callId, { ok, value: null, error: 'the call ended first' }, nowMs, streamZeroMs)
      }
    }
  }

  /** Calls that began before `startedBeforeMs` and run still. */
  overdue(startedBeforeMs: number): string[] {
    const ids: string[] = []
    for (const call of this.#calls.values()) {
      if (call.state === 'running' && !call.gateway && call.startedAtMs <= startedBeforeMs) ids.push(call.callId)
    }
    return ids
  }

  /** When the running call that began first began; null when none runs. */
  oldestStartMs(): number | null {
    for (const call of this.#calls.values()) if (call.state === 'running' && !call.gateway) return call.startedAtMs
    return null
  }

  /** Calls lost with the worker before, with the answer that their new backend gets; each once. */
  takeLost(): { readonly callId: string; readonly value: unknown }[] {
    return this.#lost.splice(0).map((callId) => ({ callId, value: { error: LOST } }))
  }

  snapshot(): ToolCheckpoint[] {
    const tools: ToolCheckpoint[] = []
    for (const { callId, name, args, state, ok, result } of this.#calls.values()) {
      tools.push({ callId, name, args, state, ok, result })
    }
    return tools
  }

  #record(
    name: string, args: Readonly<Record<string, unknown>>, timing: { readonly startMs: number; readonly ms: number },
    ok: boolean, error: string | undefined,
  ): ToolCallRecord {
    const shown = recordedArguments(name, args)
    const record: ToolCallRecord = error === undefined
      ? { name, args: shown, ...timing, ok }
      : { name, args: shown, ...timing, ok, error }
    this.records.push(record)
    if (this.records.length > TOOL_CALLS_MAX) {
      this.records.shift()
      this.recordsDropped++
    }
    return record
  }

  #forgetOld(): void {
    if (this.#calls.size <= TOOL_CALLS_MAX) return
    for (const call of this.#calls.values()) {
      if (call.state === 'running') continue
      this.#calls.delete(call.callId)
      return
    }
  }
}

/** The tool calls of a checkpoint as a new backend must know them: those that still ran have an error for an answer. */
export function resumedTools(tools: readonly ToolCheckpoint[]): Omit<ToolCheckpoint, 'state'>[] {
  return tools.map(({ callId, name, args, state, ok, result }) => (
    state === 'answered'
      ? { callId, name, args, ok, result }
      : { callId, name, args, ok: false, result: { error: LOST } }))
}

/** Equal as JSON, whatever the order of the members. Bounded by what a model can send. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const left = Object.entries(a)
  const right = new Map(Object.entries(b))
  return left.length === right.size && left.every(([key, value]) => right.has(key) && sameJson(value, right.get(key)))
}
