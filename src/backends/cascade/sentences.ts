import { isSpeakable, sentenceEnd } from '../../speech/spoken/sentences.js'
import { formsMayGoOn } from '../../speech/spoken/spoken-form.js'
import { UnspokenText } from './unspoken-text.js'

/** Minimum length in characters of a first piece that ends at a comma. Such a short piece lets speech start soon. */
const FIRST_CLAUSE_CHARS = 60
/** Minimum number of words in a piece; a shorter piece waits for the next words. */
const PIECE_WORDS_MIN = 3
/** Maximum length of a sentence in characters; a longer sentence is cut at a space. */
const SENTENCE_CHARS_MAX = 300

/**
 * Divides a growing text into pieces that are synthesised one after the other. Removes text that is not speech:
 * Markdown, and everything that `UnspokenText` removes.
 */
export class Sentences {
  /**
   * Size of the pieces. With `words`, pieces are as short as possible, for a voice that joins pieces to continuous
   * speech. Each piece except the last then ends with a space.
   */
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

  /** @returns the part of the waiting text and of the new text that is to be spoken */
  add(text: string): string {
    const speech = this.#unspoken.push(text)
    this.#text += speech
    return speech
  }

  /** @returns the sentences that are complete now */
  pieces(): string[] {
    const out: string[] = []
    for (let end = this.#end(); end > 0; end = this.#end()) this.#take(end, out)
    return out
  }

  /** Drops the held beginning of unspoken text, because another model continues the text. */
  goOn(): void {
    this.#unspoken = new UnspokenText()
  }

  /** Puts a text back before the waiting text. The text is then divided again. */
  unread(text: string): void {
    if (text === '') return
    this.#text = `${text} ${this.#text}`
    this.#first = false
    this.#lineStart = false
  }

  /** True if the text so far does not contain words. */
  get wordless(): boolean {
    return this.#first && !isSpeakable(this.#text + this.#unspoken.rest)
  }

  /**
   * Ends the text.
   * @param cut  true if the text was cut off. If there is a whole clause, the words after the last whole clause are
   * then removed
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

  /** End of the first piece; 0 while the piece is incomplete. */
  #end(): number {
    if (this.unit === 'words') return this.#wordsEnd()
    for (let end = 0; ;) {
      const next = sentenceEnd(this.#text.slice(end))
      if (next === 0) break
      end += next
      // A single short word such as "Sure." sounds cut off, so it is spoken together with the next words.
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
    // True if the first piece is long enough to be spoken.
    const ready = formsMayGoOn(piece)
    return this.#first && wordsIn(piece.slice(0, ready)) < PIECE_WORDS_MIN ? 0 : ready
  }
}

/** True for Chinese and Japanese, where a sentence counts as one "word". */
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
 * @returns the text without Markdown, on one line
 * @param lineStart  true if the text is the beginning of a line
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
      // Signs between words, such as a table's rule, a dash or an emoji, are not spoken.
      .replace(/^\s*(?:[^\p{L}\p{N}\p{Sc}\s*#]+\s+)+(?=\S)/u, '')
      .replace(/\s+/g, ' ')
      .replace(/ (?=[,.;?!](?:\s|$))/g, '')
      .trim()
  )
}
