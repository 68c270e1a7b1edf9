import { z } from 'zod'
import { FRAME_MS } from '../../core/units.js'
import type { LegRateHz } from '../../core/units.js'
import type { CallerExpectation } from '../backend-events.js'
import { onsets, waitWords } from './barge-in.js'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import {
  NOISY_DB,
  PAUSE_MS_MIN,
  TurnSound,
  figureOf,
  figuresOf,
  learnedModelSchema,
  learnedWaitMs,
  scoreOf,
} from './learned-pause.js'
import type { LearnedAsked, LearnedModel, PauseContext, PauseFigure } from './learned-pause.js'
import { turnEnding } from './turn-words.js'
import type { Asked, TurnEnding } from './turn-words.js'

/** One frame of 20 ms. Its figures are rounded as in a journal. */
interface TurnFrame {
  /** True if the frame has the caller's own voice. */
  readonly voiced: boolean
  readonly levelDbfs: number
  /** Pitch in hertz; 0 if unknown. */
  readonly pitchHz: number
  /**
   * Quiet before a voiced frame, in milliseconds. It is 0 if no turn is running and the last turn ended more than
   * `RESUMED_MS_MAX` ago.
   */
  readonly pauseMs: number
}

/**
 * Decides which pause of a caller ends the turn. It receives every frame in order. `waitMs` is read after each unvoiced
 * frame, because it may change during a pause.
 */
export interface TurnDecider {
  /**
   * Duration of quiet after the last voiced sample that ends the turn, in milliseconds. The value is valid for the
   * newest frame.
   */
  readonly waitMs: number
  /** Figures that decided `waitMs`, for the timeline. Allocates. */
  readonly why: string
  /** Sets the kind of the expected answer until the next call of this method. */
  expect(what: CallerExpectation): void
  /** @param frame  one object that is reused for each frame */
  frame(frame: TurnFrame): void
  /** Notes that the turn has ended. */
  ended(): void
  /** Takes all words of the turn so far, when words were added or changed. Some backends do not deliver words. */
  words?(text: string, asked: Asked): void
  /**
   * Takes the samples of the next `frame`, for a decider that uses audio. The samples are valid only until `hear`
   * returns.
   */
  hear?(pcm: Int16Array): void
}

/** Creates a decider for each call, in place of the gateway's decider; docs/VAD.md shows how to add a decider. */
export interface TurnBank {
  open(options: SpeechOptions, sampleRateHz: LegRateHz): TurnDecider
}

/** Decider that uses one fixed pause for all callers. */
export class FixedPause implements TurnDecider {
  readonly waitMs: number

  constructor(options: SpeechOptions) {
    this.waitMs = options.endOfSpeechMs
  }

  get why(): string {
    return `fixed ${this.waitMs} ms`
  }

  expect(): void {
    return
  }

  frame(): void {
    return
  }

  ended(): void {
    return
  }
}

/**
 * Maximum gap between the end of a turn and speech that continues the turn, in milliseconds. In this case the end was
 * only a pause.
 */
export const RESUMED_MS_MAX = 1200
/** Wait after a yes-no question, in milliseconds. An answer of one or two words does not contain a pause. */
const YES_NO_MS = 400
/** Wait for digits, in milliseconds. People pause for up to 600 ms between groups of digits. */
const DIGITS_MS = 660
/**
 * Wait while more digits are expected, in milliseconds. A caller who reads a number from a card says one digit a
 * second.
 */
const MORE_DIGITS_MS = 1400
/** Maximum wait after an open question, in milliseconds. After a longer wait callers think that the line is dead. */
const OPEN_MS_MAX = 900
/**
 * Time added to the caller's longest pause so far, in milliseconds. The caller's next pauses have about the same
 * length.
 */
const LONGER_BY_MS = 140
/** Share of the longest pause that is kept for the next turn. */
const KEPT_FOR_NEXT_TURN = 0.75
/**
 * Maximum length, in milliseconds, of sound that is above the noise but not voiced: an "s", breath, the soft end of a
 * word. Such sound is not quiet. If the sound follows the voice directly, the pause begins after the sound. If the
 * sound comes later in a pause, it is the soft beginning of a word. The turn does not end within `RISING_MS` after it.
 */
const SOFT_MS_MAX = 300
const SOFT_YES_NO_MS_MAX = 60
const SOFT_OVER_NOISE_DB = 5
const SOFT_BELOW_VOICE_DB = 25
const RISING_MS = 100
const RISING_MS_MAX = 300
const NOISY_MS_PER_DB = 22
const NOISY_MS_MAX = 160
const NOISY_DIGITS_MS_MAX = 80
/** Number of frames of a vowel held at one pitch, as in "and", "so", "er". */
const HELD_FRAMES = 14
const HELD_RATIO_MAX = 2 ** (1 / 12)
const HELD_MS = 900
/**
 * Factors by which unfinished words lengthen the pause. Callers search longer for words after "and" than after
 * "um" (bench/endpointing/README.md, "With words").
 */
