import { streamOpenedMs } from '../documents/call-view.js'
import type { WrittenRecord } from '../documents/call-search.js'
import { turnStepsOf } from './turn-steps.js'

/** Maximum number of an agent's earlier calls with which one call is compared. */
export const USUAL_CALLS_MAX = 1000
/** Maximum number of values that one call supplies for one name. */
const VALUES_PER_CALL_MAX = 20
/** Maximum number of tools of one call that are measured; the first tools count. */
const TOOLS_PER_CALL_MAX = 10

/** Measured values of one call in whole milliseconds, by name: `greeting`, `answer`, `endOfTurn`, `backend`, `tool NAME`. */
export type CallSpans = Readonly<Record<string, readonly number[]>>

/** Usual values of an agent's calls, by the names of `CallSpans`. */
export interface Usual {
  /** Number of calls from which the usual values were computed. */
  readonly calls: number
  readonly of: Readonly<Record<string, { readonly values: number; readonly p50Ms: number; readonly p95Ms: number }>>
}

/** @throws if a part of the record does not have the shape of a record */
export function spansOf(record: WrittenRecord): CallSpans {
  const { greetingMs = null, timeline = [], turns = [], toolCalls = [], durationMs = 0 } = record
  const spans: Record<string, number[]> = {}
  const add = (name: string, ms: number | null): void => {
    if (ms === null) return
    const values = (spans[name] ??= [])
    if (values.length < VALUES_PER_CALL_MAX) values.push(Math.round(ms))
  }
  add('greeting', greetingMs)
  const zeroMs = streamOpenedMs(timeline) ?? 0
  const steps = turnStepsOf({ zeroMs, timeline, turns, toolCalls, durationMs })
  for (const { isAnswered, stoppedAtMs, untilMs, parts } of steps) {
    if (!isAnswered) continue
    add('answer', untilMs - stoppedAtMs)
    add('endOfTurn', parts.endOfTurnMs)
    add('backend', parts.backendMs)
  }
  const names = [...new Set(toolCalls.map(({ name }) => name))].slice(0, TOOLS_PER_CALL_MAX)
  for (const { name, ms, ok } of toolCalls) if (ok && names.includes(name)) add(`tool ${name}`, ms)
  return spans
}

/** Returns the quantiles over all calls. */
export function usualOf(calls: readonly CallSpans[]): Usual {
  const all = new Map<string, number[]>()
  for (const spans of calls)
    for (const [name, values] of Object.entries(spans)) {
      const known = all.get(name)
      if (known === undefined) all.set(name, [...values])
      else known.push(...values)
    }
  const of = [...all].map(([name, values]) => {
    values.sort((a, b) => a - b)
    const at = (share: number): number => values[Math.ceil(share * values.length) - 1] ?? 0
    return [name, { values: values.length, p50Ms: at(0.5), p95Ms: at(0.95) }] as const
  })
  return { calls: calls.length, of: Object.fromEntries(of) }
}
