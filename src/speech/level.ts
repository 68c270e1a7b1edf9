import { frameSamples } from '../core/units.js'
import { energyOf } from '../media/pcm.js'
import { RECOGNISER_RATE_HZ } from './speech-protocol.js'

/**
 * An utterance's level is judged by its beginning, which is held back, and kept: some quiet before the onset, and about
 * a word. Shorter than any pause that ends an utterance and what comes before it, so nobody waits for it.
 */
export const LEVEL_SAMPLES = 0.7 * RECOGNISER_RATE_HZ
/** The level is what a tenth of the frames exceeds: in speech about 3 dB above their mean. */
const LOUD_SHARE = 0.1
/** 3 dB above the mean level at which the model hears people best. */
const LEVEL_DBFS = -23
/** A line without sound is not made loud: 30 dB, for speech at -53 dBFS. */
const GAIN_MAX = 32
const FRAME_SAMPLES = frameSamples(RECOGNISER_RATE_HZ)
const FULL_SCALE = 32_768

/**
 * By what the samples of an utterance are multiplied. A decoder subtracts the mean sound of its earlier utterances, of
 * all callers, so that somebody softer or louder than they were sounds like other words. To forget that mean before each
 * utterance (`reinitialize_audio`) is worse: of 96 known numbers (Allison and flite; as recorded, in noise, clipped, soft)
 * 80 were right instead of 88.
 * @param beginning  8 kHz; what lies beyond `LEVEL_SAMPLES` has no effect
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
