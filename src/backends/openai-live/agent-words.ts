import { BACKEND_ITEMS_KEPT, BACKEND_TRANSCRIPT_CHARS_MAX } from '../../core/limits.js'
import type { WireWords } from './wire.js'

/** Words that follow others within this time of the session's time line belong to the same speech. */
const GAP_MS = 400

interface Fragment {
  readonly text: string
  readonly endMs: number
}

/** One speech of the agent. */
export interface AgentItem {
  readonly itemId: string
  readonly generation: number
  readonly fragments: Fragment[]
  text: string
  /** Where its first words begin on the session's time line; NaN before. */
  startMs: number
  audioMs: number
  state: 'speaking' | 'ended' | 'cut'
  /** True if the model knows how much of it the caller heard. */
  told: boolean
}

/**
 * Assigns the words of the agent to its speeches. The service sends both in order, but not together: words may come
 * before the sound, and after its end. Their places on the session's time line tell.
 */
export class AgentWords {
  readonly #items: AgentItem[] = []
  readonly #waiting: WireWords[] = []
  #endMs = NaN

  get last(): AgentItem | undefined {
    return this.#items.at(-1)
  }

  /** The items that the caller may not have heard, `itemId` first. */
  from(itemId: string): readonly AgentItem[] {
    const at = this.#items.findLastIndex((item) => item.itemId === itemId)
    return at < 0 ? [] : this.#items.slice(at)
  }

  /** A speech began; words that came before it are its first. */
  begin(generation: number): AgentItem {
    const item: AgentItem = {
      itemId: `live-${generation}`,
      generation,
      fragments: [],
      text: '',
      startMs: NaN,
      audioMs: 0,
      state: 'speaking',
      told: false,
    }
    this.#items.push(item)
    if (this.#items.length > BACKEND_ITEMS_KEPT) this.#items.shift()
    for (const words of this.#waiting.splice(0)) add(item, words)
    return item
  }

  /** @returns the speech that the words belong to; null for words of a speech that has not begun */
  take(words: WireWords): AgentItem | null {
    const follows = words.start_ms - this.#endMs < GAP_MS
    this.#endMs = Math.max(Number.isNaN(this.#endMs) ? 0 : this.#endMs, words.end_ms)
    const item = this.last
    if (item !== undefined && (item.state === 'speaking' || (follows && this.#waiting.length === 0))) {
      add(item, words)
      return item
    }
    this.#waiting.push(words)
    if (this.#waiting.length > BACKEND_ITEMS_KEPT) this.#waiting.shift()
    return null
  }
}

/** The words of an item whose sound ends within `playedMs`. */
export function heardWords({ fragments, startMs }: AgentItem, playedMs: number): string {
  let text = ''
  for (const fragment of fragments) {
    if (fragment.endMs - startMs > playedMs) break
    text += fragment.text
  }
  return text.trim()
}

function add(item: AgentItem, { delta, start_ms, end_ms }: WireWords): void {
  if (item.text.length + delta.length > BACKEND_TRANSCRIPT_CHARS_MAX) return
  if (Number.isNaN(item.startMs)) item.startMs = start_ms
  item.text += delta
  item.fragments.push({ text: delta, endMs: end_ms })
}
