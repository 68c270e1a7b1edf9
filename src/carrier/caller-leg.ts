import { readFile, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError, messageOf } from '../core/errors.js'
import { FRAME_MS, type LegRateHz } from '../core/units.js'
import { RateConverter } from '../media/resample/rate-converter.js'
import { channelOf, parseWav, writeWav } from '../media/wav.js'
import { joined } from '../media/pcm.js'
import type { AudioFork, TrackLayout } from './audio-fork.js'
import { clamp, HalfBand, type LineOptions, OPENING_MS, PhoneLine, type Stall } from './line.js'
import { type Span, type SpanEvents, SpeechSpans, voicedExtent } from './speech-spans.js'

/**
 * Silence in ms that ends a piece of speech for the recogniser. The second constant is the silence in ms that ends a
 * turn of the agent.
 */
const PIECE_SILENCE_MS = 300
const TURN_SILENCE_MS = 900
const PIECE_MS_MAX = 20_000
/** Minimum sample magnitude of a frame with sound of the agent. */
const SOUND_LEVEL = 200
const SILENCE_MS_MIN = FRAME_MS
const SILENCES_KEPT_MAX = 1000

/** Events of a leg. Turns and pieces are spans of the sound that the caller hears. */
interface LegEvents extends SpanEvents {
  /** An utterance was played to its end. */
  onSpoke?(atMs: number): void
  onFrame?(nowMs: number): void
  /** Receives 20 ms of the sound that the caller hears; the memory is valid only until the function returns. */
  onHeard?(frame: Int16Array): void
  /** The gateway's queued audio was discarded by `killAudio`. */
  onKilled?(): void
}

/** Attachment of a fork to a leg. */
interface ForkTap {
  readonly fork: AudioFork
  readonly outputRateHz: LegRateHz
  readonly inputRateHz: LegRateHz
  readonly track: 'inbound_track' | 'outbound_track' | 'both_tracks'
  /** Layout of both tracks. */
  readonly layout: TrackLayout
}

/** Recording of both channels of a call at the caller's phone, at the leg's rate. */
export interface LegRecording {
  readonly sampleRateHz: LegRateHz
  readonly caller: Int16Array
  readonly heard: Int16Array
}

/**
 * The caller's end of one call, 20 ms at a time. It has the caller's speech, the line, the carrier's sound, and the
 * fork to the media socket.
 */
export class CallerLeg {
  readonly player: UtterancePlayer
  readonly spans: SpeechSpans
  readonly sampleRateHz: LegRateHz
  /** Silences between sounds of the agent, by the call's clock; short silences are omitted. */
  readonly silences: Span[] = []
  /** Random stalls of the uplink; set before streaming. */
  stallEvery: { readonly everyMs: number; readonly stallMsMax: number; readonly random: () => number } | null = null
  /** Stalls at set times on the call's clock, earliest first. */
  stallsAt: readonly Stall[] = []
  /** Sound of the caller that ends just before the stream opens. */
  before: Int16Array = new Int16Array(0)
  readonly #line: PhoneLine
  readonly #openingFrames: number
  /**
   * Newest sound of the caller since the answer, oldest first. Null after a media socket was attached or the carrier
   * has played audio.
   */
  #kept: Int16Array[] | null
  readonly #keptFramesMax: number
  readonly #events: LegEvents
  readonly #clock: CallClock
  readonly #unsubscribe: () => void
  readonly #record: { readonly caller: Int16Array[]; readonly heard: Int16Array[] } | null
  readonly #spoken: Int16Array
  readonly #heard: Int16Array
  #tap: Tap | null = null
  #bridge: LegBridge | null = null
  #kills = 0
  #playing: { readonly pcm: Int16Array; at: number; readonly done: () => void } | null = null
  #nextStallMs = 0
  #agentSoundMs: number | null = null

