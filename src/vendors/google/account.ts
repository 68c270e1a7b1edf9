import { sign } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { WallClock } from '../../core/clock.js'
import type { GoogleKeys, ServiceAccount } from './facts.js'

/** Scope of all services of Google Cloud; what the account may do is decided by its roles. */
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform'
/** The longest life of a token that is taken (google.aip.dev/auth/4111). */
const LIFETIME_S = 3600
/** As in Google's own client: no request waits for a token that has just run out. */
const RENEW_BEFORE_S = 300
/** A token that was made in the future is refused: our clock may be this much ahead. */
const SKEW_S = 60
/** Keys of one process; the settings name one. */
const KEYS_MAX = 8

/** By the id of the key. */
const tokens = new LRUCache<string, { readonly token: string; readonly fromS: number }>({ max: KEYS_MAX })

/** Headers of a request. Synchronous: an account signs its token itself, for an hour, and nobody is asked for one. */
export function googleHeaders(
  { apiKey, account }: GoogleKeys,
  wallClock: WallClock = Date.now,
): Readonly<Record<string, string>> {
  if (account !== undefined) return { authorization: `Bearer ${tokenOf(account, wallClock() / 1000)}` }
  return apiKey === null ? {} : { 'x-goog-api-key': apiKey }
}

function tokenOf({ email, keyId, privateKey }: ServiceAccount, nowS: number): string {
  const known = tokens.get(keyId)
  // The clock may have been set back too.
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
