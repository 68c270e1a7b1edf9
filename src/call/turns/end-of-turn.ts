import { z } from 'zod'
import { FRAME_MS } from '../../core/units.js'
import type { LegRateHz } from '../../core/units.js'
import type { CallerExpectation } from '../backend-events.js'
import { onsets, waitWords } from './barge-in.js'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import { turnEnding } from './turn-words.js'
import type { Asked, TurnEnding } from './turn-words.js'

/** One frame of 20 ms, its figures in the steps of a journal. */
interface TurnFrame {
  /** The caller's own voice is in it. */
  readonly voiced: boolean
  readonly levelDbfs: number
  /** 0 when it is not known. */
  readonly pitchHz: number
  /** Quiet before a voiced frame of a running turn, or of one that ended less than `RESUMED_MS_MAX` ago; else 0. */
  readonly pauseMs: number
}

/**
 * Decides how long a pause of one caller ends the turn. It gets every frame in order, and is asked in those without
 * voice, so its answer may change while a pause lasts.
 */
export interface TurnDecider {
  /** Quiet after the last voiced sample that ends the turn, as of the last frame, in milliseconds. */
  readonly waitMs: number
  /** The figures that made `waitMs`, for the timeline. Allocates. */
  readonly why: string
  /** The expected answer, until the next such call. */
  expect(what: CallerExpectation): void
  /** @param frame  the same object each time */
  frame(frame: TurnFrame): void
  /** The turn has ended. */
  ended(): void
  /** More words of the turn, or other ones than before: all of them so far. Not every backend delivers them. */
  words?(text: string, asked: Asked): void
  /** The samples of the next `frame`, for a decider that listens itself. Valid only during the call. */
  hear?(pcm: Int16Array): void
}

/** Makes the decider of each call in place of the gateway's own; docs/VAD.md shows how one is plugged in. */
export interface TurnBank {
  open(options: SpeechOptions, sampleRateHz: LegRateHz): TurnDecider
}

/** The same pause for everyone. */
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

/** A caller who goes on within this after the end of a turn had only paused. */
export const RESUMED_MS_MAX = 1200
/** Two syllables may be this far apart. */
const PAUSE_MS_MIN = 200
/** A word or two has no pause inside. */
const YES_NO_MS = 400
/** Between groups of digits people pause for up to 600 ms. */
const DIGITS_MS = 660
/** A caller who reads a number from a card says one digit a second. */
const MORE_DIGITS_MS = 1400
/** A longer wait is taken for a dead line. */
const OPEN_MS_MAX = 900
/** A caller pauses again as long as before, and somewhat longer. */
const LONGER_BY_MS = 140
/** How much of the longest pause is left for the next turn. */
const KEPT_FOR_NEXT_TURN = 0.75
/**
 * Sound that is louder than the noise but not voiced (an "s", breath, the soft end of a word) is not quiet: a pause
 * begins after it, if it follows the voice at once. Later in a pause it is a soft beginning of the next word, so the
 * turn does not end within `RISING_MS` of it.
 */
const SOFT_MS_MAX = 300
const SOFT_YES_NO_MS_MAX = 60
const SOFT_OVER_NOISE_DB = 5
const SOFT_BELOW_VOICE_DB = 25
const RISING_MS = 100
const RISING_MS_MAX = 300
/** In noise the last syllables of a word are missed, so a pause seems longer than it is. */
const NOISY_DB = 24
const NOISY_MS_PER_DB = 22
const NOISY_MS_MAX = 160
const NOISY_DIGITS_MS_MAX = 80
/** A vowel that is held at one pitch for this long: "and", "so", "er". */
const HELD_FRAMES = 14
const HELD_RATIO_MAX = 2 ** (1 / 12)
const HELD_MS = 900
/**
 * By how much the words lengthen the pause, and the longest pause that they can make. Who has said "and" looks for the next
 * words longer than who has said "um". bench/endpointing/README.md, "With words", has what these figures cut.
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
/** A question mark is believed once the recogniser has left it in place for this long. */
const QUESTION_MARK_MS = 200
const VOICE_SHARE = 0.05
const NOISE_FALL_SHARE = 0.1
const NOISE_RISE_SHARE = 0.03

/**
 * The pause that ends a turn, by what is expected, how this caller pauses, how he sounds before the pause, and how much
 * of his voice the line lets through. The figures were chosen on two recorded speakers by `npm run bench --
 * --endpointing`; bench/endpointing/README.md has the table with those held out.
 */
