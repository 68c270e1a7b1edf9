import { isDeepStrictEqual } from 'node:util'
import { isJsonObject } from '../../sautikit/call-fields.js'
import type { ToolDefinition } from './tool-definition.js'

/** Parts of a tool's definition that are needed to read its results. */
export type AnsweredTool = Pick<ToolDefinition, 'parameters' | 'result'>

interface Form {
  readonly status: 'no_results' | 'invalid_argument'
  /** True if another call of this tool, with other values, may succeed. */
  readonly retryable: boolean
  readonly hint: string
  /** Allowed values by argument, for arguments that have a list of values. */
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
 * Returns a tool's result in a form that models understand, if the result is empty or refuses a value. Some models
 * repeat a tool call with other values until a result says that this is useless (according to a vendor's migration
 * guide).
 * @param value  result of the tool, JSON
 * @param tool  definition of the tool; null for a tool of a server, or for a code tool
 * @returns the result itself if it has content. Otherwise an object with `status`, `retryable` and `hint`, and then the
 * result's members. An empty list becomes the member `results`
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

/** Returns the object for the model. The tool's own members have precedence over the gateway's members. */
function formed(form: Form, value: unknown): Readonly<Record<string, unknown>> {
  if (Array.isArray(value)) return { ...form, results: value }
  return isJsonObject(value) ? { ...form, ...value } : { ...form }
}

/**
 * True for a missing value, an empty list, or an object without content. A count of 0 beside an empty list does not
 * count as content.
 */
function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined) return true
  if (Array.isArray(value)) return value.length === 0
  if (!isJsonObject(value)) return false
  const members = Object.values(value)
  if (members.every((one) => one === null || one === undefined)) return true
  return members.some(Array.isArray) && members.every((one) => one === 0 || one === '' || isEmpty(one))
}
