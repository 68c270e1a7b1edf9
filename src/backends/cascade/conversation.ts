import type { BackendSession } from '../backend.js'
import { lastQuestion } from '../../call/turns/turn-words.js'
import { recentHistory, recentTools } from '../prompts.js'
import { replyText } from '../tool-text.js'
import type { ChatMessage, Mark, ModelRequest } from './service.js'

/** One sentence of an answer, or all of one that is spoken in one flow, and the duration of its audio that was delivered. */
export interface SpokenSentence {
  text: string
  ms: number
  /** Times of the words, from voices that report them; as spoken, which may differ from the text. */
  marks?: Mark[]
  /** More of it will be delivered. */
  open?: boolean
}

/** The agent's speech in one answer. */
export interface AgentEntry {
  readonly kind: 'agent'
  readonly itemId: string
  readonly sentences: SpokenSentence[]
  /** Time of the first sample; NaN before. */
  firstAtMs: number
  /** The part that the caller heard; null unless it was interrupted. */
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
  session: BackendSession
  /** Grows with each change of what was said or done. */
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

  /** @returns true for the last call of an answer; unknown and answered calls are ignored */
  answered(callId: string, answer: string): boolean {
    for (const entry of this.#entries.toReversed()) {
      if (entry.kind !== 'calls') continue
      const call = entry.calls.find((one) => one.callId === callId)
      if (call === undefined) continue
      if (call.answer !== null) return false
      call.answer = answer
      this.changes++
      // The model has continued without this result, so it is repeated at the end of the conversation.
      if (entry.sentOpen) this.note(`${toolNote(call.name)}${answer}`)
      return entry.calls.every((one) => one.answer !== null)
    }
    return false
  }

  /** Truncates an answer to what the caller heard, and drops the answers after it. */
  truncate(itemId: string, playedMs: number): void {
    const at = this.#entries.findLastIndex((entry) => entry.kind === 'agent' && entry.itemId === itemId)
    if (at < 0) return
    this.changes++
    for (const [i, entry] of this.#entries.entries()) {
      if (i >= at && entry.kind === 'agent' && entry.heard === null)
        entry.heard = heardOf(entry.sentences, i === at ? playedMs : 0)
    }
  }

  /** A voice knows which words of an interrupted answer's only sentence were heard. */
  heardOf(entry: AgentEntry, sentence: SpokenSentence, words: string): void {
    if (entry.heard === null || entry.sentences.length !== 1 || entry.sentences[0] !== sentence) return
    const heard = words.trim() === '' ? '' : `${words.trim()}…`
    if (heard === entry.heard) return
    entry.heard = heard
    this.changes++
  }

  /** Leaves the caller's last words, what follows them, and calls that still run. */
  forget(): void {
    const at = this.#entries.findLastIndex(({ kind }) => kind === 'caller')
    if (at <= 0) return
    const runs = (entry: Entry): boolean => entry.kind === 'calls' && entry.calls.some(({ answer }) => answer === null)
    this.#entries.splice(0, at, ...this.#entries.slice(0, at).filter(runs))
    this.changes++
  }

  /** @param words  what the caller has probably said, and is not part of the conversation yet */
  request(words?: string): ModelRequest {
    const { instructions, tools, language } = this.session
    const messages: ChatMessage[] = [{ role: 'system', content: instructions }]
    for (const entry of this.#entries) for (const message of messagesOf(entry)) addMessage(messages, message)
    if (words !== undefined) addMessage(messages, { role: 'user', content: words })
    return { messages, tools, language }
  }

  /** The last question of the agent's last answer, whole, also where the caller has cut it off; null where it has none. */
  get openQuestion(): string | null {
    const said = this.#entries.findLast(
      (entry): entry is AgentEntry => entry.kind === 'agent' && entry.itemId !== '' && entry.sentences.length > 0,
    )
    return said === undefined ? null : lastQuestion(said.sentences.map(({ text }) => text.trim()).join(' '))
  }

  #add(entry: Entry): void {
    this.changes++
    this.#entries.push(entry)
    if (this.#entries.length > ENTRIES_MAX) this.#entries.shift()
  }
}

/** Begins the note with the answer of a tool that came after the model had gone on. */
export function toolNote(name: string): string {
  return `The tool ${name} has answered: `
}

/** Parts of the caller's speech without a heard answer in between become one message. */
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

/** The text that sounds before `playedMs`, in whole words. */
export function markedText(marks: readonly Mark[], playedMs: number): string {
  const until = marks.findIndex(({ toMs }) => toMs > playedMs)
  if (until < 0) return joinedMarks(marks)
  const text = joinedMarks(marks.slice(0, until))
  // Characters: a word that has begun was not heard.
  return /^\s/.test(marks[until]?.text ?? ' ') || /\s$/.test(text) ? text.trim() : text.replace(/\S*$/, '').trim()
}

function joinedMarks(marks: readonly Mark[]): string {
  return marks.map(({ text }) => text).join('')
}

/**
 * The words up to `playedMs`: complete sentences, and of the interrupted one the words whose sound was played, or, of a
 * voice that does not tell, that share of its words.
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
