import { z } from 'zod'
import { RULE_PHRASES_MAX } from '../core/limits.js'

const identityName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, { error: 'must be a name of verification.identity' })

/** When the gateway itself hands a caller over to a human, whatever the model thinks of it. */
export const rulesSchema = z.strictObject({
  words: z.strictObject({
    phrases: z.array(z.string().trim().min(1).max(100)).min(1).max(RULE_PHRASES_MAX)
      .describe('Words of an angry caller, in the language of the line; compared word by word, capitals and marks aside.'),
    times: z.int().min(1).max(10).default(1).describe('How many of the caller\'s sentences have one of them.'),
  }).nullable().default(null),
  vip: identityName.nullable().default(null).describe('Field of the verified identity: when it is true, the caller is handed over.'),
  failures: z.int().min(1).max(20).nullable().default(null)
    .describe('Failed tools and fixes that did not help (note_fix), together, after which the caller is handed over.'),
})

export type Rules = z.output<typeof rulesSchema>
