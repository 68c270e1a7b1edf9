import { forgetOldest } from '../../core/forget-oldest.js'
import { SPEECH_ITEMS_MAX } from '../../core/limits.js'
import type { SpeechKind } from '../events.js'

/** One piece of agent speech, of the backend or of the gateway. */
interface SpeechItem {
  readonly kind: SpeechKind
  /** Generation of its response; null for an item of the gateway. */
  readonly generation: number | null
  started: boolean
  /** Part of an item of the gateway in the model's place; undefined: none. */
  readonly as: 'answer' | 'greeting' | undefined
  /** Heard to its end, or thrown away. */
  over: 'no' | 'heard' | 'cut'
}

/**
 * Tracks the agent's speech: the backend's responses by generation, and the items of speech.
 *
 *     response  --turn-start--> responding --turn-done, interrupted--> over
 *     response  at or below the fence: dead, its later events are dropped; above the ceiling: unwanted
 *     item      --first sample sent--> started --heard | cut--> over
 */
export class AgentSpeech {
  /** Generation of the current response; null when the backend gives none. */
  responding: number | null = null
  /** The highest generation seen. */
  #latest = 0
  #fence = 0
  #ceiling = Infinity
  /** Generation of the greeting: the first response of a call in which the backend greets. */
  #greeting: number | null = null
  readonly #items = new Map<string, SpeechItem>()
  /** False: all items are over, and none is begun again. Each frame of the caller asks. */
  #mayBeOpen = false

  get latest(): number {
    return this.#latest
  }

  /** Notes the generation. @returns false when the response is dead or unwanted */
  wanted(generation: number): boolean {
    if (generation > this.#latest) this.#latest = generation
    return generation > this.#fence && generation <= this.#ceiling
  }

  isDead(generation: number): boolean {
    return generation <= this.#fence
  }

  /** The backend begins a response. @returns false when it is dead or unwanted */
  begin(generation: number): boolean {
    if (!this.wanted(generation)) return false
    this.#greeting ??= generation
    this.responding = generation
    return true
  }

  /** The backend gives no response any more. */
  giveUp(): void {
    this.responding = null
  }

  /** The backend is done with a response. */
  end(generation: number): void {
    if (this.responding !== null && generation >= this.responding) this.responding = null
  }

  /** Takes audio. @returns `first` for the first audio of its item, `late` when it must not be played */
  audio(itemId: string, generation: number): 'first' | 'more' | 'late' {
    const known = this.#items.get(itemId)
    if (!this.wanted(generation) || known?.over === 'cut') return 'late'
    if (known !== undefined) return 'more'
    this.#greeting ??= generation
    this.add(itemId, 'answer', generation)
    return 'first'
  }

  add(itemId: string, kind: SpeechKind, generation: number | null, as?: SpeechItem['as']): void {
    this.#items.set(itemId, { kind, generation, as, started: false, over: 'no' })
    this.#mayBeOpen = true
    forgetOldest(this.#items, SPEECH_ITEMS_MAX)
  }

  item(itemId: string | null): SpeechItem | undefined {
    return itemId === null ? undefined : this.#items.get(itemId)
  }

  /** At least one item is on its way to the caller. */
  get anyOpen(): boolean {
    if (!this.#mayBeOpen) return false
    for (const item of this.#items.values()) if (item.over === 'no') return true
    this.#mayBeOpen = false
    return false
  }

  isOpen(itemId: string): boolean {
    return this.#items.get(itemId)?.over === 'no'
  }

  isCut(itemId: string): boolean {
    return this.#items.get(itemId)?.over === 'cut'
  }

  /** The item belongs to the backend's greeting. */
  greets(item: SpeechItem): boolean {
    return item.generation !== null && item.generation === this.#greeting
  }

  /** No response from here on is a greeting. */
  greetingOver(): void {
    this.#greeting = 0
  }

  /** Discards all open items; responses up to `fence` become dead. @returns whether the backend was speaking */
  cut(fence: number): boolean {
    let backendSpoke = this.responding !== null
    for (const item of this.#items.values()) {
      if (item.over !== 'no') continue
      if (item.generation !== null) backendSpoke = true
      item.over = 'cut'
    }
    this.raiseFence(fence)
    this.responding = null
    return backendSpoke
  }

  /** Responses up to `fence` become dead. */
  raiseFence(fence: number): void {
    this.#fence = Math.max(this.#fence, fence)
    if (this.responding !== null && this.responding <= fence) this.responding = null
  }

  /** Responses that begin from here on are unwanted. */
  close(): void {
    this.#ceiling = this.#latest
  }

  open(): void {
    this.#ceiling = Infinity
  }
}
