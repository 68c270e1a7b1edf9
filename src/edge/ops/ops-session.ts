import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'

/** Duration in s of a session that may act or listen, and of a session that only reads. */
const CONSOLE_ACT_SESSION_S = 8 * 3600
const CONSOLE_READ_SESSION_S = 24 * 3600

/**
 * Rights of a console session. `read` reads calls. `act` also gives commands and places calls. `listen` also hears live
 * calls, and needs another token.
 */
export const SESSION_RIGHTS = ['read', 'act', 'listen'] as const
export type SessionRights = (typeof SESSION_RIGHTS)[number]

/** Body of `POST /api/login`. */
export const loginSchema = z.object({
  token: z.string().regex(/^\S+$/).describe('OPS_TOKEN; for `listen` OPS_LISTEN_TOKEN.'),
  rights: z.enum(SESSION_RIGHTS),
})

/** Answer of `GET /api/session`. */
export interface Session {
  /** True if the port requires a token. */
  readonly login: boolean
  /** Rights of the session; null if the operator must log in first. */
  readonly rights: SessionRights | null
  readonly version?: string
  readonly agents?: readonly string[]
  readonly phone?: boolean
  /** True if agents can be edited at this process. */
  readonly edit?: boolean
}

const LENGTH_S: Readonly<Record<SessionRights, number>> = {
  read: CONSOLE_READ_SESSION_S,
  act: CONSOLE_ACT_SESSION_S,
  listen: CONSOLE_ACT_SESSION_S,
}

const COOKIE = /^(read|act|listen)\.(\d{1,12})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})$/

/**
 * Maximum number of remembered sessions that were ended before their expiry. Above this number, older sessions end too.
 */
const ENDED_MAX = 10_000

/** Session that was ended. */
export interface EndedSession {
  readonly id: string
  /** Calendar time in s at which the session would have expired. */
  readonly expiresS: number
}

/**
 * Sessions of the console. A session is a cookie that the page's scripts cannot read: rights, expiry, a random name,
 * and an HMAC over them. The key of the HMAC is derived from OPS_TOKEN. Open sessions are not stored: each process with
 * the same token accepts them, and a new token ends all of them.
 * A process remembers sessions that were ended, until their expiry. It does not accept a session that is older than the
 * process, because the session may have been ended before.
 */
export class ConsoleSessions {
  readonly #key: Buffer
  /** Name of the cookie. It depends on the token, because a browser sends the cookies of one host to all its ports. */
  readonly #name: string
  /** Expiry of each ended session, by the session's id; in the order in which the sessions were ended. */
  readonly #ended = new Map<string, number>()
  readonly #startedS: number
  /** Latest expiry in s among the ended sessions that were forgotten. Sessions up to this expiry are refused. */
  #floorS = 0

  /** @param startedMs  calendar time at which this process started */
  constructor(opsToken: string, startedMs: number) {
    this.#startedS = Math.floor(startedMs / 1000)
    this.#key = Buffer.from(hkdfSync('sha256', opsToken, '', 'mkondo console session', 32))
    this.#name = `mkondo_${this.#mac('name').slice(0, 8)}`
  }

  /**
   * Makes the `Set-Cookie` of a new session.
   * @param secure  true if the page came over TLS
   */
  open(rights: SessionRights, wallMs: number, secure: boolean): string {
    const head = `${rights}.${Math.floor(wallMs / 1000) + LENGTH_S[rights]}.${randomBytes(16).toString('base64url')}`
    return this.#cookie(`${head}.${this.#mac(head)}`, LENGTH_S[rights], secure)
  }

  /** `Set-Cookie` header that makes a browser forget its session. */
  forget(secure: boolean): string {
    return this.#cookie('', 0, secure)
  }

  /** Ends a session: it is not valid any more. */
  end({ id, expiresS }: EndedSession, wallMs: number): void {
    for (const [ended, endsS] of this.#ended) {
      const gone = endsS * 1000 <= wallMs
      if (!gone && this.#ended.size < ENDED_MAX) break
      this.#ended.delete(ended)
      if (!gone) this.#floorS = Math.max(this.#floorS, endsS)
    }
    this.#ended.set(id, expiresS)
  }

  /** Rights of a request by its `Cookie` header; null without a valid session. */
  rightsOf(cookies: string, wallMs: number): SessionRights | null {
    return this.sessionsOf(cookies, wallMs)[0]?.rights ?? null
  }

  /** Valid sessions in a request's `Cookie` header. */
  sessionsOf(cookies: string, wallMs: number): (EndedSession & { readonly rights: SessionRights })[] {
    return cookies.split(';').flatMap((cookie) => {
      const at = cookie.indexOf('=')
      if (cookie.slice(0, at).trim() !== this.#name) return []
      const [, rights, expires, id, mac] = COOKIE.exec(cookie.slice(at + 1).trim()) ?? []
      if (rights === undefined || id === undefined || mac === undefined) return []
      if (!timingSafeEqual(Buffer.from(mac), Buffer.from(this.#mac(`${rights}.${expires}.${id}`)))) return []
      const session = { rights: rights as SessionRights, expiresS: Number(expires), id }
      return this.#isValid(session, wallMs) ? [session] : []
    })
  }

  #isValid({ rights, expiresS, id }: EndedSession & { readonly rights: SessionRights }, wallMs: number): boolean {
    const openedS = expiresS - LENGTH_S[rights]
    return expiresS * 1000 > wallMs && expiresS > this.#floorS && openedS >= this.#startedS && !this.#ended.has(id)
  }

  #cookie(value: string, maxAgeS: number, secure: boolean): string {
    return `${this.#name}=${value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${maxAgeS}${secure ? '; Secure' : ''}`
  }

  #mac(text: string): string {
    return createHmac('sha256', this.#key).update(text).digest('base64url')
  }
}
