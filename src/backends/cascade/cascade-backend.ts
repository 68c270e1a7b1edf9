import type { Clock } from '../../core/clock.js'
import { GatewayError } from '../../core/errors.js'
import { BACKEND_PRE_ROLL_MS } from '../../core/limits.js'
import { msToSamples, samplesToMs } from '../../core/units.js'
import type { Backend, BackendCapabilities, BackendSession, BackendSink, ToolReply, ToolSpec } from '../backend.js'
import { KeyEntry } from '../key-entry.js'
import { keysText, openingText } from '../prompts.js'
import { resumedGeneration } from '../resumed-generation.js'
import { replyText } from '../tool-text.js'
import { faultError, faultEvent, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { Answer } from './answer.js'
import { Conversation } from './conversation.js'
import { ARTEFACTS, LISTEN_IN_EVERY_MS, LISTEN_IN_FIRST_MS, UTTERANCE_MS_MIN } from './options.js'
import type { CascadeOptions } from './options.js'
import { StageFault, Stages } from './stages.js'
import { UtteranceBuffer } from './utterance.js'

/** Counters of one call; plain fields. Times are of the last turn, NaN before any. */
export interface CascadeStats {
  utterances: number
  /** Too short to be speech, or a text that the recogniser is known to make of noise. */
  noises: number
  sttFaults: number
  answersFailed: number
  invalidToolArguments: number
  malformedChunks: number
  samplesDropped: number
  sttMsLast: number
  firstTokenMsLast: number
  firstSoundMsLast: number
}

const RATE_HZ = 16_000
const CLOSE_NORMAL = 1000
const CLOSE_ABNORMAL = 1006
const VOICE_DEFAULT = 'alloy'
/** Utterances whose words are not there yet: the caller goes on speaking while a slow recogniser works. */
const HEARING_MAX = 4
const WAITING_MAX = 16

/**
 * Three services in a row on OpenAI-compatible HTTP: a recogniser, a language model and a voice. It has no ears of its
 * own: the gateway's VAD marks the caller's speech.
 *
 *     caller stopped --words--> owed --caller silent, no answer under way--> answering --spoken--> (idle)
 *     answering --interrupt--> (idle), and the history keeps what was heard
 *     answering --tool calls--> (idle) --last answer--> owed
 *
 * An answer is given when nobody speaks and nobody is still being understood, so that a pause within a sentence of the
 * caller, or a tool that comes back while they speak, makes one answer and not two.
 */
export class CascadeBackend implements Backend {
  readonly capabilities: BackendCapabilities
  readonly stats: CascadeStats = {
    utterances: 0, noises: 0, sttFaults: 0, answersFailed: 0, invalidToolArguments: 0, malformedChunks: 0, samplesDropped: 0,
    sttMsLast: NaN, firstTokenMsLast: NaN, firstSoundMsLast: NaN,
  }

  readonly #sink: BackendSink
  readonly #options: CascadeOptions
  readonly #stages: Stages
  readonly #nowMs: Clock
  readonly #utterance = new UtteranceBuffer({ sampleRateHz: RATE_HZ, preRollMs: BACKEND_PRE_ROLL_MS })
  readonly #keys: KeyEntry
  readonly #artefacts: ReadonlySet<string>
  readonly #abort = new AbortController()
  readonly #waiting: (() => void)[] = []
  #state: 'idle' | 'connecting' | 'ready' | 'closed' = 'idle'
  #session: BackendSession | null = null
  #conversation: Conversation | null = null
  #answer: Answer | null = null
  #generation = 0
  /** Someone waits for an answer; a text is spoken as it is, null is the model's to say. */
  #owed: { readonly fixed: string | null } | null = null
  #hearing = 0
  /** Words come in the order in which they were spoken. */
  #heardSoFar: Promise<void> = Promise.resolve()
  #callerItems = 0
  #audioInSamples = 0
  /** Of the utterance that goes on: what was listened in to, when it is again, and which utterance that is. */
  #listenedSamples = 0
  #listenAtSamples = 0
  #utterances = 0

  constructor(sink: BackendSink, options: CascadeOptions) {
    this.#sink = sink
    this.#options = options
    this.#stages = new Stages(options)
    this.#nowMs = options.nowMs ?? (() => performance.now())
    this.#keys = new KeyEntry((keys) => this.#keyed(keys))
    this.#artefacts = new Set((options.artefacts ?? ARTEFACTS).map(plain))
    this.capabilities = {
      name: options.name ?? 'cascade', inputRateHz: RATE_HZ, outputRateHz: 24_000, serverVad: false, truncate: true, maxSessionMs: null,
    }
  }

  async connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    const gone = (): GatewayError => new GatewayError('BACKEND_CLOSED', `${this.capabilities.name}: the call ended before its backend was connected`)
    if (this.#state !== 'idle' || signal.aborted) throw gone()
    this.#state = 'connecting'
    this.#session = session
    this.#conversation = new Conversation(session)
    this.#generation = resumedGeneration(session.resume)
    signal.addEventListener('abort', () => {
      if (this.#state === 'connecting') void this.close('the call ended')
    }, { once: true })
    try {
      if (this.#options.probe !== false) await this.#stages.probe(this.#abort.signal)
    } catch (error) {
      if (this.#abort.signal.aborted) throw gone()
      const fault = { ...faultOf(error), fatal: true }
      this.#fail(fault)
      throw faultError(fault)
    }
    if (this.#abort.signal.aborted) throw gone()
    this.#state = 'ready'
    this.#sink.event({ type: 'ready' })
    for (const work of this.#waiting.splice(0)) work()
  }

  pushAudio(pcm: Int16Array): void {
    if (this.#state === 'closed') return
    if (this.#utterance.isOpen) this.#audioInSamples += pcm.length
    this.#utterance.push(pcm)
    if (this.#utterance.isOpen && this.#state === 'ready' && this.#utterance.samples >= this.#listenAtSamples) this.#listenIn()
    this.stats.samplesDropped = this.#utterance.dropped
  }

  speechStart(_atMs: number): void {
    if (this.#state === 'closed' || this.#utterance.isOpen) return
    this.#utterance.open()
    this.#utterances++
    this.#listenedSamples = 0
    this.#listenAtSamples = msToSamples(LISTEN_IN_FIRST_MS, RATE_HZ)
  }

  speechEnd(_atMs: number): void {
    if (this.#state === 'closed' || !this.#utterance.isOpen) return
    const { pcm, voicedSamples } = this.#utterance.take()
    if (samplesToMs(voicedSamples, RATE_HZ) < UTTERANCE_MS_MIN || this.#hearing >= HEARING_MAX) {
      this.stats.noises++
      this.#settle()
      return
    }
    this.stats.utterances++
    this.#hearing++
    this.#whenReady(() => this.#transcribe(pcm))
  }

  sendText(text: string, { role, respond }: { readonly role: 'caller' | 'system'; readonly respond: boolean }): void {
    this.#whenReady(() => {
      const { greeting = null, history = [] } = this.#session ?? {}
      if (text === '' && role === 'system' && respond && greeting !== null && greeting !== '' && history.length === 0) {
        this.#owe(greeting)
        return
      }
      const words = text === '' && role === 'system' && this.#session !== null ? openingText(this.#session) : text
      if (role === 'caller') this.#conversation?.caller(words)
      else this.#conversation?.note(words)
      if (respond) this.#owe(null)
    })
  }

  dtmf(digit: string): void {
    if (this.#state !== 'closed') this.#keys.press(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    if (this.#state !== 'ready') return
    if (this.#conversation?.answered(callId, replyText(reply)) === 'complete') this.#owe(null)
  }

  interrupt({ itemId, playedMs }: { readonly itemId: string | null; readonly playedMs: number }): void {
    if (this.#state !== 'ready') return
    this.#owed = null
    const answer = this.#answer
    if (itemId !== null) this.#conversation?.cut(itemId, playedMs)
    if (answer === null) return
    this.#answer = null
    answer.interrupt()
    const { entry } = answer
    // Where it was not the item that was being heard, it may have been heard to its end before this, or not at all.
    const soundMs = entry.sentences.reduce((sum, sentence) => sum + sentence.ms, 0)
    if (entry.heard === null && !(this.#nowMs() - entry.firstAtMs >= soundMs)) this.#conversation?.cut(answer.itemId, 0)
    this.#sink.event({ type: 'turn-done', generation: answer.generation, status: 'cancelled', reason: 'interrupted' })
  }

  updateSession({ instructions, tools }: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    const conversation = this.#conversation
    if (conversation === null) return
    if (instructions !== undefined) conversation.instructions = instructions
    if (tools !== undefined) conversation.tools = tools
  }

  /** The history is all there is; only the numbering goes on. */
  snapshot(): unknown {
    return { version: 1, generation: this.#generation }
  }

  counters(): Readonly<Record<string, number>> {
    const { noises, sttFaults, answersFailed, invalidToolArguments, malformedChunks, samplesDropped } = this.stats
    return { noises, sttFaults, answersFailed, invalidToolArguments, malformedChunks, samplesDropped }
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
    else if (this.#state === 'connecting' && this.#waiting.length < WAITING_MAX) this.#waiting.push(work)
  }

  #transcribe(pcm: Int16Array): void {
    const startedAtMs = this.#nowMs()
    const text = this.#stages.transcribe(pcm, this.#language, this.#abort.signal)
    // Awaited in turn below, and until then nobody would catch its fault.
    text.catch(() => undefined)
    this.#heardSoFar = this.#heardSoFar.then(() => text).then(
      (words) => {
        this.stats.sttMsLast = this.#nowMs() - startedAtMs
        this.#heard(words)
      },
      (error: unknown) => this.#notHeard(error),
    )
  }

  /** Whether the speech that goes on is understood; its words are taken when it has ended. */
  #listenIn(): void {
    const utterance = this.#utterances
    const pcm = this.#utterance.since(this.#listenedSamples)
    this.#listenedSamples = this.#utterance.samples
    this.#listenAtSamples = this.#listenedSamples + msToSamples(LISTEN_IN_EVERY_MS, RATE_HZ)
    this.#stages.transcribe(pcm, this.#language, this.#abort.signal).then((words) => {
      const goesOn = utterance === this.#utterances && this.#utterance.isOpen && this.#state === 'ready'
      if (goesOn && !this.#isNoise(words)) this.#sink.event({ type: 'understood' })
    }, () => {
      this.stats.sttFaults++
    })
  }

  get #language(): string {
    return (this.#session?.language ?? '').toLowerCase().split('-')[0] ?? ''
  }

  #isNoise(words: string): boolean {
    const text = plain(words)
    return text === '' || this.#artefacts.has(text)
  }

  #heard(words: string): void {
    this.#hearing--
    if (this.#state !== 'ready') return
    if (this.#isNoise(words)) {
      this.stats.noises++
      this.#settle()
      return
    }
    this.#callerSaid(words, `caller-${++this.#callerItems}`)
    this.#conversation?.caller(words)
    this.#owe(null)
  }

  #notHeard(error: unknown): void {
    this.#hearing--
    if (this.#state !== 'ready') return
    this.stats.sttFaults++
    // An answer that fails is how the call learns that the caller has to be asked again.
    const generation = ++this.#generation
    this.#sink.event({ type: 'turn-start', generation })
    this.#sink.event({ type: 'turn-done', generation, status: 'failed', reason: 'not understood' })
    this.#fail(faultOf(error))
    this.#settle()
  }

  #keyed(keys: string): void {
    this.#callerSaid(keys, `keys-${++this.#callerItems}`)
    this.sendText(keysText(keys), { role: 'caller', respond: true })
  }

  #callerSaid(text: string, itemId: string): void {
    // It belongs to the answer that it will cause: that one cannot have been interrupted yet.
    this.#sink.event({ type: 'transcript', role: 'caller', text, final: true, itemId, generation: this.#generation + 1 })
  }

  // --- the answer -----------------------------------------------------------------------------------------

  #owe(fixed: string | null): void {
    this.#owed = { fixed }
    this.#settle()
  }

  #settle(): void {
    const owed = this.#owed
    const conversation = this.#conversation
    if (owed === null || conversation === null || this.#state !== 'ready') return
    if (this.#answer !== null || this.#hearing > 0 || this.#utterance.isOpen) return
    this.#owed = null
    const { llm, tts } = this.#options
    const answer = new Answer(++this.#generation, {
      sink: this.#sink, stages: this.#stages, conversation, model: llm.model,
      voice: this.#session?.voice ?? tts.voice ?? VOICE_DEFAULT, nowMs: this.#nowMs,
      takeAudioInMs: () => this.#takeAudioInMs(),
      firstToken: (ms) => {
        this.stats.firstTokenMsLast = ms
      },
      firstSound: (ms) => {
        this.stats.firstSoundMsLast = ms
      },
      invalidArguments: () => {
        this.stats.invalidToolArguments++
      },
    })
    this.#answer = answer
    const { generation } = answer
    this.#sink.event({ type: 'turn-start', generation })
    if (this.#answer !== answer) return
    answer.give(owed.fixed).then(
      () => this.#answered(answer, null),
      (error: unknown) => this.#answered(answer, error),
    )
  }

  #answered(answer: Answer, error: unknown): void {
    this.stats.malformedChunks = this.#stages.malformedChunks
    if (this.#answer !== answer) return
    this.#answer = null
    const { generation } = answer
    if (error === null) {
      this.#sink.event({ type: 'turn-done', generation, status: 'completed' })
    } else {
      const fault = faultOf(error)
      this.stats.answersFailed++
      this.#sink.event({ type: 'turn-done', generation, status: 'failed', reason: fault.code })
      this.#fail(fault)
    }
    this.#settle()
  }

  #takeAudioInMs(): number {
    const ms = samplesToMs(this.#audioInSamples, RATE_HZ)
    this.#audioInSamples = 0
    return ms
  }

  #fail(fault: VendorFault): void {
    if (this.#state === 'closed') return
    if (fault.fatal) this.#end()
    this.#sink.event(faultEvent(fault))
    if (fault.fatal) this.#sink.event({ type: 'closed', code: CLOSE_ABNORMAL, reason: fault.message, clean: false })
  }

  #end(): void {
    this.#state = 'closed'
    this.#abort.abort()
    this.#answer?.interrupt()
    this.#answer = null
    this.#owed = null
    this.#keys.close()
    this.#utterance.clear()
    this.#waiting.length = 0
  }
}

function faultOf(error: unknown): VendorFault {
  if (error instanceof StageFault) return error.fault
  return vendorFault('internal', `a fault of the gateway's own: ${error instanceof Error ? error.name : typeof error}`, false)
}

function plain(text: string): string {
  return text.toLowerCase().replace(/[^\p{L}\p{N} ]+/gu, '').replace(/\s+/g, ' ').trim()
}
