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
import { digitsOf, isNumberSaid, withFirstDigit, withoutSlips } from './dialogue/heard-digits.js'
import { recognisedWords, readable } from './dialogue/understanding.js'
import { isFliteVoice } from '../../speech/flite.js'
import { isBackchannel } from '../../call/turns/backchannel.js'
import { PreRoll, preRollMs } from '../pre-roll.js'
import { ResponseQueue } from './response-queue.js'
import {
  RECOGNISER_RATE_HZ,
  type DictionaryEntry,
  type PartlyRecognised,
  type Recognised,
} from '../../speech/speech-protocol.js'
import type { SpeechClient, Utterance } from '../../speech/speech-client.js'

/**
 * The backend that needs no network: a recogniser with a grammar for each moment of a scripted dialogue, and a small
 * synthesiser. It has no language model: it follows the agent's `offline:` block. It emits the same events as the other
 * backends, tool calls included.
 *
 *     idle --connect--> ready --sendText(respond) | resume--> in dialogue --close--> closed
 *
 * The engine decides within the dialogue. This class gives it what was said, keyed or returned by a tool, and speaks
 * its texts. A tool result that makes the agent speak waits until the caller has finished speaking.
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
    /** Sounds without words during which the agent continued to speak. */
    falseInterruptions: 0,
    notUnderstood: 0,
  }
  readonly #sink: BackendSink
  readonly #speech: SpeechClient
  readonly #preRoll = new PreRoll(BACKEND_PRE_ROLL_MS_MAX, RECOGNISER_RATE_HZ)
  readonly #responses: ResponseQueue
  #engine: DialogueEngine | null = null
  /** The words for the digits 0 to 9. */
  #digits: readonly string[] = []
  #callerNumber = ''
  /** Another backend carried the call before. */
  #takeover = false
  /** From a checkpoint; used when the call asks to continue. */
  #resumed: EmbeddedSnapshot | null = null
  #utterance: Utterance | null = null
  /** Hears the same as `#utterance`, at its beginning. */
  #digitListener: Utterance | null = null
  /** Its first word, if that was one digit and then nothing. */
  #loneDigit: string | null = null
  /** Recognised words of the current utterance so far. */
  #words = ''
  /** Utterances without a result yet, the current one included. */
  #recognising = 0
  /**
   * Settles when the result of each utterance that has ended is used: on a busy machine a later one may be known first,
   * and the parts of a number have an order.
   */
  #used: Promise<void> = Promise.resolve()
  #keysPressed = 0
  /** As of the beginning of the current or last utterance. */
  #keysAtSpeech = 0
  /** The current or last utterance may be any number, not only a known one. */
  #anyNumber = false
  #utteranceSamples = 0
  /** The expectation that the call got last. */
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
    // Resolves at once: the models live in the speech workers, and early requests wait there.
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
      // The caller speaks before the greeting was requested: the dialogue starts, and the greeting is interrupted.
      this.#start()
      this.#responses.interrupt(this.#responses.lastItemId, 0)
    }
    // The caller's words before may be the first half of a number, and these the second.
    const { jsgf, words, check, anyNumber } = engine.grammar(this.#recognising > 0)
    this.#keysAtSpeech = this.#keysPressed
    this.#anyNumber = anyNumber
    try {
      let heard = ''
      let weighedMs = 0
      this.#words = ''
      this.#loneDigit = null
      this.#expectMore(engine)
      const onPartial = ({ text, fit = 1, wordMs = [], ofMs }: PartlyRecognised): void => {
        if (this.#closed) return
        const soFar = fit < FIT_MIN ? '' : recognisedWords(text, this.#digits)
        this.#words = soFar
        this.#expectMore(engine)
        // A shorter piece may be anything.
        if (ofMs < weighedMs + UNDERSTOOD_EVERY_MS) return
        weighedMs = ofMs
        if (soFar === '' || soFar === heard) return
        if (anyNumber && !isNumberSaid(soFar, fit, wordMs, this.#digits)) return
        // Announcements of another line are heard as long numbers.
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

  /** Where a number may begin: who says its first digit, and pauses, is waited for longer. */
  #listenForLoneDigit(engine: DialogueEngine, words: readonly DictionaryEntry[]): void {
    const jsgf = engine.loneDigitGrammar()
    if (jsgf === null) return
    try {
      const onPartial = ({ text }: Recognised): void => {
        if (this.#closed) return
        this.#loneDigit = this.#digits.includes(text) ? text : null
        this.#expectMore(engine)
      }
      this.#digitListener = this.#speech.startUtterance(jsgf, words, onPartial, { spare: true })
    } catch {
      // Without it the turn ends sooner, and the digit is a part of the number.
    }
  }

  #stopDigitListener(): void {
    this.#digitListener?.abandon()
    this.#digitListener = null
  }

  /** A lone digit may be recognised as another word, but not as two. */
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
      const meant =
        unless === undefined ||
        (words !== '' &&
          digitsOf(words, this.#digits).length <= digitsMax &&
          !isBackchannel(readable(words, this.#digits), unless))
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
      else this.#recognitionFailed(result.reason)
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
    // The content of a system text is meant for a model; here only the request for an answer counts.
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

  /** The dialogue is the agent's `offline:` block and does not change within a call; its language and voice do. */
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

  /** Continues the dialogue of an earlier instance: with its unspoken sentences, or with its question again. */
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
      // The transcript belongs to the response that it causes, which cannot have been interrupted yet.
      generation: this.#responses.generation + 1,
    })
  }

  /**
   * Recognition failed. The dialogue asks again if the recogniser is available for the next answer. Otherwise the
   * session ends.
   */
  #recognitionFailed(error: unknown): void {
    if (this.#closed) return
    const code = error instanceof GatewayError ? error.code : 'SPEECH_FAULT'
    if (code === 'SPEECH_BUSY') {
      this.#handle({ type: 'not-heard' })
      return
    }
    if (code !== 'SPEECH_FAULT') {
      this.#fail(error)
      return
    }
    void this.#speech.recovered().then((recovered) => {
      if (recovered) this.#handle({ type: 'not-heard' })
      else this.#fail(error)
    })
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
    // Keys of this event answer the question that was asked before it.
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
      else this.#responses.stopSpeaking()
    }
    // Speech always gets a response: an empty one reports that no answer follows.
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
      // The rest may be what the caller is just saying.
      if (this.#recognising > 0) this.#setKeyTimer(KEY_TIMER_RETRY_MS)
      else this.#handle({ type: 'keys-timeout' })
    })
  }

  /** Reports the fault and ends the session. */
  #fail(error: unknown): void {
    if (this.#closed) return
    const known = error instanceof GatewayError ? error : null
    // A new instance gets another speech session, so the loss of this one counts as a lost connection.
    const lost = known?.code === 'SPEECH_FAULT' && !this.#speech.alive
    const code = lost ? 'network' : ((known === null ? undefined : ERROR_CODES[known.code]) ?? 'internal')
    const message = messageOf(error)
    this.#sink.event({ type: 'error', code, message, fatal: true, retryable: lost || (known?.retryable ?? false) })
    this.#end(CLOSE_FAULT, message)
  }
}

/** Checked `offline:` blocks that a worker keeps: one for each agent. */
const DIALOGUES_KEPT_MAX = 64

/** `nowMs`: `performance.now` when not given; `after`: real timers. */
interface EmbeddedBackendOptions extends Partial<BackendTimers> {
  /** The call's speech session. The call owns and closes it. */
  readonly speech: SpeechClient
}

/** Result of `snapshot`, and argument of `BackendSession.resume`. JSON, a few KB. */
export interface EmbeddedSnapshot {
  readonly version: 1
  readonly dialogue: DialogueState
  /** Number of the last response; a new instance continues from it. */
  readonly generation: number
  /** Sentences that are not spoken yet; a new instance speaks them first. */
  readonly unspoken: readonly string[]
}

/**
 * A sound without words that ends this long before the end of the agent's speech, and did not interrupt it, needs no
 * answer.
 */
const FALSE_INTERRUPTION_MARGIN_MS = 300
/**
 * How well the sound must fit the words to count as understood, and to be acted on without a confirmation where the
 * dialogue asks for one. Of 40 sentences of the order line's grammar (4 flite voices, 8 kHz mu-law) the worst fits with
 * 0.858; of 29 other sentences that the grammar accepted 10 fit with less than 0.75 and 27 with less than 0.87. Human
 * voices fit less well than flite's, which is why the first limit is low.
 */
export const FIT_MIN = 0.75
const FIT_SURE = 0.87
/**
 * Speech that may not be meant for the agent is held to `FIT_SURE` where it is longer than a word or two: announcements
 * of another line were heard as "where's the parcel" and "one four seven zero four", with a fit of 0.77 to 0.85.
 */
const FEW_WORDS_MS = 1000
/** Speech between two looks at what was understood so far. */
const UNDERSTOOD_EVERY_MS = 1000
/** How long an utterance is listened to for a lone digit: the time before its onset, a digit, and the pause after it. */
const LONE_DIGIT_MS = 1600
/** A number's pause is over, but the caller speaks: look again. */
const KEY_TIMER_RETRY_MS = 300
const VOICE_DEFAULT = 'slt'
const ERROR_CODES: Partial<Record<ErrorCode, BackendErrorCode>> = {
  AGENT_INVALID: 'bad_request',
  BACKEND_BAD_REQUEST: 'bad_request',
  SPEECH_BUSY: 'rate_limit',
}
/** Close codes of RFC 6455, as the other backends report them. */
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
  // Checking a block takes 7 ms, and every call of an agent brings the same one.
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

/** The checkpoint of this backend; null for any other value. The session then continues from the history. */
function parseSnapshot(resume: unknown): EmbeddedSnapshot | null {
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
