import { TOOLS_AFTER_SPEECH } from '../../call/tools/gateway-tools.js'
import type { Clock } from '../../core/clock.js'
import { GatewayError } from '../../core/errors.js'
import { samplesToMs } from '../../core/units.js'
import type { BackendSink } from '../backend.js'
import type { DialogueCall } from './dialogue/dialogue-events.js'
import type { SpeechChunk, SpeechClient, Speaking } from '../../speech/speech-client.js'
import { sentencesOf } from '../../speech/spoken/sentences.js'

interface Response {
  readonly generation: number
  readonly itemId: string
  /** The sentences, in order. */
  readonly sentences: readonly string[]
  /** Durations of the sentences that were delivered. */
  readonly deliveredMs: number[]
  /** Tool calls that are made after the speech, because they end the conversation. */
  readonly lastCalls: readonly DialogueCall[]
  /** Number of times that the speech worker died during the response. */
  faults: number
  over: boolean
}

/** Maximum number of stored responses. They are stored to find the sentences that an interruption cut off. */
const KEPT_MAX = 4

/**
 * Speaks one response after another, and emits its events: turn-start, tool calls, audio, transcript, audio-done,
 * turn-done. An interrupted response ends as cancelled; `takeUnheard` returns its unheard sentences.
 */
export class ResponseQueue {
  /** Number of the last response. */
  generation = 0
  voice = ''
  /** Duration of the caller's speech since the last usage event. */
  audioInMs = 0
  /** Time at which all delivered speech will have been played, if there is no pause. */
  speaksUntilMs = -Infinity
  readonly #sink: BackendSink
  readonly #speech: SpeechClient
  readonly #nowMs: Clock
  readonly #failed: (error: unknown) => void
  /** Waiting responses; the first response is being spoken. */
  readonly #queue: Response[] = []
  #kept: Response[] = []
  #speaking: Speaking | null = null
  #unheard: readonly string[] = []
  #closed = false

  constructor(sink: BackendSink, speech: SpeechClient, nowMs: Clock, failed: (error: unknown) => void) {
    this.#sink = sink
    this.#speech = speech
    this.#nowMs = nowMs
    this.#failed = failed
  }

  /** True while speech is being synthesised or is probably still playing. */
  get busy(): boolean {
    return this.#queue.length > 0 || this.speaksUntilMs > this.#nowMs()
  }

  get lastItemId(): string | null {
    return this.#kept.at(-1)?.itemId ?? null
  }

  add(texts: readonly string[], calls: readonly DialogueCall[]): void {
    const generation = ++this.generation
    // The dialogue has new texts, so earlier interrupted sentences are not repeated.
    this.#unheard = []
    const response: Response = {
      generation,
      itemId: `agent-${generation}`,
      sentences: sentencesOf(texts.join(' ')),
      deliveredMs: [],
      lastCalls: calls.filter((call) => TOOLS_AFTER_SPEECH.includes(call.name)),
      faults: 0,
      over: false,
    }
    // The response is queued before its first event is emitted, because a tool may answer within this event. The
    // response to the tool must follow this response.
    this.#queue.push(response)
    this.#kept = [...this.#kept, response].slice(-KEPT_MAX)
    this.#sink.event({ type: 'turn-start', generation })
    for (const call of calls) if (!TOOLS_AFTER_SPEECH.includes(call.name)) this.#emitCall(generation, call)
    if (this.#queue[0] === response) this.#speakHead()
  }

  /** @returns sentences that are queued and not delivered yet */
  unspoken(): string[] {
    return this.#queue.flatMap((response) => response.sentences.slice(response.deliveredMs.length))
  }

  /** Cancels all responses, because the caller interrupted. */
  interrupt(itemId: string | null, playedMs: number): void {
    const at = this.#kept.findIndex((response) => response.itemId === itemId)
    if (at >= 0)
      this.#unheard = this.#kept.slice(at).flatMap((response, i) => unheardOf(response, i === 0 ? playedMs : 0))
    this.#cancelAll()
  }

  /** Cancels all responses and reports the interruption, because a DTMF digit was received. */
  stopSpeaking(): void {
    if (!this.busy) return
    this.#cancelAll()
    this.#sink.event({ type: 'interrupted', generation: this.generation })
  }

  /** @returns the sentences that the last interruption cut off, and clears them */
  takeUnheard(): readonly string[] {
    const unheard = this.#unheard
    this.#unheard = []
    return unheard
  }

  close(): void {
    this.#closed = true
    this.#speaking?.cancel()
    this.#queue.length = 0
  }

  #cancelAll(): void {
    this.speaksUntilMs = -Infinity
    this.#kept = []
    const cancelled = this.#queue.splice(0)
    this.#speaking?.cancel()
    this.#speaking = null
    for (const response of cancelled) this.#finish(response, 'cancelled')
  }

