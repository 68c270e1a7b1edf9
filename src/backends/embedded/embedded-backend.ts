import { LRUCache } from 'lru-cache'
import { offlineSchema, type OfflineDialogue } from '../../agents/offline/offline.js'
import type { CallerExpectation } from '../../call/backend-events.js'
import { GatewayError, messageOf, type ErrorCode } from '../../core/errors.js'
import { ANSWER_UNHEARD_MS, BACKEND_PRE_ROLL_MS_MAX } from '../../core/limits.js'
import { samplesToMs } from '../../core/units.js'
import type {
  Backend,
  BackendCapabilities,
  BackendErrorCode,
  BackendSession,
  BackendSink,
  ToolReply,
  TextOptions,
  SessionUpdate,
} from '../backend.js'
import { Alarm, clockTimers, type BackendTimers } from '../timers.js'
import { RESUME_TOOL } from '../../call/tools/gateway-tools.js'
import { askedFirst } from './dialogue/call-back.js'
import { DialogueEngine } from './dialogue/engine.js'
import {
  type DialogueAction,
  type DialogueCall,
  type DialogueEvent,
  type HeardEvent,
  type HeardBy,
} from './dialogue/dialogue-events.js'
import { type DialogueState } from './dialogue/dialogue-state.js'
import { digitsOf, isNumberSaid, mayLackFirstDigit, withFirstDigit, withoutSlips } from './dialogue/heard-digits.js'
import { recognisedWords, readable } from './dialogue/understanding.js'
import { isFliteVoice } from '../../speech/flite.js'
import { isBackchannel } from '../../call/turns/backchannel.js'
import { PreRoll, preRollMs } from '../pre-roll.js'
import { ResponseQueue } from './response-queue.js'
import {
  isSpeechBusy,
  RECOGNISER_RATE_HZ,
  type DictionaryEntry,
  type PartlyRecognised,
  type Recognised,
} from '../../speech/speech-protocol.js'
import type { SpeechClient, Utterance } from '../../speech/speech-client.js'

/**
 * The backend that runs without a network. It has a recogniser, a small synthesiser and a scripted dialogue. At each
 * point of the dialogue, the recogniser uses a grammar of the expected answers. The script is the agent's `offline:`
 * block, which replaces a language model. The backend emits the same events as other backends, including tool calls.
 *
 *     idle --connect--> ready --sendText(respond) | resume--> in dialogue --close--> closed
 *
 * `DialogueEngine` decides the steps of the dialogue. This class passes speech, DTMF digits and tool results to the
 * engine, and speaks the engine's texts. If a tool result makes the agent speak, the result waits until the caller has
 * finished speaking.
 */
export class EmbeddedBackend implements Backend {
  readonly capabilities: BackendCapabilities = {
    name: 'embedded',
    inputRateHz: 8000,
    outputRateHz: 16000,
    serverVad: false,
    truncate: true,
    weighsSpeech: true,
    readsTexts: false,
    maxSessionMs: null,
  }

