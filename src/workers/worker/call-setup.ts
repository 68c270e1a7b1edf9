import { createHash } from 'node:crypto'
import type { AgentDefinition } from '../../agents/file/definition.js'
import { consentOf } from '../../agents/file/definition.js'
import { amdSchema } from '../../call/turns/answering-machine-detector.js'
import { businessValues, orderedLanguages, vocabularyOf } from '../../agents/file/business.js'
import { collectionOf } from '../../call/tools/digit-collection.js'
import { callContext, contextZone } from '../../agents/tools/call-context.js'
import { localTime } from '../../core/local-time.js'
import { mcpToolNames } from '../../agents/tools/mcp-definition.js'
import { getsDigits, offeredTools, toolsWithEffect } from '../../agents/tools/offered-tools.js'
import { LIVE, phrasesOf } from '../../agents/file/phrases.js'
import { isOpen } from '../../escalation/hunt-group.js'
import { withBusiness } from '../../agents/file/template.js'
import type { BackendCapabilities, BackendSession, SessionUpdate, ToolSpec } from '../../backends/backend.js'
import { UNKNOWN_CALLER, callerFieldsIn, withCaller } from '../../call/caller-data.js'
import type { CallerNow, CallerValues } from '../../call/caller-data.js'
import { codeOf, textIn } from '../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import { DEFAULT_CALL_OPTIONS, DEFAULT_ESCALATION_OPTIONS, sectionOptions } from '../../call/call-options.js'
import type { CallSessionOptions, EscalationOptions } from '../../call/call-options.js'
import type { ClaimOptions } from '../../call/claims/claim-definition.js'
import { CLAIM_LANGUAGES } from '../../call/claims/claim-phrases.js'
import { CALL_BACK_INSTRUCTIONS, sessionTools } from '../../call/tools/gateway-tools.js'
import type { TranscriptEntry } from '../../call/documents/record.js'
import type { CallSession } from '../../call/call-session.js'
import type { Stages } from '../../call/stages.js'
import { KnownFacts } from '../../call/tools/known-facts.js'
import { FIRST_PROMPT } from '../../call/turns/silence.js'
import { speedOf } from '../../call/spoken/speech-rate.js'
import { toldLog } from '../../call/earlier-call.js'
import { resumedTools } from '../../call/tools/tool-ledger.js'
import { forgetOldest } from '../../core/forget-oldest.js'
import { RING_GRACE_MS } from '../../escalation/escalation.js'
import type { CallStart } from '../shared/call-messages.js'

/** Options of the session. They come from the agent's definition and the backend's capabilities. */
export function sessionOptions(
  start: CallStart,
  capabilities: BackendCapabilities,
  wallOffsetMs: number,
): CallSessionOptions {
  const { agent } = start
  const sections = sectionOptions(agent)
  return {
    ...DEFAULT_CALL_OPTIONS,
    ...sections,
    speech: { ...sections.speech, learned: start.assets.learned },
    silence: { ...agent.silence, firstPrompt: firstPromptOf(agent) },
    callSid: start.callSid,
    agent: agent.name,
    languages: agent.languages,
    preparedAtMs: start.preparedAtMs,
    wallOffsetMs,
    serverVad: capabilities.serverVad,
    serverInterrupts: capabilities.serverInterrupts ?? capabilities.serverVad,
    truncate: capabilities.truncate,
    weighsSpeech: capabilities.weighsSpeech ?? false,
    toolNames: [
      ...offeredTools(agent, start.assets).map((tool) => tool.name),
      ...mcpToolNames(agent.mcp).filter((name) => !getsDigits(agent, name)),
    ],
    effects: {
      tools: toolsWithEffect(agent, start.assets),
      changes: agent.tools.flatMap(({ name, http }) => (http.method === 'GET' ? [] : [name])),
      said: agent.afterEffect,
    },
    collections: agent.digits.map(collectionOf),
    waits: Object.fromEntries(
      agent.tools.flatMap(({ name, waits }) => {
        if (waits === undefined) return []
        const { say, still, every, onTimeout } = waits
        const words = { ...(say === undefined ? {} : { say }), ...(onTimeout === undefined ? {} : { onTimeout }) }
        return [[name, { ...words, still, everyMs: every }]]
      }),
    ),
    greeting: greetingOf(start),
    cutOffText: agent.recovery.text,
    rules: agent.rules,
    claims: agent.claims === null ? null : claimOptions(start, agent.claims, Date.now()),
    resumeText: handoverText(start) ?? DEFAULT_CALL_OPTIONS.resumeText,
    handoverTo: agent.handoverTo,
    stages: agent.stages === null ? null : { stages: agent.stages, facts: agent.facts },
    caller: callerOptions(start),
    onBackendFailure: agent.escalation === null ? 'hangup' : 'escalate',
    ...(agent.waitingSound === null ? {} : { waitingSoundAfterMs: agent.waitingSound.afterMs }),
    amd: pick(amdOf(start)),
    placed: start.direction === 'outbound',
    messagesOnly: start.messagesOnly ?? false,
    sendsDigits: start.direction === 'outbound' && agent.outbound.sendDigits,
    consentText: consentOf(agent),
    refusal: agent.recording.refusal,
    escalation: agent.escalation === null ? null : escalationOptions(agent.escalation, start.calledBack),
  }
}