  #speakHead(): void {
    const [response] = this.#queue
    if (response === undefined) return
    const rest = response.sentences.slice(response.deliveredMs.length)
    if (rest.length === 0) {
      this.#next(response, 'completed')
      return
    }
    const speaking = this.#speech.speak(rest.join(' '), this.voice, (chunk) => this.#deliver(response, chunk))
    this.#speaking = speaking
    speaking.done.then(
      () => this.#next(response, 'completed'),
      (error: unknown) => this.#synthesisFailed(response, error),
    )
  }

  /**
   * True if the response is over. Each call to the sink may interrupt the response, so this must be checked after the
   * call.
   */
  #isOver(response: Response): boolean {
    return response.over || this.#closed
  }

  #deliver(response: Response, chunk: SpeechChunk): void {
    if (this.#isOver(response)) return
    const ms = samplesToMs(chunk.pcm.length, chunk.sampleRateHz)
    response.deliveredMs.push(ms)
    this.speaksUntilMs = Math.max(this.speaksUntilMs, this.#nowMs()) + ms
    this.#sink.audio(chunk.pcm, chunk.sampleRateHz, response.itemId, response.generation)
    if (this.#isOver(response)) return
    this.#sink.event({
      type: 'transcript',
      role: 'agent',
      final: chunk.last,
      itemId: response.itemId,
      generation: response.generation,
      text: response.sentences.slice(0, response.deliveredMs.length).join(' '),
    })
  }

  /**
   * Handles the death of a speech worker. A new worker starts the sentence again, but only once, because the sentence
   * may be the cause.
   */
  #synthesisFailed(response: Response, error: unknown): void {
    if (this.#isOver(response)) return
    const died = error instanceof GatewayError && error.code === 'SPEECH_FAULT' && error.retryable
    if (!died || response.faults++ > 0) {
      this.#next(response, 'failed')
      this.#failed(error)
      return
    }
    void this.#speech.recovered().then((recovered) => {
      if (this.#isOver(response)) return
      if (recovered) {
        this.#speakHead()
        return
      }
      this.#next(response, 'failed')
      this.#failed(error)
    })
  }

  #next(response: Response, status: 'completed' | 'failed'): void {
    if (this.#isOver(response)) return
    this.#queue.shift()
    this.#speaking = null
    this.#finish(response, status)
    this.#speakHead()
  }

  #finish(response: Response, status: 'completed' | 'cancelled' | 'failed'): void {
    response.over = true
    const { generation, itemId } = response
    if (response.deliveredMs.length > 0) {
      if (status !== 'completed' && response.deliveredMs.length < response.sentences.length) {
        const text = response.sentences.slice(0, response.deliveredMs.length).join(' ')
        this.#sink.event({ type: 'transcript', role: 'agent', text, final: true, itemId, generation })
      }
      this.#sink.event({ type: 'audio-done', generation, itemId })
    }
    for (const call of response.lastCalls) this.#emitCall(generation, call)
    const audioOutMs = response.deliveredMs.reduce((sum, ms) => sum + ms, 0)
    this.#sink.event({
      type: 'usage',
      usage: { inputTokens: 0, outputTokens: 0, audioInMs: this.audioInMs, audioOutMs },
    })
    this.audioInMs = 0
    this.#sink.event({ type: 'turn-done', generation, status })
  }

  #emitCall(generation: number, call: DialogueCall): void {
    const { callId, name, args, background } = call
    this.#sink.event({ type: 'tool-call', callId, name, args, generation, ...(background && { background }) })
  }
}

/** The interrupted sentence and all later sentences of a response. */
function unheardOf(response: Response, playedMs: number): readonly string[] {
  let endMs = 0
  for (const [i, ms] of response.deliveredMs.entries()) {
    endMs += ms
    if (endMs > playedMs) return response.sentences.slice(i)
  }
  return response.sentences.slice(response.deliveredMs.length)
}
