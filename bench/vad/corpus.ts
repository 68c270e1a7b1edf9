import { loadFlite } from '../../src/speech/flite.js'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { G711 } from '../../src/media/pcm.js'
import { seededRandom } from '../../src/carrier/random.js'
import { music } from './music.js'
import {
  type Extent,
  type Noise,
  babble,
  brownNoise,
  carNoise,
  hum,
  pinkNoise,
  samplesOf,
  street,
  whiteNoise,
} from './sounds.js'
import { SPLITS, type Split } from './splits.js'

/** Audio of one call, with a label for each of its 20 ms frames. */
export interface LabelledCall {
  readonly samples: Int16Array
  /**
   * True for frames in which somebody speaks. It is found by the level of the clean speech; gaps of up to 200 ms are
   * filled.
   */
  readonly speech: readonly boolean[]
}

// Callers have a level of -20 dBFS. Some are up to 6 dB louder or softer.
const SPEECH_DBFS = -20
const LEVELS_DB = [0, -4, 3, -6, 6, 1]
export const UTTERANCES_PER_CALL = 6
const STRETCHES = [1, 0.85, 1.2]
// Frames up to 30 dB below the loud frames are speech. Gaps within words are speech too.
const TRUTH_BELOW_LOUD_DB = 30
const GAP_FRAMES = 10
const TELEPHONE_HZ = [300, 3400] as const

/** Clean utterances, and material for their surroundings. All calls are made from this material. */
export interface Utterances {
  readonly rateHz: LegRateHz
  readonly split: Split
  readonly voices: readonly Float64Array[]
  /** Voices of people at other tables, if these are not `voices`. */
  readonly crowd?: readonly Float64Array[]
  /** Pieces of music that are used instead of synthesised music; not empty. */
  readonly pieces?: readonly Float64Array[]
}

/** @param count number of utterances. Voices, paces and pitches are used in turn */
export async function speakUtterances(rateHz: LegRateHz, count: number, split: Split = 'heldOut'): Promise<Utterances> {
  const flite = await loadFlite()
  const { sentences, voices, pitches } = SPLITS[split]
  return utterancesOf(
    rateHz,
    split,
    Array.from({ length: count }, (_, i) => {
      const { pcm, sampleRateHz } = flite.speak(sentences[i % sentences.length] as string, voices[i % 2] as string, {
        stretch: STRETCHES[Math.floor(i / 2) % STRETCHES.length] as number,
      })
      const pitch = pitches[Math.floor(i / 3) % pitches.length] as number
      return { samples: Float64Array.from(pcm), sampleRateHz: sampleRateHz * pitch }
    }),
  )
}

/**
 * @param sentences  one utterance each, at any rate. Six successive utterances belong to one caller, and get the
 * caller's level
 */
export function utterancesOf(
  rateHz: LegRateHz,
  split: Split,
  sentences: readonly { readonly samples: Float64Array; readonly sampleRateHz: number }[],
): Utterances {
  const voices = sentences.map(({ samples, sampleRateHz }, i) => {
    const caller = Math.floor(i / UTTERANCES_PER_CALL)
    return atSpeechLevel(
      resampled(samples, sampleRateHz, rateHz),
      rateHz,
      SPEECH_DBFS + (LEVELS_DB[caller % LEVELS_DB.length] as number),
    )
  })
  return { rateHz, split, voices }
}

interface CallPlan {
  readonly utterances: Utterances
  readonly noise: Noise | null
  /** Ratio of speech to noise in dB, while somebody speaks. */
  readonly snrDb: number
  readonly seed: number
  /** True for a telephone line, which limits the band and uses 8 bits per sample. */
  readonly telephone: boolean
  /** True if the noise comes and goes. */
  readonly changes?: boolean
  /**
   * Maximum time in ms until the caller first speaks. If absent, the time is one second, or up to one second if the
   * noise changes.
   */
  readonly leadMsMax?: number
}

/** Time in ms for which a caller waits before speaking: at least 100 ms. */
export const drawnLeadMs = (maxMs: number, random: () => number): number => 100 + (maxMs - 100) * random()

