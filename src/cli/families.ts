import { lookup } from 'node:dns/promises'
import { connect, isIP } from 'node:net'
import type { BackendSettings } from '../backends/registry.js'
import { SERVICES } from '../vendors/list.js'
import { PARTS } from '../vendors/vendor.js'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { networkReason } from '../http/http-client.js'
import { bad, good, lookAt } from './terminal.js'
import type { Finding } from './terminal.js'

/** Finds a host's addresses. */
type Lookup = (host: string) => Promise<readonly { readonly address: string; readonly family: number }[]>

/**
 * Connects to a service that we call at one address of each family, and names what took how long. Node tries one address after the other:
 * a family that is dead costs each new connection CONNECT_ATTEMPT_MS.
 * @returns null for an address without a name, and for a name that has none, or one that does not answer: who asks the service says so
 */
export async function familiesFinding(
  name: string,
  { hostname, port, protocol }: URL,
  find: Lookup = (host) => lookup(host, { all: true }),
): Promise<Finding | null> {
  const host = hostname.replace(/^\[|\]$/g, '')
  // No route lies between: what does not listen refuses at once.
  if (host === 'localhost' || isIP(host) !== 0) return null
  // A name without an address is the finding of whoever asks the service.
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
    `${name}: ${host} answers over one family only: ${shown}; a new connection may wait ${CONNECT_ATTEMPT_MS} ms for the other, until its route is mended or switched off`,
  )
}

/** The public address of a vendor's API, which its realtime backend and its service of a cascade share. */
function publicUrl(name: string): string | undefined {
  return (SERVICES.stt.get(name) ?? SERVICES.llm.get(name))?.own?.baseUrl
}

/** The same of each service that is set up for backends, once for each host. */
export async function serviceFamilies(
  { openai, openaiLive, gemini, azureVoiceLive, selfHosted, cascade }: BackendSettings,
  find?: Lookup,
): Promise<readonly Finding[]> {
  const ofCascade = PARTS.flatMap((part) =>
    Object.entries(cascade[part]).map(
      ([name, own]) =>
        [name, own === null ? null : { ...SERVICES[part].get(name)?.own, ...own }] as readonly [
          string,
          { readonly baseUrl?: string } | null,
        ],
    ),
  )
  const keyed = <T extends { readonly apiKey: string | null }>(own: T): T | null => (own.apiKey === null ? null : own)
  const services = [
    ['openai', keyed(openai)] as const,
    ['openai', keyed(openaiLive)] as const,
    ['gemini', keyed(gemini)] as const,
    ['azure-voice-live', azureVoiceLive.baseUrl === null ? null : { baseUrl: azureVoiceLive.baseUrl }] as const,
    ['realtime', selfHosted] as const,
    ...ofCascade,
  ]
  const hosts = new Map<string, readonly [name: string, url: URL]>()
  for (const [name, own] of services) {
    const address = own === null ? undefined : (own.baseUrl ?? publicUrl(name))
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
