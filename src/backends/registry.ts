import { USUAL_TURNS, azureVoiceLiveLacks } from '../vendors/azure-voice-live/facts.js'
import type { AzureVoiceLiveSettings } from '../vendors/azure-voice-live/facts.js'
import type { BackendOptions } from '../agents/file/backend-options.js'
import { GatewayError } from '../core/errors.js'
import { missingForServices, serviceLacks, serviceModels } from './cascade/service-facts.js'
import type { CascadeSettings, ServiceSettings } from './cascade/service-facts.js'
import { delegateModel } from './openai-live/session-start.js'
import type { DelegateOptions } from './openai-live/session-start.js'
import { traitsOf } from './gemini-live/setup.js'
import { functionParameters, geminiParameters } from './tool-schema.js'
import { pricedModel } from './prices.js'
import type { PriceFile } from '../agents/file/prices.js'

/** Keys, addresses and models from the settings; null where unset. Plain data: workers get a copy. */
export interface BackendSettings {
  /** Meaning of `auto`; null for the first backend that is set up. */
  readonly auto: string | null
  readonly openai: {
    readonly apiKey: string | null
    readonly baseUrl: string | null
    readonly model: string
    readonly turns: 'server_vad' | 'semantic_vad' | 'gateway'
  }
  readonly openaiLive: {
    readonly apiKey: string | null
    readonly baseUrl: string | null
    readonly model: string
    readonly delegate: 'responses' | 'client'
    readonly delegateModel: string
    /** The language model of the cascade, for `client`. */
    readonly llm: ServiceSettings | null
  }
  readonly gemini: {
    readonly apiKey: string | null
    readonly baseUrl: string | null
    readonly model: string
    readonly turns: 'gateway' | 'server'
  }
  readonly azureVoiceLive: AzureVoiceLiveSettings
  /** A self-hosted realtime server. */
  readonly selfHosted:
    | (ServiceSettings & {
        readonly turns: 'server_vad' | 'semantic_vad' | 'gateway'
        readonly dialect: 'ga' | 'beta'
        readonly rateHz: 16000 | 24000
      })
    | null
  readonly cascade: CascadeSettings
  /** Prices of PRICES_FILE. */
  readonly prices: PriceFile | null
  /** Caller audio in one message to a realtime model, 20 to 100 ms; null: the one that suits the call (`messageLength`). */
  readonly messageMs: number | null
  /** Services that detect turns get the silence between them too. */
  readonly streamSilence: boolean
  /** Calls of one media worker that are connected to one backend again in a second. */
  readonly reconnectsPerSecond: number
}

/** A backend of this version: which settings it needs, and its traits. `load-backend.ts` makes it, where calls run. */
interface Registered {
  /** The setting that is missing; null when the backend can be used. */
  readonly missing: (settings: BackendSettings, options: BackendOptions) => string | null
  /** True if, with these settings, the backend itself detects when the caller has stopped. */
  readonly detectsTurns: (settings: BackendSettings, options: BackendOptions) => boolean
  /** True if the agent's options leave it free to work at 8 kHz on a leg of 8 kHz; it does not where absent. */
  readonly usesLegRate?: (options: BackendOptions) => boolean
  /** The models that it uses, as they are priced. Where there are several, its usage names them. */
  readonly models: (settings: BackendSettings, options: BackendOptions) => readonly (string | null)[]
}

/** Who uses the tools for a live model; null where that is a language model that is not set up. */
export function liveDelegate({ openaiLive }: BackendSettings, options: BackendOptions): DelegateOptions | null {
  const { delegateModel, llm } = openaiLive
  const usual: { readonly by: 'responses' } | { readonly by: 'client' } = { by: openaiLive.delegate }
  const own = options['openai-live']?.delegate ?? usual
  if (own.by === 'responses') return { model: delegateModel, ...own }
  const { by, ...changed } = own
  return llm === null ? null : { by, llm: { ...llm, ...changed } }
}

