import { FRAME_MS, type LegRateHz } from '../core/units.js'
import { decodeMuLaw, encodeMuLaw, energyOf, peakOf } from '../media/pcm.js'
import { nearlyNormal, seededRandom } from './random.js'

/** Level to which every simulated voice is adjusted before the line. */
export const SPEECH_LEVEL_DBFS = -20

export interface LineOptions {
  /** Rate in Hz. 8 kHz is a phone line (mu-law); 16 kHz is a softphone without a phone line. */
  readonly sampleRateHz: LegRateHz
  /** Level of the background noise below a voice at `SPEECH_LEVEL_DBFS`, in dB; null for no noise. */
  readonly snrDb?: number | null
  /** Kind of the noise. Default: white. */
  readonly noise?: NoiseKind
  /** One loop of the noise, RMS 1, for all kinds except white (`noiseBed`). */
  readonly noiseBed?: Float32Array | null
  /** Loss of frames between phone and carrier, in both directions; null for no loss. */
  readonly loss?: LineLoss | null
  /** Level of the caller's voice relative to `SPEECH_LEVEL_DBFS`. Default: 0. */
  readonly gainDb?: number
  /** Echo of the agent's voice from the caller's loudspeaker; null for none. */
  readonly echo?: LineEcho | null
  readonly seed?: number
  /**
   * Duration in ms of the carrier's first message, which contains the line's sound before the stream opened; maximum
   * 1900. Default: `OPENING_MS`.
   */
  readonly openingMs?: number
  /**
   * Sound of a phone whose user is silent. `line`: its microphone's sound. `nothing`: exact silence, without packets.
   * `comfort-noise`: noise instead of packets (RFC 3389). Default: `line`.
   */
  readonly pauses?: 'line' | 'nothing' | 'comfort-noise'
}

/** Duration in ms of the carrier's first message as seen in production: 39,040 bytes at 16 kHz. */
export const OPENING_MS = 1220

/** Packets lost in bursts: the two-state model of Gilbert. */
interface LineLoss {
  /** Share of all frames, 0 to 0.5. */
  readonly share: number
  /** Mean number of consecutive lost frames. */
  readonly burstFrames: number
}

/** A network stall at a set time. */
export interface Stall {
  /** Time since the stream opened, in milliseconds. */
  readonly atMs: number
  readonly ms: number
}

/**
 * Types of phones that return the agent's voice as an echo. `plain` delays and attenuates it. `speakerphone` also clips
 * it, moves its delay, adds the walls' reflections and levels the microphone.
 */
export const ECHO_PHONES = ['plain', 'speakerphone'] as const
export type EchoPhone = (typeof ECHO_PHONES)[number]

export const ECHO_DELAY_MS_MAX = 1000

/** One caller's line: both directions, frame by frame. */
export class PhoneLine {
  readonly sampleRateHz: LegRateHz
  readonly #gain: number
  readonly #noiseRms: number
  readonly #random: () => number
  readonly #echo: AgentEcho | null
  readonly #levelling: MicrophoneLevelling | null
  readonly #suppression: SilenceSuppression | null
  readonly #bed: Float32Array | null
  #bedAt = 0
  readonly #lossUp: FrameLoss | null
  readonly #lossDown: FrameLoss | null

