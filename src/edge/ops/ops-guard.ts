import { createHash, timingSafeEqual } from 'node:crypto'
import type { WallClock } from '../../core/clock.js'
import { errorReply } from '../http/reply.js'
import type { Exchange } from '../http/http-exchange.js'
import type { Reply } from '../http/reply.js'
import { RateLimit } from '../../core/rate-limit.js'
import { accessOf, mayUse } from './ops-rights.js'
import type { OpsAccess, OpsRoute } from './ops-rights.js'
import { ConsoleSessions } from './ops-session.js'
import type { EndedSession, SessionRights } from './ops-session.js'

/** Wrong tokens of one address that the ops port answers at once, and how many more of them each second later on. */
export const OPS_WRONG_TOKENS_BURST = 10
const OPS_WRONG_TOKENS_PER_S = 0.1
const OPS_WRONG_TOKENS_ADDRESSES_MAX = 1000

/** `SOCKET`: the upgrade of the softphone, which acts. */
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
  /** True after too many wrong tokens of this address: the answer is held. */
  readonly slow: boolean
}

/**
 * Who may use the ops port. With a token set: requests that carry it. Without one the port is for this machine. Web
 * pages in the operator's browser must not reach it: `Sec-Fetch-Site` refuses pages of other sites, the origin those that
 * would act from another host than the one they ask, and the content type refuses forms. Without a token the Host refuses
 * names that were pointed here (DNS rebinding); with one such a page has no cookie. A POST that has no body needs no
 * content type, unless it carries an Origin or a Sec-Fetch-Site, as a page's does.
 *
 * The right token is always admitted, whatever else comes from its address: a stranger cannot lock the operator out.
 */
