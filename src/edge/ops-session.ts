import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { CONSOLE_ACT_SESSION_S, CONSOLE_READ_SESSION_S } from '../core/limits.js'

/** What a session of the console may do: `read` looks at calls, `act` also commands them and calls. */
export const SESSION_RIGHTS = ['read', 'act'] as const
export type SessionRights = (typeof SESSION_RIGHTS)[number]

const COOKIE = /^(read|act)\.(\d{1,12})\.([A-Za-z0-9_-]{43})$/

/**
 * Sessions of the console, kept in a cookie that the page's scripts cannot read: rights, expiry, and an HMAC over both
 * with a key that is derived from OPS_TOKEN. Nothing is stored, so each process with that token accepts them, also
 * after a restart, and another token ends them all.
 */
export class ConsoleSessions {
  readonly #key: Buffer
  /** Cookies do not tell ports apart: gateways of one host with other tokens have other names. */
  readonly #name: string

  constructor(opsToken: string) {
    this.#key = Buffer.from(hkdfSync('sha256', opsToken, '', 'mkondo console session', 32))
    this.#name = `mkondo_${this.#mac('name').slice(0, 8)}`
  }

  /**
   * The `Set-Cookie` of a new session.
   * @param secure  the page came over TLS
   */
  open(rights: SessionRights, wallMs: number, secure: boolean): string {
    const seconds = rights === 'act' ? CONSOLE_ACT_SESSION_S : CONSOLE_READ_SESSION_S
    const head = `${rights}.${Math.floor(wallMs / 1000) + seconds}`
    return this.#cookie(`${head}.${this.#mac(head)}`, seconds, secure)
  }

  /** The `Set-Cookie` that ends a session in this browser. */
  close(secure: boolean): string {
    return this.#cookie('', 0, secure)
  }

  /** The rights of a request's `Cookie` header; null without a session that is valid now. */
  rightsOf(cookies: string, wallMs: number): SessionRights | null {
    for (const cookie of cookies.split(';')) {
      const at = cookie.indexOf('=')
      if (cookie.slice(0, at).trim() !== this.#name) continue
      const [, rights, expiresS, mac] = COOKIE.exec(cookie.slice(at + 1).trim()) ?? []
      if (rights === undefined || mac === undefined) continue
      const right = timingSafeEqual(Buffer.from(mac), Buffer.from(this.#mac(`${rights}.${expiresS}`)))
      if (right && Number(expiresS) * 1000 > wallMs) return rights as SessionRights
    }
    return null
  }

  #cookie(value: string, maxAgeS: number, secure: boolean): string {
    return `${this.#name}=${value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${maxAgeS}${secure ? '; Secure' : ''}`
  }

  #mac(text: string): string {
    return createHmac('sha256', this.#key).update(text).digest('base64url')
  }
}
