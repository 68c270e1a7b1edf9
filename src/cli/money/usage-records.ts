import { resolve } from 'node:path'
import { z } from 'zod'
import { usageSchemaOf } from '../../call/backend-events.js'
import { addUsage, noUsage } from '../../call/usage.js'
import type { UsageSums } from '../../call/usage.js'
import { dataFolders } from '../../gateway/process-plan.js'
import { keptDocuments } from '../../telemetry/archive/kept-documents.js'

const modelCosts = z.object({
  currency: z.string(),
  models: z.array(
    z.object({
      backend: z.string(),
      model: z.string().nullable(),
      amount: z.number().nullable(),
      usage: usageSchemaOf(z.number()),
    }),
  ),
})

/** The fields of a call record that are needed to add up costs. Other fields are not read. */
const usedCall = z.object({
  callSid: z.string(),
  agent: z.string(),
  startedAt: z.iso.datetime(),
  durationMs: z.number(),
  cost: modelCosts.nullable(),
  analysis: z
    .object({ cost: modelCosts.nullable().default(null) })
    .nullable()
    .default(null),
})
export type UsedCall = z.output<typeof usedCall>

/**
 * Maximum number of calls in memory, about 300 bytes each. If there are more, the calls that were written last are
 * kept.
 */
const CALLS_MAX = 1_000_000

/** Ended calls, from the records below a data folder. Each call is listed once. */
export interface UsedCalls {
  readonly calls: readonly UsedCall[]
  /** Number of records that lack the fields for costs, plus the number of calls above CALLS_MAX. */
  readonly leftOut: number
}

/** @throws the error of the file system */
export function usedCalls(dataDir: string): UsedCalls {
  const found = new Map<string, UsedCall>()
  let leftOut = 0
  for (const folder of dataFolders(resolve(dataDir)))
    for (const document of keptDocuments(folder, 'records')) {
      const parsed = usedCall.safeParse(document)
      if (!parsed.success) {
        leftOut++
        continue
      }
      const { data } = parsed
      // A call's record is written again when the analysis or the carrier's details arrive. The last record counts.
      found.delete(data.callSid)
      found.set(data.callSid, data)
      if (found.size > CALLS_MAX) {
        found.delete(found.keys().next().value as string)
        leftOut++
      }
    }
  return { calls: [...found.values()], leftOut }
}

/** Usage of models in the recorded calls of an agent. */
export interface RecordedUsage {
  readonly calls: number
  readonly minutes: number
  /** Usage by `BACKEND MODEL`, over all these calls. */
  readonly models: ReadonlyMap<string, { readonly backend: string; readonly model: string; readonly usage: UsageSums }>
  /** Usage of the models that analysed the calls; null if no call was analysed. */
  readonly analysis: { readonly model: string; readonly usage: UsageSums } | null
}

/** @param callsMax  maximum number of calls; the newest are used */
export function recordedUsage(calls: readonly UsedCall[], agent: string, callsMax: number): RecordedUsage {
  const own = calls
    .filter((call) => call.agent === agent && call.durationMs > 0 && call.cost !== null)
    .toSorted((a, b) => (a.startedAt < b.startedAt ? 1 : -1))
    .slice(0, callsMax)
  const models = new Map<string, { backend: string; model: string; usage: UsageSums }>()
  let analysis: { model: string; usage: UsageSums } | null = null
  let ms = 0
  for (const { cost, analysis: analysed, durationMs } of own) {
    ms += durationMs
    for (const { backend, model, usage } of cost?.models ?? []) {
      const key = `${backend} ${model ?? ''}`
      const sums = models.get(key) ?? { backend, model: model ?? '', usage: noUsage() }
      addUsage(sums.usage, usage)
      models.set(key, sums)
    }
    for (const { model, usage } of analysed?.cost?.models ?? []) {
      analysis ??= { model: model ?? '', usage: noUsage() }
      addUsage(analysis.usage, usage)
    }
  }
  return { calls: own.length, minutes: ms / 60_000, models, analysis }
}
