/**
 * JSON from outside, read without trust: its depth is known before it is parsed, and values that follow one
 * another without a separator can be told apart.
 */

export type JsonObject = Readonly<Record<string, unknown>>

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Where one bracketed value ends. */
export interface JsonSpan {
  /** Index after its last character; -1 when the text ends inside it. */
  readonly end: number
  /** Deepest nesting within it; 1 for a flat object. */
  readonly depth: number
}

/**
 * Finds the end of the object or array that begins at `start`, by brackets and quotes alone (it may still be
 * invalid JSON). Runs in one pass and does not recurse.
 */
export function jsonSpan(text: string, start: number): JsonSpan {
  let open = 0
  let depth = 0
  let quoted = false
  for (let i = start; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (quoted) {
      if (c === 0x5c) i++ // a backslash and what it escapes
      else if (c === 0x22) quoted = false
    } else if (c === 0x22) {
      quoted = true
    } else if (c === 0x7b || c === 0x5b) {
      open++
      if (open > depth) depth = open
    } else if (c === 0x7d || c === 0x5d) {
      open--
      if (open === 0) return { end: i + 1, depth }
    }
  }
  return { end: -1, depth }
}

/** The value of `text`, or undefined when it is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined // JSON has no undefined, so this cannot be mistaken for a value
  }
}

/** The object that `text` holds; undefined for anything else, also for an object deeper than `depthMax`. */
export function parseJsonObject(text: string, depthMax: number): JsonObject | undefined {
  const start = text.search(/\S/)
  if (start === -1 || text[start] !== '{') return undefined
  const span = jsonSpan(text, start)
  if (span.end === -1 || span.depth > depthMax) return undefined
  const value = parseJson(text)
  return isJsonObject(value) ? value : undefined
}
