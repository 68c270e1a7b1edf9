import { isSpeakable, sentenceEnd } from '../../speech/spoken/sentences.js'
import { formsMayGoOn } from '../../speech/spoken/spoken-form.js'

/** From this length on the first piece may end at a comma, so that the caller hears something soon. */
const FIRST_CLAUSE_CHARS = 60
/** A shorter piece waits for what follows. */
const PIECE_WORDS_MIN = 3
/** A longer sentence is cut at a space. */
const SENTENCE_CHARS_MAX = 300

/**
 * Cuts a growing text into the pieces that are synthesised one after the other. Markdown is removed, and so is a
 * model's reasoning between `<think>` and `</think>`.
 */
export class Sentences {
  /** `words`: pieces as short as possible, for a voice that makes one flow of them; each but the last ends with a space. */
  unit: 'sentences' | 'words' = 'sentences'
  #text = ''
  #first = true
  #lineStart = true
  #reasoning = false

  /** @returns the sentences that are complete now */
  push(text: string): string[] {
    this.#text += text
    if (!this.#skipReasoning()) return []
    const out: string[] = []
    for (let end = this.#end(); end > 0; end = this.#end()) this.#take(end, out)
    return out
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
    return this.#first && (this.#reasoning || !isSpeakable(this.#text))
  }

  /**
   * The text is complete.
   * @param cut  it broke off: words behind the last whole clause are left out, unless they are all there is
   */
  flush(cut = false): string[] {
    const out: string[] = []
    const clause = cut ? (/^.*[.,;:!?…]/su.exec(this.#text)?.[0].length ?? 0) : this.#text.length
    if (!this.#reasoning) this.#take(clause === 0 && this.#first ? this.#text.length : clause, out)
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
    // Half a link is no words, and the first piece is long enough to begin with.
    const link = piece.lastIndexOf('[')
    if (link >= 0 && !piece.includes(')', link) && this.#text.length <= SENTENCE_CHARS_MAX) return 0
    const ready = formsMayGoOn(piece)
    return this.#first && wordsIn(piece.slice(0, ready)) < PIECE_WORDS_MIN ? 0 : ready
  }

  /** @returns false while the text may still turn out to be reasoning */
  #skipReasoning(): boolean {
    if (this.#reasoning) {
      const end = this.#text.indexOf('</think>')
      // The closing tag may arrive in two pieces.
      this.#text = end < 0 ? this.#text.slice(-8) : this.#text.slice(end + 8)
      if (end < 0) return false
      this.#reasoning = false
    }
    const start = this.#text.trimStart()
    if (!this.#first || start === '') return true
    if (start.startsWith('<think>')) {
      this.#reasoning = true
      this.#text = start.slice(7)
      return this.#skipReasoning()
    }
    return !'<think>'.startsWith(start)
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

/**
 * The text without Markdown, on one line.
 * @param lineStart  it is the beginning of a line
 */
function spoken(text: string, lineStart: boolean): string {
  const plain = text
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/\n\s*[-•*]\s+/g, ' ')
    .replace(/`+|(?<!\d)#{1,6}\s+|[*_]{2,}|(?<![\p{L}\d*])[*_](?=\p{L})|(?<=[\p{L}.,!?])[*_](?![\p{L}\d])/gu, '')
  return (
    (lineStart ? plain.replace(/^\s*[-•*]\s+/, '') : plain)
      // What stands alone between the words and is none: a rule of a table, a dash, a picture.
      .replace(/^\s*(?:[^\p{L}\p{N}\p{Sc}\s*#]+\s+)+(?=\S)/u, '')
      .replace(/\s+/g, ' ')
      .trim()
  )
}
