import { BACKEND_KEYS_MAX, BACKEND_KEYS_PAUSE_MS } from '../core/limits.js'

/**
 * Gathers DTMF digits into one entry, because a model that is told each digit of an order number answers each of them.
 * An entry ends with `#`, after a pause of BACKEND_KEYS_PAUSE_MS, or at BACKEND_KEYS_MAX digits.
 */
export class KeyEntry {
  readonly #done: (keys: string) => void
  #keys = ''
  #timer: NodeJS.Timeout | null = null

  constructor(done: (keys: string) => void) {
    this.#done = done
  }

  press(key: string): void {
    if (!/^[0-9*#A-D]$/.test(key)) return
    this.#keys += key
    if (key === '#' || this.#keys.length >= BACKEND_KEYS_MAX) {
      this.#end()
      return
    }
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#end(), BACKEND_KEYS_PAUSE_MS).unref()
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#keys = ''
  }

  #end(): void {
    const keys = this.#keys
    this.close()
    this.#done(keys)
  }
}
