import { seededRandom } from './random.js'

/** What may be heard around a caller: a hiss, other people, traffic. */
export const NOISE_KINDS = ['white', 'babble', 'street'] as const
export type NoiseKind = (typeof NOISE_KINDS)[number]

export interface Noise {
  readonly kind: NoiseKind
  /** How far it is below the caller's voice. */
  readonly snrDb: number
}

/** The noise goes in circles of this length: long enough that nobody hears it come again. */
const BED_S = 8
const TALKERS = 6
const HORNS = 2
const ENGINES = 3

/** What the people around a caller talk about; any words do. */
export const BABBLE_SENTENCES = [
  'The bus to town was late again this morning, so we walked.',
  'Did you see the match last night? They should have won it.',
  'I told her to bring the blue one, not the green one.',
  'We will need another table if everybody comes on Saturday.',
  'He said the road is closed until the end of the month.',
  'Can you pass me the salt, please, and two of those cups?',
] as const

/**
 * Noise for a line, RMS 1, the same for the same seed.
 * @param voices speech at the line's rate, for babble; each talker gets one of them
 */
export function noiseBed(kind: Exclude<NoiseKind, 'white'>, rateHz: number, seed: number, voices: readonly Int16Array[]): Float32Array {
  const bed = new Float32Array(BED_S * rateHz)
  const random = seededRandom(seed)
  if (kind === 'babble') addTalkers(bed, voices, random)
  else addStreet(bed, rateHz, random)
  let power = 0
  for (const sample of bed) power += sample * sample
  const rms = Math.sqrt(power / bed.length)
  return rms === 0 ? bed : bed.map((sample) => sample / rms)
}

/** Six people who never stop, each from another place in their sentence. */
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

/** A low rumble that swells as cars pass, engines with their harmonics, now and then a horn. */
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
      // Around the circle, so that a car at the end of the bed is heard at its beginning.
      const awayS = Math.abs(((i / rateHz - passesAtS + 1.5 * BED_S) % BED_S) - BED_S / 2)
      const near = Math.exp(-(awayS * awayS) / 1.5)
      let wave = 0
      for (let harmonic = 1; harmonic <= 8; harmonic++) wave += Math.sin((2 * Math.PI * hz * harmonic * i) / rateHz) / harmonic
      bed[i] = (bed[i] as number) * (1 + 0.6 * near) + near * wave
    }
  }
  for (let horn = 0; horn < HORNS; horn++) {
    const from = Math.floor(random() * (BED_S - 1) * rateHz)
    const hz = 380 + 80 * random()
    for (let i = 0; i < rateHz * 0.4; i++) {
      bed[from + i] = (bed[from + i] as number) + 0.8 * (Math.sin((2 * Math.PI * hz * i) / rateHz) + Math.sin((2 * Math.PI * hz * 1.26 * i) / rateHz))
    }
  }
}
