import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import { GatewayError } from '../core/errors.js'
import { exactJson } from '../core/json.js'
import { maskNumbersIn } from '../sautikit/phone.js'

/** Maximum number of nested encodings in one answer. */
const ENCODINGS_MAX = 3
/** Maximum number of characters of an HTML page's title in an error. */
const TITLE_CHARS_MAX = 80

/** An answer of an API, as received. */
export interface RawAnswer {
  readonly body: Buffer
  /** Value of `Content-Type`; empty without this header. */
  readonly contentType: string
  /** Value of `Content-Encoding`; empty without this header. */
  readonly contentEncoding: string
}

type Decompress = (body: Buffer, options: { readonly maxOutputLength: number }) => Promise<Buffer>

const DECOMPRESSORS: Readonly<Record<string, Decompress | undefined>> = {
  gzip: promisify(zlib.unzip),
  'x-gzip': promisify(zlib.unzip),
  deflate: promisify(zlib.unzip),
  br: promisify(zlib.brotliDecompress),
  // Requires Node 22.15 or later.
  zstd:
    'zstdDecompress' in zlib
      ? promisify<Buffer, { readonly maxOutputLength: number }, Buffer>(zlib.zstdDecompress as never)
      : undefined,
}

/**
 * Returns the content of an answer: parsed JSON (long numbers as in `exactJson`), a text, or undefined if it is empty.
 * The bytes of the content decide, because many APIs send a wrong type, charset or encoding. JSON is read under any
 * type, and UTF-8 under any charset.
 * @param bytesMax  size limit of the decompressed body
 * @throws GatewayError TOOL_RESPONSE for an HTML page, and for broken, binary or too large content. The message quotes
 * only the title of a page.
 */
