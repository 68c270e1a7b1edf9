import { hasPhrase, phraseSet, plainText, saysOnly } from './backchannel.js'
import { wordsOf } from './words/languages.js'

const ENDS = wordsOf('ends')
const BESIDE = wordsOf('besideEnds', 'thanks')
const FAREWELLS = phraseSet(wordsOf('farewells'))

/**
 * True if a caller's words say that the call is over: nothing but closing words, and at least two, because one word never
 * ends a call.
 */
export function isClosing(words: string): boolean {
  return saysOnly(words, ENDS, BESIDE) && /\S\s+\S/.test(words.trim())
}

/** True if an agent's words are a goodbye already. */
export function saysGoodbye(words: string): boolean {
  return hasPhrase(plainText(words), FAREWELLS)
}
