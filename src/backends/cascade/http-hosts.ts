import { request } from 'undici'
import type { Clock } from '../../core/clock.js'

/** A request that only opens or finds out something is given up after this. */
export const PROBE_TIMEOUT_MS = 2000
/** Node's HTTP client closes a connection that was idle for 4 s. */
const COLD_AFTER_MS = 3000

/** Headers of every request: some hosts refuse one without a name, and answers are read as they come. */
export const COMMON_HEADERS = { 'user-agent': 'mkondo', 'accept-encoding': 'identity' }

/** The HTTP services of one call: two services on one host are asked once whether they are there, and opened once. */
export class HttpHosts {
  readonly #nowMs: Clock
  readonly #signal: AbortSignal
  /** By address and key. */
  readonly #probes = new Map<string, Promise<void>>()
  /** When the last request to each host began. */
  readonly #askedAtMs = new Map<string, number>()

  /** @param signal  aborted when the call ends */
  constructor(nowMs: Clock, signal: AbortSignal) {
    this.#nowMs = nowMs
    this.#signal = signal
  }

  /** Does `ask` once for each address and key, and again only after it failed. */
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
   * Opens the connection to a service if it was closed in the meantime: while the caller speaks nobody waits for that.
   * What comes of it does not matter.
   */
  warm(baseUrl: string): void {
    const askedAtMs = this.#askedAtMs.get(new URL(baseUrl).host) ?? -Infinity
    if (this.#nowMs() - askedAtMs < COLD_AFTER_MS) return
    this.asked(baseUrl)
    // Not HEAD, after which Node's client closes the connection.
    request(baseUrl, {
      method: 'OPTIONS',
      headers: COMMON_HEADERS,
      signal: AbortSignal.any([this.#signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]),
    })
      .then(({ body }) => body.dump())
      .catch(() => undefined)
  }
}
