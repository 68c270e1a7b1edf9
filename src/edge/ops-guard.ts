import { createHash, timingSafeEqual } from 'node:crypto'
import { errorReply } from './http-exchange.js'
import type { Reply } from './http-exchange.js'

/** The headers of an ops request that decide whether it is let in. */
export interface OpsHead {
  readonly authorization: string
  readonly host: string
  readonly contentType: string
  readonly fetchSite: string
}

/**
 * Who may use the ops port. With a token: whoever brings it. Without one the port is for this machine, and then a
 * web page in the operator's browser must not be able to use it either: pages of other sites are refused by
 * `Sec-Fetch-Site`, names that were pointed here (DNS rebinding) by the Host, and forms by their content type.
 */
export class OpsGuard {
  readonly #tokenDigest: Buffer | null

  constructor(opsToken: string | null) {
    this.#tokenDigest = opsToken === null ? null : digest(opsToken)
  }

  /** @returns the refusal, or null. */
  check(head: OpsHead, method: 'GET' | 'POST'): Reply | null {
    if (head.fetchSite === 'cross-site' || head.fetchSite === 'same-site') {
      return errorReply(403, 'FORBIDDEN', 'pages of other sites may not use this port')
    }
    const refused = this.#tokenDigest === null ? checkHost(head.host) : this.#checkToken(head.authorization)
    if (refused !== null) return refused
    // A form can be sent to any site by any page; JSON cannot without asking, and we do not answer such questions.
    if (method === 'POST' && !/^application\/json\s*(;|$)/i.test(head.contentType)) {
      return errorReply(415, 'CONTENT_TYPE', 'POST with Content-Type: application/json, also where the body is empty')
    }
    return null
  }

  #checkToken(authorization: string): Reply | null {
    const given = /^Bearer +(\S+)$/i.exec(authorization)?.[1]
    if (given !== undefined && this.#tokenDigest !== null && timingSafeEqual(digest(given), this.#tokenDigest))
      return null
    return errorReply(401, 'UNAUTHORIZED', 'Authorization: Bearer with OPS_TOKEN is required', {
      headers: [['WWW-Authenticate', 'Bearer']],
    })
  }
}

/** An address or `localhost`; a name could be anybody's. */
function checkHost(host: string): Reply | null {
  const name = host.replace(/:\d+$/, '').toLowerCase()
  const address = /^(?:\d{1,3}\.){3}\d{1,3}$/.test(name) || /^\[[0-9a-f:.]+\]$/.test(name)
  if (address || name === 'localhost' || name.endsWith('.localhost')) return null
  return errorReply(403, 'FORBIDDEN', 'without OPS_TOKEN this port answers to an address or localhost only')
}

/** Of equal length whatever was given, as the comparison needs. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
