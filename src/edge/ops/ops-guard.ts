import { createHash, timingSafeEqual } from 'node:crypto'
import type { WallClock } from '../../core/clock.js'
import { errorReply } from '../http/reply.js'
import type { Exchange } from '../http/http-exchange.js'
import type { Reply } from '../http/reply.js'
import { RateLimit } from '../../core/rate-limit.js'
import { mayUse } from './ops-rights.js'
import type { OpsAccess } from './ops-rights.js'
import { accessOf } from './ops-routes.js'
import type { OpsRoute } from './ops-routes.js'
import { ConsoleSessions } from './ops-session.js'
import type { EndedSession, SessionRights } from './ops-session.js'

/**
 * Number of wrong tokens of one address that are answered without a delay. The second constant is the rate per second
 * at which this number recovers.
 */
export const OPS_WRONG_TOKENS_BURST = 10
const OPS_WRONG_TOKENS_PER_S = 0.1
const OPS_WRONG_TOKENS_ADDRESSES_MAX = 1000

/** HTTP method; `SOCKET` for an upgrade, which needs the right to act. */
export type OpsMethod = 'GET' | 'HEAD' | 'POST' | 'SOCKET'

export const OPS_REFUSALS = [
  'cross-site',
  'host',
  'token-missing',
  'token-wrong',
  'token-read-only',
  'token-of-numbers',
  'no-right-to-listen',
  'session-read-only',
  'content-type',
] as const

export interface OpsRefusal {
  readonly reason: (typeof OPS_REFUSALS)[number]
  readonly reply: Reply
  /** True after too many wrong tokens of this address. The answer is then delayed. */
  readonly slow: boolean
}

/**
 * Decides which requests the ops port admits. If a token is set, a request must carry it. Without a token the port is
 * for this machine only.
 *
 * Pages of other sites in the operator's browser must not use the port:
 * - `Sec-Fetch-Site` shows a page of another site, which is refused.
 * - A request that acts is refused if its Origin has another host than the `Host` header.
 * - The content type refuses forms. A POST without a body needs no content type, unless it carries an Origin or a
 *   Sec-Fetch-Site.
 * - Without a token the Host must be an address or localhost, to stop names that point to this machine (DNS
 *   rebinding). If a token is set, such a page cannot send the cookie.
 *
 * The right token is always admitted, even from an address with many wrong tokens: a stranger cannot lock the operator
 * out.
 */
