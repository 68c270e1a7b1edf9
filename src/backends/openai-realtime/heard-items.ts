import { BACKEND_ITEMS_KEPT } from '../../core/limits.js'

interface AudioItem {
  readonly itemId: string
  readonly contentIndex: number
  readonly generation: number
  readonly firstAtMs: number
  audioMs: number
  done: boolean
  truncated: boolean
}

export interface Truncation {
  readonly itemId: string
  readonly contentIndex: number
  /** Whole milliseconds, never more than was received: the service refuses more. */
  readonly audioEndMs: number
}

/** What was received of each item of speech, so that the service can be told how much of it was heard. */
export class HeardItems {
  readonly #items: AudioItem[] = []

  /** @returns true for the first audio of an item */
  received(itemId: string, contentIndex: number, generation: number, ms: number, nowMs: number): boolean {
    const known = this.#find(itemId)
    if (known !== undefined) {
      known.audioMs += ms
      return false
    }
    this.#items.push({ itemId, contentIndex, generation, firstAtMs: nowMs, audioMs: ms, done: false, truncated: false })
    if (this.#items.length > BACKEND_ITEMS_KEPT) this.#items.shift()
    return true
  }

  done(itemId: string): void {
    const item = this.#find(itemId)
    if (item !== undefined) item.done = true
  }

  /**
   * What to cut after an interruption: the item that was being heard, and everything received after it. Where none was
   * being heard, it is the audio of the response that is being given (`generation`, null for none), unless it has been
   * here long enough to have been played to its end.
   */
  cut(itemId: string | null, playedMs: number, generation: number | null, nowMs: number): Truncation[] {
    const at = itemId === null ? -1 : this.#items.findIndex((item) => item.itemId === itemId)
    const cuts: Truncation[] = []
    for (const [i, item] of this.#items.entries()) {
      if (item.truncated) continue
      if (i === at) {
        const audioEndMs = Math.min(Math.max(0, Math.floor(playedMs)), Math.floor(item.audioMs))
        // Heard to its end: cutting it would take away the words too.
        if (item.done && playedMs >= item.audioMs) continue
        cuts.push(this.#truncate(item, audioEndMs))
      } else if (at >= 0 ? i > at : item.generation === generation && nowMs - item.firstAtMs < item.audioMs) {
        cuts.push(this.#truncate(item, 0))
      }
    }
    return cuts
  }

  #truncate(item: AudioItem, audioEndMs: number): Truncation {
    item.truncated = true
    return { itemId: item.itemId, contentIndex: item.contentIndex, audioEndMs }
  }

  #find(itemId: string): AudioItem | undefined {
    for (let i = this.#items.length - 1; i >= 0; i--) if (this.#items[i]?.itemId === itemId) return this.#items[i]
    return undefined
  }
}
