import { TOOLS_AFTER_SPEECH } from '../../call/tools/gateway-tools.js'
import { noUsage } from '../../call/usage.js'
import type { Clock } from '../../core/clock.js'
import type { BackendSink } from '../backend.js'
import { samplesToMs } from '../../core/units.js'
import type { PhraseAudio } from '../../speech/phrase-store.js'
import { parseArguments } from '../tool-text.js'
import { vendorFault } from '../transport/vendor-fault.js'
import type { ServiceList } from './service-list.js'
import type { AgentEntry, Conversation } from './conversation.js'
import { Speaking } from './speaking.js'
import { faultOf, ServiceFault } from './service-fault.js'
import type { LanguageModel, ModelDelta, ModelRequest, SpeechManner, TextToSpeech } from './service.js'
import { WrittenCalls } from './written-calls.js'
export type CascadeStats = ReturnType<typeof noCascadeStats>

/** A model's answer that was asked for before it was due. */
export interface Draft {
  readonly deltas: AsyncGenerator<ModelDelta>
  /** Ends the request. */
  drop(): void
}

interface AnswerContext {
  readonly sink: BackendSink
  readonly models: ServiceList<LanguageModel>
  readonly voices: ServiceList<TextToSpeech>
  readonly conversation: Conversation
  readonly stats: CascadeStats
  readonly manner: SpeechManner
  /** The voice has refused what is only wished: later answers wish nothing. */
  readonly refusesWishes: () => void
  /** A fixed text that was spoken before, in the agent's own voice. */
  readonly kept: (text: string) => PhraseAudio | null
  readonly nowMs: Clock
  /** Caller audio since the last answer; called once, at the end. */
  readonly takeAudioInMs: () => number
}

/** Samples of one delivery, of a phrase that is there as a whole. */
const PIECE_SAMPLES = 12_000

/** For a model that goes on where another one broke off. */
const GO_ON = 'Your answer was cut off after these words. Go on right after them, and repeat nothing.'

/**
 * One answer of the model. Its text goes to the voice while it is being written. All requests of an answer share one
 * AbortController, so that an interruption ends them together.
 */
export class Answer {
  readonly generation: number
  readonly itemId: string
  readonly entry: AgentEntry
  /** Why the service ended it early; null: it did not. */
  cut: 'length' | 'filter' | null = null
  readonly #context: AnswerContext
  readonly #abort = new AbortController()
  readonly #speaking: Speaking
  #calls: WrittenCalls

