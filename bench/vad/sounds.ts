import type { LegRateHz } from '../../src/core/units.js'
import { nearlyNormal, seededRandom } from '../../src/carrier/random.js'
import { dtmfTones } from '../../src/carrier/line.js'
import { type MusicStyle, music } from './music.js'

/** Synthesised sounds, which are the same on every machine. All functions return samples as floats in s16 units. */

export const NOISES = ['white', 'pink', 'brown', 'car', 'hum', 'street', 'babble', 'music'] as const
export type Noise = (typeof NOISES)[number]

export interface Extent {
  readonly rateHz: LegRateHz
  readonly ms: number
  readonly seed: number
}

export const samplesOf = ({ rateHz, ms }: Extent): number => Math.round((rateHz * ms) / 1000)

export function whiteNoise(extent: Extent): Float64Array {
  const random = seededRandom(extent.seed)
  return Float64Array.from({ length: samplesOf(extent) }, () => nearlyNormal(random))
}

/** Falls by 3 dB per octave: Paul Kellet's three poles. */
export function pinkNoise(extent: Extent): Float64Array {
  let b0 = 0,
    b1 = 0,
    b2 = 0
  return whiteNoise(extent).map((white) => {
    b0 = 0.99765 * b0 + white * 0.099046
    b1 = 0.963 * b1 + white * 0.2965164
    b2 = 0.57 * b2 + white * 1.0526913
    return b0 + b1 + b2 + white * 0.1848
  })
}

/** Falls by 6 dB per octave above 40 Hz. */
export function brownNoise(extent: Extent): Float64Array {
  const keep = Math.exp((-2 * Math.PI * 40) / extent.rateHz)
  let brown = 0
  return whiteNoise(extent).map((white) => (brown = keep * brown + white))
}

/** A machine in the room: odd and even harmonics of the mains, with a slow beat, and a little noise. */
export function hum(extent: Extent): Float64Array {
  const random = seededRandom(extent.seed + 1)
  const mainsHz = random() < 0.5 ? 50 : 60
  const gains = Array.from({ length: 14 }, (_, i) => (0.4 + random()) / (1 + i / 3))
  const beatHz = 0.5 + 2 * random()
  return whiteNoise(extent).map((white, i) => {
    const t = i / extent.rateHz
    let sum = 0
    gains.forEach((gain, k) => (sum += gain * Math.sin(2 * Math.PI * mainsHz * (k + 1) * t + k * k)))
    return sum * (1 + 0.2 * Math.sin(2 * Math.PI * beatHz * t)) + 0.3 * white
  })
}

/** Knocks, clicks, and a receiver that is put down. They are short and loud, and have no pitch. */
export function knocks(extent: Extent): Float64Array {
  const random = seededRandom(extent.seed)
  const out = whiteNoise(extent).map((value) => 6 * value)
  for (let at = 0; at < out.length; at += Math.round(extent.rateHz * (0.05 + 1.5 * random() ** 2))) {
    const gain = 1000 + 9000 * random()
    const decay = extent.rateHz * (0.003 + 0.04 * random() ** 2)
    const keep = 0.9 * random()
    let body = 0
    for (let i = 0; i < 6 * decay && at + i < out.length; i++) {
      body = keep * body + nearlyNormal(random)
      out[at + i] = (out[at + i] as number) + gain * (1 - keep) * body * Math.exp(-i / decay)
    }
  }
  return out
}

/**
 * A speaker without words: voiced syllables with gliding pitch, hissing consonants, and pauses. The seed determines
 * pitch and pace.
 */