/** Makes calls of six utterances each, with pauses of 0.4 to 1.6 s. */
export function makeCalls(plan: CallPlan): LabelledCall[] {
  const { utterances, noise } = plan
  const random = seededRandom(plan.seed)
  const calls: LabelledCall[] = []
  for (let first = 0; first < utterances.voices.length; first += UTTERANCES_PER_CALL) {
    const changes = seededRandom(plan.seed * 1000 + first + 1)
    const leadMs =
      plan.leadMsMax !== undefined
        ? drawnLeadMs(plan.leadMsMax, seededRandom(plan.seed * 1000 + first + 2))
        : plan.changes === true
          ? drawnLeadMs(1000, changes)
          : 1000
    const parts: Float64Array[] = [new Float64Array(Math.round((utterances.rateHz * leadMs) / 1000))]
    for (const voice of utterances.voices.slice(first, first + UTTERANCES_PER_CALL)) {
      parts.push(voice, new Float64Array(Math.round(utterances.rateHz * (0.4 + 1.2 * random()))))
    }
    const clean = joined(parts)
    const speech = truthOf(clean, utterances.rateHz)
    const ms = (clean.length * 1000) / utterances.rateHz
    const line = clean.slice()
    if (noise !== null) {
      const extent = { rateHz: utterances.rateHz, ms, seed: plan.seed * 1000 + first }
      const sound = noiseOf(noise, extent, utterances)
      if (plan.changes === true) comesAndGoes(sound, utterances.rateHz, changes)
      const gain = Math.sqrt(powerWhere(clean, speech, utterances.rateHz) / 10 ** (plan.snrDb / 10) / powerOf(sound))
      for (let i = 0; i < line.length; i++) line[i] = (line[i] as number) + gain * (sound[i] as number)
    }
    calls.push({ samples: throughLine(line, utterances.rateHz, plan.telephone), speech })
  }
  return calls
}

export function noiseOf(noise: Noise, extent: Extent, { voices, split, crowd, pieces }: Utterances): Float64Array {
  switch (noise) {
    case 'white':
      return whiteNoise(extent)
    case 'pink':
      return pinkNoise(extent)
    case 'brown':
      return brownNoise(extent)
    case 'car':
      return carNoise(extent)
    case 'hum':
      return hum(extent)
    case 'babble':
      return babble(extent, crowd ?? voices)
    case 'street':
      return street(extent)
    case 'music':
      return pieces === undefined
        ? music(extent, SPLITS[split].styleOf(Math.floor(extent.seed / UTTERANCES_PER_CALL)))
        : excerpt(pieces, extent)
  }
}

/**
 * Starts at a random position in one of the pieces. At the end of the piece, it continues at the beginning of the
 * piece.
 */
function excerpt(pieces: readonly Float64Array[], extent: Extent): Float64Array {
  const random = seededRandom(extent.seed)
  const piece = pieces[Math.floor(random() * pieces.length)] as Float64Array
  const from = Math.floor(random() * piece.length)
  return Float64Array.from({ length: samplesOf(extent) }, (_, i) => piece[(from + i) % piece.length] as number)
}

/** Silences parts of 1 to 6 s in place. A silenced part contains zeros or almost inaudible sound. */
export function comesAndGoes(sound: Float64Array, rateHz: LegRateHz, random: () => number): void {
  let on = random() < 0.5
  for (let at = 0; at < sound.length;) {
    const end = Math.min(sound.length, at + Math.round(rateHz * (1 + 5 * random())))
    const gain = random() < 0.5 ? 0 : 0.003
    if (!on) for (let i = at; i < end; i++) sound[i] = gain * (sound[i] as number)
    on = !on
    at = end
  }
}

/** True for each frame in which somebody speaks. */
export function truthOf(clean: Float64Array, rateHz: LegRateHz): boolean[] {
  const frame = frameSamples(rateHz)
  const powers: number[] = []
  for (let at = 0; at + frame <= clean.length; at += frame) powers.push(powerOf(clean.subarray(at, at + frame)))
  const sorted = powers.toSorted((a, b) => a - b)
  const limit = Math.max(1, (sorted[Math.floor(sorted.length * 0.95)] as number) / 10 ** (TRUTH_BELOW_LOUD_DB / 10))
  const speech = powers.map((power) => power > limit)
  let lastAt = -Infinity
  for (let i = 0; i < speech.length; i++) {
    if (speech[i] !== true) continue
    if (i - lastAt <= GAP_FRAMES + 1) speech.fill(true, lastAt, i)
    lastAt = i
  }
  return speech
}

/** Coding of a telephone line: one of the two laws of G.711, or none. */
export const CODINGS = ['pcmu', 'pcma', 'pcm'] as const
export type Coding = (typeof CODINGS)[number]

