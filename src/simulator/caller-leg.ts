import { FRAME_MS, type LegRateHz } from '../core/units.js'
import type { AudioFork, TrackLayout } from './audio-fork.js'
import { HalfBand } from './half-band.js'
import { PhoneLine, type LineOptions, type Stall } from './line.js'
import { Mouth, type Utterance } from './mouth.js'
import { SpeechSpans, type Span } from './speech-spans.js'
import type { SharedTicker } from './ticker.js'

/** Silence that ends a piece for the ear, and one that ends a turn of the other side. */
const PIECE_SILENCE_MS = 300
const TURN_SILENCE_MS = 900
const PIECE_MS_MAX = 20_000

export interface LegEvents {
  onAgentStarted(atMs: number): void
  onPiece(piece: Span, pcm: Int16Array): void
  onAgentStopped(turn: Span): void
  /** An utterance has left the caller's mouth. */
  onSpoke(utterance: Utterance, atMs: number): void
  onFrame(nowMs: number): void
}

/** How a fork hangs on a leg. */
export interface ForkTap {
  readonly fork: AudioFork
  readonly outputRateHz: LegRateHz
  readonly inputRateHz: LegRateHz
  readonly track: 'inbound_track' | 'outbound_track' | 'both_tracks'
  /** How both tracks are laid out. */
  readonly layout: TrackLayout
}

/** Both channels of a call as the caller's phone had them, at the leg's rate. */
export interface LegRecording {
  readonly sampleRateHz: LegRateHz
  readonly caller: Int16Array
  readonly heard: Int16Array
}

/** The caller's end of one call, 20 ms at a time: mouth, line, what the carrier plays, and what it forks. */
export class CallerLeg {
  readonly mouth: Mouth
  readonly spans: SpeechSpans
  readonly sampleRateHz: LegRateHz
  /** Random hold-ups of the uplink; set before streaming. */
  stallEvery: { readonly everyMs: number; readonly stallMsMax: number; readonly random: () => number } | null = null
  /** Hold-ups at set times on the ticker's clock, the earliest first. */
  stallsAt: readonly Stall[] = []
  readonly #line: PhoneLine
  readonly #events: LegEvents
  readonly #unsubscribe: () => void
  readonly #record: { readonly caller: Int16Array[]; readonly heard: Int16Array[] } | null
  readonly #spoken: Int16Array
  readonly #heard: Int16Array
  #tap: Tap | null = null
  #playing: { readonly pcm: Int16Array; at: number; readonly done: () => void } | null = null
  #nextStallMs = 0

  constructor(options: LineOptions & { readonly record: boolean }, ticker: SharedTicker, events: LegEvents) {
    this.sampleRateHz = options.sampleRateHz
    this.#line = new PhoneLine(options)
    this.#events = events
    this.mouth = new Mouth(options.sampleRateHz)
    const spanOptions = { sampleRateHz: options.sampleRateHz, pieceSilenceMs: PIECE_SILENCE_MS, turnSilenceMs: TURN_SILENCE_MS, pieceMsMax: PIECE_MS_MAX }
    this.spans = new SpeechSpans(spanOptions, {
      onTurnStart: (atMs) => { events.onAgentStarted(atMs) },
      onPiece: (piece, pcm) => { events.onPiece(piece, pcm) },
      onTurnEnd: (turn) => { events.onAgentStopped(turn) },
    })
    const frame = (options.sampleRateHz * FRAME_MS) / 1000
    this.#spoken = new Int16Array(frame)
    this.#heard = new Int16Array(frame)
    this.#record = options.record ? { caller: [], heard: [] } : null
    this.#unsubscribe = ticker.subscribe((nowMs) => { this.#tick(nowMs) })
  }

  /** Hangs a media socket on the leg. One at a time. */
  attach(tap: ForkTap): void {
    this.#tap = new Tap(tap, this.sampleRateHz)
  }

  detach(): void {
    this.#tap = null
  }

