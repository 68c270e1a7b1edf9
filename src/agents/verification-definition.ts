import { z } from 'zod'
import { VERIFICATION_QUESTIONS_MAX } from '../core/limits.js'
import { httpSchema, templatesOf } from './tool-definition.js'
import { sourcesOf } from './template.js'

const fieldPath = z.string().regex(/^[^.\s]+(\.[^.\s]+)*$/, { error: 'must be a path such as account.birthDate' })
const identityName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, { error: 'a name is a letter or _, then letters, digits or _' })
const word = z.string().min(1).max(40)

const questionSchema = z.strictObject({
  id: z.string().regex(/^[a-z][a-z0-9-]{0,39}$/, { error: 'must be 1 to 40 of a-z 0-9 -, beginning with a letter' }),
  ask: z.string().trim().min(1).max(300).describe('The question as the model may ask it.'),
  field: fieldPath.describe('Where the right answer is in the account.'),
  kind: z.enum(['digits', 'date', 'year', 'name', 'text']).default('text')
    .describe('How answers are compared. digits: spoken in any grouping or keyed; date: 1984-03-12 in the account.'),
  last: z.int().min(3).max(12).nullable().default(null).describe('digits: only so many of the last ones are asked for.'),
}).refine((question) => question.last === null || question.kind === 'digits', { path: ['last'], error: 'means something for kind: digits only' })

/** How callers prove who they are. The account is fetched by the gateway; no model ever sees it. */
export const verificationSchema = z.strictObject({
  account: z.strictObject({ http: httpSchema }).describe('The request that fetches what answers are compared with, by {{call.…}}.'),
  questions: z.array(questionSchema).min(1).max(VERIFICATION_QUESTIONS_MAX),
  required: z.int().min(1).max(VERIFICATION_QUESTIONS_MAX).default(2).describe('Right answers that are needed.'),
  attempts: z.int().min(1).max(10).default(3).describe('Wrong answers in a call after which no more are taken.'),
  identity: z.record(identityName, fieldPath)
    .describe('What is kept of the account: name to path. Tools read it as {{identity.NAME}}; a human who takes over sees it.'),
  dateOrder: z.enum(['dmy', 'mdy']).default('dmy').describe('Dates in figures: day or month first.'),
  words: z.strictObject({
    numbers: z.record(word, z.int().min(0).max(1000)).default({}).describe('Number words of the language: moja: 1.'),
    months: z.record(word, z.int().min(1).max(12)).default({}).describe('Month words of the language: januari: 1.'),
  }).prefault({}),
}).superRefine((verification, context) => {
  const ids = verification.questions.map((question) => question.id)
  ids.forEach((id, index) => {
    if (ids.indexOf(id) !== index) context.addIssue({ code: 'custom', path: ['questions', index, 'id'], message: `${id} is asked twice` })
  })
  if (verification.required > ids.length) {
    context.addIssue({ code: 'custom', path: ['required'], message: `is ${verification.required}, and there are ${ids.length} questions` })
  }
  for (const { path, template } of templatesOf(verification.account)) {
    for (const source of sourcesOf(template)) {
      if (source.scope === 'call' || source.scope === 'env') continue
      context.addIssue({ code: 'custom', path: ['account', ...path], message: 'may read {{call.…}} and {{env.…}} only: nobody chooses whose account is fetched' })
    }
  }
  if (Object.keys(verification.identity).length === 0) {
    context.addIssue({ code: 'custom', path: ['identity'], message: 'is empty; tools need at least one field to find the account by' })
  }
})

export type Verification = z.output<typeof verificationSchema>
