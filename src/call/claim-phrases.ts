import { en } from './claim-words/en.js'
import type { ClaimLanguage } from './claim-words/language.js'
import { sw } from './claim-words/sw.js'

/** Words that a `*` of a phrase stands for, and words of a phrase with its lists. */
const CLAIM_GAP_WORDS_MAX = 8
const CLAIM_PHRASE_WORDS_MAX = 200

/** English and Swahili, which agents need not bring along. */
export const CLAIM_LANGUAGES: Readonly<Record<string, ClaimLanguage>> = { en, sw }

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

/** A set of the places of a clause: bit n is the place before word n. */
type Places = bigint

/** The clause that is searched. */
interface Search {
  /** The words that a pattern matches. */
  readonly like: (pattern: Pattern) => Places
  /** The words that a `*` may pass. */
  readonly passable: Places
}

/** All places that the rest of the clause may begin at, when this part of a phrase begins at one of `from`. */
type Step = (from: Places, search: Search) => Places

/** A part of a phrase. */
interface Part {
  readonly step: Step
  /** It may be left out. */
  readonly empty: boolean
  /** It may begin with a `*`. */
  readonly gapFirst: boolean
}

/** A word, or a word with `*` for any letters. */
type Pattern = string | RegExp

/**
 * Finds phrases in what an agent said. A phrase is a regular expression over words:
 *
 *     cancelled          that word; capitals, apostrophes and punctuation do not count: I've is `ive`
 *     nime*futa          a word that begins and ends so
 *     *                  up to CLAIM_GAP_WORDS_MAX words of the same clause, none of them of `not`, `if` or `breaks`
 *     (one | other way)  one of them
 *     [now]              perhaps
 *     <have>             one of a list of words
 *
 * A phrase lies within one clause. A clause ends at a punctuation mark and before one of `joins`. Each part of a phrase maps
 * all places where it may begin to all places where it may end, so nothing is tried twice: the time is linear in the text.
 */
export class PhraseMatcher {
  readonly #phrases: readonly Step[]
  readonly #not: (word: string) => boolean
  readonly #if: (word: string) => boolean
  readonly #asks: (word: string) => boolean
  readonly #breaks: (word: string) => boolean
  readonly #joins: readonly (readonly string[])[]

