import type { ClaimWords } from './words/language.js'
import { WORDS } from './words/languages.js'

/** Words that a `*` of a phrase stands for, and words of a phrase with its lists. */
const CLAIM_GAP_WORDS_MAX = 8
const CLAIM_PHRASE_WORDS_MAX = 200
/** `*` within brackets, of one phrase: each multiplies the tries by the words that it may stand for. */
const CLAIM_INNER_GAPS_MAX = 3
const CLAIM_BRACKETS_MAX = 6
/** Letters of a word that are compared. */
const CLAIM_WORD_CHARS_MAX = 40

/** Of the languages which agents need not bring along. */
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

interface Word {
  readonly word: string
  /** Characters of the text up to its end. */
  readonly endChar: number
}

interface Sentence {
  /** Its words, divided by the marks within it. */
  readonly parts: readonly (readonly Word[])[]
  /** It ends with a question mark. */
  readonly question: boolean
}

interface Clause {
  /** Its words, with a space before each and at the end. */
  readonly text: string
  readonly words: readonly Word[]
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
  readonly #if: RegExp
  readonly #asks: RegExp
  readonly #breaks: RegExp
  readonly #joins: RegExp

  /**
   * @param lists  words by name, for `<name>`: alternatives as in brackets
   * @throws SyntaxError that says what is wrong with which phrase
   */
  constructor(phrases: readonly string[], language: ClaimWords, lists: Readonly<Record<string, string>> = {}) {
    this.#not = new RegExp(` ${oneOf(language.not)}! `)
    this.#if = new RegExp(` ${oneOf(language.if)} `)
    this.#asks = new RegExp(`^ ${oneOf(language.asks)} `)
    this.#breaks = new RegExp(` ${oneOf([...language.not, ...language.breaks])}(?= )`, 'g')
    this.#joins = new RegExp(`(?= ${oneOf(language.joins)} )`)
    this.#phrases = phrases.map((phrase) => new PhraseReader(phrase, lists).read())
  }

  /** The phrases of `text`, each once, with the first place at which it ends. */
  find(text: string): FoundPhrase[] {
    const found = new Map<number, number>()
    for (const sentence of sentencesOf(text)) {
      for (const { text, words } of this.#claimingClauses(sentence)) {
        const marked = text.replace(this.#breaks, '$&!')
        // Up to the first negation, which may be a word of the phrase itself.
        const negation = marked.search(this.#not)
        this.#phrases.forEach((phrase, index) => {
          const match = found.has(index) ? null : phrase.exec(marked)
          if (match === null || (negation >= 0 && match.index > negation)) return
          const last = wordsIn(marked.slice(0, match.index + match[0].length - 1))
          found.set(index, words[last - 1]?.endChar ?? 0)
        })
      }
    }
    return [...found].map(([phrase, endChar]) => ({ phrase, endChar }))
  }

  /** The clauses of a sentence in which there may be a claim: not after a condition, and not in a question. */
  *#claimingClauses({ parts, question }: Sentence): Generator<Clause> {
    const clauses = parts.flatMap((part) => this.#joined(part))
    if (question) clauses.pop()
    for (const clause of clauses) {
      if (this.#asks.test(clause.text) || this.#if.test(clause.text)) return
      yield clause
    }
  }

  /** Splits words before each of `joins`. */
  #joined(part: readonly Word[]): Clause[] {
    if (part.length === 0) return []
    let at = 0
    return ` ${part.map(({ word }) => word).join(' ')} `.split(this.#joins).map((text) => {
      const from = at
      at += wordsIn(text.trimEnd())
      return { text: `${text.trimEnd()} `, words: part.slice(from, at) }
    })
  }
}

/** Words of a text that has a space before each. */
function wordsIn(text: string): number {
  return text.split(' ').length - 1
}

/** A part of a phrase. */
interface Part {
  /** Of a regular expression, which matches a space after each word. */
  readonly source: string
  /** It may be left out. */
  readonly empty: boolean
  /** It may begin with a `*`. */
  readonly gapFirst: boolean
}

const GAP: Part = { source: `(?:[^ !]+ ){0,${CLAIM_GAP_WORDS_MAX}}?`, empty: true, gapFirst: true }

/** Reads one phrase. */
class PhraseReader {
  readonly #source: string
  readonly #tokens: readonly string[]
  readonly #lists: Readonly<Record<string, string>>
  #at = 0
  #words = 0
  #innerGaps = 0
  #gaps = 0

  constructor(source: string, lists: Readonly<Record<string, string>>) {
    this.#source = source
    this.#tokens = tokensOf(source)
    this.#lists = lists
  }

  read(): RegExp {
    const { source, empty, gapFirst } = this.#whole(0)
    if (empty || gapFirst) throw new SyntaxError(`${JSON.stringify(this.#source)} does not begin with a word`)
    return new RegExp(` (?:${source})`)
  }

  #whole(depth: number): Part {
    const part = this.#any(depth)
    if (this.#at < this.#tokens.length) throw this.#wrong(`a ${this.#tokens[this.#at] ?? ''} too many`)
    return part
  }

