import type { Clock } from '../../../core/clock.js'
import { SOCKET_WAIT_MS, STREAM_OFFERING_MS, STREAM_OFFERS_MAX } from '../../../core/limits.js'
import { ASKS_WITHIN_MS } from '../after-stream-behaviour.js'

/**
 * The times of a call's media stream: since when and how long it is waited for, when it opened, and how long the call has
 * had one, on all nodes together. A call takes one stream here.
 */
export class CallStream {
  /** How long the socket may take from the document that offers it. */
  readonly waitMs: number
  /** The carrier has words for the caller, in case that no stream comes. */
  fallbackSpoken = false
  /** No stream is taken any more. */
  isTaken = false
  /** Documents with a stream so far. */
  offers = 0
  /** When the stream here opened; null before. */
  openedAtMs: number | null = null
  #closedAtMs: number | null = null
  /** Since when this node has the call. */
  readonly #sinceMs: number
  /** Since the last document that offered it one. */
  #offeredAtMs: number
  /** Since when the carrier could not open the stream that it was offered last; null while nothing is known of that. */
  #refusedAtMs: number | null = null
  readonly #options: StreamOptions
  readonly #clock: Clock

  constructor(options: StreamOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    this.#sinceMs = clock()
    this.#offeredAtMs = this.#sinceMs
    this.waitMs = SOCKET_WAIT_MS + options.ringMs
  }

  offered(): void {
    this.#refusedAtMs = null
    this.#offeredAtMs = this.#clock()
    this.offers++
  }

  /**
   * True if one that could not be opened is offered again; otherwise its caller gets words, and a human. A call that was taken
   * over has as long as a new one: its carrier may not have got the first document, whose answer came late.
   */
  get isOfferedAgain(): boolean {
    const inTime = this.#clock() - this.#sinceMs < STREAM_OFFERING_MS + this.#options.ringMs
    return this.offers < STREAM_OFFERS_MAX && (this.offers < 2 || inTime)
  }

  /** The carrier could not open it. Counts from the first time since the last offer. */
  refused(): void {
    this.#refusedAtMs ??= this.#clock()
  }

  /** @returns how long it was waited for */
  open(): number {
    this.isTaken = true
    this.openedAtMs = this.#clock()
    return this.openedAtMs - this.#offeredAtMs
  }

  closed(): void {
    this.#closedAtMs = this.#clock()
  }

  /** The reason why none comes any more; null while one is waited for. */
  missed(nowMs: number): 'refused' | 'never-came' | null {
    if (this.#refusedAtMs !== null && nowMs - this.#refusedAtMs > ASKS_WITHIN_MS) return 'refused'
    return nowMs - this.#offeredAtMs > this.waitMs ? 'never-came' : null
  }

  /** From the webhook to the first stream; null before it. */
  get openedMs(): number | null {
    const { before, preparedAtMs } = this.#options
    return before?.streamOpenedMs ?? (this.openedAtMs === null ? null : this.openedAtMs - preparedAtMs)
  }

  /** When the first stream opened, on the clock; now, while none has. */
  get awaitedUntilMs(): number {
    const { openedMs } = this
    return openedMs === null ? this.#clock() : this.#options.preparedAtMs + openedMs
  }

  /** How long the call has had a stream, all streams together. */
  get totalMs(): number {
    const before = this.#options.before?.streamMs ?? 0
    return this.openedAtMs === null ? before : before + (this.#closedAtMs ?? this.#clock()) - this.openedAtMs
  }
}

interface StreamOptions {
  /** When the webhook came, on the clock. */
  readonly preparedAtMs: number
  /** A call that we place rings first, for this long; 0 in any other. */
  readonly ringMs: number
  /** As a lost node left them; null for a new call. */
  readonly before: { readonly streamOpenedMs: number | null; readonly streamMs: number } | null
}
