import type { OfflineSpeech } from '../../agents/offline/offline-check.js'
import { Understanding } from './dialogue/understanding.js'
import { Dictionary, modelPhones } from '../../speech/dictionary.js'
import { whySpeechIsMissing } from '../../speech/speech-packages.js'
import { unspokenIn } from '../../speech/spoken/spoken-form.js'

let loaded: Promise<OfflineSpeech | null> | null = null

/**
 * Abilities of the offline recogniser and voice, for the check of agents' files; loaded once a process, at the first
 * call. Null where they are not installed: no caller is then answered by them.
 */
export function offlineSpeech(): Promise<OfflineSpeech | null> {
  loaded ??= whySpeechIsMissing() === null ? load() : Promise.resolve(null)
  return loaded
}

async function load(): Promise<OfflineSpeech> {
  const [dictionary, phones] = await Promise.all([Dictionary.load(), modelPhones()])
  return {
    knowsWord: (word) => dictionary.has(word),
    phones,
    unspoken: unspokenIn,
    grammarChars: (dialogue) => {
      const understanding = new Understanding(dialogue)
      return (intents, slots) => understanding.grammar({ intents, slots, known: new Map(), number: null }).length
    },
  }
}
