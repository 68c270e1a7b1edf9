import type { BackendSession } from '../backend.js'
import { lastQuestion } from '../../call/turns/turn-words.js'
import { recentHistory, recentTools } from '../prompts.js'
import { replyText } from '../tool-text.js'
import type { ChatMessage, Mark, ModelRequest } from './service.js'

/**
 * One sentence of an answer, or a whole answer that is spoken without a break, with the duration of its delivered
 * audio.
 */
export interface SpokenSentence {
  text: string
  ms: number
  /** Times of the words, if the voice reports times. These are the spoken words, which may differ from the text. */
  marks?: Mark[]
  /** True if more of the sentence will be delivered. */
  open?: boolean
}

/** The agent's speech in one answer. */
export interface AgentEntry {
  readonly kind: 'agent'
  readonly itemId: string
  readonly sentences: SpokenSentence[]
  /** Time of the first sample; NaN before the first sample. */
  firstAtMs: number
  /** The part of the text that the caller heard; null if the answer was not interrupted. */
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
  /** True if a request was sent to the model while some of these tool calls were still running. */
  sentOpen: boolean
}

type Entry = AgentEntry | CallsEntry | { readonly kind: 'caller' | 'note'; readonly text: string }

/** Maximum number of entries. Older entries are dropped, so that a long call does not exceed the model's context. */
const ENTRIES_MAX = 400
const STILL_RUNNING = '{"status":"still running; its answer will follow"}'

/** The conversation as sent with each request to the model, without words that the caller did not hear. */
export class Conversation {
  session: BackendSession
  /** Number of changes of the conversation so far. */
  changes = 0
  readonly #entries: Entry[] = []

