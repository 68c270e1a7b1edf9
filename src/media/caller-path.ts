import { smallArray } from '../core/small-arrays.js'
import { FRAME_MS, frameSamples, type LegRateHz } from '../core/units.js'
import { EchoMatcher, type EchoMatch } from './echo/echo-canceller.js'
import { EchoGate, telephoneDbfs } from './echo/echo-gate.js'
import { LoudspeakerEcho } from './echo/loudspeaker-echo.js'
import { JitterBuffer } from './jitter/jitter-buffer.js'
import { KeyPresses } from './key-presses.js'
import { LineBand } from './line-band.js'
import { LEVEL_DBFS_MIN, levelDbfs } from './pcm.js'
import { PitchTracker } from './pitch.js'
import { ChannelLayout, Reframer, type ForkedTrack } from './reframer.js'
import { ComposedDetector, type FrameDetector, type VadBank } from './vad/vad.js'

// Tags that go through the jitter buffer with a frame. Echo is `TAG_LEARNT` too when its delay and gain are known.
const TAG_ECHO = 1
const TAG_LEARNT = 2
const TAG_LOUD = 4
// Sound closer to a voice is part of its words: consonants and breaths. Shorter stretches are clicks.
const NEAR_VOICE_FRAMES = 15
const NOISE_FRAMES_MIN = 8
// Noise that does not end is counted in pieces of this length.
const NOISE_FRAMES_MAX = 50
// Quiet on any line, also on one whose noise is not known yet.
const QUIET_DBFS = -55
// Share of our own speech's power that cancellation leaves, -24 dB; and -30 dB where the loudspeaker's echo is already
// distinguished from the caller.
const RESIDUE_SHARE = 0.004
const RESIDUE_SHARE_LEARNT = 0.001
// On the outbound track there is only what is played to the caller: voice is far above this, comfort noise below.
const AGENT_DBFS_MIN = -45
// The detector and the canceller of echoes have forgotten a key's tones after this.
const KEY_TAIL_MS = 500
// Most gaps within speech are shorter than this; the gap between a filler and its answer is longer.
const AGENT_GAP_MS = 160

/**
 * One call's caller side: bytes of the socket in, steady frames with what was detected in them out. `push` when bytes
 * come; at each tick `while (path.pull(nowMs)) { use its fields }`. Or stage by stage over all calls of a worker:
 * `take` on each, then `detect` on those that took one.
 *
 * A frame is written once, from the packet to its place in the jitter buffer, which is memory of the frame detector.
 * All that follows reads it there. Level, echo and the noise floor are measured as frames arrive, in order and without
 * gaps; voice, tones and DTMF digits when frames leave, so that a burst costs its tick no more than its frames.
 */
export class CallerPath {
  readonly sampleRateHz: LegRateHz
  /**
   * The frame that was pulled last: 20 ms of the caller, mono, at the leg's rate. Valid until the next `push` or
   * `pull`.
   */
  frame: Int16Array
  /** Raw decision for this frame: speech of the caller; not echo, not a DTMF digit, not a tone. No hang-over. */
  voiced = false
  /** Voiced, but it may be music or a noise. */
  doubtful = false
  /** Level of the frame, -96 to 0. */
  levelDbfs = LEVEL_DBFS_MIN
  /** Fundamental of the voice; 0 when it is not known, as in every frame that is not voiced. */
  pitchHz = 0
  /** A DTMF digit (0-9, *, #, A-D) that was recognised in this frame; each press once. */
  digit: string | null = null
  /** The carrier took this frame before `openedAtMs`: its first packet may hold more than a second from before. */
  early = false
  /** When the stream opened, on the clock of the arrivals; its owner sets it. */
  openedAtMs = -Infinity
  /** This frame was concealed, that is made up to bridge a stall; it is never voiced. */
  concealed = false
  /** This frame is our own speech coming back. */
  echo = false
  /**
   * When sound last began on the outbound track, after a gap: the agent's voice as the caller hears it. -Infinity
   * before any, and for ever where the stream is not stereo.
   */
  agentHeardAtMs = -Infinity
  readonly #layout: ChannelLayout
  readonly #reframer: Reframer
  readonly #jitter: JitterBuffer
  readonly #gate = new EnergyGate()
  #echoGate: EchoGate
  /** The caller's loudspeaker, in what is left when the carrier's copy of our own speech was taken out. */
  #loudspeaker: LoudspeakerEcho
  /** On a mixed line: bounds of an echo that was not found yet, in what is left. */
  #loudspeakerGate: EchoGate | null
  /** Only where the carrier may mix our own speech into the one channel. */
  #matcher: EchoMatcher | null
  #framesOfEcho = 0
  #framesOfNoise = 0
  #noiseDbfs = LEVEL_DBFS_MIN
  /** Audible frames, their level, and quiet frames after them, since the last voice and in the present stretch. */
  #soundFrames = 0
  #soundDbfs = LEVEL_DBFS_MIN
  #quietFrames = 0
  #sinceVoiceFrames = 0
  readonly #detector: FrameDetector
  readonly #pitch: PitchTracker
  /** Only on a leg that could carry more than a telephone's band. */
  readonly #band: LineBand | null
  #digits = 0
  readonly #keys: KeyPresses
  /** Packets that wait until the channels are known; bounded by `ChannelLayout`'s time to decide. */
  #held: { readonly bytes: Uint8Array; readonly arrivalMs: number }[] = []
  #tags = 0
  /** A frame of the outbound track; null where the stream has none. */
  #right: Int16Array | null = null
  /** When the outbound track was last loud. */
  #agentLoudAtMs = -Infinity
  readonly #clock = new CaptureClock()

