import { isDeepStrictEqual } from 'node:util'
import { isJsonObject } from '../../sautikit/call-fields.js'
import type { ToolDefinition } from './tool-definition.js'

/** Parts of a tool's definition that its answers are read with. */
export type AnsweredTool = Pick<ToolDefinition, 'parameters' | 'result'>

interface Form {
  readonly status: 'no_results' | 'invalid_argument'
  /** True if the same tool may succeed with other values. */
  readonly retryable: boolean
  readonly hint: string
  /** Allowed values of arguments that have a list of them, by name. */
  readonly validValues?: Readonly<Record<string, readonly unknown[]>>
}

const NO_RESULTS: Form = {
  status: 'no_results',
  retryable: false,
  hint: 'Nothing was found. Say so, and do not call the tool again unless the caller gives another value.',
}
const INVALID_HINT = 'A value is not allowed. Ask the caller for another one, and call the tool again with it.'
const NOT_FOUND = 404
const INVALID: readonly unknown[] = [400, 422]

/**
 * A tool's answer in the form that models understand where it has nothing, or refuses a value. Some models repeat a call with
 * varied values until an answer says that this is of no use (Gemini 3.8, its guide to migration).
 * @param value  as the tool gave it, JSON
 * @param tool  its definition; null: a tool of a server, or in code
 * @returns the same value where it says something; else its members, after `status`, `retryable` and `hint`. A list that is
 *   empty becomes `results`
 */
export function answerForm(value: unknown, tool: AnsweredTool | null): unknown {
  if (tool?.result.notFound !== undefined && isDeepStrictEqual(value, tool.result.notFound))
    return formed(NO_RESULTS, value)
  if (isJsonObject(value) && 'error' in value && typeof value['status'] === 'number') {
    const { status, ...said } = value
    if (status === NOT_FOUND) return formed(NO_RESULTS, said)
    if (INVALID.includes(status)) return formed(invalid(tool), said)
    return value
  }
  return isEmpty(value) ? formed(NO_RESULTS, value) : value
}

function invalid(tool: AnsweredTool | null): Form {
  const listed = Object.entries(tool?.parameters.properties ?? {}).flatMap(([name, schema]) =>
    isJsonObject(schema) && Array.isArray(schema['enum'])
      ? [[name, schema['enum'] as readonly unknown[]] as const]
      : [],
  )
  return {
    ...{ status: 'invalid_argument', retryable: true, hint: INVALID_HINT },
    ...(listed.length === 0 ? {} : { validValues: Object.fromEntries(listed) }),
  }
}

/** The tool's own words go before ours. */
function formed(form: Form, value: unknown): Readonly<Record<string, unknown>> {
  if (Array.isArray(value)) return { ...form, results: value }
  return isJsonObject(value) ? { ...form, ...value } : { ...form }
}

/** True for no value, and for lists and objects with nothing in them but a count of 0. */
function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined) return true
  if (Array.isArray(value)) return value.length === 0
  if (!isJsonObject(value)) return false
  const members = Object.values(value)
  if (members.every((one) => one === null || one === undefined)) return true
  return members.some(Array.isArray) && members.every((one) => one === 0 || one === '' || isEmpty(one))
}
