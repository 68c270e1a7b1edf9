import { CLAIM_LANGUAGES } from '../claims/claim-phrases.js'
import { SPOKEN, isNumberWord, isScale, numberOf, numbersIn } from './spoken-numbers.js'

/**
 * A number, price or weekday in an agent's words, for comparison with the agent's input. A false alarm is worse than a
 * missed fact, so only the following are facts:
 *
 *     number     100 and more, or at least three digits one by one; not years, hours, dates or "two things"
 *     price      any number with a currency
 *     share      any percentage except 100
 *     weekday    its full name
 *
 * A value is not a fact in a question, after a negation in the same clause, or after words such as "about" or "over".
 * It is also not a fact if the words have several readings ("four thirty", "500-800").
 */
interface SpokenFact {
  /** Words of the fact in the text. */
  readonly phrase: string
  /** Number of characters in the text up to the end of the fact. */
  readonly endChar: number
  /**
   * Keys for the comparison: `number 1450.5`, `digits 4127` or `day 2`. If the number was said with commas, the key has
   * the whole number, then its parts: `digits 41274128 4127 4128`. The key is plain text, because the checkpoint
   * contains it.
   */
  readonly key: string
}

/** Maximum number of facts that are read in one utterance. */
const FACTS_MAX = 20

/** Minimum number of digits of a phone number. Shorter numbers in groups are not phone numbers. */
const PHONE_DIGITS_MIN = 7

/**
 * Matches a time or date, a number with its thousands, a word, a sign, the end of a sentence, or a mark within a
 * sentence.
 */
