import type { Clock } from '../../core/clock.js'
import { GatewayError } from '../../core/errors.js'
import { BACKEND_PRE_ROLL_MS_MAX } from '../../core/limits.js'
import { msToSamples, samplesToMs } from '../../core/units.js'
import type {
  Backend,
  BackendCapabilities,
  BackendSession,
  BackendSink,
  ToolReply,
  ToolSpec,
  TextOptions,
} from '../backend.js'
import { isBackchannel } from '../../call/backchannel.js'
import { KeyEntry, keysItem } from '../key-entry.js'
import { preRollMs } from '../pre-roll.js'
import { keysText, openingText } from '../prompts.js'
import { pricedModel } from '../prices.js'
import { resumedGeneration } from '../resumed-generation.js'
import { replyText } from '../tool-text.js'
import { faultError, faultEvent, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { Answer } from './answer.js'
import type { CascadeStats } from './answer.js'
import { Conversation } from './conversation.js'
import { StageFault, Stages } from './stages.js'
import type { CascadeOptions } from './stages.js'
import { UtteranceBuffer } from './utterance.js'

const RATE_HZ = 16_000
const CLOSE_NORMAL = 1000
const CLOSE_ABNORMAL = 1006
const VOICE_DEFAULT = 'alloy'
/** Utterances that are transcribed at the same time; a further one is dropped and counted as noise. */
const TRANSCRIBING_MAX = 4
/** Calls of the gateway that wait for `connect`. */
const WAITING_MAX = 16
/** Texts that Whisper returns for silence and noise, because it was trained on subtitles. */
const ARTEFACTS: readonly string[] = [
  'thank you',
  'thanks for watching',
  'thank you for watching',
  'you',
  'bye',
  'subtitles by the amaraorg community',
  'music',
  'applause',
]
/** Long speech is also transcribed in pieces of this length while it lasts, only to learn whether it holds words. */
const PARTIAL_MS = 4000
/** An utterance with less voice than this is noise. */
const UTTERANCE_MS_MIN = 250

/**
 * Three services in a row on OpenAI-compatible HTTP: a recogniser, a language model and a voice. The gateway's VAD
 * marks the caller's speech.
 *
 *     end of turn --transcript--> due --caller silent, no answer under way--> answering --delivered--> (idle)
 *     answering --interrupt--> (idle), and the history keeps what was heard
 *     answering --tool calls--> (idle) --last tool result--> due
 *
 * An answer starts when the caller is silent and no utterance is being transcribed, so that a pause within a sentence,
 * or a tool result that arrives while the caller speaks, makes one answer and not two.
 */
export class CascadeBackend implements Backend {
  readonly capabilities: BackendCapabilities
  readonly stats: CascadeStats = {
    noises: 0,
    sttFaults: 0,
    answersFailed: 0,
    invalidToolArguments: 0,
    malformedChunks: 0,
    samplesDropped: 0,
  }

  readonly #sink: BackendSink
  readonly #options: CascadeOptions
  readonly #stages: Stages
  readonly #nowMs: Clock
  readonly #utterance = new UtteranceBuffer({ sampleRateHz: RATE_HZ, preRollMs: BACKEND_PRE_ROLL_MS_MAX })
  readonly #keys: KeyEntry
  readonly #artefacts: ReadonlySet<string>
  readonly #abort = new AbortController()
  readonly #waiting: (() => void)[] = []
  #state: 'idle' | 'connecting' | 'ready' | 'closed' = 'idle'
  #session: BackendSession | null = null
  #conversation: Conversation | null = null
  #answer: Answer | null = null
  #generation = 0
  /** An answer is due: a fixed text is spoken as it is, null asks the model. */
  #due: { readonly fixed: string | null } | null = null
  #transcribing = 0
  /** Transcripts are handled in the order in which the caller spoke. */
  #transcripts: Promise<void> = Promise.resolve()
  #callerItems = 0
  #audioInSamples = 0
  /**
   * Of the current utterance: its number, the samples that partial transcripts cover, and where the next one is made.
   */
  #utterances = 0
  #partialSamples = 0
  #partialAtSamples = 0

  constructor(sink: BackendSink, options: CascadeOptions) {
    this.#sink = sink
    this.#options = options
    this.#stages = new Stages(options, this.stats, (usage) => {
      if (this.#state !== 'closed') this.#sink.event({ type: 'usage', usage })
    })
    this.#nowMs = options.nowMs ?? (() => performance.now())
    this.#keys = new KeyEntry((keys) => this.#keyed(keys))
    this.#artefacts = new Set((options.artefacts ?? ARTEFACTS).map(plain))
    this.capabilities = {
      name: options.name ?? 'cascade',
      inputRateHz: RATE_HZ,
      outputRateHz: 24_000,
      serverVad: false,
      truncate: true,
      weighsSpeech: true,
      maxSessionMs: null,
    }
  }

  async connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    const gone = (): GatewayError =>
      new GatewayError('BACKEND_CLOSED', `${this.capabilities.name}: the call ended before its backend was connected`)
    if (this.#state !== 'idle' || signal.aborted) throw gone()
    this.#state = 'connecting'
    this.#session = session
    this.#conversation = new Conversation(session)
    this.#generation = resumedGeneration(session.resume)
    signal.addEventListener(
      'abort',
      () => {
        if (this.#state === 'connecting') void this.close('the call ended')
      },
      { once: true },
    )
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
    if (this.#utterance.isOpen && this.#state === 'ready' && this.#utterance.samples >= this.#partialAtSamples)
      this.#transcribePart()
    this.stats.samplesDropped = this.#utterance.dropped
  }

  speechStart(atMs: number): void {
    if (this.#state === 'closed' || this.#utterance.isOpen) return
    this.#utterance.open(preRollMs(this.#nowMs() - atMs))
    if (this.#state === 'ready') this.#stages.warm(this.#abort.signal)
    this.#utterances++
    this.#partialSamples = 0
    this.#partialAtSamples = msToSamples(PARTIAL_MS, RATE_HZ)
  }

  speechEnd(_atMs: number, unless: readonly string[] = []): void {
    if (this.#state === 'closed' || !this.#utterance.isOpen) return
    const { pcm, voicedSamples } = this.#utterance.take()
    if (samplesToMs(voicedSamples, RATE_HZ) < UTTERANCE_MS_MIN || this.#transcribing >= TRANSCRIBING_MAX) {
      this.stats.noises++
      this.#startAnswer()
      return
    }
    this.#transcribing++
    this.#whenReady(() => this.#transcribe(pcm, unless))
  }

  sendText(text: string, { role, respond }: TextOptions): void {
    this.#whenReady(() => {
      const { greeting = null, history = [] } = this.#session ?? {}
      if (text === '' && role === 'system' && respond && greeting !== null && greeting !== '' && history.length === 0) {
        this.#answerDue(greeting)
        return
      }
      const words = text === '' && role === 'system' && this.#session !== null ? openingText(this.#session) : text
      if (role === 'caller') this.#conversation?.caller(words)
      else if (role === 'agent') this.#conversation?.said(words)
      else this.#conversation?.note(words)
      if (respond) this.#answerDue(null)
    })
  }

  dtmf(digit: string): void {
    if (this.#state !== 'closed') this.#keys.press(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    if (this.#state !== 'ready') return
    if (this.#conversation?.answered(callId, replyText(reply)) === 'complete') this.#answerDue(null)
  }

  interrupt({ itemId, playedMs }: { readonly itemId: string | null; readonly playedMs: number }): void {
    if (this.#state !== 'ready') return
    this.#due = null
    const answer = this.#answer
    if (itemId !== null) this.#conversation?.truncate(itemId, playedMs)
    if (answer === null) return
    this.#answer = null
    answer.interrupt()
    const { entry } = answer
    // If the answer was not being played, it was either played to its end or had not started.
    const soundMs = entry.sentences.reduce((sum, sentence) => sum + sentence.ms, 0)
    if (entry.heard === null && !(this.#nowMs() - entry.firstAtMs >= soundMs))
      this.#conversation?.truncate(answer.itemId, 0)
    this.#sink.event({ type: 'turn-done', generation: answer.generation, status: 'cancelled', reason: 'interrupted' })
  }

  updateSession({
    instructions,
    tools,
  }: {
    readonly instructions?: string
    readonly tools?: readonly ToolSpec[]
  }): void {
    const conversation = this.#conversation
    if (conversation === null) return
    if (instructions !== undefined) conversation.instructions = instructions
    if (tools !== undefined) conversation.tools = tools
  }

  /** The services keep no session: only the numbering of answers goes on. */
  snapshot(): unknown {
    return { version: 1, generation: this.#generation }
  }

  counters(): Readonly<Record<string, number>> {
    return { ...this.stats }
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

  #transcribe(pcm: Int16Array, unless: readonly string[]): void {
    const text = this.#stages.transcribe(pcm, this.#language, this.#abort.signal)
    // Awaited below, after the earlier transcripts. Until then a rejection would have no handler.
    text.catch(() => undefined)
    this.#transcripts = this.#transcripts
      .then(() => text)
      .then(
        (words) => this.#transcribed(isBackchannel(words, unless) ? '' : words),
        (error: unknown) => this.#transcriptionFailed(error),
      )
  }

  /** Finds out whether the current speech holds words. The transcript is made when the speech has ended. */
  #transcribePart(): void {
    const utterance = this.#utterances
    const pcm = this.#utterance.since(this.#partialSamples)
    this.#partialSamples = this.#utterance.samples
    this.#partialAtSamples = this.#partialSamples + msToSamples(PARTIAL_MS, RATE_HZ)
    this.#stages.transcribe(pcm, this.#language, this.#abort.signal).then(
      (words) => {
        const current = utterance === this.#utterances && this.#utterance.isOpen && this.#state === 'ready'
        if (current && !this.#isNoise(words)) this.#sink.event({ type: 'understood' })
      },
      () => {
        this.stats.sttFaults++
      },
    )
  }

  get #language(): string {
    return (this.#session?.language ?? '').toLowerCase().split('-')[0] ?? ''
  }

  #isNoise(words: string): boolean {
    const text = plain(words)
    return text === '' || this.#artefacts.has(text)
  }

  #transcribed(words: string): void {
    this.#transcribing--
    if (this.#state !== 'ready') return
    if (this.#isNoise(words)) {
      this.stats.noises++
      this.#startAnswer()
      return
    }
    this.#callerSaid(words, `caller-${++this.#callerItems}`)
    this.#conversation?.caller(words)
    this.#answerDue(null)
  }

  #transcriptionFailed(error: unknown): void {
    this.#transcribing--
    if (this.#state !== 'ready') return
    this.stats.sttFaults++
    // A failed answer makes the session ask the caller again.
    const generation = ++this.#generation
    this.#sink.event({ type: 'turn-start', generation })
    this.#sink.event({ type: 'turn-done', generation, status: 'failed', reason: 'not understood' })
    this.#fail(faultOf(error))
    this.#startAnswer()
  }

  #keyed(keys: string): void {
    this.#callerSaid(keys, keysItem(++this.#callerItems))
    this.sendText(keysText(keys), { role: 'caller', respond: true })
  }

  #callerSaid(text: string, itemId: string): void {
    // The transcript belongs to the answer that it causes, which cannot have been interrupted yet.
    this.#sink.event({
      type: 'transcript',
      role: 'caller',
      text,
      final: true,
      itemId,
      generation: this.#generation + 1,
    })
  }

  // --- the answer -----------------------------------------------------------------------------------------

  #answerDue(fixed: string | null): void {
    this.#due = { fixed }
    this.#startAnswer()
  }

  #startAnswer(): void {
    const due = this.#due
    const conversation = this.#conversation
    if (due === null || conversation === null || this.#state !== 'ready') return
    if (this.#answer !== null || this.#transcribing > 0 || this.#utterance.isOpen) return
    this.#due = null
    const { llm, tts } = this.#options
    const answer = new Answer(++this.#generation, {
      sink: this.#sink,
      stages: this.#stages,
      conversation,
      stats: this.stats,
      model: llm.model,
      voice: this.#session?.voice ?? tts.voice ?? VOICE_DEFAULT,
      voiceModel: pricedModel(tts.model, tts.baseUrl),
      nowMs: this.#nowMs,
      takeAudioInMs: () => this.#takeAudioInMs(),
    })
    this.#answer = answer
    const { generation } = answer
    this.#sink.event({ type: 'turn-start', generation })
    if (this.#answer !== answer) return
    answer.deliver(due.fixed).then(
      () => this.#delivered(answer, null),
      (error: unknown) => this.#delivered(answer, error),
    )
  }

  #delivered(answer: Answer, error: unknown): void {
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
    this.#startAnswer()
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
    this.#due = null
    this.#keys.close()
    this.#utterance.clear()
    this.#waiting.length = 0
  }
}

function faultOf(error: unknown): VendorFault {
  if (error instanceof StageFault) return error.fault
  return vendorFault(
    'internal',
    `a fault of the gateway's own: ${error instanceof Error ? error.name : typeof error}`,
    false,
  )
}

function plain(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N} ]+/gu, '')
    .replace(/\s+/g, ' ')
    .trim()
}
