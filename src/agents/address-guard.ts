import { lookup } from 'node:dns'
import { BlockList, isIP } from 'node:net'
import type { LookupFunction } from 'node:net'
import { GatewayError } from '../core/errors.js'

/**
 * Which addresses a host name may stand for.
 * - `public`: only addresses of the public internet.
 * - `private`: those, and private or loopback ones; never link-local, where clouds keep their credentials.
 * - `as-written`: whatever it is. For an address or `localhost` that the operator wrote out.
 */
export type AddressPolicy = 'public' | 'private' | 'as-written'

/** Nobody means these by a name: this network, link-local (cloud metadata), multicast, reserved. */
const never = new BlockList()
never.addSubnet('0.0.0.0', 8, 'ipv4')
never.addSubnet('169.254.0.0', 16, 'ipv4')
never.addSubnet('224.0.0.0', 3, 'ipv4')
never.addAddress('::', 'ipv6')
never.addSubnet('fe80::', 10, 'ipv6')
never.addSubnet('ff00::', 8, 'ipv6')

/** IANA special-purpose registries, without the ones above; tunnels (6to4, NAT64) may end inside, so they count too. */
const inside = new BlockList()
for (const [network, prefix] of [
  ['10.0.0.0', 8], ['100.64.0.0', 10], ['127.0.0.0', 8], ['172.16.0.0', 12], ['192.0.0.0', 24], ['192.0.2.0', 24],
  ['192.168.0.0', 16], ['198.18.0.0', 15], ['198.51.100.0', 24], ['203.0.113.0', 24],
] as const) inside.addSubnet(network, prefix, 'ipv4')
for (const [network, prefix] of [
  ['::1', 128], ['64:ff9b::', 96], ['64:ff9b:1::', 48], ['100::', 64], ['2001:db8::', 32], ['2002::', 16],
  ['fc00::', 7],
] as const) inside.addSubnet(network, prefix, 'ipv6')

/** True when a connection to `address` (IPv4 or IPv6 text, mapped forms included) is allowed. */
export function mayConnect(address: string, policy: AddressPolicy): boolean {
  if (policy === 'as-written') return true
  const plain = unmapped(address)
  const family = isIP(plain)
  if (family === 0) return false
  const type = family === 4 ? 'ipv4' : 'ipv6'
  if (never.check(plain, type)) return false
  return policy === 'private' || !inside.check(plain, type)
}

/** `::ffff:127.0.0.1`, `::ffff:7f00:1` and `::7f00:1` as the IPv4 address they reach. */
function unmapped(address: string): string {
  if (isIP(address) !== 6) return address
  // The URL parser writes every form of an IPv6 address in one way: ::ffff:7f00:1.
  const canonical = new URL(`http://[${address.replace(/%.*$/, '')}]`).hostname.slice(1, -1)
  const match = /^::(?:ffff:)?([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical)
  if (match === null) return canonical
  const high = Number.parseInt(match[1] ?? '0', 16)
  const low = Number.parseInt(match[2] ?? '0', 16)
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

/** The policy for a host that stands in configuration: what was written out is meant, a name is checked. */
export function policyFor(hostname: string, allowPrivate: boolean): AddressPolicy {
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0 || hostname === 'localhost') return 'as-written'
  return allowPrivate ? 'private' : 'public'
}

/**
 * A `lookup` for `node:net` that checks what the name resolved to, at the moment of connecting: a name that
 * changes its address between a check and the connection cannot get past it.
 */
export function guardedLookup(policy: AddressPolicy, resolve: typeof lookup = lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) {
        callback(error, [])
        return
      }
      const allowed = addresses.filter(({ address }) => mayConnect(address, policy))
      const [first] = allowed
      if (first === undefined) {
        callback(new GatewayError('TOOL_FORBIDDEN_HOST',
          `${hostname} resolves to no address that this tool may reach (${policy} addresses only)`), [])
      } else if (options.all === true) callback(null, allowed)
      else callback(null, first.address, first.family)
    })
  }
}
