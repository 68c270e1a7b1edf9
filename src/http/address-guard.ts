import dns from 'node:dns'
import { isIP } from 'node:net'
import type { LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { IPv4, IPv6 } from 'ipaddr.js'
import { GatewayError } from '../core/errors.js'

/**
 * Policy for the addresses of a host. `public`: only addresses of the public internet. `private`: public, private and
 * loopback addresses. `as-written`: every address, for hosts that the operator wrote into the configuration. All three
 * policies exclude addresses at which clouds serve credentials.
 */
export type AddressPolicy = 'public' | 'private' | 'as-written'

/**
 * Addresses at which clouds serve the credentials of the machine or of a container, according to their documentation.
 * The IPv4 link-local range is excluded as a whole. This range is used by AWS and most clouds (169.254.169.254, .170.2,
 * .170.23), by Scaleway (.42.42) and by Tencent (.0.23).
 */
const METADATA_V4 = [
  '169.254.0.0/16',
  '100.100.100.200/32', // Alibaba
  '168.63.129.16/32', // WireServer
  '192.0.0.192/32', // Oracle Cloud Classic
].map((range) => ipaddr.IPv4.parseCIDR(range))
const METADATA_V6 = [
  'fd00:ec2::/32', // AWS: instance metadata ::254, pod identity ::23
  'fd20:ce::/32', // metadata.goog: ::254
  'fd00:c1::/32', // Oracle: ::a9fe:a9fe
  'fd00:a9fe:a9fe::/48', // Akamai (Linode)
  'fd00:42::/32', // Scaleway: ::42
].map((range) => ipaddr.IPv6.parseCIDR(range))

/** Ranges of ipaddr.js, from the registries of IANA, that `private` allows in addition to the public ranges. */
const INSIDE: readonly string[] = ['private', 'loopback', 'carrierGradeNat', 'uniqueLocal', 'deprecatedSiteLocal']
/** Range for benchmarks, which some internal networks use; ipaddr.js calls it reserved. */
const BENCHMARK_V4 = ipaddr.IPv4.parseCIDR('198.18.0.0/15')
/** IPv6 range that IANA has allocated for the public internet. All other IPv6 ranges have other uses or none yet. */
const PUBLIC_V6 = ipaddr.IPv6.parseCIDR('2000::/3')
/**
 * IPv6 ranges whose addresses contain IPv4 addresses (SIIT, NAT64, 6to4, Teredo). They never count as public internet;
 * see `carried`.
 */
const CARRIERS: readonly string[] = ['rfc6145', 'rfc6052', '6to4', 'teredo']

/**
 * True if a connection to `address` is allowed. `address` is an IPv4 or IPv6 text, including mapped forms and zones.
 */
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
 * Returns an IPv4 address that is written as IPv6 (`::ffff:127.0.0.1`, `::ffff:7f00:1`, `::7f00:1`) as IPv4. `::` and
 * `::1` are addresses of IPv6 itself.
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

/**
 * Returns the IPv4 addresses that are contained in an IPv6 address. A connection to the IPv6 address may lead to these
 * addresses.
 */
function carried(address: IPv6): IPv4[] {
  const bytes = address.toByteArray()
  switch (address.range()) {
    case 'rfc6145':
    case 'rfc6052':
      return [ipv4At(bytes, 12)]
    case '6to4':
      return [ipv4At(bytes, 2)]
    // A Teredo address contains the server's address, and the client's address with inverted bits.
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
  // ISATAP: any prefix, then 0:5efe or 200:5efe, then the IPv4 address.
  const isatap = (bytes[8] === 0 || bytes[8] === 2) && bytes[9] === 0 && bytes[10] === 0x5e && bytes[11] === 0xfe
  return isatap ? [ipv4At(bytes, 12)] : []
}

/**
 * True for an address that serves credentials. In an IPv6 address, all IPv4 addresses that it may contain are checked
 * too. The last four bytes are always checked, because a network may have its own NAT64 prefix.
 */
function isMetadata(address: IPv4 | IPv6): boolean {
  const isV4Metadata = (ipv4: IPv4): boolean => METADATA_V4.some((range) => ipv4.match(range))
  if (!isV6(address)) return isV4Metadata(address)
  const bytes = address.toByteArray()
  // With a prefix shorter than 96 bits, RFC 6052 puts the IPv4 address around byte 8, so this byte is skipped.
  const skipped = [...bytes.slice(0, 8), ...bytes.slice(9)]
  const nat64 = address.range() === 'rfc6052' ? [6, 7, 8].map((at) => ipv4At(skipped, at)) : []
  return (
    METADATA_V6.some((range) => address.match(range)) ||
    [...carried(address), ipv4At(bytes, 12), ...nat64].some(isV4Metadata)
  )
}

/** Removes the brackets of an IPv6 address in a URL: `[::1]`. */
function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '')
}

/**
 * Returns the fault of a connection to a host that is written as an address; null for an allowed address. A name is
 * also null, because `guardedLookup` checks the name's addresses. `guardedLookup` does not check a written address,
 * because Node does not look it up.
 */
export function refusedAddress(hostname: string, policy: AddressPolicy): GatewayError | null {
  const address = withoutBrackets(hostname)
  if (isIP(address) === 0 || mayConnect(address, policy)) return null
  return new GatewayError(
    'TOOL_FORBIDDEN_HOST',
    `${hostname} is an address that no tool may reach: clouds keep their credentials there`,
  )
}

/**
 * Returns the policy for a tool's host. A host that the file gives as an address or `localhost` is allowed, because the
 * author wants it. A name's addresses are checked.
 */
export function policyFor(hostname: string, allowPrivate: boolean): AddressPolicy {
  if (isIP(withoutBrackets(hostname)) !== 0 || hostname === 'localhost') return 'as-written'
  return allowPrivate ? 'private' : 'public'
}

/** Calls the present `dns.lookup`, because `installNameLookup` may replace it. */
const systemLookup = ((...args: Parameters<typeof dns.lookup>) => dns.lookup(...args)) as typeof dns.lookup

/**
 * Returns a `lookup` for `node:net` that checks the name's addresses when the connection is opened. Therefore the
 * address of a name cannot change between the check and the connection.
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
