import { z } from 'zod'

/** Maximum number of fields of one agent. */
const FIELDS_MAX = 20
/** Maximum number of allowed values of one field. */
const VALUES_MAX = 40

/** Results of a call that the gateway knows without a model. */
const KNOWN = ['outcome', 'escalated', 'callback', 'tools'] as const

const description = z
  .string()
  .trim()
  .min(1)
  .max(500)
  .optional()
  .describe('Meaning of the field, for the model that fills it.')
const fieldSchema = z
  .union([
    z.strictObject({
      type: z.enum(['string', 'number', 'integer', 'boolean']).describe('Type of the value.'),
      description,
      enum: z
        .array(z.union([z.string().min(1).max(100), z.number()]))
        .min(1)
        .max(VALUES_MAX)
        .optional()
        .describe('Values that are allowed. Default: any.'),
      format: z
        .enum(['date', 'time', 'date-time', 'email', 'uri'])
        .optional()
        .describe('Form of a text. Default: any.'),
      pattern: z.string().max(200).optional().describe('Regular expression that a text must match. Default: none.'),
      minimum: z.number().optional().describe('Minimum of a number. Default: no limit.'),
      maximum: z.number().optional().describe('Maximum of a number. Default: no limit.'),
      maxLength: z
        .int()
        .min(1)
        .max(2000)
        .optional()
        .describe('Maximum number of characters of a text. Default: no limit.'),
    }),
    z.strictObject({
      known: z
        .enum(KNOWN)
        .describe(
          'Fact of the call: outcome, escalated, callback, or the successful tools. The gateway fills the field from the fact, without a model.',
        ),
      description,
    }),
  ])
  .describe('JSON Schema of one value, or { known } for a fact of the call.')

/** `analysis` of the agent's file. */
export const analysisSchema = z.strictObject({
  fields: z
    .record(
      z
        .string()
        .regex(/^[A-Za-z][A-Za-z0-9_]{0,39}$/, { error: 'must be a letter, then letters, digits or _, 40 at most' }),
      fieldSchema,
    )
    .refine((fields) => Object.keys(fields).length <= FIELDS_MAX, { error: `has more than ${FIELDS_MAX} fields` })
    .default({})
    .describe('Up to 20 fields to fill for each call, by name.'),
  summary: z
    .union([z.enum(['caller', 'none']), z.string().regex(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/)], {
      error: 'must be caller, none, or a tag of a language such as sw',
    })
    .default('caller')
    .describe(
      'Language of the summary, which has at most two sentences. caller: the language of the call. none: no summary. Any other value is a language tag, such as sw.',
    ),
})

export type Analysis = z.output<typeof analysisSchema>
export type AnalysisField = Analysis['fields'][string]
