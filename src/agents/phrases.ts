import { codeOf } from '../call/phrase.js'
import type { Phrase } from '../call/phrase.js'
import type { AgentDefinition } from './definition.js'

/** What the agent itself says word for word during a call, with its place in the file. None of it is about a caller. */
export function phrasesOf(agent: AgentDefinition): (readonly [path: string, phrase: Phrase])[] {
  const { escalation, silence, fillers, recording, recovery, limits } = agent
  const phrases: readonly (readonly [path: string, phrase: Phrase | null | undefined])[] = [
    ['apology', agent.apology],
    ['tryAgain', agent.tryAgain],
    ['goodbye', agent.goodbye],
    ...fillers.phrases.map((phrase, index) => [`fillers.phrases.${index}`, phrase] as const),
    ['silence.firstPrompt', silence.firstPrompt],
    ...silence.prompts.map((phrase, index) => [`silence.prompts.${index}`, phrase] as const),
    ['recording.consent', recording.enabled ? recording.consent : null],
    ['recovery.text', recovery.text],
    ['limits.maxDurationText', limits.maxDurationText],
    ['escalation.announce', escalation?.announce],
    ['escalation.failed', escalation?.failed],
    ['escalation.closed', escalation?.closed],
    ['escalation.offer', escalation?.offer],
    ['escalation.offerAccepted', escalation?.offerAccepted],
    ['escalation.silentLine', escalation?.silentLine],
  ]
  return phrases.flatMap(([path, phrase]) => (phrase == null ? [] : [[path, phrase] as const]))
}

/**
 * The phrases that have no text in a language of the agent, by that language. A caller may speak each of them by the
 * time that it is said; what opens a call is said in the first alone. One text for all is in the first.
 */
export function untranslated(agent: AgentDefinition): ReadonlyMap<string, readonly string[]> {
  const [first] = agent.languages
  const missing = agent.languages.map((language) => {
    const paths = phrasesOf(agent).flatMap(([path, phrase]) => {
      const has = typeof phrase === 'string' ? language === first : Object.hasOwn(phrase, codeOf(language))
      return has ? [] : [path]
    })
    return [language, paths] as const
  })
  return new Map(missing.filter(([, paths]) => paths.length > 0))
}
