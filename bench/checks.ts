import { ADDED_P99_MS_MAX } from './plan.js'
import type { Capacity, CaseResult, Check, IdleResult, Speed } from './results.js'

/** Median, minimum and maximum; null if there are no values. */
interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly runs: number
}

export function spread(values: readonly number[]): Spread | null {
  if (values.length === 0) return null
  const sorted = values.toSorted((a, b) => a - b)
  return {
    median: sorted[sorted.length >> 1] as number,
    min: sorted[0] as number,
    max: sorted.at(-1) as number,
    runs: sorted.length,
  }
}

/**
 * Runs of one subject at one level that held with the largest number of calls. Runs with other numbers only searched
 * for this number.
 */
export function heldRuns(cases: readonly CaseResult[], subject: string, level: string): readonly CaseResult[] {
  const held = cases.filter(
    (one) => one.options.subject === subject && one.options.level === level && one.speed !== null,
  )
  const calls = Math.max(...held.map((one) => one.options.calls))
  return held.filter((one) => one.options.calls === calls)
}

export function speeds(cases: readonly CaseResult[], subject: string, level: string): readonly Speed[] {
  return heldRuns(cases, subject, level).flatMap((one) => (one.speed === null ? [] : [one.speed]))
}

function cpu(cases: readonly CaseResult[], subject: string, level: string): number | null {
  return spread(speeds(cases, subject, level).map((speed) => speed.cpuMsPerCallSecond))?.median ?? null
}

/**
 * Limit of 1.2 ms per call and second, in units of a raw echo. The design was made for a machine on which
 * uWebSockets.js echoes 50 frames in 0.31 to 0.36 ms (6.2 to 7.2 µs each). The middle of these values is used here. If
 * a machine is slower, its echo is slower too.
 */
const L2_ECHOES_MAX = 1.2 / (50 * 0.0067)

/** Bound of a figure. */
interface Bound {
  readonly wanted: string
  readonly unit: string
  /** True if the value is within the bound; null if the figure is shown only for comparison. */
  readonly ok: ((value: number) => boolean) | null
}

const atMost = (max: number, unit: string, more = ''): Bound => ({
  wanted: `at most ${Number(max.toFixed(2))} ${unit}${more}`,
  unit,
  ok: (value) => value <= max,
})
const atLeast = (min: number, unit: string): Bound => ({
  wanted: `at least ${min} ${unit}`,
  unit,
  ok: (value) => value >= min,
})
const under = (max: number, unit: string): Bound => ({
  wanted: `under ${max} ${unit}`,
  unit,
  ok: (value) => value < max,
})
const shown = (unit: string): Bound => ({ wanted: 'for comparison', unit, ok: null })

