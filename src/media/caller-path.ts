import { smallArray } from '../core/small-arrays.js'
import { FRAME_MS, frameSamples, type LegRateHz } from '../core/units.js'
import { EchoMatcher, type EchoMatch } from './echo/echo-canceller.js'
import { EchoGate, telephoneDbfs } from './echo/echo-gate.js'
import { LoudspeakerEcho } from './echo/loudspeaker-echo.js'
import { JitterBuffer } from './jitter/jitter-buffer.js'
import { LineBursts } from './jitter/line-bursts.js'
import { KeyPresses } from './key-presses.js'
import { LineBand } from './line-band.js'
import { LEVEL_DBFS_MIN, levelDbfs } from './pcm.js'
import { PitchTracker } from './pitch.js'
import { ChannelLayout, Reframer, type ForkedTrack } from './reframer.js'
import { VOICE_DBFS_MIN } from './vad/detection-limits.js'
import { ComposedDetector, type FrameDetector, type VadBank } from './vad/vad.js'

// Bits that describe a frame in the jitter buffer. An echo also has `TAG_LEARNT` if its delay and gain are known.
const TAG_ECHO = 1
const TAG_LEARNT = 2
const TAG_LOUD = 4
// Maximum distance in frames from a voiced frame to unvoiced sound that belongs to the same words. `NOISE_FRAMES_MIN`:
// minimum length in frames of noise; a shorter sound is a click.
const NEAR_VOICE_FRAMES = 15
const NOISE_FRAMES_MIN = 8
// Maximum length in frames of one noise; a longer noise is counted as several.
const NOISE_FRAMES_MAX = 50
// Attenuation, in dB, of a sound that is faded to silence.
const FADED_DB = 10 * Math.log10(3)
// Level below which a frame is quiet on any line, even before the line's noise is known.
const QUIET_DBFS = -55
// Maximum level in dB of steady noise above the noise floor.
const QUIET_OVER_FLOOR_DB = 3
const FULL_SCALE_POWER = 32_768 ** 2
// Share of our speech's power that remains after cancelling: -24 dB. When the loudspeaker's echo can be distinguished
// from the caller, it is -30 dB.
const RESIDUE_SHARE = 0.004
const RESIDUE_SHARE_LEARNT = 0.001
// Minimum level of the agent's voice on the outbound track. The track contains only the sound that is played to the
// caller, so everything else on it is comfort noise, which is far quieter.
const AGENT_DBFS_MIN = -45
// Time in ms after a DTMF tone until the detector and the echo canceller have forgotten the tone.
const KEY_TAIL_MS = 500
// Minimum gap in ms after which sound on the outbound track counts as a new start, such as an answer after a filler.
// Most gaps within speech are shorter.
const AGENT_GAP_MS = 160

/**
 * The caller side of one call. It turns the bytes of the socket into steady 20 ms frames with detections. Call `push`
 * with new bytes and, at each tick, `while (path.pull(nowMs)) { use its fields }`. For all calls of a worker, call
 * `take` on each call, then `detect` on each call that took a frame.
 *
 * If the line has a constant offset or mains hum, they are removed before level, voice and pitch are measured
 * (`LineFilter`). The frame for the model and the search for DTMF digits use the unfiltered line.
 *
 * A frame is copied once, from the packet into the jitter buffer, which is in the frame detector's memory. Level, echo
 * and noise floor are measured when the frame arrives, in order and without gaps. Voice, tones and DTMF digits are
 * detected when the frame leaves the buffer, so a burst does not load one tick.
 */