  constructor(options: LineOptions) {
    this.sampleRateHz = options.sampleRateHz
    this.#gain = dbToGain(options.gainDb ?? 0)
    this.#noiseRms = typeof options.snrDb === 'number' ? 32_768 * dbToGain(SPEECH_LEVEL_DBFS - options.snrDb) : 0
    this.#random = seededRandom(options.seed ?? 1)
    const echo = options.echo ?? null
    this.#echo = echo === null ? null : new AgentEcho(echo, options.sampleRateHz, options.seed ?? 1)
    this.#levelling = echo?.phone === 'speakerphone' ? new MicrophoneLevelling() : null
    this.#bed = options.noiseBed ?? null
    const { pauses = 'line', seed = 1 } = options
    this.#suppression =
      pauses === 'line'
        ? null
        : new SilenceSuppression(this.#noiseRms, pauses === 'nothing' ? null : seededRandom(seed ^ 0xc0f0))
    const { loss } = options
    // Losses use separate random sources, so that losses do not change the noise of a seed.
    this.#lossUp = loss == null ? null : new FrameLoss(loss, seededRandom((options.seed ?? 1) ^ 0x5eed))
    this.#lossDown = loss == null ? null : new FrameLoss(loss, seededRandom((options.seed ?? 1) ^ 0xd0c5))
  }

  /** Processes the caller's voice towards the carrier: level, echo, noise, codec. In place. */
  up(frame: Int16Array): void {
    for (let i = 0; i < frame.length; i++) {
      let sample = this.#gain * (frame[i] as number)
      if (this.#echo !== null) sample += this.#echo.next()
      if (this.#noiseRms > 0) sample += this.#noiseRms * this.#noise()
      frame[i] = clamp(sample)
    }
    this.#levelling?.level(frame)
    this.#suppression?.suppress(frame)
    if (this.sampleRateHz === 8000) throughPhoneCodec(frame)
    if (this.#lossUp?.next() === true) frame.fill(0)
  }

  /**
   * Processes the carrier's sound towards the caller: codec. In place. Call this method after `up` for the same 20 ms.
   */
  down(frame: Int16Array): void {
    if (this.sampleRateHz === 8000) throughPhoneCodec(frame)
    if (this.#lossDown?.next() === true) frame.fill(0)
    this.#echo?.played(frame)
  }

  #noise(): number {
    const bed = this.#bed
    if (bed === null) return nearlyNormal(this.#random)
    this.#bedAt = (this.#bedAt + 1) % bed.length
    return bed[this.#bedAt] as number
  }
}

interface LineEcho {
  /** Level of the echo relative to the agent's voice, 0 or less. */
  readonly levelDb: number
  /** Delay in ms, 20 to 1000. */
  readonly delayMs: number
  /** Default: plain. */
  readonly phone?: EchoPhone
}

export function dbToGain(db: number): number {
  return 10 ** (db / 20)
}

/** The agent's voice between the caller's loudspeaker and the caller's microphone. */
class AgentEcho {
  readonly #gain: number
  readonly #sampleRateHz: number
  readonly #delay: number
  readonly #speakerphone: boolean
  readonly #random: () => number
  readonly #ring: Float32Array
  readonly #highPassKeeps: number
  /** Number of samples that were played, and number of samples that were read. */
  #written = 0
  #read = 0
  #highPass = 0
  #last = 0
  #jump = 0
  #jumpAt = 0

  constructor(echo: LineEcho, sampleRateHz: number, seed: number) {
    this.#gain = dbToGain(echo.levelDb)
    this.#sampleRateHz = sampleRateHz
    const delayMs = Math.min(ECHO_DELAY_MS_MAX, Math.max(FRAME_MS, echo.delayMs))
    this.#delay = Math.round((delayMs * sampleRateHz) / 1000)
    this.#speakerphone = echo.phone === 'speakerphone'
    this.#random = seededRandom(seed ^ 0xecc0)
    this.#highPassKeeps = Math.exp((-2 * Math.PI * LOUDSPEAKER_FROM_HZ) / sampleRateHz)
    this.#ring = new Float32Array(2 * ECHO_DELAY_MS_MAX * (sampleRateHz / 1000))
  }

  played(frame: Int16Array): void {
    for (const sample of frame) this.#ring[this.#written++ % this.#ring.length] = this.#loudspeaker(sample)
  }

  next(): number {
    const at = this.#read++
    if (!this.#speakerphone) return this.#gain * this.#at(at - this.#delay)
    const late = this.#delay + this.#moved(at)
    let sample = this.#at(at - late)
    for (const [ms, gain] of WALLS) sample += gain * this.#at(at - late - (ms * this.#sampleRateHz) / 1000)
    return this.#gain * SPEAKERPHONE_GAIN * sample
  }

  /** Small loudspeakers do not play bass, and they clip loud sound. */
  #loudspeaker(sample: number): number {
    if (!this.#speakerphone) return sample
    this.#highPass = this.#highPassKeeps * (this.#highPass + sample - this.#last)
    this.#last = sample
    const pushed = this.#highPass / CLIPS_AT
    return CLIPS_AT * (pushed > 1 ? 1 : pushed < -1 ? -1 : pushed - 0.2 * pushed * Math.abs(pushed))
  }

  /** Additional delay in samples, from the drift of a clock and from jumps of a buffer in the phone. */
  #moved(at: number): number {
    if (at >= this.#jumpAt) {
      this.#jump = 2 * DELAY_JUMP_MS * this.#random() - DELAY_JUMP_MS
      this.#jumpAt = at + this.#sampleRateHz * (2 + 4 * this.#random())
    }
    const wandersMs = DELAY_WANDERS_MS * Math.sin((2 * Math.PI * at) / (this.#sampleRateHz * 9))
    return Math.max(-this.#delay, ((this.#jump + wandersMs) * this.#sampleRateHz) / 1000)
  }

  /** The sample at `position`, interpolated for a fraction; silence before the first and after the last. */
  #at(position: number): number {
    const whole = Math.floor(position)
    const share = position - whole
    return (1 - share) * this.#sampleAt(whole) + (share === 0 ? 0 : share * this.#sampleAt(whole + 1))
  }

  #sampleAt(position: number): number {
    if (position < 0 || position >= this.#written || position < this.#written - this.#ring.length) return 0
    return this.#ring[position % this.#ring.length] as number
  }
}

// Clipping level. Voices at SPEECH_LEVEL_DBFS have an RMS of 3277 and peaks of 15,000, so most of each vowel is
// clipped.
const CLIPS_AT = 4000
const LOUDSPEAKER_FROM_HZ = 350
/**
 * Gain after the high pass and the clipping. Together with the level that the walls add, it restores a voice to
 * `SPEECH_LEVEL_DBFS`. Measured with three people: 4.1 to 5.2 dB.
 */
const SPEAKERPHONE_GAIN = 1.7
/** Reflections: their delay in milliseconds, and their gain. */
const WALLS = [
  [4.3, -0.5],
  [11.1, 0.4],
  [23.7, -0.28],
  [41.9, 0.18],
  [67.3, -0.1],
] as const
const DELAY_JUMP_MS = 12
const DELAY_WANDERS_MS = 8

/** Moves the level of a microphone's sound towards `SPEECH_LEVEL_DBFS`: down within 60 ms, up within seconds. */
class MicrophoneLevelling {
  #db = 0

  level(frame: Int16Array): void {
    const rms = rmsOf(frame)
    const from = this.#db
    if (rms > LEVELS_FROM_RMS) {
      const off = SPEECH_LEVEL_DBFS - 20 * Math.log10(rms / 32_768)
      const wanted = Math.max(-LEVELS_DB_MAX, Math.min(LEVELS_DB_MAX, off))
      this.#db += (wanted - from) * (wanted < from ? 0.3 : 0.02)
    }
    for (let i = 0; i < frame.length; i++)
      frame[i] = clamp((frame[i] as number) * dbToGain(from + ((this.#db - from) * i) / frame.length))
  }
}

const LEVELS_DB_MAX = 9
const LEVELS_FROM_RMS = 60

/** A phone that stops sending 200 ms after its user's last word. */
class SilenceSuppression {
  readonly #silentBelowRms: number
  readonly #comfortRms: number
  readonly #random: (() => number) | null
  #silentFrames = 0

  /** @param random  source for the comfort noise; null for silence */
  constructor(noiseRms: number, random: (() => number) | null) {
    this.#silentBelowRms = Math.max(SILENT_BELOW_RMS_MIN, 2 * noiseRms)
    this.#comfortRms = Math.max(COMFORT_RMS_MIN, noiseRms)
    this.#random = random
  }

  suppress(frame: Int16Array): void {
    this.#silentFrames = rmsOf(frame) >= this.#silentBelowRms ? 0 : this.#silentFrames + 1
    if (this.#silentFrames <= HANGOVER_FRAMES) return
    const random = this.#random
    for (let i = 0; i < frame.length; i++)
      frame[i] = random === null ? 0 : clamp(this.#comfortRms * nearlyNormal(random))
  }
}

const HANGOVER_FRAMES = 10
const SILENT_BELOW_RMS_MIN = 60
const COMFORT_RMS_MIN = 20

/** Decides which frames are lost. */
class FrameLoss {
  readonly #enter: number
  readonly #leave: number
  readonly #random: () => number
  #lost = false

  constructor(loss: LineLoss, random: () => number) {
    this.#leave = 1 / loss.burstFrames
    this.#enter = Math.min(1, (loss.share * this.#leave) / (1 - loss.share))
    this.#random = random
  }

  next(): boolean {
    this.#lost = this.#lost ? this.#random() >= this.#leave : this.#random() < this.#enter
    return this.#lost
  }
}

/** Converts `frame` to the 8 bits of a phone line (G.711 mu-law) and back, in place. */
export function throughPhoneCodec(frame: Int16Array): void {
  const bytes = new Uint8Array(frame.length)
  encodeMuLaw(frame, bytes)
  decodeMuLaw(bytes, frame)
}

/** RMS of a piece of audio, 0 to 32,768. */
export function rmsOf(pcm: Int16Array): number {
  return pcm.length === 0 ? 0 : Math.sqrt(energyOf(pcm) / pcm.length)
}

/** @returns a copy of `pcm` at `SPEECH_LEVEL_DBFS`, measured over its voiced frames. The copy never clips */
export function atSpeechLevel(pcm: Int16Array, sampleRateHz: number): Int16Array {
  const frame = (sampleRateHz * FRAME_MS) / 1000
  let sum = 0
  let frames = 0
  for (let at = 0; at + frame <= pcm.length; at += frame) {
    const rms = rmsOf(pcm.subarray(at, at + frame))
    if (rms < 200) continue
    sum += rms * rms
    frames++
  }
  if (frames === 0) return pcm.slice()
  const gain = Math.min((32_768 * dbToGain(SPEECH_LEVEL_DBFS)) / Math.sqrt(sum / frames), 32_000 / peakOf(pcm))
  return pcm.map((sample) => Math.round(gain * sample))
}

/** Background noise around a caller: a hiss, other people, traffic, a newsreader. */
export const NOISE_KINDS = ['white', 'babble', 'street', 'television'] as const
type NoiseKind = (typeof NOISE_KINDS)[number]

/** Duration of the noise loop in seconds: long enough that the repetition is not noticed. */
const BED_S = 8
const TALKERS = 6
const ANNOUNCER_GAP_S = 0.25
const HORNS = 2
const ENGINES = 3

/** Sentences of the people around a caller. */
export const BABBLE_SENTENCES = [
  'The bus to town was late again this morning, so we walked.',
  'Did you see the match last night? They should have won it.',
  'I told her to bring the blue one, not the green one.',
  'We will need another table if everybody comes on Saturday.',
  'He said the road is closed until the end of the month.',
  'Can you pass me the salt, please, and two of those cups?',
] as const

/**
 * Makes noise for a line, with RMS 1, repeatable by its seed.
 * @param voices  speech at the line's rate. Babble: one voice for each talker. Television: voices in sequence
 */
export function noiseBed(
  kind: Exclude<NoiseKind, 'white'>,
  rateHz: number,
  seed: number,
  voices: readonly Int16Array[],
): Float32Array {
  const bed = new Float32Array(BED_S * rateHz)
  const random = seededRandom(seed)
  if (kind === 'babble') addTalkers(bed, voices, random)
  else if (kind === 'television') addAnnouncer(bed, voices)
  else addStreet(bed, rateHz, random)
  let power = 0
  for (const sample of bed) power += sample * sample
  const rms = Math.sqrt(power / bed.length)
  return rms === 0 ? bed : bed.map((sample) => sample / rms)
}

/** Adds six people who talk without a pause. Each of them starts at a different position in the sentence. */
function addTalkers(bed: Float32Array, voices: readonly Int16Array[], random: () => number): void {
  for (let talker = 0; talker < TALKERS; talker++) {
    const voice = voices[talker % Math.max(1, voices.length)]
    if (voice === undefined || voice.length === 0) return
    const gain = 0.5 + random()
    let at = Math.floor(random() * voice.length)
    for (let i = 0; i < bed.length; i++) {
      bed[i] = (bed[i] as number) + gain * (voice[at] as number)
      at = at + 1 === voice.length ? 0 : at + 1
    }
  }
}

/** One sentence after another. */
function addAnnouncer(bed: Float32Array, voices: readonly Int16Array[]): void {
  let at = 0
  for (let index = 0; at < bed.length && voices.length > 0; index++) {
    const voice = voices[index % voices.length] ?? new Int16Array(0)
    bed.set(voice.subarray(0, bed.length - at), at)
    at += voice.length + Math.round(ANNOUNCER_GAP_S * (bed.length / BED_S))
  }
}

/** Adds a low rumble that grows as cars pass, engines with their harmonics, and two horns. */
function addStreet(bed: Float32Array, rateHz: number, random: () => number): void {
  let rumble = 0
  for (let i = 0; i < bed.length; i++) {
    rumble = 0.97 * rumble + (random() - 0.5)
    bed[i] = rumble
  }
  for (let engine = 0; engine < ENGINES; engine++) {
    const hz = 45 + 60 * random()
    const passesAtS = random() * BED_S
    for (let i = 0; i < bed.length; i++) {
      // The distance wraps, so that the loop repeats without a jump.
      const awayS = Math.abs(((i / rateHz - passesAtS + 1.5 * BED_S) % BED_S) - BED_S / 2)
      const near = Math.exp(-(awayS * awayS) / 1.5)
      let wave = 0
      for (let harmonic = 1; harmonic <= 8; harmonic++)
        wave += Math.sin((2 * Math.PI * hz * harmonic * i) / rateHz) / harmonic
      bed[i] = (bed[i] as number) * (1 + 0.6 * near) + near * wave
    }
  }
  for (let horn = 0; horn < HORNS; horn++) {
    const from = Math.floor(random() * (BED_S - 1) * rateHz)
    const hz = 380 + 80 * random()
    for (let i = 0; i < rateHz * 0.4; i++) {
      bed[from + i] =
        (bed[from + i] as number) +
        0.8 * (Math.sin((2 * Math.PI * hz * i) / rateHz) + Math.sin((2 * Math.PI * hz * 1.26 * i) / rateHz))
    }
  }
}

/** Frequencies of DTMF digits, ITU-T Q.23. */
const ROWS_HZ = [697, 770, 852, 941] as const
const COLUMNS_HZ = [1209, 1336, 1477, 1633] as const
const KEYS = ['123A', '456B', '789C', '*0#D'] as const
const FADE_S = 0.002
/** Duration in ms of a DTMF tone, and of the silence after it. */
export const KEY_MS = 100

/** True if `text` consists of DTMF digits only. */
export function areDtmfDigits(text: string): boolean {
  return /^[0-9*#A-D]+$/.test(text)
}

function addTone(
  out: Int16Array,
  options: { from: number; samples: number; frequencyHz: number; peak: number; rateHz: number },
): void {
  const { from, samples, frequencyHz, peak, rateHz } = options
  const fade = Math.floor(FADE_S * rateHz)
  for (let i = 0; i < samples && from + i < out.length; i++) {
    const gain = Math.min(1, (i + 1) / fade, (samples - i) / fade)
    const sample = (out[from + i] as number) + gain * peak * Math.sin((2 * Math.PI * frequencyHz * i) / rateHz)
    out[from + i] = Math.round(sample)
  }
}

/**
 * The tones of DTMF digits: 100 ms of tone and 100 ms of silence for each. Levels -10 and -12 dBFS: the higher tone is
 * a little louder, as on phones (ITU-T Q.23/Q.24).
 * @throws RangeError if `digits` contains another character
 */
export function dtmfTones(digits: string, rateHz: number): Int16Array {
  if (!areDtmfDigits(digits)) throw new RangeError('keys are 0-9, *, # and A-D')
  const toneSamples = Math.round((rateHz * KEY_MS) / 1000)
  const out = new Int16Array(digits.length * toneSamples * 2)
  for (const [index, digit] of [...digits].entries()) {
    const row = KEYS.findIndex((keys) => keys.includes(digit))
    const column = (KEYS[row] as string).indexOf(digit)
    const from = index * toneSamples * 2
    addTone(out, { from, samples: toneSamples, frequencyHz: ROWS_HZ[row] as number, peak: 8200, rateHz })
    addTone(out, { from, samples: toneSamples, frequencyHz: COLUMNS_HZ[column] as number, peak: 10_300, rateHz })
  }
  return out
}

/** The ringing tone that a caller hears: 425 Hz, one second in five (ITU-T E.180). */
export function ringingTone(durationMs: number, rateHz: number): Int16Array {
  const out = new Int16Array(Math.round((durationMs * rateHz) / 1000))
  for (let from = 0; from < out.length; from += 5 * rateHz) {
    addTone(out, { from, samples: Math.min(rateHz, out.length - from), frequencyHz: 425, peak: 3000, rateHz })
  }
  return out
}

export function beep(rateHz: number): Int16Array {
  const out = new Int16Array(Math.round(rateHz * 0.3))
  addTone(out, { from: 0, samples: out.length, frequencyHz: 1000, peak: 6000, rateHz })
  return out
}

const HALF_TAPS = 23
/** The pass band of telephony ends at 3.4 kHz; the transition is 3.4-4.6 kHz at 16 kHz. */
const taps = windowedSinc(HALF_TAPS)

/** A low-pass filter at a quarter of the rate, with a Blackman window. Every second tap is 0, except the middle tap. */
function windowedSinc(half: number): Float64Array {
  const filter = new Float64Array(2 * half + 1)
  let sum = 0
  for (let i = -half; i <= half; i++) {
    const sinc = i === 0 ? 0.5 : Math.sin((Math.PI * i) / 2) / (Math.PI * i)
    const phase = (Math.PI * (i + half + 1)) / (half + 1)
    const value = sinc * (0.42 - 0.5 * Math.cos(phase) + 0.08 * Math.cos(2 * phase))
    filter[i + half] = value
    sum += value
  }
  return filter.map((value) => value / sum)
}

/** Rounds to the nearest sample value. */
export function clamp(value: number): number {
  return Math.max(-32_768, Math.min(32_767, Math.round(value)))
}

/**
 * Doubles or halves a sample rate, frame by frame. The filter does not use the gateway's resamplers, because a fault in
 * a shared filter would not be noticed. Each direction of a leg needs its own instance. Delay: 23 samples of the higher
 * rate (1.4 ms at 16 kHz).
 */
export class HalfBand {
  readonly #history = new Float64Array(2 * HALF_TAPS)

  /** @param out twice as long as `frame`, overwritten. */
  double(frame: Int16Array, out: Int16Array): void {
    const high = new Float64Array(out.length)
    for (let i = 0; i < frame.length; i++) high[2 * i] = 2 * (frame[i] as number)
    this.#filter(high, out, 1)
  }

  /** @param out half as long as `frame`, overwritten. */
  halve(frame: Int16Array, out: Int16Array): void {
    this.#filter(Float64Array.from(frame), out, 2)
  }

  #filter(high: Float64Array, out: Int16Array, step: 1 | 2): void {
    const past = this.#history.length
    const line = new Float64Array(past + high.length)
    line.set(this.#history)
    line.set(high, past)
    for (let i = 0; i < out.length; i++) {
      let sum = 0
      const at = i * step
      for (let j = 0; j < taps.length; j++) sum += (taps[j] as number) * (line[at + j] as number)
      out[i] = clamp(sum)
    }
    this.#history.set(line.subarray(line.length - past))
  }
}

/**
 * Converts a whole recording between 8 and 16 kHz and removes the filter's delay. @throws RangeError for other rates
 */
export function convertRate(pcm: Int16Array, fromHz: number, toHz: number): Int16Array {
  if (fromHz === toHz) return pcm
  const filter = new HalfBand()
  const padding = new Int16Array(2 * HALF_TAPS)
  const padded = new Int16Array(pcm.length + padding.length + (pcm.length & 1))
  padded.set(pcm)
  if (fromHz * 2 === toHz) {
    const out = new Int16Array(padded.length * 2)
    filter.double(padded, out)
    return out.slice(HALF_TAPS, HALF_TAPS + pcm.length * 2)
  }
  if (fromHz === toHz * 2) {
    const out = new Int16Array(padded.length / 2)
    filter.halve(padded, out)
    return out.slice((HALF_TAPS + 1) / 2, (HALF_TAPS + 1) / 2 + Math.floor(pcm.length / 2))
  }
  throw new RangeError(`cannot convert ${fromHz} Hz to ${toHz} Hz: one has to be twice the other`)
}
