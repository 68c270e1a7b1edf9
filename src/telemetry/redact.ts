/**
 * Removes phone numbers, keys, tokens and callers' words from log lines. One filter removes fields by their names. A
 * second filter removes text that has the shape of a secret.
 */

const REDACTED = '[redacted]'

function namesOf(...lines: readonly string[]): ReadonlySet<string> {
  return new Set(lines.join(' ').split(' '))
}

/** Names of fields whose values are never written. They are compared in lower case, without `_` and `-`. */
const SECRET_FIELDS = namesOf(
  // the people in the call
  'from to caller callee callernumber destinationnumber clientdialednumber callerid number numbers phone phonenumber',
  'msisdn email identity pii',
  // words and digits of the conversation
  'text transcript words utterance prompt digits digit dtmf args arguments result summary history packet',
  'openmetadata headermetadata',
  // credentials
  'apikey key secret secrets tokensecret tokensecrets token opstoken accesstoken authorization proxyauthorization cookie setcookie',
  'password signature xsautikitsignature credentials',
  // raw input, which may contain any of the above
  'body rawbody headers query payload',
)

/** Ids that look like secrets (long, with many digits) but must stay searchable. */
const PLAIN_FIELDS = namesOf('callsid streamsid traceid spanid eventid version commit time pid port')

/** Maximum depth at which fields are processed. */
const DEPTH_MAX = 5
/** Maximum number of entries of an array or object. For further entries only their number is written. */
const ENTRIES_MAX = 64
const TEXT_CHARS_MAX = 4000

