import type { ClaimWords } from '../words/language.js'
import { WORDS } from '../words/languages.js'

/** Limits in words: words that one `*` of a phrase matches, and words of one phrase including its lists. */
const CLAIM_GAP_WORDS_MAX = 8
const CLAIM_PHRASE_WORDS_MAX = 200
/**
 * Maximum number of `*` within brackets in one phrase. Each such `*` multiplies the number of attempts by the number of
 * words that it may match.
 */
const CLAIM_INNER_GAPS_MAX = 3
const CLAIM_BRACKETS_MAX = 6
/** Number of letters of a word that are compared. */
const CLAIM_WORD_CHARS_MAX = 40

/** Claim phrases of languages that the agent's file need not define. */
export const CLAIM_LANGUAGES: Readonly<Record<string, ClaimWords>> = Object.fromEntries(
  Object.entries(WORDS).map(([language, { claims }]) => [language, claims]),
)

/** A phrase that was found. */
interface FoundPhrase {
  /** Index of the phrase in the matcher's list. */
  readonly phrase: number
  /** Number of characters in the text up to the end of the phrase. */
  readonly endChar: number
}

/**
 * Finds phrases in an agent's words. A phrase is a pattern of words:
 *
 *     cancelled          this word; capitals, apostrophes and punctuation do not count: I've is `ive`
 *     nime*futa          a word with this beginning and end
 *     *                  up to CLAIM_GAP_WORDS_MAX words of the clause, except words of `not`, `if` or `breaks`
 *     (one | other way)  one of the alternatives
 *     [now]              optional
 *     <have>             one of a list of words
 *
 * A phrase lies within one clause. A clause ends at a punctuation mark and before a word of `joins`. Internally a
 * clause is written as ` i have! it `, with a `!` after each word that a `*` must not match. Each phrase becomes a
 * regular expression over a clause in this form.
 */
export class PhraseMatcher {
  readonly #phrases: readonly RegExp[]
  readonly #not: RegExp
  /**
   * Matches a clause that is a question or a condition. This clause and all later clauses of the sentence are not
   * claims.
   */
  readonly #open: RegExp
  readonly #breaks: RegExp
  readonly #clauseEnd: RegExp

  /**
   * @param lists  lists of words by name, for `<name>`; alternatives are written as in brackets
   * @throws SyntaxError with the phrase and its fault
   */
  constructor(phrases: readonly string[], language: ClaimWords, lists: Readonly<Record<string, string>> = {}) {
    this.#not = new RegExp(` ${oneOf(language.not)}! `)
    this.#open = new RegExp(`^ ${oneOf(language.asks)} | ${oneOf(language.if)} `)
    this.#breaks = new RegExp(` ${oneOf([...language.not, ...language.breaks])}(?= )`, 'g')
    this.#clauseEnd = new RegExp(`[,.?]|(?= ${oneOf(language.joins)}(?:[ ,.?]|$))`)
    this.#phrases = phrases.map((phrase) => regExpOf(phrase, lists))
  }

