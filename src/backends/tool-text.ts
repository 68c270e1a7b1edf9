import { BACKEND_TOOL_TEXT_CHARS_MAX } from '../core/limits.js'
import type { ToolReply } from './backend.js'

type ToolArguments = Readonly<Record<string, unknown>>

/** Arguments of a tool call as a model wrote them. */
interface ParsedArguments {
  readonly args: ToolArguments
  /** What is wrong with them, in words that the model can use. */
  readonly invalid?: string
}

/** Parses arguments that came as text. For a tool without arguments models send an empty text. */
export function parseArguments(text: string): ParsedArguments {
  if (text.trim() === '') return { args: {} }
  if (text.length > BACKEND_TOOL_TEXT_CHARS_MAX) return { args: {}, invalid: 'The arguments are too long.' }
  try {
    return objectArguments(JSON.parse(text))
  } catch {
    // The parser's message quotes the text, which may hold a caller's words.
    return { args: {}, invalid: 'The arguments are not valid JSON. Call the tool again with a JSON object.' }
  }
}

/** The same for arguments that came as a parsed value. */
export function objectArguments(value: unknown): ParsedArguments {
  if (value === undefined || value === null) return { args: {} }
  if (typeof value === 'object' && !Array.isArray(value)) return { args: value as ToolArguments }
  return { args: {}, invalid: 'The arguments must be a JSON object.' }
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
