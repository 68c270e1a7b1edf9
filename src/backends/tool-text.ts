import { exactJson, withoutFence } from '../core/json.js'
import { BACKEND_TOOL_TEXT_CHARS_MAX } from '../core/limits.js'
import type { ToolReply } from './backend.js'

type ToolArguments = Readonly<Record<string, unknown>>

/** Arguments that a model wrote for a tool call. */
export interface ParsedArguments {
  /** Arguments by name. A number that a double cannot represent is kept as text (`exactJson`). */
  readonly args: ToolArguments
  /** Fault in the arguments, as a text for the model. */
  readonly invalid?: string
  /** True if the text was not a plain JSON object, but could be read as an object. */
  readonly mended?: true
}

/** Maximum depth of JSON text inside JSON text. */
const NESTED_TEXTS_MAX = 2

/** Parses arguments that came as text. For a tool without arguments, models send an empty text. */
export function parseArguments(text: string): ParsedArguments {
  if (text.trim() === '') return { args: {} }
  if (text.length > BACKEND_TOOL_TEXT_CHARS_MAX) return { args: {}, invalid: 'The arguments are too long.' }
  try {
    const bare = withoutFence(text)
    const parsed = objectArguments(exactJson(bare))
    return bare === text || parsed.invalid !== undefined ? parsed : { ...parsed, mended: true }
  } catch {
    // The parser's message is not used, because it quotes the text, which may contain a caller's words.
    return { args: {}, invalid: 'The arguments are not valid JSON. Call the tool again with a JSON object.' }
  }
}

/**
 * Unwraps a value that a model wrapped. Such a value is JSON inside a text, with or without a code fence, or a list
 * with one object. An empty list means that there are no arguments.
 * @throws SyntaxError for a text that is not JSON
 */
function unnested(value: unknown): unknown {
  let inner = value
  for (let depth = 0; depth < NESTED_TEXTS_MAX && typeof inner === 'string'; depth++)
    inner = exactJson(withoutFence(inner))
  if (!Array.isArray(inner) || inner.length > 1) return inner
  return inner[0] ?? {}
}

/** Checks arguments that the service sent as a value, not as text. */
export function objectArguments(value: unknown): ParsedArguments {
  if (value === undefined || value === null) return { args: {} }
  try {
    const inner = unnested(value)
    if (typeof inner === 'object' && inner !== null && !Array.isArray(inner))
      return { args: inner as ToolArguments, ...(inner === value ? {} : { mended: true as const }) }
  } catch {
    // The value is refused below.
  }
  return { args: {}, invalid: 'The arguments must be a JSON object. Call the tool again with one.' }
}

/**
 * Converts a tool's result to a text for a model. The text is JSON, shortened to BACKEND_TOOL_TEXT_CHARS_MAX
 * characters.
 */
export function replyText(reply: ToolReply): string {
  let text: string | undefined
  try {
    text = JSON.stringify(reply.ok ? reply.value : (reply.value ?? { error: 'The tool failed.' }))
  } catch {
    // The value contains a cycle or a BigInt.
    text = '{"error":"The answer of the tool cannot be written as JSON."}'
  }
  if (text === undefined) return 'null'
  return text.length > BACKEND_TOOL_TEXT_CHARS_MAX ? `${text.slice(0, BACKEND_TOOL_TEXT_CHARS_MAX)}… (cut)` : text
}
