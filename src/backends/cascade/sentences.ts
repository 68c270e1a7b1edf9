import { isSpeakable, sentenceEnd } from '../../speech/spoken/sentences.js'
import { formsMayGoOn } from '../../speech/spoken/spoken-form.js'
import { UnspokenText } from './unspoken-text.js'

/** From this length on the first piece may end at a comma, so that the caller hears something soon. */
const FIRST_CLAUSE_CHARS = 60
/** A shorter piece waits for what follows. */
const PIECE_WORDS_MIN = 3
/** A longer sentence is cut at a space. */
const SENTENCE_CHARS_MAX = 300

/**
 * Cuts a growing text into the pieces that are synthesised one after the other. What is no speech is removed: Markdown, and
 * all that `UnspokenText` knows.
 */
export class Sentences {
  /** `words`: pieces as short as possible, for a voice that makes one flow of them; each but the last ends with a space. */
  unit: 'sentences' | 'words' = 'sentences'
  #text = ''
  #first = true
  #lineStart = true
  #unspoken = new UnspokenText()

  /** @returns the sentences that are complete now */
  push(text: string): string[] {
    this.add(text)
    return this.pieces()
  }

  /** @returns what of it and of what was held is spoken */
  add(text: string): string {
    const speech = this.#unspoken.push(text)
    this.#text += speech
    return speech
  }

  /** The sentences that are complete now. */
  pieces(): string[] {
    const out: string[] = []
    for (let end = this.#end(); end > 0; end = this.#end()) this.#take(end, out)
    return out
  }

  /** Another model goes on with the text: what the first one had only begun is left out. */
  goOn(): void {
    this.#unspoken = new UnspokenText()
  }

  /** This is to be cut once more, before what follows. */
  unread(text: string): void {
    if (text === '') return
    this.#text = `${text} ${this.#text}`
    this.#first = false
    this.#lineStart = false
  }

  /** Nothing was written that can be spoken. */
  get wordless(): boolean {
    return this.#first && !isSpeakable(this.#text + this.#unspoken.rest)
  }

  /**
   * The text is complete.
   * @param cut  it broke off: words behind the last whole clause are left out, unless they are all there is
   */
  flush(cut = false): string[] {
    this.#text += this.#unspoken.flush()
    const out: string[] = []
    const clause = cut ? (/^.*[.,;:!?…]/su.exec(this.#text)?.[0].length ?? 0) : this.#text.length
    this.#take(clause === 0 && this.#first ? this.#text.length : clause, out)
    this.#text = ''
    return out
  }

  #take(end: number, out: string[]): void {
    const taken = this.#text.slice(0, end)
    const piece = spoken(taken, this.#lineStart)
    this.#text = this.#text.slice(end)
    this.#lineStart = taken.endsWith('\n')
    if (!isSpeakable(piece)) return
    this.#first = false
    out.push(this.unit === 'words' && /\s$/.test(taken) ? `${piece} ` : piece)
  }

  /** Where the first piece ends; 0 while it is incomplete. */
  #end(): number {
    if (this.unit === 'words') return this.#wordsEnd()
    for (let end = 0; ;) {
      const next = sentenceEnd(this.#text.slice(end))
      if (next === 0) break
      end += next
      // A lone "Sure." sounds cut off: it goes with what follows.
      if (isScriptWithoutSpaces(this.#text.slice(0, end)) || wordsIn(this.#text.slice(0, end)) >= PIECE_WORDS_MIN)
        return end
    }
    if (this.#first && this.#text.length >= FIRST_CLAUSE_CHARS) {
      const comma = this.#text.slice(0, -1).search(/[,;:]\s(?!.*[,;:]\s)/s)
      if (comma > 0) return comma + 2
    }
    if (this.#text.length <= SENTENCE_CHARS_MAX) return 0
    const space = this.#text.lastIndexOf(' ', SENTENCE_CHARS_MAX)
    return space > 0 ? space + 1 : SENTENCE_CHARS_MAX
  }

  #wordsEnd(): number {
    const end = this.#text.search(/\s\S*$/) + 1
    const piece = this.#text.slice(0, end)
    // The first piece is long enough to begin with.
    const ready = formsMayGoOn(piece)
    return this.#first && wordsIn(piece.slice(0, ready)) < PIECE_WORDS_MIN ? 0 : ready
  }
}

/** Chinese and Japanese: a sentence is one "word". */
function isScriptWithoutSpaces(text: string): boolean {
  return /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u.test(text)
}

function wordsIn(text: string): number {
  return text
    .trim()
    .split(/\s+/)
    .filter((word) => /[\p{L}\p{N}]/u.test(word)).length
}

const ENTITIES: Readonly<Record<string, string>> = { '&amp;': '&', '&quot;': '"', '&apos;': "'", '&#39;': "'" }

/**
 * The text without Markdown, on one line.
 * @param lineStart  it is the beginning of a line
 */
function spoken(text: string, lineStart: boolean): string {
  const plain = text
    .replace(/\n\s*[-•*]\s+/g, ' ')
    .replace(/&(?:amp|nbsp|quot|apos|#39|lt|gt);/g, (entity) => ENTITIES[entity] ?? ' ')
    .replace(/\|+/g, ' ')
    .replace(/(?<=^|\s)(?:[-=_*]{3,}|(?<=\n\s*)>+)(?=\s|$)/g, '')
    .replace(/~~|(?<!\d)#{1,6}\s+|[*_]{2,}|(?<![\p{L}\d*])[*_](?=\p{L})|(?<=[\p{L}.,!?])[*_](?![\p{L}\d])/gu, '')
  return (
    (lineStart ? plain.replace(/^\s*[-•*]\s+/, '') : plain)
      // Standalone signs between the words are no words: a rule of a table, a dash, a picture.
      .replace(/^\s*(?:[^\p{L}\p{N}\p{Sc}\s*#]+\s+)+(?=\S)/u, '')
      .replace(/\s+/g, ' ')
      .replace(/ (?=[,.;?!](?:\s|$))/g, '')
      .trim()
  )
}
