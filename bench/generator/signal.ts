import { FRAME_MS, frameSamples } from '../../src/core/units.js'
import type { LegRateHz } from '../../src/core/units.js'
import { loadFlite } from '../../src/speech/flite.js'
import type { CallerVoice } from '../../src/carrier/choices.js'
import { speakAs } from '../../src/carrier/caller-voices.js'
import { voicedExtent } from '../../src/carrier/speech-spans.js'

/**
 * Sounds of the bench's callers. In a frame, tone and marker have a whole number of periods (21 and 41). So all frames
 * of one kind are equal, and the phase is continuous. These numbers have no common factor with the number of samples in
 * a frame, so that rounding causes noise and not a part of the tone. A marker frame shows the position of a sample in
 * the stream.
 */
export const TONE_HZ = 1050
export const MARKER_HZ = 2050
/** One marker in each half second. */
export const MARKER_EVERY_FRAMES = 25
/** Peak of the tone: -30 dBFS. For voice detection the tone is the noise of a line, and speech is much louder. */
export const TONE_PEAK = 1500
const SPEECH_PEAK = 24_000
/** Peak of a caller's talk: -9 dBFS, about -25 dBFS on average, like a normal voice on the phone. */
export const TALK_PEAK = 12_000
/** Two seconds of a caller's speech without a pause. */
const TALK_WORDS = 'I would like to know where my order is, the number is four one two seven.'

/** One frame of a sine that begins at phase zero. */
export function toneFrame(rateHz: LegRateHz, hz: number): Int16Array {
  const step = (2 * Math.PI * hz) / rateHz
  return Int16Array.from({ length: frameSamples(rateHz) }, (_, i) => Math.round(TONE_PEAK * Math.sin(step * i)))
}

/** Words of a caller who interrupts. */
const WORDS = 'No, no, wait, wait a moment please.'

/**
 * Words of a caller, from the first voiced sample on, cut to `ms`. They are real speech, because a good voice detector
 * does not accept other sounds as voice. Their samples are always the same.
 */
export async function speechFrames(
  rateHz: LegRateHz,
  ms: number,
  words = WORDS,
  speechPeak = SPEECH_PEAK,
  voice: CallerVoice = 'rms',
): Promise<Int16Array[]> {
  const spoken = speakAs(await loadFlite(), words, voice, rateHz)
  const { from } = voicedExtent(spoken, rateHz)
  const peak = spoken.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1)
  const frame = frameSamples(rateHz)
  return Array.from({ length: Math.floor(ms / FRAME_MS) }, (_, f) =>
    Int16Array.from({ length: frame }, (_, i) => Math.round(((spoken[from + f * frame + i] ?? 0) / peak) * speechPeak)),
  )
}

/**
 * Schedule of callers in production: they speak 2 s of every 5 s, which is 40 % of the time. In the first three seconds
 * they are silent. Some models are ready only after a caller has spoken; they give no greeting, and their first words
 * may be interrupted. The callers have different offsets, so that 40 % of them speak at any moment.
 */
export const TALK_EVERY_FRAMES = 250
export const TALK_FRAMES = 100
const TALK_FROM_FRAME = 150
/**
 * Step in frames between the offsets of two callers. It has no common factor with the period, so that even a few
 * callers are spread evenly.
 */
const OFFSET_STEP_FRAMES = 97

/** Position of caller number `caller` in its period at frame `index`. */
export function placeInPeriod(index: number, caller: number): number {
  return (index + caller * OFFSET_STEP_FRAMES) % TALK_EVERY_FRAMES
}

/**
 * Index of the frame of its speech that caller number `caller` sends at frame `index`; -1 while the caller is silent.
 */
export function talkFrame(index: number, caller: number): number {
  if (index < TALK_FROM_FRAME) return -1
  const place = placeInPeriod(index, caller)
  return place < TALK_FRAMES ? place : -1
}

/**
 * Speech of level `TALK_PEAK` plus the tone. The tone is the noise of the line. Without it, a frame between two words
 * would count as silence.
 */
export async function talkFrames(rateHz: LegRateHz, tone: Int16Array): Promise<Int16Array[]> {
  const frames = await speechFrames(rateHz, TALK_FRAMES * FRAME_MS, TALK_WORDS, TALK_PEAK)
  return frames.map((frame) => frame.map((sample, i) => sample + (tone[i] as number)))
}

/** Content of a piece of received audio. */
export type Heard = 'silence' | 'tone' | 'marker' | 'other'

/** Power below which a piece counts as silence: 20 dB below the tone. */
const SILENT_POWER = (TONE_PEAK * TONE_PEAK) / 2 / 100

const LISTEN_MS = 2
/** Maximum share of the power that does not fit a sine. It is 0 for a sine, and large for speech and clicks. */
const IMPURE_SHARE = 0.1

/**
 * Distinguishes tone, marker and silence by 2 ms of samples. In a sine of frequency w, the sum of a sample's two
 * neighbours is 2 cos w times the sample. So w is found by least squares, and the error of the fit shows whether the
 * signal is a sine.
 */
export function hear(samples: Int16Array, at: number, rateHz: LegRateHz): Heard {
  const count = (rateHz * LISTEN_MS) / 1000
  let power = 0
  let product = 0
  let neighbours = 0
  for (let i = at + 1; i < at + count - 1; i++) {
    const sample = samples[i] as number
    const around = (samples[i - 1] as number) + (samples[i + 1] as number)
    power += sample * sample
    product += sample * around
    neighbours += around * around
  }
  if (power / (count - 2) < SILENT_POWER) return 'silence'
  // Error of the fit, compared with the fitted power.
  if (neighbours - (product * product) / power > IMPURE_SHARE * 4 * power) return 'other'
  const cosine = product / (2 * power)
  return Math.abs(cosine - cosineOf(TONE_HZ, rateHz)) < Math.abs(cosine - cosineOf(MARKER_HZ, rateHz))
    ? 'tone'
    : 'marker'
}

function cosineOf(hz: number, rateHz: LegRateHz): number {
  return Math.cos((2 * Math.PI * hz) / rateHz)
}

/**
 * Ratio in dB of the tone to everything else in one frame, which contains a whole number of the tone's periods; at most
 * 96.
 */
export function toneSnrDb(block: Int16Array, sines: SineTable): number {
  let real = 0
  let imaginary = 0
  let total = 0
  const n = block.length
  for (let i = 0; i < n; i++) {
    const value = block[i] as number
    real += value * (sines.cos[i] as number)
    imaginary += value * (sines.sin[i] as number)
    total += value * value
  }
  const tone = (2 * (real * real + imaginary * imaginary)) / n
  const rest = Math.max(total - tone, total * 1e-10)
  return rest <= 0 ? 96 : Math.min(96, 10 * Math.log10(tone / rest))
}

export interface SineTable {
  readonly cos: Float64Array
  readonly sin: Float64Array
}

export function sineTable(rateHz: LegRateHz): SineTable {
  const step = (2 * Math.PI * TONE_HZ) / rateHz
  const samples = frameSamples(rateHz)
  return {
    cos: Float64Array.from({ length: samples }, (_, i) => Math.cos(step * i)),
    sin: Float64Array.from({ length: samples }, (_, i) => Math.sin(step * i)),
  }
}
