import { z } from 'zod'
import type { DocumentOf } from '../documents/document.js'

const claimWords = z.array(z.string().trim().toLowerCase().min(1).max(40)).max(100).default([])

/** Words of one language that keep a phrase from being a claim. Single words, which may have `*`; those of `joins` may be two. */
export const claimWordsSchema = z.strictObject({
  not: claimWords.describe(
    'After one of them there is no claim in the clause, unless the phrase itself has it: not, never.',
  ),
  if: claimWords.describe('There is no claim in its clause, and after it in its sentence: if, once.'),
  asks: claimWords.describe('Begins a question: there is no claim in the rest of its sentence.'),
  joins: claimWords.describe('Begins a new clause: but, because.'),
  breaks: claimWords.describe('A * does not match them: will, could, want.'),
})

export type ClaimWords = DocumentOf<typeof claimWordsSchema>

/** Words of one language: of claims, of numbers, and what is said with them. */
export interface Language {
  readonly claims: ClaimWords
  readonly numbers: Readonly<Record<string, number>>
  /** Scales that come before their multiplier: elfu mbili is 2000. Of other scales the multiplier comes first. */
  readonly leading: readonly string[]
  /** Joins the parts of a number. */
  readonly and: string
  readonly repeats: Readonly<Record<string, number>>
  readonly months: Readonly<Record<string, number>>
  /** From Sunday on. */
  readonly weekdays: readonly string[]
  /** Between the first and the last day of several. */
  readonly through: readonly string[]
  /** All days of the week. */
  readonly daily: readonly string[]
  /** Days from today. */
  readonly days: Readonly<Record<string, number>>
  readonly money: readonly string[]
  readonly percent: readonly string[]
  /** Parts of a number that `numbersIn` does not read. */
  readonly parts: readonly string[]
  /** Before a number that is not meant exactly, and what may stand between. */
  readonly about: readonly string[]
  readonly articles: readonly string[]
  /** Between a day and the weekday that it is. */
  readonly is: readonly string[]
  /** After a weekday that is one of several. */
  readonly lists: readonly string[]
}

/** A list of words; `_` is the space within one of `joins`. */
export function words(list: string): string[] {
  return list.split(' ').map((word) => word.replace('_', ' '))
}

/** Words that count on from `first` by `step`. */
export function numbered(words: string, first: number, step = 1): Record<string, number> {
  return Object.fromEntries(words.split(' ').map((word, index) => [word, first + index * step]))
}
