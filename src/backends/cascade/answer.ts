import { TOOLS_AFTER_SPEECH } from '../../call/gateway-tools.js'
import type { Clock } from '../../core/clock.js'
import { noUsage } from '../../call/usage.js'
import { samplesToMs } from '../../core/units.js'
import type { BackendSink } from '../backend.js'
import { parseArguments } from '../tool-text.js'
import type { AgentEntry, Conversation, SpokenSentence } from './conversation.js'
import type { Stages } from './stages.js'
import { WrittenCalls } from './written-calls.js'

/** Requests for speech at the same time: the sentence that is being delivered and the next one. */
const SPEAKING_MAX = 2

/** Counters of one call; plain fields. */
export interface CascadeStats {
  /** Utterances that were too short, or whose text is one that the recogniser returns for noise. */
  noises: number
  sttFaults: number
  answersFailed: number
  invalidToolArguments: number
  malformedChunks: number
  samplesDropped: number
}

interface AnswerContext {
  readonly sink: BackendSink
  readonly stages: Stages
  readonly conversation: Conversation
  readonly stats: CascadeStats
  readonly model: string
  readonly voice: string
  /** The voice's model, as it is priced. */
  readonly voiceModel: string
  readonly nowMs: Clock
  /** Caller audio since the last answer; called once, at the end. */
  readonly takeAudioInMs: () => number
}

/**
 * One answer of the model. Its text is cut into sentences while it arrives, and each sentence is synthesised as soon as
 * it is complete. All requests of an answer share one AbortController, so that an interruption ends them together.
 */
export class Answer {
  readonly generation: number
  readonly itemId: string
  readonly entry: AgentEntry
  readonly #context: AnswerContext
  readonly #abort = new AbortController()
  readonly #bodies: {
    readonly sentence: SpokenSentence
    readonly body: AsyncGenerator<{ readonly pcm: Int16Array; readonly sampleRateHz: 8000 | 16000 | 24000 }>
  }[] = []
  readonly #unspoken: SpokenSentence[] = []
  readonly #calls: WrittenCalls
  #written = false
  #wake: () => void = () => undefined
  #audioOutMs = 0

  constructor(generation: number, context: AnswerContext) {
    this.generation = generation
    this.itemId = `cascade-${generation}`
    this.#calls = new WrittenCalls(`call-${generation}`)
    this.#context = context
    this.entry = context.conversation.agent(this.itemId)
  }

  get interrupted(): boolean {
    return this.#abort.signal.aborted
  }

  /** Aborts all requests; no event of this answer follows. */
  interrupt(): void {
    this.#abort.abort()
  }

  /**
   * Delivers the answer.
   * @param fixed  text that is spoken as it is; null asks the model
   * @throws StageFault; after `interrupt` any error
   */
  async deliver(fixed: string | null): Promise<void> {
    const { sink } = this.#context
    const { generation } = this
    const writing = fixed === null ? this.#write() : this.#recite(fixed)
    try {
      await Promise.all([writing, this.#speak()])
    } catch (error) {
      // One of the two has failed. The other one is stopped, and its own error does not matter.
      this.#abort.abort()
      await Promise.allSettled([writing])
      throw error
    }
    this.#abort.signal.throwIfAborted()
    if (this.#audioOutMs > 0) {
      sink.event({ type: 'audio-done', generation, itemId: this.itemId })
      this.#emitTranscript(true)
    }
    this.#emitCalls(true)
    if (this.interrupted) return
    sink.event({
      type: 'usage',
      // The services' own units come with their requests.
      usage: {
        ...noUsage(),
        model: this.#context.voiceModel,
        audioInMs: this.#context.takeAudioInMs(),
        audioOutMs: this.#audioOutMs,
      },
    })
  }

  #recite(text: string): Promise<void> {
    const sentences = new Sentences()
    for (const sentence of [...sentences.push(text), ...sentences.flush()]) this.#add(sentence)
    this.#end()
    return Promise.resolve()
  }

  async #write(): Promise<void> {
    const { stages, conversation, model } = this.#context
    const sentences = new Sentences()
    for await (const chunk of stages.chat(conversation.request(model), this.#abort.signal)) {
      this.#abort.signal.throwIfAborted()
      const choice = chunk.choices?.[0]
      const delta = choice?.delta ?? choice?.message
      if (delta !== undefined) {
        if (typeof delta.content === 'string') for (const sentence of sentences.push(delta.content)) this.#add(sentence)
        this.#calls.collect(delta)
      }
    }
    for (const sentence of sentences.flush()) this.#add(sentence)
    this.#end()
    if (this.#calls.all.length === 0) return
    conversation.called(this.#calls.entries())
    this.#emitCalls(false)
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
      const body = ahead(this.#context.stages.speak(sentence.text, this.#context.voice, this.#abort.signal))
      this.#bodies.push({ sentence, body })
    }
  }

  /** Delivers the sentences in order, even if their requests are answered in another order. */
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
          this.#firstSamplesOf(head.sentence)
        }
        const ms = samplesToMs(pcm.length, sampleRateHz)
        head.sentence.ms += ms
        this.#audioOutMs += ms
        this.#context.sink.audio(pcm, sampleRateHz, this.itemId, this.generation)
        this.#abort.signal.throwIfAborted()
      }
      this.#bodies.shift()
      this.#fetchAhead()
    }
  }

  #firstSamplesOf(sentence: SpokenSentence): void {
    if (this.entry.sentences.length === 0) this.entry.firstAtMs = this.#context.nowMs()
    this.entry.sentences.push(sentence)
    this.#emitTranscript(false)
  }

  #emitTranscript(final: boolean): void {
    const text = this.entry.sentences.map((sentence) => sentence.text).join(' ')
    this.#context.sink.event({
      type: 'transcript',
      role: 'agent',
      text,
      final,
      itemId: this.itemId,
      generation: this.generation,
    })
  }

  #emitCalls(afterSpeech: boolean): void {
    for (const { id, name, argumentsText } of this.#calls.all) {
      if (TOOLS_AFTER_SPEECH.includes(name) !== afterSpeech || this.interrupted) continue
      const { args, invalid } = parseArguments(argumentsText)
      if (invalid !== undefined) this.#context.stats.invalidToolArguments++
      this.#context.sink.event({
        type: 'tool-call',
        callId: id,
        name,
        args,
        generation: this.generation,
        ...(invalid === undefined ? {} : { invalid }),
      })
    }
  }
}

