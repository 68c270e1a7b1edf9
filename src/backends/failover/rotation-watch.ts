import { Alarm } from '../timers.js'
import type { BackendTimers } from '../timers.js'

/** How often a quiet moment is looked for, and the tries of one rotation. */
const ROTATION_POLL_MS = 200
const ROTATION_TRIES_MAX = 5
/**
 * A session that gives no sign of its end is rotated this long before it; with this much left it is not waited any
 * longer.
 */
const ROTATION_LEAD_MS = 60_000
const ROTATION_LAST_MS = 2000

/**
 * Says when a session that ends soon is to be replaced by another one.
 *
 *     (none)   --begin--> running
 *     running  --the lead before its longest time, `expiring`--> expiring
 *     expiring --every ROTATION_POLL_MS--> asks whether a replacement can be begun now
 *     (any)    --stop--> (none)
 */
export class RotationWatch {
  readonly #timers: BackendTimers
  readonly #alarm: Alarm
  readonly #rotate: (last: boolean) => boolean
  /** When the session ends; null until the end is near. */
  #expiresAtMs: number | null = null
  #tries = 0

  /** @param rotate  begins a replacement, and answers whether it did; `last`: it cannot wait for a quiet moment */
  constructor(timers: BackendTimers, rotate: (last: boolean) => boolean) {
    this.#timers = timers
    this.#alarm = new Alarm(timers)
    this.#rotate = rotate
  }

  /** @param maxSessionMs  longest time of a session that begins now; null where it has no end */
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

  /** The session ends so soon that the rotation cannot wait for quiet. */
  get isLastMoment(): boolean {
    return this.#expiresAtMs !== null && this.#expiresAtMs - this.#timers.nowMs() <= ROTATION_LAST_MS
  }

  #try(): void {
    this.#alarm.set(ROTATION_POLL_MS, () => this.#try())
    const last = this.isLastMoment
    if (this.#tries < ROTATION_TRIES_MAX + (last ? 1 : 0) && this.#rotate(last)) this.#tries++
  }
}
