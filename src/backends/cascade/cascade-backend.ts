import type { Clock } from '../../core/clock.js'
import { GatewayError } from '../../core/errors.js'
import { omitNullish } from '../../core/omit-nullish.js'
import { BACKEND_WAITING_TEXTS_MAX } from '../../core/limits.js'
import { samplesToMs, type LegRateHz, type SampleRateHz } from '../../core/units.js'
import type {
  Backend,
  BackendCapabilities,
  BackendSession,
  BackendSink,
  ToolReply,
  TextOptions,
  SessionUpdate,
} from '../backend.js'
import type { BackendEvent } from '../../call/backend-events.js'
import { isBackchannel } from '../../call/turns/backchannel.js'
import { codeOf, type LocalizedText } from '../../call/spoken/localized-text.js'
import { askedIn, asksToRepeat, asksToWait, endsUnfinished } from '../../call/turns/turn-words.js'
import { KeyEntry, keysItem } from '../key-entry.js'
import { preRollMs } from '../pre-roll.js'
import { SPEED_REFUSED, keysText, openingText } from '../prompts.js'
import { resumedGeneration } from '../resumed-generation.js'
import { replyText } from '../tool-text.js'
import { faultError, faultEvent, type VendorFault } from '../transport/vendor-fault.js'
import { Alarm, clockTimers, type BackendTimers } from '../timers.js'
import { Answer, noCascadeStats, type CascadeStats, type Draft } from './answer.js'
import { ServiceList, commonRateHz } from './service-list.js'
import { Conversation } from './conversation.js'
import { ahead } from './http-service.js'
import { isNoiseText } from './noise-text.js'
import { mannerIn, type OwnVoice } from './own-voice.js'
import { Recognition } from './recognition.js'
import { serviceContext } from './service-context.js'
import { faultOf } from './service-fault.js'
import type {
  Evidence,
  Heard,
  LanguageModel,
  SpeechToText,
  ServiceContext,
  ServiceFactory,
  ServiceLife,
  TextToSpeech,
  Word,
} from './service.js'

/**
 * Three services in a row: a recogniser, a language model and a voice. The gateway's VAD marks the caller's speech.
 *
 *     (idle)    --end of turn, transcript--> due
 *     due       --the caller is silent, and no answer is running--> answering
 *     answering --delivered--> (idle)
 *     answering --interrupt--> (idle): the history keeps the heard part
 *     answering --tool calls--> (idle)
 *     (idle)    --last tool result--> due
 *
 * An answer starts when the caller is silent and the text of every turn has arrived. So there is only one answer, even
 * if the caller paused within a sentence or a tool result arrived during speech.
 */
export class CascadeBackend implements Backend {
  readonly capabilities: BackendCapabilities
  readonly stats: CascadeStats = noCascadeStats()

  readonly #sink: BackendSink
  readonly #options: CascadeOptions
  readonly #rateHz: SampleRateHz
  readonly #nowMs: Clock
  readonly #recognition: Recognition
  readonly #stable: Alarm
  readonly #keys: KeyEntry
  readonly #artefacts: ReadonlySet<string>
  /** Fault of the service that closed this backend; null if none did. */
  #fatal: VendorFault | null = null
  readonly #abort = new AbortController()
  readonly #waiting: (() => void)[] = []
  #state: 'idle' | 'connecting' | 'ready' | 'closed' = 'idle'
  /** True when the backend is closed and its services are closed too. */
  #over = false
  #connected: Connected | null = null
  #answer: Answer | null = null
  /** The last delivered answer. Its sound may still be playing. */
  #spoken: Answer | null = null
  /** True if the caller's turn has interrupted an answer. */
  #interrupted = false
  /** True if the caller's turn began while the caller heard the agent. */
  #overAgent = false
  /**
   * True if the agent has repeated its question because a turn had no words. The next turn with words resets this
   * field.
   */
  #askedAgain = false
  #generation = 0
  /**
   * The next answer; null if no answer is due. `fixed`: text to speak word for word; null if the model writes the
   * answer.
   */
  #due: { readonly fixed: string | null } | null = null
  /** An answer to the caller's probable words. It is not spoken yet. */
  #draft: (Draft & { readonly words: string; readonly changes: number; readonly madeAtMs: number }) | null = null
  #drafts = 0
  /** Words of the caller that no longer change. They are sent to the model as soon as the caller is quiet. */
  #ripe: string | null = null
  /** Duration of audio since the last frame that certainly had voice, in milliseconds. */
  #quietMs = Infinity
  #callerItems = 0
  /**
   * Item and last text of the turn that the caller is speaking, if words of this turn were reported; null otherwise.
   */
  #partial: { readonly itemId: string; text: string } | null = null
  #audioInSamples = 0

