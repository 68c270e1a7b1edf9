import { z } from 'zod'
import { CLAIM_LANGUAGES, phraseFault } from './claim-phrases.js'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import { claimWordsSchema } from '../words/language.js'

/** Limits for one agent: number of claim rules, number of phrases in all rules, number of word lists. */
const CLAIM_RULES_MAX = 40
const CLAIM_PHRASES_MAX = 300
const CLAIM_LISTS_MAX = 20

const language = z.string().regex(/^[a-z]{2,3}$/, { error: 'must be a language such as en or sw' })
const listName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,39}$/, { error: 'must be 1 to 40 characters of a-z 0-9 -, beginning with a letter' })
/** Fields and values that a tool's result must contain, at any depth; null if every result is accepted. */
export const claimResultSchema = z
  .record(z.string().min(1).max(64), z.union([z.string().max(200), z.number(), z.boolean()]))
  .nullable()
const ruleSchema = z.strictObject({
  tools: z
    .array(z.string().min(1).max(64))
    .max(5)
    .describe(
      'Tools of the agent or the gateway. The claim is true if one of these tools succeeded in this call. For a call back, the first call counts too. []: the claim is never true.',
    ),
  result: claimResultSchema
    .default(null)
    .describe('Fields with values that the result must have, at any depth. null: any result.'),
  phrases: z
    .record(language, z.array(z.string().trim().min(1).max(300)).min(1).max(100))
    .describe(
      'Words of the claim, by language (docs/AGENTS.md#claims): words, *, (one | other), [optional], <list>. At most 300 phrases in all.',
    ),
})

/**
 * `claims:` of an agent's file: claims that the agent may make, tools that make them true, and facts that the agent
 * states.
 */
export const claimsSchema = z
  .strictObject({
    correct: z
      .boolean()
      .default(false)
      .describe(
        'Lets the model correct itself aloud after an unsupported claim, up to three times a call. Check your records first: a wrong rule makes the agent correct a true statement. The embedded backend repeats its question instead.',
      ),
    words: z
      .record(listName, z.string().trim().min(1).max(1000))
      .refine((lists) => Object.keys(lists).length <= CLAIM_LISTS_MAX, {
        error: `has more than ${CLAIM_LISTS_MAX} lists`,
      })
      .default({})
      .describe('Up to 20 lists of alternatives, for <name> in phrases: have: i have | ive.'),
    languages: z
      .record(language, claimWordsSchema)
      .default({})
      .describe(
        'Words that make a phrase not a claim, by language. The words of English and Swahili are built in; for phrases in any other language, list the words here.',
      ),
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
        'Check for numbers, prices and weekdays that the agent says but did not get from any source. off: no check. mark: they are recorded. correct: the model also corrects itself aloud.',
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
/** The claims section in a session's options. */
export const claimOptionsSchema = inSession({ correct, words, languages, rules }).extend({
  /** Facts to audit; null if the agent's numbers, prices and weekdays are not audited. */
  facts: z
    .object({
      /** True if the model gets a correction for an unsupported number, price or weekday. */
      correct: z.boolean(),
      /** Text of the agent's file and of the call (`KnownFacts`). */
      given: z.string(),
      /** Time zone of the callers, for "tomorrow, Friday"; null if unknown. */
      timeZone: z.string().nullable(),
    })
    .nullable()
    .default(null),
})
export type ClaimOptions = DocumentOf<typeof claimOptionsSchema>