function callerOptions({ agent: { name, caller, tools }, assets }: CallStart): CallSessionOptions['caller'] {
  if (caller === null) return null
  const { tool, file, key, memory, withinMs, personal, language = null } = caller
  const source = tool ?? (file === undefined ? 'memory' : 'file')
  const asked = tool === undefined ? [file, key] : [tools.find((one) => one.name === tool) ?? assets.modules]
  const of = createHash('sha256').update(JSON.stringify([asked, null]))
  // Each agent has its own memory of callers.
  const remembers = memory ? { memoryOf: name } : {}
  return { source, of: of.digest('base64url').slice(0, 16), ...remembers, withinMs, personal, language }
}

function claimOptions(start: CallStart, claims: NonNullable<AgentDefinition['claims']>, wallMs: number): ClaimOptions {
  const { correct, rules, words, languages, facts } = claims
  const used = new Set(rules.flatMap(({ phrases }) => Object.keys(phrases)))
  const known = Object.entries({ ...CLAIM_LANGUAGES, ...languages })
  return {
    correct,
    rules,
    words,
    languages: Object.fromEntries(known.filter(([name]) => used.has(name))),
    facts:
      facts === 'off'
        ? null
        : {
            correct: facts === 'correct',
            given: `${factsOf(start.agent)}; ${businessText(start, wallMs)}; ${callContext({ ...start, backends: [] }, wallMs)}; ${start.from}; ${start.to}`,
            timeZone: start.agent.context.timeZone ?? start.agent.escalation?.hours?.timeZone ?? null,
          },
  }
}

/** Text that is added to the agent's own text, with facts of the business. */
function businessText({ business, agent }: Pick<CallStart, 'business' | 'agent'>, wallMs: number): string {
  return business == null ? '' : Object.values(businessValues(business, agent.languages[0] ?? 'en', wallMs)).join('; ')
}

/** Facts of the last agents that were read, by the agents' texts. */
const factsRead = new Map<string, string>()
const FACTS_READ_MAX = 20

/** Numbers and weekdays in the texts of an agent's file. The file's settings are left out. */
function factsOf({ claims: _, ...agent }: AgentDefinition): string {
  const text = JSON.stringify(agent, (_key, value: unknown) => (typeof value === 'number' ? undefined : value))
  const known = factsRead.get(text)
  if (known !== undefined) return known
  const facts = new KnownFacts()
  facts.learn(text)
  factsRead.set(text, String(facts))
  forgetOldest(factsRead, FACTS_READ_MAX)
  return String(facts)
}

/**
 * Request to the model of an agent that has just received the call from another agent; null if the call was not handed
 * over to it.
 */
function handoverText({ agent, resume }: CallStart): string | null {
  const { handovers = [], transcript = [], facts = [] } = resume === null ? {} : toldLog(resume.checkpoint, resume.log)
  const last = handovers.at(-1)
  const begun = transcript.some(({ role, startMs }) => role === 'agent' && startMs > (last?.atMs ?? 0))
  if (last === undefined || last.to !== agent.name || begun) return null
  const known = [...new Map(facts.map(({ name, value }) => [name, value]))].map(
    ([name, value]) => `${name} = ${String(value)}`,
  )
  return [
    `The agent ${last.from} of this company has just handed this caller over to you, and has told them so.`,
    ...(last.summary === '' ? [] : [`It says: ${last.summary}`]),
    ...(known.length === 0 ? [] : [`Known: ${known.join('; ')}.`]),
    'Say in a few words who you are and go on from what the caller wants. Do not ask again for what is known.',
  ].join(' ')
}

type Amd = NonNullable<AgentDefinition['outbound']['amd']>

const AMD_DEFAULT: Amd = amdSchema.parse({})

/**
 * Answering-machine detection of a call that the gateway placed. Null for other calls, and for a call that continues
 * after the detection. If the call rings a caller back, the agent's file cannot switch the detection off, because that
 * caller did not ask for the call.
 */
