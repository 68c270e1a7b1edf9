import { parse, stringify } from 'lossless-json'
import { GatewayError, messageOf } from './errors.js'

/**
 * Matches texts that may contain a number too long for a double: 16 digits in a row, or an exponent of three digits.
 */
const MAY_BE_INEXACT = /\d{16}|\d[eE][+-]?\d{3}/

/**
 * Parses JSON without losing digits: a number that a double cannot represent (an id over 2^53) is returned as text. For
 * a text without such numbers, the result and the speed are equal to those of `JSON.parse`.
 * @throws SyntaxError for a text that is not JSON; RangeError for JSON that contains long numbers and is nested too
 * deeply
 */
export function exactJson(text: string): unknown {
  if (!MAY_BE_INEXACT.test(text)) return JSON.parse(text) as unknown
  JSON.parse(text) // needed, because the exact parser also accepts some texts that are not JSON
  return parse(text, undefined, { parseNumber: exactNumber, onDuplicateKey: ({ newValue }) => newValue })
}

/** Parses JSON from outside, given as text or UTF-8 bytes. Returns null if it is not JSON. */
export function jsonOrNull(text: string | Uint8Array): unknown {
  try {
    return JSON.parse(typeof text === 'string' ? text : new TextDecoder().decode(text)) as unknown
  } catch {
    return null
  }
}

/** Parses a JSON object from outside. Returns null for any other text. */
export function jsonObject(text: string | Uint8Array): Readonly<Record<string, unknown>> | null {
  const value = jsonOrNull(text)
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : null
}

/**
 * Returns the objects of a list from outside. A member that is not an object becomes an empty object. A value that is
 * not a list becomes an empty list.
 */
export function objectsIn(list: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(list) ? list.map((one) => Object(one) as Readonly<Record<string, unknown>>) : []
}

/** Returns the content of a Markdown code fence; any other text is returned unchanged. */
export function withoutFence(text: string): string {
  return /^\s*```[a-z0-9]*\s*\n?([\s\S]*?)\n?\s*```\s*$/i.exec(text)?.[1] ?? text
}

/** Returns `value` as JSON text; a bigint is written as its digits, and `undefined` as `null`. */
export function jsonText(value: unknown): string {
  return stringify(value) ?? 'null'
}

/**
 * Returns the whole number in `text`; a bigint if a double cannot represent it.
 * @param text  such as `-12`
 */
export function wholeNumber(text: string): number | bigint {
  const number = Number(text)
  return Number.isSafeInteger(number) ? number : BigInt(text)
}

/** Maximum number of digits that a double preserves. */
const DOUBLE_DIGITS = 17

function exactNumber(text: string): number | string {
  const number = Number(text)
  if (/^-?\d+$/.test(text)) return Number.isSafeInteger(number) ? number : text
  const digits = text
    .replace(/e.*$/i, '')
    .replace(/[^0-9]/g, '')
    .replace(/^0+/, '')
  const lost = !Number.isFinite(number) || (number === 0 && digits !== '')
  return lost || (digits.length > DOUBLE_DIGITS && Math.abs(number) > Number.MAX_SAFE_INTEGER) ? text : number
}

/**
 * Returns JSON with its members sorted by name, so that equal values have equal texts.
 * @param value plain JSON
 */
export function canonicalJson(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`).join(',')}}`
}

/**
 * Returns a copy of `value` as plain JSON. Keys without a value are left out, dates become texts, `undefined` becomes
 * null. Use this function for values from code outside the gateway (a tool's result, a backend's state), if another
 * process may read them.
 * @param what  name of the value in the error
 * @throws GatewayError CALL_FAULT if JSON cannot represent the value: a bigint, a cycle
 */
export function plainJson(value: unknown, what: string): unknown {
  try {
    return JSON.parse(JSON.stringify(value) ?? 'null') as unknown
  } catch (thrown) {
    throw new GatewayError('CALL_FAULT', `${what} is not JSON: ${messageOf(thrown)}`, { cause: thrown })
  }
}

/** Returns the value at a path of fields and indices; undefined if the path does not exist. */
export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let found = value
  for (const key of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined
    found = (found as Readonly<Record<PropertyKey, unknown>>)[key]
  }
  return found
}

/**
 * True if each of the fields occurs in `value` with the given value, at any depth. The whole value is searched, because
 * a tool's result has at most 16 KiB.
 */
export function hasFields(value: unknown, fields: Readonly<Record<string, string | number | boolean>>): boolean {
  return Object.entries(fields).every(([name, wanted]) => hasField(value, name, wanted))
}

function hasField(value: unknown, name: string, wanted: string | number | boolean): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return value.some((one) => hasField(one, name, wanted))
  return Object.entries(value).some(
    ([key, inner]) => (key === name && inner === wanted) || hasField(inner, name, wanted),
  )
}
