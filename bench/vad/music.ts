import { nearlyNormal, seededRandom } from '../../src/carrier/random.js'
import { type Extent, samplesOf } from './sounds.js'

/** Style of a synthesised piece: chords, a bass, a tune and a beat, each with its own loudness and decay. */
export interface MusicStyle {
  readonly name: string
  /** Fastest and slowest. */
  readonly beatS: readonly [number, number]
  readonly chords: readonly (readonly number[])[]
  readonly chordGain: number
  readonly chordDecayS: number
  readonly bassGain: number
  readonly tuneGain: number
  readonly tuneDecayS: number
  readonly tuneOctaves: number
  /** Exponent with which the harmonics decrease: 0.7 for a bowed string, 2 for a flute. */
  readonly rollOff: number
  readonly harmonics: number
  readonly vibratoHz: number
  /** Amplitude of the vibrato's phase, in radians. */
  readonly vibrato: number
  readonly attackS: number
  readonly drumGain: number
}

const POP = [
  [0, 4, 7],
  [9, 12, 16],
  [5, 9, 12],
  [7, 11, 14],
]
const MINOR = [
  [0, 3, 7],
  [8, 12, 15],
  [3, 7, 10],
  [10, 14, 17],
]
const JAZZ = [
  [2, 5, 9, 12],
  [7, 11, 14, 17],
  [0, 4, 7, 11],
  [9, 12, 16, 19],
]
const FIFTHS = [
  [0, 7, 12],
  [5, 12, 17],
  [2, 9, 14],
  [7, 14, 19],
]
const CHORDS = [POP, MINOR, JAZZ, FIFTHS]

/** Pieces that measure the detector. They are never used to fit the detector or to choose its settings. */
export const HELD_OUT_STYLES: readonly MusicStyle[] = [
  // Plucked and sustained notes over a bass, with a tune and a beat.
  {
    name: 'band',
    beatS: [0.4, 0.65],
    chords: POP,
    chordGain: 700,
    chordDecayS: 2,
    bassGain: 1100,
    tuneGain: 1500,
    tuneDecayS: 0.35,
    tuneOctaves: 2,
    rollOff: 1.5,
    harmonics: 6,
    vibratoHz: 5.5,
    vibrato: 0.03,
    attackS: 0.008,
    drumGain: 500,
  },
  // Strings without a beat.
  {
    name: 'strings',
    beatS: [0.6, 0.9],
    chords: MINOR,
    chordGain: 900,
    chordDecayS: 6,
    bassGain: 500,
    tuneGain: 1300,
    tuneDecayS: 3,
    tuneOctaves: 1,
    rollOff: 0.9,
    harmonics: 14,
    vibratoHz: 6.2,
    vibrato: 0.12,
    attackS: 0.07,
    drumGain: 0,
  },
]

/** Pieces that are used to choose settings: seeds, epochs, weights, thresholds (bench/vad/README.md). */
export const VALIDATION_STYLES: readonly MusicStyle[] = [
  // A piano alone.
  {
    name: 'piano',
    beatS: [0.22, 0.5],
    chords: JAZZ,
    chordGain: 900,
    chordDecayS: 0.9,
    bassGain: 900,
    tuneGain: 1300,
    tuneDecayS: 0.6,
    tuneOctaves: 2,
    rollOff: 1.2,
    harmonics: 9,
    vibratoHz: 5,
    vibrato: 0,
    attackS: 0.004,
    drumGain: 0,
  },
  // An organ.
  {
    name: 'organ',
    beatS: [0.35, 0.8],
    chords: MINOR,
    chordGain: 1100,
    chordDecayS: 30,
    bassGain: 800,
    tuneGain: 1200,
    tuneDecayS: 30,
    tuneOctaves: 1,
    rollOff: 1,
    harmonics: 8,
    vibratoHz: 6.8,
    vibrato: 0.05,
    attackS: 0.02,
    drumGain: 0,
  },
  // Dance music, in which the beat is loudest.
  {
    name: 'dance',
    beatS: [0.24, 0.33],
    chords: POP,
    chordGain: 500,
    chordDecayS: 0.4,
    bassGain: 1700,
    tuneGain: 1100,
    tuneDecayS: 0.2,
    tuneOctaves: 2,
    rollOff: 0.8,
    harmonics: 12,
    vibratoHz: 5,
    vibrato: 0.02,
    attackS: 0.003,
    drumGain: 1800,
  },
  // A flute over a guitar.
  {
    name: 'flute',
    beatS: [0.3, 0.6],
    chords: POP,
    chordGain: 600,
    chordDecayS: 0.7,
    bassGain: 600,
    tuneGain: 1600,
    tuneDecayS: 4,
    tuneOctaves: 2,
    rollOff: 2.2,
    harmonics: 5,
    vibratoHz: 4.8,
    vibrato: 0.09,
    attackS: 0.04,
    drumGain: 150,
  },
  // A cello, almost alone.
  {
    name: 'cello',
    beatS: [0.5, 1],
    chords: FIFTHS,
    chordGain: 250,
    chordDecayS: 5,
    bassGain: 350,
    tuneGain: 1600,
    tuneDecayS: 5,
    tuneOctaves: 0,
    rollOff: 0.8,
    harmonics: 16,
    vibratoHz: 5.2,
    vibrato: 0.1,
    attackS: 0.05,
    drumGain: 0,
  },
]