  /** Counters of one call; plain fields. */
  readonly stats = {
    utterances: 0,
    /**
     * Number of ignored sounds: sounds without words during the agent's speech, and speech that was not meant for the
     * agent.
     */
    falseInterruptions: 0,
    notUnderstood: 0,
  }
  readonly #sink: BackendSink
  readonly #speech: SpeechClient
  readonly #preRoll = new PreRoll(BACKEND_PRE_ROLL_MS_MAX, RECOGNISER_RATE_HZ)
  readonly #responses: ResponseQueue
  #engine: DialogueEngine | null = null
  /** Words for the digits 0 to 9 in the dialogue. */
  #digits: readonly string[] = []
  #callerNumber = ''
  /** True if another backend served the call before. */
  #takeover = false
  /** State from a checkpoint; used when the call requests that the dialogue continues. */
  #resumed: EmbeddedSnapshot | null = null
  #utterance: Utterance | null = null
  /** Second recogniser, which searches the same speech as `#utterance` for a first single digit. */
  #digitListener: Utterance | null = null
  /** Digit that the second recogniser has found as the only word of the speech so far; null if there is none. */
  #loneDigit: string | null = null
  /** True if no decoder was free to search for a single digit. */
  #loneDigitUnheard = false
  /** Time until which speech may be the rest of a number whose first digit was not recognised. */
  #firstDigitUntilMs = -Infinity
  #speechStartedMs = 0
  /** Recognised words of the current utterance so far. */
  #words = ''
  /** Number of utterances whose recognition has no result yet, including the current utterance. */
  #recognising = 0
  /**
   * Settles when the results of all ended utterances were used. Results are used in the order of speech, because the
   * parts of a number have an order. On a busy machine, a later result may arrive first.
   */
  #used: Promise<void> = Promise.resolve()
  #keysPressed = 0
  /** Number of DTMF digits in the call when the current or last utterance began. */
  #keysAtSpeech = 0
  /** True if the current or last utterance may be any number, not only a known number. */
  #anyNumber = false
  #utteranceSamples = 0
  /** The expectation that was reported to the call last. */
  #expected: CallerExpectation = 'open'
  #expectedKeys: 'open' | 'secret' | null = null
  #interruptedSinceSpeech = false
  #callerItems = 0
  #heldResults: { readonly callId: string; readonly reply: ToolReply }[] = []
  readonly #timers: BackendTimers
  readonly #keyAlarm: Alarm
  #closed = false

  constructor(sink: BackendSink, options: EmbeddedBackendOptions) {
    this.#sink = sink
    this.#speech = options.speech
    this.#timers = clockTimers(options.nowMs ?? (() => performance.now()), options.after)
    this.#keyAlarm = new Alarm(this.#timers)
    this.#responses = new ResponseQueue(sink, options.speech, this.#timers.nowMs, (error) => this.#fail(error))
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    // Resolves at once, because the models are loaded in the speech workers, where early requests wait.
    try {
      this.#open(session, signal)
      return Promise.resolve()
    } catch (thrown) {
      const error =
        thrown instanceof GatewayError
          ? thrown
          : new GatewayError('BACKEND_INTERNAL', messageOf(thrown), { cause: thrown })
      if (error.code === 'BACKEND_CLOSED') void this.close('the call ended')
      else this.#fail(error)
      return Promise.reject(error)
    }
  }

