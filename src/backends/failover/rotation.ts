import { ROTATION_LAST_MS, ROTATION_LEAD_MS, ROTATION_POLL_MS, ROTATION_TRIES_MAX } from '../../core/limits.js'
import type { BackendTimers } from './timers.js'

/** What a rotation asks of the call. */
export interface RotationCall {
  /** Nobody speaks, and nobody waits for anything. */
  quiet(): boolean
  /** Connects the session that will take over. */
  prepare(): void
  preparing(): boolean
}

/**
 * Decides when a session that nears its end is replaced.
 *
 *     idle   --expiring | ROTATION_LEAD_MS before the longest session--> wanted
 *     wanted --a quiet moment--> a successor connects; if something was said meanwhile, the next quiet moment
 *     wanted --ROTATION_LAST_MS left--> a successor connects whatever is going on: `last`
 */
export class Rotation {
  /** The service's patience is over: the successor takes over as soon as it is there. */
  last = false
  readonly #timers: BackendTimers
  readonly #call: RotationCall
  #dueAtMs: number | null = null
  #tries = 0
  #cancel: (() => void) | null = null

  constructor(timers: BackendTimers, call: RotationCall) {
    this.#timers = timers
    this.#call = call
  }

  /** A new session begins. */
  begin(maxSessionMs: number | null): void {
    this.stop()
    if (maxSessionMs === null) return
    const leadMs = Math.min(ROTATION_LEAD_MS, maxSessionMs / 2)
    this.#cancel = this.#timers.after(maxSessionMs - leadMs, () => this.expiring(leadMs))
  }

  /** The session ends in `inMs`. */
  expiring(inMs: number): void {
    const dueAtMs = this.#timers.nowMs() + inMs
    this.#dueAtMs = Math.min(this.#dueAtMs ?? Infinity, dueAtMs)
    this.#look()
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
    this.#dueAtMs = null
    this.#tries = 0
    this.last = false
  }

  #look(): void {
    this.#cancel?.()
    this.#cancel = null
    if (this.#dueAtMs === null) return
    this.#cancel = this.#timers.after(ROTATION_POLL_MS, () => this.#look())
    this.last = this.#dueAtMs - this.#timers.nowMs() <= ROTATION_LAST_MS
    if (this.#call.preparing() || this.#tries >= ROTATION_TRIES_MAX + (this.last ? 1 : 0)) return
    if (!this.last && !this.#call.quiet()) return
    this.#tries++
    this.#call.prepare()
  }
}
