import { FRAME_MS } from '../../core/units.js'
import type { CallerExpectation } from '../backend-events.js'
import { dbfsOf, hertzOf, levelStep, pitchStep } from './frame-figures.js'
import type { CallerFrame } from './frame-figures.js'
import type { Asked } from './turn-words.js'
import { RESUMED_MS_MAX, deciderOf } from './end-of-turn.js'
import type { SpeechOptions, TurnDecider } from './end-of-turn.js'

/**
 * Tolerance for a clock that ticks slightly early or late. Without it, a fraction of a millisecond could end a segment
 * one frame (20 ms) late.
 */
const FRAME_TIME_JITTER_MS = FRAME_MS / 2

type SpeechEdge = 'none' | 'onset' | 'real' | 'end'

/**
 * Cuts the caller's sound into segments of speech, from one voiced flag per 20 ms frame. The `TurnDecider` decides which
 * pause ends a segment.
 *
 *     quiet    --onsetMs of voice in a row-->            speaking   'onset'; doubtfulOnsetMs if doubtful, over the agent
 *     speaking --realSpeechMs of voice in total-->       speaking   'real' (once a segment)
 *     speaking --waitMs of the decider without voice-->  quiet      'end'
 *
 * A frame has the time of its last sample, so a segment begins one frame earlier than its first voiced flag.
 */
export class CallerSpeech {
  speaking = false
  /** Time of the first voiced sample of the current or last segment; NaN before the first segment. */
  firstVoicedMs = NaN
  /** Time of the last voiced sample. */
  lastVoicedMs = NaN
  /** Total voice in the segment, in milliseconds. */
  voicedMs = 0
  /** Duration of uninterrupted voice that was needed to begin the segment, in milliseconds. */
  onsetNeededMs = NaN
  readonly #options: SpeechOptions
  readonly #decider: TurnDecider
  readonly #heard = { voiced: false, levelDbfs: 0, pitchHz: 0, pauseMs: 0 }
  #rowStartMs = NaN
  #rowMs = 0
  #rowDoubtfulMs = 0
  #why = ''

  /** @param decider  decider used in place of the gateway's own */
  constructor(options: SpeechOptions, decider?: TurnDecider) {
    this.#options = options
    this.#decider = decider ?? deciderOf(options)
  }

  expect(what: CallerExpectation): void {
    this.#decider.expect(what)
  }

  /** Takes the words of the running segment so far. */
  heardWords(text: string, asked: Asked): void {
    if (this.speaking) this.#decider.words?.(text, asked)
  }

  /**
   * Describes the length of the silence that ended the last segment, and the figures that determined this length.
   * Allocates.
   */
  endedBecause(nowMs: number): string {
    return `${Math.round(this.quietMs(nowMs))} ms of quiet; ${this.#why}`
  }

  /** True if the segment has enough voice to be speech. */
  get real(): boolean {
    return this.voicedMs >= this.#options.realSpeechMs
  }

  /**
   * @param voiced  false if the voice does not belong to the caller
   * @param overAgent  true if an onset would silence the agent
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

  /** Ends the current segment although its sound continues, because no words are recognised in it. */
  giveUp(): void {
    this.speaking = false
    this.#why = 'nobody understands it'
    this.#decider.ended()
    this.#rowMs = 0
  }

  /** Ends a segment if the caller's frames have stopped. */
  overdue(nowMs: number): SpeechEdge {
    return this.speaking && nowMs >= this.endsAtMs ? this.#end() : 'none'
  }

  /** Time at which the running segment ends if no more voice follows. */
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