/**
 * Samples as a carrier delivers them. They are clipped. After a telephone, they also lack low and high frequencies, and
 * half of their bits.
 */
export function throughLine(
  samples: Float64Array,
  rateHz: LegRateHz,
  telephone: boolean,
  coding: Coding = 'pcmu',
): Int16Array {
  const band = telephone ? bandPassed(samples, rateHz) : samples
  const out = Int16Array.from(band, (value) => Math.max(-32_768, Math.min(32_767, Math.round(value))))
  if (!telephone || coding === 'pcm') return out
  const bytes = new Uint8Array(out.length)
  G711[coding].encode(out, bytes)
  G711[coding].decode(bytes, out)
  return out
}

/** Audio of a telephone line of 8 kHz on a leg of 16 kHz. */
export function widened(telephone: Int16Array): Int16Array {
  return throughLine(resampled(Float64Array.from(telephone), 8000, 16_000), 16_000, false)
}

/** Filters with two poles at each edge of the telephone band. */
function bandPassed(samples: Float64Array, rateHz: number): Float64Array {
  let out = samples
  for (const [kind, hz] of [
    ['high', TELEPHONE_HZ[0]],
    ['low', TELEPHONE_HZ[1]],
  ] as const) {
    if (hz >= 0.45 * rateHz) continue
    const w = (2 * Math.PI * hz) / rateHz
    const alpha = Math.sin(w) / Math.SQRT2
    const edge = kind === 'high' ? 1 + Math.cos(w) : 1 - Math.cos(w)
    const b1 = kind === 'high' ? -edge : edge
    const a0 = 1 + alpha,
      a1 = -2 * Math.cos(w),
      a2 = 1 - alpha
    let x1 = 0,
      x2 = 0,
      y1 = 0,
      y2 = 0
    out = out.map((x) => {
      const y = ((edge / 2) * x + b1 * x1 + (edge / 2) * x2 - a1 * y1 - a2 * y2) / a0
      x2 = x1
      x1 = x
      y2 = y1
      y1 = y
      return y
    })
  }
  return out
}

export function resampled(samples: Float64Array, fromHz: number, toHz: number): Float64Array {
  const step = fromHz / toHz
  // Frequencies that are too high for the new rate are removed by a moving average. The average is as long as a step.
  const reach = Math.max(1, step)
  // If one rate is a multiple of the other, there are only a few different weights.
  const few = Number.isInteger(step) || Number.isInteger(1 / step)
  const known = new Map<number, number>()
  const weightAt = (x: number): number => {
    let weight = few ? known.get(x) : undefined
    if (weight === undefined) {
      weight = (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x)) * Math.cos((Math.PI * x) / 8) ** 2
      if (few) known.set(x, weight)
    }
    return weight
  }
  return Float64Array.from({ length: Math.floor(samples.length / step) - 2 }, (_, i) => {
    let sum = 0
    let weights = 0
    const middle = i * step
    for (let at = Math.max(0, Math.ceil(middle - 4 * reach)); at <= middle + 4 * reach && at < samples.length; at++) {
      const weight = weightAt((at - middle) / reach)
      sum += weight * (samples[at] as number)
      weights += weight
    }
    return sum / weights
  })
}

function atSpeechLevel(samples: Float64Array, rateHz: LegRateHz, dbfs: number): Float64Array {
  const gain = (32_768 * 10 ** (dbfs / 20)) / Math.sqrt(powerWhere(samples, truthOf(samples, rateHz), rateHz))
  return samples.map((value) => gain * value)
}

/** @returns the sound, scaled to this RMS over its whole duration */
export function atLevel(sound: Float64Array, dbfs: number): Float64Array {
  const gain = (32_768 * 10 ** (dbfs / 20)) / Math.sqrt(powerOf(sound))
  return sound.map((value) => gain * value)
}

function powerWhere(samples: Float64Array, frames: readonly boolean[], rateHz: LegRateHz): number {
  const frame = frameSamples(rateHz)
  let sum = 0
  let count = 0
  frames.forEach((wanted, i) => {
    if (!wanted) return
    sum += powerOf(samples.subarray(i * frame, (i + 1) * frame))
    count++
  })
  return sum / Math.max(1, count)
}

export function powerOf(samples: Float64Array): number {
  let sum = 0
  for (const value of samples) sum += value * value
  return sum / Math.max(1, samples.length)
}

export function joined(parts: readonly Float64Array[]): Float64Array {
  const all = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
