import ipaddr from 'ipaddr.js'
import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import type { HttpRequest, HttpResponse } from './uws.js'

/** Entries of `X-Forwarded-For` that are looked at, from the right. */
const FORWARDED_HOPS_MAX = 32

/** Peers whose address is remembered as it was read: reading one takes longer than refusing a request. */
const PEERS_MAX = 4096

type Address = ipaddr.IPv4 | ipaddr.IPv6
type Network = [Address, number]

/**
 * Reads one trusted network: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
 * @returns undefined for anything else, and for a network of all addresses: with it each client could choose its own
 *   address
 */
export function parseNetwork(text: string): Network | undefined {
  const [address = '', prefix, ...rest] = text.split('/')
  const parsed = parseAddress(address)
  // An IPv4 address in IPv6 spelling never matches: addresses of peers are brought to IPv4 first.
  if (parsed === undefined || rest.length > 0 || (parsed.kind() === 'ipv4') !== address.includes('.')) return undefined
  const bits = parsed.kind() === 'ipv4' ? 32 : 128
  if (prefix === undefined) return [parsed, bits]
  const length = /^\d{1,3}$/.test(prefix) ? Number(prefix) : 0
  return length >= 1 && length <= bits ? [parsed, length] : undefined
}

/** Where a request comes from. */
export interface Client {
  /** `203.0.113.7` or `2001:db8:0:1::/64`. */
  readonly address: string
  /** The connection is of a trusted proxy, which has other clients as well. */
  readonly proxied: boolean
}

/**
 * Finds the client address of a request, for limits by address. An IPv4 address that is written as IPv6 counts as IPv4.
 * An IPv6 address is cut to its /64, because a client usually has that whole network.
 */
export class ClientAddresses {
  readonly #trusted: readonly Network[]
  readonly #peers = new LRUCache<string, Client>(atMost(PEERS_MAX))

  /** @param trustedProxies  networks as `parseNetwork` reads them; only their `X-Forwarded-For` is believed */
  constructor(trustedProxies: readonly string[]) {
    this.#trusted = trustedProxies.map((network) => {
      const parsed = parseNetwork(network)
      if (parsed === undefined) throw new RangeError(`'${network}' is no network`)
      return parsed
    })
  }

  of(res: HttpResponse, req: HttpRequest): Client {
    const text = peerOf(res)
    const peer = this.peer(text)
    return peer.proxied ? { address: this.client(text, () => forwardedFor(req)), proxied: true } : peer
  }

  /** The other end of a connection itself. */
  peer(text: string): Client {
    const known = this.#peers.get(text)
    if (known !== undefined) return known
    const hop = parseAddress(text)
    const peer = { address: hop === undefined ? text : keyOf(hop), proxied: hop !== undefined && this.#isTrusted(hop) }
    this.#peers.set(text, peer)
    return peer
  }

  /**
   * The client of a request that came from `peer`: the last hop that is no trusted proxy. `X-Forwarded-For` is read
   * from the right, as long as its entries are trusted proxies; the first other or unreadable entry ends it.
   * @param forwarded  the header's value, several headers joined with commas; read only for a trusted peer
   */
  client(peer: string, forwarded: () => string): string {
    let hop = parseAddress(peer)
    if (hop === undefined) return peer
    if (this.#isTrusted(hop)) {
      for (const entry of forwarded().split(',').slice(-FORWARDED_HOPS_MAX).reverse()) {
        const next = parseAddress(withoutPort(entry.trim()))
        if (next === undefined) break
        hop = next
        if (!this.#isTrusted(hop)) break
      }
    }
    return keyOf(hop)
  }

  #isTrusted(address: Address): boolean {
    return this.#trusted.some(([network, bits]) => network.kind() === address.kind() && address.match(network, bits))
  }
}

/** The address of the other end of a connection, as uWebSockets.js writes it; empty when the connection is gone. */
export function peerOf(res: HttpResponse): string {
  return Buffer.from(res.getRemoteAddressAsText()).toString('latin1')
}

/** All `X-Forwarded-For` headers in their order: a proxy may add a header of its own below the client's. */
function forwardedFor(req: HttpRequest): string {
  const values: string[] = []
  req.forEach((name, value) => {
    if (name === 'x-forwarded-for') values.push(value)
  })
  return values.join(',')
}

/** In four decimal parts or as IPv6 without a zone; an IPv4 address in IPv6 spelling comes out as IPv4. */
function parseAddress(text: string): Address | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text)
  return /^[0-9a-fA-F:.]{2,45}$/.test(text) && ipaddr.IPv6.isValid(text) ? ipaddr.process(text) : undefined
}

/** Some proxies write `203.0.113.7:50123` and `[2001:db8::1]:50123`. */
function withoutPort(entry: string): string {
  const match = /^\[([0-9a-fA-F:.]+)\](?::\d{1,5})?$/.exec(entry) ?? /^([\d.]+):\d{1,5}$/.exec(entry)
  return match?.[1] ?? entry
}

function keyOf(address: Address): string {
  if (address instanceof ipaddr.IPv4) return address.toString()
  return `${new ipaddr.IPv6([...address.parts.slice(0, 4), 0, 0, 0, 0]).toString()}/64`
}