export class OpsGuard {
  /** Hashes of the tokens; null if no token is needed. */
  readonly #tokens: { readonly all: Buffer; readonly metrics: Buffer | null; readonly listen: Buffer | null } | null
  /** Sessions of the console; null if the port needs no token. */
  readonly #sessions: ConsoleSessions | null
  readonly #wrongTokens = new RateLimit({
    perSecond: OPS_WRONG_TOKENS_PER_S,
    burst: OPS_WRONG_TOKENS_BURST,
    keysMax: OPS_WRONG_TOKENS_ADDRESSES_MAX,
  })

  readonly #ofNumbers: ReadonlyMap<string, ReadonlySet<string>>

  /**
   * @param opsReadToken  token that may read metrics; used only with an `opsToken`
   * @param opsListenToken  token that may also listen; used only with an `opsToken`. If it is null and an `opsToken` is
   * set, requests may not listen
   * @param ofNumbers  numbers of ours to whose calls a token is limited, by the SHA-256 of the token (hex)
   */
  constructor(
    opsToken: string | null,
    opsReadToken: string | null,
    wallClock: WallClock,
    ofNumbers: ReadonlyMap<string, ReadonlySet<string>> = new Map(),
    opsListenToken: string | null = null,
  ) {
    this.#ofNumbers = ofNumbers
    this.#tokens =
      opsToken === null
        ? null
        : {
            all: digest(opsToken),
            metrics: opsReadToken === null ? null : digest(opsReadToken),
            listen: opsListenToken === null ? null : digest(opsListenToken),
          }
    this.#sessions = opsToken === null ? null : new ConsoleSessions(opsToken, wallClock())
  }

  /**
   * @param route  route of the request; its row defines the right that the request needs
   * @param wallMs  calendar time, for sessions
   * @returns the refusal; null if the request is admitted
   */
  check(head: OpsHead, method: OpsMethod, route: OpsRoute, nowMs: number, wallMs: number): OpsRefusal | null {
    const access = accessOf(route)
    // Browsers do not send Sec-Fetch-Site with a socket, and old browsers never send it. So the origin is checked for
    // requests that act.
    const foreign = head.fetchSite === 'cross-site' || head.fetchSite === 'same-site'
    const acts = method === 'SOCKET' || method === 'POST'
    if (access.right !== 'open' && (foreign || (acts && !isOwnOrigin(head))))
      return refusal('cross-site', errorReply(403, 'FORBIDDEN', 'pages of other sites may not use this port'))
    const refused =
      this.#tokens === null
        ? checkHost(head.host)
        : access.right === 'open' || access.right === 'login'
          ? null
          : head.authorization === ''
            ? this.#checkSession(head, access, wallMs)
            : this.#checkToken(head, access, nowMs)
    if (refused !== null) return refused
    // Any page can send a form to any site. JSON needs a CORS preflight, which this port does not answer.
    if (method === 'POST' && !/^application\/json\s*(;|$)/i.test(head.contentType) && !isBare(head)) {
      return refusal(
        'content-type',
        errorReply(
          415,
          'CONTENT_TYPE',
          'a POST needs Content-Type: application/json, unless it has no body and is not from a web page',
        ),
      )
    }
    return null
  }

  /**
   * Numbers of ours, if the token of an admitted request is limited to their calls; null if the token is not limited.
   */
  numbersOf({ authorization }: OpsHead): ReadonlySet<string> | null {
    const given = bearerOf(authorization)
    return this.#tokens === null || given === undefined
      ? null
      : (this.#ofNumbers.get(digest(given).toString('hex')) ?? null)
  }

  /** Returns the holder of the event stream that an admitted request opens. */
  holderOf({ cookie, address, authorization }: OpsHead, wallMs: number): StreamHolder {
    const session = authorization === '' ? this.#sessions?.sessionsOf(cookie, wallMs)[0] : undefined
    return session === undefined
      ? { name: `address ${address}`, address, acts: true }
      : { name: `session ${session.id}`, address, acts: session.rights !== 'read' }
  }

  /** Rights of the console's page: all rights if no token is needed; null without a session. */
  rights({ cookie }: OpsHead, wallMs: number): SessionRights | null {
    return this.#sessions === null ? 'listen' : this.#sessions.rightsOf(cookie, wallMs)
  }

  /**
   * Exchanges OPS_TOKEN for a session.
   * @returns the value of `Set-Cookie`, or a refusal
   */
  logIn(head: OpsHead, token: string, rights: SessionRights, nowMs: number, wallMs: number): string | OpsRefusal {
    if (this.#sessions === null)
      return refusal('token-wrong', errorReply(409, 'BAD_REQUEST', 'this port needs no token: OPS_TOKEN is not set'))
    const wanted = { right: rights === 'listen' ? 'listen' : 'act', ofNumbers: false } as const
    const refused = this.#checkToken({ ...head, authorization: `Bearer ${token}` }, wanted, nowMs)
    return refused ?? this.#sessions.open(rights, wallMs, isSecure(head))
  }

  /**
   * Ends the sessions of this browser.
   * @returns the value of `Set-Cookie`, and the sessions that other nodes must end; null if the port needs no token
   */
  logOut(head: OpsHead, wallMs: number): { readonly cookie: string; readonly ended: readonly EndedSession[] } | null {
    if (this.#sessions === null) return null
    const ended = this.#sessions.sessionsOf(head.cookie, wallMs).map(({ id, expiresS }) => ({ id, expiresS }))
    for (const session of ended) this.#sessions.end(session, wallMs)
    return { cookie: this.#sessions.forget(isSecure(head)), ended }
  }

  /** Ends a session that was ended at another node. */
  sessionEnded(session: EndedSession, wallMs: number): void {
    this.#sessions?.end(session, wallMs)
  }

  #checkSession(head: OpsHead, access: OpsAccess, wallMs: number): OpsRefusal | null {
    const rights = this.rights(head, wallMs)
    if (rights === null) return refusal('token-missing', unauthorized(access))
    if (mayUse(rights, access)) return null
    if (access.right === 'listen') return MAY_NOT_LISTEN
    return refusal('session-read-only', errorReply(403, 'FORBIDDEN', 'this session only reads; log in again to act'))
  }

  #checkToken({ authorization, address }: OpsHead, access: OpsAccess, nowMs: number): OpsRefusal | null {
    const given = bearerOf(authorization)
    if (given === undefined) return refusal('token-missing', unauthorized(access))
    const found = digest(given)
    // Each token is always compared, so that the time does not reveal the matching token.
    const isAll = this.#tokens !== null && timingSafeEqual(found, this.#tokens.all)
    const isMetrics = this.#tokens?.metrics != null && timingSafeEqual(found, this.#tokens.metrics)
    const isListen = this.#tokens?.listen != null && timingSafeEqual(found, this.#tokens.listen)
    if (isListen) return mayUse('listen', access) ? null : MAY_NOT_LISTEN
    if (isAll) return mayUse('act', access) ? null : MAY_NOT_LISTEN
    // The table has digests, so that the time of a look-up reveals nothing about a token.
    if (this.#ofNumbers.has(found.toString('hex'))) return mayUse('of-numbers', access) ? null : OF_NUMBERS
    if (isMetrics && mayUse('OPS_READ_TOKEN', access)) return null
    if (isMetrics)
      return refusal(
        'token-read-only',
        errorReply(403, 'FORBIDDEN', 'OPS_READ_TOKEN reads metrics only; this request needs OPS_TOKEN'),
      )
    return refusal('token-wrong', unauthorized(access), this.#wrongTokens.take(address, nowMs) > 0)
  }
}

/** Holder of an event stream. */
export interface StreamHolder {
  /** Name of the holder's session, or of its address without a session. */
  readonly name: string
  readonly address: string
  /** True if the holder may act: hang up, escalate, call. */
  readonly acts: boolean
}

/** Parts of an ops request that decide if it is admitted. */
export interface OpsHead {
  readonly authorization: string
  readonly cookie: string
  readonly host: string
  readonly contentType: string
  readonly contentLength: string
  readonly transferEncoding: string
  readonly origin: string
  readonly fetchSite: string
  /** Address of the socket's peer. */
  readonly address: string
}

function bearerOf(authorization: string): string | undefined {
  return /^Bearer +(\S+)$/i.exec(authorization)?.[1]
}

const OF_NUMBERS: OpsRefusal = refusal(
  'token-of-numbers',
  errorReply(
    403,
    'FORBIDDEN',
    'this token has the right to the calls of its own numbers only; this request needs OPS_TOKEN',
  ),
)

const MAY_NOT_LISTEN: OpsRefusal = refusal(
  'no-right-to-listen',
  errorReply(
    403,
    'FORBIDDEN',
    'the voices and words of callers need a right of their own: use OPS_LISTEN_TOKEN, or a session that was opened with it',
  ),
)

/** True for a request without a body, as `curl -X POST` sends it. Every browser adds an Origin to a POST. */
function isBare({ contentType, contentLength, transferEncoding, origin, fetchSite }: OpsHead): boolean {
  const hasBody = (contentLength !== '' && contentLength !== '0') || transferEncoding !== ''
  return !hasBody && contentType === '' && origin === '' && fetchSite === ''
}

function refusal(reason: OpsRefusal['reason'], reply: Reply, slow = false): OpsRefusal {
  return { reason, reply, slow }
}

function unauthorized(access: OpsAccess): Reply {
  const which = access.right === 'metrics' ? 'OPS_READ_TOKEN or OPS_TOKEN' : 'OPS_TOKEN'
  return errorReply(401, 'UNAUTHORIZED', `Authorization: Bearer with ${which} is required`, {
    headers: [['WWW-Authenticate', 'Bearer']],
  })
}

/**
 * True for a page of this port, and for a program, which does not send an Origin. Every page sends an Origin with a
 * POST or a socket.
 */
function isOwnOrigin({ origin, host }: OpsHead): boolean {
  return origin === '' || /^https?:\/\/(.*)$/i.exec(origin)?.[1]?.toLowerCase() === host.toLowerCase()
}

function isSecure({ origin }: OpsHead): boolean {
  return origin.startsWith('https:')
}

/** Refuses any Host other than an address or `localhost`: another name could belong to a stranger. */
function checkHost(host: string): OpsRefusal | null {
  const name = host.replace(/:\d+$/, '').toLowerCase()
  const address = /^(?:\d{1,3}\.){3}\d{1,3}$/.test(name) || /^\[[0-9a-f:.]+\]$/.test(name)
  if (address || name === 'localhost' || name.endsWith('.localhost')) return null
  return refusal(
    'host',
    errorReply(403, 'FORBIDDEN', 'without OPS_TOKEN the Host header must be an IP address or localhost'),
  )
}

/** A digest, because `timingSafeEqual` needs equal lengths. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/**
 * Delayed answers, so that each guess of a token takes time. Delays are equal: the oldest answer is due first. `sweep`
 * writes due answers. Aborted exchanges are dropped.
 */
export class SlowedAnswers {
  readonly #delayMs: number
  readonly #most: number
  readonly #held = new Map<Exchange, { readonly dueMs: number; readonly reply: Reply }>()

  /** @param most  maximum number of delayed answers */
  constructor(delayMs: number, most: number) {
    this.#delayMs = delayMs
    this.#most = most
  }

  /** @returns false if too many answers are delayed; the calling code then answers the exchange */
  hold(exchange: Exchange, reply: Reply, nowMs: number): boolean {
    if (this.#held.size >= this.#most) return false
    this.#held.set(exchange, { dueMs: nowMs + this.#delayMs, reply })
    exchange.onOver(() => {
      this.#held.delete(exchange)
    })
    return true
  }

  sweep(nowMs: number): void {
    for (const [exchange, { dueMs, reply }] of this.#held) {
      if (dueMs > nowMs) return
      exchange.reply(reply)
    }
  }
}
