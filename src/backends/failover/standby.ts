import { STANDBY_RETRY_MS, STANDBY_TRIES_MAX } from '../../core/limits.js'
import type { MemberSession } from './member-session.js'
import type { BackendTimers } from './timers.js'

/** A session that is connected beside the one that serves and waits for its turn. Without audio it costs a connection. */
export class Standby {
  session: MemberSession | null = null
  readonly #timers: BackendTimers
  readonly #find: () => MemberSession | null
  #tries = 0
  #cancel: (() => void) | null = null

  /** @param find  connects one, or says that there is none now */
  constructor(timers: BackendTimers, find: () => MemberSession | null) {
    this.#timers = timers
    this.#find = find
  }

  /** Looks for one, where there is none; again in a while, where none is to be had. */
  fill(): void {
    if (this.session !== null || this.#cancel !== null) return
    this.session = this.#find()
    if (this.session === null) this.#later()
  }

  /** It takes over. */
  take(): MemberSession | null {
    const { session } = this
    this.session = null
    return session
  }

  /** It failed while it waited. */
  lost(): void {
    this.session = null
    this.#later()
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
    this.#tries = STANDBY_TRIES_MAX
  }

  #later(): void {
    if (this.#cancel !== null || this.#tries >= STANDBY_TRIES_MAX) return
    this.#tries++
    this.#cancel = this.#timers.after(STANDBY_RETRY_MS, () => {
      this.#cancel = null
      this.fill()
    })
  }
}
