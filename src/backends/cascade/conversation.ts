import type { BackendSession, ToolSpec } from '../backend.js'
import { recentHistory, recentTools } from '../prompts.js'
import { replyText } from '../tool-text.js'
import type { ChatMessage, ChatRequest } from './stages.js'

/** One sentence of an answer, and the duration of its audio that was delivered. */
export interface SpokenSentence {
  readonly text: string
  ms: number
}

/** What the agent said in one answer. */
export interface AgentEntry {
  readonly kind: 'agent'
  readonly itemId: string
  readonly sentences: SpokenSentence[]
  /** Time of the first sample; NaN before. */
  firstAtMs: number
  /** What the caller heard of it; null unless it was interrupted. */
  heard: string | null
}

export interface CallEntry {
  readonly callId: string
  readonly name: string
  readonly argumentsText: string
  answer: string | null
}

/** Tool calls of one answer. */
interface CallsEntry {
  readonly kind: 'calls'
  readonly calls: readonly CallEntry[]
  /** A request went out while some of them were still running. */
  sentOpen: boolean
}

type Entry = AgentEntry | CallsEntry | { readonly kind: 'caller' | 'note'; readonly text: string }

/** Beyond this the oldest entries are dropped, so that a long call does not outgrow the model's context. */
const ENTRIES_MAX = 400
const STILL_RUNNING = '{"status":"still running; its answer will follow"}'

/** The conversation as each request to the model contains it, without the words that the caller did not hear. */
export class Conversation {
  instructions: string
  tools: readonly ToolSpec[]
  readonly #entries: Entry[] = []

  constructor(session: BackendSession) {
    this.instructions = session.instructions
    this.tools = session.tools
    const calls = recentTools(session.toolLedger).map((entry, i): CallEntry => ({
      callId: `replayed-${i + 1}`,
      name: entry.name,
      argumentsText: JSON.stringify(entry.args),
      answer: replyText({ ok: entry.ok, value: entry.result }),
    }))
    if (calls.length > 0) this.#entries.push({ kind: 'calls', calls, sentOpen: false })
    for (const { role, text } of recentHistory(session.history)) {
      if (role === 'caller') this.caller(text)
      else this.said(text)
    }
  }

  caller(text: string): void {
    this.#add({ kind: 'caller', text })
  }

  note(text: string): void {
    this.#add({ kind: 'note', text })
  }

  /** Words of the agent that are no answer of this session, all heard. */
  said(text: string): void {
    this.agent('').sentences.push({ text, ms: 0 })
  }

  agent(itemId: string): AgentEntry {
    const entry: AgentEntry = { kind: 'agent', itemId, sentences: [], firstAtMs: NaN, heard: null }
    this.#add(entry)
    return entry
  }

  called(calls: readonly CallEntry[]): void {
    this.#add({ kind: 'calls', calls, sentOpen: false })
  }

  /**
   * @returns `open` while other calls of the same answer are running, `complete` for the last one, null for an unknown
   * or answered call
   */
  answered(callId: string, answer: string): 'open' | 'complete' | null {
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = this.#entries[i]
      if (entry?.kind !== 'calls') continue
      const call = entry.calls.find((one) => one.callId === callId)
      if (call === undefined) continue
      if (call.answer !== null) return null
      call.answer = answer
      // The model has continued without this result, so it is repeated at the end of the conversation.
      if (entry.sentOpen) this.note(`The tool ${call.name} has answered: ${answer}`)
      return entry.calls.every((one) => one.answer !== null) ? 'complete' : 'open'
    }
    return null
  }

  /** Truncates an answer to what the caller heard, and drops the answers after it. */
  truncate(itemId: string, playedMs: number): void {
    const at = this.#entries.findLastIndex((entry) => entry.kind === 'agent' && entry.itemId === itemId)
    if (at < 0) return
    for (const [i, entry] of this.#entries.entries()) {
      if (i >= at && entry.kind === 'agent' && entry.heard === null)
        entry.heard = heardOf(entry.sentences, i === at ? playedMs : 0)
    }
  }

  request(model: string): ChatRequest {
    const messages: ChatMessage[] = [{ role: 'system', content: this.instructions }]
    for (const entry of this.#entries) messages.push(...messagesOf(entry))
    return {
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
      ...(this.tools.length === 0
        ? {}
        : {
            tools: this.tools.map(({ name, description, parameters }) => ({
              type: 'function',
              function: { name, description, parameters },
            })),
            tool_choice: 'auto',
          }),
    }
  }

  #add(entry: Entry): void {
    this.#entries.push(entry)
    if (this.#entries.length > ENTRIES_MAX) this.#entries.shift()
  }
}

function messagesOf(entry: Entry): ChatMessage[] {
  switch (entry.kind) {
    case 'caller':
      return [{ role: 'user', content: entry.text }]
    case 'note':
      return [{ role: 'system', content: entry.text }]
    case 'agent': {
      const text = entry.heard ?? entry.sentences.map((sentence) => sentence.text).join(' ')
      return text === ''
        ? []
        : [{ role: 'assistant', content: entry.heard === null ? text : `${text} [the caller interrupted]` }]
    }
    case 'calls': {
      if (entry.calls.some((call) => call.answer === null)) entry.sentOpen = true
      return [
        {
          role: 'assistant',
          content: null,
          tool_calls: entry.calls.map(({ callId, name, argumentsText }) => ({
            id: callId,
            type: 'function',
            function: { name, arguments: argumentsText },
          })),
        },
        ...entry.calls.map(({ callId, answer }): ChatMessage => ({
          role: 'tool',
          tool_call_id: callId,
          content: answer ?? STILL_RUNNING,
        })),
      ]
    }
    default: {
      const never: never = entry
      return never
    }
  }
}

/** The words up to `playedMs`: complete sentences, and of the interrupted one the share of words that was played. */
export function heardOf(sentences: readonly SpokenSentence[], playedMs: number): string {
  const heard: string[] = []
  let startMs = 0
  for (const { text, ms } of sentences) {
    const share = ms <= 0 ? 0 : (playedMs - startMs) / ms
    startMs += ms
    if (share >= 1) {
      heard.push(text)
      continue
    }
    const words = text.split(' ')
    const whole = words.slice(0, Math.floor(words.length * Math.max(0, share))).join(' ')
    if (whole !== '') heard.push(`${whole}…`)
    break
  }
  return heard.join(' ')
}
