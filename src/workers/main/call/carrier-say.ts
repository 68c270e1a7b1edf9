import type { AgentDefinition } from '../../../agents/file/definition.js'
import { languageOfText, textIn } from '../../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../../call/spoken/localized-text.js'
import type { SayAction } from '../../../sautikit/actions.js'
import { pronounced } from '../../../speech/spoken/pronunciations.js'
import { spokenForm } from '../../../speech/spoken/spoken-form.js'

/**
 * Text for the carrier's own voice in an agent's place: figures in words, which it reads badly.
 * @param wanted  the caller's language. The carrier's voice gets the language of the text, except of the first
 *   one where the agent's file says `say.language`
 */
export function carrierSay(
  phrase: LocalizedText,
  { say, languages: [first = ''], pronunciations }: Pick<AgentDefinition, 'say' | 'languages' | 'pronunciations'>,
  wanted = first,
): SayAction {
  const language = languageOfText(phrase, wanted, first)
  const voiced = language === first ? say.language : language
  return {
    verb: 'say',
    text: spokenForm(pronounced(textIn(phrase, language), pronunciations, language), voiced ?? language),
    ...(say.voice === undefined ? {} : { voice: say.voice }),
    ...(voiced === undefined ? {} : { language: voiced }),
  }
}
