import { frameSamples } from '../../src/core/units.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { ODDS_LIMIT, VOICE_DBFS_MIN } from '../../src/media/vad/detection-limits.js'
import { isPureTone } from '../../src/media/vad/pure-tone.js'
import type { Examples } from './fit.js'
import { type Origin, type SceneOptions, trainingScenes } from './scenes.js'
import { INPUTS, JsVoiceKernel, VoiceFeatures } from './voice-features.js'

/**
 * Training frames of the second stage, from the calls of `trainingScenes`. All frames of these calls change the memory.
 * Only frames that are likely speech by the `first` stage's numbers are learned.
 */
export async function secondExamples(options: SceneOptions, first: ArrayLike<number>): Promise<Examples[]> {
  const calls: Examples[] = []
  for await (const { rateHz, call, ...origin } of trainingScenes(options)) {
    const kernel = new JsVoiceKernel({ first })
    const features = new VoiceFeatures({ sampleRateHz: rateHz, kernel })
    const length = frameSamples(rateHz)
    const frames = Math.min(call.speech.length, Math.floor(call.samples.length / length))
    const inputs = new Float32Array(frames * INPUTS)
    const speech = Uint8Array.from({ length: frames }, (_, i) => (call.speech[i] === true ? 1 : 0))
    const weights = new Float32Array(frames)
    let sinceOnset = 0
    for (let i = 0; i < frames; i++) {
      const frame = call.samples.subarray(i * length, (i + 1) * length)
      features.take(frame)
      const odds = kernel.odds()
      inputs.set(kernel.inputs.subarray(0, INPUTS), i * INPUTS)
      inputs[(i + 1) * INPUTS - 1] = Math.max(-ODDS_LIMIT, Math.min(ODDS_LIMIT, odds))
      const spoken = speech[i] === 1
      sinceOnset = spoken && i > 0 && speech[i - 1] === 1 ? sinceOnset + 1 : 0
      if (odds <= 0 || levelDbfs(frame) <= VOICE_DBFS_MIN || isPureTone(frame, rateHz)) continue
      weights[i] = spoken ? speechWeight(origin, sinceOnset) : otherWeight(origin)
    }
    calls.push({ inputs, speech, weights })
  }
  return calls
}

type Weights = Partial<Record<Origin['sound'], number>>

/**
 * Weight of a frame in which somebody speaks. Frames of rare kinds have a higher weight, and frames that cannot be
 * recognised a lower weight. The first frames of speech and words after a pause also have a higher weight, because a
 * caller who was silent must be heard at once.
 */
function speechWeight({ scene, sound, snrDb }: Origin, sinceOnset: number): number {
  return (
    (scene === 'call' && snrDb <= HARD_DB ? (HARD_SPEECH_WEIGHTS[sound] ?? 1) : 1) *
    (SCENE_WEIGHTS[scene] ?? 1) *
    (snrDb === 0 && scene !== 'hold' ? HOPELESS_WEIGHT : 1) *
    (sinceOnset < ONSET_FRAMES ? ONSET_WEIGHT : 1)
  )
}

const HARD_DB = 10
const HARD_SPEECH_WEIGHTS: Weights = { babble: 2, music: 2 }
const SCENE_WEIGHTS: Partial<Record<Origin['scene'], number>> = { words: 2, talk: 2, hold: 1.5 }
const HOPELESS_WEIGHT = 0.6
const ONSET_FRAMES = 6
const ONSET_WEIGHT = 2

/** Weight of frames in which nobody speaks. */
function otherWeight({ scene, sound }: Origin): number {
  if (scene === 'nobody') return ALONE_WEIGHTS[sound] ?? STEADY_WEIGHT
  return scene === 'call' ? (PAUSE_WEIGHTS[sound] ?? 1) : scene === 'changing' ? CHANGING_WEIGHT : 1
}

const STEADY_WEIGHT = 10
const ALONE_WEIGHTS: Weights = { steps: 12, street: 3, knocks: 3, babble: 0.15, music: 1 }
const PAUSE_WEIGHTS: Weights = { babble: 1.5, music: 2, street: 1.5 }
const CHANGING_WEIGHT = 1.5
