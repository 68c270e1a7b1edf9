import { CLAIM_GAP_WORDS_MAX, CLAIM_PHRASE_WAYS_MAX, CLAIM_PHRASE_WORDS_MAX } from '../core/limits.js'

/**
 * Finds phrases in what an agent said. A phrase is a regular expression over words, and the matcher steps all of them
 * together through the text, one word at a time: the time is linear in the text, whatever the text or the phrases are.
 *
 *     cancelled          that word; capitals, apostrophes and punctuation do not count: I've is `ive`
 *     nime*futa          a word that begins and ends so
 *     *                  up to CLAIM_GAP_WORDS_MAX words of the same clause, none of them of `not`, `if` or `breaks`
 *     (one | other way)  one of them
 *     [now]              perhaps
 *     <have>             one of a list of words
 *
 * A phrase lies within one clause. A clause ends at a punctuation mark and before one of `joins`.
 */

/** Words of one language that keep a phrase from being a claim. Single words, which may have `*`; `joins` may have two. */
export interface ClaimLanguage {
  /** Nothing after one of them in its clause is a claim, unless the phrase itself has the word. */
  readonly not: readonly string[]
  /** Nothing in its clause, and nothing after it in its sentence, is a claim. */
  readonly if: readonly string[]
  /** At the beginning of a clause: nothing in it and after it in its sentence is a claim. */
  readonly asks: readonly string[]
  /** They begin a new clause. */
  readonly joins: readonly string[]
  /** A `*` of a phrase does not pass them. */
  readonly breaks: readonly string[]
}

/** English and Swahili, which agents need not bring along. */
export const CLAIM_LANGUAGES: Readonly<Record<string, ClaimLanguage>> = {
  en: {
    not: words(
      'not never no none nothing nobody neither nor cannot unable without instead isnt arent wasnt werent hasnt havent ' +
        'hadnt dont doesnt didnt cant couldnt wont wouldnt shouldnt failed unfortunately ensure sure',
    ),
    if: words('if unless once when whenever whether until till before after provided should suppose soon'),
    asks: words(
      'am are is was were do does did has had shall should would will can could may might must what which who why how ' +
        'where',
    ),
    joins: [
      ...words('but so because then therefore since while'),
      'and i',
      'and ive',
      'and we',
      'and weve',
      'and your',
      'and youre',
      'and you',
      'and the',
      'and there',
      'and theres',
      'and it',
      'and a',
    ],
    breaks: words(
      'will would can could shall may might must want wants need needs going ill youll theyll who which that you ' +
        'is are was were has its thats be being about',
    ),
  },
  sw: {
    not: words('si sio siyo hapana wala bila bado hakuna hamna siwezi sikuweza hatuwezi hatukuweza'),
    if: words('ikiwa iwapo endapo pindi kabla wakati'),
    asks: words('je kama ungependa unataka nini gani lini wapi nani'),
    joins: words('lakini kwa_hiyo kwa_sababu kisha'),
    breaks: words('ili kwamba ambayo ambaye uta* nita* ata* nge*'),
  },
}

function words(list: string): string[] {
  return list.split(' ').map((word) => word.replace('_', ' '))
}

interface Word {
  readonly word: string
  /** Characters of the text up to its end. */
  readonly endChar: number
}

interface Clause {
  readonly words: readonly Word[]
  /** Nothing in it is a claim. */
  readonly void: boolean
}

/** One phrase that was found. */
interface FoundPhrase {
  /** Its index in the list that the matcher was made of. */
  readonly phrase: number
  /** Characters of the text up to its end. */
  readonly endChar: number
}

/** A set of words and of words with `*`. */
class WordSet {
  readonly #plain: ReadonlySet<string>
  readonly #globs: readonly Glob[]

  constructor(list: readonly string[]) {
    this.#plain = new Set(list.filter((word) => !word.includes('*')))
    this.#globs = list.filter((word) => word.includes('*')).map((word) => new Glob(word))
  }

  has(word: string): boolean {
    return this.#plain.has(word) || this.#globs.some((glob) => glob.matches(word))
  }
}

/** A part of a phrase as the automaton is built: the places where it begins and ends, and whether it may be left out. */
interface Part {
  readonly first: readonly number[]
  readonly last: readonly number[]
  readonly empty: boolean
}

/** The place of a `*`. */
const GAP = -1

/**
 * All phrases of one language, as one automaton whose places are the words and gaps of the phrases (Glushkov). What a
 * word of the text costs is bounded by the ways out of the places that the word before it has reached.
 */
