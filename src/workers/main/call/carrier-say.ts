import type { AgentDefinition } from '../../../agents/file/definition.js'
import { languageOfText, textIn } from '../../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../../call/spoken/localized-text.js'
import type { SayAction } from '../../../sautikit/actions.js'
import { pronounced } from '../../../speech/spoken/pronunciations.js'
import { spokenForm } from '../../../speech/spoken/spoken-form.js'

/**
 * Makes the document for text that the carrier's own voice speaks in place of the agent. Figures become words, because
 * the carrier's voice reads them badly.
 * @param wanted  the caller's language. The document names the language of the chosen text. If this is the agent's
 * first language, it names `say.language` of the agent's file
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
