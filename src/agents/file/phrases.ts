import { codeOf, textsOf } from '../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import type { AgentDefinition } from './definition.js'
import type { Passage } from './knowledge-file.js'
import { offlineShape } from '../offline/offline.js'

type PathOfPhrase = readonly [path: string, phrase: LocalizedText]

/** Prefix of the paths of phrases that are spoken only if the agent's own voice works. */
export const LIVE = 'escalation.message.'

/**
 * Returns the phrases that the agent speaks word for word during a call, with their positions in the file. The phrases
 * do not contain data of a caller.
 */
export function phrasesOf(agent: AgentDefinition): PathOfPhrase[] {
  const { escalation, silence, fillers, recording, recovery, limits, callbacks } = agent
  return present([
    ['apology', agent.apology],
    ['tryAgain', agent.tryAgain],
    ['goodbye', agent.goodbye],
    ['afterEffect.done', agent.afterEffect.done],
    ['afterEffect.failed', agent.afterEffect.failed],
    ['afterEffect.uncertain', agent.afterEffect.uncertain],
    ...fillers.phrases.map((phrase, index) => [`fillers.phrases.${index}`, phrase] as const),
    ['silence.firstPrompt', silence.firstPrompt],
    ['silence.otherVoice', silence.otherVoice],
    ...silence.prompts.map((phrase, index) => [`silence.prompts.${index}`, phrase] as const),
    ...agent.digits.flatMap(({ say, again }, index) => [
      [`digits.${index}.say`, say] as const,
      [`digits.${index}.again`, again] as const,
    ]),
    ['recording.consent', recording.enabled ? recording.consent : null],
    ['recording.notice', recording.enabled ? null : recording.notice],
    ['recording.refusal.text', recording.refusal?.text ?? null],
    ['recovery.text', recovery.text],
    ...(callbacks === null
      ? []
      : ([
          ['callbacks.greeting', callbacks.greeting],
          ['callbacks.humanGreeting', callbacks.humanFirst ? callbacks.humanGreeting : null],
        ] as const)),
    ['limits.maxDurationText', limits.maxDurationText],
    ...agent.tools.flatMap(({ waits }, index) =>
      (['say', 'still', 'onTimeout'] as const).map((key) => [`tools.${index}.waits.${key}`, waits?.[key]] as const),
    ),
    ['escalation.announce', escalation?.announce],
    ['escalation.failed', escalation?.failed],
    ['escalation.closed', escalation?.closed],
    ['escalation.offer', escalation?.offer],
    ['escalation.offerAccepted', escalation?.offerAccepted],
    ['escalation.offerRefused', escalation?.offerRefused],
    ['escalation.silentLine', escalation?.silentLine],
    ...Object.entries(escalation?.message ?? {}).map(([name, phrase]) => [`${LIVE}${name}`, phrase] as const),
  ])
}

/**
 * Returns phrases that the agent itself does not speak, and phrases with the caller's digits. The carrier's voice
 * speaks some of these phrases, to a human or to a caller whose language is known. The model asks the questions about
 * the caller's identity.
 */
function otherPhrases(agent: AgentDefinition): PathOfPhrase[] {
  const { say, afterCall, escalation, recovery, verification, digits } = agent
  return present([
    ...digits.map(({ confirm }, index) => [`digits.${index}.confirm`, confirm] as const),
    ['say.fallback', say.fallback],
    ['say.busy', say.busy],
    ['say.hold', say.hold],
    ['afterCall.say', afterCall.say],
    ['escalation.whisper', escalation?.whisper],
    ['recovery.callbackGreeting', recovery.callback ? recovery.callbackGreeting : null],
    ...(verification?.questions ?? []).map(({ ask }, index) => [`verification.questions.${index}.ask`, ask] as const),
  ])
}

function present(
  phrases: readonly (readonly [path: string, phrase: LocalizedText | null | undefined])[],
): PathOfPhrase[] {
  return phrases.flatMap(([path, phrase]) => (phrase == null ? [] : [[path, phrase] as const]))
}

/**
 * Returns the phrases of the scripted dialogue. A text with only placeholders is left out, because it has no language.
 */
function dialoguePhrases(agent: AgentDefinition): PathOfPhrase[] {
  const { data: dialogue } = offlineShape.safeParse(agent.offline)
  if (dialogue === undefined) return []
  const steps = Object.entries(dialogue.states).flatMap(([state, { steps }]) =>
    steps.map((step, index) => [`offline.states.${state}.steps.${index}`, step] as const),
  )
  const phrases = steps.flatMap(([at, step]): PathOfPhrase[] => {
    if ('say' in step) return [[`${at}.say`, step.say]]
    return 'listen' in step && step.listen.retry !== undefined ? [[`${at}.listen.retry`, step.listen.retry]] : []
  })
  const { retry, more, tooMany, callBack } = dialogue
  const others = Object.entries({ retry, more, tooMany, goOn: callBack.goOn, goodbye: callBack.goodbye })
  return [
    ...others.map(([name, phrase]) => [`offline.${name}`, phrase] as const),
    ...phrases.filter(([, phrase]) =>
      textsOf(phrase).some((text) => text.replace(/\{\{[^{}]*\}\}/g, '').trim() !== ''),
    ),
  ]
}

/**
 * Returns the phrases that open a call and have texts by language. A call opens in its first language, which the
 * business of the number may choose. A single text for all languages is not in the result, because it opens calls in
 * every language.
 */
function openingPhrases({ greeting, say, outbound }: AgentDefinition): PathOfPhrase[] {
  const opening = [
    ['greeting', greeting],
    ['say.greeting', say.greeting],
    ['outbound.greeting', outbound.greeting],
    ['outbound.amd.message', outbound.amd?.message],
  ] as const
  return present(opening.filter(([, phrase]) => typeof phrase !== 'string'))
}

/**
 * Returns, for each language of the agent, the phrases without a text in that language. After the opening a caller may
 * speak any of the agent's languages. So a single text for all languages counts as a text in the first language only.
 * Exception: a phrase that opens a call may have a single text for all languages.
 * @param passages  passages of the agent's knowledge
 */
export function untranslated(
  agent: AgentDefinition,
  passages: readonly Passage[] = [],
): ReadonlyMap<string, readonly string[]> {
  const [first] = agent.languages
  const all = [
    ...openingPhrases(agent),
    ...phrasesOf(agent),
    ...otherPhrases(agent),
    ...dialoguePhrases(agent),
    ...passages.map(({ title, text }) => [`knowledge "${title}"`, text] as const),
  ]
  const missing = agent.languages.map((language) => {
    const paths = all.flatMap(([path, phrase]) => {
      const has = typeof phrase === 'string' ? language === first : Object.hasOwn(phrase, codeOf(language))
      return has ? [] : [path]
    })
    return [language, paths] as const
  })
  return new Map(missing.filter(([, paths]) => paths.length > 0))
}