export function amdOf({ agent, direction, resume, leaveMessage = true }: CallStart): Amd | null {
  if (direction !== 'outbound') return null
  const { amd } = agent.outbound
  const { checkpoint, newStream } = resume ?? {}
  const goesOn = checkpoint?.amd !== undefined
  if (checkpoint?.callBack === 'asks' && (newStream !== undefined || goesOn)) return amd ?? AMD_DEFAULT
  if (checkpoint !== undefined && !goesOn) return null
  return amd === null || leaveMessage ? amd : { ...amd, message: null }
}

function pick(amd: Amd | null): CallSessionOptions['amd'] {
  return amd === null ? null : { message: amd.message, onSilence: amd.onSilence }
}

/**
 * Time in ms that is added to a number's ringing time. It is the grace time of the escalation machine, and 2 s for
 * messages between the threads.
 */
const RING_MARGIN_MS = RING_GRACE_MS + 2000

function escalationOptions(
  escalation: NonNullable<AgentDefinition['escalation']>,
  numberKnown: boolean,
): EscalationOptions {
  const callsBack = escalation.strategies.includes('callback')
  return {
    ...DEFAULT_ESCALATION_OPTIONS,
    announceText: escalation.announce,
    failedText: escalation.failed,
    closedText: escalation.closed,
    silentLineText:
      escalation.silentLine ??
      (callsBack && numberKnown
        ? {
            en: 'If the line stays silent, please hang up and we will call you back.',
            sw: 'Simu ikinyamaza, tafadhali ikate nasi tutakupigia.',
          }
        : {
            en: DEFAULT_ESCALATION_OPTIONS.silentLineText,
            sw: 'Simu ikinyamaza, tafadhali ikate na utupigie tena.',
          }),
    callback: callsBack
      ? {
          offerText: escalation.offer,
          confirmedText: escalation.offerAccepted,
          refusedText: escalation.offerRefused,
          numberKnown,
        }
      : null,
    afterFailure: escalation.afterFailure,
    // Two strategies can ring humans while the stream is open. Each strategy may ring every number once.
    holdTimeoutMs: Math.max(
      DEFAULT_ESCALATION_OPTIONS.holdTimeoutMs,
      2 * escalation.numbers.length * (escalation.timeoutS * 1000 + RING_MARGIN_MS),
    ),
  }
}

/**
 * Tools for a model: first the agent's own tools, then the tools that the session runs.
 * @param fromServers  tools of the MCP servers that are up
 * @param changesTools  false: the service cannot change its first list of tools, so it gets the tools of all stages
 * @param asksToGoOn  true: the call rings a caller back, who has not agreed to continue yet
 */
export function toolSpecs(
  { agent, assets, resume, direction, messagesOnly = false }: CallStart,
  fromServers: readonly ToolSpec[] = [],
  stages: Stages | null = null,
  changesTools = true,
  asksToGoOn = resume?.checkpoint.callBack === 'asks',
): readonly ToolSpec[] {
  const own = [...offeredTools(agent, assets), ...fromServers].filter(
    ({ name }) => stages === null || !changesTools || stages.offers(name),
  )
  const sessions = sessionTools({
    ...agent,
    sendsDigits: agent.outbound.sendDigits,
    placed: direction === 'outbound',
    messagesOnly,
    asksToGoOn,
    stage: stages?.tool(!changesTools) ?? null,
  })
  return [...own, ...sessions]
}

/**
 * All phrases of the agent's file that the gateway says word for word in this language. Phrases with words about a
 * caller are left out.
 */
export function fixedPhrases(agent: AgentDefinition, language: string): readonly string[] {
  const kept = phrasesOf(agent).filter(([path]) => !path.startsWith(LIVE))
  const phrases = [agent.greeting, firstPromptOf(agent), ...kept.map(([, phrase]) => phrase)]
  // Texts for an unknown caller.
  const texts = phrases.filter((phrase) => phrase !== null).map((phrase) => withCaller(textIn(phrase, language), {}))
  return [...new Set(texts)]
}

function firstPromptOf({ languages, silence: { firstPrompt, prompts } }: AgentDefinition): LocalizedText | null {
  if (firstPrompt !== undefined) return firstPrompt
  return prompts.length > 0 && languages.every((tag) => codeOf(tag) in FIRST_PROMPT) ? FIRST_PROMPT : null
}

/** The greeting of the call. Normally the backend speaks it in its own voice; otherwise the gateway speaks it. */
function greetingOf({ agent, resume }: CallStart): LocalizedText | null {
  return resume?.checkpoint.callBack === 'asks' ? agent.recovery.callbackGreeting : agent.greeting
}

/** Greeting that the call's backend speaks. */
export function greetingText(start: CallStart, language: string, caller: CallerValues): string | null {
  const greeting = greetingOf(start)
  return greeting === null ? null : withCaller(textIn(greeting, language), caller)
}

