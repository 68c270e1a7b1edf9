import { parse, stringify } from 'lossless-json'
import { GatewayError, messageOf } from './errors.js'

/** Only such a text may have a number that a double cannot hold: 16 digits in a row, or an exponent of three digits. */
const MAY_BE_INEXACT = /\d{16}|\d[eE][+-]?\d{3}/

/**
 * Parses JSON without losing a digit: a number that a double cannot hold (an id over 2^53) becomes its text. Otherwise
 * as `JSON.parse`, at whose speed it runs where the text has no such number.
 * @throws SyntaxError for what is not JSON; RangeError for JSON with long numbers that is nested too deep
 */
export function exactJson(text: string): unknown {
  if (!MAY_BE_INEXACT.test(text)) return JSON.parse(text) as unknown
  JSON.parse(text) // the exact parser accepts a little more
  return parse(text, undefined, { parseNumber: exactNumber, onDuplicateKey: ({ newValue }) => newValue })
}

/** JSON that somebody else wrote, a text or its UTF-8; null where it is not JSON. */
export function jsonOrNull(text: string | Uint8Array): unknown {
  try {
    return JSON.parse(typeof text === 'string' ? text : new TextDecoder().decode(text)) as unknown
  } catch {
    return null
  }
}

/** The same; null also for what is no object. */
export function jsonObject(text: string | Uint8Array): Readonly<Record<string, unknown>> | null {
  const value = jsonOrNull(text)
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : null
}

/** The objects of a list that somebody else wrote, empty ones in the place of anything else; none where it is no list. */
export function objectsIn(list: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(list) ? list.map((one) => Object(one) as Readonly<Record<string, unknown>>) : []
}

/** The content of a Markdown code fence; any other text as it is. */
export function withoutFence(text: string): string {
  return /^\s*```[a-z0-9]*\s*\n?([\s\S]*?)\n?\s*```\s*$/i.exec(text)?.[1] ?? text
}

/** `value` as JSON text, a bigint as its digits. `undefined` is `null`. */
export function jsonText(value: unknown): string {
  return stringify(value) ?? 'null'
}

/** A whole number of `text`, as a bigint where a double cannot hold it. @param text  such as `-12` */
export function wholeNumber(text: string): number | bigint {
  const number = Number(text)
  return Number.isSafeInteger(number) ? number : BigInt(text)
}

/** Digits that a double keeps. */
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

/** JSON in which members are sorted by name: equal values have the same text. @param value  plain JSON */
export function canonicalJson(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`).join(',')}}`
}

/**
 * A copy of `value` that is plain JSON: keys without a value are left out, dates become texts, `undefined` becomes
 * null. For values from code outside the gateway (a tool's result, a backend's state) that another process may have to
 * read.
 * @param what  names the value in the error
 * @throws GatewayError CALL_FAULT when JSON cannot hold it: a bigint, a cycle
 */
export function plainJson(value: unknown, what: string): unknown {
  try {
    return JSON.parse(JSON.stringify(value) ?? 'null') as unknown
  } catch (thrown) {
    throw new GatewayError('CALL_FAULT', `${what} is not JSON: ${messageOf(thrown)}`, { cause: thrown })
  }
}

/** Value at that path of fields and indices; undefined where there is none. */
export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let found = value
  for (const key of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined
    found = (found as Readonly<Record<PropertyKey, unknown>>)[key]
  }
  return found
}

/** True if each field is somewhere in `value` with its value. A tool's result has 16 KiB at most. */
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
