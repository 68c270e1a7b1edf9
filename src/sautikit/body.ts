import { GatewayError } from '../core/errors.js'
import { JSON_DEPTH_MAX, WEBHOOK_BODY_BYTES_MAX, WEBHOOK_FIELDS_MAX } from '../core/limits.js'
import { isJsonObject, jsonSpan, parseJson } from './json.js'
import type { JsonObject } from './json.js'

/**
 * The fields of a webhook body. Keys are folded (lower case, without `_`, `-` and `[]`), so that `CallSid`,
 * `callSid` and `call_sid` are one key; values are text. A Map, so that no key can reach a prototype.
 */
export type Fields = ReadonlyMap<string, string | Fields>

/** The key under which `name` is found in `Fields`. */
export function foldKey(name: string): string {
  return name.toLowerCase().replace(/[_-]|\[\]$/g, '')
}

/**
 * Reads a webhook body as form or JSON, by its content type; without one, by its first character.
 *
 * Of a repeated field the first value that is not empty counts, of a list its first element. Nothing of the
 * body appears in an error.
 *
 * @throws GatewayError BODY_TOO_LARGE, CONTENT_TYPE or WEBHOOK_MALFORMED
 */
export function parseBody(contentType: string | undefined, body: Uint8Array): Fields {
  if (body.byteLength > WEBHOOK_BODY_BYTES_MAX) {
    throw new GatewayError('BODY_TOO_LARGE',
      `webhook body is ${body.byteLength} bytes; at most ${WEBHOOK_BODY_BYTES_MAX} are read`)
  }
  const format = formatOf(contentType, body)
  const text = decodeUtf8(body)
  if (text.trim() === '') throw malformed('is empty')
  return format === 'json' ? readJson(text) : readForm(text)
}

function malformed(what: string): GatewayError {
  return new GatewayError('WEBHOOK_MALFORMED', `webhook body ${what}`)
}

function formatOf(contentType: string | undefined, body: Uint8Array): 'form' | 'json' {
  if (contentType === undefined || contentType.trim() === '') {
    const first = body.find((byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d)
    return first === 0x7b ? 'json' : 'form'
  }
  const [type = '', ...parameters] = contentType.slice(0, 256).toLowerCase().split(';').map((part) => part.trim())
  for (const parameter of parameters) {
    const charset = /^charset\s*=\s*"?([^"\s]*)"?$/.exec(parameter)?.[1]
    if (charset !== undefined && !['utf-8', 'utf8', 'us-ascii'].includes(charset)) {
      throw new GatewayError('CONTENT_TYPE', 'webhook charset is not supported; allowed: utf-8, us-ascii')
    }
  }
  if (type === 'application/x-www-form-urlencoded') return 'form'
  if (/^(?:application|text)\/json$|^application\/[a-z0-9.-]+\+json$/.test(type)) return 'json'
  throw new GatewayError('CONTENT_TYPE',
    'webhook content type is not supported; allowed: application/x-www-form-urlencoded, application/json')
}

function decodeUtf8(body: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch (thrown) {
    throw new GatewayError('WEBHOOK_MALFORMED', 'webhook body is not valid UTF-8', { cause: thrown })
  }
}

function readForm(text: string): Fields {
  const pairs = text.trim().split('&')
  if (pairs.length > WEBHOOK_FIELDS_MAX) throw tooManyFields()
  const fields = new Map<string, string | Fields>()
  for (const pair of pairs) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    if (equals === -1) continue // a bare word is no field
    const key = foldKey(decodeFormText(pair.slice(0, equals)))
    let value = decodeFormText(pair.slice(equals + 1))
    // A sender that forgot to escape the `+` of a number: form decoding made it a space.
    if (/^ [0-9]{7,15}$/.test(value)) value = `+${value.slice(1)}`
    add(fields, key, value)
  }
  if (fields.size === 0) throw malformed('has no fields; expected a form such as sessionId=…&callSessionState=…')
  return fields
}

function decodeFormText(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch (thrown) {
    throw new GatewayError('WEBHOOK_MALFORMED', 'webhook body has a % escape that is not UTF-8', { cause: thrown })
  }
}

function readJson(text: string): Fields {
  const start = text.search(/\S/)
  if (text[start] !== '{') throw malformed('is not a JSON object')
  const span = jsonSpan(text, start)
  if (span.depth > JSON_DEPTH_MAX) throw malformed(`is JSON nested deeper than ${JSON_DEPTH_MAX}`)
  const value = span.end === -1 ? undefined : parseJson(text)
  if (!isJsonObject(value)) throw malformed('is not valid JSON')
  return readObject(value, { count: 0 })
}

/** `seen` is shared by all levels of one body, so that nesting does not get around the bound. */
function readObject(object: JsonObject, seen: { count: number }): Fields {
  const fields = new Map<string, string | Fields>()
  for (const [name, value] of Object.entries(object)) {
    if (++seen.count > WEBHOOK_FIELDS_MAX) throw tooManyFields()
    const first: unknown = Array.isArray(value) ? value[0] : value
    if (isJsonObject(first)) add(fields, foldKey(name), readObject(first, seen))
    else if (typeof first === 'string') add(fields, foldKey(name), first)
    else if (typeof first === 'number' || typeof first === 'boolean') add(fields, foldKey(name), String(first))
  }
  return fields
}

function add(fields: Map<string, string | Fields>, key: string, value: string | Fields): void {
  const present = fields.get(key)
  if (present === undefined || (typeof present === 'string' && present.trim() === '')) fields.set(key, value)
}

function tooManyFields(): GatewayError {
  return malformed(`has more than ${WEBHOOK_FIELDS_MAX} fields`)
}
