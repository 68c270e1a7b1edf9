import { createHmac } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Handoff } from '../call/events.js'
import { HANDOFF_POSTS_PENDING_MAX, HANDOFF_POST_ATTEMPTS_MAX, HANDOFF_POST_TIMEOUT_MS } from '../core/limits.js'
import { HttpClient, discard, networkReason } from '../http/http-client.js'
import type { Log } from '../telemetry/log.js'

/** Version of the body; `schema/handoff.schema.json` describes the handoff in it. */
export const HANDOFF_POST_VERSION = 1

/** What somebody outside is told of a handoff. */
export interface HandoffNews {
  readonly kind: 'handoff.requested' | 'handoff.settled' | 'callback.requested'
  /** Its own for each piece of news; the same with every attempt. */
  readonly id: string
  /** The agent's own webhook; null for the one of the settings. */
  readonly url: string | null
  readonly handoff: Handoff
}

export interface HandoffPostOptions {
  /** Null: only agents that name a webhook of their own are heard of. */
  readonly url: string | null
  /** Signs what is posted; null leaves it unsigned. */
  readonly secret: string | null
  /** Calendar; the signature is dated by it. */
  readonly wallClock: () => number
  readonly log: Log
  /** For tests; real time otherwise. Ends early when the signal aborts. */
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>
}

/** First pause; doubled with each attempt, the second half of it random. Six attempts take about half a minute. */
const FIRST_PAUSE_MS = 1000
/** Refusals that may be another answer later. */
const RETRY_STATUSES: readonly number[] = [408, 425, 429]

/**
 * Tells the line's owner of handoffs and call backs: a signed POST, tried again within bounds. What could not be told is
 * counted and logged; it stays to be asked for at `GET /api/calls/{sid}/handoff`.
 *
 * `X-Mkondo-Signature: t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of the body, a dot and `t`, as the carrier signs its own.
 */
export class HandoffPost {
  delivered = 0
  retries = 0
  /** Refused, or out of attempts, or too many waited. */
  failed = 0
  readonly #options: HandoffPostOptions
  readonly #pending = new Set<Promise<void>>()
  readonly #closing = new AbortController()
  readonly #client = new HttpClient()

  constructor(options: HandoffPostOptions) {
    this.#options = options
  }

  get pending(): number {
    return this.#pending.size
  }

  /** Begins to tell; never throws, never waits. */
  post(news: HandoffNews): void {
    const url = news.url ?? this.#options.url
    if (url === null) return
    if (this.#pending.size >= HANDOFF_POSTS_PENDING_MAX || this.#closing.signal.aborted) {
      this.#gaveUp(news, 'too many wait')
      return
    }
    const telling = this.#tell(url, news).finally(() => this.#pending.delete(telling))
    this.#pending.add(telling)
  }

  /** Waits for what is under way, then gives the rest up. */
  async close(waitMs: number): Promise<void> {
    const timer = setTimeout(() => this.#closing.abort(), waitMs)
    await Promise.all(this.#pending)
    clearTimeout(timer)
    this.#closing.abort()
    this.#client.close()
  }

  async #tell(url: string, news: HandoffNews): Promise<void> {
    const { id, kind, handoff } = news
    const body = JSON.stringify({ version: HANDOFF_POST_VERSION, kind, id, callSid: handoff.callSid, handoff })
    for (let attempt = 1; ; attempt++) {
      const fault = await this.#attempt(url, id, body)
      if (fault === null) {
        this.delivered++
        return
      }
      if (!fault.again || attempt >= HANDOFF_POST_ATTEMPTS_MAX || this.#closing.signal.aborted) return this.#gaveUp(news, fault.why)
      this.retries++
      const pauseMs = FIRST_PAUSE_MS * 2 ** (attempt - 1)
      await this.#pause(pauseMs * (0.5 + Math.random() / 2))
    }
  }

  async #attempt(url: string, id: string, body: string): Promise<{ readonly why: string; readonly again: boolean } | null> {
    try {
      const response = await this.#client.send({
        url: new URL(url), method: 'POST', body, policy: 'as-written',
        headers: { 'content-type': 'application/json', 'user-agent': 'mkondo', 'idempotency-key': id, ...this.#signature(body) },
        signal: AbortSignal.any([AbortSignal.timeout(HANDOFF_POST_TIMEOUT_MS), this.#closing.signal]),
      })
      discard(response) // nothing in it is of use; unread it would hold the socket
      const { statusCode: status } = response
      if (status >= 200 && status < 300) return null
      return { why: `answered ${status}`, again: status >= 500 || RETRY_STATUSES.includes(status) }
    } catch (thrown) {
      return { why: networkReason(thrown), again: true }
    }
  }

  #signature(body: string): Record<string, string> {
    const { secret, wallClock } = this.#options
    if (secret === null) return {}
    const t = Math.floor(wallClock() / 1000)
    return { 'x-mkondo-signature': `t=${t},v1=${createHmac('sha256', secret).update(`${body}.${t}`).digest('hex')}` }
  }

  async #pause(ms: number): Promise<void> {
    const { pause = (pauseMs, signal) => sleep(pauseMs, undefined, { signal }) } = this.#options
    try {
      await pause(ms, this.#closing.signal)
    } catch {
      // The process ends: one last attempt.
    }
  }

  #gaveUp(news: HandoffNews, why: string): void {
    this.failed++
    this.#options.log.error({ call_sid: news.handoff.callSid, kind: news.kind, reason: why }, 'nobody could be told of a handoff')
  }
}
