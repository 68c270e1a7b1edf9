import type { Clock } from '../../core/clock.js'
import { GatewayError } from '../../core/errors.js'
import { samplesToMs } from '../../core/units.js'
import type { BackendSink } from '../backend.js'
import type { SpeechChunk, SpeechClient, Speaking } from '../../speech/speech-client.js'
import { sentencesOf } from '../../speech/spoken-text.js'

interface ToolCall {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
}

interface Response {
  readonly generation: number
  readonly itemId: string
  /** The sentences, in order. */
  readonly sentences: readonly string[]
  /** Durations of those that were delivered. */
  readonly deliveredMs: number[]
  /** Calls that must come after the words: they end the conversation. */
  readonly lastCalls: readonly ToolCall[]
  /** How often the speech worker died under it. */
  faults: number
  over: boolean
}

export interface ResponseListener {
  /** The first sample of a response was delivered. */
  firstSound(): void
  failed(error: unknown): void
}

/** What carries out the end of a conversation is asked for when the words before it have been delivered. */
const AFTER_WORDS: readonly string[] = ['escalate_to_human', 'end_call']
/** Responses whose words are kept, to know what of them was heard. */
const KEPT_MAX = 4

/**
 * Speaks one response after the other and tells the call of them, as a model would: turn-start, tool calls, audio and
 * transcript, audio-done, turn-done. A response that is interrupted ends as cancelled; which of its sentences were
 * not heard in full is kept until someone asks.
 */
export class ResponseQueue {
  /** Number of the last response. */
  generation = 0
  voice = ''
  /** Caller speech since the last usage event. */
  audioInMs = 0
  /** When all speech that was delivered has been played, if it is played without a break. */
  speaksUntilMs = -Infinity
  readonly #sink: BackendSink
  readonly #speech: SpeechClient
  readonly #nowMs: Clock
  readonly #listener: ResponseListener
  /** The head is being spoken. */
  readonly #queue: Response[] = []
  #kept: Response[] = []
  #speaking: Speaking | null = null
  #unheard: readonly string[] = []
  #closed = false

  constructor(sink: BackendSink, speech: SpeechClient, nowMs: Clock, listener: ResponseListener) {
    this.#sink = sink
    this.#speech = speech
    this.#nowMs = nowMs
    this.#listener = listener
  }

  /** True while speech is being made, or was made and is probably still being played. */
  get busy(): boolean {
    return this.#queue.length > 0 || this.speaksUntilMs > this.#nowMs()
  }

  get lastItemId(): string | null {
    return this.#kept.at(-1)?.itemId ?? null
  }

  add(texts: readonly string[], calls: readonly ToolCall[]): void {
    const generation = ++this.generation
    // Whatever was cut off, the dialogue has moved on.
    this.#unheard = []
    const response: Response = {
      generation, itemId: `agent-${generation}`, sentences: sentencesOf(texts.join(' ')), deliveredMs: [],
      lastCalls: calls.filter((call) => AFTER_WORDS.includes(call.name)), faults: 0, over: false,
    }
    // In the queue before anyone is told: a tool may be answered from within its event, and its answer comes after this.
    this.#queue.push(response)
    this.#kept = [...this.#kept, response].slice(-KEPT_MAX)
    this.#sink.event({ type: 'turn-start', generation })
    for (const call of calls) if (!AFTER_WORDS.includes(call.name)) this.#emitCall(generation, call)
    if (this.#queue[0] === response) this.#speakHead()
  }

  /** Sentences that were decided on and not delivered. */
  unspoken(): string[] {
    return this.#queue.flatMap((response) => response.sentences.slice(response.deliveredMs.length))
  }

  /** The caller spoke up: everything that was not heard will not be. */
  interrupt(itemId: string | null, playedMs: number): void {
    const at = this.#kept.findIndex((response) => response.itemId === itemId)
    if (at >= 0) this.#unheard = this.#kept.slice(at).flatMap((response, i) => unheardOf(response, i === 0 ? playedMs : 0))
    this.#cancelAll()
  }

  /** A key was pressed: the backend itself falls silent, and says so. */
  hush(): void {
    if (!this.busy) return
    this.#cancelAll()
    this.#sink.event({ type: 'interrupted', generation: this.generation })
  }

  /** What the last interruption cut off; asked once. */
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
      (error: unknown) => this.#spokenBadly(response, error),
    )
  }

  /** A question of its own, because the answer may change within a call to the sink. */
  #isOver(response: Response): boolean {
    return response.over || this.#closed
  }

  #deliver(response: Response, chunk: SpeechChunk): void {
    if (this.#isOver(response)) return
    const ms = samplesToMs(chunk.pcm.length, chunk.sampleRateHz)
    const first = response.deliveredMs.length === 0
    response.deliveredMs.push(ms)
    this.speaksUntilMs = Math.max(this.speaksUntilMs, this.#nowMs()) + ms
    this.#sink.audio(chunk.pcm, chunk.sampleRateHz, response.itemId, response.generation)
    // Whoever took the audio may have interrupted it or ended the call.
    if (this.#isOver(response)) return
    if (first) this.#listener.firstSound()
    this.#sink.event({
      type: 'transcript', role: 'agent', final: chunk.last, itemId: response.itemId, generation: response.generation,
      text: response.sentences.slice(0, response.deliveredMs.length).join(' '),
    })
  }

  /** A worker that died is replaced, and the sentence begun again; only once, or the sentence is what kills it. */
  #spokenBadly(response: Response, error: unknown): void {
    if (response.over || this.#closed) return
    const died = error instanceof GatewayError && error.code === 'SPEECH_FAULT' && error.retryable
    if (!died || response.faults++ > 0) {
      this.#next(response, 'failed')
      this.#listener.failed(error)
      return
    }
    void this.#speech.recovered().then((recovered) => {
      if (response.over || this.#closed) return
      if (recovered) {
        this.#speakHead()
        return
      }
      this.#next(response, 'failed')
      this.#listener.failed(error)
    })
  }

  #next(response: Response, status: 'completed' | 'failed'): void {
    if (response.over || this.#closed) return
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
    this.#sink.event({ type: 'usage', usage: { inputTokens: 0, outputTokens: 0, audioInMs: this.audioInMs, audioOutMs } })
    this.audioInMs = 0
    this.#sink.event({ type: 'turn-done', generation, status })
  }

  #emitCall(generation: number, call: ToolCall): void {
    this.#sink.event({ type: 'tool-call', callId: call.callId, name: call.name, args: call.args, generation })
  }
}

/** The sentences of which something is left after `playedMs`, from the one that was cut. */
function unheardOf(response: Response, playedMs: number): readonly string[] {
  let endMs = 0
  for (const [i, ms] of response.deliveredMs.entries()) {
    endMs += ms
    if (endMs > playedMs) return response.sentences.slice(i)
  }
  return response.sentences.slice(response.deliveredMs.length)
}
