import { sign } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { WallClock } from '../../core/clock.js'
import type { GoogleKeys, ServiceAccount } from './facts.js'

/** Scope of all Google Cloud services. The account's roles decide its permissions. */
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform'
/** Maximum accepted lifetime of a token, in seconds (google.aip.dev/auth/4111). */
const LIFETIME_S = 3600
/**
 * Time before expiry at which a token is renewed, in seconds, so that requests do not wait for a new token. The value
 * is from Google's own client.
 */
const RENEW_BEFORE_S = 300
/** Maximum time in seconds that the gateway's clock may be ahead: Google refuses a token from the future. */
const SKEW_S = 60
/** Maximum number of account keys of one process; the settings name one key. */
const KEYS_MAX = 8

/** Tokens by the key's id. */
const tokens = new LRUCache<string, { readonly token: string; readonly fromS: number }>({ max: KEYS_MAX })

/**
 * @returns the headers of a request. The function is synchronous, because an account signs its token here, without a
 * request to Google. The token is valid for an hour
 */
export function googleHeaders(
  { apiKey, account }: GoogleKeys,
  wallClock: WallClock = Date.now,
): Readonly<Record<string, string>> {
  if (account !== undefined) return { authorization: `Bearer ${tokenOf(account, wallClock() / 1000)}` }
  return apiKey === null ? {} : { 'x-goog-api-key': apiKey }
}

function tokenOf({ email, keyId, privateKey }: ServiceAccount, nowS: number): string {
  const known = tokens.get(keyId)
  // If the clock was set back, the stored token may be from the future.
  if (known !== undefined && nowS >= known.fromS && nowS < known.fromS + LIFETIME_S - RENEW_BEFORE_S) return known.token
  const fromS = Math.floor(nowS) - SKEW_S
  const unsigned = [
    { alg: 'RS256', typ: 'JWT', kid: keyId },
    { iss: email, sub: email, scope: SCOPE, iat: fromS, exp: fromS + LIFETIME_S },
  ]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  const token = `${unsigned}.${sign('RSA-SHA256', Buffer.from(unsigned), privateKey).toString('base64url')}`
  tokens.set(keyId, { token, fromS })
  return token
}
