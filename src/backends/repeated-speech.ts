import { plainText } from '../call/turns/backchannel.js'

/**
 * Minimum number of words of a repetition that is dropped. The agent may repeat a shorter sentence, such as `One
 * moment.`
 */
const REPEAT_WORDS_MIN = 3
/** Maximum number of pieces of speech per turn that are stored for comparison. */
const PIECES_MAX = 8
/**
 * Maximum duration of buffered sound in milliseconds, if the sound's words are not known yet; and maximum duration in
 * all cases.
 */
const WORDLESS_HELD_MS_MAX = 1000
const HELD_MS_MAX = 8000

/**
 * Drops repeated speech. A model may say a sentence such as "Let me look that up." again within one turn, before it
 * calls another tool. A piece of speech is an item of the service, or all speech before a tool call.
 *
 *     (new piece) --the agent has already spoken in this turn--> buffered
 *     buffered    --the words differ, or the buffer is full--> passed on
 *     buffered    --a tool call, and the words are the beginning of an earlier piece--> dropped
 *     buffered --the answer ends--> passed on, because the last words of an answer are always played
 */
export class RepeatedSpeech {
  readonly #play: (pcm: Int16Array) => void
  readonly #said: string[] = []
  #words = ''
  #holding = false
  #held: Int16Array[] = []
  #heldMs = 0
  /**
   * Callbacks for buffered words and for the end of the piece's sound. They are called after the sound was passed on.
   */
  #heldWords: (() => void) | null = null
  #heldEnd: (() => void) | null = null

  /** @param play  receives the sound to play */
  constructor(play: (pcm: Int16Array) => void) {
    this.#play = play
  }

  /**
   * Forgets earlier speech. Called when the caller spoke or a new answer is requested, because the agent may then
   * repeat its words.
   */
  forget(): void {
    this.#said.length = 0
  }

  /** Begins a new piece of the agent's speech. */
  begin(): void {
    this.#words = ''
    this.#drop()
    this.#heldMs = 0
    this.#holding = this.#said.length > 0
  }

  /**
   * @param words the piece's words so far
   * @param tell passes the words on. Called now, later together with the buffered sound, or never
   */
  words(words: string, tell: () => void): void {
    this.#words = words
    if (this.#holding && !this.#repeats(plainText(words))) this.#holding = false
    this.#heldWords = this.#holding ? tell : null
    if (this.#holding) return
    this.#passOn()
    tell()
  }

  /** Plays sound of the piece, or buffers a copy. */
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

  /** Ends the sound of the piece. */
  sounded(tell: () => void): void {
    if (this.#holding) this.#heldEnd = tell
    else tell()
  }

  /** Ends the piece. @returns true if the piece was dropped */
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

  /** Passes all buffered sound and words on. The receiver may interrupt while this method runs. */
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