export function syllables(extent: Extent): Float64Array {
  const random = seededRandom(extent.seed + 5)
  const { rateHz } = extent
  const out = new Float64Array(samplesOf(extent))
  const pitchHz = 80 + 140 * random()
  const paceMs = 90 + 90 * random()
  const lively = 0.1 + 0.5 * random()
  for (let at = 0; at < out.length;) {
    const length = Math.round((rateHz * paceMs * (0.8 + 1.2 * random())) / 1000)
    const fromHz = pitchHz * (1 + lively * (random() - 0.5))
    const glide = 0.4 * (random() - 0.5)
    const formantsHz = [280 + 550 * random(), 850 + 1500 * random(), 2300 + 700 * random()] as const
    const moves = 0.4 * (random() - 0.5)
    let phase = 0
    for (let i = 0; i < length && at + i < out.length; i++) {
      const part = i / length
      const hz = fromHz * (1 + glide * part)
      phase += (2 * Math.PI * hz) / rateHz
      let value = 0
      for (let k = 1; k * hz < 3700; k++) {
        let gain = 0.03
        formantsHz.forEach((formantHz, f) => {
          const away = (k * hz - formantHz * (1 + moves * part)) / (130 + 60 * f)
          gain += Math.exp(-0.5 * away * away) / (f + 1)
        })
        value += gain * Math.sin(k * phase + k * k)
      }
      out[at + i] = 2000 * (value + 0.1 * nearlyNormal(random)) * Math.sqrt(Math.sin(Math.PI * part))
    }
    at += length
    const hiss = Math.round(rateHz * 0.08 * random())
    for (let i = 0; i < hiss && at + i < out.length; i++) out[at + i] = 500 * nearlyNormal(random)
    at += hiss + Math.round(rateHz * (random() < 0.2 ? 0.4 : 0.05) * random())
  }
  return out
}

/** Inside of a car: rumble below 200 Hz, harmonics of the engine, and tyres whose noise rises and falls. */
export function carNoise(extent: Extent): Float64Array {
  const white = whiteNoise(extent)
  const low = Math.exp((-2 * Math.PI * 120) / extent.rateHz)
  const tyre = Math.exp((-2 * Math.PI * 900) / extent.rateHz)
  let rumble = 0,
    hiss = 0,
    phase = 0
  return white.map((value, i) => {
    const t = i / extent.rateHz
    rumble = low * rumble + (1 - low) * value
    hiss = tyre * hiss + (1 - tyre) * value
    phase += (2 * Math.PI * (46 + 4 * Math.sin(0.7 * t))) / extent.rateHz
    const engine = Math.sin(phase) + 0.5 * Math.sin(2 * phase) + 0.2 * Math.sin(4 * phase)
    return 9 * rumble + 0.25 * engine + (0.5 + 0.15 * Math.sin(0.9 * t)) * hiss
  })
}

/** A street: traffic that rises and falls, passing cars, tyres, sometimes horns, and steps. Nobody speaks. */
export function street(extent: Extent): Float64Array {
  const random = seededRandom(extent.seed + 3)
  const { rateHz } = extent
  const rumbling = brownNoise(extent)
  const hissing = pinkNoise({ ...extent, seed: extent.seed + 1 })
  const swell = 0.1 + 0.2 * random()
  const out = rumbling.map((value, i) => {
    const t = i / rateHz
    return (1.5 + 0.7 * Math.sin(2 * Math.PI * swell * t)) * value + 3 * (hissing[i] as number)
  })
  // Cars: noise that rises and falls within some seconds, and harmonics of an engine whose pitch falls as the car
  // passes.
  for (let at = 0; at < out.length; at += Math.round(rateHz * (0.7 + 5 * random()))) {
    const widthS = 0.4 + 1.6 * random()
    const gain = 4 + 14 * random()
    const engineHz = 35 + 90 * random()
    const engineGain = 40 * random()
    const length = Math.round(rateHz * widthS * 4)
    let phase = 0
    for (let i = 0; i < length && at + i < out.length; i++) {
      const place = (i / length - 0.5) * 4
      const near = Math.exp(-2 * place * place)
      phase += (2 * Math.PI * engineHz * (1 - 0.08 * Math.tanh(2 * place))) / rateHz
      const engine = Math.sin(phase) + 0.6 * Math.sin(2 * phase) + 0.4 * Math.sin(3 * phase) + 0.3 * Math.sin(5 * phase)
      out[at + i] =
        (out[at + i] as number) +
        near * (gain * (hissing[(i * 7 + at) % hissing.length] as number) + engineGain * engine)
    }
  }
  for (let at = Math.round(rateHz * 8 * random()); at < out.length; at += Math.round(rateHz * (5 + 20 * random()))) {
    const hz = 320 + 200 * random()
    const length = Math.round(rateHz * (0.15 + 0.7 * random()))
    const gain = 20 + 60 * random()
    for (let i = 0; i < length && at + i < out.length; i++) {
      const t = (2 * Math.PI * i) / rateHz
      let value = 0
      for (let k = 1; k < 7; k++) value += (Math.sin(k * hz * t) + Math.sin(k * 1.26 * hz * t)) / k
      out[at + i] = (out[at + i] as number) + gain * value * Math.min(1, i / 200, (length - i) / 200)
    }
  }
  const steps = knocks(extent)
  const stepGain = 0.01 * random()
  return out.map((value, i) => value + stepGain * (steps[i] as number))
}