const FACTS = {
  openai: {
    missing: ({ openai }) => (openai.apiKey === null ? 'OPENAI_API_KEY' : null),
    detectsTurns: ({ openai }, { openai: own }) => (own?.turns?.by ?? openai.turns) !== 'gateway',
    usesLegRate: ({ openai: own }) => own?.audio !== 'pcm',
    models: ({ openai }, { openai: own }) => [own?.model ?? openai.model],
  },
  'openai-live': {
    missing: (settings, options) =>
      settings.openaiLive.apiKey === null
        ? 'OPENAI_API_KEY'
        : liveDelegate(settings, options) === null
          ? 'LLM_URL'
          : null,
    // It does, but without a word about it: the gateway times the turns.
    detectsTurns: () => false,
    usesLegRate: ({ 'openai-live': own }) => own?.audio !== 'pcm16k' && own?.audio !== 'pcm24k',
    models: (settings, options) => {
      const delegate = liveDelegate(settings, options)
      return [
        options['openai-live']?.model ?? settings.openaiLive.model,
        ...(delegate === null ? [] : [delegateModel(delegate)]),
      ]
    },
  },
  gemini: {
    missing: ({ gemini }) => (gemini.apiKey === null ? 'GEMINI_API_KEY' : null),
    detectsTurns: ({ gemini }, { gemini: own }) => (own?.turns?.by ?? gemini.turns) !== 'gateway',
    models: ({ gemini }, { gemini: own }) => [own?.model ?? gemini.model],
  },
  'azure-voice-live': {
    missing: ({ azureVoiceLive }, { 'azure-voice-live': own }) => azureVoiceLiveLacks(azureVoiceLive, own?.model),
    detectsTurns: (_, { 'azure-voice-live': own }) => (own?.turns?.by ?? USUAL_TURNS) !== 'gateway',
    usesLegRate: () => true,
    // The list of OpenAI's prices and ends does not hold at Azure.
    models: ({ azureVoiceLive: { model, baseUrl } }, { 'azure-voice-live': own }) => {
      const used = own?.model ?? model
      return used === null || baseUrl === null ? [] : [pricedModel(used, baseUrl)]
    },
  },
  'self-hosted': {
    missing: ({ selfHosted }) => (selfHosted === null ? 'REALTIME_URL' : null),
    detectsTurns: ({ selfHosted }, { 'self-hosted': own }) => (own?.turns?.by ?? selfHosted?.turns) !== 'gateway',
    models: ({ selfHosted }, { 'self-hosted': own }) =>
      selfHosted === null ? [] : [pricedModel(own?.model ?? selfHosted.model, selfHosted.baseUrl)],
  },
  cascade: {
    missing: ({ cascade }, { cascade: own = {} }) => missingForServices(cascade, own),
    detectsTurns: () => false,
    models: ({ cascade }, { cascade: own = {} }) =>
      missingForServices(cascade, own) === null ? serviceModels(cascade, own) : [],
    // Its voice does, and every recogniser that can; one that takes 16 kHz alone hears no less of a narrow line.
    usesLegRate: () => true,
  },
  embedded: {
    missing: () => null,
    detectsTurns: () => false,
    models: () => [null],
  },
} satisfies Readonly<Record<string, Registered>>

/** The name of a backend of this version. */
export type BackendName = keyof typeof FACTS

const REGISTRY: Readonly<Record<string, Registered>> = FACTS

/** Names that an agent may ask for. */
export const BACKENDS: readonly string[] = Object.keys(REGISTRY)

/** `auto` is the first of these that is set up, unless the settings say what it is. Self-hosted backends are used only when an agent names them. */
const AUTO: readonly string[] = ['openai', 'gemini', 'embedded']

/** Prefix of a backend from a module, which exports `createBackend`. */
export const MODULE_PREFIX = 'module:'

/**
 * Resolves a name in an agent's `backend:` with these settings.
 * @throws GatewayError BACKEND_KEY_MISSING, or AGENT_INVALID for a backend that this version does not have
 */
