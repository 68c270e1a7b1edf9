import { createHmac, timingSafeEqual } from 'node:crypto'
import { assert } from '../core/assert.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'

/** Purpose of a URL in the gateway's XML. `continue`: URL in the request of a pending tool. */
export type TokenPurpose = 'audio' | 'stream-status' | 'after-stream' | 'human' | 'continue'

export interface TokenClaims {
  readonly callSid: CallSid
  readonly purpose: TokenPurpose
  /** Expiry in calendar seconds; the token is valid up to and including this second. */
  readonly expiresAtS: number
  /**
   * Makes the token unique, so that a receiver accepts it once. 8 to 32 of `A-Z a-z 0-9 _ -`. For `continue`: the id of
   * the pending tool call.
   */
  readonly nonce: string
  /** Epoch of the call's owner, from 1: an audio token leads to this owner. 0 if any node may answer. */
  readonly epoch: number
}

export type TokenResult =
  | ({ readonly result: 'ok' } & TokenClaims)
  | { readonly result: 'missing' | 'malformed' | 'mismatch' | 'expired' | 'wrong-call' | 'wrong-purpose' }

const PURPOSE_LETTER: Readonly<Record<TokenPurpose, string>> = {
  audio: 'a',
  'stream-status': 's',
  'after-stream': 'c',
  human: 'h',
  continue: 'w',
}
const PURPOSE_OF: ReadonlyMap<string, TokenPurpose> = new Map([
  ['a', 'audio'],
  ['s', 'stream-status'],
  ['c', 'after-stream'],
  ['h', 'human'],
  ['w', 'continue'],
])

// purpose . expiry in base 36 . epoch in base 36 . nonce . call SID . MAC; no character needs escaping in a query.
const TOKEN =
  /^([aschw])\.([0-9a-z]{1,10})\.([0-9a-z]{1,8})\.([A-Za-z0-9_-]{8,32})\.([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{22})$/

/**
 * Size of the MAC: half of SHA-256, the minimum that RFC 2104 section 5 recommends. The URL is for a peer with a 4 KiB
 * path buffer.
 */
const MAC_BYTES = 16

/** Domain separation: keeps these MACs different from other signatures with this secret. */
const MAC_DOMAIN = 'mkondo url token 2\n'

/**
 * Makes the token of one URL. Any process with the secret can check the token; no token is stored. The caller of this
 * function chooses the nonce (random bytes as base64url), so that this layer stays pure.
 * @param secrets the first secret signs
 */
export function mintToken(secrets: readonly string[], claims: TokenClaims): string {
  const [secret = ''] = secrets
  assert(secret !== '', 'a token secret is set')
  assert(Number.isInteger(claims.expiresAtS) && claims.expiresAtS > 0, 'a token expires at a whole second')
  assert(Number.isSafeInteger(claims.epoch) && claims.epoch >= 0, 'an epoch is a whole number')
  const text = [
    PURPOSE_LETTER[claims.purpose],
    claims.expiresAtS.toString(36),
    claims.epoch.toString(36),
    claims.nonce,
    claims.callSid,
  ].join('.')
  const token = `${text}.${mac(secret, text).toString('base64url')}`
  assert(TOKEN.test(token), 'token claims are within their alphabets')
  return token
}

/**
 * Checks a token from a URL. The MAC is compared first, in constant time. So all other answers are given only for
 * tokens that this gateway made. `expired` is checked last: the answer for an old token of another call is
 * `wrong-call`.
 * @param secrets secrets that may have signed; all are always tried, so that the time does not show which secret
 * matched
 * @param wanted.callSid omitted if the token itself identifies the call (the audio socket).
 */
export function checkToken(
  secrets: readonly string[],
  token: string | null | undefined,
  wanted: {
    readonly purpose: TokenPurpose
    readonly callSid?: string
    readonly nowS: number
  },
): TokenResult {
  assert(secrets.length > 0 && !secrets.includes(''), 'a token secret is set')
  if (token === null || token === undefined || token === '') return { result: 'missing' }
  const parts = TOKEN.exec(token)
  if (parts === null) return { result: 'malformed' }
  const [, letter = '', expiry = '', epoch = '', nonce = '', callSid = '', given = ''] = parts
  const purpose = PURPOSE_OF.get(letter)
  // 22 characters of base64url contain 132 bits, 4 more than the MAC. So several last characters would give the same
  // MAC; only the character that `mintToken` writes is accepted.
  const givenMac = Buffer.from(given, 'base64url')
  const sound = givenMac.toString('base64url') === given
  if (purpose === undefined || !isCallSid(callSid) || !sound) return { result: 'malformed' }
  const signed = token.slice(0, -given.length - 1)
  const fitting = secrets.filter((secret) => timingSafeEqual(mac(secret, signed), givenMac))
  if (fitting.length === 0) return { result: 'mismatch' }
  if (purpose !== wanted.purpose) return { result: 'wrong-purpose' }
  if (wanted.callSid !== undefined && wanted.callSid !== callSid) return { result: 'wrong-call' }
  const expiresAtS = Number.parseInt(expiry, 36)
  if (wanted.nowS > expiresAtS) return { result: 'expired' }
  return { result: 'ok', callSid, purpose, expiresAtS, nonce, epoch: Number.parseInt(epoch, 36) }
}

function mac(secret: string, text: string): Buffer {
  return createHmac('sha256', secret).update(MAC_DOMAIN).update(text).digest().subarray(0, MAC_BYTES)
}
