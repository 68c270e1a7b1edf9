import type { OfflineSpeech } from '../../agents/offline-check.js'
import { Understanding } from './dialogue/understanding.js'
import { Dictionary, modelPhones } from '../../speech/dictionary.js'
import { unspokenIn } from '../../speech/spoken/spoken-form.js'

let loaded: Promise<OfflineSpeech> | null = null

/**
 * What the offline recogniser and voice can do, for the check of agents' files; loaded once a process, at the first
 * call.
 */
export function offlineSpeech(): Promise<OfflineSpeech> {
  loaded ??= Promise.all([Dictionary.load(), modelPhones()]).then(([dictionary, phones]) => ({
    knowsWord: (word) => dictionary.has(word),
    phones,
    unspoken: unspokenIn,
    grammarChars: (dialogue) => {
      const understanding = new Understanding(dialogue)
      return (intents, slots) => understanding.grammar({ intents, slots, known: new Map(), number: null }).length
    },
  }))
  return loaded
}