  /** Returns each phrase that `text` contains, once, with the end position of its first match. */
  find(text: string): FoundPhrase[] {
    const found = new Map<number, number>()
    const endChars: number[] = []
    // The line contains a space before each word. It also contains the marks of the text: `?` and `.` end a sentence,
    // `,` divides it.
    let line = ''
    for (const { 0: mark, 1: word, 2: end, index } of text.normalize('NFC').matchAll(PIECE)) {
      if (word === undefined) line += end === undefined ? ',' : mark === '?' ? '?' : '.'
      else {
        line += ` ${plain(word)}`
        endChars.push(index + word.length)
      }
    }
    let words = 0
    for (const sentence of line.split(/(?<=[.?])/)) {
      let before = words
      words += wordsIn(sentence)
      const clauses = sentence.split(this.#clauseEnd).filter((clause) => clause !== '')
      if (sentence.endsWith('?')) clauses.pop()
      for (const clause of clauses) {
        if (this.#open.test(`${clause} `)) break
        const marked = `${clause} `.replace(this.#breaks, '$&!')
        // The clause is searched up to its first negation, which may be a word of the phrase itself.
        const negation = marked.search(this.#not)
        this.#phrases.forEach((phrase, index) => {
          const match = found.has(index) ? null : phrase.exec(marked)
          if (match === null || (negation >= 0 && match.index > negation)) return
          const last = before + wordsIn(marked.slice(0, match.index + match[0].length - 1))
          found.set(index, endChars[last - 1] ?? 0)
        })
        before += wordsIn(clause)
      }
    }
    return [...found].map(([phrase, endChar]) => ({ phrase, endChar }))
  }
}

/** Number of words in a text that has a space before each word. */
function wordsIn(text: string): number {
  return text.split(' ').length - 1
}

/** Regular expression of each special token in a phrase. All other tokens are words, or `*`. */
const SIGNS: ReadonlyMap<string, string> = new Map(
  Object.entries({ '(': '(?:', '[': '(?:', ')': ')', ']': ')?', '|': '|' }),
)
const GAP = `(?:[^ !]+ ){0,${CLAIM_GAP_WORDS_MAX}}?`

/**
 * Returns a regular expression that finds a phrase in a clause. The clause has a space after each word. A `*` outside
 * brackets takes only the nearest match, so the time is linear.
 */
function regExpOf(phrase: string, lists: Readonly<Record<string, string>>): RegExp {
  const tokens = tokensOf(phrase, lists)
  if (tokens.filter((token) => !SIGNS.has(token)).length > CLAIM_PHRASE_WORDS_MAX)
    throw wrong(phrase, `more than ${CLAIM_PHRASE_WORDS_MAX} words, its lists included,`)
  let depth = 0
  let gaps = 0
  let innerGaps = 0
  let close = ''
  const sources = tokens.map((token) => {
    if (token === '(' || token === '[') depth++
    if (token === ')' || token === ']') depth--
    if (token === '*' && depth > 0) {
      innerGaps++
      return GAP
    }
    if (depth > 0 || (token !== '*' && token !== '|')) return SIGNS.get(token) ?? `${glob(token)}!? `
    const before = close
    close = token === '*' ? `))\\k<gap${++gaps}>` : ''
    return token === '*' ? `${before}(?=(?<gap${gaps}>${GAP}` : `${before}|`
  })
  if (innerGaps > CLAIM_INNER_GAPS_MAX)
    throw wrong(phrase, `more than ${CLAIM_INNER_GAPS_MAX} * within brackets, its lists included,`)
  // At least one word must be required in a phrase, and it must come before the first `*`.
  const shape = tokens.map((token) => SIGNS.get(token) ?? (token === '*' ? '\\*?' : 'w')).join('')
  if (new RegExp(`^(?:${shape})`).test(`*${'w'.repeat(CLAIM_PHRASE_WORDS_MAX)}`))
    throw new SyntaxError(`${JSON.stringify(phrase)} does not begin with a word`)
  return new RegExp(` (?:${sources.join('')}${close})`)
}

/** Returns the fault of a phrase; null for a valid phrase. `lists`: word lists by name, see `PhraseMatcher`. */
export function phraseFault(phrase: string, lists: Readonly<Record<string, string>>): string | null {
  try {
    regExpOf(phrase, lists)
    return null
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return thrown.message
    throw thrown
  }
}

function wrong(phrase: string, what: string): SyntaxError {
  return new SyntaxError(`${what} in ${JSON.stringify(phrase)}`)
}

const TOKEN = /([[\]()|])|<([a-z][a-z0-9-]*)>|([\p{L}\p{N}*'\u2019]+)|\S/gu

/** Returns the words and signs of a phrase. Each list is replaced by its words in brackets. */
function tokensOf(phrase: string, lists: Readonly<Record<string, string>>): string[] {
  const tokens = [...phrase.normalize('NFC').matchAll(TOKEN)].flatMap(({ 0: token, 1: sign, 2: name, 3: word }) => {
    if (sign !== undefined) return sign
    if (word !== undefined) return plain(word)
    if (name === undefined)
      throw new SyntaxError(
        `${JSON.stringify(token)} in ${JSON.stringify(phrase)}; a phrase has words, *, ( | ), [ ] and <list>`,
      )
    const list = Object.hasOwn(lists, name) ? lists[name] : undefined
    if (list === undefined) throw wrong(phrase, `${token}, which no list of words is called,`)
    if (list.includes('<')) throw wrong(phrase, `${token}, whose list names another list,`)
    return ['(', ...tokensOf(list, {}), ')']
  })
  const open: string[] = []
  for (const token of tokens) {
    if (token === '(' || token === '[') open.push(token === '(' ? ')' : ']')
    else if ((token === ')' || token === ']') && open.pop() !== token) throw wrong(phrase, `a ${token} too many`)
    if (open.length > CLAIM_BRACKETS_MAX) throw wrong(phrase, `brackets deeper than ${CLAIM_BRACKETS_MAX}`)
  }
  const missing = open.pop()
  if (missing !== undefined) throw wrong(phrase, `a missing ${missing}`)
  if (/(?:^|[([|])(?:[)\]|]|$)/.test(tokens.map((token) => (SIGNS.has(token) ? token : 'w')).join('')))
    throw wrong(phrase, 'an empty choice')
  return tokens
}

/** Returns a word in its form for comparison. */
function plain(word: string): string {
  return word
    .toLowerCase()
    .replace(/['\u2019]/g, '')
    .slice(0, CLAIM_WORD_CHARS_MAX)
}

/** Regular expression of a word in which `*` matches any letters. */
function glob(word: string): string {
  if (word.split('*').length > 3) throw new SyntaxError(`${JSON.stringify(word)} has more than two *`)
  return word.replace(/[\\^$.+?()[\]{}|/]/g, '\\$&').replaceAll('*', '[^ !]*')
}

/** Regular expression that matches any of some words. */
function oneOf(words: readonly string[]): string {
  return words.length === 0 ? '(?!)' : `(?:${words.map((word) => glob(plain(word))).join('|')})`
}

/**
 * Matches a word, a mark that ends a sentence, or a mark within a sentence. The first two characters of a piece
 * determine its kind, so that no character is read twice.
 */
const PIECE =
  /([\p{L}\p{N}]+(?:['\u2019][\p{L}\p{N}]+)*)|([.!?\u2026](?=[\s.!?\u2026"'\u201d)\]]|$)|\n)|([,;:](?=\s|$)|[()\u2013\u2014"\u201c\u201d]|-(?=\s))/gu
