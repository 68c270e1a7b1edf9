/** Objects read from one text frame at most. */
const OBJECTS_MAX = 64

/**
 * The JSON objects that stand one behind the other in `text`: a peer may put several commands into one frame. Whatever
 * is no object ends the reading.
 */
export function parseJsonSequence(text: string): Readonly<Record<string, unknown>>[] {
  const objects: Readonly<Record<string, unknown>>[] = []
  let from = 0
  while (from < text.length && objects.length < OBJECTS_MAX) {
    const end = objectEnd(text, from)
    if (end < 0) break
    try {
      objects.push(JSON.parse(text.slice(from, end)) as Readonly<Record<string, unknown>>)
    } catch {
      // Balanced braces around something that is no JSON: the rest of the frame cannot be trusted either.
      break
    }
    from = end
  }
  return objects
}

/** Index behind the object that starts at `from` (white space aside); -1 when none does. */
function objectEnd(text: string, from: number): number {
  let depth = 0
  let inString = false
  for (let i = from; i < text.length; i++) {
    const char = text[i]
    if (inString) {
      if (char === '\\') i++
      else if (char === '"') inString = false
    } else if (char === '"') {
      if (depth === 0) return -1
      inString = true
    } else if (char === '{') {
      depth++
    } else if (char === '}') {
      if (--depth <= 0) return depth === 0 ? i + 1 : -1
    } else if (depth === 0 && !/\s/.test(char ?? '')) {
      return -1
    }
  }
  return -1
}