  constructor(session: BackendSession) {
    this.session = session
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

  /** Adds words of the agent that are not an answer of this session. The caller has heard all these words. */
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

  /** True for the id of a tool call of this conversation. */
  hasCall(callId: string): boolean {
    return this.#entries.some((entry) => entry.kind === 'calls' && entry.calls.some((call) => call.callId === callId))
  }

  /** @returns true if all tool calls of the answer now have results. Unknown and answered tool calls are ignored */
  answered(callId: string, answer: string): boolean {
    for (const entry of this.#entries.toReversed()) {
      if (entry.kind !== 'calls') continue
      const call = entry.calls.find((one) => one.callId === callId)
      if (call === undefined) continue
      if (call.answer !== null) return false
      call.answer = answer
      this.changes++
      // The model has spoken again without this result, so the result is added at the end of the conversation.
      if (entry.sentOpen) this.note(`${toolNote(call.name)}${answer}`)
      return entry.calls.every((one) => one.answer !== null)
    }
    return false
  }

  /** Shortens an answer to the part that the caller heard. Later answers count as unheard. */
  truncate(itemId: string, playedMs: number): void {
    const at = this.#entries.findLastIndex((entry) => entry.kind === 'agent' && entry.itemId === itemId)
    if (at < 0) return
    this.changes++
    for (const [i, entry] of this.#entries.entries()) {
      if (i >= at && entry.kind === 'agent' && entry.heard === null)
        entry.heard = heardOf(entry.sentences, i === at ? playedMs : 0)
    }
  }

  /**
   * Replaces the estimated heard part of an interrupted answer by the part that the voice reports, if the answer has
   * only one sentence.
   */
  heardOf(entry: AgentEntry, sentence: SpokenSentence, words: string): void {
    if (entry.heard === null || entry.sentences.length !== 1 || entry.sentences[0] !== sentence) return
    const heard = words.trim() === '' ? '' : `${words.trim()}…`
    if (heard === entry.heard) return
    entry.heard = heard
    this.changes++
  }

  /** Keeps only the caller's last words, all later entries, and running tool calls. */
  forget(): void {
    const at = this.#entries.findLastIndex(({ kind }) => kind === 'caller')
    if (at <= 0) return
    const runs = (entry: Entry): boolean => entry.kind === 'calls' && entry.calls.some(({ answer }) => answer === null)
    this.#entries.splice(0, at, ...this.#entries.slice(0, at).filter(runs))
    this.changes++
  }

  /** @param words the caller's probable words; the conversation does not contain them yet */
  request(words?: string): ModelRequest {
    const { instructions, tools, language } = this.session
    const messages: ChatMessage[] = [{ role: 'system', content: instructions }]
    for (const entry of this.#entries) for (const message of messagesOf(entry)) addMessage(messages, message)
    if (words !== undefined) addMessage(messages, { role: 'user', content: words })
    return { messages, tools, language }
  }

  /**
   * The last question in the agent's last answer; null if there is no question. It is complete even if the caller
   * interrupted it.
   */
  get openQuestion(): string | null {
    const said = this.#entries.findLast(
      (entry): entry is AgentEntry => entry.kind === 'agent' && entry.itemId !== '' && entry.sentences.length > 0,
    )
    return said === undefined ? null : lastQuestion(said.sentences.map(({ text }) => text.trim()).join(' '))
  }

  /** True if the caller has not heard any part of an answer to the caller's last words. */
  get unanswered(): boolean {
    const last = this.#entries.findLast(({ kind }) => kind !== 'note')
    return last !== undefined && (last.kind === 'agent' ? last.heard === '' : true)
  }

  #add(entry: Entry): void {
    this.changes++
    this.#entries.push(entry)
    if (this.#entries.length > ENTRIES_MAX) this.#entries.shift()
  }
}

/** First words of the note with a tool's result, if the result arrived after the model had spoken again. */
export function toolNote(name: string): string {
  return `The tool ${name} has answered: `
}

/** Adds a message. Consecutive parts of the caller's speech become one message if no heard answer is between them. */
function addMessage(messages: ChatMessage[], message: ChatMessage): void {
  const last = messages.at(-1)
  if (message.role === 'user' && last?.role === 'user')
    messages[messages.length - 1] = { role: 'user', content: `${last.content} ${message.content}` }
  else messages.push(message)
}

function messagesOf(entry: Entry): ChatMessage[] {
  switch (entry.kind) {
    case 'caller':
      return [{ role: 'user', content: entry.text }]
    case 'note':
      return [{ role: 'system', content: entry.text }]
    case 'agent': {
      const text = entry.heard ?? entry.sentences.map((sentence) => sentence.text.trim()).join(' ')
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

/** @returns the whole words that were spoken before `playedMs` */
export function markedText(marks: readonly Mark[], playedMs: number): string {
  const until = marks.findIndex(({ toMs }) => toMs > playedMs)
  if (until < 0) return joinedMarks(marks)
  const text = joinedMarks(marks.slice(0, until))
  // A mark may be a single character. If only the beginning of a word was played, the word counts as not heard.
  return /^\s/.test(marks[until]?.text ?? ' ') || /\s$/.test(text) ? text.trim() : text.replace(/\S*$/, '').trim()
}

function joinedMarks(marks: readonly Mark[]): string {
  return marks.map(({ text }) => text).join('')
}

/**
 * @returns the words up to `playedMs`: complete sentences, and the heard words of the interrupted sentence. If the
 * voice reports no times, the number of heard words is estimated from the played share of the sentence
 */
export function heardOf(sentences: readonly SpokenSentence[], playedMs: number): string {
  const heard: string[] = []
  let startMs = 0
  for (const { text, ms, marks, open = false } of sentences) {
    const share = ms <= 0 ? 0 : (playedMs - startMs) / ms
    const within = playedMs - startMs
    startMs += ms
    if (share >= 1 && !open) {
      heard.push(text.trim())
      continue
    }
    const words = text.trim().split(' ')
    const whole =
      marks === undefined
        ? words.slice(0, Math.floor(words.length * Math.min(1, Math.max(0, share)))).join(' ')
        : markedText(marks, within)
    if (whole !== '') heard.push(`${whole}…`)
    break
  }
  return heard.join(' ')
}
