import { hasPhrase, phraseSet, plainText } from '../turns/backchannel.js'
import { wordsOf } from '../words/languages.js'

const NOT_UNDERSTOOD = phraseSet(wordsOf('notUnderstood'))

/** True if an agent's words say that it did not understand, or ask the caller to repeat. */
export function saysNotUnderstood(words: string): boolean {
  return hasPhrase(plainText(words), NOT_UNDERSTOOD)
}
