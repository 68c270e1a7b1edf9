import { FRAME_MS } from '../../src/core/units.js'
import type { CallerExpectation } from '../../src/call/backend-events.js'
import { CallerSpeech } from '../../src/call/turns/caller-speech.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import type { HeardTurn } from './corpus.js'

/** Fixed pauses that the adaptive one is compared with. */
export const DECIDERS = ['400', '600', '800', 'adaptive', 'words'] as const
export type Decider = (typeof DECIDERS)[number]

const EXPECTED: Readonly<Record<HeardTurn['kind'], CallerExpectation>> = {
  monologue: 'open',
  sentence: 'open',
  'yes or no': 'yes-no',
  digits: 'digits',
  // A cascade says nothing of what it expects.
  'dialogue en': 'open',
  'dialogue sw': 'open',
  'dialogue mixed': 'open',
}

/** A streaming recogniser tells a word this long after its end. */
const WORD_LAG_MS = 250
/** And closes what it has with a full stop in a pause this long, whatever the words are. */
const FULL_STOP_MS = 500

/** The words that a streaming recogniser has delivered by then. */
function wordsAt({ parts }: HeardTurn, nowMs: number): string {
  const told: string[] = []
  for (const { text, fromMs, toMs } of parts) {
    const words = text.split(' ')
    let chars = 0
    for (const word of words) {
      chars += word.length + 1
      const endMs = fromMs + ((toMs - fromMs) * chars) / (text.length + 1)
      if (nowMs >= endMs + WORD_LAG_MS) told.push(word)
    }
    const last = told.length - 1
    if (nowMs >= toMs + FULL_STOP_MS && last >= 0) told[last] = (told[last] as string).replace(/[^.?!]$/, '$&.')
  }
  return told.join(' ')
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
export function endingOf(turn: HeardTurn, decider: Decider): Ending {
  const { kind, startMs, endMs, frames, asked } = turn
  const { speech: options } = DEFAULT_CALL_OPTIONS
  const speech = new CallerSpeech(
    decider === 'words'
      ? options
      : decider === 'adaptive'
        ? { ...options, words: null }
        : { ...options, adaptive: false, endOfSpeechMs: Number(decider) },
  )
  speech.expect(EXPECTED[kind])
  let cut = false
  let words = ''
  for (const [i, frame] of frames.entries()) {
    const nowMs = (i + 1) * FRAME_MS
    const told = decider === 'words' ? wordsAt(turn, nowMs) : ''
    if (told !== words) speech.heardWords(told, asked)
    words = told
    // Noise before the turn that passes for voice ends no turn.
    if (speech.frame(frame, nowMs) !== 'end' || !speech.real || speech.lastVoicedMs <= startMs) continue
    if (nowMs >= endMs) return { cut, waitMs: nowMs - endMs, why: speech.endedBecause(nowMs) }
    cut = true
  }
  return { cut, waitMs: NaN, why: '' }
}

export interface EndingFigures {
  readonly turns: number
  readonly cut: number
  /** Waits of those that were not cut. */
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