export async function contentOf(answer: RawAnswer, bytesMax: number): Promise<unknown> {
  const body = await decompressed(answer, bytesMax)
  const type = answer.contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  // A prefix is removed that some APIs add as a protection against scripts of other sites.
  const text = decoded(body, answer.contentType)
    .replace(/^\s*(?:\)\]\}',?|for\s*\(;;\);)/, '')
    .trim()
  if (text === '') return undefined
  if (/^<(?:!doctype\s+html|html)\b/i.test(text) || (type.includes('html') && text.startsWith('<'))) {
    const title = /<title[^>]*>([^<]*)/i.exec(text)?.[1]?.replace(/\s+/g, ' ').trim().slice(0, TITLE_CHARS_MAX) ?? ''
    throw unusable(`an HTML page${title === '' ? '' : `: ${maskNumbersIn(title)}`}`)
  }
  const json = parsed(text)
  if (json !== undefined) return json
  if (/json|ndjson/.test(type) && /^[[{"]/.test(text)) {
    const lines = text.split('\n').map((line) => parsed(line))
    if (lines.length > 1 && !lines.includes(undefined)) return lines
  }
  if (/^[[{]/.test(text) || (type.includes('json') && text.startsWith('"'))) throw unusable('text that is not JSON')
  if (/[\u0000-\u0008\u000e-\u001f\ufffd]/.test(text))
    throw unusable(`${type === '' ? 'bytes' : type.slice(0, 60)} that are no text`)
  return text
}

function unusable(what: string): GatewayError {
  return new GatewayError('TOOL_RESPONSE', `the API answered with ${what}`)
}

async function decompressed({ body, contentEncoding }: RawAnswer, bytesMax: number): Promise<Buffer> {
  const encodings = contentEncoding
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => !/^(identity|utf-?8|none|)$/.test(name))
  if (encodings.length > ENCODINGS_MAX) throw unusable(`more than ${ENCODINGS_MAX} content encodings`)
  let plain = body
  for (const encoding of encodings.reverse()) {
    if (plain.length === 0) return plain
    const decompress = DECOMPRESSORS[encoding]
    if (decompress === undefined)
      throw unusable(
        `the content encoding ${encoding.slice(0, 20)}; known are gzip, deflate, br${DECOMPRESSORS['zstd'] === undefined ? '' : ', zstd'}`,
      )
    try {
      plain = await decompress(plain, { maxOutputLength: bytesMax })
    } catch (error) {
      if (error instanceof RangeError) throw tooLarge(bytesMax)
      const raw =
        encoding === 'deflate'
          ? await promisify(zlib.inflateRaw)(plain, { maxOutputLength: bytesMax }).catch(() => null)
          : null
      // A body that is not compressed is used unchanged, because some proxies decompress it but keep the header.
      if (raw === null && !/^\s*[[{"]/.test(plain.toString('latin1', 0, 64)))
        throw unusable(`bytes that are not ${encoding}`)
      plain = raw ?? plain
    }
  }
  return plain
}

/** Returns the error for a body over the limit, before or after it is decompressed. */
export function tooLarge(bytesMax: number): GatewayError {
  return new GatewayError(
    'TOOL_RESPONSE',
    `the response is larger than ${bytesMax} bytes; ask the API for less, or raise maxResponseBytes`,
  )
}

/**
 * Decodes the bytes as UTF-8 if they are valid UTF-8. Otherwise the byte order mark or the answer's charset decides.
 * Without a byte order mark and a charset, the bytes are read as windows-1252.
 */
function decoded(body: Buffer, contentType: string): string {
  const marked =
    body[0] === 0xff && body[1] === 0xfe ? 'utf-16le' : body[0] === 0xfe && body[1] === 0xff ? 'utf-16be' : null
  const said = /charset\s*=\s*"?\s*([\w.:-]+)/i.exec(contentType)?.[1] ?? 'windows-1252'
  const wide = /^utf-?16/i.test(said) ? [said] : []
  for (const charset of [...(marked === null ? [] : [marked]), ...wide, 'utf-8', said]) {
    try {
      return new TextDecoder(charset, { fatal: true }).decode(body)
    } catch {
      // The charset is wrong or unknown, so the next charset is tried.
    }
  }
  return new TextDecoder('windows-1252').decode(body)
}

function parsed(text: string): unknown {
  try {
    return exactJson(text)
  } catch {
    return undefined // the parser's message is not used, because it quotes the answer, which is about a caller
  }
}

/**
 * Names of members in which APIs give a reason, best first. They come from OAuth, problem+json (RFC 9457), FastAPI,
 * Spring, Laravel, JSON:API and GraphQL.
 */
const REASONS = [
  'error_description',
  'errorMessage',
  'message',
  'title',
  'detail',
  'msg',
  'reason',
  'description',
  'error',
  'errors',
  'details',
  'invalid-params',
  'invalidParams',
  'non_field_errors',
  'fault',
  'faultstring',
] as const
/** Fields that name the place of a fault. They are used if an answer has several reasons. */
const PLACES = ['loc', 'field', 'name', 'param', 'pointer', 'source', 'path', 'property'] as const
const REASONS_DEPTH_MAX = 5

/** Returns the API's own reason for its refusal, in one line; null if the answer does not contain a reason. */
export function reasonIn(answer: unknown, charsMax: number): string | null {
  const reasons = typeof answer === 'string' ? [answer] : reasonsOf(answer, 0)
  const text = [...new Set(reasons.map((reason) => reason.replace(/\s+/g, ' ').trim()))]
    .filter((one) => one !== '')
    .join('; ')
  return text === '' ? null : text.slice(0, charsMax)
}

function reasonsOf(value: unknown, depth: number): string[] {
  if (typeof value === 'string') return [value]
  if (typeof value !== 'object' || value === null || depth > REASONS_DEPTH_MAX) return []
  if (Array.isArray(value)) return value.flatMap((one) => reasonsOf(one, depth + 1))
  const members = value as Readonly<Record<string, unknown>>
  const known = REASONS.flatMap((name) => (Object.hasOwn(members, name) ? reasonsOf(members[name], depth + 1) : []))
  const place = depth === 0 ? undefined : PLACES.map((name) => placeOf(members[name])).find((one) => one !== '')
  if (known.length > 0) return place === undefined ? known : known.map((reason) => `${place}: ${reason}`)
  // An object whose keys are fields and whose values are the fields' faults (Django, ASP.NET, Rails).
  return Object.entries(members).flatMap(([field, inner]) =>
    Array.isArray(inner) || (depth > 0 && typeof inner === 'string')
      ? reasonsOf(inner, depth + 1).map((reason) => `${field}: ${reason}`)
      : [],
  )
}

/**
 * Returns the position as text: `['body', 'phone']` becomes `body.phone`; `{pointer: '/data/phone'}` becomes the text
 * of `pointer`.
 */
function placeOf(value: unknown): string {
  if (Array.isArray(value))
    return value.filter((part) => typeof part === 'string' || typeof part === 'number').join('.')
  if (typeof value === 'object' && value !== null && 'pointer' in value) return placeOf(value.pointer)
  return typeof value === 'string' ? value : ''
}