export class PhraseMatcher {
  /** Of each place: its pattern or GAP, its phrase, the places after it, and whether the phrase may end there. */
  readonly #pattern: number[] = []
  readonly #phrase: number[] = []
  readonly #follow: number[][] = []
  readonly #ends: boolean[] = []
  /** Words of the phrases, each once; those with `*` are tried one by one. */
  readonly #patterns = new Map<string, number>()
  readonly #globs: { readonly glob: Glob; readonly pattern: number }[] = []
  /** Places at which a phrase begins, by pattern. */
  readonly #begins: number[][] = []
  readonly #not: WordSet
  readonly #if: WordSet
  readonly #asks: WordSet
  readonly #breaks: WordSet
  /** Each join by its first word. */
  readonly #joins = new Map<string, string[][]>()
  /** The step at which a pattern was last that of the word, and at which a place was last reached. */
  readonly #likeAt: number[] = []
  readonly #reachedAt: number[] = []
  /** Words that the gap at a place may still take. */
  readonly #left: number[] = []
  #step = 0

  /**
   * @param lists  words by name, for `<name>`: alternatives as in brackets
   * @throws SyntaxError that says what is wrong with which phrase
   */
  constructor(phrases: readonly string[], language: ClaimLanguage, lists: Readonly<Record<string, string>> = {}) {
    this.#not = new WordSet(language.not)
    this.#if = new WordSet(language.if)
    this.#asks = new WordSet(language.asks)
    this.#breaks = new WordSet(language.breaks)
    for (const join of language.joins) {
      const [first = '', ...rest] = join.split(' ')
      this.#joins.set(first, [...(this.#joins.get(first) ?? []), rest])
    }
    phrases.forEach((phrase, index) => {
      this.#add(phrase, index, lists)
    })
  }

