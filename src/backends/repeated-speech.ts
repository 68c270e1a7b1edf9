import { plainText } from '../call/turns/backchannel.js'

/** A sentence of fewer words is no repetition: `One moment.` may be said twice. */
const REPEAT_WORDS_MIN = 3
/** Pieces of speech of one turn that are remembered. */
const PIECES_MAX = 8
/** The most sound that is held back: before its first word came, and in all. */
const WORDLESS_HELD_MS_MAX = 1000
const HELD_MS_MAX = 8000

/**
 * Finds speech that a model gives again within one turn before it calls another tool ("Let me look that up." twice).
 * A piece of speech is what a service delivers between two boundaries: an item, or all that comes up to a tool call.
 *
 *     (piece) --something was said in this turn--> held --its words differ, or too much is held--> passed on
 *     held    --a tool call follows, and its words are the beginning of an earlier piece--> dropped
 *     held    --the answer ends--> passed on: the last words of an answer are always heard
 */
export class RepeatedSpeech {
  readonly #play: (pcm: Int16Array) => void
  readonly #said: string[] = []
  #words = ''
  #holding = false
  #held: Int16Array[] = []
  #heldMs = 0
  /** Passes on the newest words of the piece, and its end, after its sound. */
  #heldWords: (() => void) | null = null
  #heldEnd: (() => void) | null = null

  /** @param play  passes sound on */
  constructor(play: (pcm: Int16Array) => void) {
    this.#play = play
  }

  /** The caller said something, or is asked again: everything may be said again. */
  forget(): void {
    this.#said.length = 0
  }

  /** The agent begins another piece. */
  begin(): void {
    this.#words = ''
    this.#drop()
    this.#heldMs = 0
    this.#holding = this.#said.length > 0
  }

  /**
   * @param words  of the piece so far
   * @param tell  passes them on: now, or with what is held, or not at all
   */
  words(words: string, tell: () => void): void {
    this.#words = words
    if (this.#holding && !this.#repeats(plainText(words))) this.#holding = false
    this.#heldWords = this.#holding ? tell : null
    if (this.#holding) return
    this.#passOn()
    tell()
  }

  /** Sound of the piece; what is held was copied. */
  sound(pcm: Int16Array, ms: number): void {
    if (this.#heldMs + ms > (this.#words === '' ? WORDLESS_HELD_MS_MAX : HELD_MS_MAX)) this.#holding = false
    if (this.#holding) {
      this.#held.push(pcm.slice())
      this.#heldMs += ms
      return
    }
    this.#passOn()
    this.#play(pcm)
  }

  /** No more sound of the piece follows. */
  sounded(tell: () => void): void {
    if (this.#holding) this.#heldEnd = tell
    else tell()
  }

  /** The piece ends. @returns true when it was dropped */
  end(toolFollows: boolean): boolean {
    const words = plainText(this.#words)
    const long = words.split(' ').length >= REPEAT_WORDS_MIN
    const repeated = this.#holding && toolFollows && long && this.#repeats(words)
    this.#holding = false
    this.#words = ''
    if (repeated) {
      this.#drop()
      return true
    }
    if (long) {
      this.#said.push(words)
      if (this.#said.length > PIECES_MAX) this.#said.shift()
    }
    this.#passOn()
    return false
  }

  #drop(): void {
    this.#held = []
    this.#heldWords = this.#heldEnd = null
  }

  /** Passes on what is held. What takes it may interrupt. */
  #passOn(): void {
    if (this.#held.length > 0) for (const pcm of this.#held.splice(0)) this.#play(pcm)
    const [words, end] = [this.#heldWords, this.#heldEnd]
    this.#heldWords = this.#heldEnd = null
    words?.()
    end?.()
  }

  #repeats(words: string): boolean {
    return this.#said.some((said) => said.startsWith(words))
  }
}
