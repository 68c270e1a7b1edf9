import { BACKEND_KEYS_MAX, BACKEND_KEYS_PAUSE_MS } from '../core/limits.js'

/**
 * Gathers pressed keys into one entry: a model that is told of each digit of an order number answers each of them.
 * An entry ends with `#`, after a pause, or when it is as long as any number gets.
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