export function resolveBackend(
  agent: string,
  wanted: string,
  settings: BackendSettings,
  options: BackendOptions = {},
): string {
  if (wanted === 'auto' && settings.auto === null)
    return AUTO.find((name) => REGISTRY[name]?.missing(settings, options) === null) ?? 'embedded'
  if (wanted === 'auto') return resolveBackend(agent, settings.auto ?? '', settings, options)
  if (wanted.startsWith(MODULE_PREFIX)) return wanted
  const registered = REGISTRY[wanted]
  if (registered === undefined) {
    throw new GatewayError(
      'AGENT_INVALID',
      `agent ${agent} has an unknown backend ${wanted}; allowed: auto, ${BACKENDS.join(', ')}, module:SPECIFIER`,
    )
  }
  const missing = registered.missing(settings, options)
  if (missing === null) return wanted
  const other = settings.auto === wanted ? 'another AUTO_BACKEND' : 'backend: auto'
  throw new GatewayError(
    'BACKEND_KEY_MISSING',
    `agent ${agent} uses backend ${wanted}, but ${missing} is not set; set it, or use ${other}`,
  )
}

/**
 * The same for one name or a list. Each backend that a list names must be set up; `auto` in a list is one backend. `auto`
 * alone is followed by the embedded backend where the agent has a dialogue for it, so that callers are answered while the
 * model cannot be reached.
 * @param offline  the agent has an `offline:` block
 * @throws GatewayError as `resolveBackend`, or AGENT_INVALID for a backend that is listed twice
 */
export function resolveBackends(
  agent: string,
  wanted: string | readonly string[],
  settings: BackendSettings,
  options: BackendOptions = {},
  offline = false,
): readonly string[] {
  if (wanted === 'auto') {
    const name = resolveBackend(agent, wanted, settings, options)
    return offline && name !== 'embedded' ? [name, 'embedded'] : [name]
  }
  const names = (typeof wanted === 'string' ? [wanted] : wanted).map((name) =>
    resolveBackend(agent, name, settings, options),
  )
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined)
    throw new GatewayError('AGENT_INVALID', `agent ${agent} lists backend ${twice} twice; allowed: each backend once`)
  return names
}

/**
 * True if backend `name` (resolved), with these settings, itself detects when the caller has stopped. This is not known
 * for a module, so a list with a module uses the gateway's turns; a module that is alone may ignore them.
 */
export function detectsTurns(name: string, settings: BackendSettings, options: BackendOptions): boolean {
  return REGISTRY[name]?.detectsTurns(settings, options) ?? false
}

/** True if backend `name` (resolved) works at 8 kHz on a leg of 8 kHz, with these options. Not known for a module. */
export function usesLegRate(name: string, options: BackendOptions): boolean {
  return REGISTRY[name]?.usesLegRate?.(options) ?? false
}

/** The models of the backend `name`, as they are priced; null in it: one without a name. */
export function modelsOf(name: string, settings: BackendSettings, options: BackendOptions): readonly (string | null)[] {
  return REGISTRY[name]?.models(settings, options) ?? [null]
}

/** Parts of a tool's schema that the model of the backend `name` does not see, such as `not of when`; empty: none. */
export function droppedOf(
  name: string,
  settings: BackendSettings,
  options: BackendOptions,
  parameters: Readonly<Record<string, unknown>>,
): readonly string[] {
  if (name === 'embedded' || name.startsWith(MODULE_PREFIX)) return []
  const classic = name === 'gemini' && !traitsOf({ model: options.gemini?.model ?? settings.gemini.model }).jsonSchema
  return (classic ? geminiParameters(parameters) : functionParameters(parameters)).dropped
}

/**
 * Missing abilities of the services of the backend `name`, one line each; empty for a backend that is one service.
 * @param languages  those of the agent
 */
export function lacksOf(
  name: string,
  settings: BackendSettings,
  options: BackendOptions,
  languages: readonly string[],
): readonly string[] {
  return name === 'cascade' ? serviceLacks(settings.cascade, options.cascade ?? {}, languages) : []
}
