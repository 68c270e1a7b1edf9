import type { CallOutcome, EndReason, EscalationOutcome, EscalationStrategy } from '../../call/record.js'
import type { LegRateHz } from '../../core/units.js'
import type { AfterStream, SimulatedHuman } from '../call-options.js'
import type { CallerScript } from '../caller-script.js'
import type { LineLoss, Stall } from '../line.js'
import type { Noise } from '../noise.js'
import type { CallerVoice } from '../voices.js'
import type { TextPattern } from './text-pattern.js'

/** How a call is placed: spoken through the carrier's protocol, or as text on a clock of its own. */
export type CallMode = 'audio' | 'text'

/** One scenario: who calls, what they do, over what line, and what must come of it. */
export interface Scenario {
  /** As it was found, for messages. */
  readonly file: string
  readonly name: string
  readonly agent: string
  /** The only mode it can run in; null for either. */
  readonly mode: CallMode | null
  readonly seed: number
  /** Calendar time at which the call is placed, in text mode; null for now. */
  readonly atWallMs: number | null
  readonly timeoutMs: number
  readonly from: string
  readonly to: string
  readonly voice: CallerVoice
  /** 1 is the voice's own pace, 1.2 a fifth faster. */
  readonly pace: number
  readonly script: CallerScript
  readonly line: ScenarioLine
  readonly afterStream: AfterStream
  readonly ignoreKill: boolean
  readonly human: SimulatedHuman
  readonly expect: Expectations
}

export interface ScenarioLine {
  readonly rateHz: LegRateHz
  readonly noise: Noise | null
  readonly loss: LineLoss | null
  /** Hold-ups of the network about every second, up to that long; null for none. */
  readonly jitterMs: number | null
  readonly stalls: readonly Stall[]
}

/** At least and at most; null where there is no bound. */
export interface Range {
  readonly min: number | null
  readonly max: number | null
}

export interface ExpectedCall {
  readonly tool: string
  /** Arguments that must be among those of the call: a text or /regex/, or the very value; null for an absent one. */
  readonly args: readonly (readonly [name: string, value: TextPattern | number | boolean | null])[]
  readonly times: Range
}

export interface ExpectedEscalation {
  readonly reason: TextPattern | null
  readonly summary: TextPattern | null
  readonly identity: readonly (readonly [name: string, value: TextPattern | number | boolean | null])[] | null
  /** Tools that the human must be told were tried. */
  readonly tried: readonly string[]
  readonly transcript: readonly TextPattern[]
  readonly outcome: EscalationOutcome | null
  readonly strategy: EscalationStrategy | null
  /** Whether the caller was to be called back. */
  readonly callback: boolean | null
}

export interface Expectations {
  /** Any of them; empty for all. */
  readonly outcomes: readonly CallOutcome[]
  readonly endReasons: readonly EndReason[]
  readonly called: readonly ExpectedCall[]
  readonly notCalled: readonly ExpectedCall[]
  readonly said: readonly TextPattern[]
  readonly neverSaid: readonly TextPattern[]
  /** What the gateway must have understood of the caller. */
  readonly understood: readonly TextPattern[]
  /** False: nobody may have been asked for. Null: either. */
  readonly escalated: ExpectedEscalation | boolean | null
  readonly turns: Range | null
  readonly bargeIns: Range | null
  readonly withinMs: Readonly<Partial<Record<TimedThing, number>>>
}

/** What can be timed; every one of its kind in the call must keep the limit. */
export const TIMED_THINGS = ['greeting', 'firstSound', 'answer', 'bargeInStop', 'call'] as const
export type TimedThing = (typeof TIMED_THINGS)[number]
