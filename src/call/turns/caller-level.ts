import { smallArray } from '../../core/small-arrays.js'
import { FRAME_MS } from '../../core/units.js'
import { LEVEL_STEPS, dbfsOf, hertzOf, levelStep, pitchStep } from './frame-figures.js'
import { SecondVoice } from './second-voice.js'

/**
 * Share of a voice's frames that are louder than the voice's level; this share defines the level. Such a level varies
 * less than the loudest frame, and pauses do not change it.
 */
const LOUD_SHARE = 0.1
/**
 * Minimum duration of voice in recognised speech before its level is used, in milliseconds. The shortest "yes" has this
 * duration.
 */
const LEARNT_MS_MIN = 160
/** Duration of voice that the level remembers, in milliseconds. Older voice has less and less weight. */
const LEARNT_MS_MAX = 30_000
/**
 * Share of older voice that remains after each second of newer voice, while the words of the older and the newer voice
 * are not recognised yet. A low share prevents an earlier television from being learnt as the caller's voice.
 * Measurement with 0.8: after 4 s of television and a short sentence (1.3 s), the learnt level was 3 dB too low. The
 * television then took seven turns (`bench/vad/main.js --floor`).
 */
const PENDING_KEPT = 0.7
const PENDING_KEPT_FRAMES = 1000 / FRAME_MS
/** Time in milliseconds after which voice without words is dropped if no further voice follows. */
const PENDING_QUIET_MS = 3000
/**
 * Fall of the envelope per frame, in dB. The envelope rises at once with a louder frame. At this speed the envelope
 * needs 340 ms to fall from a caller's level to a television's level, which may delay the end of a turn. At twice the
 * speed, soft syllables of a caller who had become 10 dB quieter were refused, and only 42 of 48 barge-ins were
 * detected (`bench/vad/main.js --floor`).
 */
const FALL_DB = 1
/**
 * Distance, in dB, between envelope and level. The envelope follows the loudest frames; the level is exceeded by a
 * tenth of the frames. For Debian's three speakers the loudest hundredth is 2.1 to 3.6 dB above the level (same bench).
 * Therefore a voice counts as quieter if its envelope is at most this distance above the limit. The voice counts as the
 * caller's again if the envelope is 3 dB higher; this value was chosen, not measured.
 */
const SPREAD_DB = 3
const BACK_DB = 3
/**
 * Minimum duration of voice before `SPREAD_DB` is subtracted, in milliseconds. Sounds begin softly; with a lower
 * minimum an onset would be detected 40 ms later.
 */
const ONSET_MS = 100
/** Maximum pause within a word or between two words, in milliseconds. */
const SAME_WORD_MS = 200
/** Quiet after which the next voice is judged independently of the previous voice, in milliseconds. */
const FORGET_QUIET_MS = 600
/**
 * Difference between the level of loud voice and the usual level, in dB. The mean weight of a voice is then 0.95 to
 * 1.02 (Debian's three speakers).
 */
const USUAL_UNDER_LOUD_DB = 5
/**
 * Usual level of loud voice on a telephone line, in dBFS. Used until the caller's own level is learnt. Lines differ
 * more than voices, so this value has little influence.
 */
const LOUD_DBFS = -15
/** Difference from the usual level within which the weight is 1, in dB: words of one speaker differ by this much. */
const WEIGHT_EVEN_DB = 3
/**
 * Difference that doubles or halves the weight, in dB: a frame 6 dB louder counts twice, a frame 6 dB softer counts
 * half.
 */
const WEIGHT_DB = 6
const WEIGHT_MAX = 2
const WEIGHT_UNLEARNT_MAX = 1.25
/**
 * Maximum duration of voice during the gateway's question, in milliseconds. A person who will answer is quiet during
 * the question; a television is not quiet.
 */
const OVER_QUESTION_MS_MAX = 200
const ANSWER_MS_MIN = 400

/**
 * Learns the caller's level from recognised speech, and refuses much quieter voices: a television, another person in
 * the room. Until the level is learnt, every voice is accepted.
 *
 *     own   --voice quieterDb under the caller's level--> other   refused: not the caller's voice
 *     other --voice near the caller's level, or quiet-->  own
 *     other --only this voice answered our question-->    own     the caller has moved away: learnt again
 */
