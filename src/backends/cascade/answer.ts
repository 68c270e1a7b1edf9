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

/** An answer of the model that was requested before the caller's turn was over. */
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
  /** @returns stored speech of a fixed text in the agent's own voice; null if no speech of this text is stored */
  readonly kept: (text: string) => PhraseAudio | null
  readonly nowMs: Clock
  /** @returns the duration of caller audio since the last answer, in ms. Called once, at the end of the answer */
  readonly takeAudioInMs: () => number
}

/** Number of samples that are delivered at once, if the sound of a text is complete. */
const PIECE_SAMPLES = 12_000

/** Instruction for a model that continues an answer of another model. */
const GO_ON = 'Your answer was cut off after these words. Go on right after them, and repeat nothing.'

/**
 * One answer of the model. Its text is sent to the voice while the model writes it. All requests share one
 * AbortController, so that an interruption ends them together.
 */
export class Answer {
  readonly generation: number
  readonly itemId: string
  readonly entry: AgentEntry
  /** Reason why the service ended the answer early; null if the service did not end the answer early. */
  cut: 'length' | 'filter' | null = null
  readonly #context: AnswerContext
  readonly #abort = new AbortController()
  readonly #speaking: Speaking
  #calls: WrittenCalls

  constructor(generation: number, context: AnswerContext) {
    this.generation = generation
    this.itemId = `cascade-${generation}`
    this.#context = context
    this.#calls = this.#newCalls(`call-${generation}`)
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
    })
  }

  /**
   * Ends all requests and the voice's speech; no event of this answer follows.
   * @param playedMs milliseconds of the answer's sound that the caller heard; null if not known
   */
  interrupt(playedMs: number | null): void {
    this.#abort.abort()
    this.#speaking.cancel(playedMs, (sentence, words) =>
      this.#context.conversation.heardOf(this.entry, sentence, words),
    )
  }

  /**
   * Delivers the answer.
   * @param fixed  text to speak word for word; null if the model writes the answer
   * @param draft  an answer that was requested earlier, or null
   * @throws ServiceFault, or any error after `interrupt`
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
      // The model or the voice has failed. All other requests of the answer are stopped, and their errors are ignored.
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
      // Each service reports the units of its requests by itself.
      usage: {
        ...noUsage(),
        model: this.#context.voices.model,
        audioInMs: this.#context.takeAudioInMs(),
        audioOutMs: audioMs,
      },
    })
  }

  /** Delivers a text whose sound is complete. */
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
        // If the draft failed before it was needed, the answer does not fail.
        if (deltas !== null && written === '' && this.#calls.all.length === 0) {
          deltas = null
          failures--
          continue
        }
        if (!models.failed(model, faultOf(error), false) || failures + 1 >= models.count) throw error
        deltas = null
        this.#calls = this.#newCalls(`call-${this.generation}-${failures + 2}`)
        request = goingOn(conversation.request(), written)
        continue
      }
      // The answer has no words, because the model wrote only reasoning or a filter removed all words. The caller would
      // hear silence, so the request is sent once more.
      empty = true
      this.#context.stats.emptyAnswers++
      this.#speaking.reset()
      this.cut = null
      written = ''
      deltas = null
      failures--
    }
    if (this.cut !== null) this.#context.stats.answersCut++
    // The rest of the text is spoken while the tools run.
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

  #newCalls(idPrefix: string): WrittenCalls {
    return new WrittenCalls(idPrefix, (id) => this.#context.conversation.hasCall(id))
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
    /**
     * Number of utterances that were ignored as noise, because they were too short or because their text is typical for
     * noise.
     */
    noises: 0,
    sttFaults: 0,
    answersFailed: 0,
    /** Number of answers that had no words and were requested once more. */
    emptyAnswers: 0,
    /** Number of answers that the service ended early. */
    answersCut: 0,
    invalidToolArguments: 0,
    /** Number of tool arguments that were not a plain JSON object, but could be read as an object. */
    mendedToolArguments: 0,
    malformedChunks: 0,
    /**
     * Number of times that the oldest half of the conversation was left out because the conversation was too long for
     * the model.
     */
    conversationsShortened: 0,
    wishesRefused: 0,
    /**
     * Number of answers that were requested before the caller's turn was over and then spoken, and number of such
     * answers that were dropped unheard.
     */
    draftsUsed: 0,
    draftsDropped: 0,
    /** Number of the agent's questions that were repeated without the model, because the caller had not heard them. */
    questionsRepeated: 0,
    /** Number of turns in which the caller only asked the agent to wait. The model gets no request for such a turn. */
    waitsUnanswered: 0,
  }
}
