import { z } from 'zod'
import { costOf } from './call-search.js'
import type { WrittenRecord } from './call-search.js'
import type { FoundView } from './call-view.js'
import { CALL_OUTCOMES } from './record.js'
import type { CallOutcome } from './record.js'

/**
 * How ended calls went, over time: figures that add, over calls, hours, agents and nodes. A percentile does not add, so
 * that answer times are counted in steps, and the percentile is read from the sum.
 */

/** Spans of charts: the number of their buckets, and the hours of each. */
const CHART_SPANS = {
  day: { buckets: 24, bucketHours: 1 },
  week: { buckets: 28, bucketHours: 6 },
  month: { buckets: 30, bucketHours: 24 },
} as const
type ChartSpan = keyof typeof CHART_SPANS
const SPANS = Object.keys(CHART_SPANS) as [ChartSpan, ...ChartSpan[]]

export const HOUR_MS = 3_600_000
/** Agents, or versions, with figures of their own in the answer of one node; the others are summed. */
export const CHART_NODE_GROUPS_MAX = 40
/** The same in the answer over all nodes. */
const CHART_GROUPS_MAX = 12
/** An amount of money is counted in whole millionths: a sum of fractions would not come back to zero. */
const COST_UNITS = 1e6

/** Query of a chart. */
export const chartQuerySchema = z.strictObject({
  over: z.enum(SPANS).default('day'),
  /** A chart of its own for each. */
  by: z.enum(['agent', 'agentVersion']).default('agent'),
  /** The last bucket ends at the end of this hour. Absent: now. */
  to: z.union([z.iso.date(), z.iso.datetime({ offset: true })]).exactOptional(),
  agent: z.string().trim().min(1).max(200).exactOptional(),
  agentVersion: z.string().trim().min(1).max(200).exactOptional(),
})
export const CHART_QUERY_KEYS = Object.keys(chartQuerySchema.shape) as readonly (keyof ChartQuery)[]
type ChartQuery = z.output<typeof chartQuerySchema>

/** Hours are counted from 1970, in UTC. */
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

/** Names with what each amounts to: `contained` calls, `a72` answers of that step, `cKES` millionths of a currency. */
export type Figures = Record<string, number>

/** Steps in a doubling of time: a percentile is at most 4.5 % off. */
const ANSWER_STEPS = 8
/** Shorter and longer answers count as these. */
const [ANSWER_MS_MIN, ANSWER_MS_MAX] = [64, 32_768]

/** Figures of one call. */
export function figuresOf(record: WrittenRecord): Figures {
  const { outcome, turns = [] } = record
  const figures: Figures = outcome === undefined ? {} : { [outcome]: 1 }
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

/** @param sign  -1 takes them away */
export function addFigures(to: Figures, figures: Figures, sign: 1 | -1 = 1): void {
  // Not `Object.entries`: a chart of a month adds a quarter of a million.
  for (const name in figures) add(to, name, sign * (figures[name] ?? 0))
}

/** The buckets of one agent or version; null: of what is left beside the named ones. */
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

/** Adds groups of the same name, and keeps those with the most calls; the others become one without a name. */
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
  /** Turns that were answered. */
  readonly answers: number
  /** From the caller's last voiced sample to the first agent sound that is no filler; null without an answer. */
  readonly answerP50Ms: number | null
  readonly answerP95Ms: number | null
  /** Known cost, by currency. */
  readonly cost: Readonly<Record<string, number>>
}

interface ChartSeries {
  /** Name of the agent or the version. Null: all, or those without a series of their own. */
  readonly name: string | null
  readonly whole: ChartPoint
  readonly buckets: readonly ChartPoint[]
}

/** `GET /api/charts`. */
export interface ChartsView {
  /** Begin of the first bucket. */
  readonly from: string
  readonly bucketHours: number
  readonly all: ChartSeries
  /** Those with the most calls first; the last has no name where there are more. */
  readonly groups: readonly ChartSeries[]
  readonly nodes: FoundView['nodes']
}

/** The answers of all nodes as one. */
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
  const outcomes = CALL_OUTCOMES.flatMap((name) => {
    const calls = figures[name]
    return calls === undefined ? [] : [[name, calls]]
  })
  const cost = Object.entries(figures).flatMap(([name, units]) =>
    /^c[A-Z]/.test(name) ? [[name.slice(1), units / COST_UNITS]] : [],
  )
  return {
    calls: callsIn(figures),
    outcomes: Object.fromEntries(outcomes) as ChartPoint['outcomes'],
    ...{ answers, answerP50Ms: percentile(0.5), answerP95Ms: percentile(0.95) },
    cost: Object.fromEntries(cost) as ChartPoint['cost'],
  }
}