export class CallerLevel {
  /** Duration of refused voice since the caller was last heard, or since the last question, in milliseconds. */
  refusedMs = 0
  readonly #quieterDb: number | null
  /**
   * Number of frames at each level step. The first array counts recognised speech. The second array counts speech whose
   * words may still arrive.
   */
  readonly #learnt = smallArray(Float64Array, LEVEL_STEPS)
  readonly #pending = smallArray(Float64Array, LEVEL_STEPS)
  #learntFrames = 0
  #pendingFrames = 0
  #pendingAge = 0
  /** Learnt level in dBFS; NaN before anything is learnt. */
  #levelDbfs = NaN
  #envelopeDbfs = dbfsOf(0)
  #refusing = false
  #quietMs = 0
  /** Duration of voice since the last quiet of `FORGET_QUIET_MS`, in milliseconds. */
  #voiceMs = 0
  /** True if the gateway has asked a question. */
  #asked = false
  /** Duration of refused voice during that question, in milliseconds. */
  #overQuestionMs = 0
  /** Duration of refused voice after that question, in milliseconds. */
  #answerMs = 0

  /** Another voice on the line; null if only `quieterDb` distinguishes voices. */
  readonly #second: SecondVoice | null

  /**
   * @param quieterDb  distance from the caller's level at which a voice is refused, in dB; null if voices are never
   * refused
   */
  constructor(quieterDb: number | null, judgesVoices = false) {
    this.#quieterDb = quieterDb
    this.#second = judgesVoices && quieterDb !== null ? new SecondVoice() : null
  }