  /**
   * @param lists  words by name, for `<name>`: alternatives as in brackets
   * @throws SyntaxError that says what is wrong with which phrase
   */
  constructor(phrases: readonly string[], language: ClaimLanguage, lists: Readonly<Record<string, string>> = {}) {
    this.#not = isOneOf(language.not)
    this.#if = isOneOf(language.if)
    this.#asks = isOneOf(language.asks)
    this.#breaks = isOneOf(language.breaks)
    this.#joins = language.joins.map((join) => join.split(' '))
    this.#phrases = phrases.map((phrase) => {
      const { step, empty, gapFirst } = new PhraseReader(phrase, lists).read()
      if (empty || gapFirst) throw new SyntaxError(`${JSON.stringify(phrase)} does not begin with a word`)
      return step
    })
  }

  /** The phrases of `text`, each once, with the first place at which it ends. */
  find(text: string): FoundPhrase[] {
    const found = new Map<number, number>()
    for (const sentence of sentencesOf(text)) {
      for (const clause of this.#claimingClauses(sentence)) this.#match(clause, found)
    }
    return [...found].map(([phrase, endChar]) => ({ phrase, endChar }))
  }

  #match(clause: readonly Word[], found: Map<number, number>): void {
    const places = new Map<Pattern, Places>()
    clause.forEach(({ word }, index) => places.set(word, (places.get(word) ?? 0n) | (1n << BigInt(index))))
    const like = (pattern: Pattern): Places => {
      let found = places.get(pattern)
      if (found === undefined) {
        found = typeof pattern === 'string' ? 0n : placesOf(clause, ({ word }) => pattern.test(word))
        places.set(pattern, found)
      }
      return found
    }
    const search = { like, passable: placesOf(clause, ({ word }) => !this.#not(word) && !this.#breaks(word)) }
    // Up to the first negation, which may be a word of the phrase itself.
    const negation = clause.findIndex(({ word }) => this.#not(word))
    const begins = (1n << BigInt(negation < 0 ? clause.length : negation + 1)) - 1n
    this.#phrases.forEach((step, phrase) => {
      if (found.has(phrase)) return
      const ends = step(begins, search)
      if (ends !== 0n) found.set(phrase, clause[lowest(ends) - 1]?.endChar ?? 0)
    })
  }

  /** The clauses of a sentence in which there may be a claim: not after a condition, and not in a question. */
  *#claimingClauses({ parts, question }: Sentence): Generator<readonly Word[]> {
    const clauses = parts.flatMap((part) => this.#joined(part)).filter((clause) => clause.length > 0)
    if (question) clauses.pop()
    for (const clause of clauses) {
      if (this.#asks(clause[0]?.word ?? '') || clause.some(({ word }) => this.#if(word))) return
      yield clause
    }
  }

  /** Splits words before each of `joins`. */
  #joined(part: readonly Word[]): Word[][] {
    const clauses: Word[][] = [[]]
    part.forEach((word, index) => {
      if (this.#joins.some((join) => join.every((expected, at) => part[index + at]?.word === expected)))
        clauses.push([])
      clauses.at(-1)?.push(word)
    })
    return clauses
  }
}

function placesOf(clause: readonly Word[], matches: (word: Word) => boolean): Places {
  return BigInt(
    `0b0${clause
      .map((word) => (matches(word) ? '1' : '0'))
      .reverse()
      .join('')}`,
  )
}

/** The lowest place of a set that has one. */
function lowest(places: Places): number {
  return (places & -places).toString(2).length - 1
}

const GAP: Part = {
  step: (from, { passable }) => {
    let places = from
    for (let words = 0; words < CLAIM_GAP_WORDS_MAX; words++) places |= (places & passable) << 1n
    return places
  },
  empty: true,
  gapFirst: true,
}

const DEPTH_MAX = 6

/** Reads one phrase. */
class PhraseReader {
  readonly #source: string
  readonly #tokens: readonly string[]
  readonly #lists: Readonly<Record<string, string>>
  #at = 0
  #words = 0

  constructor(source: string, lists: Readonly<Record<string, string>>) {
    this.#source = source
    this.#tokens = tokensOf(source)
    this.#lists = lists
  }

  read(): Part {
    const part = this.#any(0)
    if (this.#at < this.#tokens.length) throw this.#wrong(`a ${this.#tokens[this.#at] ?? ''} too many`)
    return part
  }

  #wrong(what: string): SyntaxError {
    return new SyntaxError(`${what} in ${JSON.stringify(this.#source)}`)
  }

  #any(depth: number): Part {
    if (depth > DEPTH_MAX) throw this.#wrong(`brackets deeper than ${DEPTH_MAX}`)
    const choices = [this.#all(depth)]
    while (this.#tokens[this.#at] === '|') {
      this.#at++
      choices.push(this.#all(depth))
    }
    return {
      step: (from, search) => choices.reduce((places, { step }) => places | step(from, search), 0n),
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
      step: (from, search) => parts.reduce((places, { step }) => (places === 0n ? 0n : step(places, search)), from),
      empty: needed < 0,
      gapFirst: parts.slice(0, needed < 0 ? parts.length : needed + 1).some(({ gapFirst }) => gapFirst),
    }
  }

  #one(token: string, depth: number): Part {
    if (token === '(' || token === '[') {
      const inner = this.#any(depth + 1)
      const close = token === '(' ? ')' : ']'
      if (this.#tokens[this.#at] !== close) throw this.#wrong(`a missing ${close}`)
      this.#at++
      if (token === '(') return inner
      return { ...inner, step: (from, search) => from | inner.step(from, search), empty: true }
    }
    if (token.startsWith('<')) return this.#list(token)
    this.#count(1)
    if (token === '*') return GAP
    const pattern = token.includes('*') ? globOf(token) : token
    const step: Step = (from, { like }) => {
      const places = like(pattern)
      return places === 0n ? 0n : (from & places) << 1n
    }
    return { step, empty: false, gapFirst: false }
  }

  #list(token: string): Part {
    const list = this.#lists[token.slice(1, -1)]
    if (list === undefined) throw this.#wrong(`${token}, which no list of words is called,`)
    if (list.includes('<')) throw this.#wrong(`${token}, whose list names another list,`)
    const reader = new PhraseReader(list, {})
    const part = reader.read()
    this.#count(reader.#words)
    return part
  }

  #count(words: number): void {
    this.#words += words
    if (this.#words > CLAIM_PHRASE_WORDS_MAX)
      throw new SyntaxError(
        `${JSON.stringify(this.#source)} has more than ${CLAIM_PHRASE_WORDS_MAX} words, its lists included`,
      )
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
  return word.toLowerCase().replace(/['\u2019]/g, '')
}

/** A word in which `*` stands for any letters. */
function globOf(glob: string): RegExp {
  const [head = '', ...rest] = glob.replace(/[\\^$.+?()[\]{}|/]/g, '\\$&').split(/\*+/)
  const tail = rest.pop() ?? ''
  // A look-ahead is never entered again, and \\n takes what it found: the time is linear in the word.
  const middle = rest.map((part, index) => `(?=(.*?${part}))\\${index + 1}`).join('')
  return new RegExp(`^${head}${middle}.*${tail}$`, 'u')
}

function isOneOf(list: readonly string[]): (word: string) => boolean {
  const plain = new Set(list)
  const globs = list.filter((word) => word.includes('*')).map(globOf)
  return (word) => plain.has(word) || globs.some((glob) => glob.test(word))
}

interface Sentence {
  /** Its words, divided by the marks within it. */
  readonly parts: readonly (readonly Word[])[]
  /** It ends with a question mark. */
  readonly question: boolean
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
