import type { PlaceCallOptions } from '../carrier/call-options.js'
import type { LineOptions } from '../carrier/line.js'
import type { CallerOptions } from './caller.js'

/** One difference of a real telephone from the simulated line. */
interface Difference {
  /** Description for people: help, and docs/SIMULATOR.md. */
  readonly what: string
  readonly line?: Pick<LineOptions, 'openingMs' | 'pauses'>
  readonly caller?: Pick<CallerOptions, 'ringsFirst' | 'keys'>
  readonly carrier?: Pick<PlaceCallOptions, 'firstText' | 'holdsBack' | 'dialEdge'>
}

/** Differences of real telephones, RTP and Asterisk from the line that is simulated by default. */
const TELEPHONES = {
  'ring-back': {
    what: "the carrier's first message has a ringing tone, from before the answer",
    caller: { ringsFirst: true },
  },
  'late-media': {
    what: 'the carrier sends no audio from before the stream: its first message is the first 20 ms',
    line: { openingMs: 0 },
  },
  'audio-first': { what: "audio comes before the carrier's first text frame", carrier: { firstText: 'after-audio' } },
  'no-packets': {
    what: 'the phone sends no packets between words: the carrier sends exact silence',
    line: { pauses: 'nothing' },
  },
  'comfort-noise': {
    what: 'the phone sends no packets between words: the carrier sends generated noise',
    line: { pauses: 'comfort-noise' },
  },
  'key-events': {
    what: 'DTMF digits are events (RFC 4733), with silence in place of tones',
    caller: { keys: 'events' },
  },
  'plays-at-once': {
    what: "the agent's sound is played when it arrives, without hold-back",
    carrier: { holdsBack: false },
  },
  'reports-dials': {
    what: 'an unanswered Dial ends as Busy, NoAnswer or Failed, and not as DialCompleted',
    carrier: { dialEdge: 'outcome' },
  },
} as const satisfies Readonly<Record<string, Difference>>

export type TelephoneDifference = keyof typeof TELEPHONES
export const TELEPHONE_DIFFERENCES = Object.keys(TELEPHONES) as TelephoneDifference[]

/** Pairs of differences that a phone cannot have together, with the reason. */
const CONTRADICTIONS: readonly (readonly [TelephoneDifference, TelephoneDifference, string])[] = [
  ['no-packets', 'comfort-noise', 'between words a phone is silent or noisy'],
  ['ring-back', 'late-media', 'the ringing tone is sound from before the stream, and late-media sends none'],
]

/** @returns the reason why no phone has all of these differences; null if a phone may have them */
export function contradictionIn(names: readonly TelephoneDifference[]): string | null {
  const found = CONTRADICTIONS.find(([one, other]) => names.includes(one) && names.includes(other))
  return found === undefined ? null : `${found[0]} and ${found[1]} exclude each other: ${found[2]}`
}

export function differenceOf(name: TelephoneDifference): Difference {
  return TELEPHONES[name]
}

/** @returns all named differences together, as options of line, caller and carrier */
export function telephone(names: readonly TelephoneDifference[]): Required<Omit<Difference, 'what'>> {
  const all = names.map(differenceOf)
  return {
    line: Object.assign({}, ...all.map(({ line }) => line)) as NonNullable<Difference['line']>,
    caller: Object.assign({}, ...all.map(({ caller }) => caller)) as NonNullable<Difference['caller']>,
    carrier: Object.assign({}, ...all.map(({ carrier }) => carrier)) as NonNullable<Difference['carrier']>,
  }
}