  constructor(options: CallerPathOptions) {
    const { sampleRateHz, track, vadBank } = options
    this.sampleRateHz = sampleRateHz
    this.#layout = new ChannelLayout({ sampleRateHz, track })
    this.#reframer = new Reframer({ sampleRateHz, channels: 1 })
    this.#detector =
      vadBank.openDetector?.(sampleRateHz) ?? new ComposedDetector({ sampleRateHz, vad: vadBank.open(sampleRateHz) })
    this.#keys = new KeyPresses(sampleRateHz)
    this.#pitch = new PitchTracker({ sampleRateHz })
    this.#band = sampleRateHz === 16_000 ? new LineBand() : null
    this.#jitter = new JitterBuffer({ sampleRateHz, slots: this.#detector.slots })
    this.frame = this.#jitter.frame
    this.#echoGate = new EchoGate({ assumeEcho: track === 'both_tracks' })
    this.#matcher = track === 'both_tracks' ? new EchoMatcher({ sampleRateHz }) : null
    this.#loudspeaker = new LoudspeakerEcho({ sampleRateHz })
    this.#loudspeakerGate = track === 'both_tracks' ? new EchoGate({ assumeEcho: false }) : null
  }

  /** Media time of the frame's end: samples received up to it x 1000 / rate. */
  get mediaMs(): number {
    return this.#jitter.mediaMs
  }

  /** When its last byte arrived. */
  get arrivalMs(): number {
    return this.#jitter.arrivalMs
  }

  /** True if the caller's line carries no more than a telephone's band; null while it is not known, and on legs of 8 kHz. */
  get narrowBand(): boolean | null {
    return this.#band?.narrow ?? null
  }

  /** A copy of the counters; allocates, for scrapes and records. */
  get stats(): CallerPathStats {
    return {
      bytesIn: this.#reframer.bytesIn,
      framesIn: this.#jitter.framesIn,
      framesOut: this.#jitter.framesOut,
      framesSkipped: this.#jitter.framesSkipped,
      framesDropped: this.#jitter.framesDropped,
      framesConcealed: this.#jitter.framesConcealed,
      framesOfEcho: this.#framesOfEcho,
      framesOfNoise: this.#framesOfNoise,
      noiseDbfs: this.#noiseDbfs,
      echoDelayMs: this.echoDelayMs,
      echoGainDb: this.#echoGainDb,
      stalls: this.#jitter.stalls,
      depthMs: this.#jitter.depthMs,
      framesWaiting: this.#jitter.waiting,
      channels: this.#layout.channels,
      digits: this.#digits,
    }
  }

  /** The learnt delay of our own echo; null where there is none. */
  get echoDelayMs(): number | null {
    return this.#matcher?.delayMs ?? this.#loudspeaker.delayMs
  }

