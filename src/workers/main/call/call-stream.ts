import type { Clock } from '../../../core/clock.js'
import { SOCKET_WAIT_MS, STREAM_OFFERING_MS, STREAM_OFFERS_MAX } from '../../../core/limits.js'
import { ASKS_WITHIN_MS } from '../after-stream-behaviour.js'

/**
 * Times of a call's media stream: the wait for the stream, its opening, and the total stream time on all nodes. A call
 * can have only one stream on this node.
 */
export class CallStream {
  /** Maximum time in ms from the document that offers the stream until the carrier opens the stream's socket. */
  readonly waitMs: number
  /** True if the carrier has a document with words for the caller, in case the stream fails. */
  fallbackSpoken = false
  /** True if the call takes no further stream. */
  isTaken = false
  /** Number of documents with a stream so far. */
  offers = 0
  /** Time in ms at which the stream opened on this node; null before it opened. */
  openedAtMs: number | null = null
  #closedAtMs: number | null = null
  /** Time in ms since which this node has the call. */
  readonly #sinceMs: number
  /** Time in ms of the last document that offered the call a stream. */
  #offeredAtMs: number
  /** Time in ms of the first failed opening since the last offer; null if the carrier reported no failure. */
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
   * True if a stream that could not be opened is offered again. If false, the caller hears a sentence and is
   * transferred to a human. A call that another node had may wait as long as a new call, because its first document may
   * have reached the carrier too late.
   */
  get isOfferedAgain(): boolean {
    const inTime = this.#clock() - this.#sinceMs < STREAM_OFFERING_MS + this.#options.ringMs
    return this.offers < STREAM_OFFERS_MAX && (this.offers < 2 || inTime)
  }

  /** Notes that the carrier could not open the stream. The time counts from the first failure since the last offer. */
  refused(): void {
    this.#refusedAtMs ??= this.#clock()
  }

  /** @returns the time in ms that the call waited for the stream */
  open(): number {
    this.isTaken = true
    this.openedAtMs = this.#clock()
    return this.openedAtMs - this.#offeredAtMs
  }

  closed(): void {
    this.#closedAtMs = this.#clock()
  }

  /** Reason why the call gets no more streams; null while a stream may still come. */
  missed(nowMs: number): 'refused' | 'never-came' | null {
    if (this.#refusedAtMs !== null && nowMs - this.#refusedAtMs > ASKS_WITHIN_MS) return 'refused'
    return nowMs - this.#offeredAtMs > this.waitMs ? 'never-came' : null
  }

  /** Time in ms from the webhook to the first stream; null before the first stream. */
  get openedMs(): number | null {
    const { before, preparedAtMs } = this.#options
    return before?.streamOpenedMs ?? (this.openedAtMs === null ? null : this.openedAtMs - preparedAtMs)
  }

  /** Time in ms at which the first stream opened, on the clock; the present time if it has not opened. */
  get awaitedUntilMs(): number {
    const { openedMs } = this
    return openedMs === null ? this.#clock() : this.#options.preparedAtMs + openedMs
  }

  /** Duration in ms of all streams of the call together. */
  get totalMs(): number {
    const before = this.#options.before?.streamMs ?? 0
    return this.openedAtMs === null ? before : before + (this.#closedAtMs ?? this.#clock()) - this.openedAtMs
  }
}

interface StreamOptions {
  /** Time of the webhook, on the clock. */
  readonly preparedAtMs: number
  /** Maximum ringing time in ms of a call that we place; 0 for other calls. */
  readonly ringMs: number
  /** State left by a lost node; null for a new call. */
  readonly before: { readonly streamOpenedMs: number | null; readonly streamMs: number } | null
}