  /** @returns true if the frame contains the caller's voice. Does not allocate. */
  takes(voiced: boolean, doubtful: boolean, levelDbfs: number, agentTalking: boolean, pitchHz = 0): boolean {
    this.#second?.pass()
    if (!voiced) {
      if (this.#quietMs >= SAME_WORD_MS) this.#second?.quiet()
      this.#quietMs += FRAME_MS
      this.#envelopeDbfs = Math.max(dbfsOf(0), this.#envelopeDbfs - FALL_DB)
      if (this.#quietMs >= FORGET_QUIET_MS) this.#refusing = false
      return false
    }
    const quietMs = this.#quietMs
    const step = levelStep(levelDbfs)
    const voiceHz = hertzOf(pitchStep(pitchHz))
    this.#quietMs = 0
    this.#envelopeDbfs = Math.max(dbfsOf(step), this.#envelopeDbfs - FALL_DB)
    if (!doubtful) this.#hearVoices(dbfsOf(step), voiceHz, agentTalking)
    if (this.#quieterDb !== null && !Number.isNaN(this.#levelDbfs)) {
      this.#voiceMs = quietMs >= FORGET_QUIET_MS ? FRAME_MS : this.#voiceMs + FRAME_MS
      const limitDb = this.#limitDb(this.#quieterDb - (this.#voiceMs > ONSET_MS ? SPREAD_DB : 0))
      this.#refusing = this.#envelopeDbfs <= this.#levelDbfs - limitDb
      this.#second?.judged(!this.#refusing, doubtful, voiceHz)
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

  /**
   * Returns the distance below the caller's level at which a voice is refused. @param quieterDb  distance that applies
   * to every voice, in dB
   */
  #limitDb(quieterDb: number): number {
    const otherDb = this.#second?.limitDb(this.#levelDbfs) ?? null
    if (otherDb === null || otherDb >= quieterDb) return quieterDb - (this.#refusing ? BACK_DB : 0)
    return otherDb - (this.#refusing ? Math.min(BACK_DB, otherDb / 3) : 0)
  }

  /**
   * Treats a voice that is clearly louder than all earlier sound as the caller's voice, until words prove otherwise.
   */
  #hearVoices(levelDbfs: number, pitchHz: number, agentTalking: boolean): void {
    const standsOutDbfs = this.#second?.frame(levelDbfs, pitchHz, agentTalking, this.#levelDbfs) ?? NaN
    if (Number.isNaN(standsOutDbfs)) return
    this.#clearPending()
    this.#levelDbfs = standsOutDbfs
  }

  /** True if another voice is on the line, and the caller's voice is now clearly louder than that voice. */
  get standsOut(): boolean {
    return this.#second?.standsOut === true
  }

  /**
   * True if words that arrive now belong to another voice. That voice has spoken since the caller was last heard, and
   * the caller was silent for seconds.
   */
  get saidByOther(): boolean {
    return this.learnt && this.refusedMs > 0 && this.#second?.speaksAlone === true
  }

  /** Notes that the words are final. */
  wordsOver(): void {
    this.#second?.wordsOver()
  }

  /**
   * Notes that the caller has pressed a DTMF digit or has shown in another way that they are there. The next transcript
   * belongs to the caller.
   */
  callerActs(): void {
    this.#second?.callerActs()
  }

  /** True if another voice is on the line and has spoken since the caller was last heard. */
  get otherSpeaks(): boolean {
    return this.#second?.known === true && this.refusedMs > 0
  }

  /** Notes that words of the newest speech were recognised, so the speech was the caller's. */
  understood(): void {
    this.callerHeard()
    if (this.#pendingFrames * FRAME_MS < LEARNT_MS_MIN) return
    const share = Math.min(1, LEARNT_MS_MAX / FRAME_MS / (this.#learntFrames + this.#pendingFrames))
    for (let step = 0; step < LEVEL_STEPS; step++)
      this.#learnt[step] = ((this.#learnt[step] as number) + (this.#pending[step] as number)) * share
    this.#learntFrames = (this.#learntFrames + this.#pendingFrames) * share
    this.#clearPending()
    this.#levelDbfs = loudOf(this.#learnt, this.#learntFrames)
    this.#second?.understood(this.#levelDbfs)
  }

  /** Notes that the gateway asked if the caller is there. */
  ask(): void {
    this.callerHeard()
    this.#asked = true
  }

  /** True if only the quieter voice was heard since the question, and this voice was silent during the question. */
  get answers(): boolean {
    return this.#asked && this.#answerMs >= ANSWER_MS_MIN && this.#overQuestionMs <= OVER_QUESTION_MS_MAX
  }

  /** Forgets the level, because the quieter voice may be the caller's. The next recognised speech sets a new level. */
  forget(): void {
    this.callerHeard()
    this.#clearPending()
    this.#learnt.fill(0)
    this.#learntFrames = 0
    this.#levelDbfs = NaN
    this.#refusing = false
    this.#second?.forget()
  }

  get learnt(): boolean {
    return !Number.isNaN(this.#levelDbfs)
  }

  /**
   * Weight of a voiced frame by its level: 1 at the caller's usual level, otherwise 0.5 to 2. Until the level is
   * learnt: 0.8 to 1.25.
   */
  weightOf(levelDbfs: number): number {
    const usualDbfs = (this.learnt ? this.#levelDbfs : LOUD_DBFS) - USUAL_UNDER_LOUD_DB
    const beyondDb = dbfsOf(levelStep(levelDbfs)) - usualDbfs
    const weight = 2 ** ((Math.sign(beyondDb) * Math.max(0, Math.abs(beyondDb) - WEIGHT_EVEN_DB)) / WEIGHT_DB)
    const most = this.learnt ? WEIGHT_MAX : WEIGHT_UNLEARNT_MAX
    return Math.min(most, Math.max(1 / most, weight))
  }

  /** Figures for the timeline: the envelope of the voice, and the caller's level. */
  get figures(): string {
    const own = Number.isNaN(this.#levelDbfs) ? 'not learnt' : `${Math.round(this.#levelDbfs)} dBFS`
    return `${Math.round(this.#envelopeDbfs)} dBFS, the caller's level ${own}${this.#second?.figures ?? ''}`
  }

  #refuse(agentTalking: boolean): void {
    this.refusedMs += FRAME_MS
    if (agentTalking) this.#overQuestionMs += FRAME_MS
    else this.#answerMs += FRAME_MS
  }

  /** Notes that the caller's own voice was heard. */
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

/** Returns a voice's level: `LOUD_SHARE` of the frames are above this level. */
function loudOf(frames: Float64Array, count: number): number {
  let louder = 0
  for (let step = LEVEL_STEPS - 1; step >= 0; step--) {
    louder += frames[step] as number
    if (louder >= count * LOUD_SHARE) return dbfsOf(step)
  }
  return dbfsOf(0)
}
