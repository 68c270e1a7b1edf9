import { z } from 'zod'
import { FRAME_MS } from '../../core/units.js'
import type { DocumentOf } from '../documents/document.js'
import type { TurnEnding } from './turn-words.js'

/** Minimum quiet that is a pause, in milliseconds. Shorter gaps are between syllables. */
export const PAUSE_MS_MIN = 200
/**
 * Minimum distance of the voice above the noise, in dB. At a smaller distance the last syllables of a word are missed,
 * and pauses seem too long.
 */
export const NOISY_DB = 24
/** Minimum duration of voice in a turn whose pauses count, in milliseconds; equal to `realSpeechMs`. */
export const SPOKEN_MS_MIN = 200
/** Numbers of voiced frames that are compared: the last frames, and the frames before them. */
const LAST_FRAMES = 10
const LEVEL_FRAMES = 3 * LAST_FRAMES
/** Numbers of pitches that are compared: the last pitches, and all pitches. */
const LAST_PITCHES = 5
const PITCH_FRAMES = 3 * LAST_PITCHES
/** Reference frequency from which semitones are counted. */
const REFERENCE_HZ = 100
/** Minimum weight of a frame in the caller's mean level and pitch. The means are steady after some seconds of voice. */
const MEAN_SHARE_MIN = 0.005

/** Facts that the decider of a pause uses in addition to the sound. */
export interface PauseContext {
  /** Length of this caller's longest pause, in milliseconds; 0 if unknown. */
  readonly longestMs: number
  /** Level of the voice above the noise of the line, in dB; NaN if unknown. */
  readonly overNoiseDb: number
  /** Ending of the words so far; null without words. */
  readonly ending: TurnEnding | null
}

/**
 * The caller's voice in the running turn, from which the figures of a pause are computed. Allocates only in its
 * constructor.
 */
export class TurnSound {
  /** Duration of voice in this turn, in milliseconds. */
  spokenMs = 0
  /** Duration of speech since the last pause, in milliseconds. */
  phraseMs = 0
  /** Number of earlier pauses in this turn. */
  pauses = 0
  /** Length of the last vowel, in milliseconds. */
  vowelMs = 0
  /** Length of voice without a pitch after the last vowel, in milliseconds. */
  tailMs = 0
  /** Mean length of the earlier vowels, in milliseconds; NaN without earlier vowels. */
  meanVowelMs = NaN
  readonly #levels = new Float32Array(LEVEL_FRAMES)
  readonly #pitches = new Float32Array(PITCH_FRAMES)
  #levelCount = 0
  #pitchCount = 0
  #meanDbfs = NaN
  #meanPitch = NaN
  #levelsHeard = 0
  #pitchesHeard = 0
  #vowels = 0
  #inVowel = false
  #isOver = false

