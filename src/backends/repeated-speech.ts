import { plainText } from '../call/backchannel.js'

/** A sentence of fewer words is no repetition: `One moment.` may be said twice. */
const REPEAT_WORDS_MIN = 3
/** Pieces of speech of one turn that are remembered. */
const PIECES_MAX = 8
/** The most sound that is held back: before its first word came, and in all. */
const WORDLESS_HELD_MS_MAX = 1000
const HELD_MS_MAX = 8000

const NOTHING: readonly Int16Array[] = []

/**
 * Finds speech that a model gives again within one turn before it calls another tool ("Let me look that up." twice).
 * A piece of speech is what a service delivers between two boundaries: an item, or all that comes up to a tool call.
 *
 *     (piece) --something was said in this turn--> held --its words differ, or too much is held--> passed on
 *     held    --a tool call follows, and its words are the beginning of an earlier piece--> dropped
 *     held    --the answer ends--> passed on: the last words of an answer are always heard
 *
 * The caller of this class keeps the words and asks `take` for the sound whenever a method says that nothing is held.
 */
export class RepeatedSpeech {
  /** Pieces dropped. */
  dropped = 0
  readonly #said: string[] = []
  #words = ''
  #holding = false
  #held: Int16Array[] = []
  #heldMs = 0

  get holding(): boolean {
    return this.#holding
  }

  /** The caller said something, or is asked again: everything may be said again. */
  forget(): void {
    this.#said.length = 0
  }

  /** The agent begins another piece. */
  begin(): void {
    this.#words = ''
    this.#held = []
    this.#heldMs = 0
    this.#holding = this.#said.length > 0
  }

  /**
   * @param words  of the piece so far
   * @returns whether it is held
   */
  words(words: string): boolean {
    this.#words = words
    if (this.#holding && !this.#repeats(plainText(words))) this.#holding = false
    return this.#holding
  }

  /** @returns whether the sound is held; it was copied then */
  sound(pcm: Int16Array, ms: number): boolean {
    if (!this.#holding) return false
    if (this.#heldMs + ms > (this.#words === '' ? WORDLESS_HELD_MS_MAX : HELD_MS_MAX)) {
      this.#holding = false
      return false
    }
    this.#held.push(pcm.slice())
    this.#heldMs += ms
    return true
  }

  /** The sound that was held and is to be passed on now; each is returned once. */
  take(): readonly Int16Array[] {
    if (this.#held.length === 0) return NOTHING
    const held = this.#held
    this.#held = []
    return held
  }

  /**
   * The piece ends.
   * @returns true when it was dropped; else what was held is to be passed on
   */
  end(toolFollows: boolean): boolean {
    const words = plainText(this.#words)
    const long = words.split(' ').length >= REPEAT_WORDS_MIN
    const repeated = this.#holding && toolFollows && long && this.#repeats(words)
    this.#holding = false
    this.#words = ''
    if (repeated) {
      this.#held = []
      this.dropped++
      return true
    }
    if (long) {
      this.#said.push(words)
      if (this.#said.length > PIECES_MAX) this.#said.shift()
    }
    return false
  }

  #repeats(words: string): boolean {
    return this.#said.some((said) => said.startsWith(words))
  }
}
