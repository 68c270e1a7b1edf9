import { z } from 'zod'
import type { DocumentOf } from './documents/document.js'

/** Prefix of the caller's data in facts and stages, for example `caller.tier`. A tool must not have this name. */
export const CALLER_SOURCE = 'caller'

const valuesSchema = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))

/** Known data of a caller, by field. */
export type CallerValues = DocumentOf<typeof valuesSchema>

/** Outcome of a look-up of the caller. `late`: the answer had not arrived when the greeting was due. */
export const CALLER_STATES = ['found', 'unknown', 'failed', 'withheld', 'late'] as const

/** Memory of a caller's last call, for an agent with `caller.memory`. */
export const earlierCallSchema = z.object({
  /** Absent in memories stored by earlier builds. */
  callSid: z.string().exactOptional(),
  /** Calendar time at which the earlier call ended. */
  endedWallMs: z.number(),
  outcome: z.string(),
  facts: valuesSchema,
  /** Name of the identity that was verified in that call (`ownerOf`). Absent in memories stored by earlier builds. */
  owner: z.string().exactOptional(),
})
export type EarlierCall = DocumentOf<typeof earlierCallSchema>

/** Prefix of the fields from an earlier call: `last_outcome`, `last_days`, and `last_NAME` for each fact. */
const EARLIER = 'last_'

/** Names of the fields from an earlier call. @param facts  names of the agent's facts */
export function earlierFields(facts: readonly string[]): string[] {
  return ['outcome', 'days', ...facts].map((name) => `${EARLIER}${name}`)
}

/** Values of the fields from an earlier call. @param wallMs  calendar time */
export function earlierValues({ endedWallMs, outcome, facts }: EarlierCall, wallMs: number): CallerValues {
  const days = Math.max(0, Math.floor((wallMs - endedWallMs) / 86_400_000))
  const values = Object.entries({ outcome, days, ...facts })
  return Object.fromEntries(values.map(([name, value]) => [`${EARLIER}${name}`, value]))
}

/** Data of the caller that the model may use now. */
export interface CallerNow {
  /** Values that the agent may say. */
  readonly values: CallerValues
  /** Values from an earlier call; empty until the caller has proved their identity. */
  readonly earlier: CallerValues
}

export const UNKNOWN_CALLER: CallerNow = { values: {}, earlier: {} }

/** The answer of a look-up. */
export const callerAnswerSchema = z.object({
  /** `withheld`: the caller's number is missing, so a look-up is not possible. */
  state: z.enum(CALLER_STATES).exclude(['late']),
  /** `cache`: found by another call in the last hour. */
  from: z.enum(['tool', 'file', 'cache', 'memory']),
  values: valuesSchema,
  /**
   * Values of an earlier call. Phrases and the model receive these values only after the caller is verified. Absent
   * without such values.
   */
  earlier: valuesSchema.exactOptional(),
  /** `owner` of the earlier call. */
  owner: z.string().exactOptional(),
})
export type CallerAnswer = DocumentOf<typeof callerAnswerSchema>

/** Data that is withheld until the caller is verified: personal fields, and an earlier call. */
export const withheldSchema = z.object({ values: valuesSchema, earlier: valuesSchema })
export type Withheld = DocumentOf<typeof withheldSchema>

/** Answer of a look-up, as the call stores it. */
export const knownCallerSchema = callerAnswerSchema.extend({
  state: z.enum(CALLER_STATES),
  /** Name of the tool, or of the file. */
  source: z.string(),
  /** Value of `of` in the call's options; empty in journals of earlier builds. */
  of: z.string().default(''),
  /** Value of `memoryOf` in the call's options. */
  memoryOf: z.string().exactOptional(),
  /** Time from the webhook to the answer, in milliseconds. */
  ms: z.number(),
})
export type KnownCaller = DocumentOf<typeof knownCallerSchema>

/** Settings of the look-up and memory of callers. */
export const callerOptionsSchema = z.object({
  source: z.string(),
  /** Identifier of the look-up's source. With it, two agents whose tools have the same name do not share answers. */
  of: z.string().default(''),
  /**
   * Agent that remembers its callers; absent if the agent does not remember callers. Earlier builds used `of` instead.
   */
  memoryOf: z.string().exactOptional(),
  /** Maximum time from the webhook that the greeting waits for the look-up, in milliseconds. */
  withinMs: z.number(),
  /** Fields that are kept from the caller and the model until the caller is verified. */
  personal: z.array(z.string()),
  /** Field that holds the tag of the caller's language; null without such a field. */
  language: z.string().nullable(),
})

/** Placeholder `{{caller.NAME}}` in a text, with the space before it. */
const FIELD = /([ \t]*)\{\{\s*caller\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}/g

/** Returns the names of the caller's fields in a text. */
export function callerFieldsIn(text: string): string[] {
  return [...text.matchAll(FIELD)].map(([, , name = '']) => name)
}

/**
 * Returns a text with the caller's values inserted. A placeholder without a value is removed together with the space
 * before it.
 */
export function withCaller(text: string, values: CallerValues): string {
  if (!text.includes('{{')) return text
  return text.replace(FIELD, (_, space: string, name: string) =>
    Object.hasOwn(values, name) ? `${space}${String(values[name])}` : '',
  )
}