/** Keys with a known shape: vendors' keys, webhook secrets, JSON Web Tokens, PEM. */
const KEY_SHAPES: readonly RegExp[] = [
  /\b(?:sk|pk|tsk|tskey|whsec|rk)[-_][\w-]{6,}/g,
  /\bAIza[\w-]{20,}/g,
  /\beyJ[\w-]{6,}\.[\w.-]+/g,
  /-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*(?:-----END[A-Z -]*-----)?/g,
]
/** Finds a user with a password in a URL, or a bearer token. */
const CREDENTIALS = /\b[a-z][a-z0-9+.-]{1,12}:\/\/[^\s/@"'{}]+:[^\s/@"'{}]+@|\bbearer\s+[\w.~+/=-]{16,}/i

/** Names before `=` or `:` that announce a secret. */
const SECRET_NAMED = String.raw`(?:api[_-]?key|token|secret|password|signature|authorization)["']?\s*`
/** Start of a literal value after a secret's name. A placeholder or a comparison does not match. */
const WRITTEN_OUT = String.raw`\s*["']?(?!\{|\$\{|<)[^\s"'&,;=]`
const ASSIGNED = new RegExp(`(?<![a-z])${SECRET_NAMED}=${WRITTEN_OUT}`, 'i')
const NAMED = new RegExp(`(?<![a-z])${SECRET_NAMED}[=:]${WRITTEN_OUT}`, 'i')
/**
 * Value in a comment: a single word after the secret's name. Several words do not match, because they are a sentence
 * and not a secret.
 */
const COMMENTED = new RegExp(`(?<![a-z])${SECRET_NAMED}:${WRITTEN_OUT}[^\\s"']{0,200}["']?$`, 'i')

/** True if a line contains a key, a token or a password that can be recognised by its shape. */
export function keyShapeIn(line: string): boolean {
  const comment = /(?:^|\s)#/.exec(line)
  return (
    [CREDENTIALS, ASSIGNED, ...KEY_SHAPES].some((shape) => line.search(shape) >= 0) ||
    (comment !== null && COMMENTED.test(line.slice(comment.index).trimEnd()))
  )
}

/** True if a text contains a value for the name of a secret: `password=x`, `"token": "x"`. */
export function namedSecretIn(text: string): boolean {
  return NAMED.test(text)
}

/** Shapes of secrets in text, in the order in which they are removed. */
const SHAPES: readonly (readonly [RegExp, string])[] = [
  // user:password@ of any URL, then the whole query of a URL, because it may contain tokens
  [/(\b[a-z][a-z0-9+.-]{1,12}:\/\/)[^\s/@"']+@/gi, `$1${REDACTED}@`],
  [/(\b(?:https?|wss?|rediss?):\/\/[^\s?#"']*|\/[a-z][\w/-]{0,200})\?[^\s"']+/gi, `$1?${REDACTED}`],
  [/\b(bearer|basic)\s+[\w.~+/=-]+/gi, `$1 ${REDACTED}`],
  [/\b(sips?:)[^\s@"']+@/gi, `$1${REDACTED}@`],
  // Email address; the version of a package, name@1.2.3, does not match.
  [/[\w.+-]{1,64}@(?!\d+\.\d+\.\d+(?![\w.]))[\w-]+(?:\.[\w-]+)+/g, '[email]'],
  ...KEY_SHAPES.map((shape) => [shape, REDACTED] as const),
  // name=value and "name":"value" with the name of a secret
  [new RegExp(String.raw`\b(${SECRET_NAMED}[=:]\s*["']?)[^\s"'&,;]+`, 'gi'), `$1${REDACTED}`],
  // Phone number: from 7 digits with a plus, from 9 digits without. Digits of an id (HD_012345678901, the end of a
  // UUID) or a fraction (1751000000.123) do not match.
  [/\+\d(?:[ ().-]{0,2}\d){6,}/g, '[number]'],
  [/(?<![A-Za-z0-9]|[A-Z]{2}_|[0-9A-Fa-f]{4}-|\d\.)\d(?:[ ()-]{0,2}\d){8,}(?!\w|\.\d)/g, '[number]'],
  // other long, opaque words of digits and letters: digests, keys of other vendors
  [/(?<![\w/-])(?=[\w-]*\d)(?=[\w-]*[a-z])[\w-]{32,}(?![\w/-])/gi, REDACTED],
]

/** Text without the parts that look like a phone number, a key, a token or an address. */
export function maskText(text: string): string {
  let masked = text.length > TEXT_CHARS_MAX ? `${text.slice(0, TEXT_CHARS_MAX)}…` : text
  for (const [shape, replacement] of SHAPES) masked = masked.replace(shape, replacement)
  return masked
}

/**
 * Fields of a log line that are safe to write: secrets are removed, errors are plain objects, and depth and size are
 * limited.
 */
export function scrub(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return scrubObject(fields, 0)
}

function scrubObject(object: object, depth: number): Record<string, unknown> {
  const clean: Record<string, unknown> = {}
  let entries = 0
  for (const [name, value] of Object.entries(object)) {
    if (++entries > ENTRIES_MAX) {
      clean['more'] = Object.keys(object).length - ENTRIES_MAX
      break
    }
    clean[name] = scrubField(name, value, depth)
  }
  return clean
}

function scrubField(name: string, value: unknown, depth: number): unknown {
  const plainName = name.toLowerCase().replace(/[_-]/g, '')
  if (PLAIN_FIELDS.has(plainName) && typeof value !== 'object') return value
  if (SECRET_FIELDS.has(plainName) && value !== null && value !== undefined && value !== '') return REDACTED
  return scrubValue(value, depth)
}

function scrubValue(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case 'string':
      return maskText(value)
    case 'bigint':
      return maskText(value.toString())
    // A phone number may be a JavaScript number. Among the gateway's own numbers, only calendar times in ms have twelve
    // digits or more.
    case 'number':
      return Math.abs(value) >= 1e11 && Number.isInteger(value) ? '[number]' : value
    case 'function':
    case 'symbol':
      return undefined
    case 'boolean':
    case 'undefined':
      return value
    case 'object':
      break
  }
  if (value === null) return null
  if (value instanceof Error) return scrubError(value, depth)
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`
  if (depth >= DEPTH_MAX) return '[deeper]'
  if (Array.isArray(value)) return value.slice(0, ENTRIES_MAX).map((entry) => scrubValue(entry, depth + 1))
  if (value instanceof Map || value instanceof Set) return `[${value.size} entries]`
  return scrubObject(value, depth + 1)
}

/**
 * Type, code, message, stack and causes of an error. Each text is masked, because vendors quote keys in error messages.
 */
function scrubError(error: Error, depth: number): Record<string, unknown> {
  const clean: Record<string, unknown> = { type: error.name, message: maskText(error.message) }
  const code = (error as { code?: unknown }).code
  if (typeof code === 'string' || typeof code === 'number')
    clean['code'] = typeof code === 'string' ? maskText(code) : code
  if (error.stack !== undefined) clean['stack'] = maskText(error.stack)
  if (error.cause !== undefined) clean['cause'] = depth >= DEPTH_MAX ? '[deeper]' : scrubValue(error.cause, depth + 1)
  return clean
}
