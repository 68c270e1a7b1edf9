import { GatewayError, messageOf } from './errors.js'

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
