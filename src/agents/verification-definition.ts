import { z } from 'zod'
import { VERIFICATION_QUESTIONS_MAX } from '../core/limits.js'
import { OPEN_QUERY, httpSchema, openQueries, templatesOf } from './tool-definition.js'
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
  required: z.int().min(1).max(VERIFICATION_QUESTIONS_MAX).default(2)
    .describe('Right answers that are needed. Questions over one field count as one.'),
  attempts: z.int().min(1).max(10).default(3).describe('Wrong answers in a call after which no more are taken.'),
  lock: z.strictObject({
    failures: z.int().min(1).max(50).optional()
      .describe('Wrong answers of one number, over all its calls, after which no more are taken. Default: attempts.'),
    minutes: z.int().min(1).max(10_080).default(1440).describe('How long after the last wrong answer they are forgotten.'),
  }).prefault({}).describe('Wrong answers count across the calls of a number: calling again gives no new attempts.'),
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
  // A right answer to one of these gives the other away, so the second proves nothing.
  const fields = verification.questions.map((question) => question.field)
  const facts = countDistinct(fields, sameField)
  const repeated = fields.findIndex((field, index) => fields.slice(0, index).some((earlier) => sameField(earlier, field)))
  if (verification.required <= ids.length && verification.required > facts && repeated >= 0) {
    const earlier = fields.findIndex((field) => sameField(field, fields[repeated] ?? ''))
    context.addIssue({
      code: 'custom', path: ['questions', repeated, 'field'],
      message: `${fields[repeated] ?? ''} is what ${ids[earlier] ?? ''} asks for too: questions over one field count as one, and then `
        + `${verification.required} right answers are required where ${facts} can be given; ask for another field, or lower required`,
    })
  }
  for (const index of openQueries(verification.account.http, [])) {
    context.addIssue({ code: 'custom', path: ['account', 'http', 'query', index], message: OPEN_QUERY })
  }
  const read = templatesOf(verification.account).flatMap(({ template }) => sourcesOf(template))
  if (!read.some((source) => source.scope === 'call' && (source.name === 'from' || source.name === 'sid'))) {
    context.addIssue({ code: 'custom', path: ['account'], message: 'reads nothing of the call, so that all callers would be compared with one account; use {{call.from}}' })
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

/** Whether two paths are of one fact: the same field, or one that holds the other. */
export function sameField(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}.`) || b.startsWith(`${a}.`)
}

/** How many are left when those that are the same, directly or through others, count as one. */
export function countDistinct<T>(items: readonly T[], same: (a: T, b: T) => boolean): number {
  const left = new Set(items.keys())
  let distinct = 0
  for (const first of left) {
    distinct++
    const group = [first]
    for (const member of group) {
      for (const other of left) {
        const [a, b] = [items[member], items[other]]
        if (other !== member && a !== undefined && b !== undefined && same(a, b)) {
          left.delete(other)
          group.push(other)
        }
      }
      left.delete(member)
    }
  }
  return distinct
}