export class AdaptivePause implements TurnDecider {
  readonly #openMs: number
  readonly #yesNoMs: number
  readonly #digitsMs: number
  readonly #moreDigitsMs: number
  readonly #byWords: NonNullable<SpeechOptions['words']> | null
  /** How the words so far end; null: none were delivered in this turn. */
  #ending: TurnEnding | null = null
  #text = ''
  /** Since the words have changed. */
  #sameWordsMs = 0
  #expected: CallerExpectation = 'open'
  /** The longest pause in this turn; less of it from earlier ones. */
  #longestMs = 0
  #noiseDbfs = NaN
  #voiceDbfs = NaN
  /** Since the last voiced frame: all, up to the end of the soft sound that follows it, and up to a later sound. */
  #unvoicedMs = 0
  #softMs = 0
  #risingMs = 0
  #heldFrames = 0
  #lowestHz = 0
  #highestHz = 0

  constructor(options: SpeechOptions) {
    this.#openMs = options.endOfSpeechMs
    this.#yesNoMs = Math.min(YES_NO_MS, this.#openMs)
    this.#digitsMs = Math.max(DIGITS_MS, this.#openMs)
    this.#moreDigitsMs = Math.max(MORE_DIGITS_MS, this.#openMs)
    this.#byWords = options.words ?? null
  }

  expect(what: CallerExpectation): void {
    this.#expected = what
  }

  words(text: string, asked: Asked): void {
    if (this.#byWords === null || text === this.#text) return
    this.#text = text
    this.#sameWordsMs = 0
    this.#ending = turnEnding(text, asked)
  }

  frame({ voiced, levelDbfs, pitchHz, pauseMs }: TurnFrame): void {
    this.#sameWordsMs += FRAME_MS
    if (voiced) {
      if (pauseMs >= PAUSE_MS_MIN && pauseMs > this.#longestMs) this.#longestMs = pauseMs
      this.#voiceDbfs = Number.isNaN(this.#voiceDbfs)
        ? levelDbfs
        : this.#voiceDbfs + (levelDbfs - this.#voiceDbfs) * VOICE_SHARE
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
      return Math.min(Math.max(bySoundMs, this.#pauseMs * factor), longestMs)
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
      (this.#held ? ', a held tone' : '') +
      (this.#risingMs > 0 ? `, sound at ${this.#risingMs} ms` : '') +
      (this.#ending === null ? '' : `; words: ${this.#ending}`)
    )
  }

  get #pauseMs(): number {
    if (this.#expected === 'yes-no') return this.#yesNoMs
    if (this.#expected === 'digits' || this.#expected === 'more-digits') {
      const ms = this.#expected === 'digits' ? this.#digitsMs : this.#moreDigitsMs
      return ms + Math.min(this.#noisyMs, NOISY_DIGITS_MS_MAX)
    }
    const own = this.#longestMs === 0 ? 0 : Math.min(OPEN_MS_MAX, this.#longestMs + LONGER_BY_MS)
    return Math.max(this.#openMs + this.#noisyMs, own, this.#held ? HELD_MS : 0)
  }

  get #noisyMs(): number {
    const overDb = this.#voiceDbfs - this.#noiseDbfs
    // Neither is known in the first frames.
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

/** `turn:` of an agent's file. */
export const turnSchema = z.strictObject({
  endOfSpeechMs: z
    .int()
    .min(200)
    .max(3000)
    .default(620) // adaptive, so more in noise and after longer pauses; bench/endpointing/README.md has what it cuts
    .describe(
      "Silence after the last voiced sample that ends the caller's turn. Only for backends that do not detect turns by " +
        'themselves.',
    ),
  adaptive: z
    .boolean()
    .default(true)
    .describe(
      'Wait shorter for a yes or a no, longer for digits, in noise, and for a caller who pauses; endOfSpeechMs is the ' +
        'quiet for anything else. False: always endOfSpeechMs.',
    ),
  words: z
    .strictObject({
      completeMs: z
        .int()
        .min(100)
        .max(2000)
        .default(250) // a gap between two words is shorter
        .describe(
          'Silence that ends a turn whose words are complete: a yes or a no that was asked for, a whole number, a question.',
        ),
      unfinishedMs: z
        .int()
        .min(0)
        .max(5000)
        .default(2000) // who looks for a word takes up to 1.5 s; bench/endpointing/README.md has what it cuts
        .describe('Longest silence in addition after words that go on: "and", "lakini", "um", half a number.'),
      numberDigits: z
        .array(z.int().min(1).max(30))
        .max(10)
        .default([])
        .describe(
          'How many digits the numbers have that the agent asks for, where its question does not say. Phone numbers are known.',
        ),
    })
    .nullable()
    .prefault({})
    .describe(
      'Changes of an adaptive wait by the words so far, with backends that deliver them while the caller speaks. null: none.',
    ),
  waitWords,
})

const { waitWords: _, ...pauses } = turnSchema.shape
/** Cuts the caller's sound into turns: what a session has of `turn` and `bargeIn`. */
export const speechOptionsSchema = inSession({ ...onsets, ...pauses }, ['doubtfulOnsetMs', 'words']).extend({
  /** Voice in one segment that makes it speech rather than comfort noise or a click. */
  realSpeechMs: z.number(),
})
export type SpeechOptions = DocumentOf<typeof speechOptionsSchema>
