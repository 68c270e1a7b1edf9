import type { LoggedToolCall } from '../documents/log-entry.js'

/**
 * Errors that the model made in a tool call; the tool itself did not fail. They do not show that the agent cannot help
 * the caller.
 */
const MODEL_ERRORS: readonly string[] = [
  'TOOL_ARGUMENTS',
  'TOOL_UNKNOWN',
  'TOOL_UNVERIFIED',
  'TOOL_CANCELLED',
  'TOOL_NOT_OWNER',
]

/** HTTP status of an API that did not find anything. */
export const NOT_FOUND_STATUS = 404
/** HTTP statuses of an API that refuses a value. */
export const INVALID_STATUSES: readonly number[] = [400, 422]

/** True if the error of a tool call is not an error of the model. */
export function isToolError(error: string | undefined): boolean {
  return error === undefined || !MODEL_ERRORS.includes(error)
}

/** @returns the HTTP status in a tool's error; null if the tool did not fail by an API's status */
export function statusOfError(value: unknown): number | null {
  if (typeof value !== 'object' || value === null || !('error' in value) || !('status' in value)) return null
  return typeof value.status === 'number' ? value.status : null
}

/**
 * Returns the tools of which the newest call failed. An API that finds nothing or refuses a value has answered, so its
 * tool did not fail. A tool whose outcome may still arrive did not fail either.
 */
export function failedTools(calls: readonly LoggedToolCall[]): string[] {
  const failed = new Set<string>()
  for (const { end, record, result } of calls) {
    if (end !== 'answered' && end !== 'overdue' && end !== 'lost') continue
    const status = statusOfError(result)
    const isAnswer = status === NOT_FOUND_STATUS || (status !== null && INVALID_STATUSES.includes(status))
    if (record.ok || isAnswer) failed.delete(record.name)
    else if (isToolError(record.error)) failed.add(record.name)
  }
  return [...failed]
}
