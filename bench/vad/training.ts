import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { VOICE_DBFS_MIN } from '../../src/media/vad/detection-limits.js'
import { isPureTone } from '../../src/media/vad/pure-tone.js'
import { seededRandom } from '../../src/carrier/random.js'
import {
  comesAndGoes,
  joined,
  type LabelledCall,
  makeCalls,
  noiseOf,
  speakUtterances,
  throughLine,
  type Utterances,
  atLevel,
} from './corpus.js'
import type { Examples } from './fit.js'
import { drawnStyle, music } from './music.js'
import { knocks, type Noise, NOISES } from './sounds.js'
import { INPUTS, JsVoiceKernel, VoiceFeatures } from './voice-features.js'

/** Origin of a training frame, on which its weight depends. */
interface Origin {
  /** `call`: a caller over a noise. `changing`: over a noise that comes and goes. `nobody`: no caller. */
  readonly scene: 'call' | 'changing' | 'nobody'
  readonly sound: Noise | 'none' | 'knocks'
  /** Ratio of speech to noise in dB; 0 if nobody speaks. */
  readonly snrDb: number
  readonly rateHz: LegRateHz
}

/** @param sinceOnset number of frames since the caller began to speak; null if the caller is not speaking */
type Weigh = (origin: Origin, sinceOnset: number | null) => number

interface FirstOptions {
  readonly utterances: number
  /** Duration in ms of each sound in which nobody speaks. */
  readonly soundMs: number
  /** Default: both rates. */
  readonly ratesHz?: readonly LegRateHz[]
  readonly noises?: readonly Noise[]
  /** `frameWeight` when not given. */
  readonly weigh?: Weigh
}

/**
 * Weight of a frame. Difficult frames have a higher weight, and frames that cannot be recognised a lower weight. A
 * false detection stops the agent, so it costs more than a missed frame of speech. The first frames of speech also have
 * a higher weight, because a barge-in waits for them.
 */
const frameWeight: Weigh = ({ scene, sound, snrDb }, sinceOnset) => {
  const weight =
    scene === 'nobody'
      ? 1
      : scene === 'changing'
        ? CHANGING_WEIGHT
        : snrDb === 0
          ? HOPELESS_WEIGHT
          : snrDb <= 10
            ? (HARD_WEIGHTS[sound] ?? 1)
            : 1
  if (sinceOnset === null) return sound === 'knocks' ? KNOCKS_WEIGHT : weight
  return weight * SPEECH_WEIGHT * (sinceOnset < ONSET_FRAMES ? ONSET_WEIGHT : 1)
}

const CHANGING_WEIGHT = 2
const HOPELESS_WEIGHT = 0.5
const HARD_WEIGHTS: Partial<Record<Origin['sound'], number>> = { babble: 3.5, music: 2.5 }
const KNOCKS_WEIGHT = 1.5
const SPEECH_WEIGHT = 0.75
const ONSET_FRAMES = 4
const ONSET_WEIGHT = 2

/**
 * Material from which the first stage's numbers are derived. It contains voices, words, music and seeds that no other
 * split uses (`splits.ts`), on telephone lines and other lines. Scenes without a speaker contain noise that starts and
 * stops, people at other tables, knocks and music.
 */