  pushAudio(pcm: Int16Array): void {
    if (this.#utterance === null) {
      this.#preRoll.push(pcm)
      return
    }
    this.#utteranceSamples += pcm.length
    this.#utterance.push(pcm)
    this.#digitListener?.push(pcm)
    if (samplesToMs(this.#utteranceSamples, RECOGNISER_RATE_HZ) > LONE_DIGIT_MS) this.#stopDigitListener()
  }

  speechStart(atMs: number): void {
    const engine = this.#engine
    if (engine === null || this.#utterance !== null || this.#closed) return
    this.stats.utterances++
    this.#interruptedSinceSpeech = false
    if (!engine.started) {
      // The caller has spoken before the greeting was requested. So the dialogue starts now, with an interrupted
      // greeting.
      this.#start()
      this.#responses.interrupt(this.#responses.lastItemId, 0)
    }
    // If earlier words are still being recognised, they may be the first half of a number.
    const { jsgf, words, check, anyNumber } = engine.grammar(this.#recognising > 0)
    this.#keysAtSpeech = this.#keysPressed
    this.#anyNumber = anyNumber
    try {
      let heard = ''
      let weighedMs = 0
      this.#words = ''
      this.#loneDigit = null
      this.#loneDigitUnheard = false
      this.#speechStartedMs = this.#timers.nowMs()
      this.#expectMore(engine)
      const onPartial = ({ text, fit = 1, wordMs = [], ofMs }: PartlyRecognised): void => {
        if (this.#closed) return
        const soFar = fit < FIT_MIN ? '' : recognisedWords(text, this.#digits)
        this.#words = soFar
        this.#expectMore(engine)
        // The words are checked once per UNDERSTOOD_EVERY_MS, because right after a check they may still become any
        // answer.
        if (ofMs < weighedMs + UNDERSTOOD_EVERY_MS) return
        weighedMs = ofMs
        if (soFar === '' || soFar === heard) return
        if (anyNumber && !isNumberSaid(soFar, fit, wordMs, this.#digits)) return
        // A number with too many digits is probably not the caller's, because announcements on the line are recognised
        // as long numbers.
        if (digitsOf(soFar, this.#digits).length > (engine.digitsMax ?? Infinity)) return
        heard = soFar
        this.#sink.event({ type: 'understood' })
      }
      this.#utterance = this.#speech.startUtterance(jsgf, words, onPartial, { check })
    } catch (error) {
      this.#recognitionFailed(error)
      return
    }
    this.#recognising++
    this.#listenForLoneDigit(engine, words)
    const earlier = this.#preRoll.take(preRollMs(this.#timers.nowMs() - atMs, 0))
    this.#utteranceSamples = earlier.length
    if (earlier.length > 0) {
      this.#utterance.push(earlier)
      this.#digitListener?.push(earlier)
    }
  }

  /**
   * Starts the search for a single digit if a number may begin here. A caller who pauses after the first digit then
   * gets more time.
   */
  #listenForLoneDigit(engine: DialogueEngine, words: readonly DictionaryEntry[]): void {
    const jsgf = engine.loneDigitGrammar()
    if (jsgf === null) return
    try {
      const onPartial = ({ text }: Recognised): void => {
        if (this.#closed) return
        this.#loneDigit = this.#digits.includes(text) ? text : null
        this.#expectMore(engine)
      }
      const onLost = (): void => {
        this.#loneDigitUnheard ||= this.#loneDigit === null
        this.#digitListener = null
      }
      this.#digitListener = this.#speech.startUtterance(jsgf, words, onPartial, { spare: true, onLost })
    } catch {
      this.#loneDigitUnheard = true
    }
  }

  #stopDigitListener(): void {
    this.#digitListener?.abandon()
    this.#digitListener = null
  }

  /**
   * Reports that more digits are expected if the caller has said only one digit. The usual grammar may have recognised
   * the digit as one other word, but not as two words.
   */
  #expectMore(engine: DialogueEngine): void {
    const lone = this.#loneDigit !== null && !this.#words.includes(' ')
    this.#expect(lone ? 'more-digits' : engine.expectsAfter(this.#words))
  }

  speechEnd(_atMs: number, unless?: readonly string[]): void {
    const utterance = this.#utterance
    if (utterance === null) return
    this.#utterance = null
    this.#stopDigitListener()
    const keysAtSpeech = this.#keysAtSpeech
    const loneDigit = this.#loneDigit
    const unheard = this.#loneDigitUnheard
    const [startedMs, endedMs] = [this.#speechStartedMs, this.#timers.nowMs()]
    const anyNumber = this.#anyNumber
    this.#preRoll.clear()
    const duringAgentSpeech =
      !this.#interruptedSinceSpeech &&
      this.#responses.speaksUntilMs - this.#timers.nowMs() > FALSE_INTERRUPTION_MARGIN_MS
    const ms = samplesToMs(this.#utteranceSamples, this.capabilities.inputRateHz)
    this.#responses.audioInMs += ms
    const use = ({ text, fit = 1, wordMs = [] }: Recognised): void => {
      const digitsMax = this.#engine?.digitsMax ?? Infinity
      const fitMin = unless === undefined || ms <= FEW_WORDS_MS ? FIT_MIN : FIT_SURE
      const recognised = recognisedWords(text, this.#digits)
      const fits = fit >= fitMin && (!anyNumber || isNumberSaid(recognised, fit, wordMs, this.#digits))
      const said = withoutSlips(recognised, wordMs, this.#digits, digitsMax)
      const words = fits ? withFirstDigit(said, loneDigit, this.#digits, digitsMax) : ''
      const digits = digitsOf(words, this.#digits).length
      const isRest =
        startedMs < this.#firstDigitUntilMs && digits > 0 && digits < digitsMax && digits === words.split(' ').length
      // A single word that is not a digit may be a misrecognised digit.
      this.#firstDigitUntilMs =
        unheard && digits === 0 && !words.includes(' ') ? endedMs + FIRST_DIGIT_PAUSE_MS : -Infinity
      // A number without its first digit would be a different number.
      if (isRest || (unheard && mayLackFirstDigit(words, this.#digits, digitsMax))) {
        this.#notHeard()
        return
      }
      const meant =
        unless === undefined ||
        (words !== '' && digits <= digitsMax && !isBackchannel(readable(words, this.#digits), unless))
      if (!meant || (words === '' && duringAgentSpeech)) this.stats.falseInterruptions++
      else
        this.#heard(words, 'speech', {
          sure: fit >= FIT_SURE,
          attempt: ms < ANSWER_UNHEARD_MS,
          keysAfter: this.#keysPressed - keysAtSpeech,
        })
    }
    this.#used = Promise.allSettled([utterance.end(), this.#used]).then(([result]) => {
      this.#recognising--
      if (result.status === 'fulfilled') use(result.value)
      else if (isSpeechBusy(result.reason)) {
        // The lost utterance may have contained the first digit of a number.
        this.#firstDigitUntilMs = endedMs + FIRST_DIGIT_PAUSE_MS
        if (unless !== undefined || duringAgentSpeech) this.stats.falseInterruptions++
        else this.#notHeard(ms < ANSWER_UNHEARD_MS)
      } else this.#recognitionFailed(result.reason)
      this.#releaseResults()
    })
  }

  sendText(text: string, options: TextOptions): void {
    if (this.#engine === null || this.#closed) return
    if (options.role === 'caller') {
      if (!options.respond) return
      if (!this.#engine.started) this.#start()
      this.#heard(text, 'text')
      return
    }
    // The words of a system text are for a model. This backend uses only the request for an answer.
    if (!options.respond) return
    if (!this.#engine.started) this.#start()
    else if (this.#resumed !== null) this.#continue(this.#resumed)
    else if (!this.#responses.busy) this.#handle({ type: 'nudge' })
  }

  dtmf(digit: string): void {
    if (this.#engine === null || this.#closed || !/^[0-9*#]$/.test(digit)) return
    if (!this.#engine.started) this.#start()
    this.#keysPressed++
    this.#handle({ type: 'key', key: digit })
  }

  toolResult(callId: string, reply: ToolReply): void {
    if (this.#engine === null || this.#closed || reply.pending === true) return
    if (this.#recognising > 0 && this.#engine.waitsFor(callId)) {
      this.#heldResults.push({ callId, reply })
      return
    }
    this.#handle({ type: 'tool-result', callId, ok: reply.ok, value: reply.value })
  }

  toolOutcome(callId: string, reply: ToolReply): boolean {
    if (this.#engine?.runs(callId) !== true) return false
    this.toolResult(callId, reply)
    return true
  }

  interrupt(heard: { readonly itemId: string | null; readonly playedMs: number }): void {
    this.#interruptedSinceSpeech = true
    this.#responses.interrupt(heard.itemId, heard.playedMs)
  }

  /**
   * Only language and voice can change during a call. The dialogue itself, the agent's `offline:` block, cannot change.
   */
  updateSession({ language, greeting, caller, voices = {} }: SessionUpdate): void {
    const voice = voices[this.capabilities.name]
    if (typeof voice === 'string') this.#responses.voice = voice
    if (this.#engine === null) return
    if (language !== undefined) this.#engine.language = language
    this.#engine.know({
      ...(greeting === undefined ? {} : { greeting: greeting ?? '' }),
      ...(caller === undefined ? {} : { caller: { ...caller, number: this.#callerNumber } }),
    })
    if (greeting != null && !this.#engine.started) this.#speech.prepare(greeting, this.#responses.voice)
  }

  snapshot(): EmbeddedSnapshot | null {
    if (this.#engine === null || !this.#engine.started) return null
    return {
      version: 1,
      dialogue: this.#engine.snapshot(),
      generation: this.#responses.generation,
      unspoken: this.#responses.unspoken(),
    }
  }

  close(reason: string): Promise<void> {
    this.#end(CLOSE_NORMAL, reason)
    return Promise.resolve()
  }

  #end(code: number, reason: string): void {
    if (this.#closed) return
    this.#closed = true
    this.#utterance?.abandon()
    this.#utterance = null
    this.#stopDigitListener()
    this.#heldResults = []
    this.#setKeyTimer(null)
    this.#responses.close()
    this.#sink.event({ type: 'closed', code, reason, clean: code === CLOSE_NORMAL })
  }

  #open(session: BackendSession, signal: AbortSignal): void {
    if (signal.aborted || this.#closed)
      throw new GatewayError('BACKEND_CLOSED', 'the call ended before its backend was connected')
    if (!this.#speech.alive)
      throw new GatewayError('BACKEND_INTERNAL', 'this call has no speech worker', { retryable: true })
    const asks = session.tools.some(({ name }) => name === RESUME_TOOL)
    const dialogue = asks ? askedFirst(parseDialogue(session)) : parseDialogue(session)
    const voice = session.voice ?? dialogue.voice ?? VOICE_DEFAULT
    if (!isFliteVoice(voice)) {
      throw new GatewayError(
        'BACKEND_BAD_REQUEST',
        `agent ${session.agent} has the voice ${JSON.stringify(voice)}, which the embedded backend does not have`,
      )
    }
    this.#responses.voice = voice
    this.#digits = dialogue.digits
    this.#callerNumber = session.from
    this.#resumed = parseSnapshot(session.resume)
    this.#takeover = session.history.length > 0
    if (this.#resumed !== null) this.#responses.generation = this.#resumed.generation
    this.#engine = new DialogueEngine({
      dialogue,
      values: {
        caller: { ...session.caller, number: session.from },
        greeting: session.greeting ?? '',
        humans: { there: session.humansThere ?? true },
      },
      answered: this.#resumed === null ? session.toolLedger.filter(({ pending = false }) => !pending) : [],
      resume: this.#resumed?.dialogue ?? null,
      language: session.language,
      ...(session.today === undefined ? {} : { today: session.today }),
    })
    if (!this.#engine.started) this.#speech.prepare(session.greeting ?? '', voice)
    this.#sink.event({ type: 'ready' })
  }

  #start(): void {
    this.#handle({ type: 'start', takeover: this.#takeover })
  }

  /**
   * Continues the dialogue of an earlier instance. Speaks the sentences that were not spoken, or repeats the question.
   */
  #continue(resumed: EmbeddedSnapshot): void {
    this.#resumed = null
    if (resumed.unspoken.length > 0) this.#responses.add(resumed.unspoken, [])
    else this.#handle({ type: 'nudge' })
  }

  #heard(text: string, by: HeardBy, how: Pick<HeardEvent, 'sure' | 'attempt' | 'keysAfter'> = {}): void {
    if (this.#closed) return
    const unheard = this.#responses.takeUnheard()
    if (text === '') this.stats.notUnderstood++
    else this.#callerSaid(by === 'speech' ? readable(text, this.#digits) : text, this.#engine?.hidesDigits === true)
    this.#handle({ type: 'heard', text, by, unheard, ...how })
  }

  #callerSaid(words: string, hidden: boolean): void {
    const text = hidden ? words.replace(/\d/g, '•') : words
    this.#sink.event({
      type: 'transcript',
      role: 'caller',
      text,
      final: true,
      itemId: `caller-${++this.#callerItems}`,
      // The transcript belongs to the response that follows it. This response cannot have been interrupted yet.
      generation: this.#responses.generation + 1,
    })
  }

  /**
   * Handles a failed recognition. The dialogue repeats its question if the recogniser is available for the next answer;
   * otherwise the session ends.
   */
  #recognitionFailed(error: unknown): void {
    if (this.#closed) return
    const code = error instanceof GatewayError ? error.code : 'SPEECH_FAULT'
    if (isSpeechBusy(error)) {
      this.#notHeard()
      return
    }
    if (code !== 'SPEECH_FAULT') {
      this.#fail(error)
      return
    }
    void this.#speech.recovered().then((recovered) => {
      if (recovered) this.#handle({ type: 'not-heard', attempt: true })
      else this.#fail(error)
    })
  }

  /**
   * Handles speech that was not recognised, for example because all decoders were busy. The agent repeats its question.
   */
  #notHeard(attempt = true): void {
    this.stats.notUnderstood++
    this.#handle({ type: 'not-heard', attempt })
  }

  #releaseResults(): void {
    if (this.#recognising > 0) return
    const held = this.#heldResults
    this.#heldResults = []
    for (const { callId, reply } of held)
      this.#handle({ type: 'tool-result', callId, ok: reply.ok, value: reply.value })
  }

  #handle(event: DialogueEvent): void {
    const engine = this.#engine
    if (engine === null || this.#closed) return
    // The value is read before the event is handled, because digits in the event answer the present question.
    const hidden = engine.hidesDigits
    let actions: DialogueAction[]
    try {
      actions = engine.handle(event)
    } catch (error) {
      this.#fail(error)
      return
    }
    const texts: string[] = []
    const calls: DialogueCall[] = []
    for (const action of actions) {
      if (action.type === 'say') texts.push(action.text)
      else if (action.type === 'call') calls.push(action)
      else if (action.type === 'keyed') this.#callerSaid(action.keys, hidden)
      else if (action.type === 'key-timer') this.#setKeyTimer(action.ms)
      else if (action.type === 'missed') this.#sink.event({ type: 'not-understood' })
      else this.#responses.stopSpeaking()
    }
    // Speech always gets a response. If there is no answer, an empty response reports this.
    if (texts.length + calls.length > 0 || event.type === 'heard') this.#responses.add(texts, calls)
    this.#expect(engine.expects)
    for (const text of engine.predicted()) this.#speech.prepare(text, this.#responses.voice)
  }

  #expect(what: CallerExpectation): void {
    const keys = this.#engine?.hidesDigits === true ? 'secret' : 'open'
    if (what === this.#expected && keys === this.#expectedKeys) return
    this.#expected = what
    this.#expectedKeys = keys
    this.#sink.event({ type: 'expects', what, keys })
  }

  #setKeyTimer(ms: number | null): void {
    if (ms === null) return this.#keyAlarm.clear()
    this.#keyAlarm.set(ms, () => {
      // The caller's words that are being recognised now may contain the remaining digits.
      if (this.#recognising > 0) this.#setKeyTimer(KEY_TIMER_RETRY_MS)
      else this.#handle({ type: 'keys-timeout' })
    })
  }

  /** Reports the fault and ends the session. */
  #fail(error: unknown): void {
    if (this.#closed) return
    const known = error instanceof GatewayError ? error : null
    // The loss of the speech session counts as a lost connection, because a new instance gets a new speech session.
    const lost = known?.code === 'SPEECH_FAULT' && !this.#speech.alive
    const code = lost ? 'network' : ((known === null ? undefined : ERROR_CODES[known.code]) ?? 'internal')
    const message = messageOf(error)
    this.#sink.event({ type: 'error', code, message, fatal: true, retryable: lost || (known?.retryable ?? false) })
    this.#end(CLOSE_FAULT, message)
  }
}

/** Maximum number of checked `offline:` blocks that a worker stores, one per agent. */
const DIALOGUES_KEPT_MAX = 64

/** Timers. Defaults: `performance.now` for `nowMs`, real timers for `after`. */
interface EmbeddedBackendOptions extends Partial<BackendTimers> {
  /** The call's speech session. The call owns and closes it. */
  readonly speech: SpeechClient
}

/** Result of `snapshot` and value of `BackendSession.resume`: JSON with a size of a few KB. */
export interface EmbeddedSnapshot {
  readonly version: 1
  readonly dialogue: DialogueState
  /** Number of the last response. A new instance continues with the next number. */
  readonly generation: number
  /** Sentences that were not spoken yet. A new instance speaks them first. */
  readonly unspoken: readonly string[]
}

/**
 * Minimum remaining time of the agent's speech in milliseconds. If more time remains, a sound of the caller counts as
 * made during the agent's speech. Such a sound does not get an answer if it has no words and did not interrupt the
 * speech.
 */
const FALSE_INTERRUPTION_MARGIN_MS = 300
/**
 * Minimum match between sound and words for an understood answer; and minimum match with which the dialogue need not
 * ask for a confirmation. Of 40 sentences of the order line's grammar (4 flite voices, 8 kHz mu-law) the worst match is
 * 0.858. Of 29 other sentences that the grammar accepted, 10 match with less than 0.75 and 27 with less than 0.87.
 * Human voices match worse than flite's voices, so the first limit is low.
 */
export const FIT_MIN = 0.75
const FIT_SURE = 0.87
/**
 * Maximum duration in ms of one or two words. If longer speech may not be meant for the agent, its match must be at
 * least `FIT_SURE`. Announcements on the line were recognised as "where's the parcel" and "one four seven zero four",
 * with a match of 0.77 to 0.85.
 */
const FEW_WORDS_MS = 1000
/** Interval in ms at which the words of continuing speech are checked again. */
const UNDERSTOOD_EVERY_MS = 1000
/**
 * Time in ms in which an utterance is searched for a single digit. It covers the pre-roll, a digit, and the pause after
 * the digit.
 */
const LONE_DIGIT_MS = 1600
/** Maximum pause in ms between the first digit of a number and its other digits. */
const FIRST_DIGIT_PAUSE_MS = 1500
/** Time in ms until the next check, if the pause after a number's part is over but speech is still being recognised. */
const KEY_TIMER_RETRY_MS = 300
const VOICE_DEFAULT = 'slt'
const ERROR_CODES: Partial<Record<ErrorCode, BackendErrorCode>> = {
  AGENT_INVALID: 'bad_request',
  BACKEND_BAD_REQUEST: 'bad_request',
  SPEECH_BUSY: 'rate_limit',
}
/** Close codes of RFC 6455, which other backends report too. */
const CLOSE_NORMAL = 1000
const CLOSE_FAULT = 1011

const PARSED = new LRUCache<string, OfflineDialogue>({ max: DIALOGUES_KEPT_MAX })

function parseDialogue(session: BackendSession): OfflineDialogue {
  if (session.offline === null || session.offline === undefined) {
    throw new GatewayError(
      'BACKEND_BAD_REQUEST',
      `agent ${session.agent} has no offline: block, which the embedded backend needs; add one, or set another backend`,
    )
  }
  // Checked `offline:` blocks are stored, because a check takes 7 ms and all calls of an agent have equal blocks.
  const key = JSON.stringify(session.offline)
  const known = PARSED.get(key)
  if (known !== undefined) return known
  const parsed = offlineSchema.safeParse(session.offline)
  if (parsed.success) {
    PARSED.set(key, parsed.data)
    return parsed.data
  }
  const [first] = parsed.error.issues
  throw new GatewayError(
    'BACKEND_BAD_REQUEST',
    `agent ${session.agent}: offline.${first?.path.join('.') ?? ''}: ${first?.message ?? 'invalid'}`,
  )
}

/** @returns the checkpoint in `resume`; null for any other value, so that the session continues from the history */
export function parseSnapshot(resume: unknown): EmbeddedSnapshot | null {
  if (typeof resume !== 'object' || resume === null) return null
  const snapshot = resume as Partial<EmbeddedSnapshot>
  const good =
    snapshot.version === 1 &&
    snapshot.dialogue?.version === 1 &&
    typeof snapshot.generation === 'number' &&
    Array.isArray(snapshot.unspoken) &&
    snapshot.unspoken.every((text) => typeof text === 'string')
  return good ? (snapshot as EmbeddedSnapshot) : null
}
