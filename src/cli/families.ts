import { lookup } from 'node:dns/promises'
import { connect, isIP } from 'node:net'
import type { BackendSettings } from '../backends/registry.js'
import { SERVICES } from '../vendors/list.js'
import { PARTS } from '../vendors/vendor.js'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { networkReason } from '../http/http-client.js'
import { bad, good, lookAt } from './terminal.js'
import type { Finding } from './terminal.js'

/** Looks up a host's addresses. */
type Lookup = (host: string) => Promise<readonly { readonly address: string; readonly family: number }[]>

/**
 * Connects to a service at one IPv4 and one IPv6 address, and reports the times. If one address family does not work,
 * each new connection loses CONNECT_ATTEMPT_MS, because Node tries one address after another.
 * @returns null for an IP address, for a host name without addresses, or if the service does not answer; other checks
 * report these faults
 */
export async function familiesFinding(
  name: string,
  { hostname, port, protocol }: URL,
  find: Lookup = (host) => lookup(host, { all: true }),
): Promise<Finding | null> {
  const host = hostname.replace(/^\[|\]$/g, '')
  // Local hosts are left out: no router is on the way, so an address that does not work refuses at once.
  if (host === 'localhost' || isIP(host) !== 0) return null
  // Another check reports a host name without addresses.
  const addresses = await find(host).catch(() => [])
  const portNumber = port !== '' ? Number(port) : /^(?:https|wss):$/.test(protocol) ? 443 : 80
  const tried = await Promise.all(
    [4, 6].flatMap((family) => {
      const first = addresses.find((one) => one.family === family)
      return first === undefined ? [] : [attempt(`IPv${family}`, first.address, portNumber)]
    }),
  )
  const shown = tried.map(({ said }) => said).join(', ')
  if (tried.length < 2) return tried[0]?.ok === true ? good(`${name}: ${host} answers over ${shown}`) : null
  const dead = tried.filter(({ ok }) => !ok)
  if (dead.length === 0) return good(`${name}: ${host} answers over ${shown}`)
  if (dead.length === tried.length) return bad(`${name}: ${host} cannot be reached: ${shown}`)
  return lookAt(
    `${name}: ${host} answers over only one address family: ${shown}; a new connection may wait ${CONNECT_ATTEMPT_MS} ms for the other family, until its route is repaired or switched off`,
  )
}

/** Checks the address families of each service that a backend's settings name, once for each host. */
export async function serviceFamilies(
  { realtime, cascade }: Pick<BackendSettings, 'realtime' | 'cascade'>,
  find?: Lookup,
): Promise<readonly Finding[]> {
  const ofCascade = PARTS.flatMap((part) =>
    Object.entries(cascade[part]).map(
      ([name, own]) => [name, own === null ? null : { ...SERVICES[part].get(name)?.own, ...own }] as const,
    ),
  )
  const services: readonly (readonly [name: string, { readonly baseUrl?: string } | null])[] = [
    ...Object.entries(realtime),
    ...ofCascade,
  ]
  const hosts = new Map<string, readonly [name: string, url: URL]>()
  for (const [name, own] of services) {
    const address = own?.baseUrl
    if (address === undefined) continue
    const url = new URL(address)
    if (!hosts.has(url.host)) hosts.set(url.host, [name, url])
  }
  const findings = await Promise.all([...hosts.values()].map(([name, url]) => familiesFinding(name, url, find)))
  return findings.filter((finding) => finding !== null)
}

function attempt(family: string, host: string, port: number): Promise<{ readonly ok: boolean; readonly said: string }> {
  const startedMs = performance.now()
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const end = (ok: boolean, said: string): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve({ ok, said: `${family} ${said}` })
    }
    const timer = setTimeout(() => end(false, `not within ${CONNECT_ATTEMPT_MS} ms`), CONNECT_ATTEMPT_MS)
    socket.once('connect', () => end(true, `in ${Math.round(performance.now() - startedMs)} ms`))
    socket.once('error', (thrown) => end(false, `not (${networkReason(thrown)})`))
  })
}
