import { z } from 'zod'
import { hasPhrase, phraseSet, plainText, saysOnly } from '../turns/backchannel.js'
import { wordsOf } from '../words/languages.js'

const ENDS = wordsOf('ends')
const BESIDE = wordsOf('besideEnds', 'thanks')
const FAREWELLS = phraseSet(wordsOf('farewells'))

/**
 * True if a caller's words say that the call is over. At least two closing words are required, because one word never
 * ends a call. Other words are not allowed.
 */
export function isClosing(words: string): boolean {
  return saysOnly(words, ENDS, BESIDE) && /\S\s+\S/.test(words.trim())
}

/** True if an agent's words are already a goodbye. */
export function saysGoodbye(words: string): boolean {
  return hasPhrase(plainText(words), FAREWELLS)
}

/**
 * `closing:` of an agent's file: settings for the end of a call after the caller has said that this was all. The call
 * ends after the agent's answer.
 */
export const closingSchema = z.strictObject({
  afterMs: z
    .int()
    .min(1000)
    .max(30_000)
    .default(3000) // people need 1 to 2 s to think of another request
    .describe('Silence of both sides after the answer to such a caller, before the goodbye.'),
})