const PIECE =
  /(\d{1,2}:\d\d(?::\d\d)?|\d{4}-\d\d-\d\d(?:T[\d:.+-]+Z?)?|\d{1,2}\/\d{1,2}\/\d{2,4})|(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(k\b)?|([\p{L}\p{M}]+(?:['’]\p{L}+)*)|([$€£%])|([.!?…]+|\n)|([,;:()"“”\u2013\u2014-])/gu

type PieceKind = 'time' | 'figure' | 'word' | 'sign' | 'end' | 'mark'

/** Kind of piece for each group of PIECE. */
const KINDS: readonly (PieceKind | null)[] = [null, 'time', 'figure', null, 'word', 'sign', 'end', 'mark']

export interface Piece {
  readonly kind: PieceKind
  /**
   * A word in lower case without accents and apostrophes. Any other piece has its written form; only `5k` becomes
   * `5000`.
   */
  readonly word: string
  readonly start: number
  readonly end: number
}

export function piecesOf(text: string): Piece[] {
  const pieces: Piece[] = []
  for (const found of text.matchAll(PIECE)) {
    const { 0: all, 2: figure = '', 3: k, index } = found
    const kind = KINDS[found.findIndex((part, group) => group > 0 && part !== undefined)] ?? 'mark'
    const written = k === undefined ? all : String(Number(figure.replaceAll(',', '')) * 1000)
    pieces.push({ kind, word: kind === 'word' ? plainWord(all) : written, start: index, end: index + all.length })
  }
  return pieces
}

function plainWord(word: string): string {
  if (/^[a-zA-Z]*$/.test(word)) return word.toLowerCase()
  return word
    .normalize('NFKD')
    .replace(/[\p{M}'’]/gu, '')
    .toLowerCase()
}

/** Consecutive numbers, with the pieces from `from` up to `to`. */
interface Cluster {
  readonly from: number
  readonly to: number
  readonly numbers: readonly Piece[]
  /** Groups of numbers with the `and` between them, divided at the commas. */
  readonly parts: readonly (readonly string[])[]
}

export function clustersOf(pieces: readonly Piece[]): Cluster[] {
  const clusters: Cluster[] = []
  for (let from = 0; from < pieces.length; from++) {
    if (!isNumber(pieces[from])) continue
    const numbers: Piece[] = []
    let words: string[] = []
    const parts = [words]
    let to = from
    for (let at = from; at < pieces.length; at++) {
      const piece = pieces[at] as Piece
      if (isNumber(piece)) {
        numbers.push(piece)
        words.push(piece.word)
        to = at + 1
      } else if (!isNumber(pieces[at + 1]) || !joins(pieces, at)) break
      else if (piece.kind === 'word') words.push(piece.word)
      else if (piece.word === ',') parts.push((words = []))
    }
    clusters.push({ from, to, numbers, parts })
    from = to - 1
  }
  return clusters
}

function isNumber(piece: Piece | undefined): boolean {
  return piece !== undefined && (piece.kind === 'figure' || (piece.kind === 'word' && isNumberWord(piece.word)))
}

/** True if a piece joins the numbers on its two sides into one number. */
function joins(pieces: readonly Piece[], at: number): boolean {
  const [before, { kind, word }, after] = [pieces[at - 1], pieces[at] as Piece, pieces[at + 1]]
  const spoken = before?.kind === 'word' && after?.kind === 'word'
  if (kind === 'word') {
    if (!spoken || !SPOKEN.and.has(word)) return false
    // "Three and four" are two numbers. Two codes that are said digit by digit are also two numbers.
    return (
      isScale(before.word) ||
      (((numberOf(before.word) ?? 0) >= 10 || isScale(pieces[at - 2]?.word ?? '')) && SPOKEN.andAfterUnits.has(word))
    )
  }
  // Two single digits with a comma between them are one number said digit by digit; two longer figures are two numbers.
  const digits = before?.word.length === 1 && after?.word.length === 1
  return (word === ',' && (spoken || digits)) || word === '-'
}

/**
 * Returns the numbers of a cluster as digits. The list is empty if one of several figures has decimals or thousands.
 */
export function valuesOf({ numbers, parts }: Cluster): string[] {
  const [figure, scale] = numbers
  if (numbers.length === 1 && figure?.kind === 'figure') return [figure.word.replaceAll(',', '')]
  if (numbers.length === 2 && figure?.kind === 'figure' && scale?.kind === 'word' && isScale(scale.word))
    return [String(Number(figure.word.replaceAll(',', '')) * Number(numbersIn([scale.word])[0]))]
  return numbers.every(({ kind, word }) => kind === 'word' || /^\d+$/.test(word)) ? numbersIn(parts.flat()) : []
}

/** Returns the kind and the values of a cluster's key; null if the cluster has several readings. */
export function readingOf(
  cluster: Cluster,
): { readonly kind: 'number' | 'digits'; readonly values: readonly string[] } | null {
  const { numbers, parts } = cluster
  const values = valuesOf(cluster)
  const together = values.join('')
  const figures = numbers.every(({ kind }) => kind === 'figure')
  const partly = parts.length === 1 ? [] : parts.flatMap((part) => numbersIn(part))
  if (values.length === 1) {
    const code = figures && numbers[0]?.word === together && /^\d{3,}$/.test(together)
    return { kind: code ? 'digits' : 'number', values: [together, ...partly] }
  }
  const singly = values.length >= 3 && values.every((value) => /^(\d)\1{0,2}$/.test(value))
  if (!singly && !(figures && together.length >= PHONE_DIGITS_MIN)) return null
  const codes = parts.map((part) => numbersIn(part).join(''))
  return {
    kind: 'digits',
    values: codes.length > 1 && codes.every(({ length }) => length >= 3) ? [together, ...codes] : [together],
  }
}

const NOT: ReadonlySet<string> = new Set(Object.values(CLAIM_LANGUAGES).flatMap((language) => language.not))

/**
 * Returns the facts that an agent stated, in order.
 * @param today  weekday in the caller's time zone, 0 for Sunday; null if unknown
 */
export function factsIn(text: string, today: number | null): SpokenFact[] {
  const pieces = piecesOf(text)
  const clusters = new Map(clustersOf(pieces).map((cluster) => [cluster.from, cluster]))
  const facts: SpokenFact[] = []
  let sentence: SpokenFact[] = []
  let negated = false
  for (let at = 0; at < pieces.length; at++) {
    const piece = pieces[at] as Piece
    if (piece.kind === 'end') {
      if (!piece.word.includes('?')) facts.push(...sentence)
      sentence = []
    }
    if (piece.kind === 'end' || piece.kind === 'mark') negated = false
    else if (piece.kind === 'word') negated ||= NOT.has(piece.word)
    const cluster = clusters.get(at)
    const fact =
      cluster !== undefined
        ? numberFact(text, pieces, cluster)
        : piece.kind === 'word'
          ? dayFact(text, pieces, at, today)
          : null
    if (fact !== null && !negated) sentence.push(fact)
    if (cluster !== undefined) at = cluster.to - 1
  }
  return [...facts, ...sentence].slice(0, FACTS_MAX)
}

function numberFact(text: string, pieces: readonly Piece[], cluster: Cluster): SpokenFact | null {
  const reading = readingOf(cluster)
  if (reading === null) return null
  let { from, to } = cluster
  const at = (index: number): string => pieces[index]?.word ?? ''
  const percentBefore = SPOKEN.percent.has(at(from - 1))
  const percent = percentBefore || at(to) === '%' || SPOKEN.percent.has(at(to))
  const moneyBefore = isMoney(at(from - 1))
  // In "Ksh." the full stop is a piece of its own.
  const dotted = !moneyBefore && at(from - 1) === '.' && isMoney(at(from - 2))
  const money = moneyBefore || dotted || isMoney(at(to))
  if (dotted) from -= 2
  else if (moneyBefore || percentBefore) from--
  else if (money || percent) to++
  const { kind, values } = reading
  const [value = ''] = values
  const plain = !money && !percent
  const around = [at(from - 1), at(to), at(to + 1), at(cluster.to)]
  if (around.some((word) => SPOKEN.parts.has(word)) || aboutBefore(pieces, from)) return null
  if (percent && Number(value) === 100) return null
  if (plain && Number(value) < 100 && !(kind === 'digits' && value.length >= 3)) return null
  if (plain && (isYear(value, cluster) || isIndefinite(cluster))) return null
  const [start, end] = [pieces[from]?.start ?? 0, pieces[to - 1]?.end ?? 0]
  const key =
    money || percent || kind === 'number' ? `number ${values.map(Number).join(' ')}` : `digits ${values.join(' ')}`
  return { phrase: text.slice(start, end), endChar: end, key }
}

function isMoney(word: string): boolean {
  return SPOKEN.money.has(word) || (word !== '%' && /^[$€£]$/.test(word))
}

/**
 * True if "about" or a similar word comes before the number, directly or with one word between them: about a thousand,
 * zaidi ya elfu.
 */
function aboutBefore(pieces: readonly Piece[], from: number): boolean {
  const at = SPOKEN.articles.has(pieces[from - 1]?.word ?? '') ? from - 2 : from - 1
  return SPOKEN.about.has(pieces[at]?.word ?? '')
}

function isYear(value: string, { numbers }: Cluster): boolean {
  return /^(19|20)\d\d$/.test(value) && !numbers.some(({ word }) => word.includes(','))
}

/** True for an indefinite number: "a thousand apologies". */
function isIndefinite({ numbers }: Cluster): boolean {
  const [only] = numbers
  return numbers.length === 1 && only?.kind === 'word' && isScale(only.word)
}

function dayFact(text: string, pieces: readonly Piece[], at: number, today: number | null): SpokenFact | null {
  const piece = pieces[at] as Piece
  const day = SPOKEN.weekdays.get(piece.word)
  if (day === undefined || aboutBefore(pieces, at)) return null
  const said = { phrase: text.slice(piece.start, piece.end), endChar: piece.end }
  const days = daysBefore(pieces, at)
  if (days === null) return { ...said, key: `day ${day}` }
  // In "tomorrow, Friday" the word "tomorrow" decides, even if the agent's input contains Friday.
  return today === null || (today + days + 7) % 7 === day ? null : { ...said, key: 'day none' }
}

/**
 * Returns the number of days from today to the weekday at `at`, according to the words before it. Returns null if these
 * words do not name the day.
 */
function daysBefore(pieces: readonly Piece[], at: number): number | null {
  const word = (index: number): string => pieces[index]?.word ?? ''
  const near = word(at - 1) === ',' || SPOKEN.is.has(word(at - 1)) ? at - 2 : at - 1
  const listed = SPOKEN.lists.has(word(at + 1)) || NOT.has(word(near - 1))
  return listed ? null : (SPOKEN.days.get(word(near)) ?? null)
}
