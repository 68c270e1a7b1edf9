import { frameSamples, samplesToMs } from '../core/units.js'
import type { SampleRateHz } from '../core/units.js'
import { GatewayError } from '../core/errors.js'
import type { ResamplerBank, StreamResampler } from '../media/resample/resampler.js'
import type { Backend, BackendCapabilities, BackendErrorCode, BackendEvent, BackendFactory, BackendSession, BackendSink, ToolReply, ToolSpec } from './backend.js'
import type { BackendTimers } from './timers.js'
import { RecordedTools } from './shadow/recorded-tools.js'
import type { ShadowReport } from './shadow/report.js'
import { TurnBook } from './shadow/turn-book.js'

export type { ShadowReport, ShadowSide, ShadowTurn } from './shadow/report.js'

export interface ShadowOptions {
  /** Serves the call, as if it were alone. */
  readonly primary: BackendFactory
  /** Hears the same call and is not heard. */
  readonly second: BackendFactory
  readonly timers: BackendTimers
  /** Needed where their rates differ. */
  readonly resamplers?: ResamplerBank
  /** The second one's voice, because voices have different names everywhere; the session's when not given. */
  readonly secondVoice?: string | null
}

/**
 * A backend that is tried out on real calls: the second one gets the caller's audio, texts and keys, says its answers to
 * nobody, and gets for its tool calls what the primary's calls brought. The call sees the primary alone; whatever happens
 * to the second one is a line in the report.
 *
 * What it hears is the caller who answers the primary, so after a turn that the two took differently the rest compares
 * less well; and it takes what it said itself for heard, as far as the primary was.
 */
export class ShadowBackend implements Backend {
  readonly #sink: BackendSink
  readonly #options: ShadowOptions
  readonly #primary: Backend
  readonly #second: Backend
  readonly #book = new TurnBook()
  readonly #tools: RecordedTools
  readonly #abort = new AbortController()
  readonly #usage = { inputTokens: 0, outputTokens: 0, audioInMs: 0, audioOutMs: 0 }
  readonly #resampler: StreamResampler | null
  readonly #frame: Int16Array
  #state: ShadowReport['state'] = 'connecting'
  #fault: BackendErrorCode | null = null
  #connectMs: number | null = null
  #secondItem: string | null = null
  #closed = false

