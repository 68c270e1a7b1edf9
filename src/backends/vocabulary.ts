/** Terms of a recogniser are filled up with names to this; more would cost accuracy, and some services refuse too many. */
const TERMS_FILLED_MAX = 50

/** Vocabulary that a recogniser expects: the terms of the agent's file, and then names of the call (`BackendSession.vocabulary`). */
export function termsOf(own: readonly string[] = [], names: readonly string[] = []): string[] {
  const others = names.filter((name) => !own.includes(name))
  return [...own, ...others.slice(0, Math.max(0, TERMS_FILLED_MAX - own.length))]
}