/** Starts a request now, although its first piece is consumed later. */
function ahead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
  const first = source.next()
  // An error is thrown when the first piece is consumed.
  first.catch(() => undefined)
  return (async function* () {
    for (let next = await first; next.done !== true; next = await source.next()) yield next.value
  })()
}

/** From this length on the first piece may end at a comma, so that the caller hears something soon. */
const FIRST_CLAUSE_CHARS = 60
/** A longer sentence is cut at a space. */
const SENTENCE_CHARS_MAX = 300
/** A full stop after these does not end a sentence. */
const ABBREVIATION = /(?:^|\s)(?:mr|mrs|ms|dr|prof|st|no|nr|vs|e\.g|i\.e|etc|approx)\.$/i
const SENTENCE_END = /[.!?…]["')\]]?\s|[。！？]|\n/gu

/**
 * Cuts a growing text into the pieces that are synthesised one after the other. Markdown is removed, and so is a
 * model's reasoning between `<think>` and `</think>`.
 */
export class Sentences {
  #text = ''
  #first = true
  #reasoning = false

  /** @returns the sentences that are complete now */
  push(text: string): string[] {
    this.#text += text
    if (!this.#skipReasoning()) return []
    const out: string[] = []
    for (let end = this.#end(); end > 0; end = this.#end()) this.#take(end, out)
    return out
  }

  /** The text is complete. */
  flush(): string[] {
    const out: string[] = []
    if (!this.#reasoning) this.#take(this.#text.length, out)
    this.#text = ''
    return out
  }

  #take(end: number, out: string[]): void {
    const sentence = spoken(this.#text.slice(0, end))
    this.#text = this.#text.slice(end)
    if (sentence === '') return
    this.#first = false
    out.push(sentence)
  }

  /** Where the first piece ends; 0 while it is incomplete. */
  #end(): number {
    SENTENCE_END.lastIndex = 0
    for (let match = SENTENCE_END.exec(this.#text); match !== null; match = SENTENCE_END.exec(this.#text)) {
      const end = match.index + match[0].length
      const before = this.#text.slice(0, end).trimEnd()
      if (!ABBREVIATION.test(before)) return end
    }
    if (this.#first && this.#text.length >= FIRST_CLAUSE_CHARS) {
      const comma = this.#text.slice(0, -1).search(/[,;:]\s(?!.*[,;:]\s)/s)
      if (comma > 0) return comma + 2
    }
    if (this.#text.length <= SENTENCE_CHARS_MAX) return 0
    const space = this.#text.lastIndexOf(' ', SENTENCE_CHARS_MAX)
    return space > 0 ? space + 1 : SENTENCE_CHARS_MAX
  }

  /** @returns false while the text may still turn out to be reasoning */
  #skipReasoning(): boolean {
    if (this.#reasoning) {
      const end = this.#text.indexOf('</think>')
      // The closing tag may arrive in two pieces.
      this.#text = end < 0 ? this.#text.slice(-8) : this.#text.slice(end + 8)
      if (end < 0) return false
      this.#reasoning = false
    }
    const start = this.#text.trimStart()
    if (!this.#first || start === '') return true
    if (start.startsWith('<think>')) {
      this.#reasoning = true
      this.#text = start.slice(7)
      return this.#skipReasoning()
    }
    return !'<think>'.startsWith(start)
  }
}

/** The text without Markdown, on one line. */
function spoken(text: string): string {
  return text
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[*_`#]+|^\s*[-•]\s+/gm, '')
    .replace(/\s+/g, ' ')
    .trim()
}
