import { frameSamples } from '../core/units.js'
import { energyOf } from '../media/pcm.js'
import { RECOGNISER_RATE_HZ } from './speech-protocol.js'

/**
 * Number of samples from which an utterance's level is determined: some silence before the onset, and about one word.
 * The decoder gets samples only when all of these have arrived. They are shorter than any pause that ends an utterance,
 * so they do not delay the result.
 */
export const LEVEL_SAMPLES = 0.7 * RECOGNISER_RATE_HZ
/** Share of the frames that are louder than the measured level. In speech this level is about 3 dB above the mean. */
const LOUD_SHARE = 0.1
/**
 * Level in dBFS to which the gain brings speech. It is 3 dB above the mean level of speech that the model recognises
 * best.
 */
const LEVEL_DBFS = -23
/** Maximum gain: 30 dB, which speech at -53 dBFS needs. With this limit, a line without sound does not become loud. */
const GAIN_MAX = 32
const FRAME_SAMPLES = frameSamples(RECOGNISER_RATE_HZ)
const FULL_SCALE = 32_768

/**
 * @returns the gain for an utterance's samples. A decoder subtracts the mean sound of its earlier utterances, which may
 * be of other callers. So without this gain, a softer or louder caller would be recognised with wrong words. Resetting
 * the mean before each utterance (`reinitialize_audio`) gives worse results: of 96 known numbers, 80 instead of 88 are
 * recognised correctly. (The numbers were spoken by Allison and flite; as recorded, in noise, clipped, and soft.)
 * @param beginning  samples at 8 kHz; only the first `LEVEL_SAMPLES` are used
 */
export function gainOf(beginning: Int16Array): number {
  const energies: number[] = []
  for (let to = FRAME_SAMPLES; to <= Math.min(beginning.length, LEVEL_SAMPLES); to += FRAME_SAMPLES)
    energies.push(energyOf(beginning, to - FRAME_SAMPLES, to))
  const loud = energies.toSorted((a, b) => b - a)[Math.floor(energies.length * LOUD_SHARE)] ?? 0
  const rms = Math.sqrt(loud / FRAME_SAMPLES) / FULL_SCALE
  return Math.min(GAIN_MAX, 10 ** (LEVEL_DBFS / 20) / rms)
}

/** Within ±1. */
export function amplified(pcm: Int16Array, gain: number): Float32Array {
  const out = new Float32Array(pcm.length)
  for (let i = 0; i < pcm.length; i++) {
    const value = ((pcm[i] as number) / FULL_SCALE) * gain
    out[i] = value > 1 ? 1 : value < -1 ? -1 : value
  }
  return out
}
