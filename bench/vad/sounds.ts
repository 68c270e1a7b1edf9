import type { LegRateHz } from '../../src/core/units.js'
import { nearlyNormal, seededRandom } from '../../src/simulator/random.js'
import { dtmfTones } from '../../src/simulator/tones.js'

/** Sounds that are made, not recorded: the same on every machine. All return samples as floats in s16 units. */

export const NOISES = ['white', 'pink', 'car', 'babble'] as const
export type Noise = (typeof NOISES)[number]

export interface Extent {
  readonly rateHz: LegRateHz
  readonly ms: number
  readonly seed: number
}

const samplesOf = ({ rateHz, ms }: Extent): number => Math.round((rateHz * ms) / 1000)

export function whiteNoise(extent: Extent): Float64Array {
  const random = seededRandom(extent.seed)
  return Float64Array.from({ length: samplesOf(extent) }, () => nearlyNormal(random))
}

/** -3 dB an octave: Paul Kellet's three poles. */
export function pinkNoise(extent: Extent): Float64Array {
  let b0 = 0, b1 = 0, b2 = 0
  return whiteNoise(extent).map((white) => {
    b0 = 0.99765 * b0 + white * 0.099046
    b1 = 0.963 * b1 + white * 0.2965164
    b2 = 0.57 * b2 + white * 1.0526913
    return b0 + b1 + b2 + white * 0.1848
  })
}

/** A car from inside: rumble below 200 Hz, the engine's orders, and tyres that swell and fade. */
export function carNoise(extent: Extent): Float64Array {
  const white = whiteNoise(extent)
  const low = Math.exp((-2 * Math.PI * 120) / extent.rateHz)
  const tyre = Math.exp((-2 * Math.PI * 900) / extent.rateHz)
  let rumble = 0, hiss = 0, phase = 0
  return white.map((value, i) => {
    const t = i / extent.rateHz
    rumble = low * rumble + (1 - low) * value
    hiss = tyre * hiss + (1 - tyre) * value
    phase += (2 * Math.PI * (46 + 4 * Math.sin(0.7 * t))) / extent.rateHz
    const engine = Math.sin(phase) + 0.5 * Math.sin(2 * phase) + 0.2 * Math.sin(4 * phase)
    return 9 * rumble + 0.25 * engine + (0.5 + 0.15 * Math.sin(0.9 * t)) * hiss
  })
}

/** Many voices at once, each from its own place in `speech`, until no word can be told from another. */
export function babble(extent: Extent, speech: readonly Float64Array[]): Float64Array {
  const random = seededRandom(extent.seed)
  const out = new Float64Array(samplesOf(extent))
  for (let talker = 0; talker < 16; talker++) {
    let voice = speech[Math.floor(random() * speech.length)] as Float64Array
    let at = Math.floor(random() * voice.length)
    const gain = 0.5 + random()
    for (let i = 0; i < out.length; i++) {
      out[i] = (out[i] as number) + gain * (voice[at++] as number)
      if (at < voice.length) continue
      voice = speech[Math.floor(random() * speech.length)] as Float64Array
      at = 0
    }
  }
  return out
}

/** Tones in turn, repeated: frequencies, and how long with and without sound. */
export interface Cadence {
  readonly hz: readonly number[]
  readonly onMs: number
  readonly offMs: number
}

export function cadence(parts: readonly Cadence[], extent: Extent, peak = 3000): Float64Array {
  const out = new Float64Array(samplesOf(extent))
  const fade = extent.rateHz / 500
  let at = 0
  for (let part = 0; at < out.length; part++) {
    const { hz, onMs, offMs } = parts[part % parts.length] as Cadence
    const on = (extent.rateHz * onMs) / 1000
    for (let i = 0; i < on && at + i < out.length; i++) {
      let sum = 0
      for (const frequency of hz) sum += Math.sin((2 * Math.PI * frequency * i) / extent.rateHz)
      out[at + i] = sum * peak * Math.min(1, i / fade, (on - i) / fade)
    }
    at += Math.round(on + (extent.rateHz * offMs) / 1000)
  }
  return out
}

export function keys(extent: Extent): Float64Array {
  const random = seededRandom(extent.seed)
  const out = new Float64Array(samplesOf(extent))
  for (let at = 0; at < out.length;) {
    const press = dtmfTones('0123456789*#ABCD'[Math.floor(random() * 16)] as string, extent.rateHz)
    out.set(press.subarray(0, Math.max(0, out.length - at)), at)
    at += press.length + Math.floor(random() * 0.3 * extent.rateHz)
  }
  return out
}

