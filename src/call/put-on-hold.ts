import { z } from 'zod'
import { ANSWER_UNHEARD_MS } from '../core/limits.js'
import { FRAME_MS } from '../core/units.js'

/**
 * Minimum length of a pause that ends a sound, in milliseconds. Pauses in announcements and songs are shorter; the
 * pause of a person who was asked a question is longer.
 */
const GOES_ON_MS = 2000
/**
 * Duration of voice after the gateway's question, in milliseconds, that shows a hold. A person who hears the question
 * either answers within this time or is quiet.
 */
const AFTER_QUESTION_MS = 1500

/**
 * Detects that the caller has put the agent on hold. Speech-like sound (songs, radio, the menu of another line)
 * continues without words, even during and after the gateway's question. In this case the agent waits silently and
 * answers only words.
 *
 *     listening --ANSWER_UNHEARD_MS of voice without words, and the gateway asked--> suspected   no barge-in any more
 *     suspected --afterMs of voice, AFTER_QUESTION_MS of it after the question--> waiting   for `maxMs` at most
 *     suspected --quiet for GOES_ON_MS--> listening
 *     (any)     --words, a digit--> listening; the total time of waiting is reset to 0
 *     waiting   --the line is silent, so the gateway asks again--> listening; the total time of waiting is kept
 *     waiting   --quiet for GOES_ON_MS, if the backend answers all sound--> listening; the total time is kept
 */
export class PutOnHold {
  waiting = false
  readonly #options: PutOnHoldOptions | null
  readonly #weighsSpeech: boolean
  /** Duration of voice without words, in milliseconds. The sum continues over pauses shorter than `GOES_ON_MS`. */
  voiceMs = 0
  #afterQuestionMs = 0
  #quietMs = 0
  #asked = false
  /** Time of the first wait after the last recognised words; NaN before the first wait. */
  #sinceMs = NaN

  /**
   * @param options  null if the agent never waits on hold
   * @param weighsSpeech  true if the backend receives the sound during the wait and answers only words. If false, the
   * backend does not receive the sound, so a pause is enough to listen again.
   */
  constructor(options: PutOnHoldOptions | null, weighsSpeech: boolean) {
    this.#options = options
    this.#weighsSpeech = weighsSpeech
  }

  /** True if the sound is too long to be the caller's speech. */
  get suspected(): boolean {
    return this.waiting || (this.#options !== null && this.#asked && this.voiceMs >= ANSWER_UNHEARD_MS)
  }

  /** @returns true when the wait begins with this frame */
  frame(voiced: boolean, agentTalking: boolean): boolean {
    if (this.#options === null) return false
    if (!voiced) {
      this.#quietMs += FRAME_MS
      if (this.#quietMs >= GOES_ON_MS && !(this.waiting && this.#weighsSpeech)) this.ask()
      return false
    }
    this.#quietMs = 0
    if (this.waiting) return false
    this.voiceMs += FRAME_MS
    if (this.#asked && !agentTalking) this.#afterQuestionMs += FRAME_MS
    return this.voiceMs >= this.#options.afterMs && this.#afterQuestionMs >= AFTER_QUESTION_MS
  }

  /** Notes that agent sound begins. */
  agentSounds(): void {
    if (this.voiceMs === 0 || this.waiting) return
    this.#asked = true
    this.#afterQuestionMs = 0
  }

  /** Starts the wait. @returns the time at which the wait ends */
  wait(nowMs: number): number {
    this.waiting = true
    if (Number.isNaN(this.#sinceMs)) this.#sinceMs = nowMs
    return this.#sinceMs + (this.#options?.maxMs ?? 0)
  }

  /** Notes that the line has become silent and the gateway asks again. */
  ask(): void {
    this.waiting = false
    this.#soundOver()
  }

  /** Notes that words were recognised or a digit was pressed. */
  understood(): void {
    this.ask()
    this.#sinceMs = NaN
  }

  #soundOver(): void {
    this.voiceMs = 0
    this.#afterQuestionMs = 0
    this.#asked = false
  }
}

/** `putOnHold:` of an agent's file. */
export const putOnHoldSchema = z.strictObject({
  afterMs: z
    .int()
    .min(3000)
    .max(60_000)
    .default(8000) // people do not speak for so long without a recognised word
    .describe('Length in ms of speech-like sound without words. Then the agent prompts once, and waits silently.'),
  maxS: z
    .int()
    .min(5)
    .max(1800)
    .default(60)
    .describe('Maximum wait for words. Then the agent offers a call back if escalation has callback, or says goodbye.'),
})

interface PutOnHoldOptions {
  readonly afterMs: number
  readonly maxMs: number
}
