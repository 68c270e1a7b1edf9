import { createHmac, timingSafeEqual } from 'node:crypto'

/**
 * Maximum difference in seconds between an accepted signature's time and the present, in the past or in the future.
 * docs/PROTOCOL.md 2.
 */
const SIGNATURE_SKEW_S = 300
/** Maximum length of a signature header, and maximum number of compared `v1` values in it. */
const SIGNATURE_HEADER_CHARS_MAX = 2048
const SIGNATURE_VALUES_MAX = 8

/** The header that carries the signature, as uWebSockets.js names it. */
export const SIGNATURE_HEADER = 'x-sautikit-signature'

/**
 * `missing`: no header. `malformed`: the header has neither form. `mismatch`: no secret gives this signature. `stale`:
 * made with an accepted secret, but too old or too far in the future. `bare-refused`: the bare form, if this form is
 * not accepted. `bare-ambiguous`: the bare form, over a text that may be the body, dot and time of a dated signature.
 */
export type SignatureResult = 'ok' | 'missing' | 'malformed' | 'stale' | 'mismatch' | 'bare-refused' | 'bare-ambiguous'

interface SignatureCheck {
  readonly header: string | undefined
  /** The raw bytes, before any parsing. */
  readonly body: Uint8Array
  /** Accepted secrets: the secret of a number, the secret of a subscription, and the old secret during a rotation. */
  readonly secrets: readonly string[]
  /** Calendar time in seconds. */
  readonly nowS: number
  /** Maximum accepted age, and maximum accepted distance into the future, in seconds. */
  readonly skewS?: number
  /**
   * True: the bare form is accepted. The bare form contains no time and so can be replayed for ever. Default: false.
   */
  readonly acceptBare?: boolean
  /**
   * Secrets that have signed in the dated form; `verifySignature` adds further secrets. A bare signature with such a
   * secret is refused: its sender does not need the bare form.
   */
  readonly datedSecrets?: Set<string>
}

interface ParsedSignature {
  /** Time exactly as written in the header, because the signature covers this text; null in the bare form. */
  readonly timestamp: string | null
  readonly values: readonly Buffer[]
}

/**
 * Checks the carrier's signature in both of its forms. Dated: `t=<unix>,v1=<hex>[,v1=<hex>…]`, HMAC-SHA256 over the
 * body, a dot and `t` (body first). Bare, with `acceptBare`: hex over the body only. The comparison takes equal time
 * for every value and secret. Empty secrets are ignored, because anyone can sign with an empty secret. The texts that
 * the two forms sign are ambiguous: the value of a dated signature over B is a bare signature over `B.<t>`. So a bare
 * signature over a body that ends in a dot and digits is always refused. Otherwise an attacker who saw a dated webhook
 * could replay it for ever, with its time moved into the body.
 */
export function verifySignature(check: SignatureCheck): SignatureResult {
  const { header, body, nowS, skewS = SIGNATURE_SKEW_S, acceptBare = false, datedSecrets } = check
  if (header === undefined || header.trim() === '') return 'missing'
  const parsed = parseHeader(header)
  if (parsed === null) return 'malformed'
  const bare = parsed.timestamp === null
  if (bare && endsInDotAndDigits(body)) return 'bare-ambiguous'
  if (bare && !acceptBare) return 'bare-refused'

  let matches = false
  let datedMatches = false
  for (const secret of check.secrets) {
    if (secret === '') continue
    const expected = digest(secret, body, parsed.timestamp)
    let fits = false
    for (const value of parsed.values) {
      const same = timingSafeEqual(expected, value)
      fits = same || fits
    }
    if (!fits) continue
    if (bare && datedSecrets?.has(secret) === true) datedMatches = true
    else matches = true
    if (!bare) datedSecrets?.add(secret)
  }
  if (!matches) return datedMatches ? 'bare-refused' : 'mismatch'
  // Checked after the comparison: `stale` shows an operator a wrong clock, and gives an attacker no information.
  const stale = parsed.timestamp !== null && Math.abs(nowS - Number(parsed.timestamp)) > skewS
  return stale ? 'stale' : 'ok'
}

/**
 * True if a header may prove its request: dated with a fresh time, or bare if accepted. Uses no secret, so call it
 * before a body is read.
 */
export function mayVerify(check: Pick<SignatureCheck, 'header' | 'nowS' | 'skewS' | 'acceptBare'>): boolean {
  const parsed = check.header === undefined ? null : parseHeader(check.header)
  if (parsed === null) return false
  if (parsed.timestamp === null) return check.acceptBare === true
  return Math.abs(check.nowS - Number(parsed.timestamp)) <= (check.skewS ?? SIGNATURE_SKEW_S)
}

/**
 * The time may have any number of digits, because the signer may have used a `t` that this gateway would not accept.
 */
function endsInDotAndDigits(body: Uint8Array): boolean {
  let i = body.byteLength - 1
  while (i >= 0 && isDigit(body[i])) i--
  return i >= 0 && i < body.byteLength - 1 && body[i] === 0x2e
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39
}

function digest(secret: string, body: Uint8Array, timestamp: string | null): Buffer {
  const hmac = createHmac('sha256', secret).update(body)
  if (timestamp !== null) hmac.update(`.${timestamp}`)
  return hmac.digest()
}

const SHA256_HEX = /^[0-9a-fA-F]{64}$/

function parseHeader(header: string): ParsedSignature | null {
  if (header.length > SIGNATURE_HEADER_CHARS_MAX) return null
  const text = header.trim()
  if (SHA256_HEX.test(text)) return { timestamp: null, values: [Buffer.from(text, 'hex')] }

  let timestamp: string | null = null
  const values: Buffer[] = []
  for (const part of text.split(',')) {
    const equals = part.indexOf('=')
    if (equals === -1) return null
    const key = part.slice(0, equals).trim()
    const value = part.slice(equals + 1).trim()
    if (key === 't') {
      if (timestamp !== null || !/^[0-9]{1,12}$/.test(value)) return null
      timestamp = value
    } else if (key === 'v1') {
      if (!SHA256_HEX.test(value) || values.length === SIGNATURE_VALUES_MAX) return null
      values.push(Buffer.from(value, 'hex'))
    }
    // Other keys are unknown versions of the signature. They are ignored if a `v1` is present.
  }
  return timestamp === null || values.length === 0 ? null : { timestamp, values }
}
