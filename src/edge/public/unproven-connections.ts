import type { Client } from '../http/client-address.js'
import { RateLimit } from '../../core/rate-limit.js'
import type { Clock } from '../../core/clock.js'
import type { HttpResponse } from '../http/uws.js'
import type { WebhookGuard } from './webhook-guard.js'

/** uWebSockets.js closes a connection that sends no whole head after this: ten seconds, looked at every four. */
const HEAD_S_MAX = 14
/** Share of the file descriptors for the connections of one address that has proven nothing; at least ten connections. */
const ADDRESS_SHARE = 1 / 8
const ADDRESS_MIN = 10
/** Where the system does not say how many there are. */
const DESCRIPTORS_USUAL = 65_536
/** Addresses whose connections are counted. */
const ADDRESSES_MAX = 10_000

/**
 * Connections that have sent no whole head yet, the oldest first. uWebSockets.js gives a handle when a connection opens and
 * no identity with a request: nothing tells on which connection a request came. So a handle is held only while it is certain
 * that it is valid: until the connection closes, or any request comes from its address. From then on the connections of that
 * address are bounded by its share alone.
 */
export class UnprovenConnections {
  readonly #guard: WebhookGuard
  readonly #clock: Clock
  readonly #opened: RateLimit
  readonly #waiting = new Set<HttpResponse>()
  readonly #byPeer = new Map<string, Set<HttpResponse>>()

  /** @param descriptors  that the process may have; null: not known */
  constructor(descriptors: number | null, guard: WebhookGuard, clock: Clock) {
    this.#guard = guard
    this.#clock = clock
    // Connections that an address may open at once, and again while uWebSockets.js gives them up: together its share.
    const burst = Math.max(ADDRESS_MIN, ((descriptors ?? DESCRIPTORS_USUAL) * ADDRESS_SHARE) / 2)
    this.#opened = new RateLimit({ burst, perSecond: burst / HEAD_S_MAX, keysMax: ADDRESSES_MAX })
  }

  /**
   * A connection was opened. A known carrier and a trusted proxy may open any number; another address is closed at once
   * where there is no time for it, or it has its share and descriptors are scarce.
   * @param peer  its other end as `peerOf` gives it
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

  /** A request came from there: its handler may end, close or upgrade any of the connections from there. */
  requested(peer: string): void {
    for (const res of this.#byPeer.get(peer) ?? []) this.#waiting.delete(res)
    this.#byPeer.delete(peer)
  }

  /** Closes the connection that has waited longest; nothing where there is none. */
  evict(): void {
    const [oldest] = this.#waiting
    if (oldest === undefined) return
    this.#guard.countClosed('evicted')
    oldest.close() // and forgets it
  }

  #forget(res: HttpResponse, peer: string): void {
    this.#waiting.delete(res)
    const ofPeer = this.#byPeer.get(peer)
    ofPeer?.delete(res)
    if (ofPeer?.size === 0) this.#byPeer.delete(peer)
  }
}
