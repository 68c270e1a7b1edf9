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
import { asksToRepeat, asksToWait, endsUnfinished } from '../../call/turns/turn-words.js'
import { KeyEntry, keysItem } from '../key-entry.js'
import { preRollMs } from '../pre-roll.js'
import { keysText, openingText } from '../prompts.js'
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
 *     end of turn --transcript--> due --caller silent, no answer under way--> answering --delivered--> (idle)
 *     answering --interrupt--> (idle), and the history keeps what was heard
 *     answering --tool calls--> (idle) --last tool result--> due
 *
 * An answer starts when the caller is silent and the text of no turn is awaited, so that a pause within a sentence,
 * or a tool result that arrives while the caller speaks, makes one answer and not two.
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
  /** Why the backend is closed, where a service was the reason. */
  #fatal: VendorFault | null = null
  readonly #abort = new AbortController()
  readonly #waiting: (() => void)[] = []
  #state: 'idle' | 'connecting' | 'ready' | 'closed' = 'idle'
  /** Its services are closed too, after the last of what they have used. */
  #over = false
  #connected: Connected | null = null
  #answer: Answer | null = null
  /** The voice has refused what is only wished, on this call. */
  #refusesWishes = false
  /** The one that was delivered last: its sound may still be played. */
  #spoken: Answer | null = null
  /** The caller's turn has cut an answer off. */
  #interrupted = false
  /** The caller's turn began while the agent was heard. */
  #overAgent = false
  /** A turn without words was answered with the agent's question; the next one with words ends that. */
  #askedAgain = false
  #generation = 0
  /** An answer is due: a fixed text is spoken as it is, null asks the model. */
  #due: { readonly fixed: string | null } | null = null
  /** An answer to what the caller has probably said, which nobody hears yet. */
  #draft: (Draft & { readonly words: string; readonly changes: number; readonly madeAtMs: number }) | null = null
  #drafts = 0
  /** Stable words that are asked about as soon as the caller is quiet. */
  #ripe: string | null = null
  /** Audio since the last frame that certainly had voice. */
  #quietMs = Infinity
  #callerItems = 0
  /** The item of the turn whose words were reported before it is over, and its last text. */
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
    const refusesWishes = (): boolean => this.#refusesWishes
    this.capabilities = {
      name: options.name ?? 'cascade',
      inputRateHz: this.#rateHz,
      outputRateHz: 24_000,
      serverVad: false,
      truncate: true,
      weighsSpeech: true,
      get changesSpeed() {
        return !refusesWishes()
      },
      countsRequests: true,
      maxSessionMs: null,
    }
  }

  async connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    // A service may refuse its key while another one is still being connected.
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

  /** A voice that is out of order for now is no reason not to begin, where the greeting is there in it: it is tried again. */
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
    // While the caller speaks nobody waits for a connection.
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
    // If the answer was not being played, it was either played to its end or had not started.
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

  /** The services keep no session: only the numbering of answers goes on. */
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
      wishRefused: () => {
        this.stats.wishesRefused++
      },
      shortened: () => {
        this.stats.conversationsShortened++
      },
    })
    const replaced = (fault: VendorFault): void => this.#replaced(fault)
    const tts: ServiceList<TextToSpeech> = new ServiceList(options.tts, context, signal, replaced, (voice) =>
      voice.lost?.((fault) => {
        if (!tts.failed(voice, fault, true)) this.#fail({ ...fault, fatal: true })
      }),
    )
    const stt = new ServiceList(options.stt, context, signal, replaced, (one) => this.#recognition.made(one))
    const llm = new ServiceList(options.llm, context, signal, replaced)
    return { conversation: new Conversation(session), context, stt, llm, tts, lists: [stt, llm, tts] }
  }

  /** A service has failed, and another one or a new connection takes its place: for the log. */
  #replaced(fault: VendorFault): void {
    // This limit is no reason to leave the cascade.
    const code = fault.code === 'rate_limit' ? 'internal' : fault.code
    if (this.#state !== 'closed') this.#sink.event(faultEvent({ ...fault, code, fatal: false }))
  }

  /** @param voicedMs  of a turn that is over */
  #isNoise(words: string, voicedMs = Infinity, evidence?: Evidence): boolean {
    return this.#artefacts.has(plain(words)) || isNoiseText(words, voicedMs, evidence)
  }

  /** The words of the turn that the caller is speaking. */
  #words({ text }: Heard): void {
    if (this.#state !== 'ready' || this.#isNoise(text) || text === this.#partial?.text) return
    const partial = (this.#partial ??= { itemId: `caller-${++this.#callerItems}`, text })
    partial.text = text
    this.#callerSaid(text, partial.itemId, false)
    this.#unripe()
    // The answer to half a sentence would be thrown away.
    if (this.#options.speculate !== false && !endsUnfinished(text) && !this.#asksToWait(text, true))
      this.#stable.set(STABLE_MS, () => this.#speculate(text))
  }

  /** These words are not part of the conversation. */
  #forgetWords(): void {
    this.#unripe()
    this.#dropDraft()
    const partial = this.#partial
    this.#partial = null
    if (partial !== null && this.#state === 'ready') this.#callerSaid('', partial.itemId, true)
  }

  #understood(heard: Heard, unless: readonly string[], voicedMs: number): void {
    this.#unripe()
    // A caller who only hums has understood the question, and thinks.
    if (isBackchannel(heard.text, unless)) return this.#wordless(false)
    const words = heard.text
    if (this.#isNoise(words, voicedMs, heard.evidence)) return this.#wordless(!this.#overAgent)
    this.#askedAgain = false
    this.#callerSaid(words, this.#partial?.itemId ?? `caller-${++this.#callerItems}`, true, heard.words)
    // The call may have cut the answer off just now, by these words.
    const waits = this.#asksToWait(words, this.#interrupted)
    this.#interrupted = false
    this.#partial = null
    if (this.#draft !== null && this.#draft.words !== plain(words)) this.#dropDraft()
    const conversation = this.#connected?.conversation
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

  #asksToWait(words: string, overAgent: boolean): boolean {
    return this.#options.waitWords === true && asksToWait(words, overAgent)
  }

  /**
   * The caller's turn had no words. One that has cut an answer off, or that was the answer to a question, is followed by silence,
   * unless the agent asks again.
   * @param isAnswer  it was long enough to be one, and the agent was silent: its open question is asked once more
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
    // A failed answer makes the session ask the caller again.
    const generation = ++this.#generation
    this.#sink.event({ type: 'turn-start', generation })
    this.#sink.event({ type: 'turn-done', generation, status: 'failed', reason: 'not understood' })
    this.#fail(fault)
    this.#startAnswer()
  }

  /** The caller has probably finished: asks the model now, and nobody hears the answer before that is sure. */
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

  /** The draft, if it answers exactly what there is to answer. */
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
    // The transcript belongs to the answer that it causes, which cannot have been interrupted yet.
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
      manner: {
        ...mannerIn(codeOf(session.language), voice, session.pronunciations, session.speed),
        plain: this.#refusesWishes,
      },
      refusesWishes: () => {
        this.#refusesWishes = true
      },
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
      // The caller is not asked again where that is of no use.
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
    // Nothing was used before that.
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

/** Each part is a list: the first service is used, the others take its place when it fails. */
export interface CascadeOptions {
  readonly stt: readonly ServiceFactory<SpeechToText>[]
  readonly llm: readonly ServiceFactory<LanguageModel>[]
  readonly tts: readonly ServiceFactory<TextToSpeech>[]
  /** In metrics and records; `cascade` when not given. */
  readonly name?: string
  /** Rate of the carrier's leg; 16 kHz when not given. */
  readonly legRateHz?: LegRateHz
  /** Languages that callers speak, the most likely first; that of the session when not given. */
  readonly languages?: readonly string[]
  /** The agent's voice, which may be one a language; that of the session when not given. */
  readonly voices?: LocalizedText
  /** Ask the model before the caller's turn is over, when the words have not changed for a while; true when not given. */
  readonly speculate?: boolean
  /** A caller who asks for a moment, and says nothing else, is not answered: the agent's `turn.waitWords`; false when not given. */
  readonly waitWords?: boolean
  /** More transcripts that the recogniser returns for noise, compared in lower case without punctuation. */
  readonly artefacts?: readonly string[]
  /** The agent's fixed phrases in its own voice; none are kept when not given. */
  readonly ownVoice?: OwnVoice
  /** Real ones when not given. */
  readonly timers?: BackendTimers
}

/** State that exists from `connect` on. */
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
/** Words that have not changed for this long are likely to be all of the turn. */
const STABLE_MS = 200
/** And once no voice was heard for this long. Somebody who is still speaking is not done. */
const QUIET_MS = 100
/** Requests of one turn that are made before it is over. */
const DRAFTS_MAX = 2
/** An older one may have been given up by its service in the meantime. */
const DRAFT_MS_MAX = 3000
/** The longest silence at the end of a turn that a recogniser gets as a value. */
const SILENCE_MS_MAX = 3000
/** For the model, where the agent has no question that it could repeat. */
const SAY_AGAIN = 'The caller spoke over you, and was not understood. In a few words, ask them to say it again.'

/** The words in parts, each in one language, of recognisers that tell it of each word. */
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

/** How long the sound of an answer is. */
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
