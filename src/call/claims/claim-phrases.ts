import type { ClaimWords } from '../words/language.js'
import { WORDS } from '../words/languages.js'

/** Words that a `*` of a phrase stands for, and words of a phrase with its lists. */
const CLAIM_GAP_WORDS_MAX = 8
const CLAIM_PHRASE_WORDS_MAX = 200
/** `*` within brackets, of one phrase: each multiplies the tries by the words that it may stand for. */
const CLAIM_INNER_GAPS_MAX = 3
const CLAIM_BRACKETS_MAX = 6
/** Letters of a word that are compared. */
const CLAIM_WORD_CHARS_MAX = 40

/** Claim phrases of the languages that need none in the agent's file. */
export const CLAIM_LANGUAGES: Readonly<Record<string, ClaimWords>> = Object.fromEntries(
  Object.entries(WORDS).map(([language, { claims }]) => [language, claims]),
)

/** One phrase that was found. */
interface FoundPhrase {
  /** Its index in the list that the matcher was made of. */
  readonly phrase: number
  /** Characters of the text up to its end. */
  readonly endChar: number
}

/**
 * Finds phrases in what an agent said. A phrase is a pattern of words:
 *
 *     cancelled          that word; capitals, apostrophes and punctuation do not count: I've is `ive`
 *     nime*futa          a word that begins and ends so
 *     *                  up to CLAIM_GAP_WORDS_MAX words of the same clause, none of them of `not`, `if` or `breaks`
 *     (one | other way)  one of them
 *     [now]              perhaps
 *     <have>             one of a list of words
 *
 * A phrase lies within one clause. A clause ends at a punctuation mark and before one of `joins`. It is written as
 * ` i have! it `, with a `!` after each word that no `*` passes, and each phrase is a regular expression over that text.
 */
export class PhraseMatcher {
  readonly #phrases: readonly RegExp[]
  readonly #not: RegExp
  /** A clause in which there is no claim, nor after it in its sentence: a condition or a question. */
  readonly #open: RegExp
  readonly #breaks: RegExp
  readonly #clauseEnd: RegExp

  /**
   * @param lists  words by name, for `<name>`: alternatives as in brackets
   * @throws SyntaxError that says what is wrong with which phrase
   */
  constructor(phrases: readonly string[], language: ClaimWords, lists: Readonly<Record<string, string>> = {}) {
    this.#not = new RegExp(` ${oneOf(language.not)}! `)
    this.#open = new RegExp(`^ ${oneOf(language.asks)} | ${oneOf(language.if)} `)
    this.#breaks = new RegExp(` ${oneOf([...language.not, ...language.breaks])}(?= )`, 'g')
    this.#clauseEnd = new RegExp(`[,.?]|(?= ${oneOf(language.joins)}(?:[ ,.?]|$))`)
    this.#phrases = phrases.map((phrase) => regExpOf(phrase, lists))
  }

  /** The phrases of `text`, each once, with the first place at which it ends. */
  find(text: string): FoundPhrase[] {
    const found = new Map<number, number>()
    const endChars: number[] = []
    // A space before each word, and one mark for each of the text's: `?` and `.` end a sentence, `,` divides it.
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
        // Up to the first negation, which may be a word of the phrase itself.
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

/** Words of a text that has a space before each. */
function wordsIn(text: string): number {
  return text.split(' ').length - 1
}

/** Regular expression of each special token of a phrase. Any other token is a word, or `*`. */
const SIGNS: ReadonlyMap<string, string> = new Map(
  Object.entries({ '(': '(?:', '[': '(?:', ')': ')', ']': ')?', '|': '|' }),
)
const GAP = `(?:[^ !]+ ){0,${CLAIM_GAP_WORDS_MAX}}?`

/**
 * A phrase over a clause, a space after each word. A `*` outside of brackets takes the nearest words that go on up to the
 * next such `*`, and nothing further is tried: a look-ahead is never entered again. So the time is linear in the text.
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
  // It must not be possible to leave out what comes before the first `*`, nor everything.
  const shape = tokens.map((token) => SIGNS.get(token) ?? (token === '*' ? '\\*?' : 'w')).join('')
  if (new RegExp(`^(?:${shape})`).test(`*${'w'.repeat(CLAIM_PHRASE_WORDS_MAX)}`))
    throw new SyntaxError(`${JSON.stringify(phrase)} does not begin with a word`)
  return new RegExp(` (?:${sources.join('')}${close})`)
}

/** Fault of a phrase; null: none. `lists` as for the matcher. */
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

/** The words and signs of a phrase, in place of each list its words in brackets. */
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

/** A word as it is compared. */
function plain(word: string): string {
  return word
    .toLowerCase()
    .replace(/['\u2019]/g, '')
    .slice(0, CLAIM_WORD_CHARS_MAX)
}

/** Regular expression of a word in which `*` stands for any letters. */
function glob(word: string): string {
  if (word.split('*').length > 3) throw new SyntaxError(`${JSON.stringify(word)} has more than two *`)
  return word.replace(/[\\^$.+?()[\]{}|/]/g, '\\$&').replaceAll('*', '[^ !]*')
}

/** The part of a regular expression that matches one of some words. */
function oneOf(words: readonly string[]): string {
  return words.length === 0 ? '(?!)' : `(?:${words.map((word) => glob(plain(word))).join('|')})`
}

/** A word; a mark that ends a sentence; one within it. The first two characters decide, so nothing is read twice. */
const PIECE =
  /([\p{L}\p{N}]+(?:['\u2019][\p{L}\p{N}]+)*)|([.!?\u2026](?=[\s.!?\u2026"'\u201d)\]]|$)|\n)|([,;:](?=\s|$)|[()\u2013\u2014"\u201c\u201d]|-(?=\s))/gu