  /**
   * @param options  `keptMs`: duration of the caller's newest sound for the first media socket, 0 to 2000 ms; default 0.
   * Not sent if the carrier has already played audio.
   */
  constructor(
    options: LineOptions & { readonly record: boolean; readonly player?: UtterancePlayer; readonly keptMs?: number },
    clock: CallClock,
    events: LegEvents,
  ) {
    this.sampleRateHz = options.sampleRateHz
    this.#keptFramesMax = Math.round((options.keptMs ?? 0) / FRAME_MS)
    this.#kept = this.#keptFramesMax === 0 ? null : []
    this.#line = new PhoneLine(options)
    this.#openingFrames = Math.round((options.openingMs ?? OPENING_MS) / FRAME_MS)
    this.#events = events
    this.player = options.player ?? new UtterancePlayer(options.sampleRateHz)
    const spanOptions = {
      sampleRateHz: options.sampleRateHz,
      pieceSilenceMs: PIECE_SILENCE_MS,
      turnSilenceMs: TURN_SILENCE_MS,
      pieceMsMax: PIECE_MS_MAX,
    }
    this.spans = new SpeechSpans(spanOptions, events)
    const frame = (options.sampleRateHz * FRAME_MS) / 1000
    this.#spoken = new Int16Array(frame)
    this.#heard = new Int16Array(frame)
    this.#record = options.record ? { caller: [], heard: [] } : null
    this.#clock = clock
    this.#unsubscribe = clock.subscribe((nowMs) => this.#tick(nowMs))
  }