/**
 * Hold music: four chords of plucked and held notes over a bass, a tune on top, a beat under it; notes have harmonics,
 * decay and a little vibrato.
 */
export function music(extent: Extent): Float64Array {
  const random = seededRandom(extent.seed)
  const { rateHz } = extent
  const out = new Float64Array(samplesOf(extent))
  const beat = Math.round(rateHz * (0.4 + 0.25 * random()))
  const chords = [[0, 4, 7], [9, 12, 16], [5, 9, 12], [7, 11, 14]]
  const root = 48 + Math.floor(random() * 12)
  const note = (at: number, key: number, beats: number, gain: number, decayS: number): void => {
    const hz = 440 * 2 ** ((key - 69) / 12)
    const length = Math.min(out.length - at, Math.round(beats * beat))
    for (let i = 0; i < length; i++) {
      const t = i / rateHz
      const angle = 2 * Math.PI * hz * t + 0.03 * Math.sin(2 * Math.PI * 5.5 * t)
      let value = 0
      for (let harmonic = 1; harmonic <= 6 && harmonic * hz < 3600; harmonic++) value += Math.sin(harmonic * angle) / harmonic ** 1.5
      out[at + i] = (out[at + i] as number) + gain * value * Math.exp(-t / decayS) * Math.min(1, t / 0.008, (length - i) / rateHz / 0.01)
    }
  }
  for (let step = 0, at = 0; at < out.length; step++, at += beat) {
    const chord = chords[Math.floor(step / 4) % chords.length] as readonly number[]
    if (step % 4 === 0) for (const key of chord) note(at, root + 12 + key, 4, 700, 2)
    note(at, root - 12 + (chord[0] as number), 1, 1100, 0.5)
    note(at, root + 24 + (chord[Math.floor(random() * 3)] as number), random() < 0.3 ? 2 : 1, 1500, 0.35)
    for (let i = 0; i < rateHz * 0.03 && at + i < out.length; i++) {
      out[at + i] = (out[at + i] as number) + nearlyNormal(random) * 500 * Math.exp(-i / (0.006 * rateHz))
    }
  }
  return out
}

export interface NonSpeech {
  readonly name: string
  /** Steady tones, signals and keys: what must pass for speech in less than 2 % of the frames. */
  readonly signal: boolean
  readonly make: (extent: Extent) => Float64Array
}

const tones = (name: string, ...parts: Cadence[]): NonSpeech => ({
  name, signal: true, make: (extent) => cadence(parts, extent),
})

/** What a line carries besides people. Cadences after ITU-T E.180 and Bellcore. */
export const NON_SPEECH: readonly NonSpeech[] = [
  { name: 'digital silence', signal: true, make: (extent) => new Float64Array(samplesOf(extent)) },
  tones('tone 440 Hz', { hz: [440], onMs: 60_000, offMs: 0 }),
  tones('tone 1004 Hz', { hz: [1004], onMs: 60_000, offMs: 0 }),
  tones('dial tone', { hz: [350, 440], onMs: 60_000, offMs: 0 }),
  tones('dial tone, stuttered', { hz: [425], onMs: 400, offMs: 40 }),
  tones('ringback, 425 Hz', { hz: [425], onMs: 1000, offMs: 4000 }),
  tones('ringback, 440 + 480 Hz', { hz: [440, 480], onMs: 2000, offMs: 4000 }),
  tones('ringback, 400 + 450 Hz', { hz: [400, 450], onMs: 400, offMs: 200 }, { hz: [400, 450], onMs: 400, offMs: 2000 }),
  tones('busy', { hz: [480, 620], onMs: 500, offMs: 500 }),
  tones('three rising tones', { hz: [950], onMs: 330, offMs: 30 }, { hz: [1400], onMs: 330, offMs: 30 }, { hz: [1800], onMs: 330, offMs: 1000 }),
  tones('fax, calling', { hz: [1100], onMs: 500, offMs: 3000 }),
  tones('fax, answering', { hz: [2100], onMs: 3000, offMs: 1000 }),
  { name: 'keys', signal: true, make: keys },
  { name: 'hold music', signal: false, make: music },
]
