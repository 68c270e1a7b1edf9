import { SCRAPE_REUSE_MS } from '../core/limits.js'
import type { Clock } from '../core/clock.js'
import type { CounterHandle } from './bound-metrics.js'

interface ScrapePageOptions {
  readonly clock: Clock
  readonly render: () => string | Promise<string>
  readonly made: CounterHandle
  readonly reused: CounterHandle
  readonly reuseMs?: number
}

/**
 * A page of metrics that any number of scrapers may ask for: it is made at most every SCRAPE_REUSE_MS, and all who ask
 * meanwhile get the same one. A storm of scrapes then costs the sockets of the answers, not the event loop.
 */
export class ScrapePage {
  readonly #options: ScrapePageOptions
  #page: Promise<string> | null = null
  #madeAtMs = -Infinity

  constructor(options: ScrapePageOptions) {
    this.#options = options
  }

  /** The page; rejects when it could not be made, and is then made anew for the next who asks. */
  get(): Promise<string> {
    const { clock, render, made, reused, reuseMs = SCRAPE_REUSE_MS } = this.#options
    const nowMs = clock()
    if (this.#page !== null && nowMs - this.#madeAtMs < reuseMs) {
      reused.inc()
      return this.#page
    }
    made.inc()
    this.#madeAtMs = nowMs
    const page = Promise.resolve().then(render)
    this.#page = page
    page.catch(() => {
      if (this.#page === page) this.#page = null
    })
    return page
  }
}
