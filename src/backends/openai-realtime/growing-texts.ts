import { BACKEND_TRANSCRIPT_CHARS_MAX } from '../../core/limits.js'

/** Items whose words come piece by piece at a time; a service works on two or three. */
const TEXTS_MAX = 16

/** Words of items that are still growing. Bounded: the oldest is forgotten, and begins anew if it goes on. */
export class GrowingTexts {
  readonly #texts = new Map<string, string>()

  /** What there is of an item so far. */
  of(itemId: string): string {
    return this.#texts.get(itemId) ?? ''
  }

  /** @returns the whole text so far, cut to what is kept of one item */
  grown(itemId: string, words: string, final: boolean): string {
    const text = words.slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    this.#texts.delete(itemId)
    if (final) return text
    this.#texts.set(itemId, text)
    if (this.#texts.size > TEXTS_MAX) {
      const [oldest] = this.#texts.keys()
      if (oldest !== undefined) this.#texts.delete(oldest)
    }
    return text
  }

  drop(itemId: string): void {
    this.#texts.delete(itemId)
  }
}
