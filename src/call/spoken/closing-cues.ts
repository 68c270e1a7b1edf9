import { z } from 'zod'
import { hasPhrase, phraseSet, plainText, saysOnly } from '../turns/backchannel.js'
import { wordsOf } from '../words/languages.js'

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

/** `closing:` of an agent's file: after the caller has said that this is all, and the agent has answered. */
export const closingSchema = z.strictObject({
  afterMs: z
    .int()
    .min(1000)
    .max(30_000)
    .default(3000) // people take 1 to 2 s to think of one more thing
    .describe('How long both sides are silent before the goodbye.'),
})
