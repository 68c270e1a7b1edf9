import { FRAME_MS, frameSamples } from '../../src/core/units.js'
import { joined } from '../../src/media/pcm.js'
import { dbToGain, rmsOf } from '../../src/carrier/line.js'
import type { Flite } from '../../src/speech/flite.js'

const RATE_HZ = 16_000
const LEVEL_RMS = 32_768 * dbToGain(-20)
/** Level below which frames within the speech count as quiet. */
const QUIET_RMS = 150
const QUIET_FRAMES_MAX = 2
const GAIN_MAX = 30

/**
 * The agent's voice. In its speech, quiet stretches last at most 40 ms, and the level is the same in every 20 ms. So if
 * the caller hears silence or a change of level, the gateway has caused it.
 */
export function agentSpeaker(
  flite: Flite,
): (text: string) => { readonly pcm: Int16Array; readonly sampleRateHz: 16_000 } {
  const known = new Map<string, Int16Array>()
  return (text) => {
    let pcm = known.get(text)
    if (pcm === undefined) {
      pcm = levelled(flite.speak(text, 'slt').pcm)
      known.set(text, pcm)
    }
    return { pcm, sampleRateHz: RATE_HZ }
  }
}

function levelled(speech: Int16Array): Int16Array {
  const length = frameSamples(RATE_HZ)
  const frames: { readonly pcm: Int16Array; readonly gain: number }[] = []
  let quiet = 0
  for (let at = 0; at + length <= speech.length; at += length) {
    const pcm = speech.subarray(at, at + length)
    const rms = rmsOf(pcm)
    quiet = rms < QUIET_RMS ? quiet + 1 : 0
    if (quiet > QUIET_FRAMES_MAX || (quiet > 0 && frames.length === 0)) continue
    frames.push({ pcm, gain: Math.min(GAIN_MAX, LEVEL_RMS / Math.max(1, rms)) })
  }
  let before = frames[0]?.gain ?? 1
  return joined(
    frames.map(({ pcm, gain }) => {
      const out = pcm.map((sample, i) => {
        const value = (before + (gain - before) * Math.min(1, (4 * i) / length)) * sample
        return Math.max(-32_768, Math.min(32_767, Math.round(value)))
      })
      before = gain
      return out
    }),
  )
}

/** Duration in ms of a text in the agent's voice. */
export const spokenMs = (pcm: Int16Array): number => Math.floor(pcm.length / frameSamples(RATE_HZ)) * FRAME_MS
