import { smallArray } from '../../core/small-arrays.js'
import { FRAME_MS } from '../../core/units.js'
import { LEVEL_STEPS, dbfsOf, levelStep } from './frame-figures.js'

/** The level of a voice is what a tenth of its frames exceeds: steadier than the loudest, and free of pauses. */
const LOUD_SHARE = 0.1
/** Voice in understood speech before its level is used: the shortest "yes". */
const LEARNT_MS_MIN = 160
/** Voice that the level remembers: of older voice less and less counts. */
const LEARNT_MS_MAX = 30_000
/**
 * Share that older voice keeps after each second of newer voice while it waits for its words, so that a television that
 * was on before is not learnt with the caller. With 0.8 a first sentence of 1.3 s after 4 s of a television was learnt 3
 * dB too soft, and the television took seven turns (`bench/vad/main.js --floor`).
 */
const PENDING_KEPT = 0.7
const PENDING_KEPT_FRAMES = 1000 / FRAME_MS
/** Voice that waits for its words this long without further voice belongs to nobody. */
const PENDING_QUIET_MS = 3000
/**
 * The envelope follows a louder frame at once and falls by this much a frame: from a caller's level to a television's
 * in 340 ms, by which the end of a turn may come later. Twice as fast, soft syllables of a caller who has become 10 dB
 * softer were refused (42 of 48 interruptions instead of 48; `bench/vad/main.js --floor`).
 */
const FALL_DB = 1
/**
 * The envelope follows the loudest frames, the level is what a tenth exceeds: in the prompts of Debian's three speakers
 * the loudest hundredth is 2.1 to 3.6 dB above that (the same bench). So the envelope counts as quieter already this
 * much before the limit, and as the caller's again with another 3 dB (chosen).
 */
const SPREAD_DB = 3
const BACK_DB = 3
/** Sounds begin softly: before that much voice the spread is not taken off, or an onset would be found 40 ms later. */
const ONSET_MS = 100
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
  readonly #learnt = smallArray(Float64Array, LEVEL_STEPS)
  readonly #pending = smallArray(Float64Array, LEVEL_STEPS)
  #learntFrames = 0
  #pendingFrames = 0
  #pendingAge = 0
  /** NaN before anything is learnt. */
  #levelDbfs = NaN
  #envelopeDbfs = dbfsOf(0)
  #refusing = false
  #quietMs = 0
  /** Since it was quiet for `FORGET_QUIET_MS`. */
  #voiceMs = 0
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
      this.#voiceMs = quietMs >= FORGET_QUIET_MS ? FRAME_MS : this.#voiceMs + FRAME_MS
      const limitDb = this.#quieterDb - (this.#voiceMs > ONSET_MS ? SPREAD_DB : 0) - (this.#refusing ? BACK_DB : 0)
      this.#refusing = this.#envelopeDbfs <= this.#levelDbfs - limitDb
      if (this.#refusing) {
        this.#refuse(agentTalking)
        return false
      }
    }
    if (quietMs >= PENDING_QUIET_MS) this.#clearPending()
    if (!doubtful) {
      if (++this.#pendingAge % PENDING_KEPT_FRAMES === 0) this.#agePending()
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

  #agePending(): void {
    for (let step = 0; step < LEVEL_STEPS; step++) this.#pending[step] = (this.#pending[step] as number) * PENDING_KEPT
    this.#pendingFrames *= PENDING_KEPT
  }

  #clearPending(): void {
    this.#pending.fill(0)
    this.#pendingFrames = 0
    this.#pendingAge = 0
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
