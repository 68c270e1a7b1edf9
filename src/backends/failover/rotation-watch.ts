import { Alarm } from '../timers.js'
import type { BackendTimers } from '../timers.js'

/** Interval in ms between checks for a quiet moment, and maximum number of tries of one rotation. */
const ROTATION_POLL_MS = 200
const ROTATION_TRIES_MAX = 5
/**
 * If a session does not announce its end, its rotation starts ROTATION_LEAD_MS before the end. In the last
 * ROTATION_LAST_MS, the rotation does not wait for a quiet moment. Times in ms.
 */
const ROTATION_LEAD_MS = 60_000
const ROTATION_LAST_MS = 2000

/**
 * Decides when a new session replaces a session that ends soon.
 *
 *     (none)   --begin--> running
 *     running  --`expiring`, or ROTATION_LEAD_MS before the longest duration of a session--> expiring
 *     expiring --every ROTATION_POLL_MS--> asks if a replacement can begin now
 *     (any)    --stop--> (none)
 */
export class RotationWatch {
  readonly #timers: BackendTimers
  readonly #alarm: Alarm
  readonly #rotate: (last: boolean) => boolean
  /** Time at which the session ends; null if the end is not near. */
  #expiresAtMs: number | null = null
  #tries = 0

  /**
   * @param rotate  begins a replacement, and returns true if the replacement has begun. `last`: true if the replacement
   * cannot wait for a quiet moment
   */
  constructor(timers: BackendTimers, rotate: (last: boolean) => boolean) {
    this.#timers = timers
    this.#alarm = new Alarm(timers)
    this.#rotate = rotate
  }

  /** @param maxSessionMs  maximum duration of a session that begins now; null for no limit */
  begin(maxSessionMs: number | null): void {
    this.stop()
    if (maxSessionMs === null) return
    const leadMs = Math.min(ROTATION_LEAD_MS, maxSessionMs / 2)
    this.#alarm.set(maxSessionMs - leadMs, () => this.expiring(leadMs))
  }

  stop(): void {
    this.#alarm.clear()
    this.#expiresAtMs = null
    this.#tries = 0
  }

  expiring(inMs: number): void {
    this.#expiresAtMs = Math.min(this.#expiresAtMs ?? Infinity, this.#timers.nowMs() + inMs)
    this.#try()
  }

  /** True if the session ends so soon that the rotation cannot wait for a quiet moment. */
  get isLastMoment(): boolean {
    return this.#expiresAtMs !== null && this.#expiresAtMs - this.#timers.nowMs() <= ROTATION_LAST_MS
  }

  #try(): void {
    this.#alarm.set(ROTATION_POLL_MS, () => this.#try())
    const last = this.isLastMoment
    if (this.#tries < ROTATION_TRIES_MAX + (last ? 1 : 0) && this.#rotate(last)) this.#tries++
  }
}
