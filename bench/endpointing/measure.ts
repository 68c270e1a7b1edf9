import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FRAME_MS } from '../../src/core/units.js'
import type { CallerExpectation } from '../../src/call/backend-events.js'
import { CallerSpeech } from '../../src/call/turns/caller-speech.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { AdaptivePause, FixedPause } from '../../src/call/turns/end-of-turn.js'
import type { SpeechOptions } from '../../src/call/turns/end-of-turn.js'
import { readLearnedTurns } from '../../src/call/documents/learned-turns.js'
import type { LearnedTurns } from '../../src/call/documents/learned-turns.js'
import { PauseWatch } from '../../src/call/turns/pause-watch.js'
import { LEARNED_PAUSE_MS_MIN } from '../../src/call/turns/turn-learning.js'
import type { JudgedPause } from '../../src/call/turns/turn-learning.js'
import { packageRoot } from '../../src/config/package-root.js'
import type { HeardTurn } from './corpus.js'

/** Ways to decide that a turn has ended. Fixed pauses in ms are compared with the adaptive pause. */
export const DECIDERS = ['400', '600', '800', 'adaptive', 'learned', 'learned 800', 'words'] as const
export type Decider = (typeof DECIDERS)[number]

const EXPECTED: Readonly<Record<HeardTurn['kind'], CallerExpectation>> = {
  monologue: 'open',
  sentence: 'open',
  'yes or no': 'yes-no',
  digits: 'digits',
  'paused sentence': 'open',
  'paused number': 'digits',
  // A cascade does not say which kind of answer it expects.
  'dialogue en': 'open',
  'dialogue sw': 'open',
  'dialogue mixed': 'open',
}

/** Delay in ms between the end of a word and the report of a streaming recogniser about this word. */
const WORD_LAG_MS = 250
/** Pause in ms after which the recogniser ends its text with a full stop, whatever the words are. */
const FULL_STOP_MS = 500

/** Words that a streaming recogniser has reported by this time. */
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

/** End of one turn. */
interface Ending {
  /** True if the turn was ended too early, in a pause. */
  readonly cut: boolean
  /** Time in ms from the last sound to the decision; NaN if there was no decision. */
  readonly waitMs: number
  /** Figures that decided. */
  readonly why: string
}

/** Path of the file that is shipped. */
export const SHIPPED = join(packageRoot(), 'agents', 'learned-turns.json')
let shipped: LearnedTurns['model'] | null = null

function optionsOf(decider: Decider): SpeechOptions {
  const { speech: options } = DEFAULT_CALL_OPTIONS
  switch (decider) {
    case 'words':
      return options
    case 'adaptive':
      return { ...options, words: null }
    case 'learned':
    case 'learned 800': {
      shipped ??= readLearnedTurns(readFileSync(SHIPPED, 'utf8'), []).model
      const endOfSpeechMs = decider === 'learned' ? options.endOfSpeechMs : 800
      return { ...options, endOfSpeechMs, words: null, learned: shipped }
    }
    default:
      return { ...options, adaptive: false, endOfSpeechMs: Number(decider) }
  }
}

/** Time in ms that is longer than all pauses in turns. */
const PATIENT_MS = 1700

/**
 * Pauses and end of a turn, with the times for which the rules and a model wait, for a caller who is never interrupted.
 * @param model  null to use only the rules
 */
export function pausesOfTurn(
  { kind, startMs, endMs, frames }: HeardTurn,
  model: LearnedTurns['model'] | null,
): JudgedPause[] {
  const options = { ...DEFAULT_CALL_OPTIONS.speech, words: null }
  const rules = new AdaptivePause(options, true)
  const others = model === null ? [] : [new AdaptivePause({ ...options, learned: model })]
  let nowMs = 0
  const watch = new PauseWatch({
    acting: new FixedPause({ ...options, endOfSpeechMs: PATIENT_MS }),
    compared: [rules, ...others],
    nowMs: () => nowMs,
    counts: () => true,
  })
  const speech = new CallerSpeech(options, watch)
  speech.expect(EXPECTED[kind])
  for (const frame of frames) speech.frame(frame, (nowMs += FRAME_MS))
  const pauses = watch.pauses.filter(({ fromMs }) => fromMs > startMs)
  const isEnd = ({ resumedMs }: (typeof pauses)[number]): boolean => resumedMs === null || resumedMs > endMs
  const end = pauses.findIndex(isEnd)
  return pauses.slice(0, end === -1 ? pauses.length : end + 1).flatMap((pause) => {
    const lengthMs = isEnd(pause) ? Infinity : (pause.resumedMs as number) - pause.fromMs
    return lengthMs < LEARNED_PAUSE_MS_MIN ? [] : [{ ...pause, lengthMs }]
  })
}

/** Finds the end of one turn with the code of real calls, as for the first turn of an unknown caller. */
export function endingOf(turn: HeardTurn, decider: Decider): Ending {
  const { kind, startMs, endMs, frames, asked } = turn
  const speech = new CallerSpeech(optionsOf(decider))
  speech.expect(EXPECTED[kind])
  let cut = false
  let words = ''
  for (const [i, frame] of frames.entries()) {
    const nowMs = (i + 1) * FRAME_MS
    const told = decider === 'words' ? wordsAt(turn, nowMs) : ''
    if (told !== words) speech.heardWords(told, asked)
    words = told
    // Noise before the turn may be detected as voice. It does not end a turn.
    if (speech.frame(frame, nowMs) !== 'end' || !speech.real || speech.lastVoicedMs <= startMs) continue
    if (nowMs >= endMs) return { cut, waitMs: nowMs - endMs, why: speech.endedBecause(nowMs) }
    cut = true
  }
  return { cut, waitMs: NaN, why: '' }
}

export interface EndingFigures {
  readonly turns: number
  readonly cut: number
  /** Median wait in ms of the turns that were not ended too early. */
  readonly medianMs: number
  readonly p90Ms: number
  /** Number of turns whose end was not found within 2.5 s. */
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
