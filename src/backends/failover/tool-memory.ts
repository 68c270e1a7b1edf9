import { sameJson } from '../../call/tool-ledger.js'
import { BACKEND_TOOL_CALLS_KEPT } from '../../core/limits.js'
import type { ToolLedgerEntry, ToolReply } from '../backend.js'

interface MemoryCall {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  reply: ToolReply | null
  /** Calls of a later session that ask for the same and wait for this answer. */
  readonly joined: string[]
  /** Which answer of this life it was; 0 for one from before. */
  answer: number
}

export type KnownTool =
  | { readonly type: 'answered'; readonly reply: ToolReply }
  | { readonly type: 'running' }

/**
 * The tool calls of one call over all its backends. What one backend asked for and a second one asks for again is not run
 * again: it gets the answer that there is, or waits for the one that is on its way.
 */
export class ToolMemory {
  /** Calls that were not run because they had been run before. */
  spared = 0
  readonly #calls: MemoryCall[] = []
  #answers = 0

  constructor(before: readonly ToolLedgerEntry[]) {
    for (const { callId, name, args, ok, result } of before.slice(-BACKEND_TOOL_CALLS_KEPT)) {
      this.#calls.push({ callId, name, args, reply: { ok, value: result }, joined: [], answer: 0 })
    }
  }

  /** Answers that came so far in this life of the call: where a session that is connected now begins to lack some. */
  get answers(): number {
    return this.#answers
  }

  get running(): boolean {
    return this.#calls.some((call) => call.reply === null)
  }

  asked(callId: string, name: string, args: Readonly<Record<string, unknown>>): void {
    this.#calls.push({ callId, name, args, reply: null, joined: [], answer: 0 })
    if (this.#calls.length > BACKEND_TOOL_CALLS_KEPT) this.#calls.shift()
  }

  /** A later session asks `callId`. @returns null when nobody asked for that before */
  askedAgain(callId: string, name: string, args: Readonly<Record<string, unknown>>): KnownTool | null {
    const known = this.#calls.findLast((call) => call.name === name && sameJson(call.args, args))
    if (known === undefined) return null
    this.spared++
    if (known.reply !== null) return { type: 'answered', reply: known.reply }
    known.joined.push(callId)
    return { type: 'running' }
  }

  /** @returns the calls that this answers, its own first; none for one that is unknown or has its answer */
  answered(callId: string, reply: ToolReply): { readonly callIds: readonly string[]; readonly name: string } | null {
    const call = this.#calls.findLast((one) => one.callId === callId)
    if (call === undefined || call.reply !== null) return null
    call.reply = reply
    call.answer = ++this.#answers
    return { callIds: [callId, ...call.joined], name: call.name }
  }

  /** Answers that came after the first `known`. */
  answersSince(known: number): { readonly name: string; readonly reply: ToolReply }[] {
    return this.#calls.flatMap(({ name, reply, answer }) => (reply === null || answer <= known ? [] : [{ name, reply }]))
  }

  /** The backend took calls back: there will be no answer. */
  cancelled(callIds: readonly string[]): void {
    for (const callId of callIds) {
      const at = this.#calls.findLastIndex((call) => call.callId === callId && call.reply === null)
      if (at >= 0) this.#calls.splice(at, 1)
    }
  }

  ledger(): ToolLedgerEntry[] {
    return this.#calls.flatMap(({ callId, name, args, reply }) => (
      reply === null ? [] : [{ callId, name, args, ok: reply.ok, result: reply.value }]))
  }
}
