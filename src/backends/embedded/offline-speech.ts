import type { OfflineSpeech } from '../../agents/offline/offline-check.js'
import { Understanding } from './dialogue/understanding.js'
import { Dictionary, modelPhones } from '../../speech/dictionary.js'
import { whySpeechIsMissing } from '../../speech/speech-packages.js'
import { unspokenIn } from '../../speech/spoken/spoken-form.js'

let loaded: Promise<OfflineSpeech | null> | null = null

/**
 * @returns abilities of the offline recogniser and voice, for the check of agents' files; null if these are not
 * installed. They are loaded once per process, when this function is first called
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
