import { BACKEND_TRANSCRIPT_CHARS_MAX, TRANSCRIPT_ENTRIES_MAX } from '../../core/limits.js'
import type { HistoryEntry } from '../backend.js'

interface Entry {
  readonly role: 'caller' | 'agent'
  readonly itemId: string
  readonly order: number
  readonly generation: number
  text: string
  /** Sound of an agent's item so far, and whether that is all of it. */
  audioMs: number
  whole: boolean
  /** How much the caller heard before they interrupted; null: all that there is. */
  heardMs: number | null
}

/** Until an item of this call has been measured: 15 characters a second, the middle of English speech synthesis. */
const CHARS_PER_MS = 0.015

/**
 * What was said on this call, as far as it was heard, for a session that takes over. Words of the agent run ahead of its
 * sound, so an item that broke off counts with as many words as its sound had time for.
 */
export class CallMemory {
  readonly #before: readonly HistoryEntry[]
  readonly #entries: Entry[] = []
  #measuredChars = 0
  #measuredMs = 0

  /** @param before  what an earlier session of this call already knew */
  constructor(before: readonly HistoryEntry[]) {
    this.#before = before
  }

  /** The order that a known item of the caller has. */
  orderOf(role: 'caller' | 'agent', itemId: string): number | undefined {
    return this.#find(role, itemId)?.order
  }

  words(role: 'caller' | 'agent', itemId: string, text: string, order: number, generation: number): void {
    const entry = this.#find(role, itemId) ?? this.#add(role, itemId, order, generation)
    entry.text = text.slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
  }

  sound(itemId: string, ms: number, order: number, generation: number): void {
    const entry = this.#find('agent', itemId) ?? this.#add('agent', itemId, order, generation)
    entry.audioMs += ms
  }

  /** The last sample of an item has come. */
  whole(itemId: string): void {
    const entry = this.#find('agent', itemId)
    if (entry === undefined || entry.whole) return
    entry.whole = true
    this.#measuredChars += entry.text.length
    this.#measuredMs += entry.audioMs
  }

  /**
   * The caller interrupted: of `itemId` they heard `playedMs`, of what came after it nothing. Without an item nothing was
   * heard of the answers in `unheard`.
   */
  interrupted(itemId: string | null, playedMs: number, unheard: (generation: number) => boolean): void {
    const at = itemId === null ? -1 : this.#entries.findIndex((entry) => entry.role === 'agent' && entry.itemId === itemId)
    for (const [i, entry] of this.#entries.entries()) {
      if (entry.role !== 'agent' || entry.heardMs !== null) continue
      if (at < 0 ? unheard(entry.generation) : i > at) entry.heardMs = 0
      else if (i === at) entry.heardMs = Math.max(0, Math.min(playedMs, entry.audioMs))
    }
  }

  /** @param open  true for caller's words whose sound will be given again; they would be there twice */
  history(open: (order: number) => boolean): HistoryEntry[] {
    const said = this.#entries
      .filter((entry) => entry.role === 'agent' || !open(entry.order))
      .map((entry) => ({ order: entry.order, role: entry.role, text: this.#heardText(entry) }))
      .filter((entry) => entry.text !== '')
      .sort((a, b) => a.order - b.order)
    return [...this.#before, ...said.map(({ role, text }) => ({ role, text }))]
  }

  #heardText(entry: Entry): string {
    const { text, audioMs, heardMs, whole } = entry
    if (entry.role === 'caller' || (whole && heardMs === null)) return text.trim()
    const ms = heardMs ?? audioMs
    // The end of an item's sound is the end of its words; where it never came, the pace of this agent has to do.
    const chars = whole && audioMs > 0 ? (text.length * ms) / audioMs : ms * this.#charsPerMs
    if (chars >= text.length) return text.trim()
    const cut = text.slice(0, Math.floor(chars) + 1)
    return cut.slice(0, Math.max(0, cut.search(/\s\S*$/))).trim()
  }

  get #charsPerMs(): number {
    return this.#measuredMs < 1000 ? CHARS_PER_MS : this.#measuredChars / this.#measuredMs
  }

  #find(role: 'caller' | 'agent', itemId: string): Entry | undefined {
    return this.#entries.findLast((entry) => entry.itemId === itemId && entry.role === role)
  }

  #add(role: 'caller' | 'agent', itemId: string, order: number, generation: number): Entry {
    const entry: Entry = { role, itemId, order, generation, text: '', audioMs: 0, whole: false, heardMs: null }
    this.#entries.push(entry)
    if (this.#entries.length > TRANSCRIPT_ENTRIES_MAX) this.#entries.shift()
    return entry
  }
}
