import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { VOICE_DBFS_MIN } from '../../src/media/caller-path.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { isPureTone } from '../../src/media/tone-guard.js'
import { VoiceFeatures } from '../../src/media/voice-features.js'
import { INPUTS, JsVoiceKernel } from '../../src/media/voice-kernel.js'
import { seededRandom } from '../../src/simulator/random.js'
import { type LabelledCall, type Utterances, comesAndGoes, joined, makeCalls, noiseOf, powerOf, speakUtterances, throughLine } from './corpus.js'
import type { Examples } from './fit.js'
import { TRAINING_STYLES, music } from './music.js'
import { NOISES, type Noise, knocks } from './sounds.js'

/**
 * The material that the detector's numbers are derived from: voices, words, music and seeds of their own (`Split`), on
 * telephone lines and others. Where nobody speaks there is noise that begins and ends, people at other tables, knocks and
 * music.
 */
export async function trainingExamples(options: { readonly utterances: number, readonly soundMs: number }): Promise<Examples> {
  const frames: Float32Array[] = []
  const speech: number[] = []
  const weights: number[] = []
  const add = (call: LabelledCall, rateHz: LegRateHz, weight: number): void => {
    const kernel = new JsVoiceKernel()
    const features = new VoiceFeatures({ sampleRateHz: rateHz, kernel })
    const length = frameSamples(rateHz)
    call.speech.forEach((spoken, i) => {
      const frame = call.samples.subarray(i * length, (i + 1) * length)
      features.take(frame)
      // The detector is not asked about these.
      if (levelDbfs(frame) < VOICE_DBFS_MIN || isPureTone(frame, rateHz)) return
      frames.push(kernel.inputs.slice())
      speech.push(spoken ? 1 : 0)
      weights.push(weight)
    })
  }
  for (const rateHz of [8000, 16000] as const) {
    const utterances = await speakUtterances(rateHz, options.utterances, 'training')
    // Also on a line of 16 kHz many a caller has come through an older one.
    const lines = (i: number): boolean => rateHz === 8000 || i % 2 === 0
    for (const call of makeCalls({ utterances, noise: null, snrDb: 0, seed: 11, telephone: lines(1) })) add(call, rateHz, 1)
    NOISES.forEach((noise, n) => SNRS_DB.forEach((snrDb, s) => {
      const calls = makeCalls({ utterances, noise, snrDb, seed: 20 + snrDb, telephone: lines(n + s) })
      for (const call of calls) add(call, rateHz, weightOf(noise, snrDb))
    }))
    nothingSaid(utterances, options.soundMs).forEach((samples, i) => {
      add(silent(throughLine(samples, rateHz, lines(i)), rateHz), rateHz, SILENCE_WEIGHT)
    })
  }
  for (const rateHz of [8000, 16000] as const) {
    const utterances = await speakUtterances(rateHz, Math.round(options.utterances * CHANGING_SHARE), 'training')
    const telephone = rateHz === 8000
    NOISES.forEach((noise) => [20, 10, 5].forEach((snrDb) => {
      for (const call of makeCalls({ utterances, noise, snrDb, seed: 50 + snrDb, telephone, changes: true })) add(call, rateHz, 1.5)
    }))
    for (const snrDb of [45, 30]) {
      for (const call of makeCalls({ utterances, noise: 'pink', snrDb, seed: 70 + snrDb, telephone, changes: true })) add(call, rateHz, 1.5)
    }
    const random = seededRandom(6)
    NOISES.forEach((noise, i) => {
      const sound = atLevel(noiseOf(noise, { rateHz, ms: options.soundMs, seed: 7000 + i }, utterances), -18 - 20 * random())
      comesAndGoes(sound, rateHz, random)
      add(silent(throughLine(sound, rateHz, telephone), rateHz), rateHz, 1.5)
    })
  }
  const inputs = new Float32Array(frames.length * INPUTS)
  frames.forEach((frame, i) => inputs.set(frame, i * INPUTS))
  return { inputs, speech: Uint8Array.from(speech), weights: Float32Array.from(weights) }
}

const SNRS_DB = [20, 10, 5, 0] as const
const CHANGING_SHARE = 0.3
const SILENCE_WEIGHT = 1

/** The hard ones count more, the hopeless ones less. */
function weightOf(noise: Noise, snrDb: number): number {
  const hard = noise === 'babble' || noise === 'music'
  return snrDb === 0 ? 0.5 : hard && snrDb <= 10 ? 2.5 : 1
}

function silent(samples: Int16Array, rateHz: LegRateHz): LabelledCall {
  return { samples, speech: new Array<boolean>(Math.floor(samples.length / frameSamples(rateHz))).fill(false) }
}

function atLevel(sound: Float64Array, dbfs: number): Float64Array {
  const gain = (32_768 * 10 ** (dbfs / 20)) / Math.sqrt(powerOf(sound))
  return sound.map((value) => gain * value)
}

function nothingSaid(utterances: Utterances, ms: number): Float64Array[] {
  const { rateHz } = utterances
  const random = seededRandom(5)
  const sounds: Float64Array[] = []
  TRAINING_STYLES.forEach((style, i) => {
    for (const seed of [1000, 2000, 3000]) sounds.push(atLevel(music({ rateHz, ms, seed: seed + i }, style), -15 - 20 * random()))
  })
  NOISES.forEach((noise, i) => {
    if (noise === 'music') return
    for (const dbfs of [-18, -32]) {
      const sound = atLevel(noiseOf(noise, { rateHz, ms, seed: 4000 + i }, utterances), dbfs)
      // From the first frame on, and then twice after a pause.
      const part = Math.floor(sound.length / 3)
      const pause = noiseOf('white', { rateHz, ms: 2500, seed: 5000 + i }, utterances).map((value) => 8 * value)
      sounds.push(joined([sound.subarray(0, part), pause, sound.subarray(part, 2 * part), pause, sound.subarray(2 * part)]))
    }
  })
  sounds.push(knocks({ rateHz, ms, seed: 6000 }), knocks({ rateHz, ms, seed: 6001 }))
  return sounds
}
