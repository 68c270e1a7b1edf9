import { request } from 'undici'
import type { Clock } from '../../core/clock.js'

/** Time limit in ms of a request that only opens or tests a connection. */
export const PROBE_TIMEOUT_MS = 2000
/**
 * Time in ms without a request after which a connection may be closed. Node's HTTP client closes a connection after 4
 * s.
 */
const COLD_AFTER_MS = 3000

/**
 * Headers of every request. Some hosts refuse a request without a `user-agent`. With `identity`, answers are not
 * compressed, so that the gateway can read each piece when it arrives.
 */
export const COMMON_HEADERS = { 'user-agent': 'mkondo', 'accept-encoding': 'identity' }

/** The HTTP hosts of one call. If two services use one host, the host is tested once, and one connection is opened. */
export class HttpHosts {
  readonly #nowMs: Clock
  readonly #signal: AbortSignal
  /** Running and successful tests, by address and API key. */
  readonly #probes = new Map<string, Promise<void>>()
  /** Start time of the last request to each host. */
  readonly #askedAtMs = new Map<string, number>()

  /** @param signal  aborted when the call ends */
  constructor(nowMs: Clock, signal: AbortSignal) {
    this.#nowMs = nowMs
    this.#signal = signal
  }

  /** Runs `ask` once for each address and API key, and again only after a failure. */
  probe(baseUrl: string, apiKey: string | null, ask: () => Promise<void>): Promise<void> {
    const key = `${baseUrl} ${apiKey ?? ''}`
    const known = this.#probes.get(key)
    if (known !== undefined) return known
    const probe = ask()
    this.#probes.set(key, probe)
    probe.catch(() => this.#probes.delete(key))
    return probe
  }

  asked(baseUrl: string): void {
    this.#askedAtMs.set(new URL(baseUrl).host, this.#nowMs())
  }

  /**
   * Opens the connection to a service again if it may be closed. Called while the caller speaks, so that this causes no
   * delay. The result is ignored.
   */
  warm(baseUrl: string): void {
    const askedAtMs = this.#askedAtMs.get(new URL(baseUrl).host) ?? -Infinity
    if (this.#nowMs() - askedAtMs < COLD_AFTER_MS) return
    this.asked(baseUrl)
    // The method is OPTIONS, because Node's client closes the connection after HEAD.
    request(baseUrl, {
      method: 'OPTIONS',
      headers: COMMON_HEADERS,
      signal: AbortSignal.any([this.#signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]),
    })
      .then(({ body }) => body.dump())
      .catch(() => undefined)
  }
}