/** Results of this run for the figures for which the design sets bounds. */
export function check(
  cases: readonly CaseResult[],
  capacities: readonly Capacity[],
  idle: readonly IdleResult[] = [],
  few: readonly CaseResult[] = [],
): readonly Check[] {
  const ratio = (over: number | null, below: number | null): number | null =>
    over === null || below === null ? null : over / below
  const memoryKb = (level: string): number | null => {
    const weighed = cases.find(
      (one) => one.options.subject === 'mkondo' && one.options.level === level && one.memory?.bytesPerCall != null,
    )
    return weighed === undefined ? null : (weighed.memory?.bytesPerCall ?? 0) / 1000
  }
  const at80 = (level: string): number | null => {
    const ours = capacities.find((capacity) => capacity.subject === 'mkondo' && capacity.level === level)
    return ours?.at80?.speed?.addedMs?.p99 ?? null
  }
  const median = (values: readonly number[]): number | null => spread(values)?.median ?? null
  const production = cpu(cases, 'mkondo', 'L2-prod')
  const l0 = cpu(cases, 'mkondo', 'L0')
  const l2 = cpu(cases, 'mkondo', 'L2')
  const echo = cpu(cases, 'uws-echo', 'L0')
  const asleep = idle.filter(({ backend }) => backend === 'openai')
  const stops = speeds(cases, 'mkondo', 'L3').map((speed) => speed.stopMs?.p99 ?? Infinity)
  const figures: readonly (readonly [name: string, value: number | null, bound: Bound])[] = [
    ['L2-prod: CPU per call and second, all threads', production, shown('ms')],
    ['L2-prod: the same in raw echoes (L0, uWebSockets.js) of this run', ratio(production, echo), atMost(6, 'x')],
    [
      'L2-prod: CPU of the OpenAI transport, with TLS too, against ours',
      ratio(cpu(cases, 'openai-twilio', 'L2-prod'), production),
      atLeast(3, 'x'),
    ],
    [
      'L2-cascade: CPU against L2-prod of the same run',
      ratio(cpu(cases, 'mkondo', 'L2-cascade'), production),
      atMost(1.3, 'x'),
    ],
    ['L0: CPU against raw uWebSockets.js', ratio(l0, echo), atMost(1.3, 'x')],
    // This figure has no limit. It shows how much of the previous figure's limit a clock alone uses.
    ['L0: the same of raw uWebSockets.js with a clock', ratio(cpu(cases, 'uws-paced', 'L0'), echo), shown('x')],
    ['L0: CPU against the ws sketch', ratio(l0, cpu(cases, 'ws-sketch', 'L0')), under(1, 'x')],
    ['L2: CPU per call and second, all threads', l2, atMost(1.2, 'ms', ', aim 1.0')],
    ['L2: the same in raw echoes (L0, uWebSockets.js) of this run', ratio(l2, echo), atMost(L2_ECHOES_MAX, 'x')],
    [
      'L2: CPU of the OpenAI transport, at lighter work, against ours',
      ratio(cpu(cases, 'openai-twilio', 'L2'), l2),
      atLeast(3.5, 'x'),
    ],
    ['L2: CPU of the naive bridge against ours', ratio(cpu(cases, 'naive-bridge', 'L2'), l2), atLeast(5, 'x')],
    ['L2: memory per call, by slope', memoryKb('L2'), atMost(150, 'KB')],
    ['L2-prod: memory per call, by slope', memoryKb('L2-prod'), atMost(200, 'KB')],
    [
      'idle, no embedded backend: resident memory',
      median(asleep.map(({ rssBytes }) => rssBytes / 1e6)),
      atMost(150, 'MB'),
    ],
    ['idle: CPU', median(asleep.map(({ cpuMsPerSecond }) => cpuMsPerSecond)), shown('ms/s')],
    ['L2-prod: CPU with few calls that does not depend on their number', withoutCalls(few), atMost(25, 'ms/s')],
    ['L3: barge-in stop, p99', median(stops), atMost(230, 'ms')],
    ['L2: added latency at 80 % of the capacity, p99', at80('L2'), under(ADDED_P99_MS_MAX, 'ms')],
    ['L2-prod: added latency at 80 % of the capacity, p99', at80('L2-prod'), under(ADDED_P99_MS_MAX, 'ms')],
  ]
  return figures.map(([name, value, { wanted, unit, ok }]) => ({
    name,
    wanted,
    measured: value === null ? 'not measured' : `${value.toFixed(2)} ${unit}`,
    ok: value === null || ok === null ? null : ok(value),
  }))
}

/**
 * CPU time per second without calls. It is calculated with the line through the CPU times at two numbers of calls; null
 * unless both runs held.
 */
function withoutCalls(few: readonly CaseResult[]): number | null {
  const points = [...new Set(few.map((one) => one.options.calls))]
    .toSorted((a, b) => a - b)
    .flatMap((calls) => {
      const runs = few.filter((one) => one.options.calls === calls)
      const ms = spread(runs.flatMap(({ speed }) => (speed === null ? [] : [speed.cpuMsPerCallSecond * calls])))
      return ms === null ? [] : [{ calls, ms: ms.median }]
    })
  const [less, more] = points
  if (less === undefined || more === undefined) return null
  return less.ms - (less.calls * (more.ms - less.ms)) / (more.calls - less.calls)
}

/**
 * True if the audio was correct and there is a measurement. Only wrong runs of the gateway fail the bench. If a peer's
 * run was wrong, the report names the peer; it fails the bench only if nothing else was measured.
 */
export function isTrue(runs: readonly CaseResult[]): boolean {
  const own = runs.filter((one) => one.options.subject === 'mkondo')
  if (own.some(({ verdict }) => verdict === 'untrue' || verdict === 'failed')) return false
  return runs.length === 0 || (own.length > 0 ? own : runs).some(({ speed }) => speed !== null)
}
