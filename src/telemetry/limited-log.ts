import { RateLimit } from '../core/rate-limit.js'
import type { Log, LogFields } from './log.js'

/**
 * Number of log lines for each reason that are written at once before lines are suppressed. The lines are about refused
 * webhooks or refused requests between nodes.
 */
export const REJECTION_LINES_BURST = 5
export const REJECTION_LINES_PER_S = 0.1
/** Maximum number of reasons of one log. There are about twenty reasons. */
const REJECTION_REASONS_MAX = 64

/**
 * Log of warnings that strangers or a fault can cause without limit. During a flood it writes only a few lines for each
 * reason, with the number of suppressed lines.
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

  /** @param later message of the line in which `sweep` reports the number of suppressed lines */
  constructor(log: Log, message: string, later: string) {
    this.#log = log
    this.#message = message
    this.#later = later
  }

  /** @param fields further fields; they must not contain any part of a body */
  note(reason: Reason, fields: LogFields, nowMs: number): void {
    const suppressed = this.#suppressed.get(reason) ?? 0
    if (this.#lines.take(reason, nowMs) > 0) {
      this.#suppressed.set(reason, suppressed + 1)
      return
    }
    this.#suppressed.delete(reason)
    this.#log.warn({ reason, ...fields, ...(suppressed === 0 ? {} : { suppressed }) }, this.#message)
  }

  /** Logs the number of suppressed lines as soon as a line is allowed again, even if the flood is over. */
  sweep(nowMs: number): void {
    for (const [reason, suppressed] of this.#suppressed) {
      if (this.#lines.take(reason, nowMs) > 0) continue
      this.#suppressed.delete(reason)
      this.#log.warn({ reason, suppressed }, this.#later)
    }
  }
}
