import { smallArray } from '../../core/small-arrays.js'
import { FRAME_MS } from '../../core/units.js'

/** Number of frames of the window in which a voice is judged: half a second. */
const WINDOW_FRAMES = 25
/**
 * Number of frames in a window that are at least as loud as the window's level; this number defines the level. Such a
 * level varies less than the loudest frame.
 */
const LOUD_FRAMES = 3
/** A window that is this far below the caller's level, in dB, may belong to another person. */
const SOFTER_DB = 6
/** Minimum pitch difference that shows another person, in octaves (10 %). */
const OTHER_PITCH_OCTAVES = 0.14
/**
 * Weight of a soft voice that may be the caller's: the agent is silent, and the voice has the caller's pitch or an
 * unknown pitch.
 */
const MAYBE_CALLER = 0.3
/**
 * Time in ms after which a second voice counts as another person. A caller who turns away from the phone speaks for a
 * shorter time. The second constant is the maximum that is remembered.
 */
const KNOWN_MS = 4000
const KNOWN_MS_MAX = 20_000
/** Share of the second voice's duration that remains after a window of the caller's voice. */
const KEPT = 0.99
/** Weight of a new window in the second voice's level and pitch. */
const NEWEST = 0.2
/** Minimum distance below the caller's level at which a voice is refused, in dB. */
const LIMIT_DB_MIN = 4.5
/**
 * Minimum duration of voice that is clearly the caller's, in milliseconds, if another voice is known. The shortest "no"
 * is this long.
 */
const STANDS_OUT_MS = 160
/**
 * Duration of accepted sound in ms after which the words count as the caller's: the shortest "yes". The sound may be
 * doubtful, but it has the caller's pitch or none.
 */
const WORDS_OWN_MS = 100
/**
 * Maximum delay of words after the caller's sound, in milliseconds: recognisers are up to 2 s late. The first words may
 * come later (the second constant), because a service may join the words of the caller and a neighbour into one
 * sentence.
 */
const WORDS_LATE_MS = 3000
const FIRST_WORDS_LATE_MS = 8000

/**
 * Another voice on the line besides the caller's voice: a neighbour, a television. The voice is judged by level and
 * pitch over seconds.
 *
 *     none  --KNOWN_MS of voice SOFTER_DB below the caller, over the agent or in another pitch--> known
 *     known --frames nearer to this voice than to the caller--> refused
 *     known --STANDS_OUT_MS nearer to the caller--> `standsOut`: the caller speaks, despite any suspicion
 *     known --in another pitch, and no caller sound since the last words--> `speaksAlone`: new words are not the caller's
 *
 * Until the caller's level is learnt, all sound counts as the second voice. A voice that is SOFTER_DB louder and has
 * another pitch then counts as the caller's.
 */
export class SecondVoice {
  /** Level of the second voice in dBFS; NaN if unknown. */
  #otherDbfs = NaN
  #otherMs = 0
  #otherPitch = NaN
  /**
   * Pitch of the caller, in octaves above 1 Hz; NaN if unknown. Until the caller's level is learnt, this is the pitch
   * of all sound so far.
   */
  #callerPitch = NaN
  readonly #levels = smallArray(Float64Array, WINDOW_FRAMES)
  #frames = 0
  #pitchSum = 0
  #pitched = 0
  #overAgent = 0
  #ownMs = 0
  /** Duration of uninterrupted accepted sound, in milliseconds. */
  #soundMs = 0
  /** Time since the caller sounded or pressed a DTMF digit, in milliseconds. */
  #sinceOwnMs = Infinity
  /** True if the caller's voice was heard, or a digit was pressed, after the last words. */
  #ownSinceWords = false
  /** Pitch of the newest soft sound; NaN if that sound did not have a pitch. */
  #newestPitch = NaN

