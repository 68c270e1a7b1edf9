import type { BackendEvent } from './backend.js'
import { Alarm } from './timers.js'

/** Maximum pause between two DTMF digits of one entry, in milliseconds; and maximum number of digits in an entry. */
const BACKEND_KEYS_PAUSE_MS = 1500
const BACKEND_KEYS_MAX = 20

/**
 * Collects DTMF digits into one entry, because a model answers each text that it gets. An entry ends with `#`, after a
 * pause of BACKEND_KEYS_PAUSE_MS, or after BACKEND_KEYS_MAX digits.
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

/** Makes the transcript of entry `ordinal` of a call. `generation` is the generation of the answer to this entry. */
export function keysTranscript(digits: string, ordinal: number, generation: number): BackendEvent {
  return { type: 'transcript', role: 'caller', text: digits, final: true, itemId: keysItem(ordinal), generation }
}

/** Id of the item with the transcript of DTMF digits. */
export function keysItem(ordinal: number): string {
  return `keys-${ordinal}`
}

/** True if a transcript of the caller contains DTMF digits; `itemId` may have a prefix. */
export function isKeysItem(itemId: string): boolean {
  return /(^|[^a-z])keys-\d+$/.test(itemId)
}
