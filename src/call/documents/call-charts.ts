import { z } from 'zod'
import { costOf, searchTimeSchema } from './call-search.js'
import type { WrittenRecord } from './call-search.js'
import type { FoundView } from './call-view.js'
import { CALL_OUTCOMES, CALL_SERVED } from './record.js'
import type { CallOutcome, CallServed } from './record.js'

/**
 * Figures of ended calls, as sums over time, agents and nodes. Percentiles cannot be added. Therefore answer times are
 * counted in steps, and percentiles are computed from these counts.
 */

/** Time spans of charts: number of buckets, and length of a bucket in hours. */
const CHART_SPANS = {
  day: { buckets: 24, bucketHours: 1 },
  week: { buckets: 28, bucketHours: 6 },
  month: { buckets: 30, bucketHours: 24 },
} as const
type ChartSpan = keyof typeof CHART_SPANS
const SPANS = Object.keys(CHART_SPANS) as [ChartSpan, ...ChartSpan[]]

export const HOUR_MS = 3_600_000
/**
 * Maximum number of agents or versions that have separate figures in one node's answer. The figures of all others are
 * added together.
 */
export const CHART_NODE_GROUPS_MAX = 40
/** Maximum number of groups in the answer over all nodes. */
const CHART_GROUPS_MAX = 12
/** Money is counted in whole millionths, because sums of fractions might not return to zero. */
const COST_UNITS = 1e6

/** Query of a chart. */
export const chartQuerySchema = z.strictObject({
  over: z.enum(SPANS).default('day').describe('Span of the chart.'),
  by: z.enum(['agent', 'agentVersion']).default('agent').describe('One series for each agent, or for each version.'),
  to: searchTimeSchema
    .exactOptional()
    .describe('The last bucket ends with the hour of this time: a day (UTC), or a time with its zone. Default: now.'),
  agent: z.string().trim().min(1).max(200).exactOptional().describe('First agent of the call.'),
  agentVersion: z.string().trim().min(1).max(200).exactOptional().describe('`agentVersion` of the record.'),
})
type ChartQuery = z.output<typeof chartQuerySchema>

/** Range of a chart, in hours since 1970, UTC. */
export const chartRangeSchema = z.object({
  fromHour: z.int(),
  bucketHours: z.int().min(1).max(24),
  buckets: z.int().min(1).max(30),
  by: z.enum(['agent', 'agentVersion']),
  agent: z.string().max(200).nullable(),
  agentVersion: z.string().max(200).nullable(),
})
export type ChartRange = z.output<typeof chartRangeSchema>

export function chartRange({ over, by, to, agent, agentVersion }: ChartQuery, nowMs: number): ChartRange {
  const { buckets, bucketHours } = CHART_SPANS[over]
  const endHour = Math.ceil((to === undefined ? nowMs : Date.parse(to)) / HOUR_MS)
  return {
    ...{ fromHour: endHour - buckets * bucketHours, bucketHours, buckets, by },
    ...{ agent: agent ?? null, agentVersion: agentVersion ?? null },
  }
}

/** Name of the figure "contained calls whose callers were served". */
const CONTAINED_SERVED = 'contained:served'
/**
 * Results for the caller with which a contained call counts for containment. The set includes null: records of earlier
 * builds do not have a result, and their calls count too.
 */
const GOT: ReadonlySet<CallServed | null> = new Set<CallServed | null>(['answered', 'done', 'human', null])

/** True if a call counts for containment, because the caller was served without a human. */
export function isContained({ outcome, served = null }: Pick<WrittenRecord, 'outcome' | 'served'>): boolean {
  return outcome === 'contained' && GOT.has(served)
}

/**
 * Amounts by name. `contained`: number of contained calls. `s:done`: number of calls whose result for the caller is
 * `done`. `a72`: number of answers in step 72 of the answer times. `cKES`: cost in millionths of a Kenyan shilling.
 */
export type Figures = Record<string, number>

/** Number of steps in which the answer time doubles. With these steps, the error of a percentile is at most 4.5 %. */
const ANSWER_STEPS = 8
/** Limits of the counted answer times, in milliseconds; times outside are counted as the limit. */
const [ANSWER_MS_MIN, ANSWER_MS_MAX] = [64, 32_768]

/** Figures of one call. */
export function figuresOf(record: WrittenRecord): Figures {
  const { outcome, served = null, turns = [] } = record
  const figures: Figures = outcome === undefined ? {} : { [outcome]: 1 }
  if (served !== null) figures[`s:${served}`] = 1
  if (isContained(record)) figures[CONTAINED_SERVED] = 1
  for (const { answerMs } of turns)
    if (answerMs !== null) {
      const ms = Math.min(ANSWER_MS_MAX, Math.max(ANSWER_MS_MIN, answerMs))
      add(figures, `a${Math.round(ANSWER_STEPS * Math.log2(ms))}`, 1)
    }
  const cost = costOf(record)
  if (cost !== null && cost.amount > 0) add(figures, `c${cost.currency}`, Math.round(cost.amount * COST_UNITS))
  return figures
}

function add(figures: Figures, name: string, amount: number): void {
  const sum = (figures[name] ?? 0) + amount
  if (sum === 0) delete figures[name]
  else figures[name] = sum
}

/** @param sign  1 adds the figures; -1 subtracts them */
export function addFigures(to: Figures, figures: Figures, sign: 1 | -1 = 1): void {
  // `Object.entries` would be slow, because a chart of a month adds a quarter of a million figures.
  for (const name in figures) add(to, name, sign * (figures[name] ?? 0))
}

