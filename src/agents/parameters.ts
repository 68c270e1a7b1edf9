import { z } from 'zod'
import { TOOL_PARAMETERS_DEPTH_MAX, TOOL_PARAMETERS_MAX, TOOL_TEXT_CHARS_MAX } from '../core/limits.js'

/**
 * The subset of JSON Schema that a tool's `parameters` may use: what OpenAI and Gemini both take as a function's
 * schema, and what the gateway can check before anything is sent to your API.
 */
export interface ParameterSchema {
  readonly type: 'string' | 'number' | 'integer' | 'boolean' | 'array' | 'object'
  readonly description?: string | undefined
  readonly enum?: readonly (string | number)[] | undefined
  readonly minLength?: number | undefined
  readonly maxLength?: number | undefined
  readonly pattern?: string | undefined
  readonly minimum?: number | undefined
  readonly maximum?: number | undefined
  readonly items?: ParameterSchema | undefined
  readonly minItems?: number | undefined
  readonly maxItems?: number | undefined
  readonly properties?: Readonly<Record<string, ParameterSchema>> | undefined
  readonly required?: readonly string[] | undefined
}

const ARGUMENT_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/
const count = z.int().min(0).max(TOOL_TEXT_CHARS_MAX)

const argumentName = z.string().regex(ARGUMENT_NAME, {
  error: 'an argument name is a letter or _, then up to 63 letters, digits or _',
})

function isPattern(text: string): boolean {
  try {
    new RegExp(text, 'u')
    return true
  } catch {
    return false // what is wrong with it is said by the refinement's own message
  }
}

/** Which keywords mean something for which type; a keyword that would be ignored is a mistake of the author. */
const KEYWORDS: Readonly<Record<ParameterSchema['type'], readonly string[]>> = {
  string: ['enum', 'minLength', 'maxLength', 'pattern'],
  number: ['enum', 'minimum', 'maximum'],
  integer: ['enum', 'minimum', 'maximum'],
  boolean: [],
  array: ['items', 'minItems', 'maxItems'],
  object: ['properties', 'required'],
}

const parameterSchema: z.ZodType<ParameterSchema> = z.strictObject({
  type: z.enum(['string', 'number', 'integer', 'boolean', 'array', 'object']),
  description: z.string().max(2000).optional(),
  enum: z.array(z.union([z.string().max(200), z.number()])).min(1).max(100).optional(),
  minLength: count.optional(),
  maxLength: count.optional(),
  pattern: z.string().max(500).refine(
    isPattern, { error: 'is not a regular expression (ECMAScript, unicode mode)' },
  ).optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  get items() { return parameterSchema.optional() },
  minItems: count.optional(),
  maxItems: count.optional(),
  get properties() { return z.record(argumentName, parameterSchema).optional() },
  required: z.array(z.string()).max(TOOL_PARAMETERS_MAX).optional(),
}).superRefine((schema, context) => {
  const allowed = KEYWORDS[schema.type]
  for (const [keyword, value] of Object.entries(schema)) {
    if (value === undefined || keyword === 'type' || keyword === 'description' || allowed.includes(keyword)) continue
    context.addIssue({
      code: 'custom', path: [keyword],
      message: `${keyword} means nothing for type ${schema.type}; allowed: ${['description', ...allowed].join(', ')}`,
    })
  }
  if (schema.type === 'array' && schema.items === undefined) {
    context.addIssue({ code: 'custom', path: ['type'], message: 'an array needs items: the schema of one entry' })
  }
  checkRequired(schema, context)
})

function checkRequired({ properties = {}, required = [] }: Pick<ParameterSchema, 'properties' | 'required'>, context: z.core.$RefinementCtx): void {
  const names = Object.keys(properties)
  required.forEach((name, index) => {
    if (names.includes(name)) return
    const allowed = names.length === 0 ? '(none)' : names.join(', ')
    context.addIssue({ code: 'custom', path: ['required', index], message: `${name} is not one of the properties: ${allowed}` })
  })
}

/** The `parameters` of a tool: an object schema. */
export const toolParametersSchema = z.strictObject({
  type: z.literal('object', { error: 'the parameters of a tool are always type: object' }).default('object'),
  properties: z.record(argumentName, parameterSchema).default({}),
  required: z.array(z.string()).max(TOOL_PARAMETERS_MAX).default([]),
}).superRefine((schema, context) => {
  const names = Object.keys(schema.properties)
  if (names.length > TOOL_PARAMETERS_MAX) {
    context.addIssue({
      code: 'custom',
      path: ['properties'],
      message: `has ${names.length} arguments; at most ${TOOL_PARAMETERS_MAX} are allowed`,
    })
  }
  checkRequired(schema, context)
  for (const name of names) {
    if (depthOf(schema.properties[name]) < TOOL_PARAMETERS_DEPTH_MAX) continue
    context.addIssue({
      code: 'custom', path: ['properties', name], message: `is nested deeper than ${TOOL_PARAMETERS_DEPTH_MAX} levels`,
    })
  }
})

export type ToolParameters = z.output<typeof toolParametersSchema>

function depthOf(schema: ParameterSchema | undefined): number {
  if (schema === undefined) return 0
  const inner = [schema.items, ...Object.values(schema.properties ?? {})].map(depthOf)
  return 1 + Math.max(0, ...inner)
}

/** What `checkArguments` found: the arguments as the tool gets them, or a sentence that the model can act on. */
export type CheckedArguments =
  | { readonly ok: true; readonly args: Readonly<Record<string, unknown>> }
  | { readonly ok: false; readonly why: string }

/**
 * Makes the check of a tool's arguments. Models are forgiven three habits, because asking again costs the caller
 * a turn: `null` or `""` for an optional argument that they leave out, a number where digits were asked for as text,
 * and arguments that do not exist (dropped, never sent on).
 */
export function argumentChecker(
  parameters: ToolParameters,
): (args: Readonly<Record<string, unknown>>) => CheckedArguments {
  const schema = z.fromJSONSchema(toJsonSchema({ ...parameters })) // plain JSON by construction
  return (args) => {
    const given: Record<string, unknown> = {}
    for (const [name, property] of Object.entries(parameters.properties)) {
      const value = Object.hasOwn(args, name) ? args[name] : undefined
      if (value === undefined || value === null) continue
      if (value === '' && !parameters.required.includes(name)) continue
      given[name] = property.type === 'string' && typeof value === 'number' ? String(value) : value
    }
    if (JSON.stringify(given).length > TOOL_TEXT_CHARS_MAX) {
      return { ok: false, why: `the arguments are longer than ${TOOL_TEXT_CHARS_MAX} characters` }
    }
    const checked = schema.safeParse(given)
    if (checked.success) return { ok: true, args: given }
    return {
      ok: false,
      why: checked.error.issues.map((issue) => `${issue.path.join('.') || 'arguments'}: ${issue.message}`).join('; '),
    }
  }
}

/** The JSON Schema that models and the checker get: closed objects, no undefined members. */
export function toJsonSchema(schema: ParameterSchema): Record<string, unknown> {
  const { items, properties, ...rest } = schema
  const json: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(rest)) if (value !== undefined) json[key] = value
  if (items !== undefined) json['items'] = toJsonSchema(items)
  if (schema.type === 'object') {
    json['properties'] = Object.fromEntries(
      Object.entries(properties ?? {}).map(([name, inner]) => [name, toJsonSchema(inner)]),
    )
    json['additionalProperties'] = false
  }
  return json
}