const UNFINISHED: Partial<Record<TurnEnding, number>> = {
  joins: 2.5,
  hesitations: 2,
  stems: 1.5,
  comma: 1.5,
  'half-number': 3,
  number: 1.5,
}
const UNFINISHED_MS_MAX = 3000
/** Time for which the recogniser must keep a question mark before it counts, in milliseconds. */
const QUESTION_MARK_MS = 200
const VOICE_SHARE = 0.05
const NOISE_FALL_SHARE = 0.1
const NOISE_RISE_SHARE = 0.03

/**
 * Pause that ends a turn. Its length depends on the expected answer, the caller's usual pauses, the sound before the
 * pause, and the share of voice that the line transmits. The constants were chosen with two recorded speakers by `npm
 * run bench -- --endpointing`. bench/endpointing/README.md has results for other speakers.
 */
export class AdaptivePause implements TurnDecider {
  /** Learned model that decides about open turns and digits in place of the rules; null if the rules decide. */
  readonly #learned: LearnedModel | null
  readonly #sound: TurnSound | null
  /** Score of the running pause; NaN until it is computed. */
  #score = NaN
  readonly #openMs: number
  readonly #yesNoMs: number
  readonly #digitsMs: number
  readonly #moreDigitsMs: number
  readonly #byWords: NonNullable<SpeechOptions['words']> | null
  /** Ending of the words so far; null before the first words. */
  #ending: TurnEnding | null = null
  #text = ''
  /** Time since the words last changed, in milliseconds. */
  #sameWordsMs = 0
  #expected: CallerExpectation = 'open'
  /**
   * Length of the longest pause so far, in milliseconds. Pauses of earlier turns count less than pauses of this turn.
   */
  #longestMs = 0
  #noiseDbfs = NaN
  #voiceDbfs = NaN
  /**
   * Level of the voice above the noise, in dB. It is measured at the last voiced frame, because the noise estimate
   * falls in a pause.
   */
  #overNoiseDb = NaN
  /** Quiet since the last voiced frame, in milliseconds. */
  #unvoicedMs = 0
  /** Time from the last voiced frame to the end of the soft sound after it, in milliseconds. */
  #softMs = 0
  /** Time from the last voiced frame to a later soft sound in the pause, in milliseconds. */
  #risingMs = 0
  #heldFrames = 0
  #lowestHz = 0
  #highestHz = 0

  /** @param watched  true if the figures of pauses (`pause`) are needed even without a learned model */
  constructor(options: SpeechOptions, watched = false) {
    this.#learned = options.learned ?? null
    this.#sound = watched || this.#learned !== null ? new TurnSound() : null
    this.#openMs = options.endOfSpeechMs
    this.#yesNoMs = Math.min(YES_NO_MS, this.#openMs)
    this.#digitsMs = Math.max(DIGITS_MS, this.#openMs)
    this.#moreDigitsMs = Math.max(MORE_DIGITS_MS, this.#openMs)
    this.#byWords = options.words ?? null
  }

  expect(what: CallerExpectation): void {
    this.#expected = what
    this.#score = NaN
  }

