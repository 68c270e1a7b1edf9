import { codeOf, textsOf } from '../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import type { AgentDefinition } from './definition.js'
import type { Passage } from './knowledge-file.js'
import { offlineShape } from '../offline/offline.js'

type PathOfPhrase = readonly [path: string, phrase: LocalizedText]

/** Beginning of the paths of phrases that are said only where the agent's voice works. */
export const LIVE = 'escalation.message.'

/** Phrases that the agent itself says word for word during a call, with their place in the file. None of it is about a caller. */
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
 * Phrases that others say: the carrier's voice to a caller whose language is known from this call or one before, and to
 * a human; and the model, which asks who the caller is. Also phrases with the caller's own digits.
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

/** The same of its scripted dialogue. Texts that are nothing but values are in no language. */
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
 * Phrases that open a call. They are in the first language, which a number's business may choose; one text for all
 * greets in all of them.
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
 * Phrases without a text in a language of the agent, by that language: by then a caller may speak any of the languages.
 * One text for all is in the first; a phrase that opens a call may be one for all.
 * @param passages  of its knowledge
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
