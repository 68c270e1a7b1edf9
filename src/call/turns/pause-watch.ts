import { FRAME_MS } from '../../core/units.js'
import type { CallerExpectation } from '../backend-events.js'
import type { AdaptivePause, TurnDecider } from './end-of-turn.js'
import { PAUSE_MS_MIN, SPOKEN_MS_MIN } from './learned-pause.js'
import type { LearnedAsked, PauseFigure } from './learned-pause.js'
import type { Asked } from './turn-words.js'

/** Number of consecutive voiced frames that end a pause; fewer frames are a click. */
const RESUMED_FRAMES = 2
/** Duration after the return of the voice in which voice is counted, in milliseconds. */
const RESUMED_MS_MAX = 1000
/** Quiet after which every decider has ended the turn, in milliseconds. */
const WATCHED_MS_MAX = 5000
/** Tolerance for frames that arrive slightly early or late, in milliseconds. */
const JITTER_MS = FRAME_MS / 2

/** A pause of a caller, or the end of the turn. */
export interface WatchedPause {
  /** Time of the caller's last voiced sample, on the clock of the frames. */
  readonly fromMs: number
  /** Time at which voice returned; null if voice did not return within 5 s. */
  resumedMs: number | null
  /** Duration of voice in the second after `resumedMs`, in milliseconds. */
  resumedVoiceMs: number
  readonly asked: LearnedAsked
  /** Configured wait, lengthened for noise, in milliseconds. */
  readonly baseMs: number
  /** Minimum wait that follows from the caller's own pauses and a held vowel, in milliseconds. */
  readonly floorMs: number
  readonly figures: Readonly<Record<PauseFigure, number>>
  /**
   * Quiet after which each decider would have ended the turn, in milliseconds; Infinity for a decider that would have
   * waited until the caller continued.
   */
  readonly waitsMs: number[]
}

interface WatchOptions {
  /** Decider that ends turns. The compared deciders only report when they would have ended the turn. */
  readonly acting: TurnDecider
  /** Deciders that are compared, the rules first. The rules supply the figures of pauses. */
  readonly compared: readonly [rules: AdaptivePause, ...others: AdaptivePause[]]
  /** Returns the time of the current frame. */
  readonly nowMs: () => number
  /** Returns false if pauses that begin now are ignored, because the agent speaks. */
  readonly counts: () => boolean
}

/** Records each pause of a caller, and the time at which each compared decider would have ended the turn. */
export class PauseWatch implements TurnDecider {
  readonly pauses: WatchedPause[] = []
  readonly #options: WatchOptions
  readonly #all: ReadonlySet<TurnDecider>
  /**
   * True if the acting decider has ended the turn. The compared deciders may still wait, so they are informed of the
   * end when the next voice begins.
   */
  #isOver = false
  #resumed: WatchedPause | null = null
  #pause: WatchedPause | null = null
  #voicedUntilMs = NaN
  #rowFromMs = NaN
  #rowFrames = 0

  constructor(options: WatchOptions) {
    this.#options = options
    this.#all = new Set([options.acting, ...options.compared])
  }

  get waitMs(): number {
    return this.#options.acting.waitMs
  }

  get why(): string {
    return this.#options.acting.why
  }

  expect(what: CallerExpectation): void {
    for (const decider of this.#all) decider.expect(what)
  }

  words(text: string, asked: Asked): void {
    for (const decider of this.#all) decider.words?.(text, asked)
  }

  ended(): void {
    this.#options.acting.ended()
    this.#isOver = true
  }

  frame(frame: Parameters<TurnDecider['frame']>[0]): void {
    if (frame.voiced && this.#isOver) {
      this.#isOver = false
      for (const decider of this.#all) if (decider !== this.#options.acting) decider.ended()
    }
    for (const decider of this.#all) decider.frame(frame)
    const nowMs = this.#options.nowMs()
    if (frame.voiced) this.#voiced(nowMs)
    else this.#quiet(nowMs)
  }

  #voiced(nowMs: number): void {
    if (this.#rowFrames++ === 0) this.#rowFromMs = nowMs - FRAME_MS
    if (this.#pause !== null) {
      if (this.#rowFrames < RESUMED_FRAMES) return
      this.#pause.resumedMs = this.#rowFromMs
      this.#pause.resumedVoiceMs = FRAME_MS
      this.#resumed = this.#pause
      this.#pause = null
    }
    if (this.#resumed !== null && nowMs - (this.#resumed.resumedMs ?? 0) <= RESUMED_MS_MAX)
      this.#resumed.resumedVoiceMs += FRAME_MS
    this.#voicedUntilMs = nowMs
  }

  #quiet(nowMs: number): void {
    this.#rowFrames = 0
    const quietMs = nowMs - this.#voicedUntilMs
    if (this.#pause === null && quietMs >= PAUSE_MS_MIN && quietMs < WATCHED_MS_MAX) this.#begin()
    const pause = this.#pause
    if (pause === null) return
    if (quietMs >= WATCHED_MS_MAX) {
      this.#pause = null
      this.#voicedUntilMs = NaN
      return
    }
    for (const [i, decider] of this.#options.compared.entries())
      if (pause.waitsMs[i] === Infinity && quietMs >= decider.waitMs - JITTER_MS) pause.waitsMs[i] = quietMs
  }

  #begin(): void {
    const { compared, counts } = this.#options
    const known = compared[0].pause
    if (known === null || known.figures.spokenMs < SPOKEN_MS_MIN || !counts()) {
      this.#voicedUntilMs = NaN
      return
    }
    const [fromMs, waitsMs] = [this.#voicedUntilMs, compared.map(() => Infinity)]
    this.#pause = { ...known, fromMs, resumedMs: null, resumedVoiceMs: 0, waitsMs }
    this.pauses.push(this.#pause)
  }
}