/** Line noise that a machine generates. Its level changes by 7 to 15 dB every one to five seconds. */
export function steppingNoise(extent: Extent): Float64Array {
  const random = seededRandom(extent.seed + 4)
  const out = random() < 0.5 ? whiteNoise(extent) : pinkNoise(extent)
  let high = false
  for (let at = 0; at < out.length;) {
    const end = Math.min(out.length, at + Math.round(extent.rateHz * (1 + 4 * random())))
    const gain = high ? 10 ** ((7 + 8 * random()) / 20) : 1
    for (let i = at; i < end; i++) out[i] = gain * (out[i] as number)
    high = !high
    at = end
  }
  return out
}

/** Many voices at once, each from another position in `speech`, so that no word can be understood. */
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

/** One tone of a repeated sequence: its frequencies, and its durations in ms with and without sound. */
interface Cadence {
  readonly hz: readonly number[]
  readonly onMs: number
  readonly offMs: number
}

function cadence(parts: readonly Cadence[], extent: Extent, peak = 3000): Float64Array {
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

function keys(extent: Extent): Float64Array {
  const random = seededRandom(extent.seed)
  const out = new Float64Array(samplesOf(extent))
  for (let at = 0; at < out.length;) {
    const press = dtmfTones('0123456789*#ABCD'[Math.floor(random() * 16)] as string, extent.rateHz)
    out.set(press.subarray(0, Math.max(0, out.length - at)), at)
    at += press.length + Math.floor(random() * 0.3 * extent.rateHz)
  }
  return out
}

interface NonSpeech {
  readonly name: string
  /** True for steady tones, signals and DTMF digits. Less than 2 % of their frames may be detected as speech. */
  readonly signal: boolean
  readonly make: (extent: Extent) => Float64Array
}

const tones = (name: string, ...parts: Cadence[]): NonSpeech => ({
  name,
  signal: true,
  make: (extent) => cadence(parts, extent),
})

/** Sounds on a line besides people and music. The cadences follow ITU-T E.180 and Bellcore. */
export const NON_SPEECH: readonly NonSpeech[] = [
  { name: 'digital silence', signal: true, make: (extent) => new Float64Array(samplesOf(extent)) },
  tones('tone 440 Hz', { hz: [440], onMs: 60_000, offMs: 0 }),
  tones('tone 1004 Hz', { hz: [1004], onMs: 60_000, offMs: 0 }),
  tones('dial tone', { hz: [350, 440], onMs: 60_000, offMs: 0 }),
  tones('dial tone, stuttered', { hz: [425], onMs: 400, offMs: 40 }),
  tones('ringback, 425 Hz', { hz: [425], onMs: 1000, offMs: 4000 }),
  tones('ringback, 440 + 480 Hz', { hz: [440, 480], onMs: 2000, offMs: 4000 }),
  tones(
    'ringback, 400 + 450 Hz',
    { hz: [400, 450], onMs: 400, offMs: 200 },
    { hz: [400, 450], onMs: 400, offMs: 2000 },
  ),
  tones('busy', { hz: [480, 620], onMs: 500, offMs: 500 }),
  tones(
    'three rising tones',
    { hz: [950], onMs: 330, offMs: 30 },
    { hz: [1400], onMs: 330, offMs: 30 },
    { hz: [1800], onMs: 330, offMs: 1000 },
  ),
  tones('fax, calling', { hz: [1100], onMs: 500, offMs: 3000 }),
  tones('fax, answering', { hz: [2100], onMs: 3000, offMs: 1000 }),
  { name: 'keys', signal: true, make: keys },
  { name: 'knocks', signal: false, make: knocks },
]

export const holdMusic = (style: MusicStyle): NonSpeech => ({
  name: `hold music, ${style.name}`,
  signal: false,
  make: (extent) => music(extent, style),
})
