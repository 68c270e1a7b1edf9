import type { BackendEvent } from './backend.js'
import { Alarm } from './timers.js'

/** DTMF digits within this time of each other go to the model as one entry, and the most digits of an entry. */
const BACKEND_KEYS_PAUSE_MS = 1500
const BACKEND_KEYS_MAX = 20

/**
 * Collects DTMF digits into one entry: a model that gets the digits of an order number one by one answers each of them.
 * An entry ends with `#`, after a pause of BACKEND_KEYS_PAUSE_MS, or at BACKEND_KEYS_MAX digits.
 */
export class KeyEntry {
  readonly #done: (digits: string) => void
  #digits = ''
  readonly #pause = new Alarm()

  constructor(done: (digits: string) => void) {
    this.#done = done
  }

  press(digit: string): void {
    if (!/^[0-9*#A-D]$/.test(digit)) return
    this.#digits += digit
    if (digit === '#' || this.#digits.length >= BACKEND_KEYS_MAX) {
      this.#end()
      return
    }
    this.#pause.set(BACKEND_KEYS_PAUSE_MS, () => this.#end())
  }

  close(): void {
    this.#pause.clear()
    this.#digits = ''
  }

  #end(): void {
    const digits = this.#digits
    this.close()
    this.#done(digits)
  }
}

/** The transcript of entry `ordinal` of a call, which belongs to the answer `generation` that it causes. */
export function keysTranscript(digits: string, ordinal: number, generation: number): BackendEvent {
  return { type: 'transcript', role: 'caller', text: digits, final: true, itemId: keysItem(ordinal), generation }
}

/** Item of the transcript of pressed keys. */
export function keysItem(ordinal: number): string {
  return `keys-${ordinal}`
}

/** True if a transcript of the caller is of pressed keys; `itemId` may have a prefix. */
export function isKeysItem(itemId: string): boolean {
  return /(^|[^a-z])keys-\d+$/.test(itemId)
}
