import { RateLimit } from '../core/rate-limit.js'
import type { Log, LogFields } from './log.js'

/** Log lines about refused requests, of webhooks or between nodes, for each reason. */
export const REJECTION_LINES_BURST = 5
export const REJECTION_LINES_PER_S = 0.1
/** Reasons of one such log; there are about twenty. */
const REJECTION_REASONS_MAX = 64

/**
 * Warnings that strangers or a fault can cause any number of: a flood writes a few lines for each reason, with the
 * number of those that got no line.
 */
export class LimitedLog<Reason extends string> {
  readonly #log: Log
  readonly #message: string
  readonly #later: string
  readonly #lines = new RateLimit({
    perSecond: REJECTION_LINES_PER_S,
    burst: REJECTION_LINES_BURST,
    keysMax: REJECTION_REASONS_MAX,
  })
  readonly #suppressed = new Map<Reason, number>()

  /** @param later  message of a line that only counts the suppressed ones, which `sweep` writes */
  constructor(log: Log, message: string, later: string) {
    this.#log = log
    this.#message = message
    this.#later = later
  }

  /** @param fields  further fields; nothing of a body */
  note(reason: Reason, fields: LogFields, nowMs: number): void {
    const suppressed = this.#suppressed.get(reason) ?? 0
    if (this.#lines.take(reason, nowMs) > 0) {
      this.#suppressed.set(reason, suppressed + 1)
      return
    }
    this.#suppressed.delete(reason)
    this.#log.warn({ reason, ...fields, ...(suppressed === 0 ? {} : { suppressed }) }, this.#message)
  }

  /** Logs the number of suppressed lines as soon as there may be a line again, also when the flood has ended. */
  sweep(nowMs: number): void {
    for (const [reason, suppressed] of this.#suppressed) {
      if (this.#lines.take(reason, nowMs) > 0) continue
      this.#suppressed.delete(reason)
      this.#log.warn({ reason, suppressed }, this.#later)
    }
  }
}
