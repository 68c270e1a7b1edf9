import { z } from 'zod'
import type { DocumentOf } from './documents/document.js'

/** Name under which facts and stages read what is known of the caller: `caller.tier`. No tool may have it. */
export const CALLER_SOURCE = 'caller'

const valuesSchema = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))

/** Values known of a caller, by field. */
export type CallerValues = DocumentOf<typeof valuesSchema>

/** Outcome of a look-up of the caller. `late`: it had not answered when the greeting was due. */
export const CALLER_STATES = ['found', 'unknown', 'failed', 'withheld', 'late'] as const

/** Memory of a caller's last call, for an agent with `caller.memory`. */
export const earlierCallSchema = z.object({
  /** Absent in what earlier builds have kept. */
  callSid: z.string().exactOptional(),
  /** Calendar time at which it ended. */
  endedWallMs: z.number(),
  outcome: z.string(),
  facts: valuesSchema,
})
export type EarlierCall = DocumentOf<typeof earlierCallSchema>

/** Begin of the fields that an earlier call left: `last_outcome`, `last_days`, and `last_NAME` of each fact. */
const EARLIER = 'last_'

/** The fields of an earlier call. @param facts  names of the agent's facts */
export function earlierFields(facts: readonly string[]): string[] {
  return ['outcome', 'days', ...facts].map((name) => `${EARLIER}${name}`)
}

/** Values that an earlier call left. @param wallMs calendar time */
export function earlierValues({ endedWallMs, outcome, facts }: EarlierCall, wallMs: number): CallerValues {
  const days = Math.max(0, Math.floor((wallMs - endedWallMs) / 86_400_000))
  const values = Object.entries({ outcome, days, ...facts })
  return Object.fromEntries(values.map(([name, value]) => [`${EARLIER}${name}`, value]))
}

/** Values that the model may have of the caller now. */
export interface CallerNow {
  /** Values that may be said. */
  readonly values: CallerValues
  /** Those of them that an earlier call has left: none before the caller has proved who they are. */
  readonly earlier: CallerValues
}

export const UNKNOWN_CALLER: CallerNow = { values: {}, earlier: {} }

/** The answer of a look-up. */
export const callerAnswerSchema = z.object({
  /** `withheld`: there was no number to look up. */
  state: z.enum(CALLER_STATES).exclude(['late']),
  /** `cache`: an earlier call of this hour had found it. */
  from: z.enum(['tool', 'file', 'cache', 'memory']),
  values: valuesSchema,
  /** Values of an earlier call: nobody has them before the caller is verified, neither words nor a model. Absent: none. */
  earlier: valuesSchema.exactOptional(),
})
export type CallerAnswer = DocumentOf<typeof callerAnswerSchema>

/** Data of a caller that nobody has before they have proved who they are: personal fields, and an earlier call. */
export const withheldSchema = z.object({ values: valuesSchema, earlier: valuesSchema })
export type Withheld = DocumentOf<typeof withheldSchema>

/** An answer as the call keeps it. */
export const knownCallerSchema = callerAnswerSchema.extend({
  state: z.enum(CALLER_STATES),
  /** The tool, or the file. */
  source: z.string(),
  /** `of` of the call's options; empty in journals of earlier builds. */
  of: z.string().default(''),
  /** `memoryOf` of the call's options. */
  memoryOf: z.string().exactOptional(),
  /** From the webhook to the answer. */
  ms: z.number(),
})
export type KnownCaller = DocumentOf<typeof knownCallerSchema>

/** How a call's agent knows its callers. */
export const callerOptionsSchema = z.object({
  source: z.string(),
  /** Differs wherever something else is looked up: another agent's tool of the same name says nothing of this one's. */
  of: z.string().default(''),
  /** The agent that remembers its callers; absent: it remembers none, or a build that had its name in `of`. */
  memoryOf: z.string().exactOptional(),
  /** The greeting waits for the look-up until then, from the webhook on. */
  withinMs: z.number(),
  /** Fields that only a verified caller hears, and the model too has only then. */
  personal: z.array(z.string()),
  /** Field with the tag of the caller's language; null: there is no such field. */
  language: z.string().nullable(),
})

/** `{{caller.NAME}}` in words, with the space before it. */
const FIELD = /([ \t]*)\{\{\s*caller\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}/g

/** The fields of the caller that a text reads. */
export function callerFieldsIn(text: string): string[] {
  return [...text.matchAll(FIELD)].map(([, , name = '']) => name)
}

/** A text with what is known of the caller in it; a field that is not known is left out, with the space before it. */
export function withCaller(text: string, values: CallerValues): string {
  if (!text.includes('{{')) return text
  return text.replace(FIELD, (_, space: string, name: string) =>
    Object.hasOwn(values, name) ? `${space}${String(values[name])}` : '',
  )
}