  words(text: string, asked: Asked): void {
    if (this.#byWords === null || text === this.#text) return
    this.#text = text
    this.#sameWordsMs = 0
    this.#ending = turnEnding(text, asked)
    this.#score = NaN
  }

  frame({ voiced, levelDbfs, pitchHz, pauseMs }: TurnFrame): void {
    this.#sameWordsMs += FRAME_MS
    if (voiced) {
      if (pauseMs >= PAUSE_MS_MIN && pauseMs > this.#longestMs) this.#longestMs = pauseMs
      this.#voiceDbfs = Number.isNaN(this.#voiceDbfs)
        ? levelDbfs
        : this.#voiceDbfs + (levelDbfs - this.#voiceDbfs) * VOICE_SHARE
      this.#overNoiseDb = this.#voiceDbfs - this.#noiseDbfs
      this.#sound?.voiced(levelDbfs, pitchHz, this.#unvoicedMs)
      this.#score = NaN
      this.#unvoicedMs = this.#softMs = this.#risingMs = 0
      this.#hold(pitchHz)
      return
    }
    const noise = Number.isNaN(this.#noiseDbfs) ? levelDbfs : this.#noiseDbfs
    this.#noiseDbfs = noise + (levelDbfs - noise) * (levelDbfs < noise ? NOISE_FALL_SHARE : NOISE_RISE_SHARE)
    this.#unvoicedMs += FRAME_MS
    const soft = levelDbfs > this.#noiseDbfs + SOFT_OVER_NOISE_DB && levelDbfs > this.#voiceDbfs - SOFT_BELOW_VOICE_DB
    if (soft && this.#unvoicedMs <= SOFT_MS_MAX) this.#softMs = this.#unvoicedMs
    else if (soft) this.#risingMs = this.#unvoicedMs
  }

  ended(): void {
    this.#sound?.ended()
    this.#longestMs *= KEPT_FOR_NEXT_TURN
    this.#ending = null
    this.#text = ''
  }

  get waitMs(): number {
    const bySoundMs = this.#bySoundMs
    const ending = this.#ending
    const byWords = this.#byWords
    if (ending === null || byWords === null) return bySoundMs
    const factor = UNFINISHED[ending]
    if (factor !== undefined) {
      const longestMs = Math.min(bySoundMs + byWords.unfinishedMs, Math.max(bySoundMs, UNFINISHED_MS_MAX))
      return Math.min(Math.max(bySoundMs, this.#ruleMs * factor), longestMs)
    }
    const complete = ending === 'yes-no' || ending === 'whole-number' || ending === 'question'
    const sure = ending !== 'question' || this.#sameWordsMs >= QUESTION_MARK_MS
    if (!complete || !sure || this.#held || this.#risingMs > 0) return bySoundMs
    return Math.min(bySoundMs, byWords.completeMs + this.#noisyMs + Math.min(this.#softMs, SOFT_YES_NO_MS_MAX))
  }

  get #bySoundMs(): number {
    if (this.#expected === 'yes-no') return this.#pauseMs + Math.min(this.#softMs, SOFT_YES_NO_MS_MAX)
    const waitMs = this.#pauseMs + this.#softMs
    return this.#risingMs === 0
      ? waitMs
      : Math.min(Math.max(waitMs, this.#risingMs + RISING_MS), waitMs + RISING_MS_MAX)
  }

  get why(): string {
    const { voice, noise } = { voice: Math.round(this.#voiceDbfs), noise: Math.round(this.#noiseDbfs) }
    return (
      `${this.#expected}: ${Math.round(this.#pauseMs)} ms after ${this.#softMs} ms of soft sound; ` +
      `longest pause ${Math.round(this.#longestMs)} ms, voice ${voice} dBFS over ${noise}` +
      (this.#learned === null || Number.isNaN(this.#score) ? '' : `, learned score ${this.#score.toFixed(2)}`) +
      (this.#held ? ', a held tone' : '') +
      (this.#risingMs > 0 ? `, sound at ${this.#risingMs} ms` : '') +
      (this.#ending === null ? '' : `; words: ${this.#ending}`)
    )
  }

  get #pauseMs(): number {
    const model = this.#learned
    const sound = this.#sound
    const asked = this.#expected
    if (model === null || sound === null || asked === 'yes-no' || asked === 'more-digits') return this.#ruleMs
    if (Number.isNaN(this.#score)) {
      const context = this.#context
      this.#score = scoreOf(model, asked, (name) => figureOf(name, sound, context))
    }
    return learnedWaitMs({ baseMs: this.#baseMs, floorMs: this.#floorMs }, this.#score, model)
  }

  get #ruleMs(): number {
    if (this.#expected === 'yes-no') return this.#yesNoMs
    return Math.max(this.#baseMs, this.#floorMs)
  }

  /** Configured wait for the last question, lengthened for the noise of the line. */
  get #baseMs(): number {
    if (this.#expected === 'open') return this.#openMs + this.#noisyMs
    const ms = this.#expected === 'digits' ? this.#digitsMs : this.#moreDigitsMs
    return ms + Math.min(this.#noisyMs, NOISY_DIGITS_MS_MAX)
  }

  /** Minimum wait for this caller, computed from the caller's own pauses and from a held vowel. */
  get #floorMs(): number {
    if (this.#expected !== 'open') return 0
    const own = this.#longestMs === 0 ? 0 : Math.min(OPEN_MS_MAX, this.#longestMs + LONGER_BY_MS)
    return Math.max(own, this.#held ? HELD_MS : 0)
  }

  get #context(): PauseContext {
    return {
      longestMs: this.#longestMs,
      overNoiseDb: this.#overNoiseDb,
      ending: this.#byWords === null ? null : this.#ending,
    }
  }

  /** Figures of the running pause, for learning; null if a learned wait does not exist for the question. Allocates. */
  get pause(): {
    readonly asked: LearnedAsked
    readonly baseMs: number
    readonly floorMs: number
    readonly figures: Readonly<Record<PauseFigure, number>>
  } | null {
    const [sound, asked] = [this.#sound, this.#expected]
    if (sound === null || asked === 'yes-no' || asked === 'more-digits') return null
    return { asked, baseMs: this.#baseMs, floorMs: this.#floorMs, figures: figuresOf(sound, this.#context) }
  }

  get #noisyMs(): number {
    const overDb = this.#voiceDbfs - this.#noiseDbfs
    // In the first frames the levels of voice and noise are unknown.
    return overDb < NOISY_DB ? Math.min(NOISY_MS_MAX, (NOISY_DB - overDb) * NOISY_MS_PER_DB) : 0
  }

  get #held(): boolean {
    return this.#heldFrames >= HELD_FRAMES
  }

  #hold(pitchHz: number): void {
    const lowest = Math.min(pitchHz, this.#lowestHz)
    const highest = Math.max(pitchHz, this.#highestHz)
    if (pitchHz > 0 && this.#heldFrames > 0 && highest < lowest * HELD_RATIO_MAX) {
      this.#heldFrames++
      this.#lowestHz = lowest
      this.#highestHz = highest
    } else {
      this.#heldFrames = pitchHz > 0 ? 1 : 0
      this.#lowestHz = this.#highestHz = pitchHz
    }
  }
}

/** Returns the decider that the options configure. */
export function deciderOf(options: SpeechOptions): TurnDecider {
  return options.adaptive ? new AdaptivePause(options) : new FixedPause(options)
}

/** `turn:` of an agent's file. */
export const turnSchema = z.strictObject({
  endOfSpeechMs: z
    .int()
    .min(200)
    .max(3000)
    .default(620) // adaptive: longer in noise and after longer pauses; results are in bench/endpointing/README.md
    .describe(
      "Silence, after the last voiced sample, that ends the caller's turn. A backend with its own turn detection uses its own value (backends.NAME.turns).",
    ),
  adaptive: z
    .boolean()
    .default(true)
    .describe(
      'Uses a shorter wait for a yes or a no, and a longer wait for digits, in noise and for a caller who pauses (docs/VAD.md#the-settings). In all other cases the wait is endOfSpeechMs. false: always endOfSpeechMs.',
    ),
  learned: z
    .string()
    .min(1)
    .max(200)
    .nullable()
    .default(null)
    .describe(
      'File of the agents folder, made by `mkondo learn`, that decides the wait for open answers and digits (docs/VAD.md#learned-from-calls). mkondo check names a file that cannot be used, and then the rules decide. null: the rules.',
    ),
  words: z
    .strictObject({
      completeMs: z
        .int()
        .min(100)
        .max(2000)
        .default(250) // a gap between two words is shorter
        .describe(
          'Silence that ends a turn whose words are complete: the yes or no to a question, a whole number, a question.',
        ),
      unfinishedMs: z
        .int()
        .min(0)
        .max(5000)
        .default(2000) // a caller who searches for a word needs up to 1.5 s; results are in bench/endpointing/README.md
        .describe('Maximum additional silence after unfinished words: "and", "lakini", "um", half a number.'),
      numberDigits: z
        .array(z.int().min(1).max(30))
        .max(10)
        .default([])
        .describe(
          'Number of digits of each number that the agent asks for, such as [4, 10]. The list is used if the question does not name the number of digits. Phone numbers need no entry.',
        ),
    })
    .nullable()
    .prefault({})
    .describe(
      'Changes of an adaptive wait by the words that are already recognised. The backend must send words while the caller speaks, like a cascade with a streaming recogniser (docs/VAD.md#by-words). null: words have no effect.',
    ),
  waitWords,
})

const { waitWords: _waitWords, learned: _learned, ...pauses } = turnSchema.shape
/** Settings that divide the caller's sound into turns: keys of `turn` and `bargeIn` in a session. */
export const speechOptionsSchema = inSession({ ...onsets, ...pauses }, ['doubtfulOnsetMs', 'words']).extend({
  /**
   * Minimum duration of voice in a segment that counts as speech, in milliseconds. Comfort noise and clicks are
   * shorter.
   */
  realSpeechMs: z.number(),
  /** Model from the file `turn.learned`; null if the rules decide. Absent in journals of earlier builds. */
  learned: learnedModelSchema.nullable().exactOptional(),
})
export type SpeechOptions = DocumentOf<typeof speechOptionsSchema>