  constructor(sink: BackendSink, options: ShadowOptions) {
    this.#sink = sink
    this.#options = options
    this.#primary = options.primary({
      event: (event) => this.#fromPrimary(event),
      audio: (pcm, sampleRateHz, itemId, generation) => {
        this.#book.audio('primary', generation, samplesToMs(pcm.length, sampleRateHz), options.timers.nowMs())
        sink.audio(pcm, sampleRateHz, itemId, generation)
      },
    })
    this.#second = options.second({
      event: (event) => this.#fromSecond(event),
      audio: (pcm, sampleRateHz, itemId, generation) => this.#unheard(pcm, sampleRateHz, itemId, generation),
    })
    this.#tools = new RecordedTools(options.timers, (callId, reply) => this.#second.toolResult(callId, reply))
    const [fromHz, toHz] = [this.#primary.capabilities.inputRateHz, this.#second.capabilities.inputRateHz]
    if (fromHz !== toHz && options.resamplers === undefined) {
      throw new GatewayError('AGENT_INVALID', `the shadow takes ${toHz} Hz, the primary ${fromHz} Hz, and there is no resampler`)
    }
    this.#resampler = fromHz === toHz ? null : options.resamplers?.open(fromHz, toHz) ?? null
    this.#frame = new Int16Array(this.#resampler?.outputSamplesMax(frameSamples(fromHz)) ?? 0)
  }

  get capabilities(): BackendCapabilities {
    return this.#primary.capabilities
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    const { timers, secondVoice } = this.#options
    const askedAtMs = timers.nowMs()
    const shadowed = { ...session, resume: null, ...(secondVoice === undefined ? {} : { voice: secondVoice }) }
    this.#second.connect(shadowed, this.#abort.signal).then(
      () => {
        if (this.#state !== 'connecting') return
        this.#state = 'live'
        this.#connectMs = timers.nowMs() - askedAtMs
      },
      // Told as an event, too, where there is one.
      () => this.#failed('internal'),
    )
    return this.#primary.connect(session, signal)
  }

  pushAudio(pcm: Int16Array, voiced?: boolean): void {
    this.#primary.pushAudio(pcm, voiced)
    if (!this.#listening) return
    if (this.#resampler === null) {
      this.#second.pushAudio(pcm)
      return
    }
    const samples = this.#resampler.process(pcm, this.#frame)
    this.#second.pushAudio(samples === this.#frame.length ? this.#frame : this.#frame.subarray(0, samples))
  }

  speechStart(atMs: number): void {
    this.#primary.speechStart(atMs)
    this.#secondSpeech('start', atMs)
  }

  speechEnd(atMs: number): void {
    this.#book.asked('speech', atMs)
    this.#primary.speechEnd(atMs)
    this.#secondSpeech('end', atMs)
  }

  sendText(text: string, options: { readonly role: 'caller' | 'system'; readonly respond: boolean }): void {
    if (options.respond) this.#book.asked('text', this.#options.timers.nowMs())
    this.#primary.sendText(text, options)
    if (this.#listening) this.#second.sendText(text, options)
  }

  dtmf(digit: string): void {
    this.#book.asked('keys', this.#options.timers.nowMs())
    this.#primary.dtmf(digit)
    if (this.#listening) this.#second.dtmf(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    this.#primary.toolResult(callId, reply)
    this.#tools.result(callId, reply)
  }

  interrupt(heard: { readonly itemId: string | null; readonly playedMs: number }): void {
    this.#primary.interrupt(heard)
    if (!this.#listening) return
    this.#second.interrupt(heard.itemId === null
      ? { itemId: null, playedMs: 0 } : { itemId: this.#secondItem, playedMs: this.#secondItem === null ? 0 : heard.playedMs })
  }

  updateSession(update: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    this.#primary.updateSession(update)
    if (this.#listening) this.#second.updateSession(update)
  }

  snapshot(): unknown {
    return this.#primary.snapshot()
  }

  async close(reason: string): Promise<void> {
    if (!this.#closed) {
      this.#closed = true
      this.#abort.abort()
      this.#tools.close()
      this.#resampler?.release()
      void this.#second.close(reason)
    }
    await this.#primary.close(reason)
  }

  /** What the two made of the call so far; a copy. */
  shadowReport(): ShadowReport {
    const turns = this.#book.report()
    return {
      primary: this.#primary.capabilities.name, second: this.#second.capabilities.name,
      state: this.#state, fault: this.#fault, connectMs: this.#connectMs,
      turns, turnsDropped: this.#book.turnsDropped,
      turnsWithOtherTools: turns.filter((turn) => !turn.sameTools).length,
      soundDifferenceMsMedian: median(turns.flatMap((turn) => turn.soundDifferenceMs ?? [])),
      toolsAnswered: this.#tools.answered, toolsUnanswered: this.#tools.unanswered,
      usage: { ...this.#usage },
    }
  }

  get #listening(): boolean {
    return !this.#closed && (this.#state === 'live' || this.#state === 'connecting')
  }

  #secondSpeech(edge: 'start' | 'end', atMs: number): void {
    if (!this.#listening || this.#second.capabilities.serverVad) return
    if (edge === 'start') this.#second.speechStart(atMs)
    else this.#second.speechEnd(atMs)
  }

  #fromPrimary(event: BackendEvent): void {
    const nowMs = this.#options.timers.nowMs()
    this.#book.event('primary', event, nowMs)
    if (event.type === 'tool-call') this.#tools.called(event.callId, event.name, event.args)
    // A second one without ears of its own hears with the primary's.
    if (event.type === 'speech-started') this.#secondSpeech('start', nowMs)
    if (event.type === 'speech-stopped') {
      this.#book.asked('speech', nowMs)
      this.#secondSpeech('end', nowMs)
    }
    this.#sink.event(event)
  }

  #unheard(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void {
    this.#secondItem = itemId
    this.#book.audio('second', generation, samplesToMs(pcm.length, sampleRateHz), this.#options.timers.nowMs())
  }

  #fromSecond(event: BackendEvent): void {
    if (this.#closed) return
    this.#book.event('second', event, this.#options.timers.nowMs())
    switch (event.type) {
      case 'tool-call':
        this.#tools.wanted(event.callId, event.name, event.args)
        return
      case 'usage':
        this.#usage.inputTokens += event.usage.inputTokens
        this.#usage.outputTokens += event.usage.outputTokens
        this.#usage.audioInMs += event.usage.audioInMs
        this.#usage.audioOutMs += event.usage.audioOutMs
        return
      case 'error':
        if (event.fatal) this.#failed(event.code)
        return
      case 'closed':
        if (this.#state === 'live') this.#state = 'over'
        return
      default:
        return
    }
  }

  #failed(code: BackendErrorCode): void {
    if (this.#closed || this.#state === 'failed') return
    this.#state = 'failed'
    this.#fault = code
    this.#tools.close()
    void this.#second.close('failed')
  }
}

/** The factory of a shadowed backend. @see ShadowBackend */
export function shadow(options: ShadowOptions): BackendFactory {
  return (sink) => new ShadowBackend(sink, options)
}

function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? null
}