  /** The carrier plays something to the caller; resolves when it has been heard or was stopped. */
  play(pcm: Int16Array): Promise<void> {
    this.stopPlaying()
    return new Promise((resolve) => { this.#playing = { pcm, at: 0, done: resolve } })
  }

  stopPlaying(): void {
    this.#playing?.done()
    this.#playing = null
  }

  /** The leg is gone: no more frames. */
  close(nowMs: number): void {
    this.#unsubscribe()
    this.stopPlaying()
    this.mouth.stop()
    this.spans.end(nowMs)
  }

  /** What was recorded; null when nothing was to be. */
  recording(): LegRecording | null {
    if (this.#record === null) return null
    return { sampleRateHz: this.sampleRateHz, caller: joined(this.#record.caller), heard: joined(this.#record.heard) }
  }

  #tick(nowMs: number): void {
    const spoke = this.mouth.read(this.#spoken, nowMs)
    this.#line.up(this.#spoken)
    this.#hear()
    this.#tap?.capture(this.#spoken)
    this.#stall(nowMs)
    this.#tap?.flush(nowMs)
    this.#line.down(this.#heard)
    this.#record?.caller.push(this.#spoken.slice())
    this.#record?.heard.push(this.#heard.slice())
    this.spans.push(this.#heard, nowMs)
    if (spoke !== null) this.#events.onSpoke(spoke, nowMs + FRAME_MS)
    this.#events.onFrame(nowMs)
  }

  #hear(): void {
    const fromAgent = this.#tap?.play(this.#heard) ?? 0
    if (this.#tap === null) this.#heard.fill(0)
    const playing = this.#playing
    if (playing === null || fromAgent > 0) return
    const part = playing.pcm.subarray(playing.at, playing.at + this.#heard.length)
    this.#heard.set(part)
    playing.at += part.length
    if (playing.at >= playing.pcm.length) this.stopPlaying()
  }

  #stall(nowMs: number): void {
    const [next] = this.stallsAt
    if (next !== undefined && nowMs >= next.atMs) {
      this.stallsAt = this.stallsAt.slice(1)
      this.#tap?.stallUntil(next.atMs + next.ms)
    }
    if (this.stallEvery === null || this.#tap === null) return
    if (this.#nextStallMs === 0) this.#nextStallMs = nowMs + this.stallEvery.random() * this.stallEvery.everyMs
    if (nowMs < this.#nextStallMs) return
    this.#tap.stallUntil(nowMs + this.stallEvery.random() * this.stallEvery.stallMsMax)
    this.#nextStallMs = nowMs + this.stallEvery.everyMs * (0.5 + this.stallEvery.random())
  }
}

/** A fork with the conversions between its rates and the leg's. */
class Tap {
  readonly #tap: ForkTap
  readonly #channels: 1 | 2
  readonly #callerUp: Converter
  readonly #playedUp: Converter
  readonly #agentDown: Converter
  /** What the fork plays, at the leg's rate; kept for both-track layouts. */
  readonly #played: Int16Array
  readonly #frame: Int16Array

  constructor(tap: ForkTap, legRateHz: LegRateHz) {
    this.#tap = tap
    this.#channels = tap.track === 'both_tracks' && tap.layout === 'stereo' ? 2 : 1
    this.#callerUp = new Converter(legRateHz, tap.outputRateHz)
    this.#playedUp = new Converter(legRateHz, tap.outputRateHz)
    this.#agentDown = new Converter(tap.inputRateHz, legRateHz)
    this.#played = new Int16Array((legRateHz * FRAME_MS) / 1000)
    this.#frame = new Int16Array((tap.outputRateHz * FRAME_MS) / 1000 * this.#channels)
  }

  play(out: Int16Array): number {
    const samples = this.#tap.fork.play(this.#agentDown.input)
    out.set(this.#agentDown.convert())
    this.#played.set(out)
    return samples
  }

  capture(spoken: Int16Array): void {
    this.#callerUp.input.set(spoken)
    const caller = this.#callerUp.convert()
    this.#playedUp.input.set(this.#played)
    const played = this.#playedUp.convert()
    const { track, layout } = this.#tap
    if (track === 'inbound_track' || (track === 'both_tracks' && layout === 'mono')) this.#frame.set(caller)
    else if (track === 'outbound_track') this.#frame.set(played)
    else if (layout === 'mixed') mix(caller, played, this.#frame)
    else interleave(caller, played, this.#frame)
    this.#tap.fork.capture(this.#frame)
  }

  flush(nowMs: number): void {
    this.#tap.fork.flush(nowMs)
  }

  stallUntil(untilMs: number): void {
    this.#tap.fork.stallUntil(untilMs)
  }
}

/** Converts one 20 ms frame: write `input`, call `convert`. */
class Converter {
  readonly input: Int16Array
  readonly #output: Int16Array
  readonly #filter: HalfBand | null

  constructor(fromHz: LegRateHz, toHz: LegRateHz) {
    this.input = new Int16Array((fromHz * FRAME_MS) / 1000)
    this.#filter = fromHz === toHz ? null : new HalfBand()
    this.#output = fromHz === toHz ? this.input : new Int16Array((toHz * FRAME_MS) / 1000)
  }

  /** The converted frame; valid until the next call. */
  convert(): Int16Array {
    if (this.#output.length > this.input.length) this.#filter?.double(this.input, this.#output)
    else this.#filter?.halve(this.input, this.#output)
    return this.#output
  }
}

function mix(a: Int16Array, b: Int16Array, out: Int16Array): void {
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.max(-32_768, Math.min(32_767, (a[i] as number) + (b[i] as number)))
  }
}

function interleave(left: Int16Array, right: Int16Array, out: Int16Array): void {
  for (let i = 0; i < left.length; i++) {
    out[2 * i] = left[i] as number
    out[2 * i + 1] = right[i] as number
  }
}

function joined(frames: readonly Int16Array[]): Int16Array {
  const all = new Int16Array(frames.reduce((sum, frame) => sum + frame.length, 0))
  let at = 0
  for (const frame of frames) {
    all.set(frame, at)
    at += frame.length
  }
  return all
}
