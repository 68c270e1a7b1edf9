/** Reading the carrier's JSON: fields may be absent, null or spelled otherwise; none of that may throw. */

export type JsonObject = Readonly<Record<string, unknown>>

/** The value as an object; an empty one when it is none. */
export function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as JsonObject : {}
}

/** The first of `names` that holds a text. */
export function textIn(object: JsonObject, ...names: readonly string[]): string | null {
  for (const name of names) {
    const value = object[name]
    if (typeof value === 'string' && value !== '') return value
  }
  return null
}

/** The first of `names` that holds a number, also where it is written as a text. */
export function numberIn(object: JsonObject, ...names: readonly string[]): number | null {
  for (const name of names) {
    const value = object[name]
    if (typeof value === 'number' && Number.isFinite(value)) return value
    if (typeof value === 'string' && /^-?\d{1,15}(\.\d+)?$/.test(value)) return Number(value)
  }
  return null
}

/** The list of an answer: under the first of `names` that holds one, or the answer itself; null when there is none. */
export function listIn(body: unknown, ...names: readonly string[]): readonly JsonObject[] | null {
  const list = Array.isArray(body) ? body : names.map((name) => objectOf(body)[name]).find(Array.isArray)
  return Array.isArray(list) ? list.map(objectOf) : null
}