/**
 * Message to a model when new facts about the caller are known; empty if the agent's texts do not use the new values.
 */
export function callerNews(
  { agent }: Pick<CallStart, 'agent'>,
  caller: CallerNow,
  instructions: string,
): Pick<SessionUpdate, 'instructions' | 'news'> {
  const { instructions: own, outbound, context, stages } = agent
  const reads = callerFieldsIn(JSON.stringify({ own, outbound, context, stages }))
  const known = Object.fromEntries(Object.entries(caller.values).filter(([name]) => reads.includes(name)))
  const lookedUp = Object.keys(known).length === 0 ? [] : [`Known of the caller: ${listed(known)}.`]
  const news = [...lookedUp, ...earlierText(caller)]
  return news.length === 0 ? {} : { instructions, news: news.join('\n') }
}

/** Text for a model about the caller's earlier calls. */
function earlierText({ earlier }: CallerNow): string[] {
  if (Object.keys(earlier).length === 0) return []
  return [`From the last call of this number: ${listed(earlier)}. The caller has proved to be its owner.`]
}

function listed(values: CallerValues): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} = ${value}`)
    .join('; ')
}

type CallNow = Pick<CallSession, 'stages' | 'language'> & { readonly caller: CallerNow }

/**
 * Instructions of a call's model, with the present facts.
 * @param wallMs  calendar time
 * @param now  stages (or null), language, and facts about the caller that may be said
 */
export function instructionsOf(
  start: Pick<CallStart, 'agent' | 'business' | 'from' | 'resume' | 'backends'>,
  wallMs: number,
  { stages = null, caller = UNKNOWN_CALLER, language = '' }: Partial<CallNow> = {},
): string {
  const { agent, business, resume } = start
  const instructions =
    business == null
      ? agent.instructions
      : withBusiness(agent.instructions, businessValues(business, agent.languages[0] ?? 'en', wallMs))
  // A model that takes the call over later begins in the language that the call has at that time.
  const languages = orderedLanguages(agent.languages, [codeOf(language)])
  const context = callContext({ ...start, agent: { ...agent, languages } }, wallMs)
  const parts = [instructions, ...(stages === null ? [] : [stages.text]), context]
  // The person who was called back has not given their name yet.
  const more = resume?.checkpoint.callBack === 'asks' ? [CALL_BACK_INSTRUCTIONS] : earlierText(caller)
  return withCaller([...parts, ...more].join('\n\n'), caller.values)
}

/** Voices of the call's present stage; empty if no stage has a voice. */
export function stageVoices(
  { voice, stages }: Pick<AgentDefinition, 'voice' | 'stages'>,
  now: Stages | null,
): Pick<BackendSession, 'voices'> {
  const differ = now !== null && Object.values(stages ?? {}).some((stage) => stage.voice !== undefined)
  return differ ? { voices: { ...voice, ...now.stage.voice } } : {}
}

/**
 * Session data that a call's backend receives when it connects.
 * @param now  values of the caller that may be said, and the call's language
 * @param history  the part of the transcript that the backend's model still needs
 * @param wallMs  calendar time
 */
export function backendSession(
  start: CallStart,
  { instructions, tools, voices }: Pick<BackendSession, 'instructions' | 'tools' | 'voices'>,
  { caller: { values: caller }, language }: Pick<CallNow, 'caller' | 'language'>,
  history: readonly TranscriptEntry[],
  wallMs: number,
): BackendSession {
  const { agent, resume } = start
  const voice: LocalizedText | undefined = (voices ?? agent.voice)[start.backends[0] ?? '']
  return {
    callSid: start.callSid,
    agent: agent.name,
    from: start.from,
    to: start.to,
    instructions,
    greeting: greetingText(start, language, caller),
    caller,
    tools,
    language,
    languages: agent.languages,
    voice: voice === undefined ? null : textIn(voice, language),
    ...(voices === undefined ? {} : { voices }),
    pronunciations: agent.pronunciations,
    vocabulary: vocabularyOf(agent, start.business),
    speed: speedOf(resume?.log.toolCalls ?? []),
    history: history.map((entry) => ({ role: entry.role, text: entry.text })),
    // If a tool still ran when the worker died, its call is answered with an error. The tool may have had its effect.
    toolLedger: resume === null ? [] : resumedTools({ ...resume, log: toldLog(resume.checkpoint, resume.log) }),
    offline: agent.offline ?? null,
    today: localTime(contextZone(agent), wallMs).date,
    humansThere: agent.escalation?.hours == null || isOpen(agent.escalation.hours, wallMs),
    resume: resume?.backendState ?? null,
  }
}
