import { columns } from '../terminal.js'

/** One run of a build. A figure is null if the run does not have it, or did not hold. */
export interface Run {
  readonly verdict: string
  readonly reasons: readonly string[]
  readonly cpuMsPerCallSecond: number | null
  readonly addedP99Ms: number | null
  readonly kbPerCall: number | null
  readonly heapBytesPerFrame: number | null
  /**
   * Number of cores that were used outside the bench during the run: by other processes, or withheld by the host of
   * this machine.
   */
  readonly foreignCores: number
}

export interface Pair {
  readonly here: Run
  readonly there: Run
}

/**
 * Maximum share of a machine's cores that other processes may use. With more, they also affect the caches and the clock
 * rate.
 */
export const FOREIGN_SHARE_MAX = 0.15
/**
 * Maximum quotient of the largest and the smallest ratio of all pairs. On an idle machine with two cores, the ratios of
 * pairs differ by a tenth.
 */
export const PAIRS_SPREAD_MAX = 1.25

type Figure = Exclude<keyof Run, 'verdict' | 'reasons' | 'foreignCores'>

const FIGURES: readonly (readonly [key: Figure, title: string, digits: number])[] = [
  ['cpuMsPerCallSecond', 'CPU ms/call/s', 2],
  ['addedP99Ms', 'added p99 ms', 1],
  ['kbPerCall', 'KB/call', 0],
  ['heapBytesPerFrame', 'heap B/frame', 0],
]

/** Reasons that make the comparison void; empty if it is valid. */
export function voidBecause(pairs: readonly Pair[], cores: number): readonly string[] {
  const runs = pairs.flatMap(({ here, there }, i) => [
    { name: `run ${i + 1} here`, run: here },
    { name: `run ${i + 1} there`, run: there },
  ])
  const ratios = pairs.map((pair) => ratioOf(pair, 'cpuMsPerCallSecond')).filter((ratio) => ratio !== null)
  const spread = Math.max(...ratios) / Math.min(...ratios)
  return [
    ...runs
      .filter(({ run }) => run.verdict !== 'held')
      .map(({ name, run }) => `${name} is ${run.verdict}: ${run.reasons.join('; ')}`),
    ...runs
      .filter(({ run }) => run.foreignCores > cores * FOREIGN_SHARE_MAX)
      .map(({ name, run }) => `${name}: others used ${run.foreignCores.toFixed(2)} of ${cores} cores meanwhile`),
    ...(spread > PAIRS_SPREAD_MAX
      ? [
          `the processor time moved: its ratio was ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)} in ${ratios.length} pairs`,
        ]
      : []),
  ]
}

/** Table of both builds' medians, the median of the pairs' ratios, and the ratio of each pair. */
export function comparisonTable(pairs: readonly Pair[], there: string): readonly string[] {
  return columns(
    FIGURES,
    ['', ([, title]) => title],
    ['here', ([key, , digits]) => shown(medianOf(pairs.map(({ here }) => here[key])), digits)],
    [there, ([key, , digits]) => shown(medianOf(pairs.map((pair) => pair.there[key])), digits)],
    ['ratio', ([key]) => shown(medianOf(pairs.map((pair) => ratioOf(pair, key))), 2)],
    ['of each pair', ([key]) => pairs.map((pair) => shown(ratioOf(pair, key), 2)).join(' ')],
  )
}

function ratioOf({ here, there }: Pair, key: Figure): number | null {
  const [ours, theirs] = [here[key], there[key]]
  return ours === null || theirs === null || theirs <= 0 ? null : ours / theirs
}

function medianOf(values: readonly (number | null)[]): number | null {
  const sorted = values.filter((value) => value !== null).toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? null
}

function shown(value: number | null, digits: number): string {
  return value === null ? '-' : value.toFixed(digits)
}