/**
 * Style for training pieces. Each seed draws another style, so that the fitted numbers do not depend on a few pieces.
 * Half of the styles are bowed or blown, with long notes. The other half are plucked or struck, mostly with a beat.
 */
export function drawnStyle(seed: number): MusicStyle {
  const random = seededRandom(seed)
  const between = (least: number, most: number): number => least + (most - least) * random()
  // Random factor. Doubling is as likely as halving.
  const times = (least: number, most: number): number => least * (most / least) ** random()
  const held = random() < 0.5
  const fastest = between(0.22, 0.7)
  return {
    name: 'drawn',
    beatS: [fastest, fastest * 1.5],
    chords: CHORDS[Math.floor(random() * CHORDS.length)] as MusicStyle['chords'],
    chordGain: times(200, 1200),
    chordDecayS: held ? times(2.5, 30) : times(0.3, 2.5),
    bassGain: times(300, 1700),
    tuneGain: times(800, 1800),
    tuneDecayS: held ? times(1.5, 30) : times(0.15, 1.5),
    tuneOctaves: Math.floor(random() * 3),
    rollOff: between(0.7, 2.2),
    harmonics: Math.floor(between(5, 17)),
    vibratoHz: between(4.5, 7),
    vibrato: held ? between(0, 0.16) : between(0, 0.05),
    attackS: held ? times(0.02, 0.12) : times(0.003, 0.02),
    drumGain: held || random() < 0.3 ? 0 : times(100, 2000),
  }
}

/** A piece in one style. The seed determines its tempo, key and tune. */
export function music(extent: Extent, style: MusicStyle): Float64Array {
  const random = seededRandom(extent.seed)
  const { rateHz } = extent
  const out = new Float64Array(samplesOf(extent))
  const [fastest, slowest] = style.beatS
  const beat = Math.round(rateHz * (fastest + (slowest - fastest) * random()))
  const root = 48 + Math.floor(random() * 12)
  const note = (at: number, key: number, beats: number, gain: number, decayS: number): void => {
    const hz = 440 * 2 ** ((key - 69) / 12)
    const length = Math.min(out.length - at, Math.round(beats * beat))
    for (let i = 0; i < length; i++) {
      const t = i / rateHz
      const angle = 2 * Math.PI * hz * t + style.vibrato * Math.sin(2 * Math.PI * style.vibratoHz * t)
      let value = 0
      for (let harmonic = 1; harmonic <= style.harmonics && harmonic * hz < 3600; harmonic++) {
        value += Math.sin(harmonic * angle) / harmonic ** style.rollOff
      }
      out[at + i] =
        (out[at + i] as number) +
        gain * value * Math.exp(-t / decayS) * Math.min(1, t / style.attackS, (length - i) / rateHz / 0.01)
    }
  }
  for (let step = 0, at = 0; at < out.length; step++, at += beat) {
    const chord = style.chords[Math.floor(step / 4) % style.chords.length] as readonly number[]
    if (step % 4 === 0) for (const key of chord) note(at, root + 12 + key, 4, style.chordGain, style.chordDecayS)
    note(at, root - 12 + (chord[0] as number), 1, style.bassGain, 0.5)
    const tune = root + 12 * style.tuneOctaves + (chord[Math.floor(random() * 3)] as number)
    note(at, tune, random() < 0.3 ? 2 : 1, style.tuneGain, style.tuneDecayS)
    for (let i = 0; i < rateHz * 0.03 && at + i < out.length; i++) {
      out[at + i] = (out[at + i] as number) + nearlyNormal(random) * style.drumGain * Math.exp(-i / (0.006 * rateHz))
    }
  }
  return out
}
