/** An answer that is being given. */
export interface OpenAnswer {
  readonly generation: number
  /** Its place among what it may be the answer to. */
  readonly order: number
  /** Position in the caller's audio where it began. */
  readonly at: number
  soundMs: number
  calls: number
  readonly itemsOpen: Set<string>
}

/** The answers that a backend has begun and not ended, oldest first. Backends that queue their answers have several. */
export class OpenAnswers {
  readonly #answers = new Map<number, OpenAnswer>()

  get size(): number {
    return this.#answers.size
  }

  has(generation: number): boolean {
    return this.#answers.has(generation)
  }

  get(generation: number): OpenAnswer | undefined {
    return this.#answers.get(generation)
  }

  begin(generation: number, order: number, at: number): OpenAnswer {
    const answer = { generation, order, at, soundMs: 0, calls: 0, itemsOpen: new Set<string>() }
    this.#answers.set(generation, answer)
    return answer
  }

  end(generation: number): OpenAnswer | undefined {
    const answer = this.#answers.get(generation)
    this.#answers.delete(generation)
    return answer
  }

  /** All of them end here. */
  takeAll(): readonly OpenAnswer[] {
    const all = [...this.#answers.values()]
    this.#answers.clear()
    return all
  }

  /** Some answer has made a sound. */
  get sounding(): boolean {
    for (const answer of this.#answers.values()) if (answer.soundMs > 0) return true
    return false
  }
}
