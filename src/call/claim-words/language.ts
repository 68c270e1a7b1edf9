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

/** A list of words; `_` is the space within one of `joins`. */
export function words(list: string): string[] {
  return list.split(' ').map((word) => word.replace('_', ' '))
}
