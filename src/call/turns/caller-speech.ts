import { FRAME_MS } from '../../core/units.js'
import type { CallerExpectation } from '../backend-events.js'
import { dbfsOf, hertzOf, levelStep, pitchStep } from './frame-figures.js'
import type { CallerFrame } from './frame-figures.js'
import type { Asked } from './turn-words.js'
import { AdaptivePause, FixedPause, RESUMED_MS_MAX } from './end-of-turn.js'
import type { SpeechOptions, TurnDecider } from './end-of-turn.js'

/**
 * Frames come with the ticks of a clock that is a little early or late. Without this tolerance every other segment
 * would miss its last frame by a fraction of a millisecond and end one frame later, and the caller would wait 20 ms
 * longer.
 */
const FRAME_TIME_JITTER_MS = FRAME_MS / 2

type SpeechEdge = 'none' | 'onset' | 'real' | 'end'

/**
 * Cuts the caller's sound into segments of speech, from one voiced flag per 20 ms frame. How long a pause ends a segment
 * is for the `TurnDecider` to say.
 *
 *     quiet    --onsetMs of voice in a row-->            speaking   'onset'; over the agent doubtfulOnsetMs where most is doubtful
 *     speaking --realSpeechMs of voice in total-->       speaking   'real' (once a segment)
 *     speaking --waitMs of the decider without voice-->  quiet      'end'
 *
 * A frame's time is that of its last sample, so a segment begins one frame before its first voiced flag.
 */
export class CallerSpeech {
  speaking = false
  /** First and last voiced sample of the current or last segment; NaN before any. */
  firstVoicedMs = NaN
  lastVoicedMs = NaN
  /** Total voice in the segment. */
  voicedMs = 0
  /** Voice in a row that began it. */
  onsetNeededMs = NaN
  readonly #options: SpeechOptions
  readonly #decider: TurnDecider
  readonly #heard = { voiced: false, levelDbfs: 0, pitchHz: 0, pauseMs: 0 }
  #rowStartMs = NaN
  #rowMs = 0
  #rowDoubtfulMs = 0
  #why = ''

  /** @param decider  in place of the gateway's own */
  constructor(options: SpeechOptions, decider?: TurnDecider) {
    this.#options = options
    this.#decider = decider ?? (options.adaptive ? new AdaptivePause(options) : new FixedPause(options))
  }

  expect(what: CallerExpectation): void {
    this.#decider.expect(what)
  }

  /** The words of the running segment so far. */
  heardWords(text: string, asked: Asked): void {
    if (this.speaking) this.#decider.words?.(text, asked)
  }

  /** The quiet that ended the last segment, and the figures that decided so. Allocates. */
  endedBecause(nowMs: number): string {
    return `${Math.round(this.quietMs(nowMs))} ms of quiet; ${this.#why}`
  }

  /** The segment has enough voice to be speech. */
  get real(): boolean {
    return this.voicedMs >= this.#options.realSpeechMs
  }

  /**
   * @param voiced  false where the voice is not the caller's
   * @param overAgent  an onset would silence the agent
   */
  frame(frame: CallerFrame, nowMs: number, voiced = frame.voiced, overAgent = false): SpeechEdge {
    const heard = this.#heard
    heard.voiced = voiced
    heard.levelDbfs = dbfsOf(levelStep(frame.levelDbfs))
    heard.pitchHz = hertzOf(pitchStep(frame.pitchHz))
    heard.pauseMs = 0
    if (!voiced) {
      this.#decider.frame(heard)
      this.#rowMs = 0
      return this.speaking && nowMs - this.lastVoicedMs >= this.#decider.waitMs - FRAME_TIME_JITTER_MS
        ? this.#end()
        : 'none'
    }
    if (this.speaking) {
      heard.pauseMs = nowMs - FRAME_MS - this.lastVoicedMs
      this.#decider.frame(heard)
      const was = this.real
      this.voicedMs += FRAME_MS
      this.lastVoicedMs = nowMs
      return !was && this.real ? 'real' : 'none'
    }
    if (this.#rowMs === 0) {
      this.#rowStartMs = nowMs - FRAME_MS
      this.#rowDoubtfulMs = 0
    }
    this.#rowMs += FRAME_MS
    if (frame.doubtful) this.#rowDoubtfulMs += FRAME_MS
    const { onsetMs, doubtfulOnsetMs = 0 } = this.#options
    const mayBeNoise = overAgent && 2 * this.#rowDoubtfulMs > this.#rowMs
    const neededMs = mayBeNoise ? Math.max(onsetMs, doubtfulOnsetMs) : onsetMs
    const begins = this.#rowMs >= neededMs
    const restMs = this.#rowStartMs - this.lastVoicedMs
    if (begins && restMs < RESUMED_MS_MAX) heard.pauseMs = restMs
    this.#decider.frame(heard)
    if (!begins) return 'none'
    this.speaking = true
    this.onsetNeededMs = neededMs
    this.firstVoicedMs = this.#rowStartMs
    this.lastVoicedMs = nowMs
    this.voicedMs = this.#rowMs
    this.#rowMs = 0
    return 'onset'
  }

  /** Ends the current segment although its sound continues: nobody understands it. */
  giveUp(): void {
    this.speaking = false
    this.#why = 'nobody understands it'
    this.#decider.ended()
    this.#rowMs = 0
  }

  /** Ends a segment whose frames stopped coming. */
  overdue(nowMs: number): SpeechEdge {
    return this.speaking && nowMs >= this.endsAtMs ? this.#end() : 'none'
  }

  /** When the running segment ends if no more voice comes. */
  get endsAtMs(): number {
    return this.lastVoicedMs + this.#decider.waitMs
  }

  quietMs(nowMs: number): number {
    return Number.isNaN(this.lastVoicedMs) ? Infinity : nowMs - this.lastVoicedMs
  }

  #end(): SpeechEdge {
    this.speaking = false
    this.#why = this.#decider.why
    this.#decider.ended()
    return 'end'
  }
}
