import { verify, type KeyObject } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { ServiceDoubleOptions } from '../../simulator/vendors/service-double.js'

export interface GoogleDoubleOptions extends ServiceDoubleOptions {
  /** Service account of the project with the public half of its key. Default: no account. */
  readonly account?: { readonly email: string; readonly keyId: string; readonly publicKey: KeyObject }
}

/** A refusal by Google Cloud, with its gRPC code. */
export interface GoogleRefusal {
  readonly http: number
  readonly grpc: number
  readonly status: string
  readonly message: string
}

const SCOPE = 'https://www.googleapis.com/auth/cloud-platform'
const LIFETIME_S_MAX = 3600
/** Maximum time in seconds that a client's clock may be ahead. */
const SKEW_S_MAX = 30

export const INVALID_ARGUMENT = (message: string): GoogleRefusal => ({
  http: 400,
  grpc: 3,
  status: 'INVALID_ARGUMENT',
  message,
})

/**
 * @returns the refusal of a request's credentials; null if they are accepted. Without a key or an account every request
 * is accepted.
 */
export function googleKeyRefusal(
  headers: IncomingHttpHeaders,
  { key = null, account }: GoogleDoubleOptions,
): GoogleRefusal | null {
  if (key === null && account === undefined) return null
  const token = /^Bearer (.*)/.exec(headers.authorization ?? '')?.[1]
  if (token !== undefined) {
    return account !== undefined && holds(token, account, Date.now() / 1000)
      ? null
      : {
          http: 401,
          grpc: 16,
          status: 'UNAUTHENTICATED',
          message: 'Request had invalid authentication credentials. Expected OAuth 2 access token.',
        }
  }
  const given = headers['x-goog-api-key']
  if (given === undefined)
    return {
      http: 403,
      grpc: 7,
      status: 'PERMISSION_DENIED',
      message: 'The request is missing a valid API key.',
    }
  // The service answers an invalid key with 400.
  return given === key ? null : INVALID_ARGUMENT('API key not valid. Please pass a valid API key.')
}

/** True for a token that the account signed itself, for an audience or a scope (google.aip.dev/auth/4111). */
function holds(token: string, account: NonNullable<GoogleDoubleOptions['account']>, nowS: number): boolean {
  const [head = '', body = '', signature = ''] = token.split('.')
  const signed = verify(
    'RSA-SHA256',
    Buffer.from(`${head}.${body}`),
    account.publicKey,
    Buffer.from(signature, 'base64url'),
  )
  if (!signed) return false
  const [{ alg, kid }, { iss, sub, scope, aud, iat, exp }] = [head, body].map(
    (part) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Readonly<Record<string, unknown>>,
  ) as [Readonly<Record<string, unknown>>, Readonly<Record<string, unknown>>]
  const meant = scope === undefined ? /^https:\/\/[\w.-]+\.googleapis\.com\/$/.test(String(aud)) : aud === undefined
  const scoped = scope === undefined || (typeof scope === 'string' && scope.split(' ').includes(SCOPE))
  const [fromS, untilS] = [Number(iat), Number(exp)]
  const timely = fromS <= nowS + SKEW_S_MAX && untilS > nowS && untilS - fromS <= LIFETIME_S_MAX
  return alg === 'RS256' && kid === account.keyId && iss === account.email && sub === iss && meant && scoped && timely
}
