import { z } from 'zod'
import { ANSWER_UNHEARD_MS } from '../core/limits.js'
import { FRAME_MS } from '../core/units.js'

/** A sound with a longer pause is over. Announcements and songs pause less; a person who is asked pauses more. */
const GOES_ON_MS = 2000
/** Voice after the end of our question: a person who is asked answers within it or is quiet. */
const AFTER_QUESTION_MS = 1500

/**
 * Finds that the caller has put us on hold: speech-like sound (songs, radio, a menu of another line) goes on and brings
 * no words, even over and after our question. Then the agent waits quietly, and what sounds gets an answer only if it is
 * understood.
 *
 *     listening --ANSWER_UNHEARD_MS of voice without words, and we asked--> suspected   it interrupts us no more
 *     suspected --afterMs of voice, AFTER_QUESTION_MS of it after our question--> waiting   for `maxMs` at most
 *     suspected --quiet for GOES_ON_MS--> listening
 *     (either)  --words, a digit--> listening, and the wait begins at nothing
 *     waiting   --we ask again because the line has fallen silent--> listening, the wait goes on where it was
 *     waiting   --quiet for GOES_ON_MS, where the backend answers whatever it is given--> listening, the same
 */
export class PutOnHold {
  waiting = false
  readonly #options: PutOnHoldOptions | null
  readonly #weighsSpeech: boolean
  /** Voice without words, with pauses under `GOES_ON_MS`. */
  voiceMs = 0
  #afterQuestionMs = 0
  #quietMs = 0
  #asked = false
  /** When we began to wait first since the last words; NaN when we did not. */
  #sinceMs = NaN

  /**
   * @param options  null: an agent that never waits on hold
   * @param weighsSpeech  the backend gets what sounds while we wait and answers only words. Without that it gets nothing
   *   while the sound goes on, so a pause must be enough to listen again
   */
  constructor(options: PutOnHoldOptions | null, weighsSpeech: boolean) {
    this.#options = options
    this.#weighsSpeech = weighsSpeech
  }

  /** The sound has gone on for so long that it is hardly the caller's. */
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

  /** Agent sound begins. */
  agentSounds(): void {
    if (this.voiceMs === 0 || this.waiting) return
    this.#asked = true
    this.#afterQuestionMs = 0
  }

  /** @returns when the wait is over */
  wait(nowMs: number): number {
    this.waiting = true
    if (Number.isNaN(this.#sinceMs)) this.#sinceMs = nowMs
    return this.#sinceMs + (this.#options?.maxMs ?? 0)
  }

  /** The line has fallen silent, and we ask. */
  ask(): void {
    this.waiting = false
    this.#soundOver()
  }

  /** Words were understood, or a digit was pressed. */
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
    .default(8000) // longer than people speak without a word that is understood
    .describe('Speech-like sound without words after which the agent, having asked once, waits silently.'),
  maxS: z
    .int()
    .min(5)
    .max(1800)
    .default(60)
    .describe('How long it waits for words; then it offers a call back if it can, or says goodbye.'),
})

interface PutOnHoldOptions {
  readonly afterMs: number
  readonly maxMs: number
}
