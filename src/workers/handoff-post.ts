import { createHmac } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Handoff } from '../call/documents/handoff.js'
import { HttpClient, discard, networkReason } from '../http/http-client.js'
import type { Log } from '../telemetry/log.js'

/** Handoff posts that are pending at once, attempts of each, and the timeout of one attempt. */
const HANDOFF_POSTS_PENDING_MAX = 1000
const HANDOFF_POST_ATTEMPTS_MAX = 6
const HANDOFF_POST_TIMEOUT_MS = 5000

/** Version of the body; `schema/handoff.schema.json` describes the handoff in it. */
const HANDOFF_POST_VERSION = 1

/** One event of an escalation, for the owner's webhook. */
export interface HandoffNews {
  readonly kind: 'handoff.requested' | 'handoff.settled' | 'callback.requested'
  /** Unique for each event; the same with every attempt. */
  readonly id: string
  /** The agent's own webhook; null for the one in the settings. */
  readonly url: string | null
  readonly handoff: Handoff
}

export interface HandoffPostOptions {
  /** The webhook in the settings; null: only agents with their own webhook send posts. */
  readonly url: string | null
  /** Signs each post; null leaves it unsigned. */
  readonly secret: string | null
  /** Calendar time, for the signature. */
  readonly wallClock: () => number
  readonly log: Log
  /** For tests; real time otherwise. Ends early when the signal aborts. */
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>
}

/** First pause; it doubles with each attempt, and half of it is random. Six attempts take about half a minute. */
const FIRST_PAUSE_MS = 1000
/** Refusals that may be temporary. */
const RETRY_STATUSES: readonly number[] = [408, 425, 429]

/**
 * Posts the handoff packet to the owner's webhook: a signed POST with a bounded number of attempts. A post that is
 * given up is counted and logged; the packet is still served at `GET /api/calls/{sid}/handoff`.
 *
 * `X-Mkondo-Signature: t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of the body, a dot and `t`, as in the carrier's
 * webhooks.
 */
export class HandoffPost {
  delivered = 0
  retries = 0
  /** Refused, out of attempts, or too many were pending. */
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

  /** Begins to post; never throws, never waits. */
  post(news: HandoffNews): void {
    const url = news.url ?? this.#options.url
    if (url === null) return
    if (this.#pending.size >= HANDOFF_POSTS_PENDING_MAX || this.#closing.signal.aborted) {
      this.#giveUp(news, 'too many wait')
      return
    }
    const sending = this.#send(url, news).finally(() => this.#pending.delete(sending))
    this.#pending.add(sending)
  }

  /** Waits at most `waitMs` for pending posts, then gives up the rest. */
  async close(waitMs: number): Promise<void> {
    const timer = setTimeout(() => this.#closing.abort(), waitMs)
    await Promise.all(this.#pending)
    clearTimeout(timer)
    this.#closing.abort()
    this.#client.close()
  }

  async #send(url: string, news: HandoffNews): Promise<void> {
    const { id, kind, handoff } = news
    const body = JSON.stringify({ version: HANDOFF_POST_VERSION, kind, id, callSid: handoff.callSid, handoff })
    for (let attempt = 1; ; attempt++) {
      const fault = await this.#attempt(url, id, body)
      if (fault === null) {
        this.delivered++
        return
      }
      if (!fault.again || attempt >= HANDOFF_POST_ATTEMPTS_MAX || this.#closing.signal.aborted)
        return this.#giveUp(news, fault.why)
      this.retries++
      const pauseMs = FIRST_PAUSE_MS * 2 ** (attempt - 1)
      await this.#pause(pauseMs * (0.5 + Math.random() / 2))
    }
  }

  async #attempt(
    url: string,
    id: string,
    body: string,
  ): Promise<{ readonly why: string; readonly again: boolean } | null> {
    try {
      const response = await this.#client.send({
        url: new URL(url),
        method: 'POST',
        body,
        policy: 'as-written',
        headers: {
          'content-type': 'application/json',
          'user-agent': 'mkondo',
          'idempotency-key': id,
          ...this.#signature(body),
        },
        signal: AbortSignal.any([AbortSignal.timeout(HANDOFF_POST_TIMEOUT_MS), this.#closing.signal]),
      })
      discard(response) // an unread body would hold the socket
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
      // The process is shutting down: one last attempt.
    }
  }

  #giveUp(news: HandoffNews, why: string): void {
    this.failed++
    this.#options.log.error(
      { call_sid: news.handoff.callSid, kind: news.kind, reason: why },
      'the handoff webhook failed: no more attempts',
    )
  }
}
