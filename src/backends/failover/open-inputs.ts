import { OPEN_INPUTS_MAX } from '../../core/limits.js'

/** One thing that a backend was given and has not answered yet. `at`, `start`, `end` are positions in the caller's audio. */
export type OpenInput =
  | { readonly type: 'speech'; readonly order: number; readonly start: number; end: number | null }
  | { readonly type: 'text'; readonly order: number; readonly at: number; readonly text: string; readonly role: 'caller' | 'system' }
  | { readonly type: 'digit'; readonly order: number; readonly at: number; readonly digit: string }

/**
 * What the caller said and keyed, and what the call asked for, since the last answer that came to its end, in order.
 * That is what a backend that takes over is given again.
 *
 *     (new) --speechStart, text, digit--> open --an answer that was begun after it is completed--> (gone)
 *
 * An answer to half a sentence closes nothing: speech that still goes on stays open.
 */
export class OpenInputs {
  /** Inputs that had to go for want of room. */
  dropped = 0
  readonly #inputs: OpenInput[] = []
  #order = 0

  get list(): readonly OpenInput[] {
    return this.#inputs
  }

  get speaking(): boolean {
    return this.#inputs.some((input) => input.type === 'speech' && input.end === null)
  }

  /** Where the oldest open speech begins; asked for every frame. */
  get firstSpeechAt(): number | null {
    for (const input of this.#inputs) if (input.type === 'speech') return input.start
    return null
  }

  /** A place in the order for something that is no input: an answer. */
  takeOrder(): number {
    return this.#order++
  }

  speechStarted(start: number): void {
    if (!this.speaking) this.#add({ type: 'speech', order: this.#order++, start, end: null })
  }

  speechEnded(end: number): void {
    for (const input of this.#inputs) if (input.type === 'speech' && input.end === null) input.end = Math.max(input.start, end)
  }

  text(text: string, role: 'caller' | 'system', at: number): void {
    this.#add({ type: 'text', order: this.#order++, at, text, role })
  }

  digit(digit: string, at: number): void {
    this.#add({ type: 'digit', order: this.#order++, at, digit })
  }

  /** The input that words of the caller belong to which come now: the last that is complete, else the last. */
  heardNow(): OpenInput | undefined {
    const said = this.#inputs.filter((input) => input.type !== 'text' || input.role === 'caller')
    return said.findLast((input) => input.type !== 'speech' || input.end !== null) ?? said.at(-1)
  }

  isOpen(order: number): boolean {
    return this.#inputs.some((input) => input.order === order)
  }

  /** An answer that was begun at `order` has been given. */
  answered(order: number): void {
    const left = this.#inputs.filter((input) => input.order > order || (input.type === 'speech' && input.end === null))
    this.#inputs.splice(0, this.#inputs.length, ...left)
  }

  #add(input: OpenInput): void {
    this.#inputs.push(input)
    if (this.#inputs.length <= OPEN_INPUTS_MAX) return
    this.#inputs.shift()
    this.dropped++
  }
}
