import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'

/** Sessions of the console: one that may act or listen, and one that may only read. */
const CONSOLE_ACT_SESSION_S = 8 * 3600
const CONSOLE_READ_SESSION_S = 24 * 3600

/**
 * Rights of a console session: `read` looks at calls, `act` also commands them and calls, `listen` also hears live calls and
 * needs another token.
 */
export const SESSION_RIGHTS = ['read', 'act', 'listen'] as const
export type SessionRights = (typeof SESSION_RIGHTS)[number]

/** `GET /api/session`. */
export interface Session {
  /** A token is needed here, or would be. */
  readonly login: boolean
  /** Null: log in first. */
  readonly rights: SessionRights | null
  readonly version?: string
  readonly agents?: readonly string[]
  readonly phone?: boolean
  /** Agents can be edited at this process. */
  readonly edit?: boolean
}

const LENGTH_S: Readonly<Record<SessionRights, number>> = {
  read: CONSOLE_READ_SESSION_S,
  act: CONSOLE_ACT_SESSION_S,
  listen: CONSOLE_ACT_SESSION_S,
}

const COOKIE = /^(read|act|listen)\.(\d{1,12})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})$/

/** Sessions that were ended before their time. Only who has OPS_TOKEN can open one; beyond this older ones end too. */
const ENDED_MAX = 10_000

/** A session as it is named when it ends. */
export interface EndedSession {
  readonly id: string
  /** Calendar time, in seconds, at which it would have ended by itself. */
  readonly expiresS: number
}

/**
 * Sessions of the console, kept in a cookie that the page's scripts cannot read: rights, expiry, a random name, and an
 * HMAC over them with a key that is derived from OPS_TOKEN. Open ones are not stored, so each process with that token
 * accepts them, and another token ends them all. Those that were ended are remembered until they would have ended by
 * themselves, in this process; so a process accepts none that is older than itself.
 */
export class ConsoleSessions {
  readonly #key: Buffer
  /** Cookies do not tell ports apart: gateways of one host with other tokens have other names. */
  readonly #name: string
  /** When each would have ended by itself, in the order in which they were ended. */
  readonly #ended = new Map<string, number>()
  readonly #startedS: number
  /** A session that ends no later than this may be one that was ended and is forgotten. */
  #floorS = 0

  /** @param startedMs  calendar time of the start of this process */
  constructor(opsToken: string, startedMs: number) {
    this.#startedS = Math.floor(startedMs / 1000)
    this.#key = Buffer.from(hkdfSync('sha256', opsToken, '', 'mkondo console session', 32))
    this.#name = `mkondo_${this.#mac('name').slice(0, 8)}`
  }

  /**
   * The `Set-Cookie` of a new session.
   * @param secure  the page came over TLS
   */
  open(rights: SessionRights, wallMs: number, secure: boolean): string {
    const head = `${rights}.${Math.floor(wallMs / 1000) + LENGTH_S[rights]}.${randomBytes(16).toString('base64url')}`
    return this.#cookie(`${head}.${this.#mac(head)}`, LENGTH_S[rights], secure)
  }

  /** The `Set-Cookie` by which a browser forgets its session. */
  forget(secure: boolean): string {
    return this.#cookie('', 0, secure)
  }

  /** From now on this session is not valid. */
  end({ id, expiresS }: EndedSession, wallMs: number): void {
    for (const [ended, endsS] of this.#ended) {
      const gone = endsS * 1000 <= wallMs
      if (!gone && this.#ended.size < ENDED_MAX) break
      this.#ended.delete(ended)
      if (!gone) this.#floorS = Math.max(this.#floorS, endsS)
    }
    this.#ended.set(id, expiresS)
  }

  /** The rights of a request's `Cookie` header; null without a session that is valid now. */
  rightsOf(cookies: string, wallMs: number): SessionRights | null {
    return this.sessionsOf(cookies, wallMs)[0]?.rights ?? null
  }

  /** The sessions of a request's `Cookie` header that are valid now. */
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
