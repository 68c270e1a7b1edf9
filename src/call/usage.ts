import { z } from 'zod'
import { usageSchemaOf } from './backend-events.js'
import type { BackendUsage } from './backend-events.js'

/** Sums of `BackendUsage`. */
export type UsageSums = { -readonly [K in keyof BackendUsage]: BackendUsage[K] }

export function noUsage(): UsageSums {
  return { inputTokens: 0, outputTokens: 0, audioInMs: 0, audioOutMs: 0 }
}

const { model: _, ...figures } = usageSchemaOf(z.number()).shape
const FIGURES = Object.keys(figures) as (keyof typeof figures)[]

/**
 * Adds a report to the sums. Some services do not report every figure. Such a figure is absent before its first report,
 * because 0 would be a different statement.
 */
export function addUsage(sums: UsageSums, usage: BackendUsage): void {
  for (const figure of FIGURES) {
    const added = usage[figure]
    if (added !== undefined) sums[figure] = (sums[figure] ?? 0) + added
  }
}