  get #echoGainDb(): number | null {
    if (this.#matcher?.proven === true) return this.#matcher.gainDb
    return this.#loudspeaker.delayMs === null ? null : this.#loudspeaker.gainDb
  }

  /** Bytes of one binary frame from the carrier, any number; copied before return. */
  push(bytes: Uint8Array, arrivalMs: number): void {
    this.#layout.observe(bytes.length, arrivalMs)
    const { channels } = this.#layout
    if (channels === 0) {
      if (bytes.length > 0) this.#held.push({ bytes: bytes.slice(), arrivalMs })
      return
    }
    if (channels !== this.#reframer.channels) this.#changeChannels(channels)
    for (const packet of this.#held) this.#ingest(packet.bytes, packet.arrivalMs)
    if (this.#held.length > 0) this.#held = []
    this.#ingest(bytes, arrivalMs)
  }

  /** No frame is due before this time, unless `push` brings one; Infinity when only `push` can. */
  get dueMs(): number {
    return this.#jitter.dueMs
  }

  /** `take` and `detect` in one. False: no frame is due. */
  pull(nowMs: number): boolean {
    if (!this.take(nowMs)) return false
    this.detect()
    return true
  }

  /** First stage: the next frame that is due, with `levelDbfs`, `echo`, `concealed` and its times. `readMs` as in `JitterBuffer.pull`. */
  take(nowMs: number, readMs = nowMs): boolean {
    const got = this.#jitter.pull(nowMs, readMs)
    if (got === 'none') return false
    this.frame = this.#jitter.frame
    this.concealed = got === 'concealed'
    this.early = !this.concealed && this.#jitter.capturedAtMs < this.openedAtMs
    this.#tags = this.#jitter.tags
    this.levelDbfs = this.concealed ? this.#detector.levelDbfs(this.frame) : this.#jitter.levelDbfs
    this.echo = (this.#tags & TAG_ECHO) !== 0
    return true
  }

  /** Second stage: `voiced` and `digit` of the frame that was taken. */
  detect(): void {
    this.digit = null
    this.voiced = this.doubtful = false
    this.pitchHz = 0
    this.#pitch.take(this.frame)
    // A frame that we made up says nothing about the caller.
    if (this.concealed) return
    // Our own speech says nothing about the caller's line. While it is only expected to come back, a digit may be the
    // caller's.
    if ((this.#tags & TAG_LEARNT) !== 0) return
    this.#detector.detect(this.frame, this.levelDbfs)
    this.digit = this.#keys.press(this.frame, this.#detector.digit)
    // With noise or an echo of ours beside it, a key that is still held may look like voice, and so may what it leaves behind.
    const sinceKeyMs = this.#keys.sinceMs
    this.voiced = this.#detector.voiced && !this.echo && sinceKeyMs >= FRAME_MS
    this.doubtful = this.voiced && (this.#detector.doubtful || sinceKeyMs < KEY_TAIL_MS)
    if (this.voiced) {
      this.pitchHz = this.#pitch.pitchHz()
      if (!this.doubtful) this.#band?.take(this.frame)
    }
    if (this.digit !== null) this.#digits++
    this.#weighNoise()
  }

  /** Looks for stretches of sound without a voice. They decide nothing: the timeline says what was not taken for speech. */
  #weighNoise(): void {
    if (this.voiced || this.digit !== null) {
      this.#sinceVoiceFrames = 0
      this.#soundFrames = 0
      this.#soundDbfs = LEVEL_DBFS_MIN
      return
    }
    this.#sinceVoiceFrames++
    if ((this.#tags & TAG_LOUD) !== 0) {
      this.#quietFrames = 0
      if (this.#sinceVoiceFrames <= NEAR_VOICE_FRAMES) return
      this.#soundFrames++
      this.#soundDbfs = Math.max(this.#soundDbfs, this.levelDbfs)
      if (this.#soundFrames < NOISE_FRAMES_MAX) return
    } else if (++this.#quietFrames < NEAR_VOICE_FRAMES) return
    if (this.#soundFrames >= NOISE_FRAMES_MIN) {
      this.#framesOfNoise += this.#soundFrames
      this.#noiseDbfs = this.#soundDbfs
    }
    this.#soundFrames = 0
    this.#soundDbfs = LEVEL_DBFS_MIN
  }

  /** 20 ms that the carrier plays from `playedAtMs` on, so that their echo can be recognised. */
  playedReference(frame: Int16Array, playedAtMs: number): void {
    // A stereo stream contains its own reference, with the right time.
    if (this.#layout.channels === 2) return
    this.#loudspeakerGate?.reference(frame, playedAtMs)
    this.#loudspeaker.reference(frame, this.#echoGate.reference(frame, playedAtMs))
    this.#matcher?.reference(frame, playedAtMs)
  }

  /** Releases the memory of both kernels; the object must not be used afterwards. */
  release(): void {
    this.#detector.release()
    this.#loudspeaker.release()
  }

  #changeChannels(channels: 1 | 2): void {
    this.#reframer.setChannels(channels)
    this.#right = channels === 2 ? new Int16Array(frameSamples(this.sampleRateHz)) : null
    this.#echoGate = new EchoGate({ assumeEcho: channels === 1 })
    this.#loudspeaker.release()
    this.#loudspeaker = new LoudspeakerEcho({ sampleRateHz: this.sampleRateHz })
    this.#loudspeakerGate = channels === 1 ? new EchoGate({ assumeEcho: false }) : null
    this.#matcher = channels === 1 ? new EchoMatcher({ sampleRateHz: this.sampleRateHz }) : null
  }

  #ingest(bytes: Uint8Array, arrivalMs: number): void {
    const reframer = this.#reframer
    const right = this.#right
    reframer.push(bytes)
    for (let frame = this.#jitter.place(); reframer.next(frame, right); frame = this.#jitter.place())
      this.#enter(frame, right, arrivalMs)
  }

  /**
   * Measures a frame on its way into the jitter buffer.
   * @param left  the caller's frame, in the jitter buffer's place for it; our own speech is taken out of it there
   * @param right the outbound track of a stereo stream
   */
  #enter(left: Int16Array, right: Int16Array | null, arrivalMs: number): void {
    // When the carrier took this frame: on a line without jitter it would arrive at that time, plus a constant.
    const capturedAtMs = Math.min(arrivalMs, this.#jitter.expectedArrivalMs)
    const movedMs = this.#clock.movedMs(capturedAtMs, arrivalMs, this.#jitter)
    if (movedMs > 0) {
      this.#loudspeaker.disturbed(movedMs)
      this.#matcher?.disturbed(movedMs)
    }
    if (right !== null) {
      this.#echoGate.referenceAt(right, capturedAtMs - FRAME_MS)
      this.#loudspeaker.reference(right, capturedAtMs - FRAME_MS)
      this.#hear(levelDbfs(right), capturedAtMs - FRAME_MS)
    }
    let level = this.#detector.levelDbfs(left)
    const matcher = this.#matcher
    const match = matcher?.match(left, capturedAtMs) ?? 'unknown'
    const proven = matcher?.proven === true
    // The loudspeaker still sends back what was heard before the copy's delay moved.
    if (matcher !== null && matcher.movedMs > MOVED_MS_MIN) this.#loudspeaker.disturbed(matcher.movedMs)
    // After cancelling, the rest is the caller's speech, but its level says nothing about the line's noise.
    const cancelled = proven && (match === 'own' || match === 'mixed')
    const residue = cancelled ? (matcher?.cancel(left) ?? 1) : 1
    if (cancelled) level = this.#detector.levelDbfs(left)
    // As long as our own speech is in the frame, no other echo can be looked for.
    const sentAtMs = matcher?.sentAtMs ?? capturedAtMs
    const verdict = cancelled || !proven ? this.#loudspeaker.judge(left, sentAtMs, !proven) : 'unknown'
    const echo =
      verdict === 'unknown'
        ? cancelled
          ? residue < RESIDUE_SHARE || this.#isLoudspeaker(left, level, capturedAtMs)
          : this.#isEcho(match, left, level, capturedAtMs)
        : verdict === 'echo' || residue < RESIDUE_SHARE_LEARNT
    const loud = this.#gate.isOpen(level, !echo && !cancelled)
    if (echo && loud) this.#framesOfEcho++
    // After a stall, only frames that are surely not the caller may be skipped.
    const quiet = echo || (!loud && (this.#gate.settled || level < QUIET_DBFS))
    const learnt = echo && (verdict === 'unknown' ? match === 'own' || proven : this.#loudspeaker.dominates)
    this.#jitter.push(
      arrivalMs,
      quiet,
      level,
      (echo ? TAG_ECHO : loud && this.#gate.settled ? TAG_LOUD : 0) | (learnt ? TAG_LEARNT : 0),
    )
  }

  /** Looks for a beginning on the outbound track, in a frame that begins at `atMs`. */
  #hear(level: number, atMs: number): void {
    if (level < AGENT_DBFS_MIN) return
    if (atMs - this.#agentLoudAtMs >= AGENT_GAP_MS) this.agentHeardAtMs = atMs
    this.#agentLoudAtMs = atMs
  }

  #isLoudspeaker(frame: Int16Array, level: number, capturedAtMs: number): boolean {
    const gate = this.#loudspeakerGate
    return gate !== null && gate.awaits(capturedAtMs) && gate.isEcho(telephoneDbfs(frame), capturedAtMs, level)
  }

  #isEcho(match: EchoMatch, frame: Int16Array, level: number, capturedAtMs: number): boolean {
    if (match === 'own') return true
    const matcher = this.#matcher
    const gate = this.#echoGate
    if (matcher !== null && matcher.proven)
      return match !== 'clear' && gate.couldBeEcho(level, capturedAtMs, matcher.gainDb)
    return gate.awaits(capturedAtMs) && gate.isEcho(telephoneDbfs(frame), capturedAtMs, level)
  }
}

interface CallerPathOptions {
  readonly sampleRateHz: LegRateHz
  /** The track that the carrier was asked to fork. */
  readonly track: ForkedTrack
  readonly vadBank: VadBank
}

/** Plain counters of one call's caller side, copied at scrape. */
export interface CallerPathStats {
  bytesIn: number
  framesIn: number
  framesOut: number
  /** Silent frames given up to catch up. */
  framesSkipped: number
  /** Frames lost because a bound was hit. */
  framesDropped: number
  framesConcealed: number
  /** Audible frames that were taken for our own speech. */
  framesOfEcho: number
  /** Audible frames of stretches in which no voice was found, such as a cough or a door, and how loud the last one was. */
  framesOfNoise: number
  noiseDbfs: number
  /** The learnt delay of our own echo, and how much softer it comes back; null where there is none. */
  echoDelayMs: number | null
  echoGainDb: number | null
  stalls: number
  /** The learnt depth of the jitter buffer now. */
  depthMs: number
  /** Frames that wait in it now. */
  framesWaiting: number
  /** Channels of the stream; 0 while not known. */
  channels: 0 | 1 | 2
  /** DTMF digits. */
  digits: number
}

// `LoudspeakerEcho` follows less by itself.
const MOVED_MS_MIN = 20
// No line is so bad that such a gap is usual.
const GAP_MS = 80
const SETTLED_CLOCK_FRAMES = 10
const LATE_FRAMES = 8

/**
 * An echo's delay is known no better than the times of frames. Audio that is lost, or that waits on its way, moves it:
 * at first only a gap tells, then that frames stay late, and seconds later the jitter buffer sets its clock right.
 */
class CaptureClock {
  /** From a frame's media time to when the carrier took it, for how many frames it has been the same, and what it was before. */
  #offsetMs = NaN
  #framesSame = 0
  #settledMs = NaN
  #arrivalOffsetMs = NaN
  /** A gap before the last frame. */
  #gapMs = 0
  /** Frames in a row that came later than on a line without jitter, and by how much at least. */
  #lateFrames = 0
  #lateMs = Infinity

  /** @returns by how much an echo's delay may be another one from this frame on, earlier or later; mostly 0 */
  movedMs(capturedAtMs: number, arrivalMs: number, { framesIn, depthMs }: JitterBuffer): number {
    const offsetMs = capturedAtMs - framesIn * FRAME_MS
    const arrivalOffsetMs = arrivalMs - framesIn * FRAME_MS
    const gapMs = arrivalOffsetMs - this.#arrivalOffsetMs
    this.#arrivalOffsetMs = arrivalOffsetMs
    // Audio that only waited comes all at once behind the gap.
    let byMs = gapMs > Math.min(GAP_MS, depthMs + MOVED_MS_MIN) ? gapMs : gapMs > -FRAME_MS / 2 ? this.#gapMs : 0
    this.#gapMs = gapMs > 2 * MOVED_MS_MIN ? gapMs : 0
    if (Math.abs(offsetMs - this.#offsetMs) < 1) {
      if (++this.#framesSame === SETTLED_CLOCK_FRAMES) this.#settledMs = offsetMs
    } else {
      this.#framesSame = 0
      const movedMs = Math.abs(offsetMs - this.#settledMs)
      if (movedMs > MOVED_MS_MIN) byMs = Math.max(byMs, movedMs)
    }
    this.#offsetMs = offsetMs
    const lateMs = arrivalMs - capturedAtMs
    const wereLate = this.#lateFrames >= LATE_FRAMES
    if (lateMs > MOVED_MS_MIN) {
      this.#lateFrames++
      this.#lateMs = Math.min(this.#lateMs, lateMs)
    } else this.#lateFrames = 0
    if (wereLate !== this.#lateFrames >= LATE_FRAMES) byMs = Math.max(byMs, this.#lateMs)
    if (this.#lateFrames === 0) this.#lateMs = Infinity
    return byMs
  }
}

// 6 dB let 92 % of the speech through at 10 dB of noise.
const OPEN_OVER_FLOOR_DB = 6
// Quieter than any line with a person on it. Without it, faint noise after digital silence would open the gate.
const FLOOR_DBFS_MIN = -66
const FALL_SHARE = 0.2
const RISE_SHARE = 0.002
const RISE_DB_MAX = 0.02
// Levels of the last 640 ms. Speech moves by 6 to 15 dB in that time, steady noise by 1 to 3.
const WINDOW_FRAMES = 32
const STEADY_DEVIATION_DB = 3.5
const STEADY_SHARE = 0.1
const SETTLED_FRAMES = 50

/**
 * Tells loud frames from the noise of the line. The floor falls quickly and rises slowly, as speech would drag it up;
 * but a level that has been steady for 640 ms is noise however loud it is, and becomes the floor within the next 200
 * ms. So noise that is loud from the first frame, or that begins in mid-call, does not hold the gate open.
 */
export class EnergyGate {
  floorDbfs = LEVEL_DBFS_MIN
  readonly #levels = smallArray(Float32Array, WINDOW_FRAMES)
  #frames = 0
  #sum = 0
  #sumOfSquares = 0

  /** False in the first second: a call that begins with a voice has no floor yet. */
  get settled(): boolean {
    return this.#frames >= SETTLED_FRAMES
  }

  /**
   * @param feedsFloor false for a frame that says nothing about the line: our own echo
   * @param marginDb by how much the frame must be louder than the noise floor
   * @returns true when the frame is louder than the noise
   */
  isOpen(levelDbfs: number, feedsFloor: boolean, marginDb = OPEN_OVER_FLOOR_DB): boolean {
    if (feedsFloor) this.#learn(Math.max(levelDbfs, FLOOR_DBFS_MIN))
    return this.#frames > 0 && levelDbfs > this.floorDbfs + marginDb
  }

  #learn(level: number): void {
    if (this.#frames === 0) this.floorDbfs = level
    const slot = this.#frames % WINDOW_FRAMES
    const old = this.#levels[slot] as number
    // Rounded as the window stores it, so that exactly the added value is subtracted later.
    const rounded = Math.fround(level)
    this.#levels[slot] = rounded
    if (this.#frames >= WINDOW_FRAMES) {
      this.#sum -= old
      this.#sumOfSquares -= old * old
    }
    this.#sum += rounded
    this.#sumOfSquares += rounded * rounded
    this.#frames++

    const above = level - this.floorDbfs
    const mean = this.#sum / WINDOW_FRAMES
    if (this.#frames >= WINDOW_FRAMES && this.#sumOfSquares / WINDOW_FRAMES - mean * mean < STEADY_DEVIATION_DB ** 2) {
      this.floorDbfs += (mean - this.floorDbfs) * STEADY_SHARE
    } else if (above < 0) {
      this.floorDbfs += above * FALL_SHARE
    } else {
      this.floorDbfs += Math.min(RISE_DB_MAX, above * RISE_SHARE)
    }
  }
}