  /**
   * Distance below the caller's level at which a voice belongs to another person, in dB; null if no other person is
   * known.
   */
  limitDb(callerDbfs: number): number | null {
    if (!this.known) return null
    return Math.max(LIMIT_DB_MIN, (callerDbfs - this.#otherDbfs) / 2)
  }

  /** True if the caller's voice is clearly louder than the other voice. */
  get standsOut(): boolean {
    return this.#otherMs >= KNOWN_MS && this.#ownMs >= STANDS_OUT_MS
  }

  /** True if another voice is known. */
  get known(): boolean {
    return this.#otherMs >= KNOWN_MS
  }

  /** Figures for the timeline. */
  get figures(): string {
    return this.known ? `, another voice ${Math.round(this.#otherDbfs)} dBFS` : ''
  }

  /**
   * True if words that arrive now belong to the second voice. Words in the caller's pitch may come from a caller who
   * has turned away from the phone.
   */
  get speaksAlone(): boolean {
    const isOther = this.#isOtherPitch && isOtherPitch(this.#newestPitch, this.#callerPitch)
    return this.known && isOther && this.#sinceOwnMs > (this.#ownSinceWords ? FIRST_WORDS_LATE_MS : WORDS_LATE_MS)
  }

  /** Counts a frame, with or without voice. */
  pass(): void {
    this.#sinceOwnMs += FRAME_MS
  }

  /** Notes that a voiced frame was accepted as the caller's voice, or was refused. */
  judged(own: boolean, doubtful: boolean, pitchHz: number): void {
    if (!doubtful) this.#ownMs = own ? this.#ownMs + FRAME_MS : 0
    const pitch = pitchHz > 0 ? Math.log2(pitchHz) : NaN
    this.#soundMs = own && !isOtherPitch(pitch, this.#callerPitch) ? this.#soundMs + FRAME_MS : 0
    if (this.#soundMs >= WORDS_OWN_MS || this.#ownMs >= STANDS_OUT_MS) this.callerActs()
  }

  /** Notes that the caller has sounded or pressed a DTMF digit. */
  callerActs(): void {
    this.#sinceOwnMs = 0
    this.#ownSinceWords = true
  }

  /** Notes that the words are final. The next words need new sound of the caller. */
  wordsOver(): void {
    this.#ownSinceWords = false
  }

  quiet(): void {
    this.#ownMs = this.#soundMs = 0
  }

  /**
   * Takes a voiced frame. Does not allocate.
   * @param callerDbfs  level of the caller; NaN until it is learnt
   * @returns the level of a voice that is louder than all earlier sound, if the caller's level is not learnt yet;
   * otherwise NaN
   */
  frame(levelDbfs: number, pitchHz: number, agentTalks: boolean, callerDbfs: number): number {
    this.#levels[this.#frames++] = levelDbfs
    if (pitchHz > 0) {
      this.#pitchSum += Math.log2(pitchHz)
      this.#pitched++
    }
    if (agentTalks) this.#overAgent++
    if (this.#frames < WINDOW_FRAMES) return NaN
    const loudDbfs = this.#loud()
    const pitch = this.#pitched * 3 >= WINDOW_FRAMES ? this.#pitchSum / this.#pitched : NaN
    const over = this.#overAgent * 2 > WINDOW_FRAMES
    this.#frames = this.#pitched = this.#pitchSum = this.#overAgent = 0
    return this.#window(loudDbfs, pitch, over, callerDbfs)
  }

  /**
   * Notes that words were recognised. Their sound was the caller's if it was near the caller's level, or if it had the
   * caller's pitch and was not refused.
   */
  understood(callerDbfs: number): void {
    const near = callerDbfs - this.#otherDbfs < SOFTER_DB
    if (!near && (this.known || this.#isOtherPitch)) return
    this.#otherDbfs = this.#otherPitch = NaN
    this.#otherMs = 0
  }

  forget(): void {
    this.#otherDbfs = this.#otherPitch = NaN
    this.#otherMs = 0
    this.#callerPitch = NaN
    this.#ownMs = 0
  }

  #window(loudDbfs: number, pitch: number, over: boolean, callerDbfs: number): number {
    const windowMs = WINDOW_FRAMES * FRAME_MS
    if (Number.isNaN(callerDbfs)) {
      if (this.known && loudDbfs >= this.#otherDbfs + SOFTER_DB && isOtherPitch(pitch, this.#callerPitch)) {
        this.#otherPitch = this.#callerPitch
        this.#callerPitch = pitch
        return loudDbfs
      }
      if (!Number.isNaN(pitch)) this.#callerPitch = towards(this.#callerPitch, pitch)
      this.#heardOther(loudDbfs, windowMs)
      return NaN
    }
    if (loudDbfs > callerDbfs - SOFTER_DB) {
      // The pitch of a loud syllable of the second voice must not be learnt as the caller's pitch.
      if (!Number.isNaN(pitch) && !this.#isNearerOther(pitch)) this.#callerPitch = towards(this.#callerPitch, pitch)
      this.#otherMs *= KEPT
      return NaN
    }
    this.#newestPitch = pitch
    if (!Number.isNaN(pitch)) this.#otherPitch = towards(this.#otherPitch, pitch)
    this.#heardOther(loudDbfs, over || this.#isOtherPitch ? windowMs : windowMs * MAYBE_CALLER)
    return NaN
  }

  /** True if the pitch of the possible second voice differs from the caller's pitch. */
  get #isOtherPitch(): boolean {
    return isOtherPitch(this.#otherPitch, this.#callerPitch)
  }

  #isNearerOther(pitch: number): boolean {
    return this.known && Math.abs(pitch - this.#otherPitch) < Math.abs(pitch - this.#callerPitch)
  }

  #heardOther(loudDbfs: number, ms: number): void {
    this.#otherDbfs = towards(this.#otherDbfs, loudDbfs)
    this.#otherMs = Math.min(KNOWN_MS_MAX, this.#otherMs + ms)
  }

  #loud(): number {
    const levels = this.#levels
    levels.sort()
    return levels[WINDOW_FRAMES - LOUD_FRAMES] as number
  }
}

/** True if two pitches differ by more than the pitches of one person; false if one pitch is unknown. */
function isOtherPitch(pitch: number, than: number): boolean {
  return Math.abs(pitch - than) > OTHER_PITCH_OCTAVES
}

function towards(value: number, newest: number): number {
  return Number.isNaN(value) ? newest : value + NEWEST * (newest - value)
}
