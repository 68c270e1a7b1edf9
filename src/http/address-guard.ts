import dns from 'node:dns'
import { isIP } from 'node:net'
import type { LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { IPv4, IPv6 } from 'ipaddr.js'
import { GatewayError } from '../core/errors.js'

/**
 * Which addresses a host may have.
 * - `public`: only addresses of the public internet.
 * - `private`: those, and private or loopback ones.
 * - `as-written`: any. For addresses that the operator wrote into the configuration.
 *
 * None of them allows the addresses where clouds keep credentials.
 */
export type AddressPolicy = 'public' | 'private' | 'as-written'

/**
 * Where clouds serve the credentials of the machine or of a container, by their own documentation. IPv4 link-local as a
 * whole: AWS (169.254.169.254, .170.2, .170.23), Azure, Google, Oracle and others, Scaleway (.42.42), Tencent (.0.23).
 */
const METADATA_V4 = [
  '169.254.0.0/16',
  '100.100.100.200/32', // Alibaba
  '168.63.129.16/32', // Azure, WireServer
  '192.0.0.192/32', // Oracle Cloud Classic
].map((range) => ipaddr.IPv4.parseCIDR(range))
const METADATA_V6 = [
  'fd00:ec2::/32', // AWS: instance metadata ::254, pod identity ::23
  'fd20:ce::/32', // Google: ::254
  'fd00:c1::/32', // Oracle: ::a9fe:a9fe
  'fd00:a9fe:a9fe::/48', // Akamai (Linode)
  'fd00:42::/32', // Scaleway: ::42
].map((range) => ipaddr.IPv6.parseCIDR(range))

/** Ranges of ipaddr.js, from the registries of IANA, that `private` opens besides the public ones. */
const INSIDE: readonly string[] = ['private', 'loopback', 'carrierGradeNat', 'uniqueLocal', 'deprecatedSiteLocal']
/** Meant for benchmarks, used by some internal networks; ipaddr.js calls it reserved. */
const BENCHMARK_V4 = ipaddr.IPv4.parseCIDR('198.18.0.0/15')
/** The range that IANA has allocated for the public internet; the rest of IPv6 has other uses or none yet. */
const PUBLIC_V6 = ipaddr.IPv6.parseCIDR('2000::/3')
/** IPv6 that carries IPv4 (SIIT, NAT64, 6to4, Teredo): a tool may never use it as public internet, see `carried`. */
const CARRIERS: readonly string[] = ['rfc6145', 'rfc6052', '6to4', 'teredo']

/** True when a connection to `address` (IPv4 or IPv6 text, mapped forms and zones included) is allowed. */
export function mayConnect(address: string, policy: AddressPolicy): boolean {
  const text = address.replace(/%.*$/, '')
  if (isIP(text) === 0) return false
  const plain = unmapped(ipaddr.parse(text))
  if (isMetadata(plain)) return false
  if (policy === 'as-written') return true
  if (!isV6(plain)) return mayReachV4(plain, policy)
  const range = plain.range()
  const inside = carried(plain)
  if (CARRIERS.includes(range)) return policy === 'private' && inside.every((ipv4) => mayReachV4(ipv4, policy))
  if (!inside.every((ipv4) => mayReachV4(ipv4, policy))) return false
  return (range === 'unicast' && plain.match(PUBLIC_V6)) || (policy === 'private' && INSIDE.includes(range))
}

function mayReachV4(address: IPv4, policy: AddressPolicy): boolean {
  const range = address.range()
  return range === 'unicast' || (policy === 'private' && (INSIDE.includes(range) || address.match(BENCHMARK_V4)))
}

function isV6(address: IPv4 | IPv6): address is IPv6 {
  return address.kind() === 'ipv6'
}

/**
 * `::ffff:127.0.0.1`, `::ffff:7f00:1` and `::7f00:1` as the IPv4 address that they are; `::` and `::1` are IPv6's own.
 */
function unmapped(address: IPv4 | IPv6): IPv4 | IPv6 {
  if (!isV6(address)) return address
  if (address.isIPv4MappedAddress()) return address.toIPv4Address()
  const bytes = address.toByteArray()
  const compatible = bytes.slice(0, 12).every((byte) => byte === 0) && bytes.slice(12, 15).some((byte) => byte !== 0)
  return compatible ? ipv4At(bytes, 12) : address
}

function ipv4At(bytes: readonly number[], at: number): IPv4 {
  return new ipaddr.IPv4(bytes.slice(at, at + 4))
}

/** The IPv4 addresses that a connection to an IPv6 address ends at, where its form says so. */
function carried(address: IPv6): IPv4[] {
  const bytes = address.toByteArray()
  switch (address.range()) {
    case 'rfc6145':
    case 'rfc6052':
      return [ipv4At(bytes, 12)]
    case '6to4':
      return [ipv4At(bytes, 2)]
    // The server's address, and the client's address with inverted bits.
    case 'teredo':
      return [
        ipv4At(bytes, 4),
        ipv4At(
          bytes.map((byte) => byte ^ 0xff),
          12,
        ),
      ]
    default:
  }
  // ISATAP: any prefix, then 0:5efe or 200:5efe and the address.
  const isatap = (bytes[8] === 0 || bytes[8] === 2) && bytes[9] === 0 && bytes[10] === 0x5e && bytes[11] === 0xfe
  return isatap ? [ipv4At(bytes, 12)] : []
}

/**
 * Also inside of IPv6: in the known forms, and in the last four bytes of any address, as in a network's own NAT64
 * prefix.
 */
function isMetadata(address: IPv4 | IPv6): boolean {
  const isV4Metadata = (ipv4: IPv4): boolean => METADATA_V4.some((range) => ipv4.match(range))
  if (!isV6(address)) return isV4Metadata(address)
  const bytes = address.toByteArray()
  // RFC 6052 puts the address around the eighth byte, which is skipped, where the prefix is shorter than 96 bits.
  const skipped = [...bytes.slice(0, 8), ...bytes.slice(9)]
  const nat64 = address.range() === 'rfc6052' ? [6, 7, 8].map((at) => ipv4At(skipped, at)) : []
  return (
    METADATA_V6.some((range) => address.match(range)) ||
    [...carried(address), ipv4At(bytes, 12), ...nat64].some(isV4Metadata)
  )
}

/** A URL writes an IPv6 address as `[::1]`. */
function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '')
}