  constructor(generation: number, context: AnswerContext) {
    this.generation = generation
    this.itemId = `cascade-${generation}`
    this.#calls = new WrittenCalls(`call-${generation}`)
    this.#context = context
    this.entry = context.conversation.agent(this.itemId)
    this.#speaking = new Speaking(context.voices, context.manner, {
      audio: (pcm, sampleRateHz) => {
        if (this.entry.sentences.length === 0) return
        context.sink.audio(pcm, sampleRateHz, this.itemId, generation)
      },
      sounds: (sentence) => {
        const { sentences } = this.entry
        if (sentences.length === 0) this.entry.firstAtMs = context.nowMs()
        if (!sentences.includes(sentence)) sentences.push(sentence)
        this.#emitTranscript(false)
      },
      refusesWishes: () => context.refusesWishes(),
    })
  }

  /**
   * Ends all requests and the voice; no event of this answer follows.
   * @param playedMs  how much of its sound the caller heard; null where that is not known
   */
  interrupt(playedMs: number | null): void {
    this.#abort.abort()
    this.#speaking.cancel(playedMs, (sentence, words) =>
      this.#context.conversation.heardOf(this.entry, sentence, words),
    )
  }

  /**
   * Delivers the answer.
   * @param fixed  text that is spoken as it is; null asks the model
   * @param draft  the model's answer, if it was asked for already
   * @throws ServiceFault; after `interrupt` any error
   */
  async deliver(fixed: string | null, draft: Draft | null): Promise<void> {
    const { sink } = this.#context
    const { generation } = this
    const kept = fixed === null ? null : this.#context.kept(fixed)
    if (fixed !== null && kept !== null) return this.#play(fixed, kept)
    const writing = fixed === null ? this.#write(draft) : Promise.resolve(void this.#speaking.write(fixed))
    try {
      await Promise.all([writing.then(() => this.#speaking.end(this.cut !== null)), this.#speaking.done])
    } catch (error) {
      // One of the two has failed. The other one is stopped, and its own error does not matter.
      this.interrupt(null)
      await Promise.allSettled([writing])
      throw error
    }
    this.#abort.signal.throwIfAborted()
    const { audioMs } = this.#speaking
    if (audioMs > 0) {
      sink.event({ type: 'audio-done', generation, itemId: this.itemId })
      this.#emitTranscript(true)
    }
    this.#emitCalls(true)
    if (this.#abort.signal.aborted) return
    sink.event({
      type: 'usage',
      // The services' own units come with their requests.
      usage: {
        ...noUsage(),
        model: this.#context.voices.model,
        audioInMs: this.#context.takeAudioInMs(),
        audioOutMs: audioMs,
      },
    })
  }

  /** Delivers a text whose sound is there. */
  #play(text: string, { pcm, sampleRateHz }: PhraseAudio): void {
    const { sink, nowMs } = this.#context
    const { generation, itemId, entry } = this
    this.#speaking.cancel(null)
    entry.firstAtMs = nowMs()
    entry.sentences.push({ text, ms: samplesToMs(pcm.length, sampleRateHz) })
    this.#emitTranscript(false)
    for (let at = 0; at < pcm.length && !this.#abort.signal.aborted; at += PIECE_SAMPLES)
      sink.audio(pcm.subarray(at, at + PIECE_SAMPLES), sampleRateHz, itemId, generation)
    this.#abort.signal.throwIfAborted()
    sink.event({ type: 'audio-done', generation, itemId })
    this.#emitTranscript(true)
  }

  async #write(draft: Draft | null): Promise<void> {
    const { models, conversation } = this.#context
    const { signal } = this.#abort
    if (draft !== null) signal.addEventListener('abort', () => draft.drop(), { once: true })
    let request = conversation.request()
    let deltas = draft?.deltas ?? null
    let written = ''
    let empty = false
    for (let failures = 0; ; failures++) {
      const model = models.current ?? (await models.open(false))
      try {
        if (deltas === null && this.#context.sink.asks?.() === false)
          throw new ServiceFault(vendorFault('internal', 'the models of this call were asked too often', false))
        for await (const { text, calls, cut } of deltas ?? model.answer(request, signal)) {
          signal.throwIfAborted()
          if (cut !== undefined) this.cut = cut
          if (text !== undefined && text !== '') written += this.#speaking.write(text)
          if (calls !== undefined) this.#calls.collect(calls)
        }
        models.worked(model)
        if (this.#calls.all.length > 0 || !this.#speaking.wordless) break
        if (empty) throw new ServiceFault(vendorFault('internal', `${models.model} answered without words`, false))
      } catch (error) {
        signal.throwIfAborted()
        if (empty) throw error
        this.#speaking.goOn()
        // A draft that died while nobody needed it is no fault of the answer.
        if (deltas !== null && written === '' && this.#calls.all.length === 0) {
          deltas = null
          failures--
          continue
        }
        if (!models.failed(model, faultOf(error), false) || failures + 1 >= models.count) throw error
        deltas = null
        this.#calls = new WrittenCalls(`call-${this.generation}-${failures + 2}`)
        request = goingOn(conversation.request(), written)
        continue
      }
      // Nothing but reasoning, a filter's silence: dead air, unless it is asked for again.
      empty = true
      this.#context.stats.emptyAnswers++
      this.#speaking.reset()
      this.cut = null
      written = ''
      deltas = null
      failures--
    }
    if (this.cut !== null) this.#context.stats.answersCut++
    // The caller hears the end of the text while the calls run.
    this.#speaking.end(this.cut !== null)
    if (this.#calls.all.length === 0) return
    conversation.called(this.#calls.entries())
    this.#emitCalls(false)
  }

  #emitTranscript(final: boolean): void {
    const text = this.entry.sentences.map((sentence) => sentence.text.trim()).join(' ')
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
      if (TOOLS_AFTER_SPEECH.includes(name) !== afterSpeech || this.#abort.signal.aborted) continue
      const { args, invalid, mended } = parseArguments(argumentsText)
      if (invalid !== undefined) this.#context.stats.invalidToolArguments++
      if (mended === true) this.#context.stats.mendedToolArguments++
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

function goingOn(request: ModelRequest, written: string): ModelRequest {
  if (written.trim() === '') return request
  return {
    ...request,
    messages: [...request.messages, { role: 'assistant', content: written }, { role: 'system', content: GO_ON }],
  }
}

/** Counters of one call; plain fields. */
export function noCascadeStats() {
  return {
    /** Utterances that were too short, or whose text is one that the recogniser returns for noise. */
    noises: 0,
    sttFaults: 0,
    answersFailed: 0,
    /** Answers without a word that were asked for once more. */
    emptyAnswers: 0,
    /** Answers that the service ended early. */
    answersCut: 0,
    invalidToolArguments: 0,
    /** Arguments that were not a plain JSON object, but certainly meant one. */
    mendedToolArguments: 0,
    malformedChunks: 0,
    /** Times that the oldest half of the conversation was left out, because it was too long for the model. */
    conversationsShortened: 0,
    wishesRefused: 0,
    /** Answers that were asked for before the caller's turn was over: those that were spoken, and those nobody heard. */
    draftsUsed: 0,
    draftsDropped: 0,
    /** Questions of the agent that the caller had not heard, and that were said again without the model. */
    questionsRepeated: 0,
    /** Turns of callers who only asked for a moment: the model is not asked. */
    waitsUnanswered: 0,
  }
}
