import { END_CALL_TOOL, ESCALATE_TOOL } from '../../call/gateway-tools.js'
import type { Clock } from '../../core/clock.js'
import { BACKEND_TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'
import { samplesToMs } from '../../core/units.js'
import type { BackendSink } from '../backend.js'
import { parseArguments } from '../tool-text.js'
import type { AgentEntry, CallEntry, Conversation, SpokenSentence } from './conversation.js'
import { Sentences } from './sentences.js'
import type { Stages } from './stages.js'
import type { ChatDelta } from './wire.js'

/** Sentences of one answer that are asked of the voice at the same time: the one that sounds and the next. */
const SPEAKING_MAX = 2
/** Tool calls of one answer. */
const CALLS_MAX = 16
/** What ends the conversation is asked for when the words before it have been delivered. */
const AFTER_WORDS: readonly string[] = [ESCALATE_TOOL, END_CALL_TOOL]

export interface AnswerParts {
  readonly sink: BackendSink
  readonly stages: Stages
  readonly conversation: Conversation
  readonly model: string
  readonly voice: string
  readonly nowMs: Clock
  /** Asked once, at the end: caller audio since the last answer. */
  readonly takeAudioInMs: () => number
  /** Milliseconds from the beginning of the answer. */
  readonly firstToken: (ms: number) => void
  readonly firstSound: (ms: number) => void
  readonly invalidArguments: () => void
}

interface WrittenCall {
  id: string
  name: string
  argumentsText: string
}

/**
 * One answer of the model: its text is cut into sentences while it is being written, and each is spoken as soon as it
 * is whole. Everything of it hangs on one AbortController, so that an interruption ends all requests at once.
 */
export class Answer {
  readonly generation: number
  readonly itemId: string
  readonly entry: AgentEntry
  readonly #parts: AnswerParts
  readonly #abort = new AbortController()
  readonly #startedAtMs: number
  readonly #bodies: { readonly sentence: SpokenSentence; readonly body: AsyncGenerator<{ readonly pcm: Int16Array; readonly sampleRateHz: 8000 | 16000 | 24000 }> }[] = []
  readonly #unspoken: SpokenSentence[] = []
  readonly #calls: WrittenCall[] = []
  #written = false
  #wake: () => void = () => undefined
  #audioOutMs = 0
  #usage = { inputTokens: 0, outputTokens: 0 }

  constructor(generation: number, parts: AnswerParts) {
    this.generation = generation
    this.itemId = `cascade-${generation}`
    this.#parts = parts
    this.entry = parts.conversation.agent(this.itemId)
    this.#startedAtMs = parts.nowMs()
  }

  get interrupted(): boolean {
    return this.#abort.signal.aborted
  }

  /** Ends all requests; nothing of this answer is told after it. */
  interrupt(): void {
    this.#abort.abort()
  }

  /**
   * Gives the answer; a fixed text is spoken as it is, null asks the model.
   * @throws StageFault, or anything at all after `interrupt`
   */
  async give(fixed: string | null): Promise<void> {
    const { sink } = this.#parts
    const { generation } = this
    const writing = fixed === null ? this.#write() : this.#recite(fixed)
    try {
      await Promise.all([writing, this.#speak()])
    } catch (error) {
      // The other half must not go on, and its own end is of no interest.
      this.#abort.abort()
      await Promise.allSettled([writing])
      throw error
    }
    this.#abort.signal.throwIfAborted()
    if (this.#audioOutMs > 0) {
      sink.event({ type: 'audio-done', generation, itemId: this.itemId })
      this.#tellWords(true)
    }
    this.#tellCalls(true)
    if (this.interrupted) return
    sink.event({ type: 'usage', usage: { ...this.#usage, audioInMs: this.#parts.takeAudioInMs(), audioOutMs: this.#audioOutMs } })
  }

  #recite(text: string): Promise<void> {
    const sentences = new Sentences()
    for (const sentence of [...sentences.push(text), ...sentences.flush()]) this.#add(sentence)
    this.#end()
    return Promise.resolve()
  }

  async #write(): Promise<void> {
    const { stages, conversation, model, nowMs } = this.#parts
    const sentences = new Sentences()
    let first = true
    for await (const chunk of stages.chat(conversation.request(model), this.#abort.signal)) {
      this.#abort.signal.throwIfAborted()
      const choice = chunk.choices?.[0]
      const delta = choice?.delta ?? choice?.message
      if (delta !== undefined) {
        if (first) this.#parts.firstToken(nowMs() - this.#startedAtMs)
        first = false
        if (typeof delta.content === 'string') for (const sentence of sentences.push(delta.content)) this.#add(sentence)
        this.#collect(delta)
      }
      if (chunk.usage != null) this.#usage = { inputTokens: count(chunk.usage.prompt_tokens), outputTokens: count(chunk.usage.completion_tokens) }
    }
    for (const sentence of sentences.flush()) this.#add(sentence)
    this.#end()
    if (this.#calls.length === 0) return
    conversation.called(this.#calls.map(({ id, name, argumentsText }): CallEntry => ({
      callId: id, name, argumentsText: parseArguments(argumentsText).invalid === undefined && argumentsText !== '' ? argumentsText : '{}', answer: null,
    })))
    this.#tellCalls(false)
  }

  #add(text: string): void {
    const sentence: SpokenSentence = { text, ms: 0 }
    this.#unspoken.push(sentence)
    this.#fetchAhead()
    this.#wake()
  }

  #end(): void {
    this.#written = true
    this.#wake()
  }

  #fetchAhead(): void {
    while (this.#bodies.length < SPEAKING_MAX) {
      const sentence = this.#unspoken.shift()
      if (sentence === undefined) return
      const body = ahead(this.#parts.stages.speak(sentence.text, this.#parts.voice, this.#abort.signal))
      this.#bodies.push({ sentence, body })
    }
  }

  /** Delivers the sentences in order, however their requests overtake each other. */
  async #speak(): Promise<void> {
    for (;;) {
      const head = this.#bodies[0]
      if (head === undefined) {
        if (this.#written) return
        await new Promise<void>((resolve) => {
          this.#wake = resolve
          this.#abort.signal.addEventListener('abort', () => resolve(), { once: true })
        })
        this.#abort.signal.throwIfAborted()
        continue
      }
      let begun = false
      for await (const { pcm, sampleRateHz } of head.body) {
        this.#abort.signal.throwIfAborted()
        if (!begun) {
          begun = true
          this.#begun(head.sentence)
        }
        const ms = samplesToMs(pcm.length, sampleRateHz)
        head.sentence.ms += ms
        this.#audioOutMs += ms
        this.#parts.sink.audio(pcm, sampleRateHz, this.itemId, this.generation)
        this.#abort.signal.throwIfAborted()
      }
      this.#bodies.shift()
      this.#fetchAhead()
    }
  }

  #begun(sentence: SpokenSentence): void {
    const { nowMs } = this.#parts
    if (this.entry.sentences.length === 0) {
      this.entry.firstAtMs = nowMs()
      this.#parts.firstSound(nowMs() - this.#startedAtMs)
    }
    this.entry.sentences.push(sentence)
    this.#tellWords(false)
  }

  #tellWords(final: boolean): void {
    const text = this.entry.sentences.map((sentence) => sentence.text).join(' ')
    this.#parts.sink.event({ type: 'transcript', role: 'agent', text, final, itemId: this.itemId, generation: this.generation })
  }

  /** Arguments come in fragments by index; some servers send whole calls without one. */
  #collect(delta: ChatDelta): void {
    for (const piece of Array.isArray(delta.tool_calls) ? (delta.tool_calls as NonNullable<ChatDelta['tool_calls']>) : []) {
      const index = typeof piece.index === 'number' ? piece.index : this.#calls.length
      if (index < 0 || index >= CALLS_MAX) continue
      const call = this.#calls[index] ?? { id: '', name: '', argumentsText: '' }
      this.#calls[Math.min(index, this.#calls.length)] = call
      if (typeof piece.id === 'string' && piece.id !== '') call.id = piece.id
      if (call.id === '') call.id = `call-${this.generation}-${index}`
      if (typeof piece.function?.name === 'string') call.name = piece.function.name
      const text = piece.function?.arguments
      if (typeof text === 'string' && call.argumentsText.length <= BACKEND_TOOL_TEXT_CHARS_MAX) call.argumentsText += text
    }
  }

  #tellCalls(afterWords: boolean): void {
    for (const { id, name, argumentsText } of this.#calls) {
      if (AFTER_WORDS.includes(name) !== afterWords || this.interrupted) continue
      const { args, invalid } = parseArguments(argumentsText)
      if (invalid !== undefined) this.#parts.invalidArguments()
      this.#parts.sink.event({
        type: 'tool-call', callId: id, name, args, generation: this.generation, ...(invalid === undefined ? {} : { invalid }),
      })
    }
  }
}

/** Starts a request now, although its first piece is asked for later. */
function ahead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
  const first = source.next()
  // Its fault is told when its turn comes.
  first.catch(() => undefined)
  return (async function* () {
    for (let next = await first; next.done !== true; next = await source.next()) yield next.value
  })()
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : 0
}
