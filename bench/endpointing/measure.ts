import { FRAME_MS } from '../../src/core/units.js'
import type { CallerExpectation } from '../../src/call/backend-events.js'
import { CallerSpeech } from '../../src/call/caller-speech.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import type { HeardTurn } from './corpus.js'

/** Fixed pauses that the adaptive one is compared with. */
export const DECIDERS = ['400', '600', '800', 'adaptive'] as const
export type Decider = (typeof DECIDERS)[number]

const EXPECTED: Readonly<Record<HeardTurn['kind'], CallerExpectation>> = {
  monologue: 'open',
  sentence: 'open',
  'yes or no': 'yes-no',
  digits: 'digits',
}

/** How one turn ended. */
interface Ending {
  /** It was ended in a pause. */
  readonly cut: boolean
  /** From the last sound to the decision; NaN when it never came. */
  readonly waitMs: number
  /** The figures that decided. */
  readonly why: string
}

/** One turn, by the code that calls run: the first turn of a caller of whom nothing is known. */
export function endingOf({ kind, startMs, endMs, frames }: HeardTurn, decider: Decider): Ending {
  const { speech: options } = DEFAULT_CALL_OPTIONS
  const speech = new CallerSpeech(
    decider === 'adaptive' ? options : { ...options, adaptive: false, endOfSpeechMs: Number(decider) },
  )
  speech.expect(EXPECTED[kind])
  let cut = false
  for (const [i, frame] of frames.entries()) {
    const nowMs = (i + 1) * FRAME_MS
    // What passes for voice in the noise before the turn ends no turn.
    if (speech.frame(frame, nowMs) !== 'end' || !speech.real || speech.lastVoicedMs <= startMs) continue
    if (nowMs >= endMs) return { cut, waitMs: nowMs - endMs, why: speech.endedBecause(nowMs) }
    cut = true
  }
  return { cut, waitMs: NaN, why: '' }
}

export interface EndingFigures {
  readonly turns: number
  readonly cut: number
  /** Of those that were not cut. */
  readonly medianMs: number
  readonly p90Ms: number
  /** Turns whose end was not found in 2.5 s. */
  readonly endless: number
}

export function figuresOf(endings: readonly Ending[]): EndingFigures {
  const waits = endings.filter(({ cut, waitMs }) => !cut && !Number.isNaN(waitMs)).map(({ waitMs }) => waitMs)
  waits.sort((a, b) => a - b)
  return {
    turns: endings.length,
    cut: endings.filter(({ cut }) => cut).length,
    medianMs: waits[Math.floor(waits.length / 2)] ?? NaN,
    p90Ms: waits[Math.floor(waits.length * 0.9)] ?? NaN,
    endless: endings.filter(({ waitMs }) => Number.isNaN(waitMs)).length,
  }
}
