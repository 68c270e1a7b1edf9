import { joined, speakUtterances, truthOf } from '../../bench/vad/corpus.js'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'

const SENTENCES = 8

/**
 * Synthesised sentences of a caller, each from its first sound on; `speechLike` of tones.ts has no words and may be
 * detected as music.
 */
const VOICES: Readonly<Record<LegRateHz, readonly Float64Array[]>> = {
  8000: await voicesAt(8000),
  16000: await voicesAt(16_000),
}

/** Sentences one after another, beginning with index `first`, up to the duration. */
export function sentences(rateHz: LegRateHz, ms: number, first: number): Int16Array {
  const all = VOICES[rateHz]
  const spoken = joined(all.map((_, i) => all[(first + i) % all.length] as Float64Array))
  return Int16Array.from(spoken.subarray(0, (ms * rateHz) / 1000), Math.round)
}

async function voicesAt(rateHz: LegRateHz): Promise<Float64Array[]> {
  const { voices } = await speakUtterances(rateHz, SENTENCES)
  return voices.map((voice) => voice.subarray(truthOf(voice, rateHz).indexOf(true) * frameSamples(rateHz)))
}
