import type { Client } from '../http/client-address.js'
import { RateLimit } from '../../core/rate-limit.js'
import type { Clock } from '../../core/clock.js'
import type { HttpResponse } from '../http/uws.js'
import type { WebhookGuard } from './webhook-guard.js'

/**
 * Time in s after which uWebSockets.js closes a connection without a complete head. Its limit is ten seconds, and it
 * checks the limit every four seconds.
 */
const HEAD_S_MAX = 14
/** Share of the file descriptors for the connections of one unproven address; at least ten connections. */
const ADDRESS_SHARE = 1 / 8
const ADDRESS_MIN = 10
/** Number of descriptors that is used if the system does not report its limit. */
const DESCRIPTORS_USUAL = 65_536
/** Maximum number of addresses whose connections are counted. */
const ADDRESSES_MAX = 10_000

/**
 * Connections that have not sent a complete head yet, the oldest first. uWebSockets.js gives a handle when a connection
 * opens, and does not show on which connection a request came. So a handle is kept only while it is certainly valid:
 * until the connection closes, or any request comes from its address. Later connections of this address are limited
 * only by its share.
 */
export class UnprovenConnections {
  readonly #guard: WebhookGuard
  readonly #clock: Clock
  readonly #opened: RateLimit
  readonly #waiting = new Set<HttpResponse>()
  readonly #byPeer = new Map<string, Set<HttpResponse>>()

  /** @param descriptors  limit of the process; null if unknown */
  constructor(descriptors: number | null, guard: WebhookGuard, clock: Clock) {
    this.#guard = guard
    this.#clock = clock
    // Half of the address's share may open at once. The other half may open while uWebSockets.js closes the first half.
    const burst = Math.max(ADDRESS_MIN, ((descriptors ?? DESCRIPTORS_USUAL) * ADDRESS_SHARE) / 2)
    this.#opened = new RateLimit({ burst, perSecond: burst / HEAD_S_MAX, keysMax: ADDRESSES_MAX })
  }

  /**
   * Takes a connection that was opened. A known carrier and a trusted proxy may open any number. Another address's
   * connection is closed at once if the time for unproven work is used up. It is also closed if descriptors are scarce
   * and the address has used its share.
   * @param peer  its peer's address from `peerOf`
   */
  opened(res: HttpResponse, peer: string, client: Client, scarce: boolean): void {
    const { work } = this.#guard
    if (client.proxied || work.isKnown(client.address)) return
    const hasShare = this.#opened.take(client.address, this.#clock()) > 0
    const why = work.spent ? 'tick' : scarce && hasShare ? 'share' : null
    work.connection()
    if (why !== null) {
      this.#guard.countClosed(why)
      res.close()
      return
    }
    const ofPeer = this.#byPeer.get(peer) ?? new Set()
    this.#byPeer.set(peer, ofPeer.add(res))
    this.#waiting.add(res)
    res.onAborted(() => this.#forget(res, peer))
  }

  /** Notes a request from this address: its handler may end, close or upgrade any of the address's connections. */
  requested(peer: string): void {
    for (const res of this.#byPeer.get(peer) ?? []) this.#waiting.delete(res)
    this.#byPeer.delete(peer)
  }

  /** Closes the connection that has waited longest, if there is one. */
  evict(): void {
    const [oldest] = this.#waiting
    if (oldest === undefined) return
    this.#guard.countClosed('evicted')
    oldest.close() // `close` also forgets it
  }

  #forget(res: HttpResponse, peer: string): void {
    this.#waiting.delete(res)
    const ofPeer = this.#byPeer.get(peer)
    ofPeer?.delete(res)
    if (ofPeer?.size === 0) this.#byPeer.delete(peer)
  }
}
