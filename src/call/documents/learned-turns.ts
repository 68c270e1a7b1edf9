import { z } from 'zod'
import { codeOf } from '../spoken/localized-text.js'
import { LEARNED_STEPS_MAX, PAUSE_FIGURES, learnedModelSchema } from '../turns/learned-pause.js'
import type { DocumentOf } from './document.js'

/**
 * File with a learned end of turn, written by `mkondo learn`. It contains the model and its effect on other calls,
 * without words, phone numbers or SIDs. Source of `schema/learned-turns.schema.json`.
 */
export const LEARNED_TURNS_VERSION = 1

const share = z.number().min(0).max(1)

/** Result of one method that decides if a turn is over, measured on a set of pauses and ends of turns. */
const learnedResultSchema = z.object({
  cut: share.describe('Share of the pauses in which the turn would have ended too early.'),
  late: share.describe('Share of the ends that would have been detected too late, after more than 700 ms.'),
  lateMs: z.number().min(0).describe('Mean time beyond 700 ms, over all ends.'),
  medianMs: z.number().describe('Wait after the end of a turn: its median, in milliseconds.'),
  p90Ms: z.number(),
})
export type LearnedResult = DocumentOf<typeof learnedResultSchema>

const material = z.object({
  groups: z.int().min(0).describe('Callers, or speakers of recordings.'),
  pauses: z.int().min(0).describe('Number of pauses within turns of callers.'),
  ends: z.int().min(0),
})

export const learnedTurnsSchema = z.object({
  version: z.literal(LEARNED_TURNS_VERSION),
  build: z.string().describe('Version of Mkondo that made it.'),
  madeAt: z.iso.datetime(),
  agent: z.string().nullable().describe('Agent of the calls; null if there were several agents.'),
  languages: z
    .array(z.string())
    .min(1)
    .max(50)
    .describe('Languages of the calls. The file is used only for these languages.'),
  made: material.describe('Calls from which the file was made.'),
  heldOut: material
    .extend({
      pauses: z.int().min(1),
      ends: z.int().min(1),
      before: learnedResultSchema.describe('Result of the rules.'),
      after: learnedResultSchema,
    })
    .describe('Calls for the evaluation. The file was not made from these calls.'),
  model: learnedModelSchema,
})
export type LearnedTurns = DocumentOf<typeof learnedTurnsSchema>

/**
 * Reads a file of `mkondo learn` for an agent.
 * @param languages  tags of the agent's languages
 * @throws SyntaxError with the fault, and the allowed values
 */
export function readLearnedTurns(text: string, languages: readonly string[]): LearnedTurns {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new SyntaxError('is not JSON; allowed: a file that `mkondo learn` has written')
  }
  const version = (value as { readonly version?: unknown } | null)?.version
  if (version !== LEARNED_TURNS_VERSION)
    throw new SyntaxError(
      `${typeof version === 'number' ? `has the form ${version}` : 'has no version'}; this build reads ${LEARNED_TURNS_VERSION}`,
    )
  const read = learnedTurnsSchema.safeParse(value)
  if (!read.success) {
    const [issue] = read.error.issues
    const at = issue?.path.map(String).join('.') ?? ''
    const allowed = /figure$/.test(at) ? `; allowed: ${PAUSE_FIGURES.join(', ')}` : ''
    const many = /steps$/.test(at) ? `; at most ${LEARNED_STEPS_MAX} are allowed` : ''
    throw new SyntaxError(`is broken or of a newer build: ${at} ${issue?.message ?? ''}${allowed}${many}`)
  }
  const known = new Set(read.data.languages.map((tag) => codeOf(tag)))
  const others = languages.filter((tag) => !known.has(codeOf(tag)))
  if (others.length > 0)
    throw new SyntaxError(
      `was made from calls in ${read.data.languages.join(', ')}; the agent also speaks ${others.join(', ')}`,
    )
  return read.data
}
