/**
 * Maximum number of terms for a recogniser, including added names. More terms reduce accuracy, and some services refuse
 * more terms.
 */
const TERMS_FILLED_MAX = 50

/**
 * @returns the vocabulary for a recogniser: the terms of the agent's file, then names of the call
 * (`BackendSession.vocabulary`)
 */
export function termsOf(own: readonly string[] = [], names: readonly string[] = []): string[] {
  const others = names.filter((name) => !own.includes(name))
  return [...own, ...others.slice(0, Math.max(0, TERMS_FILLED_MAX - own.length))]
}