  /**
   * Takes a frame with the caller's voice.
   * @param quietMs  quiet before the frame, in milliseconds
   */
  voiced(levelDbfs: number, pitchHz: number, quietMs: number): void {
    // A turn also begins here if only a short click of voice came before the pause.
    if (this.#isOver || (quietMs >= PAUSE_MS_MIN && this.spokenMs < SPOKEN_MS_MIN)) {
      this.#isOver = this.#inVowel = false
      this.spokenMs = this.phraseMs = this.pauses = this.vowelMs = this.tailMs = 0
      this.#levelCount = this.#pitchCount = 0
    } else if (quietMs >= PAUSE_MS_MIN) {
      this.phraseMs = 0
      this.pauses++
    }
    this.spokenMs += FRAME_MS
    this.phraseMs += FRAME_MS
    this.#levels[this.#levelCount++ % LEVEL_FRAMES] = levelDbfs
    this.#meanDbfs = mean(this.#meanDbfs, levelDbfs, ++this.#levelsHeard)
    if (pitchHz <= 0) {
      this.tailMs += FRAME_MS
      this.#inVowel = false
      return
    }
    if (!this.#inVowel || quietMs > 0) {
      if (this.vowelMs > 0) this.meanVowelMs = mean(this.meanVowelMs, this.vowelMs, ++this.#vowels)
      this.vowelMs = 0
    }
    this.#inVowel = true
    this.vowelMs += FRAME_MS
    this.tailMs = 0
    const semitones = 12 * Math.log2(pitchHz / REFERENCE_HZ)
    this.#pitches[this.#pitchCount++ % PITCH_FRAMES] = semitones
    this.#meanPitch = mean(this.#meanPitch, semitones, ++this.#pitchesHeard)
  }

  /** Notes that the turn has ended. The next voice begins another turn. */
  ended(): void {
    this.#isOver = true
  }

  /**
   * Fall of the level between two stretches of voice, in dB: the earlier 400 ms and the last 200 ms. NaN if the voice
   * was too short.
   */
  get levelFallDb(): number {
    return fall(this.#levels, this.#levelCount, LAST_FRAMES)
  }

  /** Distance of the last 200 ms of voice below the caller's mean level, in dB. */
  get levelBelowDb(): number {
    return below(this.#levels, this.#levelCount, LAST_FRAMES, this.#meanDbfs)
  }

  /**
   * Distance of the last frame below the caller's mean level, in dB. A voice that was cut off is still loud in its last
   * frame.
   */
  get endBelowDb(): number {
    return below(this.#levels, this.#levelCount, 1, this.#meanDbfs)
  }

  /**
   * Fall of the pitch between two stretches of voice, in semitones: the earlier 200 ms and the last 100 ms. NaN if the
   * voice was too short.
   */
  get pitchFall(): number {
    return fall(this.#pitches, this.#pitchCount, LAST_PITCHES)
  }

  /** Distance of the last 100 ms of voice below the caller's mean pitch, in semitones. */
  get pitchBelow(): number {
    return below(this.#pitches, this.#pitchCount, LAST_PITCHES, this.#meanPitch)
  }
}

/** Returns the running mean with a new value. After many values the mean changes slowly. */
function mean(before: number, value: number, count: number): number {
  return count === 1 ? value : before + (value - before) * Math.max(1 / count, MEAN_SHARE_MIN)
}

/** Mean of `count` values, after the newest `skip` values are left out. */
function meanOfLast(ring: Float32Array, written: number, count: number, skip: number): number {
  let sum = 0
  for (let i = 1; i <= count; i++) sum += ring[(written - skip - i) % ring.length] as number
  return sum / count
}

function fall(ring: Float32Array, written: number, last: number): number {
  if (written < 3 * last) return NaN
  return meanOfLast(ring, written, 2 * last, last) - meanOfLast(ring, written, last, 0)
}

function below(ring: Float32Array, written: number, last: number, level: number): number {
  return written < last ? NaN : level - meanOfLast(ring, written, last, 0)
}

const GOES_ON: ReadonlySet<TurnEnding> = new Set(['joins', 'hesitations', 'stems', 'comma', 'half-number', 'number'])
const COMPLETE: ReadonlySet<TurnEnding> = new Set(['yes-no', 'whole-number', 'question'])
const flag = (known: boolean, is: boolean): number => (known ? Number(is) : NaN)

type Figure = (sound: TurnSound, context: PauseContext) => number

/**
 * Figures of a pause, by name; NaN if a figure is unknown. The meaning of a name must not change, because stored files
 * use it.
 */
const FIGURES = {
  spokenMs: ({ spokenMs }) => spokenMs,
  phraseMs: ({ phraseMs }) => phraseMs,
  earlierPauses: ({ pauses }) => pauses,
  longestPauseMs: (_, { longestMs }) => longestMs,
  levelFallDb: (sound) => sound.levelFallDb,
  levelBelowDb: (sound) => sound.levelBelowDb,
  endBelowDb: (sound) => sound.endBelowDb,
  pitchFall: (sound) => sound.pitchFall,
  pitchBelow: (sound) => sound.pitchBelow,
  vowelMs: ({ vowelMs }) => vowelMs,
  vowelRatio: ({ vowelMs, meanVowelMs }) => vowelMs / meanVowelMs,
  tailMs: ({ tailMs }) => tailMs,
  overNoiseDb: (_, { overNoiseDb }) => overNoiseDb,
  wordsGoOn: (_, { ending }) => flag(ending !== null, ending !== null && GOES_ON.has(ending)),
  wordsComplete: (_, { ending }) => flag(ending !== null, ending !== null && COMPLETE.has(ending)),
} as const satisfies Readonly<Record<string, Figure>>

export type PauseFigure = keyof typeof FIGURES
export const PAUSE_FIGURES = Object.keys(FIGURES) as readonly PauseFigure[]

export function figureOf(name: PauseFigure, sound: TurnSound, context: PauseContext): number {
  const figure: Figure = FIGURES[name]
  return figure(sound, context)
}

export function figuresOf(sound: TurnSound, context: PauseContext): Readonly<Record<PauseFigure, number>> {
  return Object.fromEntries(PAUSE_FIGURES.map((name) => [name, figureOf(name, sound, context)])) as Record<
    PauseFigure,
    number
  >
}

/** Kinds of questions with a learned wait of their own. Pauses after these questions differ. */
export type LearnedAsked = 'open' | 'digits'

/** Maximum number of steps in one model. All steps take 2 µs, once per pause. */
export const LEARNED_STEPS_MAX = 200
/**
 * Limits of a learned wait, in milliseconds. Gaps between words are shorter than the minimum; after the maximum the
 * line would seem dead.
 */
const LEARNED_WAIT_MS = { least: 300, most: 1500 } as const

const points = z.number().min(-1000).max(1000)

/**
 * A learned wait, as plain numbers. Each step adds to a score if a figure is above the step's value. A higher score
 * means that the caller will more probably continue.
 */
export const learnedModelSchema = z.object({
  steps: z
    .array(
      z.object({
        figure: z.enum(PAUSE_FIGURES as readonly [PauseFigure, ...PauseFigure[]]),
        above: z.number().min(-1e6).max(1e6),
        adds: points,
      }),
    )
    .max(LEARNED_STEPS_MAX),
  usual: z
    .object({ open: points, digits: points, openInNoise: points, digitsInNoise: points })
    .describe(
      'Score of the usual end of a turn, by what was asked and in noise (less than 24 dB below the voice): there the wait is as long as without the model.',
    ),
  msPerPoint: z.number().min(0).max(10_000).describe('Milliseconds by which a point of the score lengthens the wait.'),
  shortestMs: z
    .number()
    .min(0)
    .max(10_000)
    .describe('Shortest wait that it makes, at least 300, unless that of the settings is shorter.'),
})
export type LearnedModel = DocumentOf<typeof learnedModelSchema>

/**
 * @param value  returns the value of a figure by its name
 * @returns the score; above 0 if the caller will probably continue
 */
export function scoreOf(
  { steps, usual }: Pick<LearnedModel, 'steps' | 'usual'>,
  asked: LearnedAsked,
  value: (figure: PauseFigure) => number,
): number {
  let score = -usual[value('overNoiseDb') < NOISY_DB ? (`${asked}InNoise` as const) : asked]
  // A comparison with NaN is false, so an unknown figure does not change the score.
  for (const { figure, above, adds } of steps) if (value(figure) > above) score += adds
  return score
}

/**
 * @param baseMs  the configured wait, lengthened for noise
 * @param floorMs  minimum wait that follows from the caller's own pauses and a held vowel
 * @returns the wait in milliseconds
 */
export function learnedWaitMs(
  { baseMs, floorMs }: { readonly baseMs: number; readonly floorMs: number },
  score: number,
  { msPerPoint, shortestMs }: Pick<LearnedModel, 'msPerPoint' | 'shortestMs'>,
): number {
  const learned = Math.max(Math.min(baseMs, Math.max(shortestMs, LEARNED_WAIT_MS.least)), baseMs + score * msPerPoint)
  return Math.max(floorMs, Math.min(learned, Math.max(baseMs, LEARNED_WAIT_MS.most)))
}
