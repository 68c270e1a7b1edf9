import { BACKEND_ITEMS_KEPT, BACKEND_TRANSCRIPT_CHARS_MAX } from '../../../core/limits.js'
import type { WireWords } from './wire.js'

/** Maximum gap between words of one speech on the session's time line, in milliseconds. */
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
  /** Start of the speech's first words on the session's time line, in milliseconds; NaN before the first words. */
  startMs: number
  audioMs: number
  state: 'speaking' | 'ended' | 'cut'
  /** True if the model was informed how much of this speech the caller heard. */
  told: boolean
}

/**
 * Assigns the agent's words to its speeches by the session's time line. Words and sound come separately: words may
 * arrive before the sound begins or after it ends.
 */
export class AgentWords {
  readonly #items: AgentItem[] = []
  readonly #waiting: WireWords[] = []
  #endMs = NaN

  get last(): AgentItem | undefined {
    return this.#items.at(-1)
  }

  /** @returns `itemId` and the following items, which the caller may not have heard */
  from(itemId: string): readonly AgentItem[] {
    const at = this.#items.findLastIndex((item) => item.itemId === itemId)
    return at < 0 ? [] : this.#items.slice(at)
  }

  /** Begins a speech. Words that arrived earlier become the first words of this speech. */
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

  /** @returns the speech that the words belong to; null if this speech has not begun */
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

/** @returns the words of an item whose sound ends within `playedMs` */
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
