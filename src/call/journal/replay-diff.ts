import { diffArrays } from 'diff'
import type { TimedOutput } from './replay.js'

/** An output that only one of two runs has, or that has different times in the two runs. */
export type OutputDifference =
  | { readonly kind: 'gone'; readonly was: TimedOutput }
  | { readonly kind: 'new'; readonly is: TimedOutput }
  | { readonly kind: 'moved'; readonly was: TimedOutput; readonly is: TimedOutput }

interface DiffOptions {
  /** Maximum difference between times that count as equal, in milliseconds. 0: times are compared exactly. */
  readonly toleranceMs: number
}

/**
 * Returns the differences between two runs of one call, in order. Outputs are matched by content, so that one added or
 * missing output does not make all later outputs differ.
 */
export function diffOutputs(
  was: readonly TimedOutput[],
  is: readonly TimedOutput[],
  { toleranceMs }: DiffOptions,
): readonly OutputDifference[] {
  const differences: OutputDifference[] = []
  let [i, j] = [0, 0]
  const key = (timed: TimedOutput): string => matchKey(timed, toleranceMs)
  for (const part of diffArrays(was.map(key), is.map(key))) {
    for (let k = 0; k < part.value.length; k++) {
      const [before, after] = [was[i], is[j]]
      if (!part.added) i++
      if (!part.removed) j++
      if (part.added && after !== undefined) differences.push({ kind: 'new', is: after })
      else if (part.removed && before !== undefined) differences.push({ kind: 'gone', was: before })
      else if (before !== undefined && after !== undefined && Math.abs(before.atMs - after.atMs) > toleranceMs) {
        differences.push({ kind: 'moved', was: before, is: after })
      }
    }
  }
  return differences
}

/**
 * Returns the key by which outputs are matched: JSON with sorted members. With a tolerance, times inside an output are
 * ignored, because they shift together with the output.
 */
function matchKey({ output }: TimedOutput, toleranceMs: number): string {
  return JSON.stringify(output, (key, value: unknown) => {
    if (toleranceMs > 0 && typeof value === 'number' && /(?:Ms|[aA]tMs)$/.test(key)) return undefined
    if (toleranceMs > 0 && (key === 'at' || key === 'detail' || key === 'why')) return undefined
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
  })
}
