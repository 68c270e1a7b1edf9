import type { BackendErrorCode, BackendUsage } from '../backend.js'

/** One side's part of a turn. Times run from the moment at which the caller, or the call, was done asking. */
export interface ShadowSide {
  /** What it understood of the caller. */
  readonly callerText: string
  readonly agentText: string
  /** To its first sound, and to its first words or tool call of any kind; null when there was none. */
  readonly soundMs: number | null
  readonly actMs: number | null
  readonly audioMs: number
  readonly tools: readonly { readonly name: string; readonly args: Readonly<Record<string, unknown>> }[]
  /** Its answer failed. */
  readonly failed: boolean
}

export interface ShadowTurn {
  /** What was answered: words of the caller, a text of the call (the greeting, for one), or keys. */
  readonly asked: 'speech' | 'text' | 'keys'
  readonly primary: ShadowSide
  readonly second: ShadowSide
  /** How much later the second one made its first sound; null where one of them made none. */
  readonly soundDifferenceMs: number | null
  /** Both called the same tools with the same arguments, in whatever order. */
  readonly sameTools: boolean
  /** Both understood the caller to have said the same words, case and punctuation aside. */
  readonly sameCallerText: boolean
}

/** What a second backend would have made of a call. Plain data for the call's record; it holds words of the caller. */
export interface ShadowReport {
  readonly primary: string
  readonly second: string
  /** `over`: it had ended by itself before the call did. */
  readonly state: 'connecting' | 'live' | 'failed' | 'over'
  readonly fault: BackendErrorCode | null
  readonly connectMs: number | null
  readonly turns: readonly ShadowTurn[]
  readonly turnsDropped: number
  readonly turnsWithOtherTools: number
  /** Median of the turns' differences; null when no turn had sound from both. */
  readonly soundDifferenceMsMedian: number | null
  /** Its tool calls that were answered with the primary's result, and those for which there was none. */
  readonly toolsAnswered: number
  readonly toolsUnanswered: number
  /** What it cost; none of this is in the call's own usage. */
  readonly usage: BackendUsage
}