export async function firstExamples(options: FirstOptions): Promise<Examples> {
  const frames: Float32Array[] = []
  const speech: number[] = []
  const weights: number[] = []
  const { ratesHz = [8000, 16000], noises = FIRST_NOISES, weigh = frameWeight } = options
  const add = (call: LabelledCall, origin: Origin): void => {
    const { rateHz } = origin
    const kernel = new JsVoiceKernel()
    const features = new VoiceFeatures({ sampleRateHz: rateHz, kernel })
    const length = frameSamples(rateHz)
    let sinceOnset = 0
    call.speech.forEach((spoken, i) => {
      const frame = call.samples.subarray(i * length, (i + 1) * length)
      features.take(frame)
      sinceOnset = spoken && i > 0 && call.speech[i - 1] === true ? sinceOnset + 1 : 0
      // The detector does not get these frames.
      if (levelDbfs(frame) < VOICE_DBFS_MIN || isPureTone(frame, rateHz)) return
      frames.push(kernel.inputs.slice(0, INPUTS))
      speech.push(spoken ? 1 : 0)
      weights.push(weigh(origin, spoken ? sinceOnset : null))
    })
  }
  for (const rateHz of ratesHz) {
    const utterances = await speakUtterances(rateHz, options.utterances, 'training')
    // Many callers on a 16 kHz line have passed a line of 8 kHz before.
    const lines = (i: number): boolean => rateHz === 8000 || i % 2 === 0
    for (const call of makeCalls({ utterances, noise: null, snrDb: 0, seed: 11, telephone: lines(1) })) {
      add(call, { scene: 'call', sound: 'none', snrDb: Infinity, rateHz })
    }
    noises.forEach((sound, n) =>
      SNRS_DB.forEach((snrDb, s) => {
        for (const call of makeCalls({ utterances, noise: sound, snrDb, seed: 20 + snrDb, telephone: lines(n + s) })) {
          add(call, { scene: 'call', sound, snrDb, rateHz })
        }
      }),
    )
    nothingSaid(utterances, options.soundMs, noises).forEach(({ sound, samples }, i) => {
      add(silent(throughLine(samples, rateHz, lines(i)), rateHz), { scene: 'nobody', sound, snrDb: 0, rateHz })
    })
  }
  for (const rateHz of ratesHz) {
    const utterances = await speakUtterances(rateHz, Math.round(options.utterances * CHANGING_SHARE), 'training')
    const telephone = rateHz === 8000
    const scenes = [
      ...noises.flatMap((sound) => [20, 10, 5].map((snrDb) => ({ sound, snrDb, seed: 50 + snrDb }))),
      ...[45, 30].map((snrDb) => ({ sound: 'pink' as const, snrDb, seed: 70 + snrDb })),
    ]
    for (const { sound, snrDb, seed } of scenes) {
      for (const call of makeCalls({ utterances, noise: sound, snrDb, seed, telephone, changes: true })) {
        add(call, { scene: 'changing', sound, snrDb, rateHz })
      }
    }
    const random = seededRandom(6)
    noises.forEach((sound, i) => {
      const samples = atLevel(
        noiseOf(sound, { rateHz, ms: options.soundMs, seed: 7000 + i }, utterances),
        -18 - 20 * random(),
      )
      comesAndGoes(samples, rateHz, random)
      add(silent(throughLine(samples, rateHz, telephone), rateHz), { scene: 'changing', sound, snrDb: 0, rateHz })
    })
  }
  const inputs = new Float32Array(frames.length * INPUTS)
  frames.forEach((frame, i) => inputs.set(frame, i * INPUTS))
  return { inputs, speech: Uint8Array.from(speech), weights: Float32Array.from(weights) }
}

const FIRST_NOISES = NOISES.filter((noise) => noise !== 'street')
const SNRS_DB = [20, 10, 5, 0] as const
const CHANGING_SHARE = 0.3
const PIECES = 30
const KNOCKING = 6

function silent(samples: Int16Array, rateHz: LegRateHz): LabelledCall {
  return { samples, speech: new Array<boolean>(Math.floor(samples.length / frameSamples(rateHz))).fill(false) }
}

function nothingSaid(
  utterances: Utterances,
  ms: number,
  noises: readonly Noise[],
): { readonly sound: Noise | 'knocks'; readonly samples: Float64Array }[] {
  const { rateHz } = utterances
  const random = seededRandom(5)
  const sounds: { readonly sound: Noise | 'knocks'; readonly samples: Float64Array }[] = []
  for (let seed = 1000; seed < 1000 + PIECES; seed++) {
    sounds.push({
      sound: 'music',
      samples: atLevel(music({ rateHz, ms, seed }, drawnStyle(seed)), -15 - 20 * random()),
    })
  }
  noises.forEach((noise, i) => {
    if (noise === 'music') return
    for (const dbfs of [-18, -32]) {
      const sound = atLevel(noiseOf(noise, { rateHz, ms, seed: 4000 + i }, utterances), dbfs)
      // The sound starts with the first frame, and starts again after each of two pauses.
      const part = Math.floor(sound.length / 3)
      const pause = noiseOf('white', { rateHz, ms: 2500, seed: 5000 + i }, utterances).map((value) => 8 * value)
      const samples = joined([
        sound.subarray(0, part),
        pause,
        sound.subarray(part, 2 * part),
        pause,
        sound.subarray(2 * part),
      ])
      sounds.push({ sound: noise, samples })
    }
  })
  for (let seed = 6000; seed < 6000 + KNOCKING; seed++)
    sounds.push({ sound: 'knocks', samples: knocks({ rateHz, ms, seed }) })
  return sounds
}

/**
 * Number of digits of the stored numbers. More digits have no effect: even the last of these digits changes only the
 * fourth digit of F1.
 */
const DIGITS = 4

/** The numbers as they are stored, rounded. */
export function rounded(model: ArrayLike<number>): number[] {
  return Array.from(model, (number) => Number(number.toPrecision(DIGITS)))
}

/** The numbers of both stages. */
export interface Models {
  readonly first: ArrayLike<number>
  readonly second: ArrayLike<number>
}

/** @returns content of `src/media/vad/voice-model.f32`: the rounded numbers of both stages as little-endian f32 */
export function modelBytes({ first, second }: Models): Uint8Array {
  return new Uint8Array(Float32Array.from([...rounded(first), ...rounded(second)]).buffer)
}
