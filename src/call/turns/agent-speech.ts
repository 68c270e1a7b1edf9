import { forgetOldest } from '../../core/forget-oldest.js'
import { SPEECH_ITEMS_MAX } from '../../core/limits.js'
import type { SpeechKind } from '../events.js'

/** One piece of speech, from the backend or from the gateway. */
interface SpeechItem {
  readonly kind: SpeechKind
  /** Generation of the item's response; null if the gateway made the item. */
  readonly generation: number | null
  started: boolean
  /**
   * Role of a gateway item that replaces the model's speech; undefined if the item does not replace the model's speech.
   */
  readonly as: 'answer' | 'greeting' | undefined
  /** State of the item: not ended, heard completely, or discarded. */
  over: 'no' | 'heard' | 'cut'
}

/**
 * Tracks the agent's speech: the backend's responses by generation, and the items of speech.
 *
 *     response  --turn-start--> responding --turn-done, interrupted--> over
 *     response  generation up to `#fence`: cancelled, its later events are dropped; above `#ceiling`: unwanted
 *     item      --first sample sent--> started --heard | cut--> over
 */
export class AgentSpeech {
  /** Generation of the current response; null without a current response. */
  responding: number | null = null
  /** Highest generation so far. */
  #latest = 0
  #fence = 0
  #ceiling = Infinity
  /** Generation of the greeting: the first response, if the backend greets. */
  #greeting: number | null = null
  readonly #items = new Map<string, SpeechItem>()
  /** False if all items are over and cannot begin again. This field is read for each caller frame. */
  #mayBeOpen = false

  get latest(): number {
    return this.#latest
  }

  /** Notes the newest generation. @returns false if the response is cancelled or unwanted */
  wanted(generation: number): boolean {
    if (generation > this.#latest) this.#latest = generation
    return this.isWanted(generation)
  }

  /** False if the response is cancelled or unwanted. */
  isWanted(generation: number): boolean {
    return generation > this.#fence && generation <= this.#ceiling
  }

  isDead(generation: number): boolean {
    return generation <= this.#fence
  }

  /** Notes that the backend begins a response. @returns false if the response is cancelled or unwanted */
  begin(generation: number): boolean {
    if (!this.wanted(generation)) return false
    this.#greeting ??= generation
    this.responding = generation
    return true
  }

  /** Notes that the backend will not send further responses. */
  giveUp(): void {
    this.responding = null
  }

  /** Notes that the backend has completed a response. */
  end(generation: number): void {
    if (this.responding !== null && generation >= this.responding) this.responding = null
  }

  /** Takes audio. @returns `first` for the first audio of its item, `late` if the audio must not be played */
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

  /** True if at least one item is on its way to the caller. */
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

  /** True if the item belongs to the backend's greeting. */
  greets(item: SpeechItem): boolean {
    return item.generation !== null && item.generation === this.#greeting
  }

  /** Notes that no later response is the greeting. */
  greetingOver(): void {
    this.#greeting = 0
  }

  /**
   * Discards all open items and cancels the responses with generations up to `fence`.
   * @returns true if the backend was speaking
   */
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

  /** Cancels the responses with generations up to `fence`. */
  raiseFence(fence: number): void {
    this.#fence = Math.max(this.#fence, fence)
    if (this.responding !== null && this.responding <= fence) this.responding = null
  }

  /** Marks all responses that begin from now on as unwanted. */
  close(): void {
    this.#ceiling = this.#latest
  }

  open(): void {
    this.#ceiling = Infinity
  }
}
