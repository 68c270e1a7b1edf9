import { FRAME_MS } from '../core/units.js'
import { LEVEL_STEPS, dbfsOf, levelStep } from './frame-figures.js'

/** The level of a voice is what a tenth of its frames exceeds: steadier than the loudest, and free of pauses. */
const LOUD_SHARE = 0.1
/** Voice in understood speech before its level is used: the shortest "yes". */
const LEARNT_MS_MIN = 160
/** Voice that the level remembers: of older voice less and less counts. */
const LEARNT_MS_MAX = 30_000
/** Voice that waits for its words this long without further voice belongs to nobody. */
const PENDING_QUIET_MS = 3000
/**
 * The envelope follows a louder frame at once and falls by this much a frame: from a caller's level to a television's
 * in 160 ms, so that it lengthens the end of a turn by no more.
 */
const FALL_DB = 2
/**
 * Voices differ in how far their loudest frames stand out, by 3 dB in the prompts of Debian's three speakers. So the
 * envelope counts as quieter already this much before the limit, and as the caller's again with another 3 dB.
 */
const SPREAD_DB = 4
const BACK_DB = 3
/** Quiet after which the next voice is judged without regard to the one before. */
const FORGET_QUIET_MS = 600
/** A person who answers is quiet while we ask; a television is not. */
const OVER_QUESTION_MS_MAX = 200
const ANSWER_MS_MIN = 400

/**
 * Learns how loud the caller is, from speech that was understood, and tells much quieter voices from the caller's: a
 * television, somebody else in the room. Before anything is learnt nothing is refused.
 *
 *     own   --voice quieterDb under the caller's level--> other   refused: not the caller's voice
 *     other --voice near the caller's level, or quiet-->  own
 *     other --we asked, and only this voice answered-->   own     the caller has moved away: learnt anew
 */
export class CallerLevel {
  /** Refused voice since the caller was heard last, or since the last question. */
  refusedMs = 0
  readonly #quieterDb: number | null
  /** Frames at each step of the level: of understood speech, and of speech whose words may still come. */
  readonly #learnt = new Float64Array(LEVEL_STEPS)
  readonly #pending = new Float64Array(LEVEL_STEPS)
  #learntFrames = 0
  #pendingFrames = 0
  /** NaN before anything is learnt. */
  #levelDbfs = NaN
  #envelopeDbfs = dbfsOf(0)
  #refusing = false
  #quietMs = 0
  /** Since our last question: whether one was put, and refused voice while it was said and after. */
  #asked = false
  #overQuestionMs = 0
  #answerMs = 0

  /** @param quieterDb  null: nothing is ever refused */
  constructor(quieterDb: number | null) {
    this.#quieterDb = quieterDb
  }

  /** @returns true when the frame has the caller's voice. No allocation. */
  takes(voiced: boolean, doubtful: boolean, levelDbfs: number, agentTalking: boolean): boolean {
    if (!voiced) {
      this.#quietMs += FRAME_MS
      this.#envelopeDbfs = Math.max(dbfsOf(0), this.#envelopeDbfs - FALL_DB)
      if (this.#quietMs >= FORGET_QUIET_MS) this.#refusing = false
      return false
    }
    const quietMs = this.#quietMs
    const step = levelStep(levelDbfs)
    this.#quietMs = 0
    this.#envelopeDbfs = Math.max(dbfsOf(step), this.#envelopeDbfs - FALL_DB)
    if (this.#quieterDb !== null && !Number.isNaN(this.#levelDbfs)) {
      const limitDb = this.#quieterDb - SPREAD_DB - (this.#refusing ? BACK_DB : 0)
      this.#refusing = this.#envelopeDbfs <= this.#levelDbfs - limitDb
      if (this.#refusing) {
        this.#refuse(agentTalking)
        return false
      }
    }
    if (quietMs >= PENDING_QUIET_MS) this.#clearPending()
    if (!doubtful) {
      this.#pending[step] = (this.#pending[step] as number) + 1
      this.#pendingFrames++
    }
    return true
  }

  /** Words of the speech since the last words were understood: it was the caller's. */
  understood(): void {
    this.callerHeard()
    if (this.#pendingFrames * FRAME_MS < LEARNT_MS_MIN) return
    const share = Math.min(1, LEARNT_MS_MAX / FRAME_MS / (this.#learntFrames + this.#pendingFrames))
    for (let step = 0; step < LEVEL_STEPS; step++)
      this.#learnt[step] = ((this.#learnt[step] as number) + (this.#pending[step] as number)) * share
    this.#learntFrames = (this.#learntFrames + this.#pendingFrames) * share
    this.#clearPending()
    this.#levelDbfs = loudOf(this.#learnt, this.#learntFrames)
  }

  /** The caller was asked whether they are there. */
  ask(): void {
    this.callerHeard()
    this.#asked = true
  }

  /** Since the question only the quieter voice was heard, and it was silent while we asked. */
  get answers(): boolean {
    return this.#asked && this.#answerMs >= ANSWER_MS_MIN && this.#overQuestionMs <= OVER_QUESTION_MS_MAX
  }

  /** The quieter voice may be the caller's: what is understood from here on is learnt anew. */
  forget(): void {
    this.callerHeard()
    this.#clearPending()
    this.#learnt.fill(0)
    this.#learntFrames = 0
    this.#levelDbfs = NaN
    this.#refusing = false
  }

  get learnt(): boolean {
    return !Number.isNaN(this.#levelDbfs)
  }

  /** For the timeline: the envelope of the voice, and the caller's level. */
  get figures(): string {
    const own = Number.isNaN(this.#levelDbfs) ? 'not learnt' : `${Math.round(this.#levelDbfs)} dBFS`
    return `${Math.round(this.#envelopeDbfs)} dBFS, the caller's level ${own}`
  }

  #refuse(agentTalking: boolean): void {
    this.refusedMs += FRAME_MS
    if (agentTalking) this.#overQuestionMs += FRAME_MS
    else this.#answerMs += FRAME_MS
  }

  /** The caller's own voice was heard. */
  callerHeard(): void {
    this.refusedMs = 0
    this.#asked = false
    this.#overQuestionMs = 0
    this.#answerMs = 0
  }

  #clearPending(): void {
    this.#pending.fill(0)
    this.#pendingFrames = 0
  }
}

/** The level that `LOUD_SHARE` of the frames exceeds. */
function loudOf(frames: Float64Array, count: number): number {
  let louder = 0
  for (let step = LEVEL_STEPS - 1; step >= 0; step--) {
    louder += frames[step] as number
    if (louder >= count * LOUD_SHARE) return dbfsOf(step)
  }
  return dbfsOf(0)
}