export class OpsGuard {
  /** Null: no token is needed. */
  readonly #tokens: { readonly all: Buffer; readonly metrics: Buffer | null; readonly listen: Buffer | null } | null
  /** Null: no token is needed, so there is nothing to exchange for a session. */
  readonly #sessions: ConsoleSessions | null
  readonly #wrongTokens = new RateLimit({
    perSecond: OPS_WRONG_TOKENS_PER_S,
    burst: OPS_WRONG_TOKENS_BURST,
    keysMax: OPS_WRONG_TOKENS_ADDRESSES_MAX,
  })

  readonly #ofNumbers: ReadonlyMap<string, ReadonlySet<string>>

  /**
   * @param opsReadToken  reads metrics; counts beside an `opsToken` only, as do
   * @param opsListenToken  may listen, too; null: nobody may where there is an `opsToken`
   * @param ofNumbers  tokens for the calls of some of our numbers, by their SHA-256, hex
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
   * @param route  whose row says which right it needs
   * @param wallMs  calendar, for sessions
   * @returns the refusal, or null
   */
  check(head: OpsHead, method: OpsMethod, route: OpsRoute, nowMs: number, wallMs: number): OpsRefusal | null {
    const access = accessOf(route)
    // A browser sends no Sec-Fetch-Site with a socket, nor an old one with anything: what acts goes by the origin too.
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
    // Any page can send a form to any site; JSON needs a CORS preflight, which this port does not answer.
    if (method === 'POST' && !/^application\/json\s*(;|$)/i.test(head.contentType) && !isBare(head)) {
      return refusal(
        'content-type',
        errorReply(415, 'CONTENT_TYPE', 'POST with Content-Type: application/json; without a body, no web page may'),
      )
    }
    return null
  }

  /** The numbers to whose calls a request with a token is limited; null: to none. Of a request that was admitted. */
  numbersOf({ authorization }: OpsHead): ReadonlySet<string> | null {
    const given = bearerOf(authorization)
    return this.#tokens === null || given === undefined
      ? null
      : (this.#ofNumbers.get(digest(given).toString('hex')) ?? null)
  }

  /** Name of the session of an admitted request, or else its address: what it takes of a share counts there. */
  holderOf({ cookie, address, authorization }: OpsHead, wallMs: number): string {
    const session = authorization === '' ? this.#sessions?.sessionsOf(cookie, wallMs)[0]?.id : undefined
    return session === undefined ? `address ${address}` : `session ${session}`
  }

  /** Rights of the console's page: all where no token is needed; null without a session. */
  rights({ cookie }: OpsHead, wallMs: number): SessionRights | null {
    return this.#sessions === null ? 'listen' : this.#sessions.rightsOf(cookie, wallMs)
  }

  /**
   * Exchanges OPS_TOKEN for a session.
   * @returns the value of `Set-Cookie`, or the refusal
   */
  logIn(head: OpsHead, token: string, rights: SessionRights, nowMs: number, wallMs: number): string | OpsRefusal {
    if (this.#sessions === null)
      return refusal('token-wrong', errorReply(409, 'BAD_REQUEST', 'this port needs no token: OPS_TOKEN is not set'))
    const wanted = { right: rights === 'listen' ? 'listen' : 'act', ofNumbers: false } as const
    const refused = this.#checkToken({ ...head, authorization: `Bearer ${token}` }, wanted, nowMs)
    return refused ?? this.#sessions.open(rights, wallMs, isSecure(head))
  }

  /**
   * Ends the sessions of this browser. Null where there are none.
   * @returns the value of `Set-Cookie`, and what other nodes have to end
   */
  logOut(head: OpsHead, wallMs: number): { readonly cookie: string; readonly ended: readonly EndedSession[] } | null {
    if (this.#sessions === null) return null
    const ended = this.#sessions.sessionsOf(head.cookie, wallMs).map(({ id, expiresS }) => ({ id, expiresS }))
    for (const session of ended) this.#sessions.end(session, wallMs)
    return { cookie: this.#sessions.forget(isSecure(head)), ended }
  }

  /** Another node says that a session was ended there. */
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
    // All are always compared, so that the time does not tell which one matched.
    const isAll = this.#tokens !== null && timingSafeEqual(found, this.#tokens.all)
    const isMetrics = this.#tokens?.metrics != null && timingSafeEqual(found, this.#tokens.metrics)
    const isListen = this.#tokens?.listen != null && timingSafeEqual(found, this.#tokens.listen)
    if (isListen) return mayUse('listen', access) ? null : MAY_NOT_LISTEN
    if (isAll) return mayUse('act', access) ? null : MAY_NOT_LISTEN
    // The table is of digests: the time of a look-up tells nothing of a token.
    if (this.#ofNumbers.has(found.toString('hex'))) return mayUse('of-numbers', access) ? null : OF_NUMBERS
    if (isMetrics && mayUse('OPS_READ_TOKEN', access)) return null
    if (isMetrics)
      return refusal(
        'token-read-only',
        errorReply(403, 'FORBIDDEN', 'OPS_READ_TOKEN reads metrics only; this wants OPS_TOKEN'),
      )
    return refusal('token-wrong', unauthorized(access), this.#wrongTokens.take(address, nowMs) > 0)
  }
}

/** The parts of an ops request that decide whether it is admitted. */
export interface OpsHead {
  readonly authorization: string
  readonly cookie: string
  readonly host: string
  readonly contentType: string
  readonly contentLength: string
  readonly transferEncoding: string
  readonly origin: string
  readonly fetchSite: string
  /** Address of the socket's other end. */
  readonly address: string
}

function bearerOf(authorization: string): string | undefined {
  return /^Bearer +(\S+)$/i.exec(authorization)?.[1]
}

const OF_NUMBERS: OpsRefusal = refusal(
  'token-of-numbers',
  errorReply(403, 'FORBIDDEN', 'this token has the right to the calls of its own numbers only; this wants OPS_TOKEN'),
)

const MAY_NOT_LISTEN: OpsRefusal = refusal(
  'no-right-to-listen',
  errorReply(
    403,
    'FORBIDDEN',
    'hearing callers, live, recorded or in a journal, is a right of its own: this wants OPS_LISTEN_TOKEN, or a session opened with it',
  ),
)

/** A request without a body, as `curl -X POST` sends it. Every browser adds an Origin to a POST. */
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

/** True for a page of this port. A program sends no Origin, and no page can leave it out of a POST or a socket. */
function isOwnOrigin({ origin, host }: OpsHead): boolean {
  return origin === '' || /^https?:\/\/(.*)$/i.exec(origin)?.[1]?.toLowerCase() === host.toLowerCase()
}

function isSecure({ origin }: OpsHead): boolean {
  return origin.startsWith('https:')
}

/** An address or `localhost`: any other name could belong to a stranger. */
function checkHost(host: string): OpsRefusal | null {
  const name = host.replace(/:\d+$/, '').toLowerCase()
  const address = /^(?:\d{1,3}\.){3}\d{1,3}$/.test(name) || /^\[[0-9a-f:.]+\]$/.test(name)
  if (address || name === 'localhost' || name.endsWith('.localhost')) return null
  return refusal(
    'host',
    errorReply(403, 'FORBIDDEN', 'without OPS_TOKEN this port answers to an address or localhost only'),
  )
}

/** The comparison needs equal lengths. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/**
 * Answers that are held for a while, so that a guesser waits for each guess. All are held equally long, so the oldest
 * is always first; `sweep` writes those that are due. An aborted exchange is dropped.
 */
export class SlowedAnswers {
  readonly #delayMs: number
  readonly #most: number
  readonly #held = new Map<Exchange, { readonly dueMs: number; readonly reply: Reply }>()

  /** @param most  answers held at once */
  constructor(delayMs: number, most: number) {
    this.#delayMs = delayMs
    this.#most = most
  }

  /** @returns false when too many are held already: the caller answers the exchange */
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
