import { z } from 'zod'

/** Fields of one agent, and values of one of them. */
const FIELDS_MAX = 20
const VALUES_MAX = 40

/** Results that the gateway knows of a call without asking a model. */
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
      type: z.enum(['string', 'number', 'integer', 'boolean']).describe('Type of its value.'),
      description,
      enum: z
        .array(z.union([z.string().min(1).max(100), z.number()]))
        .min(1)
        .max(VALUES_MAX)
        .optional()
        .describe('The values that it may have. Default: any.'),
      format: z.enum(['date', 'time', 'date-time', 'email', 'uri']).optional().describe('Form of a text.'),
      pattern: z.string().max(200).optional().describe('Regular expression that a text matches.'),
      minimum: z.number().optional().describe('Smallest number.'),
      maximum: z.number().optional().describe('Largest number.'),
      maxLength: z.int().min(1).max(2000).optional().describe('Most characters of a text.'),
    }),
    z.strictObject({
      known: z.enum(KNOWN).describe('The gateway fills it, and no model is asked.'),
      description,
    }),
  ])
  .describe('JSON Schema of one value, or what of the call it is.')

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
    .describe('Fields to fill for each call, by name.'),
  summary: z
    .union([z.enum(['caller', 'none']), z.string().regex(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/)], {
      error: 'must be caller, none, or a tag of a language such as sw',
    })
    .default('caller')
    .describe("Language of the summary: the caller's, or a tag such as sw; none: no summary."),
})

export type Analysis = z.output<typeof analysisSchema>
export type AnalysisField = Analysis['fields'][string]
