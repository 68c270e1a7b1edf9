import { BACKEND_TRANSCRIPT_CHARS_MAX } from '../../core/limits.js'
import { isSampleRateHz, samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import type { BackendSink } from '../backend.js'
import { Base64Audio } from '../transport/base64-audio.js'
import { GEMINI_OUTPUT_RATE_HZ } from './options.js'
import { partsOf, rateOf } from './wire.js'
import type { ServerMessage } from './wire.js'

/** Counters of one session; plain fields. */
export interface GeminiStats {
  messagesIn: number
  malformedMessages: number
  unknownMessages: number
  oversizeMessages: number
  malformedAudio: number
  /** Pieces of sound in a format or at a rate that cannot be played. */
  unplayableAudio: number
  rateChanges: number
  latePieces: number
  invalidToolArguments: number
  toolCallsCancelled: number
  resumesRefused: number
  audioDroppedMs: number
}

/** One answer of the model: from its first sign to the end of its generation, a tool call or an interruption. */
interface Turn {
  readonly generation: number
  readonly itemId: string
  state: 'given' | 'cancelled' | 'done'
  audioMs: number
  words: string
  wordsFinal: boolean
  /** Interrupted: words that still come were never said. */
  hushed: boolean
}

export interface IncomingParts {
  readonly sink: BackendSink
  readonly stats: GeminiStats
  readonly serverVad: boolean
  readonly takeAudioInMs: () => number
  /** The model is silent: notes may be told. */
  readonly idle: () => void
}

/**
 * Turns what the service says into events of the call. The service gives its turns no ids, but its stream is in order:
 *
 *     (none)    --part, transcript of the agent, tool call--> given       `turn-start`
 *     given     --generationComplete, turnComplete, tool call--> done     `audio-done`, `turn-done`
 *     given     --interrupted--> done                                     `interrupted`, `turn-done` cancelled
 *     given     --interrupt()--> cancelled                                `turn-done` cancelled; what still comes is dropped
 *     cancelled --interrupted, generationComplete, turnComplete--> done
 *
 * Transcripts are in no order with the sound: those of the agent belong to the last turn until the next one begins.
 */
export class Incoming {
  generation = 0
  readonly #parts: IncomingParts
  readonly #audio = new Base64Audio('pcm16')
  #turn: Turn | null = null
  /** Of the sound that is being decoded. */
  #soundTurn: Turn | null = null
  /** The service works on a turn: it would be interrupted by content. */
  #serverBusy = false
  #rateHz: SampleRateHz = GEMINI_OUTPUT_RATE_HZ
  #mimeType = ''
  #playable = true
  #callerItem = 0
  #callerWords = ''
  #callerFinal = true
  #saysActivity = false
  #usage = { inputTokens: 0, outputTokens: 0 }

  constructor(parts: IncomingParts) {
    this.#parts = parts
  }

  get busy(): boolean {
    return this.#serverBusy
  }

  handle(message: ServerMessage): void {
    const content = message.serverContent
    const usage = message.usageMetadata
    if (usage !== undefined) this.#usage = { inputTokens: count(usage.promptTokenCount), outputTokens: count(usage.responseTokenCount) }
    if (this.#parts.serverVad) this.#voiceActivity(message.voiceActivity?.voiceActivityType)
    if (content === undefined) return
    if (typeof content.inputTranscription?.text === 'string') this.#callerSays(content.inputTranscription.text, content.inputTranscription.finished === true)
    for (const part of partsOf(message)) {
      // Thoughts are not for the caller.
      if (part.thought === true) continue
      if (part.inlineData !== undefined) this.#sound(part.inlineData)
      else if (typeof part.text === 'string' && part.text !== '') this.#agentSays(part.text, false)
    }
    if (typeof content.outputTranscription?.text === 'string') this.#agentSays(content.outputTranscription.text, false)
    if (content.interrupted === true) this.#interrupted()
    if (content.generationComplete === true) this.#end('completed', undefined)
    if (content.turnComplete === true) this.#turnComplete(content.turnCompleteReason)
  }

  /** The call cut the answer off. */
  interrupt(): void {
    const turn = this.#turn
    if (turn === null || turn.state !== 'given') return
    turn.state = 'cancelled'
    turn.hushed = true
    this.#parts.sink.event({ type: 'turn-done', generation: turn.generation, status: 'cancelled', reason: 'interrupted' })
  }

  /** The caller begins to speak: what is written down from now on is another text. */
  callerTurn(): void {
    this.#finishCaller()
    this.#callerWords = ''
  }

  /** @returns the generation that the calls belong to */
  beginCalls(): number {
    return this.#given().generation
  }

  /** Nothing more comes until the calls are answered: the turn ends here, and what follows is another one. */
  endCalls(): void {
    this.#end('completed', undefined)
    this.#serverBusy = false
  }

  #given(): Turn {
    const present = this.#turn
    if (present !== null && present.state !== 'done') return present
    this.#finishAgent()
    this.#finishCaller()
    const generation = ++this.generation
    const turn: Turn = { generation, itemId: `gemini-${generation}`, state: 'given', audioMs: 0, words: '', wordsFinal: true, hushed: false }
    this.#turn = turn
    this.#audio.reset()
    this.#serverBusy = true
    this.#parts.sink.event({ type: 'turn-start', generation })
    return turn
  }

  #sound(inline: { readonly mimeType?: string; readonly data?: string }): void {
    const { stats } = this.#parts
    const turn = this.#given()
    if (turn.state === 'cancelled') {
      stats.latePieces++
      return
    }
    if (inline.mimeType !== this.#mimeType) this.#format(inline.mimeType)
    if (!this.#playable) {
      stats.unplayableAudio++
      return
    }
    this.#soundTurn = turn
    if (!this.#audio.decode(typeof inline.data === 'string' ? inline.data : '', this.#take)) stats.malformedAudio++
  }

  // Made once: a message of sound comes many times a second.
  readonly #take = (samples: Int16Array): void => {
    const turn = this.#soundTurn
    if (turn === null || turn.state !== 'given') return
    const rateHz = this.#rateHz
    turn.audioMs += samplesToMs(samples.length, rateHz)
    this.#parts.sink.audio(samples, rateHz, turn.itemId, turn.generation)
  }

  #format(mimeType: string | undefined): void {
    const rate = rateOf(mimeType)
    this.#playable = rate !== null && isSampleRateHz(rate)
    if (this.#mimeType !== '' && rate !== this.#rateHz) this.#parts.stats.rateChanges++
    this.#mimeType = mimeType ?? ''
    if (rate !== null && isSampleRateHz(rate)) this.#rateHz = rate
  }

  #interrupted(): void {
    const turn = this.#turn
    if (turn !== null && turn.state === 'given') this.#parts.sink.event({ type: 'interrupted', generation: turn.generation })
    this.#end('cancelled', 'interrupted')
    this.#finishAgent()
    if (turn !== null) turn.hushed = true
  }

  #end(status: 'completed' | 'cancelled', reason: string | undefined): void {
    const turn = this.#turn
    if (turn === null || turn.state === 'done') return
    const told = turn.state === 'cancelled'
    turn.state = 'done'
    if (told) return
    const { sink } = this.#parts
    const { generation, itemId } = turn
    if (turn.audioMs > 0) sink.event({ type: 'audio-done', generation, itemId })
    if (turn.words !== '' && status === 'completed') this.#finishAgent()
    sink.event({
      type: 'usage',
      usage: { ...this.#usage, audioInMs: this.#parts.takeAudioInMs(), audioOutMs: turn.audioMs },
    })
    this.#usage = { inputTokens: 0, outputTokens: 0 }
    sink.event({ type: 'turn-done', generation, status, ...(reason === undefined ? {} : { reason }) })
  }

  #turnComplete(reason: string | undefined): void {
    this.#end('completed', typeof reason === 'string' ? reason : undefined)
    this.#finishAgent()
    this.#finishCaller()
    // Its tokens are told with the last message of a turn, after its end.
    if (this.#usage.inputTokens + this.#usage.outputTokens > 0) {
      this.#parts.sink.event({ type: 'usage', usage: { ...this.#usage, audioInMs: this.#parts.takeAudioInMs(), audioOutMs: 0 } })
      this.#usage = { inputTokens: 0, outputTokens: 0 }
    }
    this.#serverBusy = false
    this.#parts.idle()
  }

  #agentSays(words: string, final: boolean): void {
    // After the end of a turn its last words may still come, but those of an interrupted one are nobody's.
    const turn = this.#turn !== null && this.#turn.state !== 'given' && this.#serverBusy ? this.#turn : this.#given()
    if (turn.hushed) {
      this.#parts.stats.latePieces++
      return
    }
    turn.words = (turn.words + words).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    turn.wordsFinal = final
    this.#parts.sink.event({ type: 'transcript', role: 'agent', text: turn.words, final, itemId: turn.itemId, generation: turn.generation })
  }

  #finishAgent(): void {
    const turn = this.#turn
    if (turn === null || turn.wordsFinal || turn.hushed) return
    turn.wordsFinal = true
    this.#parts.sink.event({ type: 'transcript', role: 'agent', text: turn.words, final: true, itemId: turn.itemId, generation: turn.generation })
  }

  #callerSays(words: string, finished: boolean): void {
    if (this.#callerWords === '') this.#callerItem++
    this.#callerWords = (this.#callerWords + words).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    this.#callerFinal = finished
    this.#tellCaller()
  }

  #finishCaller(): void {
    if (this.#callerFinal) return
    this.#callerFinal = true
    // A service that listens by itself seldom says that the caller stopped, but it answers.
    if (this.#parts.serverVad && !this.#saysActivity) this.#parts.sink.event({ type: 'speech-stopped' })
    this.#tellCaller()
    this.#callerWords = ''
  }

  #tellCaller(): void {
    this.#parts.sink.event({
      type: 'transcript', role: 'caller', text: this.#callerWords.trim(), final: this.#callerFinal, itemId: `caller-${this.#callerItem}`,
      generation: this.generation + 1,
    })
  }

  #voiceActivity(type: string | undefined): void {
    if (type !== undefined) this.#saysActivity = true
    if (type === 'ACTIVITY_START') this.#parts.sink.event({ type: 'speech-started' })
    if (type === 'ACTIVITY_END') this.#parts.sink.event({ type: 'speech-stopped' })
  }
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : 0
}