  #wrong(what: string): SyntaxError {
    return new SyntaxError(`${what} in ${JSON.stringify(this.#source)}`)
  }

  #any(depth: number): Part {
    if (depth > CLAIM_BRACKETS_MAX) throw this.#wrong(`brackets deeper than ${CLAIM_BRACKETS_MAX}`)
    const choices = [this.#all(depth)]
    while (this.#tokens[this.#at] === '|') {
      this.#at++
      choices.push(this.#all(depth))
    }
    return {
      source: choices.map(({ source }) => source).join('|'),
      empty: choices.some(({ empty }) => empty),
      gapFirst: choices.some(({ gapFirst }) => gapFirst),
    }
  }

  #all(depth: number): Part {
    const parts: Part[] = []
    for (let token = this.#tokens[this.#at]; token !== undefined && !/^[)\]|]$/.test(token);) {
      this.#at++
      parts.push(this.#one(token, depth))
      token = this.#tokens[this.#at]
    }
    if (parts.length === 0) throw this.#wrong('an empty choice')
    const needed = parts.findIndex(({ empty }) => !empty)
    return {
      source: depth === 0 ? this.#committed(parts) : parts.map(({ source }) => source).join(''),
      empty: needed < 0,
      gapFirst: parts.slice(0, needed < 0 ? parts.length : needed + 1).some(({ gapFirst }) => gapFirst),
    }
  }

  /**
   * The parts of a phrase in a row. A `*` outside of brackets takes the nearest words that go on up to the next such `*`, and
   * nothing further is tried: a look-ahead is never entered again. So the time is linear in the text.
   */
  #committed(parts: readonly Part[]): string {
    let close = ''
    const sources = parts.map((part) => {
      if (part !== GAP) return part.source
      const [before, name] = [close, `gap${++this.#gaps}`]
      close = `))\\k<${name}>`
      return `${before}(?=(?<${name}>${part.source}`
    })
    return sources.join('') + close
  }

  #one(token: string, depth: number): Part {
    if (token === '(' || token === '[') {
      const { source, empty, gapFirst } = this.#any(depth + 1)
      const close = token === '(' ? ')' : ']'
      if (this.#tokens[this.#at++] !== close) throw this.#wrong(`a missing ${close}`)
      return { source: `(?:${source})${token === '[' ? '?' : ''}`, empty: empty || token === '[', gapFirst }
    }
    if (token.startsWith('<')) return this.#list(token)
    this.#count(1, token === '*' && depth > 0 ? 1 : 0)
    return token === '*' ? GAP : { source: `${glob(token)}!? `, empty: false, gapFirst: false }
  }

  #list(token: string): Part {
    const list = this.#lists[token.slice(1, -1)]
    if (list === undefined) throw this.#wrong(`${token}, which no list of words is called,`)
    if (list.includes('<')) throw this.#wrong(`${token}, whose list names another list,`)
    const reader = new PhraseReader(list, {})
    const part = reader.#whole(1)
    this.#count(reader.#words, reader.#innerGaps)
    return { ...part, source: `(?:${part.source})` }
  }

  #count(words: number, innerGaps: number): void {
    this.#words += words
    this.#innerGaps += innerGaps
    const phrase = JSON.stringify(this.#source)
    if (this.#words > CLAIM_PHRASE_WORDS_MAX)
      throw new SyntaxError(`${phrase} has more than ${CLAIM_PHRASE_WORDS_MAX} words, its lists included`)
    if (this.#innerGaps > CLAIM_INNER_GAPS_MAX)
      throw new SyntaxError(`${phrase} has more than ${CLAIM_INNER_GAPS_MAX} * within brackets, its lists included`)
  }
}

const TOKEN = /\s*(?:([[\]()|])|(<[a-z][a-z0-9-]*>)|([\p{L}\p{N}*'\u2019]+))/uy

function tokensOf(source: string): string[] {
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  const text = source.normalize('NFC').trim()
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex
    const found = TOKEN.exec(text)
    if (found === null)
      throw new SyntaxError(
        `${JSON.stringify(text.slice(at).trim().slice(0, 1))} in ${JSON.stringify(source)}; a phrase has words, *, ( | ), [ ] and <list>`,
      )
    tokens.push(found[1] ?? found[2] ?? plain(found[3] ?? ''))
  }
  return tokens
}

/** A word as it is compared. */
function plain(word: string): string {
  return word
    .toLowerCase()
    .replace(/['\u2019]/g, '')
    .slice(0, CLAIM_WORD_CHARS_MAX)
}

/** Of a regular expression: a word in which `*` stands for any letters. */
function glob(word: string): string {
  if (word.split('*').length > 3) throw new SyntaxError(`${JSON.stringify(word)} has more than two *`)
  return word.replace(/[\\^$.+?()[\]{}|/]/g, '\\$&').replaceAll('*', '[^ !]*')
}

/** Of a regular expression: one of some words. */
function oneOf(words: readonly string[]): string {
  return words.length === 0 ? '(?!)' : `(?:${words.map((word) => glob(plain(word))).join('|')})`
}

/** A word; a mark that ends a sentence; one within it. The first two characters decide, so nothing is read twice. */
const PIECE =
  /([\p{L}\p{N}]+(?:['\u2019][\p{L}\p{N}]+)*)|([.!?\u2026](?=[\s.!?\u2026"'\u201d)\]]|$)|\n)|([,;:](?=\s|$)|[()\u2013\u2014"\u201c\u201d]|-(?=\s))/gu

function sentencesOf(text: string): Sentence[] {
  const sentences: Sentence[] = []
  let parts: Word[][] = [[]]
  for (const { 0: piece, 1: word, 2: end, index } of text.normalize('NFC').matchAll(PIECE)) {
    if (word !== undefined) parts.at(-1)?.push({ word: plain(word), endChar: index + word.length })
    else if (end === undefined) parts.push([])
    else {
      sentences.push({ parts, question: piece === '?' })
      parts = [[]]
    }
  }
  sentences.push({ parts, question: false })
  return sentences
}