/**
 * Why a connection to a host that is an address is refused. Null for an allowed address, and for a name, which
 * `guardedLookup` checks. Node does not look up an address, so the check of names does not see it.
 */
export function refusedAddress(hostname: string, policy: AddressPolicy): GatewayError | null {
  const address = withoutBrackets(hostname)
  if (isIP(address) === 0 || mayConnect(address, policy)) return null
  return new GatewayError(
    'TOOL_FORBIDDEN_HOST',
    `${hostname} is an address that no tool may reach: clouds keep their credentials there`,
  )
}

/** The policy for a tool's host: an address or `localhost` in the file is intended, a name is checked. */
export function policyFor(hostname: string, allowPrivate: boolean): AddressPolicy {
  if (isIP(withoutBrackets(hostname)) !== 0 || hostname === 'localhost') return 'as-written'
  return allowPrivate ? 'private' : 'public'
}

/** `dns.lookup` as it is at the time: see `installNameLookup`. */
const systemLookup = ((...args: Parameters<typeof dns.lookup>) => dns.lookup(...args)) as typeof dns.lookup

/**
 * A `lookup` for `node:net` that checks what the name resolved to, at the moment of connecting: a name that
 * changes its address between a check and the connection cannot get past it.
 */
export function guardedLookup(policy: AddressPolicy, resolve = systemLookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) {
        callback(error, [])
        return
      }
      const allowed = addresses.filter(({ address }) => mayConnect(address, policy))
      const [first] = allowed
      if (first === undefined) {
        callback(
          new GatewayError(
            'TOOL_FORBIDDEN_HOST',
            `${hostname} resolves to no address that this tool may reach (${policy} addresses only)`,
          ),
          [],
        )
      } else if (options.all === true) callback(null, allowed)
      else callback(null, first.address, first.family)
    })
  }
}