/**
 * Buckets of one agent or version. If the name is null, the group contains all agents that do not have a group of their
 * own.
 */
export interface ChartGroup {
  readonly name: string | null
  readonly buckets: readonly Figures[]
}

function callsIn(figures: Figures): number {
  return CALL_OUTCOMES.reduce((sum, outcome) => sum + (figures[outcome] ?? 0), 0)
}

const wholeOf = ({ buckets }: ChartGroup): Figures => buckets.reduce<Figures>(summed, {})

function summed(sum: Figures, each: Figures): Figures {
  addFigures(sum, each)
  return sum
}

/**
 * Adds groups with equal names, and keeps the groups with the most calls. All other groups become one group without a
 * name.
 */
export function mergedGroups(groups: readonly ChartGroup[], max: number): ChartGroup[] {
  const byName = new Map<string | null, Figures[]>()
  const into = (name: string | null, buckets: readonly Figures[]): void => {
    const sums = byName.get(name) ?? buckets.map((): Figures => ({}))
    buckets.forEach((figures, at) => addFigures((sums[at] ??= {}), figures))
    byName.set(name, sums)
  }
  for (const { name, buckets } of groups) into(name, buckets)
  const named = [...byName]
    .flatMap(([name, buckets]) =>
      name === null ? [] : [{ name, buckets, calls: callsIn(wholeOf({ name, buckets })) }],
    )
    .sort((a, b) => b.calls - a.calls || (a.name < b.name ? -1 : 1))
  for (const { name, buckets } of named.slice(max)) {
    byName.delete(name)
    into(null, buckets)
  }
  const others = byName.get(null)
  return [
    ...named.slice(0, max).map(({ name, buckets }) => ({ name, buckets })),
    ...(others === undefined ? [] : [{ name: null, buckets: others }]),
  ]
}

/** Figures of a bucket in a chart, or of all buckets. */
interface ChartPoint {
  readonly calls: number
  readonly outcomes: Readonly<Partial<Record<CallOutcome, number>>>
  /** Number of calls by the result for the caller; calls of earlier builds are not counted. */
  readonly served: Readonly<Partial<Record<CallServed, number>>>
  /** Number of contained calls with an answer or a completed action. Containment is this number divided by `calls`. */
  readonly contained: number
  /** Number of answered turns. */
  readonly answers: number
  /**
   * Median time from the caller's last voiced sample to the first agent sound except fillers, in milliseconds; null
   * without an answer.
   */
  readonly answerP50Ms: number | null
  readonly answerP95Ms: number | null
  /** Known cost by currency. */
  readonly cost: Readonly<Record<string, number>>
}

interface ChartSeries {
  /** Name of the agent or version. Null for all agents together, or for the agents without a series of their own. */
  readonly name: string | null
  readonly whole: ChartPoint
  readonly buckets: readonly ChartPoint[]
}

/** `GET /api/charts`. */
export interface ChartsView {
  /** Start of the first bucket. */
  readonly from: string
  readonly bucketHours: number
  readonly all: ChartSeries
  /**
   * Groups, most calls first. If there are too many groups, the last group has a null name and contains all remaining
   * agents.
   */
  readonly groups: readonly ChartSeries[]
  readonly nodes: FoundView['nodes']
}

/** Combines the answers of all nodes. */
export function chartsOf(
  { fromHour, bucketHours, buckets }: ChartRange,
  groups: readonly ChartGroup[],
): Omit<ChartsView, 'nodes'> {
  const none: ChartGroup = { name: null, buckets: Array.from({ length: buckets }, () => ({})) }
  const [all = none] = mergedGroups([none, ...groups.map((group) => ({ ...group, name: null }))], 0)
  return {
    ...{ from: new Date(fromHour * HOUR_MS).toISOString(), bucketHours, all: seriesOf(all) },
    groups: mergedGroups(groups, CHART_GROUPS_MAX).map(seriesOf),
  }
}

function seriesOf(group: ChartGroup): ChartSeries {
  return { name: group.name, whole: pointOf(wholeOf(group)), buckets: group.buckets.map(pointOf) }
}

function pointOf(figures: Figures): ChartPoint {
  const steps = Object.entries(figures)
    .flatMap(([name, count]) => (/^a\d/.test(name) ? [{ step: Number(name.slice(1)), count }] : []))
    .sort((a, b) => a.step - b.step)
  const answers = steps.reduce((sum, { count }) => sum + count, 0)
  const percentile = (share: number): number | null => {
    let left = Math.ceil(share * answers)
    const at = steps.find(({ count }) => (left -= count) <= 0)
    return at === undefined ? null : Math.round(2 ** (at.step / ANSWER_STEPS))
  }
  const counted = (names: readonly string[], prefix = ''): [string, number][] =>
    names.flatMap((name) => {
      const calls = figures[prefix + name]
      return calls === undefined ? [] : [[name, calls]]
    })
  const cost = Object.entries(figures).flatMap(([name, units]) =>
    /^c[A-Z]/.test(name) ? [[name.slice(1), units / COST_UNITS]] : [],
  )
  return {
    calls: callsIn(figures),
    outcomes: Object.fromEntries(counted(CALL_OUTCOMES)),
    served: Object.fromEntries(counted(CALL_SERVED, 's:')),
    contained: figures[CONTAINED_SERVED] ?? 0,
    ...{ answers, answerP50Ms: percentile(0.5), answerP95Ms: percentile(0.95) },
    cost: Object.fromEntries(cost) as ChartPoint['cost'],
  }
}
