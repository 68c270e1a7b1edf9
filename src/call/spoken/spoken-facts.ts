import { CLAIM_LANGUAGES } from '../claims/claim-phrases.js'
import { SPOKEN, isNumberWord, isScale, numberOf, numbersIn } from './spoken-numbers.js'

/**
 * Numbers, prices and days of the week in what an agent said, and whether something that it was given says so. A wrong
 * alarm is worse than a miss, so that only these are facts:
 *
 *     number     100 and more, or three digits and more one by one; years are none, nor are hours, dates and "two things"
 *     price      any number with a currency
 *     share      any number of percent, but 100
 *     weekday    its full name
 *
 * None of them is one in a question, after a negation in its clause, where it is not meant exactly ("about", "over"), or
 * where the words can be read in several ways ("four thirty", "500-800").
 */
interface SpokenFact {
  /** As it was said. */
  readonly phrase: string
  /** Characters of the text up to its end. */
  readonly endChar: number
  /**
   * Keys for the comparison: `number 1450.5`, `digits 4127` or `day 2`. With commas in it, the whole, and then its
   * parts: `digits 41274128 4127 4128`. Plain text: it is part of the checkpoint.
   */
  readonly key: string
}

/** Facts of one utterance, and of one call, that are looked at. */
const FACTS_MAX = 20

/** Shorter numbers that are written in groups are not a phone number. */
const PHONE_DIGITS_MIN = 7

/** A time or a date; a number and the thousands behind it; a word; a sign; the end of a sentence; a mark within one. */
const PIECE =
  /(\d{1,2}:\d\d(?::\d\d)?|\d{4}-\d\d-\d\d(?:T[\d:.+-]+Z?)?|\d{1,2}\/\d{1,2}\/\d{2,4})|(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(k\b)?|([\p{L}\p{M}]+(?:['’]\p{L}+)*)|([$€£%])|([.!?…]+|\n)|([,;:()"“”\u2013\u2014-])/gu

type PieceKind = 'time' | 'figure' | 'word' | 'sign' | 'end' | 'mark'

/** By group of PIECE. */
const KINDS: readonly (PieceKind | null)[] = [null, 'time', 'figure', null, 'word', 'sign', 'end', 'mark']

export interface Piece {
  readonly kind: PieceKind
  /** A word in lower case without accents and apostrophes; else as written, thousands of "k" written out. */
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

/** Numbers that follow each other, with the pieces from `from` up to `to`. */
interface Cluster {
  readonly from: number
  readonly to: number
  readonly numbers: readonly Piece[]
  /** The same with each `and`, divided by the commas. */
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

/** True if the numbers before and after a piece may be one number. */
function joins(pieces: readonly Piece[], at: number): boolean {
  const [before, { kind, word }, after] = [pieces[at - 1], pieces[at] as Piece, pieces[at + 1]]
  const spoken = before?.kind === 'word' && after?.kind === 'word'
  if (kind === 'word') {
    if (!spoken || !SPOKEN.and.has(word)) return false
    // "Three and four" are two numbers, as are two codes that are said one by one.
    return (
      isScale(before.word) ||
      (((numberOf(before.word) ?? 0) >= 10 || isScale(pieces[at - 2]?.word ?? '')) && SPOKEN.andAfterUnits.has(word))
    )
  }
  // Two digits with a comma between are said one by one; two longer figures are two numbers.
  const digits = before?.word.length === 1 && after?.word.length === 1
  return (word === ',' && (spoken || digits)) || word === '-'
}

/** The numbers of a cluster as digits; empty where there are decimals or thousands among several figures. */
export function valuesOf({ numbers, parts }: Cluster): string[] {
  const [figure, scale] = numbers
  if (numbers.length === 1 && figure?.kind === 'figure') return [figure.word.replaceAll(',', '')]
  if (numbers.length === 2 && figure?.kind === 'figure' && scale?.kind === 'word' && isScale(scale.word))
    return [String(Number(figure.word.replaceAll(',', '')) * Number(numbersIn([scale.word])[0]))]
  return numbers.every(({ kind, word }) => kind === 'word' || /^\d+$/.test(word)) ? numbersIn(parts.flat()) : []
}

/** Reading of a cluster, as the two parts of a key; null: it may be read in several ways. */
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
 * The facts that an agent stated, in order.
 * @param today  day of the week where the caller is, 0 for Sunday; null: not known
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
  // "Ksh." has a mark of its own.
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

/** "About", also with a word between: about a thousand, zaidi ya elfu. */
function aboutBefore(pieces: readonly Piece[], from: number): boolean {
  const at = SPOKEN.articles.has(pieces[from - 1]?.word ?? '') ? from - 2 : from - 1
  return SPOKEN.about.has(pieces[at]?.word ?? '')
}

function isYear(value: string, { numbers }: Cluster): boolean {
  return /^(19|20)\d\d$/.test(value) && !numbers.some(({ word }) => word.includes(','))
}

/** "A thousand apologies". */
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
  // "Tomorrow, Friday": the date decides, whatever else names that day.
  return today === null || (today + days + 7) % 7 === day ? null : { ...said, key: 'day none' }
}

/** Days from today that the weekday at `at` is said to be; null: nothing is said of it. */
function daysBefore(pieces: readonly Piece[], at: number): number | null {
  const word = (index: number): string => pieces[index]?.word ?? ''
  const near = word(at - 1) === ',' || SPOKEN.is.has(word(at - 1)) ? at - 2 : at - 1
  const listed = SPOKEN.lists.has(word(at + 1)) || NOT.has(word(near - 1))
  return listed ? null : (SPOKEN.days.get(word(near)) ?? null)
}