export class CallerPath {
  readonly sampleRateHz: LegRateHz
  /**
   * The last pulled frame: 20 ms of the caller's audio, mono, at the leg's rate. Valid until the next `push` or `pull`.
   */
  frame: Int16Array
  /**
   * True if the frame is the caller's speech: not echo, not a DTMF digit, not a tone. Each frame is judged alone,
   * without hang-over.
   */
  voiced = false
  /** True if the frame is voiced, but may be music or noise. */
  doubtful = false
  /** Level of the frame in dBFS, -96 to 0. */
  levelDbfs = LEVEL_DBFS_MIN
  /** Fundamental frequency of the voice in Hz; 0 in an unvoiced frame, or if the frequency is unknown. */
  pitchHz = 0
  /** DTMF digit (0-9, *, #, A-D) recognised in this frame, once per press; null if there is none. */
  digit: string | null = null
  /**
   * True if the carrier captured this frame before `openedAtMs`. The stream's first packet may contain more than a
   * second of such earlier audio.
   */
  early = false
  /** Time at which the stream opened, on the clock of the arrival times. The owner of this object sets it. */
  openedAtMs = -Infinity
  /** True if this frame was synthesised to bridge a stall (concealed). Such a frame is never voiced. */
  concealed = false
  /** True if this frame is an echo of the agent's speech. */
  echo = false
  /**
   * Time at which the caller last heard the agent begin to speak after a gap, measured on the outbound track. -Infinity
   * before the first time, and if the stream is not stereo.
   */
  agentHeardAtMs = -Infinity
  readonly #layout: ChannelLayout
  readonly #reframer: Reframer
  readonly #jitter: JitterBuffer
  readonly #bursts = new LineBursts()
  readonly #gate = new EnergyGate()
  #echoGate: EchoGate
  /**
   * Finds the loudspeaker's echo in the remaining audio. From this audio, the carrier's copy of the agent's speech has
   * been removed.
   */
  #loudspeaker: LoudspeakerEcho
  /**
   * Limits of the loudspeaker's echo while it is not found yet, in the same remaining audio. Null unless the carrier
   * mixes the agent's speech into the channel.
   */
  #loudspeakerGate: EchoGate | null
  /** Finds the agent's speech in the caller's channel; null if the carrier does not mix the speech into the channel. */
  #matcher: EchoMatcher | null
  #framesOfEcho = 0
  #framesOfNoise = 0
  #noiseDbfs = LEVEL_DBFS_MIN
  /**
   * Number of audible frames of the present sound. `#soundDbfs`: their level. `#quietFrames`: number of quiet frames
   * after them. `#sinceVoiceFrames`: number of frames since the last voice.
   */
  #soundFrames = 0
  #soundDbfs = LEVEL_DBFS_MIN
  #quietFrames = 0
  #sinceVoiceFrames = 0
  readonly #detector: FrameDetector
  readonly #pitch: PitchTracker
  /** Detects the band of the caller's line. Null on a leg that carries only the telephone band. */
  readonly #band: LineBand | null
  #digits = 0
  readonly #keys: KeyPresses
  /**
   * Packets that wait until the number of channels is known. `ChannelLayout` limits this time, and so the number of
   * packets.
   */
  #held: { readonly bytes: Uint8Array; readonly arrivalMs: number }[] = []
  #tags = 0
  /** Frame of the outbound track; null if the stream has no outbound track. */
  #right: Int16Array | null = null
  /** Time at which the outbound track last contained loud sound. */
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

  /** True if the line has a constant offset or mains hum. They are then excluded from level, voice and pitch. */
  get lineIsFaulty(): boolean {
    return this.#detector.lineIsFaulty
  }

  /** Time in ms by which the line's audio came late repeatedly in the last 20 s; 0 on a line without bursts. */
  get lineBurstMs(): number {
    return this.#bursts.burstMs
  }

  /** Number of channels of the stream; 1 until it is known. */
  get channels(): 1 | 2 {
    return this.#layout.channels === 2 ? 2 : 1
  }

