import ipaddr from 'ipaddr.js'
import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import type { HttpRequest, HttpResponse } from './uws.js'

/** Maximum number of entries of `X-Forwarded-For` that are read, from the right. */
const FORWARDED_HOPS_MAX = 32

/** Maximum number of peers whose parsed address is remembered: parsing takes longer than refusing a request. */
const PEERS_MAX = 4096

type Address = ipaddr.IPv4 | ipaddr.IPv6
type Network = [Address, number]

/**
 * Reads one trusted network: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
 * @returns undefined for any other text, and for a network of all addresses: clients could then choose their address
 */
export function parseNetwork(text: string): Network | undefined {
  const [address = '', prefix, ...rest] = text.split('/')
  const parsed = parseAddress(address)
  // An IPv4 address in IPv6 spelling never matches: addresses of peers are converted to IPv4 first.
  if (parsed === undefined || rest.length > 0 || (parsed.kind() === 'ipv4') !== address.includes('.')) return undefined
  const bits = parsed.kind() === 'ipv4' ? 32 : 128
  if (prefix === undefined) return [parsed, bits]
  const length = /^\d{1,3}$/.test(prefix) ? Number(prefix) : 0
  return length >= 1 && length <= bits ? [parsed, length] : undefined
}

/** Origin of a request. */
export interface Client {
  /** `203.0.113.7` or `2001:db8:0:1::/64`. */
  readonly address: string
  /** True if the connection belongs to a trusted proxy, which also sends requests of other clients. */
  readonly proxied: boolean
}

/**
 * Finds the client address of a request, for limits by address. An IPv4 address that is written as IPv6 counts as IPv4.
 * IPv6 addresses are cut to /64, which one client usually has.
 */
export class ClientAddresses {
  readonly #trusted: readonly Network[]
  readonly #peers = new LRUCache<string, Client>(atMost(PEERS_MAX))

  /**
   * @param trustedProxies  networks as `parseNetwork` reads them; `X-Forwarded-For` is used only from their addresses
   */
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

  /** Client address of a connection's peer. */
  peer(text: string): Client {
    const known = this.#peers.get(text)
    if (known !== undefined) return known
    const hop = parseAddress(text)
    const peer = { address: hop === undefined ? text : keyOf(hop), proxied: hop !== undefined && this.#isTrusted(hop) }
    this.#peers.set(text, peer)
    return peer
  }

  /**
   * Client of a request from `peer`: the last hop that is not a trusted proxy. `X-Forwarded-For` is read from the right
   * while its entries are trusted proxies. The search ends at the first entry that is unreadable or not a trusted
   * proxy.
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

/** The peer's address of a connection, as uWebSockets.js writes it; empty if the connection is closed. */
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

/**
 * Parses an address in four decimal parts or as IPv6 without a zone. An IPv4 address in IPv6 spelling is returned as
 * IPv4.
 */
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