  /** The phrases of `text`, each once, with the first place at which it ends. */
  find(text: string): FoundPhrase[] {
    const found = new Map<number, number>()
    for (const sentence of sentencesOf(text)) {
      for (const clause of this.#clauses(sentence)) if (!clause.void) this.#match(clause.words, found)
    }
    return [...found].map(([phrase, endChar]) => ({ phrase, endChar }))
  }

  #match(clause: readonly Word[], found: Map<number, number>): void {
    let active: number[] = []
    let negated = false
    for (const { word, endChar } of clause) {
      this.#step++
      const likes = this.#likes(word)
      const negates = this.#not.has(word)
      const passable = !negates && !this.#breaks.has(word)
      const next: number[] = []
      const reach = (place: number): void => {
        if (this.#reachedAt[place] === this.#step) return
        this.#reachedAt[place] = this.#step
        next.push(place)
        const phrase = this.#phrase[place] ?? 0
        if (this.#ends[place] === true && !found.has(phrase)) found.set(phrase, endChar)
      }
      for (const from of active) {
        for (const place of this.#follow[from] ?? []) {
          const pattern = this.#pattern[place] ?? GAP
          if (pattern !== GAP) {
            if (this.#likeAt[pattern] === this.#step) reach(place)
          } else if (passable) {
            reach(place)
            this.#left[place] = CLAIM_GAP_WORDS_MAX - 1
          }
        }
      }
      // A gap goes on, unless it has just begun anew.
      for (const from of active) {
        const left = this.#left[from] ?? 0
        if (this.#pattern[from] !== GAP || !passable || left === 0 || this.#reachedAt[from] === this.#step) continue
        reach(from)
        this.#left[from] = left - 1
      }
      if (!negated) for (const pattern of likes) for (const place of this.#begins[pattern] ?? []) reach(place)
      active = next
      negated ||= negates
    }
  }

  /** The patterns that the word is like, which are marked. */
  #likes(word: string): number[] {
    const likes: number[] = []
    const plainly = this.#patterns.get(word)
    if (plainly !== undefined) likes.push(plainly)
    for (const { glob, pattern } of this.#globs) if (glob.matches(word)) likes.push(pattern)
    for (const pattern of likes) this.#likeAt[pattern] = this.#step
    return likes
  }

  /** The clauses of a sentence. What follows a condition or a question in it is no claim. */
  #clauses({ parts, question }: Sentence): Clause[] {
    const clauses = parts.flatMap((part) => this.#joined(part)).filter((clause) => clause.length > 0)
    let over = false
    return clauses.map((clause, index) => {
      over ||= this.#asks.has(clause[0]?.word ?? '') || clause.some(({ word }) => this.#if.has(word))
      return { words: clause, void: over || (question && index === clauses.length - 1) }
    })
  }

  /** Splits words before each of `joins`. */
  #joined(part: readonly Word[]): Word[][] {
    const clauses: Word[][] = []
    let clause: Word[] = []
    part.forEach((word, index) => {
      const joins = this.#joins.get(word.word)
      if (joins?.some((rest) => rest.every((expected, at) => part[index + 1 + at]?.word === expected)) === true) {
        clauses.push(clause)
        clause = []
      }
      clause.push(word)
    })
    return [...clauses, clause]
  }

  #add(source: string, phrase: number, lists: Readonly<Record<string, string>>): void {
    const before = this.#pattern.length
    const place = (word: string | null): number => {
      if (this.#pattern.length - before >= CLAIM_PHRASE_WORDS_MAX)
        throw new SyntaxError(
          `${JSON.stringify(source)} has more than ${CLAIM_PHRASE_WORDS_MAX} words, its lists included`,
        )
      this.#phrase.push(phrase)
      this.#follow.push([])
      this.#ends.push(false)
      return this.#pattern.push(word === null ? GAP : this.#patternOf(word)) - 1
    }
    const link = (from: number, to: number): void => void this.#follow[from]?.push(to)
    const part = new PhraseReader(source, lists, place, link).read()
    if (part.empty || part.first.some((first) => this.#pattern[first] === GAP))
      throw new SyntaxError(`${JSON.stringify(source)} does not begin with a word`)
    const ways = this.#follow.slice(before).reduce((sum, follow) => sum + follow.length, 0)
    if (ways > CLAIM_PHRASE_WAYS_MAX)
      throw new SyntaxError(`${JSON.stringify(source)} has too many alternatives one after the other`)
    for (const last of part.last) this.#ends[last] = true
    for (const first of part.first) this.#begins[this.#pattern[first] ?? 0]?.push(first)
  }

  #patternOf(word: string): number {
    const known = this.#patterns.get(word)
    if (known !== undefined) return known
    const pattern = this.#begins.push([]) - 1
    this.#patterns.set(word, pattern)
    if (word.includes('*')) this.#globs.push({ glob: new Glob(word), pattern })
    return pattern
  }
}

const DEPTH_MAX = 6

/** Reads one phrase and links its places. */
class PhraseReader {
  readonly #source: string
  readonly #tokens: readonly string[]
  readonly #lists: Readonly<Record<string, string>>
  readonly #place: (word: string | null) => number
  readonly #link: (from: number, to: number) => void
  #at = 0

  constructor(
    source: string,
    lists: Readonly<Record<string, string>>,
    place: (word: string | null) => number,
    link: (from: number, to: number) => void,
  ) {
    this.#source = source
    this.#tokens = tokensOf(source)
    this.#lists = lists
    this.#place = place
    this.#link = link
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
      first: choices.flatMap(({ first }) => first),
      last: choices.flatMap(({ last }) => last),
      empty: choices.some(({ empty }) => empty),
    }
  }

  #all(depth: number): Part {
    let whole: Part | null = null
    for (;;) {
      const token = this.#tokens[this.#at]
      if (token === undefined || token === ')' || token === ']' || token === '|') break
      this.#at++
      const part = this.#one(token, depth)
      whole = whole === null ? part : this.#then(whole, part)
    }
    if (whole === null) throw this.#wrong('an empty choice')
    return whole
  }

  #one(token: string, depth: number): Part {
    if (token === '(' || token === '[') {
      const inner = this.#any(depth + 1)
      const close = token === '(' ? ')' : ']'
      if (this.#tokens[this.#at] !== close) throw this.#wrong(`a missing ${close}`)
      this.#at++
      return token === '(' ? inner : { ...inner, empty: true }
    }
    if (!token.startsWith('<')) {
      const gap = token === '*'
      const place = this.#place(gap ? null : token)
      return { first: [place], last: [place], empty: gap }
    }
    const list = this.#lists[token.slice(1, -1)]
    if (list === undefined) throw this.#wrong(`${token}, which no list of words is called,`)
    if (list.includes('<')) throw this.#wrong(`${token}, whose list names another list,`)
    return new PhraseReader(list, {}, this.#place, this.#link).read()
  }

  #then(a: Part, b: Part): Part {
    for (const from of a.last) for (const to of b.first) this.#link(from, to)
    return {
      first: a.empty ? [...a.first, ...b.first] : a.first,
      last: b.empty ? [...a.last, ...b.last] : b.last,
      empty: a.empty && b.empty,
    }
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
class Glob {
  readonly #head: string
  readonly #middle: readonly string[]
  readonly #tail: string

  constructor(glob: string) {
    const parts = glob.split('*')
    this.#head = parts[0] ?? ''
    this.#tail = parts.at(-1) ?? ''
    this.#middle = parts.slice(1, -1).filter((part) => part !== '')
  }

  /** Linear: never goes back behind a part that was found. */
  matches(word: string): boolean {
    if (!word.startsWith(this.#head)) return false
    let at = this.#head.length
    const end = word.length - this.#tail.length
    if (end < at || !word.endsWith(this.#tail)) return false
    for (const part of this.#middle) {
      const found = word.indexOf(part, at)
      if (found < 0 || found + part.length > end) return false
      at = found + part.length
    }
    return true
  }
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