  /**
   * Attaches a media socket to the leg, which has at most one. The socket first gets the sound of the line that the
   * carrier has kept.
   */
  attach(tap: ForkTap): void {
    this.#tap = new Tap(tap, this.sampleRateHz)
    const { before } = this
    const samples = this.#spoken.length
    for (let left = this.#openingFrames; left > 0; left--) {
      const from = before.length - left * samples
      this.#spoken.fill(0)
      if (from + samples > 0) this.#spoken.set(before.subarray(Math.max(0, from), from + samples), Math.max(0, -from))
      this.#line.up(this.#spoken)
      this.#tap.capture(this.#spoken)
    }
    this.before = new Int16Array(0)
    for (const frame of this.#kept ?? []) this.#tap.capture(frame)
    this.#kept = null
    this.#tap.fork.flush(this.#clock.nowMs())
  }

  detach(): void {
    this.#tap = null
  }

  /** Joins a bridge, whose people then hear this leg; null leaves the bridge. */
  join(bridge: LegBridge | null): void {
    this.#bridge?.leave(this)
    this.#bridge = bridge
  }

  /** Sends a DTMF digit of the caller to the gateway as an event, if a media socket is attached. */
  sendDigit(digit: string): void {
    this.#tap?.fork.sendDigit(digit)
  }

  /** Plays `pcm` to the caller. Resolves when the sound has ended or was stopped. */
  play(pcm: Int16Array): Promise<void> {
    this.stopPlaying()
    this.#kept = null
    return new Promise((resolve) => {
      this.#playing = { pcm, at: 0, done: resolve }
    })
  }

  stopPlaying(): void {
    this.#playing?.done()
    this.#playing = null
  }

  /** Ends the leg: stops all frames. */
  close(nowMs: number): void {
    this.#unsubscribe()
    this.join(null)
    this.stopPlaying()
    this.player.stop()
    this.spans.end(nowMs)
  }

  /** The recording; null if the call is not recorded. */
  recording(): LegRecording | null {
    if (this.#record === null) return null
    return { sampleRateHz: this.sampleRateHz, caller: joined(this.#record.caller), heard: joined(this.#record.heard) }
  }

  #tick(nowMs: number): void {
    const spoke = this.player.read(this.#spoken, nowMs)
    this.#line.up(this.#spoken)
    this.#hear(nowMs)
    this.#tap?.capture(this.#spoken)
    if (this.#kept !== null && this.#kept.push(this.#spoken.slice()) > this.#keptFramesMax) this.#kept.shift()
    this.#stall(nowMs)
    this.#tap?.fork.flush(nowMs)
    this.#line.down(this.#heard)
    this.#record?.caller.push(this.#spoken.slice())
    this.#record?.heard.push(this.#heard.slice())
    this.spans.push(this.#heard, nowMs)
    this.#events.onHeard?.(this.#heard)
    if (spoke !== null) this.#events.onSpoke?.(nowMs + FRAME_MS)
    this.#events.onFrame?.(nowMs)
  }

  #hear(nowMs: number): void {
    const fromAgent = this.#tap?.play(this.#heard) ?? 0
    if (this.#tap === null) this.#heard.fill(0)
    const kills = this.#tap?.fork.counters.kills ?? 0
    if (kills > this.#kills) this.#events.onKilled?.()
    this.#kills = kills
    if (fromAgent > 0 && this.#heard.some((sample) => Math.abs(sample) > SOUND_LEVEL)) this.#agentSound(nowMs)
    this.#bridge?.exchange(this, this.#spoken, this.#heard)
    const playing = this.#playing
    if (playing === null || fromAgent > 0) return
    const part = playing.pcm.subarray(playing.at, playing.at + this.#heard.length)
    this.#heard.set(part)
    playing.at += part.length
    if (playing.at >= playing.pcm.length) this.stopPlaying()
  }

  #agentSound(nowMs: number): void {
    const sinceMs = (this.#agentSoundMs ?? nowMs) + FRAME_MS
    if (nowMs - sinceMs >= SILENCE_MS_MIN && this.silences.length < SILENCES_KEPT_MAX)
      this.silences.push({ startMs: sinceMs, endMs: nowMs })
    this.#agentSoundMs = nowMs
  }

  #stall(nowMs: number): void {
    const [next] = this.stallsAt
    if (next !== undefined && nowMs >= next.atMs) {
      this.stallsAt = this.stallsAt.slice(1)
      this.#tap?.fork.stallUntil(next.atMs + next.ms)
    }
    if (this.stallEvery === null || this.#tap === null) return
    if (this.#nextStallMs === 0) this.#nextStallMs = nowMs + this.stallEvery.random() * this.stallEvery.everyMs
    if (nowMs < this.#nextStallMs) return
    this.#tap.fork.stallUntil(nowMs + this.stallEvery.random() * this.stallEvery.stallMsMax)
    this.#nextStallMs = nowMs + this.stallEvery.everyMs * (0.5 + this.stallEvery.random())
  }
}

/**
 * People who hear each other: all joined legs. All legs use one clock, so every leg hears each frame of another leg
 * once, at most one tick later.
 */
export class LegBridge {
  /** The newest frame of each leg. */
  readonly #frames = new Map<CallerLeg, Int16Array>()

  /**
   * Adds a leg's frame to the bridge, and the other legs' frames to the sound of this leg.
   * @param heard contains the agent's sound, which the other legs hear too
   */
  exchange(leg: CallerLeg, spoken: Int16Array, heard: Int16Array): void {
    const own = this.#frames.get(leg) ?? new Int16Array(spoken.length)
    mix(spoken, heard, own)
    for (const [other, frame] of this.#frames)
      if (other !== leg && frame.length === heard.length) mix(heard, frame, heard)
    this.#frames.set(leg, own)
  }

  leave(leg: CallerLeg): void {
    this.#frames.delete(leg)
  }
}

/** A fork, with the conversions between the fork's rates and the leg's rate. */
class Tap {
  readonly fork: AudioFork
  readonly #tap: ForkTap
  readonly #channels: 1 | 2
  readonly #callerUp: Converter
  readonly #playedUp: Converter
  readonly #agentDown: Converter
  /** Sound that the fork plays, at the leg's rate. It is stored for layouts with both tracks. */
  readonly #played: Int16Array
  readonly #frame: Int16Array

  constructor(tap: ForkTap, legRateHz: LegRateHz) {
    this.fork = tap.fork
    this.#tap = tap
    this.#channels = tap.track === 'both_tracks' && tap.layout === 'stereo' ? 2 : 1
    this.#callerUp = new Converter(legRateHz, tap.outputRateHz)
    this.#playedUp = new Converter(legRateHz, tap.outputRateHz)
    this.#agentDown = new Converter(tap.inputRateHz, legRateHz)
    this.#played = new Int16Array((legRateHz * FRAME_MS) / 1000)
    this.#frame = new Int16Array(((tap.outputRateHz * FRAME_MS) / 1000) * this.#channels)
  }

  play(out: Int16Array): number {
    const samples = this.fork.play(this.#agentDown.input)
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
    this.fork.capture(this.#frame)
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
  for (let i = 0; i < out.length; i++) out[i] = clamp((a[i] as number) + (b[i] as number))
}

function interleave(left: Int16Array, right: Int16Array, out: Int16Array): void {
  for (let i = 0; i < left.length; i++) {
    out[2 * i] = left[i] as number
    out[2 * i + 1] = right[i] as number
  }
}

/** Speech or DTMF digits of the caller, as sound at the leg's rate. */
export interface Utterance {
  readonly text: string
  readonly pcm: Int16Array
}

export interface Said {
  readonly text: string
  /** Times of the first and the last voiced sample. */
  readonly startMs: number
  readonly endMs: number
}

/** Plays utterances into the line one after another, and silence between them. */
export class UtterancePlayer {
  readonly said: Said[] = []
  readonly #sampleRateHz: number
  readonly #queue: Utterance[] = []
  #at = 0

  constructor(sampleRateHz: number) {
    this.#sampleRateHz = sampleRateHz
  }

  get speaking(): boolean {
    return this.#queue.length > 0
  }

  say(utterance: Utterance): void {
    this.#queue.push(utterance)
  }

  /** Drops the current utterance and all waiting utterances. */
  stop(): void {
    this.#queue.length = 0
    this.#at = 0
  }

  /**
   * Writes the next frame, whose first sample is spoken at `startMs`.
   * @returns the utterance that ended in this frame; null if no utterance ended
   */
  read(out: Int16Array, startMs: number): Utterance | null {
    out.fill(0)
    const current = this.#queue[0]
    if (current === undefined) return null
    if (this.#at === 0) this.#note(current, startMs)
    const part = current.pcm.subarray(this.#at, this.#at + out.length)
    out.set(part)
    this.#at += part.length
    if (this.#at < current.pcm.length) return null
    this.#queue.shift()
    this.#at = 0
    return current
  }

  #note(utterance: Utterance, startMs: number): void {
    const { from, to } = voicedExtent(utterance.pcm, this.#sampleRateHz)
    if (to === 0) return
    const toMs = (samples: number): number => startMs + (samples * 1000) / this.#sampleRateHz
    this.said.push({ text: utterance.text, startMs: toMs(from), endMs: toMs(to) })
  }
}

/** Caller-perceived latency. It includes the carrier and the line, which the gateway cannot measure. */
export interface CallerLatency {
  /**
   * Time from the opened stream (or the answered call) to the agent's first sound, in ms; null if there was no sound.
   */
  readonly greetingMs: number | null
  readonly turns: readonly {
    /**
     * Time from the caller's last voiced sample to the agent's first sound, in ms; null if the caller spoke again
     * before this sound.
     */
    readonly firstSoundMs: number | null
  }[]
  readonly bargeIns: readonly {
    /** Time from the caller's first voiced sample over the agent's voice to the agent's last voiced sample, in ms. */
    readonly stopMs: number
  }[]
}

/** Minimum gap in ms after which the agent has stopped; a shorter gap is a pause within a sentence. */
const STOP_GAP_MS = 400

/**
 * Measures the latencies of a call from its speech.
 * @param heard  stretches of the agent's voice, oldest first
 */
export function measureCaller(said: readonly Said[], heard: readonly Span[], openedMs: number): CallerLatency {
  const runs = withoutPauses(heard)
  const turns: { firstSoundMs: number | null }[] = []
  const bargeIns: { stopMs: number }[] = []
  for (const [index, utterance] of said.entries()) {
    const over = runs.find((run) => run.startMs < utterance.startMs && run.endMs > utterance.startMs)
    if (over !== undefined) bargeIns.push({ stopMs: over.endMs - utterance.startMs })
    const next = said[index + 1]
    const answer = runs.find((run) => run.startMs >= utterance.endMs)
    const answered = answer !== undefined && (next === undefined || answer.startMs < next.startMs)
    turns.push({ firstSoundMs: answered ? answer.startMs - utterance.endMs : null })
  }
  const first = runs.find((run) => run.startMs >= openedMs)
  return { greetingMs: first === undefined ? null : first.startMs - openedMs, turns, bargeIns }
}

function withoutPauses(spans: readonly Span[]): Span[] {
  const runs: Span[] = []
  for (const span of spans) {
    const last = runs.at(-1)
    if (last !== undefined && span.startMs - last.endMs < STOP_GAP_MS) {
      runs[runs.length - 1] = { startMs: last.startMs, endMs: Math.max(last.endMs, span.endMs) }
    } else {
      runs.push(span)
    }
  }
  return runs
}

/**
 * Maximum number of missed frames that are processed at once after this thread was blocked. Further missed frames are
 * skipped and counted.
 */
const CATCH_UP_TICKS_MAX = 50

type TickListener = (nowMs: number) => void

/** The time of a call. */
export interface CallClock {
  nowMs(): number
  /** Resolves after `ms`. The timer does not keep the process alive. */
  wait(ms: number): Promise<void>
  /** Calls `listener` every 20 ms until the returned function is called. */
  subscribe(listener: TickListener): () => void
}

/**
 * One 20 ms clock for all calls of a thread. Due times are multiples of 20 ms from the first tick, so a late timer does
 * not slow the calls down.
 * After the thread was blocked, the missed ticks run at once, because a real carrier would have sent those frames. The
 * clock runs only while it has listeners.
 */
export class SharedTicker implements CallClock {
  /** Number of ticks that ran more than one frame late. */
  ticksLate = 0
  /** Number of ticks that were skipped because the thread was blocked for more than a second. */
  ticksSkipped = 0
  readonly #listeners = new Set<TickListener>()
  #timer: NodeJS.Timeout | null = null
  #dueMs = 0

  nowMs(): number {
    return performance.now()
  }

  wait(ms: number): Promise<void> {
    return sleep(ms, undefined, { ref: false })
  }

  subscribe(listener: TickListener): () => void {
    this.#listeners.add(listener)
    if (this.#timer === null) {
      this.#dueMs = performance.now() + FRAME_MS
      this.#arm()
    }
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size > 0 || this.#timer === null) return
      clearTimeout(this.#timer)
      this.#timer = null
    }
  }

  #arm(): void {
    this.#timer = setTimeout(() => this.#run(), Math.max(0, this.#dueMs - performance.now()))
  }

  #run(): void {
    const nowMs = performance.now()
    const lateMs = nowMs - this.#dueMs
    if (lateMs > FRAME_MS) this.ticksLate++
    if (lateMs > CATCH_UP_TICKS_MAX * FRAME_MS) {
      const skipped = Math.floor(lateMs / FRAME_MS) - CATCH_UP_TICKS_MAX
      this.ticksSkipped += skipped
      this.#dueMs += skipped * FRAME_MS
    }
    while (this.#dueMs <= nowMs && this.#listeners.size > 0) {
      for (const listener of this.#listeners) listener(this.#dueMs)
      this.#dueMs += FRAME_MS
    }
    if (this.#listeners.size > 0) this.#arm()
    else this.#timer = null
  }
}

/** The clock that all calls of this thread share. */
export const sharedTicker = new SharedTicker()

/** A recording that the caller plays into the line. */
export interface CallerFile {
  readonly pcm: Int16Array
  readonly sampleRateHz: number
}

/** Maximum size of a recording in bytes: about ten minutes at 16 kHz stereo. */
const FILE_BYTES_MAX = 40 * 1024 * 1024

/**
 * Reads the left channel of a WAV file.
 * @throws GatewayError WAV_INVALID with the file's name and the allowed formats
 */
export async function readWavFile(file: string): Promise<CallerFile> {
  const bytes = await readBytes(file)
  try {
    const audio = parseWav(bytes)
    const pcm = channelOf(audio, 0)
    if (pcm.length === 0) throw new GatewayError('WAV_INVALID', 'it has no sound')
    if (audio.sampleRateHz !== 24_000) return { sampleRateHz: audio.sampleRateHz, pcm }
    // A line has 8 or 16 kHz, so sound of 24 kHz is converted.
    return { sampleRateHz: 16_000, pcm: new RateConverter(24_000, 16_000).process(pcm) }
  } catch (cause) {
    throw new GatewayError('WAV_INVALID', `${file}: ${messageOf(cause)}`, { cause })
  }
}

async function readBytes(file: string): Promise<Buffer> {
  try {
    const { size } = await stat(file)
    if (size <= FILE_BYTES_MAX) return await readFile(file)
  } catch (cause) {
    throw new GatewayError('WAV_INVALID', `${file} cannot be read`, { cause })
  }
  throw new GatewayError('WAV_INVALID', `${file} has more than ${FILE_BYTES_MAX} bytes`)
}

/** A call as a stereo WAV file: left the caller, right the sound that the caller heard. */
export function callWav({ caller, heard, sampleRateHz }: LegRecording): Uint8Array {
  const samples = new Int16Array(2 * caller.length)
  interleave(caller, heard, samples)
  return writeWav({ sampleRateHz, channels: 2, samples })
}