  constructor(sink: BackendSink, options: CascadeOptions) {
    this.#sink = sink
    this.#options = options
    const { timers = clockTimers(() => performance.now()) } = options
    this.#nowMs = timers.nowMs
    this.#stable = new Alarm(timers)
    this.#keys = new KeyEntry((keys) => this.#keyed(keys))
    this.#artefacts = new Set((options.artefacts ?? []).map(plain))
    const { legRateHz = 16_000 } = options
    this.#rateHz = commonRateHz(options.stt, legRateHz)
    this.#recognition = new Recognition(this.#rateHz, {
      words: (heard) => this.#words(heard),
      part: (text) => {
        if (!this.#isNoise(text)) this.#sink.event({ type: 'understood' })
      },
      understood: (heard, unless, voicedMs) => this.#whenReady(() => this.#understood(heard, unless, voicedMs)),
      failed: (fault) => this.#whenReady(() => this.#notUnderstood(fault)),
      gone: (fault) => this.#fail({ ...fault, fatal: true }),
    })
    const speedRefused = (): boolean => this.#connected?.tts.lacks('speed') === true
    this.capabilities = {
      name: options.name ?? 'cascade',
      inputRateHz: this.#rateHz,
      outputRateHz: 24_000,
      serverVad: false,
      truncate: true,
      weighsSpeech: true,
      get changesSpeed() {
        return !speedRefused()
      },
      countsRequests: true,
      maxSessionMs: null,
    }
  }

  async connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    // A service may refuse its API key while another service is still connecting.
    const gone = (): Error =>
      this.#fatal !== null
        ? faultError(this.#fatal)
        : new GatewayError(
            'BACKEND_CLOSED',
            `${this.capabilities.name}: the call ended before its backend was connected`,
          )
    if (this.#state !== 'idle' || signal.aborted) throw gone()
    this.#state = 'connecting'
    this.#generation = resumedGeneration(session.resume)
    const { stt, llm, tts, context } = (this.#connected = this.#servicesFor(session))
    this.#recognition.use(stt)
    signal.addEventListener(
      'abort',
      () => {
        if (this.#state === 'connecting') void this.close('the call ended')
      },
      { once: true },
    )
    try {
      await Promise.all([stt.open(true), llm.open(true), this.#openVoice(tts, session)])
    } catch (error) {
      if (this.#abort.signal.aborted) throw gone()
      const fault = { ...faultOf(error), fatal: true }
      this.#fail(fault)
      throw faultError(fault)
    }
    if (this.#abort.signal.aborted) throw gone()
    this.#state = 'ready'
    this.#sink.event({ type: 'ready' })
    this.#recognition.ready()
    for (const work of this.#waiting.splice(0)) work()
    void this.#options.ownVoice?.render(
      context,
      this.#abort.signal,
      () => this.#answer !== null || this.#due !== null || this.#recognition.isOpen || this.#recognition.awaits,
    )
  }

  /**
   * Opens the voice service. If the service is temporarily out of order but the greeting's sound is stored, the call
   * begins anyway. The service is tried again later.
   */
  async #openVoice(tts: ServiceList<TextToSpeech>, { greeting, history }: BackendSession): Promise<void> {
    try {
      await tts.open(true)
    } catch (error) {
      const fault = faultOf(error)
      const kept = greeting !== null && history.length === 0 && (await this.#options.ownVoice?.has(greeting)) === true
      if (!kept || !fault.retryable || this.#abort.signal.aborted) throw error
      this.#replaced(fault)
    }
  }

  pushAudio(pcm: Int16Array, voiced?: boolean): void {
    if (this.#state === 'closed') return
    this.#quietMs = voiced === true ? 0 : this.#quietMs + samplesToMs(pcm.length, this.#rateHz)
    if (this.#ripe !== null) this.#speculate(this.#ripe)
    if (this.#recognition.isOpen) this.#audioInSamples += pcm.length
    this.#recognition.push(pcm)
  }

  speechStart(atMs: number): void {
    if (this.#state === 'closed' || this.#recognition.isOpen) return
    this.#recognition.begin(preRollMs(this.#nowMs() - atMs))
    const { entry = null } = this.#spoken ?? {}
    this.#overAgent = this.#answer !== null || (entry !== null && atMs < entry.firstAtMs + soundMs(entry))
    this.#drafts = 0
    if (this.#state !== 'ready') return
    // Connections are opened while the caller speaks, because this causes no delay.
    for (const list of this.#connected?.lists ?? []) list.warm()
  }

  speechEnd(atMs: number, unless: readonly string[] = []): void {
    if (this.#state === 'closed' || !this.#recognition.isOpen) return
    const silenceMs = Math.round(Math.min(SILENCE_MS_MAX, Math.max(0, this.#nowMs() - atMs)))
    if (!this.#recognition.end(silenceMs, unless)) this.#wordless(false)
  }

  sendText(text: string, { role, respond }: TextOptions): void {
    this.#whenReady(() => {
      if (this.#connected === null) return
      const { conversation } = this.#connected
      const { greeting, history } = conversation.session
      const begins = text === '' && role === 'system'
      if (begins && respond && greeting !== null && greeting !== '' && history.length === 0)
        return this.#answerDue(greeting)
      if (role === 'caller') conversation.caller(text)
      else if (role === 'agent') conversation.said(text)
      else conversation.note(begins ? openingText(conversation.session) : text)
      if (respond) this.#answerDue(null)
    })
  }

  dtmf(digit: string): void {
    if (this.#state !== 'closed') this.#keys.press(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    if (this.#state !== 'ready') return
    if (this.#connected?.conversation.answered(callId, replyText(reply)) === true) this.#answerDue(null)
  }

  interrupt({ itemId, playedMs }: { readonly itemId: string | null; readonly playedMs: number }): void {
    const conversation = this.#connected?.conversation
    if (this.#state !== 'ready' || conversation === undefined) return
    this.#due = null
    this.#dropDraft()
    this.#interrupted ||= itemId !== null && this.#recognition.isOpen
    const answer = this.#answer
    const spoken = this.#spoken
    this.#spoken = null
    if (itemId !== null) conversation.truncate(itemId, playedMs)
    if (answer?.itemId !== itemId && spoken !== null && spoken.itemId === itemId) spoken.interrupt(playedMs)
    if (answer === null) return
    this.#answer = null
    answer.interrupt(answer.itemId === itemId ? playedMs : 0)
    const { entry } = answer
    // The caller was hearing another item. So this answer was played to its end, or its playout has not started.
    if (entry.heard === null && !(this.#nowMs() - entry.firstAtMs >= soundMs(entry)))
      conversation.truncate(answer.itemId, 0)
    this.#sink.event({ type: 'turn-done', generation: answer.generation, status: 'cancelled', reason: 'interrupted' })
  }

  updateSession({ instructions, tools, greeting, language, speed, voices, forget = false }: SessionUpdate): void {
    const conversation = this.#connected?.conversation
    if (conversation === undefined) return
    conversation.session = {
      ...conversation.session,
      ...omitNullish({ instructions, tools, greeting, language, speed, voices }),
    }
    if (forget) conversation.forget()
    if (instructions !== undefined || tools !== undefined) this.#dropDraft()
  }

  /** The services do not store a session, so only the numbering of answers continues. */
  snapshot(): unknown {
    return { version: 1, generation: this.#generation }
  }

  counters(): Readonly<Record<string, number>> {
    const { stt, llm, tts } = this.#connected ?? {}
    const { ownVoice } = this.#options
    return {
      ...this.stats,
      samplesDropped: this.#recognition.dropped,
      turnsResent: this.#recognition.resent,
      sttFailovers: stt?.failovers ?? 0,
      llmFailovers: llm?.failovers ?? 0,
      ttsFailovers: tts?.failovers ?? 0,
      phrasesKept: ownVoice?.hits ?? 0,
      phrasesMissed: ownVoice?.misses ?? 0,
      phrasesRendered: ownVoice?.rendered ?? 0,
      phrasesEvicted: ownVoice?.store.evictions ?? 0,
      phrasesUnreadable: ownVoice?.store.unreadable ?? 0,
    }
  }

  close(reason: string): Promise<void> {
    if (this.#state !== 'closed') {
      this.#end()
      this.#sink.event({ type: 'closed', code: CLOSE_NORMAL, reason, clean: true })
    }
    return Promise.resolve()
  }

  // --- the caller -----------------------------------------------------------------------------------------

  #whenReady(work: () => void): void {
    if (this.#state === 'ready') work()
    else if (this.#state === 'connecting' && this.#waiting.length < BACKEND_WAITING_TEXTS_MAX) this.#waiting.push(work)
  }

  #servicesFor(session: BackendSession): Connected {
    const options = this.#options
    const { signal } = this.#abort
    const context = serviceContext(this.capabilities.name, this.#nowMs, signal, {
      languages: options.languages ?? session.languages.map(codeOf).filter((language) => language !== ''),
      ...omitNullish({ vocabulary: session.vocabulary }),
      voice: session.voice,
      inputRateHz: this.#rateHz,
      ...omitNullish({ legRateHz: options.legRateHz }),
      used: (usage) => {
        if (!this.#over) this.#sink.event({ type: 'usage', usage })
      },
      malformed: () => {
        this.stats.malformedChunks++
      },
      wishRefused: (field) => {
        this.stats.wishesRefused++
        // The model has probably announced the new speed, so it must learn that the speed does not change.
        if (field !== 'speed' || (this.#connected?.conversation.session.speed ?? 1) === 1) return
        this.#connected?.conversation.note(SPEED_REFUSED)
        this.#due ??= { fixed: null }
        this.#startAnswer()
      },
      asks: () => this.#sink.asks?.() !== false,
      shortened: () => {
        this.stats.conversationsShortened++
      },
    })
    const replaced = (fault: VendorFault): void => this.#replaced(fault)
    const tts: ServiceList<TextToSpeech> = new ServiceList(options.tts, context, signal, replaced, (voice) =>
      voice.lost?.((fault) => {
        if (!tts.refused(voice, fault, true) && !tts.failed(voice, fault, true)) this.#fail({ ...fault, fatal: true })
      }),
    )
    const stt = new ServiceList(options.stt, context, signal, replaced, (one) => this.#recognition.made(one))
    const llm = new ServiceList(options.llm, context, signal, replaced)
    return { conversation: new Conversation(session), context, stt, llm, tts, lists: [stt, llm, tts] }
  }

  /** Emits the fault of a service that was replaced by another service or by a new connection. */
  #replaced(fault: VendorFault): void {
    // With the code `rate_limit`, the call would use another backend. Here another service of the cascade is enough.
    const code = fault.code === 'rate_limit' ? 'internal' : fault.code
    if (this.#state !== 'closed') this.#sink.event(faultEvent({ ...fault, code, fatal: false }))
  }

  /** @param voicedMs  duration of voice in the turn, once the turn is over */
  #isNoise(words: string, voicedMs = Infinity, evidence?: Evidence): boolean {
    return this.#artefacts.has(plain(words)) || isNoiseText(words, voicedMs, evidence)
  }

  /** Handles words of the turn that the caller is speaking. */
  #words({ text }: Heard): void {
    if (this.#state !== 'ready' || this.#isNoise(text) || text === this.#partial?.text) return
    const partial = (this.#partial ??= { itemId: `caller-${++this.#callerItems}`, text })
    partial.text = text
    this.#callerSaid(text, partial.itemId, false)
    this.#unripe()
    // No answer is requested for half a sentence, because it would be discarded.
    if (this.#options.speculate !== false && !endsUnfinished(text) && !this.#asksToWait(text, true))
      this.#stable.set(STABLE_MS, () => this.#speculate(text))
  }

  /** Clears words that are not part of the conversation. */
  #forgetWords(): void {
    this.#unripe()
    this.#dropDraft()
    const partial = this.#partial
    this.#partial = null
    if (partial !== null && this.#state === 'ready') this.#callerSaid('', partial.itemId, true)
  }

  #understood(heard: Heard, unless: readonly string[], voicedMs: number): void {
    this.#unripe()
    // A caller who only hums has heard the question and is thinking, so the agent waits.
    if (isBackchannel(heard.text, unless)) return this.#wordless(false)
    const words = heard.text
    if (this.#isNoise(words, voicedMs, heard.evidence)) return this.#wordless(!this.#overAgent)
    this.#askedAgain = false
    this.#callerSaid(words, this.#partial?.itemId ?? `caller-${++this.#callerItems}`, true, heard.words)
    // The conversation is read only now, because the report of these words may have interrupted an answer.
    const conversation = this.#connected?.conversation
    const isAnswer = conversation?.unanswered === true || askedIn(conversation?.openQuestion ?? '').what === 'yes-no'
    const waits = this.#asksToWait(words, this.#interrupted, isAnswer)
    this.#interrupted = false
    this.#partial = null
    if (this.#draft !== null && this.#draft.words !== plain(words)) this.#dropDraft()
    const question = asksToRepeat(words) ? (conversation?.openQuestion ?? null) : null
    conversation?.caller(words)
    if (question !== null) {
      this.#dropDraft()
      this.stats.questionsRepeated++
    }
    if (!waits) return this.#answerDue(question)
    this.#dropDraft()
    this.stats.waitsUnanswered++
    this.#startAnswer()
  }

  /**
   * @param isAnswer  true if earlier words have no answer yet, or if "hmm" may mean yes. A hesitation then gets an
   * answer
   */
  #asksToWait(words: string, overAgent: boolean, isAnswer = false): boolean {
    const wait = this.#options.waitWords === true ? asksToWait(words, overAgent) : null
    return wait === 'moment' || (wait === 'thought' && !isAnswer)
  }

  /**
   * Handles a turn without words. If the turn interrupted an answer or was a reply to a question, the agent repeats its
   * question, because otherwise silence would follow.
   * @param isAnswer  true if the turn was long enough for an answer and the agent was silent. The open question is then
   * repeated once
   */
  #wordless(isAnswer: boolean): void {
    this.stats.noises++
    this.#forgetWords()
    const conversation = this.#connected?.conversation
    if (this.#interrupted && this.#due === null && this.#answer === null && conversation !== undefined) {
      const question = conversation.openQuestion
      if (question === null) conversation.note(SAY_AGAIN)
      else this.stats.questionsRepeated++
      this.#due = { fixed: question }
      this.#askedAgain = true
    } else if (isAnswer && !this.#askedAgain && this.#due === null && this.#answer === null) {
      const question = conversation?.openQuestion ?? null
      if (question !== null) {
        this.stats.questionsRepeated++
        this.#askedAgain = true
        this.#due = { fixed: question }
      }
    }
    this.#interrupted = false
    this.#startAnswer()
  }

  #notUnderstood(fault: VendorFault): void {
    this.stats.sttFaults++
    this.#forgetWords()
    if (this.#connected?.stt.exhausted === true) return this.#fail({ ...fault, fatal: true })
    // After a failed answer the session asks the caller to repeat.
    const generation = ++this.#generation
    this.#sink.event({ type: 'turn-start', generation })
    this.#sink.event({ type: 'turn-done', generation, status: 'failed', reason: 'not understood' })
    this.#fail(fault)
    this.#startAnswer()
  }

  /**
   * Requests an answer when the caller has probably finished. The answer is spoken only when the caller's turn is over.
   */
  #speculate(text: string): void {
    this.#ripe = this.#quietMs < QUIET_MS ? text : null
    if (this.#ripe !== null) return
    const { conversation, llm } = this.#connected ?? {}
    const model = llm?.current ?? null
    const words = plain(text)
    if (conversation === undefined || model === null || this.#draft?.words === words) return
    if (this.#answer !== null || this.#due !== null || this.#recognition.awaits || this.#drafts >= DRAFTS_MAX) return
    if (this.#sink.asks?.() === false) return
    this.#dropDraft()
    this.#drafts++
    const abort = new AbortController()
    const signal = AbortSignal.any([abort.signal, this.#abort.signal])
    this.#draft = {
      words,
      changes: conversation.changes,
      madeAtMs: this.#nowMs(),
      deltas: ahead(model.answer(conversation.request(text), signal)),
      drop: () => abort.abort(),
    }
  }

  #unripe(): void {
    this.#stable.clear()
    this.#ripe = null
  }

  #dropDraft(): void {
    if (this.#draft === null) return
    this.#draft.drop()
    this.#draft = null
    this.stats.draftsDropped++
  }

  /** @returns the draft if it is an answer to exactly these words of the caller; otherwise null */
  #takeDraft(): Draft | null {
    const draft = this.#draft
    if (draft === null) return null
    const old = this.#nowMs() - draft.madeAtMs > DRAFT_MS_MAX
    if (old || this.#connected?.conversation.changes !== draft.changes + 1) {
      this.#dropDraft()
      return null
    }
    this.#draft = null
    this.stats.draftsUsed++
    return draft
  }

  #keyed(keys: string): void {
    this.#callerSaid(keys, keysItem(++this.#callerItems), true)
    this.sendText(keysText(keys), { role: 'caller', respond: true })
  }

  #callerSaid(text: string, itemId: string, final: boolean, words: readonly Word[] = []): void {
    // The transcript belongs to the answer that follows it. This answer cannot have been interrupted yet.
    this.#sink.event({
      type: 'transcript',
      role: 'caller',
      text,
      final,
      itemId,
      generation: this.#generation + 1,
      ...languagesOf(words),
    })
  }

  // --- the answer -----------------------------------------------------------------------------------------

  #answerDue(fixed: string | null): void {
    this.#due = { fixed }
    this.#startAnswer()
  }

  #startAnswer(): void {
    const due = this.#due
    if (due === null || this.#connected === null || this.#state !== 'ready') return
    const { conversation, llm, tts } = this.#connected
    const { session } = conversation
    if (this.#answer !== null || this.#recognition.awaits || this.#recognition.isOpen) return
    this.#due = null
    const draft = due.fixed === null ? this.#takeDraft() : null
    const voice = session.voices?.[this.capabilities.name] ?? this.#options.voices ?? null
    const answer = new Answer(++this.#generation, {
      sink: this.#sink,
      models: llm,
      voices: tts,
      conversation,
      stats: this.stats,
      manner: mannerIn(codeOf(session.language), voice, session.pronunciations, session.speed),
      nowMs: this.#nowMs,
      kept: (text) => this.#options.ownVoice?.find(text) ?? null,
      takeAudioInMs: () => {
        const ms = samplesToMs(this.#audioInSamples, this.#rateHz)
        this.#audioInSamples = 0
        return ms
      },
    })
    this.#answer = answer
    const { generation } = answer
    this.#sink.event({ type: 'turn-start', generation })
    if (this.#answer !== answer) return draft?.drop()
    answer.deliver(due.fixed, draft).then(
      () => this.#delivered(answer, null),
      (error: unknown) => this.#delivered(answer, error),
    )
  }

  #delivered(answer: Answer, error: unknown): void {
    if (this.#answer !== answer) return
    this.#answer = null
    const { generation } = answer
    if (error === null) {
      this.#spoken = answer
      this.#sink.event({ type: 'turn-done', generation, status: 'completed', ...omitNullish({ cut: answer.cut }) })
    } else {
      const fault = faultOf(error)
      this.stats.answersFailed++
      const { llm, tts } = this.#connected ?? {}
      // If no model or no voice is left, the fault is fatal: a repetition by the caller would not help.
      if (llm?.exhausted === true || tts?.exhausted === true) return this.#fail({ ...fault, fatal: true })
      this.#sink.event({ type: 'turn-done', generation, status: 'failed', reason: fault.code })
      this.#fail(fault)
    }
    this.#startAnswer()
  }

  #fail(fault: VendorFault): void {
    if (this.#state === 'closed') return
    if (fault.fatal) {
      this.#fatal = fault
      this.#end()
    }
    this.#sink.event(faultEvent(fault))
    if (fault.fatal) this.#sink.event({ type: 'closed', code: CLOSE_ABNORMAL, reason: fault.message, clean: false })
  }

  #end(): void {
    // If the backend was never ready, it has not used its services.
    this.#over = this.#state !== 'ready'
    this.#state = 'closed'
    this.#abort.abort()
    this.#answer?.interrupt(null)
    this.#answer = null
    this.#spoken = null
    this.#due = null
    this.#keys.close()
    this.#unripe()
    this.#draft = null
    this.#recognition.close()
    for (const list of this.#connected?.lists ?? []) list.close()
    this.#over = true
    this.#waiting.length = 0
  }
}

/**
 * Options of a cascade. Each part is a list: the first service is used, and the next service replaces it if it fails.
 */
export interface CascadeOptions {
  readonly stt: readonly ServiceFactory<SpeechToText>[]
  readonly llm: readonly ServiceFactory<LanguageModel>[]
  readonly tts: readonly ServiceFactory<TextToSpeech>[]
  /** Name in metrics and records. Default: `cascade`. */
  readonly name?: string
  /** Sample rate of the carrier's audio. Default: 16 kHz. */
  readonly legRateHz?: LegRateHz
  /** Languages that callers speak; the most likely language is first. Default: the session's language. */
  readonly languages?: readonly string[]
  /** The agent's voice: one voice name, or one per language. Default: the session's voice. */
  readonly voices?: LocalizedText
  /**
   * True if the model gets a request before the caller's turn is over, as soon as the recognised words have stopped
   * changing. Default: true.
   */
  readonly speculate?: boolean
  /**
   * True if the agent gives no answer when the caller only asks the agent to wait (`turn.waitWords` in the agent's
   * file). Default: false.
   */
  readonly waitWords?: boolean
  /** Further texts that the recogniser returns for noise. The comparison ignores case and punctuation. */
  readonly artefacts?: readonly string[]
  /** The agent's fixed phrases in its own voice. Absent: no phrases are stored. */
  readonly ownVoice?: OwnVoice
  /** Timers. Default: real timers. */
  readonly timers?: BackendTimers
}

/** Parts of the cascade that exist after `connect`. */
interface Connected {
  readonly conversation: Conversation
  readonly context: ServiceContext
  readonly stt: ServiceList<SpeechToText>
  readonly llm: ServiceList<LanguageModel>
  readonly tts: ServiceList<TextToSpeech>
  readonly lists: readonly Pick<ServiceList<ServiceLife>, 'warm' | 'close'>[]
}

const CLOSE_NORMAL = 1000
const CLOSE_ABNORMAL = 1006
/** Time in ms after which unchanged words are probably the whole turn. */
const STABLE_MS = 200
/**
 * Additional condition for the request: time in ms without voice, because a caller who still speaks has not finished.
 */
const QUIET_MS = 100
/** Maximum number of early requests for one turn, which are made before the turn is over. */
const DRAFTS_MAX = 2
/** Maximum age of a draft in ms. A draft has a limit, because the service may have ended an older request. */
const DRAFT_MS_MAX = 3000
/**
 * Maximum silence at the end of a turn that is reported to a recogniser, in milliseconds. A longer silence is reported
 * as this value.
 */
const SILENCE_MS_MAX = 3000
/** Instruction for the model if the agent has no question to repeat. */
const SAY_AGAIN = 'The caller spoke over you, and was not understood. In a few words, ask them to say it again.'

/** Splits words into parts with one language each, if the recogniser reports the language of each word. */
function languagesOf(
  words: readonly Word[],
): Pick<Extract<BackendEvent, { readonly type: 'transcript' }>, 'languages'> {
  const parts: { text: string; language: string }[] = []
  for (const { text, language } of words) {
    const last = parts.at(-1)
    if (language === undefined) return {}
    if (last?.language === language) last.text += ` ${text}`
    else parts.push({ text, language })
  }
  return parts.length === 0 ? {} : { languages: parts }
}

/** Duration of the sound of an answer. */
function soundMs({ sentences }: Answer['entry']): number {
  return sentences.reduce((sum, { ms }) => sum + ms, 0)
}

function plain(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N} ]+/gu, '')
    .replace(/\s+/g, ' ')
    .trim()
}
