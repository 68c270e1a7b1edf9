import { FRAME_MS } from '../core/units.js'

/** What a called line is listened to for, before the agent speaks. Milliseconds. */
export interface AnswerGuardOptions {
  /** Speech without a pause that is longer than this is a recording: people say "hello?" and wait. */
  readonly machineSpeechMs: number
  /** Quiet after speech that ends it. */
  readonly pauseMs: number
  /** No voice for this long from the start: nobody is there. */
  readonly silenceMs: number
}

/** Who took the call: a person, a recording whose turn to listen it is now, or nobody who speaks. */
export type AnswerVerdict =
  | { readonly who: 'human'; readonly why: string }
  | { readonly who: 'machine'; readonly why: string }
  | { readonly who: 'silence'; readonly why: string }

/** A voicemail's beep is 200 to 1000 ms of one pure tone; shorter is a click, longer a dial tone or a fax. */
const BEEP_MS_MIN = 160
const BEEP_MS_MAX = 1500
/** After a beep it records at once; the echo of the beep has to pass. */
const AFTER_BEEP_MS = 100
/** A recording without a beep has said its piece when it is quiet this long. */
const MACHINE_QUIET_MS = 1800
/** Longest greeting that is waited for: mailboxes allow 30 to 60 s. */
const MACHINE_GREETING_MS_MAX = 45_000
/** A pause is this much quieter than the voice before it; what a telephone line leaves of a room is 25 dB below. */
const PAUSE_DROP_DB = 18
/** Voice shorter than this is a click or comfort noise. */
const WORD_MS_MIN = 100

/**
 * Tells a person from a voicemail by how they take a call: people say a short word and wait, recordings talk on, then
 * beep. Counts frames, so its clock is the line's own.
 */
export class AnswerGuard {
  readonly #options: AnswerGuardOptions
  #atMs = 0
  #voiceFromMs: number | null = null
  #voiceToMs = 0
  #voicedMs = 0
  #toneMs = 0
  /** The loudest that the voice was. */
  #voiceDbfs = -Infinity
  /** Since a beep ended; null before one. */
  #beepEndedMs: number | null = null
  #machine: string | null = null

  constructor(options: AnswerGuardOptions) {
    this.#options = options
  }

  /** A recording talks: its end is waited for. */
  get machineSuspected(): boolean {
    return this.#machine !== null
  }

  /**
   * One 20 ms frame of the called side.
   * @param voiced  speech, not a tone
   * @param tone  one or two pure tones
   * @param levelDbfs  of the frame
   * @returns the verdict, once; null while it is open
   */
  frame(voiced: boolean, tone: boolean, levelDbfs: number): AnswerVerdict | null {
    this.#atMs += FRAME_MS
    this.#tone(tone)
    if (voiced) this.#voice(levelDbfs)
    // A voice that goes on without a breath is taken for noise after a while: as loud as it was, it is no pause.
    else if (!tone && this.#voiceFromMs !== null && levelDbfs > this.#voiceDbfs - PAUSE_DROP_DB) this.#talking(this.#voiceFromMs)
    if (this.#beepEndedMs !== null && this.#atMs - this.#beepEndedMs >= AFTER_BEEP_MS) return machine(this.#machine ?? 'a beep')
    return this.#machine === null ? this.#person() : this.#recording(this.#machine)
  }

  #tone(tone: boolean): void {
    if (tone) {
      this.#toneMs += FRAME_MS
      return
    }
    // Without a word before it, it is the line's own: ringing, or a fax.
    const beep = this.#toneMs >= BEEP_MS_MIN && this.#toneMs <= BEEP_MS_MAX && this.#voiceFromMs !== null
    if (beep) this.#beepEndedMs = this.#atMs - FRAME_MS
    this.#toneMs = 0
  }

  #voice(levelDbfs: number): void {
    // It is not a beep that somebody talks after.
    this.#beepEndedMs = null
    this.#voiceDbfs = Math.max(this.#voiceDbfs, levelDbfs)
    this.#voiceFromMs ??= this.#atMs - FRAME_MS
    this.#voicedMs += FRAME_MS
    this.#talking(this.#voiceFromMs)
  }

  #talking(fromMs: number): void {
    this.#voiceToMs = this.#atMs
    const spokenMs = this.#voiceToMs - fromMs
    if (spokenMs > this.#options.machineSpeechMs) this.#machine ??= `${this.#options.machineSpeechMs} ms of speech without a pause`
  }

  #person(): AnswerVerdict | null {
    const { pauseMs, silenceMs } = this.#options
    if (this.#voiceFromMs === null) {
      return this.#atMs >= silenceMs ? { who: 'silence', why: `no voice in ${silenceMs} ms` } : null
    }
    const quietMs = this.#atMs - this.#voiceToMs
    // A tone may be becoming a beep.
    if (quietMs < pauseMs || this.#beepEndedMs !== null || (this.#toneMs > 0 && this.#toneMs <= BEEP_MS_MAX)) return null
    if (this.#voicedMs < WORD_MS_MIN) {
      this.#voiceFromMs = null
      this.#voicedMs = 0
      this.#voiceDbfs = -Infinity
      return null
    }
    return { who: 'human', why: `${this.#voiceToMs - this.#voiceFromMs} ms of speech, then a pause` }
  }

  #recording(why: string): AnswerVerdict | null {
    const inBeep = this.#toneMs > 0 && this.#toneMs <= BEEP_MS_MAX
    const quietMs = inBeep ? 0 : this.#atMs - this.#voiceToMs
    if (quietMs >= MACHINE_QUIET_MS) return machine(`${why}, then no beep`)
    return this.#atMs >= MACHINE_GREETING_MS_MAX ? machine(`${why}, still talking`) : null
  }
}

function machine(why: string): AnswerVerdict {
  return { who: 'machine', why }
}
