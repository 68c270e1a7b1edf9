import { joined } from '../media/pcm.js'
import { rmsOf } from './line.js'

/** Duration in ms of a block whose level decides between voice and silence. */
const BLOCK_MS = 10
/** Minimum RMS of voice: about -46 dBFS. The codec's noise on a silent line is below -70 dBFS. */
const VOICED_RMS = 160

export interface Span {
  readonly startMs: number
  readonly endMs: number
}

export interface SpanEvents {
  /** Reports the first voiced block after a turn's silence. */
  onTurnStart?(atMs: number): void
  /** Reports a piece of speech between two short silences, with its audio; the listener owns the audio. */
  onPiece?(piece: Span, pcm: Int16Array): void
  /** Reports that the speaker has been silent for `turnSilenceMs`. The span covers only the voice. */
  onTurnEnd?(turn: Span): void
}

interface SpeechSpansOptions {
  readonly sampleRateHz: number
  /** Silence in ms that ends a piece. */
  readonly pieceSilenceMs: number
  /** Silence in ms that ends a turn. */
  readonly turnSilenceMs: number
  /** Maximum duration of a piece in ms; a longer piece is cut even without silence, to limit memory. */
  readonly pieceMsMax: number
}

/** Duration in ms of audio kept before the first voiced block, so that a soft onset is not cut. */
const LEAD_IN_MS = 100

/**
 * The simulator's own simple speech detector. It finds speech by level in the sound that the caller hears, with exact
 * times for the caller-perceived latencies.
 */
export class SpeechSpans {
  /** Spans of voice, oldest first. They include gaps shorter than `pieceSilenceMs`. */
  readonly voiced: Span[] = []
  readonly #options: SpeechSpansOptions
  readonly #events: SpanEvents
  readonly #leadIn: Int16Array
  #piece: Int16Array[] = []
  #pieceStartMs = 0
  #lastVoicedMs = 0
  #turnStartMs = 0
  #inPiece = false
  #inTurn = false

  constructor(options: SpeechSpansOptions, events: SpanEvents) {
    this.#options = options
    this.#events = events
    this.#leadIn = new Int16Array(Math.round((LEAD_IN_MS * options.sampleRateHz) / 1000))
  }

  /** Adds the next frame; `startMs` is the time of its first sample. */
  push(frame: Int16Array, startMs: number): void {
    const block = Math.round((BLOCK_MS * this.#options.sampleRateHz) / 1000)
    if (this.#inPiece) this.#piece.push(frame.slice())
    for (let at = 0; at < frame.length; at += block) {
      const blockStartMs = startMs + (at * 1000) / this.#options.sampleRateHz
      if (rmsOf(frame.subarray(at, at + block)) >= VOICED_RMS) this.#onVoiced(blockStartMs, frame)
      else this.#onSilent(blockStartMs + BLOCK_MS)
    }
    this.#leadIn.copyWithin(0, frame.length)
    this.#leadIn.set(frame.subarray(-this.#leadIn.length), Math.max(0, this.#leadIn.length - frame.length))
  }

  /** Ends the call: ends the open piece and the open turn. */
  end(atMs: number): void {
    if (this.#inPiece) this.#endPiece()
    if (this.#inTurn) this.#endTurn()
    this.#lastVoicedMs = Math.min(this.#lastVoicedMs, atMs)
  }

  #onVoiced(atMs: number, frame: Int16Array): void {
    if (!this.#inTurn) {
      this.#inTurn = true
      this.#turnStartMs = atMs
      this.#events.onTurnStart?.(atMs)
    }
    if (!this.#inPiece) {
      this.#inPiece = true
      this.#pieceStartMs = atMs
      this.#piece = [this.#leadIn.slice(), frame.slice()]
    }
    this.#lastVoicedMs = atMs + BLOCK_MS
    if (atMs - this.#pieceStartMs >= this.#options.pieceMsMax) this.#endPiece()
  }

  #onSilent(atMs: number): void {
    const silentMs = atMs - this.#lastVoicedMs
    if (this.#inPiece && silentMs >= this.#options.pieceSilenceMs) this.#endPiece()
    if (this.#inTurn && silentMs >= this.#options.turnSilenceMs) this.#endTurn()
  }

  #endPiece(): void {
    this.#inPiece = false
    const span = { startMs: this.#pieceStartMs, endMs: this.#lastVoicedMs }
    this.voiced.push(span)
    const pcm = joined(this.#piece)
    this.#piece = []
    this.#events.onPiece?.(span, pcm)
  }

  #endTurn(): void {
    this.#inTurn = false
    this.#events.onTurnEnd?.({ startMs: this.#turnStartMs, endMs: this.#lastVoicedMs })
  }
}

/** Returns the parts of a speech recording between pauses of at least `pauseMs`. */
export function partsOf(pcm: Int16Array, sampleRateHz: number, pauseMs: number): Int16Array[] {
  const parts: Int16Array[] = []
  const spans = new SpeechSpans(
    { sampleRateHz, pieceSilenceMs: pauseMs, turnSilenceMs: Infinity, pieceMsMax: Infinity },
    { onPiece: (_span, part) => parts.push(part) },
  )
  const frame = sampleRateHz / 50
  for (let at = 0; at < pcm.length; at += frame) spans.push(pcm.subarray(at, at + frame), (at * 1000) / sampleRateHz)
  spans.end((pcm.length * 1000) / sampleRateHz)
  return parts
}

/** Returns the beginning and end of the voice in a recording, in samples; an empty span if the recording is silent. */
export function voicedExtent(pcm: Int16Array, sampleRateHz: number): { readonly from: number; readonly to: number } {
  const block = Math.round((BLOCK_MS * sampleRateHz) / 1000)
  let from = -1
  let to = 0
  for (let at = 0; at < pcm.length; at += block) {
    if (rmsOf(pcm.subarray(at, at + block)) < VOICED_RMS) continue
    if (from < 0) from = at
    to = Math.min(pcm.length, at + block)
  }
  return from < 0 ? { from: 0, to: 0 } : { from, to }
}
