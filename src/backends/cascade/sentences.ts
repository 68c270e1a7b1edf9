/** The first piece may end at a comma, so that the caller hears something soon. */
const FIRST_CLAUSE_CHARS = 60
/** Longer than anyone says in one breath: cut at a blank. */
const SENTENCE_CHARS_MAX = 300
/** A full stop after these does not end a sentence. */
const ABBREVIATION = /(?:^|\s)(?:mr|mrs|ms|dr|prof|st|no|nr|vs|e\.g|i\.e|etc|approx)\.$/i
const SENTENCE_END = /[.!?…]["')\]]?\s|[。！？]|\n/gu

/**
 * Cuts a growing text into pieces to be spoken one after the other. Marks that are for eyes are left out, and so is
 * what a model thinks aloud between `<think>` and `</think>`.
 */
export class Sentences {
  #text = ''
  #first = true
  #thinking = false

  /** @returns the sentences that are complete now */
  push(text: string): string[] {
    this.#text += text
    if (!this.#skipThoughts()) return []
    const out: string[] = []
    for (let end = this.#end(); end > 0; end = this.#end()) this.#take(end, out)
    return out
  }

  /** The text is complete. */
  flush(): string[] {
    const out: string[] = []
    if (!this.#thinking) this.#take(this.#text.length, out)
    this.#text = ''
    return out
  }

  #take(end: number, out: string[]): void {
    const sentence = spoken(this.#text.slice(0, end))
    this.#text = this.#text.slice(end)
    if (sentence === '') return
    this.#first = false
    out.push(sentence)
  }

  /** Where the first piece ends; 0 for not yet. */
  #end(): number {
    SENTENCE_END.lastIndex = 0
    for (let match = SENTENCE_END.exec(this.#text); match !== null; match = SENTENCE_END.exec(this.#text)) {
      const end = match.index + match[0].length
      const before = this.#text.slice(0, end).trimEnd()
      if (!ABBREVIATION.test(before)) return end
    }
    if (this.#first && this.#text.length >= FIRST_CLAUSE_CHARS) {
      const comma = this.#text.slice(0, -1).search(/[,;:]\s(?!.*[,;:]\s)/s)
      if (comma > 0) return comma + 2
    }
    if (this.#text.length <= SENTENCE_CHARS_MAX) return 0
    const blank = this.#text.lastIndexOf(' ', SENTENCE_CHARS_MAX)
    return blank > 0 ? blank + 1 : SENTENCE_CHARS_MAX
  }

  /** @returns false while nothing can be said about the text yet */
  #skipThoughts(): boolean {
    if (this.#thinking) {
      const end = this.#text.indexOf('</think>')
      // The closing mark may be cut in two.
      this.#text = end < 0 ? this.#text.slice(-8) : this.#text.slice(end + 8)
      if (end < 0) return false
      this.#thinking = false
    }
    const start = this.#text.trimStart()
    if (!this.#first || start === '') return true
    if (start.startsWith('<think>')) {
      this.#thinking = true
      this.#text = start.slice(7)
      return this.#skipThoughts()
    }
    return !'<think>'.startsWith(start)
  }
}

/** Without the marks of Markdown, on one line. */
function spoken(text: string): string {
  return text.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[*_`#]+|^\s*[-•]\s+/gm, '').replace(/\s+/g, ' ').trim()
}
