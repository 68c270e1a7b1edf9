import { z } from 'zod'
import { CLAIM_LANGUAGES, phraseFault } from './claim-phrases.js'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import { claimWordsSchema } from '../words/language.js'

/** Rules on what an agent claims to have done, all their phrases together, and lists of words. */
const CLAIM_RULES_MAX = 40
const CLAIM_PHRASES_MAX = 300
const CLAIM_LISTS_MAX = 20

const language = z.string().regex(/^[a-z]{2,3}$/, { error: 'must be a language such as en or sw' })
const listName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,39}$/, { error: 'must be 1 to 40 of a-z 0-9 -, beginning with a letter' })
/** Fields that a tool's result must have somewhere, with these values; null: any result will do. */
export const claimResultSchema = z
  .record(z.string().min(1).max(64), z.union([z.string().max(200), z.number(), z.boolean()]))
  .nullable()
const ruleSchema = z.strictObject({
  tools: z
    .array(z.string().min(1).max(64))
    .max(5)
    .describe('The claim is true if one of them succeeded in this call. []: it is never true.'),
  result: claimResultSchema
    .default(null)
    .describe('Fields with values that the result must have, at any depth. Default: any result.'),
  phrases: z
    .record(language, z.array(z.string().trim().min(1).max(300)).min(1).max(100))
    .describe('The words of the claim, by language: words, *, (one | other), [optional], <list>.'),
})

/** `claims:` of an agent's file: what it may say that it has done, which tools make that true, and the facts that it states. */
export const claimsSchema = z
  .strictObject({
    correct: z.boolean().default(false).describe('Has the model correct itself aloud after an unsupported claim.'),
    words: z
      .record(listName, z.string().trim().min(1).max(1000))
      .refine((lists) => Object.keys(lists).length <= CLAIM_LISTS_MAX, {
        error: `has more than ${CLAIM_LISTS_MAX} lists`,
      })
      .default({})
      .describe('Alternatives by name, for <name> in phrases: have: i have | ive.'),
    languages: z
      .record(language, claimWordsSchema)
      .default({})
      .describe('Words of other languages than English and Swahili that keep a phrase from being a claim.'),
    rules: z
      .array(ruleSchema)
      .min(1)
      .max(CLAIM_RULES_MAX)
      .default([])
      .describe('Claims in words, and the tools that make them true.'),
    facts: z
      .enum(['off', 'mark', 'correct'])
      .default('mark')
      .describe(
        'Numbers, prices and weekdays that the agent says and that nothing gave it. mark: they are recorded. correct: the model also corrects itself aloud.',
      ),
  })
  .superRefine(({ words, languages, rules }, context) => {
    let phrases = 0
    rules.forEach((rule, index) => {
      for (const [name, list] of Object.entries(rule.phrases)) {
        phrases += list.length
        if (!Object.hasOwn(languages, name) && !Object.hasOwn(CLAIM_LANGUAGES, name)) {
          context.addIssue({
            code: 'custom',
            path: ['rules', index, 'phrases', name],
            message: `needs claims.languages.${name}: only en and sw need none`,
          })
          continue
        }
        list.forEach((phrase, at) => {
          const fault = phraseFault(phrase, words)
          if (fault !== null)
            context.addIssue({ code: 'custom', path: ['rules', index, 'phrases', name, at], message: `has ${fault}` })
        })
      }
    })
    if (phrases > CLAIM_PHRASES_MAX)
      context.addIssue({
        code: 'custom',
        path: ['rules'],
        message: `have ${phrases} phrases; at most ${CLAIM_PHRASES_MAX} are allowed`,
      })
  })

const { correct, words, languages, rules } = claimsSchema.shape
/** The same in a session. */
export const claimOptionsSchema = inSession({ correct, words, languages, rules }).extend({
  /** Null: the numbers, prices and weekdays that the agent says are not judged. */
  facts: z
    .object({
      /** The model gets a correction for a figure that nothing supports. */
      correct: z.boolean(),
      /** Text of the agent's file and of the call (`KnownFacts`). */
      given: z.string(),
      /** Time zone of the callers, for "tomorrow, Friday"; null: not known. */
      timeZone: z.string().nullable(),
    })
    .nullable()
    .default(null),
})
export type ClaimOptions = DocumentOf<typeof claimOptionsSchema>
