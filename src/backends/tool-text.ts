import { exactJson, withoutFence } from '../core/json.js'
import { BACKEND_TOOL_TEXT_CHARS_MAX } from '../core/limits.js'
import type { ToolReply } from './backend.js'

type ToolArguments = Readonly<Record<string, unknown>>

/** Arguments of a tool call as a model wrote them. */
export interface ParsedArguments {
  /** A number that a double cannot hold is its text (`exactJson`). */
  readonly args: ToolArguments
  /** Their fault, in words that the model can use. */
  readonly invalid?: string
  /** They were not a plain JSON object, but certainly meant one. */
  readonly mended?: true
}

/** JSON text inside JSON text, inside JSON text. */
const NESTED_TEXTS_MAX = 2

/** Parses arguments that came as text. For a tool without arguments models send an empty text. */
export function parseArguments(text: string): ParsedArguments {
  if (text.trim() === '') return { args: {} }
  if (text.length > BACKEND_TOOL_TEXT_CHARS_MAX) return { args: {}, invalid: 'The arguments are too long.' }
  try {
    const bare = withoutFence(text)
    const parsed = objectArguments(exactJson(bare))
    return bare === text || parsed.invalid !== undefined ? parsed : { ...parsed, mended: true }
  } catch {
    // The parser's message quotes the text, which may hold a caller's words.
    return { args: {}, invalid: 'The arguments are not valid JSON. Call the tool again with a JSON object.' }
  }
}

/**
 * The certain meaning of a value: the JSON text in a text, fenced or not; the one object of a list; no arguments for an
 * empty list.
 * @throws SyntaxError for a text that is not JSON
 */
function unnested(value: unknown): unknown {
  let inner = value
  for (let depth = 0; depth < NESTED_TEXTS_MAX && typeof inner === 'string'; depth++)
    inner = exactJson(withoutFence(inner))
  if (!Array.isArray(inner) || inner.length > 1) return inner
  return inner[0] ?? {}
}

/** Arguments that came as a parsed value. */
export function objectArguments(value: unknown): ParsedArguments {
  if (value === undefined || value === null) return { args: {} }
  try {
    const inner = unnested(value)
    if (typeof inner === 'object' && inner !== null && !Array.isArray(inner))
      return { args: inner as ToolArguments, ...(inner === value ? {} : { mended: true as const }) }
  } catch {
    // refused below
  }
  return { args: {}, invalid: 'The arguments must be a JSON object. Call the tool again with one.' }
}

/** A tool's result as text for a model: JSON, cut at BACKEND_TOOL_TEXT_CHARS_MAX characters. */
export function replyText(reply: ToolReply): string {
  let text: string | undefined
  try {
    text = JSON.stringify(reply.ok ? reply.value : (reply.value ?? { error: 'The tool failed.' }))
  } catch {
    // A cycle or a BigInt.
    text = '{"error":"The answer of the tool cannot be written as JSON."}'
  }
  if (text === undefined) return 'null'
  return text.length > BACKEND_TOOL_TEXT_CHARS_MAX ? `${text.slice(0, BACKEND_TOOL_TEXT_CHARS_MAX)}… (cut)` : text
}
