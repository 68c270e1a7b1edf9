import { hasPhrase, phraseSet, plainText, withoutPhrases } from './backchannel.js'
import { wordsOf } from './words/languages.js'

const ENDS = wordsOf('ends')
const BESIDE = wordsOf('besideEnds')
const FAREWELLS = phraseSet(wordsOf('farewells'))

/**
 * Whether a caller's words say that the call is over: nothing but closing words, and at least two, because one word never
 * ends a call.
 */
export function isClosing(words: string): boolean {
  const { left, phrases } = withoutPhrases(words, ENDS)
  if (phrases === 0) return false
  return withoutPhrases(left, BESIDE).left === '' && /\S\s+\S/.test(words.trim())
}

/** Whether an agent's words are a goodbye already. */
export function saysGoodbye(words: string): boolean {
  return hasPhrase(plainText(words), FAREWELLS)
}
