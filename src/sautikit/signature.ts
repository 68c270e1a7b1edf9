import { createHmac, timingSafeEqual } from 'node:crypto'

/** Age of a signature that we still accept, either way. docs/PROTOCOL.md 2. */
const SIGNATURE_SKEW_S = 300
/** Longest signature header we read, and the `v1` values in it that we compare. */
const SIGNATURE_HEADER_CHARS_MAX = 2048
const SIGNATURE_VALUES_MAX = 8

/** The header that carries the signature, as uWebSockets.js names it. */
export const SIGNATURE_HEADER = 'x-sautikit-signature'

/**
 * `missing`: no header. `malformed`: a header that is neither form. `mismatch`: no secret makes it.
 * `stale`: made with a secret of ours, but too long ago or too far ahead. `bare-refused`: the bare form where it is not
 * accepted. `bare-ambiguous`: the bare form over a body that may be the dated form's body, dot and time.
 */
export type SignatureResult = 'ok' | 'missing' | 'malformed' | 'stale' | 'mismatch' | 'bare-refused' | 'bare-ambiguous'

interface SignatureCheck {
  readonly header: string | undefined
  /** The raw bytes, before any parsing. */
  readonly body: Uint8Array
  /** Accepted secrets: a number's own, a subscription's, the old one during a rotation. */
  readonly secrets: readonly string[]
  /** Calendar time in seconds. */
  readonly nowS: number
  /** Largest accepted age, and largest accepted distance into the future. */
  readonly skewS?: number
  /** Accept the bare form, which has no time in it and so can be replayed for ever. Default false. */
  readonly acceptBare?: boolean
  /**
   * Secrets that have signed in the dated form. Those that do in this check are added. A bare signature under one of
   * them is refused: a sender that dates its signatures does not need the bare form.
   */
  readonly datedSecrets?: Set<string>
}

interface ParsedSignature {
  /** As written, because it is part of what was signed; null in the bare form. */
  readonly timestamp: string | null
  readonly values: readonly Buffer[]
}

/**
 * Checks the carrier's signature in both of its forms: `t=<unix>,v1=<hex>[,v1=<hex>…]`, HMAC-SHA256 over the
 * body, a dot and `t` (body first), and, where `acceptBare`, bare hex over the body alone. Comparison takes the same
 * time whichever value or secret matches. Empty secrets are ignored: everyone can sign with them.
 *
 * The texts that the two forms sign are ambiguous: the value of a dated signature over B is a bare signature over
 * `B.<t>`. So a bare signature over a body that ends in a dot and digits is refused whatever the options are; otherwise
 * anybody who has seen a dated webhook could replay it for ever, with its time moved into the body.
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
  // Only after the comparison: `stale` tells an operator about a wrong clock and tells an attacker nothing.
  const stale = parsed.timestamp !== null && Math.abs(nowS - Number(parsed.timestamp)) > skewS
  return stale ? 'stale' : 'ok'
}

/**
 * True when a header may prove its request: the dated form with a fresh time, or the bare form where it is accepted. No
 * secret is used, so this can be asked before a body is read.
 */
export function mayVerify(check: Pick<SignatureCheck, 'header' | 'nowS' | 'skewS' | 'acceptBare'>): boolean {
  const parsed = check.header === undefined ? null : parseHeader(check.header)
  if (parsed === null) return false
  if (parsed.timestamp === null) return check.acceptBare === true
  return Math.abs(check.nowS - Number(parsed.timestamp)) <= (check.skewS ?? SIGNATURE_SKEW_S)
}

/** Any number of digits: the signer may have used a `t` that we would not accept. */
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
    // Other keys are unknown versions; one v1 beside them is enough.
  }
  return timestamp === null || values.length === 0 ? null : { timestamp, values }
}