  /** Maximum mean square of a quiet frame. Such a frame is as quiet as the line's noise, or too quiet for a voice. */
  get quietPower(): number {
    // The mean square covers both channels, and the second channel may be silent.
    return (FULL_SCALE_POWER * 10 ** (this.#quietDbfs / 10)) / this.channels
  }

  /** True if a frame above the quiet level is waiting. */
  get waitsLoud(): boolean {
    return this.#jitter.waitsAbove(this.#quietDbfs)
  }

  get #quietDbfs(): number {
    const { settled, floorDbfs } = this.#gate
    return settled ? Math.max(VOICE_DBFS_MIN, floorDbfs + QUIET_OVER_FLOOR_DB) : VOICE_DBFS_MIN
  }

  /** Media time of the frame's end in ms: number of samples received up to this end x 1000 / rate. */
  get mediaMs(): number {
    return this.#jitter.mediaMs
  }

  /** Arrival time of the frame's last byte. */
  get arrivalMs(): number {
    return this.#jitter.arrivalMs
  }

  /** True if the caller's line carries only the telephone band; null until known, and on legs of 8 kHz. */
  get narrowBand(): boolean | null {
    return this.#band?.narrow ?? null
  }

  /** Copy of the counters, for scrapes and records. Allocates memory. */
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

  /** Learnt delay of the agent's echo in ms; null if no echo was found. */
  get echoDelayMs(): number | null {
    return this.#matcher?.delayMs ?? this.#loudspeaker.delayMs
  }

  get #echoGainDb(): number | null {
    if (this.#matcher?.proven === true) return this.#matcher.gainDb
    return this.#loudspeaker.delayMs === null ? null : this.#loudspeaker.gainDb
  }

  /** Adds the bytes of one binary frame from the carrier. The number of bytes is arbitrary. The bytes are copied. */
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

  /** Time of the next due frame, unless `push` adds an earlier frame; Infinity if only `push` can make a frame due. */
  get dueMs(): number {
    return this.#jitter.dueMs
  }

  /**
   * Calls `take`, then `detect`.
   * @returns false if no frame is due
   */
  pull(nowMs: number): boolean {
    if (!this.take(nowMs)) return false
    this.detect()
    return true
  }

  /**
   * First stage: takes the next due frame. Sets `levelDbfs`, `echo`, `concealed` and the frame's times. For `readMs`
   * see `JitterBuffer.pull`.
   */
  take(nowMs: number, readMs = nowMs): boolean {
    const got = this.#jitter.pull(nowMs, readMs)
    if (got === 'none') return false
    this.frame = this.#jitter.frame
    this.concealed = got === 'concealed'
    this.early = !this.concealed && this.#jitter.capturedAtMs < this.openedAtMs
    this.#tags = this.#jitter.tags
    // A concealed frame is a copy of the previous frame that fades out.
    this.levelDbfs = this.concealed
      ? Math.max(LEVEL_DBFS_MIN, this.#jitter.levelDbfs - FADED_DB)
      : this.#jitter.levelDbfs
    this.echo = (this.#tags & TAG_ECHO) !== 0
    return true
  }

  /** Second stage: sets `voiced` and `digit` of the taken frame. */
  detect(): void {
    this.digit = null
    this.voiced = this.doubtful = false
    this.pitchHz = 0
    this.#pitch.take(this.frame, this.lineIsFaulty)
    // A concealed frame contains no information about the caller.
    if (this.concealed) return
    // A frame of the agent's speech contains no information about the caller's line. If the agent's speech is expected
    // but not found in the frame, a digit in it may be the caller's.
    if ((this.#tags & TAG_LEARNT) !== 0) return
    this.#detector.detect(this.frame, this.levelDbfs)
    this.digit = this.#keys.press(this.frame, this.#detector.digit)
    // The sound of a DTMF key, and of the time just after it, may look like voice if it is mixed with noise or echo.
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

  /** Counts sounds without voice, only for the timeline. */
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

  /** Adds 20 ms that the carrier plays from `playedAtMs`, so that the echo of this audio can be recognised. */
  playedReference(frame: Int16Array, playedAtMs: number): void {
    // A stereo stream already contains the reference at the right time.
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
    const before = this.#jitter.framesIn
    for (let frame = this.#jitter.place(); reframer.next(frame, right); frame = this.#jitter.place())
      this.#enter(frame, right, arrivalMs)
    if (this.#jitter.framesIn > before) this.#bursts.packet(this.#jitter.latenessMs, arrivalMs)
  }

  /**
   * Measures a frame before it enters the jitter buffer.
   * @param left the caller's frame; the agent's speech is removed in place
   * @param right the outbound track of a stereo stream
   */
  #enter(left: Int16Array, right: Int16Array | null, arrivalMs: number): void {
    // Time at which the carrier captured this frame, plus the constant delay of the path to us. Without jitter, the
    // frame arrives at this time.
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
    const matcher = this.#matcher
    const match = matcher?.match(left, capturedAtMs) ?? 'unknown'
    const proven = matcher?.proven === true
    // The delay of the carrier's copy has moved. For a while the loudspeaker still returns sound that was sent before
    // this move.
    if (matcher !== null && matcher.movedMs > MOVED_MS_MIN) this.#loudspeaker.disturbed(matcher.movedMs)
    // After cancelling, the remaining audio is the caller's speech. Its level contains no information about the line's
    // noise.
    const cancelled = proven && (match === 'own' || match === 'mixed')
    const residue = cancelled ? (matcher?.cancel(left) ?? 1) : 1
    const level = this.#detector.levelDbfs(left)
    // A loudspeaker echo can be found only after the agent's speech was removed from the frame.
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
    // After a stall, only frames that are certainly not the caller's speech may be skipped.
    const quiet = echo || (!loud && (this.#gate.settled || level < QUIET_DBFS))
    const learnt = echo && (verdict === 'unknown' ? match === 'own' || proven : this.#loudspeaker.dominates)
    this.#jitter.push(
      arrivalMs,
      quiet,
      level,
      (echo ? TAG_ECHO : loud && this.#gate.settled ? TAG_LOUD : 0) | (learnt ? TAG_LEARNT : 0),
    )
  }

  /** Finds the start of sound on the outbound track, in a frame that begins at `atMs`. */
  #hear(level: number, atMs: number): void {
    if (level < AGENT_DBFS_MIN) return
    if (atMs - this.#agentLoudAtMs >= AGENT_GAP_MS) this.agentHeardAtMs = atMs
    this.#agentLoudAtMs = atMs
  }

  #isLoudspeaker(frame: Int16Array, level: number, capturedAtMs: number): boolean {
    const gate = this.#loudspeakerGate
    return (
      gate !== null && gate.awaits(capturedAtMs) && gate.isEcho(this.#narrowDbfs(frame, level), capturedAtMs, level)
    )
  }

  #isEcho(match: EchoMatch, frame: Int16Array, level: number, capturedAtMs: number): boolean {
    if (match === 'own') return true
    const matcher = this.#matcher
    const gate = this.#echoGate
    if (matcher !== null && matcher.proven)
      return match !== 'clear' && gate.couldBeEcho(level, capturedAtMs, matcher.gainDb)
    return gate.awaits(capturedAtMs) && gate.isEcho(this.#narrowDbfs(frame, level), capturedAtMs, level)
  }

  /**
   * Returns the level of a frame below 4 kHz. If the line has an offset or hum, it returns `level`, which excludes
   * both.
   */
  #narrowDbfs(frame: Int16Array, level: number): number {
    return this.lineIsFaulty ? level : telephoneDbfs(frame)
  }
}

interface CallerPathOptions {
  readonly sampleRateHz: LegRateHz
  /** Track that we requested from the carrier. */
  readonly track: ForkedTrack
  readonly vadBank: VadBank
}

/** Counters of one call's caller side, as plain data. They are copied at each scrape. */
export interface CallerPathStats {
  bytesIn: number
  framesIn: number
  framesOut: number
  /** Number of silent frames skipped to reduce the delay. */
  framesSkipped: number
  /** Number of frames lost because a limit was reached. */
  framesDropped: number
  framesConcealed: number
  /** Number of audible frames that were classified as the agent's speech. */
  framesOfEcho: number
  /**
   * Number of audible frames that belong to sounds without voice, such as a cough or a door. `noiseDbfs`: the level of
   * the last such sound.
   */
  framesOfNoise: number
  noiseDbfs: number
  /** Learnt delay of the agent's echo in ms, and the echo's gain; null if no echo was found. */
  echoDelayMs: number | null
  echoGainDb: number | null
  stalls: number
  /** Current depth of the jitter buffer. */
  depthMs: number
  /** Frames waiting in the jitter buffer. */
  framesWaiting: number
  /** Channels of the stream; 0 until known. */
  channels: 0 | 1 | 2
  /** DTMF digits. */
  digits: number
}

// Minimum move in ms of the delay that resets `LoudspeakerEcho`. The class itself follows smaller moves.
const MOVED_MS_MIN = 20
// Minimum length in ms of a gap that is unusual even on the worst line.
const GAP_MS = 80
const SETTLED_CLOCK_FRAMES = 10
const LATE_FRAMES = 8

/**
 * Detects that an echo's delay may have moved, because audio was lost or delayed. The first sign is a gap. Later signs
 * are late frames, and a correction of the jitter buffer's clock.
 */
class CaptureClock {
  /**
   * Difference in ms between the carrier's time and the media time of the last frame. `#framesSame`: number of frames
   * with this difference. `#settledMs`: the last difference that was stable.
   */
  #offsetMs = NaN
  #framesSame = 0
  #settledMs = NaN
  #arrivalOffsetMs = NaN
  /** Duration in ms of the gap before the last frame. */
  #gapMs = 0
  /** Number of consecutive late frames. `#lateMs`: their minimum lateness in ms. */
  #lateFrames = 0
  #lateMs = Infinity

  /**
   * @returns the maximum distance in ms by which an echo's delay may have moved at this frame, in either direction;
   * usually 0
   */
  movedMs(capturedAtMs: number, arrivalMs: number, { framesIn, depthMs }: JitterBuffer): number {
    const offsetMs = capturedAtMs - framesIn * FRAME_MS
    const arrivalOffsetMs = arrivalMs - framesIn * FRAME_MS
    const gapMs = arrivalOffsetMs - this.#arrivalOffsetMs
    this.#arrivalOffsetMs = arrivalOffsetMs
    // Audio that was only delayed arrives all at once after the gap. The delay of the echo has not moved then.
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

// Distance in dB from the noise floor at which the gate opens. The gate then passes 92 % of speech that is 10 dB louder
// than the noise.
const OPEN_OVER_FLOOR_DB = 6
// Minimum noise floor, because no line with a person on it is this quiet. Without this limit, faint noise after digital
// silence would open the gate.
const FLOOR_DBFS_MIN = -66
const FALL_SHARE = 0.2
const RISE_SHARE = 0.002
const RISE_DB_MAX = 0.02
// Number of frames whose levels are stored: 640 ms. In this time the level of speech varies by 6 to 15 dB; the level of
// steady noise varies by 1 to 3 dB.
const WINDOW_FRAMES = 32
const STEADY_DEVIATION_DB = 3.5
const STEADY_SHARE = 0.1
const SETTLED_FRAMES = 50

/**
 * Distinguishes loud frames from the line's noise. The noise floor falls quickly. It rises slowly, so that speech does
 * not raise it. A level that is steady for 640 ms counts as noise, and the floor reaches it within 200 ms. So even loud
 * noise closes the gate again.
 */
export class EnergyGate {
  floorDbfs = LEVEL_DBFS_MIN
  readonly #levels = smallArray(Float32Array, WINDOW_FRAMES)
  #frames = 0
  #sum = 0
  #sumOfSquares = 0

  /** False in the first second. The floor is not known then, because the call may begin with a voice. */
  get settled(): boolean {
    return this.#frames >= SETTLED_FRAMES
  }

  /**
   * @param feedsFloor  false for the agent's echo, which must not change it
   * @param marginDb  minimum distance in dB from the noise floor
   * @returns true if the frame is louder than the noise
   */
  isOpen(levelDbfs: number, feedsFloor: boolean, marginDb = OPEN_OVER_FLOOR_DB): boolean {
    if (feedsFloor) this.#learn(Math.max(levelDbfs, FLOOR_DBFS_MIN))
    return this.#frames > 0 && levelDbfs > this.floorDbfs + marginDb
  }

  #learn(level: number): void {
    if (this.#frames === 0) this.floorDbfs = level
    const slot = this.#frames % WINDOW_FRAMES
    const old = this.#levels[slot] as number
    // The level is rounded like the stored value. So the subtraction later removes exactly the value that was added
    // here.
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
