import type { LocalizedText } from '../call/localized-text.js'
import type { BackendOptions, OpenAiTurns } from '../agents/backend-options.js'
import type { Clock } from '../core/clock.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { omitNullish } from '../core/omit-nullish.js'
import type { LegRateHz } from '../core/units.js'
import type { Backend, BackendFactory, BackendSink } from './backend.js'
import { CascadeBackend } from './cascade/cascade-backend.js'
import { loadStageModules, missingForStages, stageLacks, stageModels, stagesOf } from './cascade/services.js'
import type { CascadeSettings, ServiceSettings } from './cascade/services.js'
import { messageTaker } from './cascade/message-taker.js'
import type { MessagePhrases } from './cascade/message-taker.js'
import type { OwnVoice } from './cascade/own-voice.js'
import { EmbeddedBackend } from './embedded/embedded-backend.js'
import type { SpeechClient } from '../speech/speech-client.js'
import { GeminiLiveBackend } from './gemini-live/gemini-backend.js'
import { OpenAiLiveBackend } from './openai-live/live-backend.js'
import { audioOfLeg, delegateModel } from './openai-live/session-start.js'
import type { DelegateOptions } from './openai-live/session-start.js'
import { OpenAiRealtimeBackend } from './openai-realtime/openai-backend.js'
import { traitsOf } from './gemini-live/setup.js'
import { functionParameters, geminiParameters } from './tool-schema.js'
import { pricedModel } from './prices.js'
import { clockTimers, type BackendTimers } from './timers.js'
import type { PriceFile } from '../agents/prices.js'

/** Keys, addresses and models from the settings; null where unset. Plain data: workers get a copy. */
export interface BackendSettings {
  /** What `auto` stands for; null for the first backend that is set up. */
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

/** What the backends of one call may use. */
export interface BackendContext {
  readonly speech: SpeechClient | null
  readonly clock: Clock
  /** Calls `work` once after `ms` of that clock. @defaultValue timers of Node */
  readonly after?: BackendTimers['after']
  readonly settings: BackendSettings
  readonly legRateHz: LegRateHz
  /** The agent's `backends:` block. */
  readonly options: BackendOptions
  /** The agent's voice for this backend, where it may be one a language. */
  readonly voices?: LocalizedText
  /** The agent's fixed phrases in the voice of its cascade; absent for an agent whose first backend is another. */
  readonly ownVoice?: OwnVoice
  /** The cascade takes a message, without a language model; absent: it is the agent. */
  readonly message?: MessagePhrases
  /** The agent's `turn.waitWords`; absent: false. */
  readonly waitWords?: boolean
  /**
   * The gateway marks the caller's turns, because another backend of the list cannot detect them. A backend with its
   * own turn detection then switches it off, unless the agent's file sets it, so that no turn is timed twice.
   */
  readonly gatewayTurns: boolean
  /**
   * The agent's file tells listening from interrupting (`bargeIn.backchannel`), so the gateway decides what interrupts. A
   * service that interrupts its own answers is then told not to, where it can be told, unless the agent's file sets that.
   */
  readonly gatewayInterrupts: boolean
}

/** A backend of this version: which settings it needs, and how it is made. */
interface Registered {
  /** The setting that is missing; null when the backend can be used. */
  readonly missing: (settings: BackendSettings, options: BackendOptions) => string | null
  /** True if, with these settings, the backend itself detects when the caller has stopped. */
  readonly detectsTurns: (settings: BackendSettings, options: BackendOptions) => boolean
  /** True if the agent's options leave it free to work at 8 kHz on a leg of 8 kHz; it does not where absent. */
  readonly usesLegRate?: (options: BackendOptions) => boolean
  /** The models that it uses, as they are priced. Where there are several, its usage names them. */
  readonly models: (settings: BackendSettings, options: BackendOptions) => readonly (string | null)[]
  readonly make: (sink: BackendSink, context: BackendContext) => Backend
}

const unusable = (name: string): GatewayError =>
  new GatewayError('BACKEND_KEY_MISSING', `backend ${name} is not set up`)

/** Who uses the tools for a live model; null where that is a language model that is not set up. */
function liveDelegate({ openaiLive }: BackendSettings, options: BackendOptions): DelegateOptions | null {
  const { delegateModel, llm } = openaiLive
  const usual: { readonly by: 'responses' } | { readonly by: 'client' } = { by: openaiLive.delegate }
  const own = options['openai-live']?.delegate ?? usual
  if (own.by === 'responses') return { model: delegateModel, ...own }
  const { by, ...changed } = own
  return llm === null ? null : { by, llm: { ...llm, ...changed } }
}

/**
 * Turn detection by a service with OpenAI's API. Where the gateway decides what interrupts, the service does not.
 * @param by  as the settings have it, where the agent's file says nothing
 */
function openAiTurns(
  { gatewayTurns, gatewayInterrupts }: BackendContext,
  own: OpenAiTurns | undefined,
  by: OpenAiTurns['by'],
): OpenAiTurns {
  const turns = own ?? { by: gatewayTurns ? 'gateway' : by }
  return turns.by === 'gateway' || !gatewayInterrupts ? turns : { interruptResponse: false, ...turns }
}

/** What the services that can detect turns get of the settings. */
function realtime({ clock, settings: { messageMs, streamSilence } }: BackendContext) {
  return { nowMs: clock, streamSilence, ...omitNullish({ messageMs }) }
}

const REGISTRY: Readonly<Record<string, Registered>> = {
  openai: {
    missing: ({ openai }) => (openai.apiKey === null ? 'OPENAI_API_KEY' : null),
    detectsTurns: ({ openai }, { openai: own }) => (own?.turns?.by ?? openai.turns) !== 'gateway',
    usesLegRate: ({ openai: own }) => own?.audio !== 'pcm',
    models: ({ openai }, { openai: own }) => [own?.model ?? openai.model],
    make: (sink, context) => {
      const { openai } = context.settings
      const own = context.options.openai
      return new OpenAiRealtimeBackend(sink, {
        apiKey: openai.apiKey,
        model: openai.model,
        ...realtime(context),
        ...(openai.baseUrl === null ? {} : { baseUrl: openai.baseUrl }),
        // G.711 has all that an 8 kHz leg carries, and saves both resamplings. A line that was A-law before, as outside of
        // North America and Japan, loses nothing by it.
        audio: context.legRateHz === 8000 ? 'pcma' : 'pcm',
        ...own,
        turns: openAiTurns(context, own?.turns, openai.turns),
      })
    },
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
    make: (sink, { settings, options, clock, legRateHz }) => {
      const { apiKey, baseUrl, model } = settings.openaiLive
      const delegate = liveDelegate(settings, options)
      if (delegate === null) throw unusable('openai-live')
      return new OpenAiLiveBackend(sink, {
        apiKey,
        model,
        nowMs: clock,
        ...(settings.messageMs === null ? {} : { messageMs: settings.messageMs }),
        ...(baseUrl === null ? {} : { baseUrl }),
        audio: audioOfLeg(legRateHz),
        ...options['openai-live'],
        delegate,
      })
    },
  },
  gemini: {
    missing: ({ gemini }) => (gemini.apiKey === null ? 'GEMINI_API_KEY' : null),
    detectsTurns: ({ gemini }, { gemini: own }) => (own?.turns?.by ?? gemini.turns) !== 'gateway',
    models: ({ gemini }, { gemini: own }) => [own?.model ?? gemini.model],
    make: (sink, context) => {
      const { gemini } = context.settings
      const own = context.options.gemini
      return new GeminiLiveBackend(sink, {
        apiKey: gemini.apiKey,
        model: gemini.model,
        ...realtime(context),
        ...(gemini.baseUrl === null ? {} : { baseUrl: gemini.baseUrl }),
        turns: { by: context.gatewayTurns ? 'gateway' : gemini.turns },
        ...own,
      })
    },
  },
  'self-hosted': {
    missing: ({ selfHosted }) => (selfHosted === null ? 'REALTIME_URL' : null),
    detectsTurns: ({ selfHosted }, { 'self-hosted': own }) => (own?.turns?.by ?? selfHosted?.turns) !== 'gateway',
    models: ({ selfHosted }, { 'self-hosted': own }) =>
      selfHosted === null ? [] : [pricedModel(own?.model ?? selfHosted.model, selfHosted.baseUrl)],
    make: (sink, context) => {
      const { selfHosted } = context.settings
      const own = context.options['self-hosted']
      if (selfHosted === null) throw unusable('self-hosted')
      const { rateHz, turns: by, ...server } = selfHosted
      return new OpenAiRealtimeBackend(sink, {
        ...server,
        inputRateHz: rateHz,
        outputRateHz: rateHz,
        name: 'self-hosted',
        ...realtime(context),
        ...own,
        turns: openAiTurns(context, own?.turns, by),
      })
    },
  },
  cascade: {
    missing: ({ cascade }, { cascade: own = {} }) => missingForStages(cascade, own),
    detectsTurns: () => false,
    models: ({ cascade }, { cascade: own = {} }) =>
      missingForStages(cascade, own) === null ? stageModels(cascade, own) : [],
    // Its voice does, and every recogniser that can; one that takes 16 kHz alone hears no less of a narrow line.
    usesLegRate: () => true,
    make: (sink, { settings: { cascade }, options, clock, after, legRateHz, ownVoice, voices, message, waitWords }) =>
      new CascadeBackend(sink, {
        ...stagesOf(cascade, options.cascade ?? {}),
        ...(message === undefined ? {} : { name: 'message', llm: [messageTaker(message)], speculate: false }),
        legRateHz,
        timers: clockTimers(clock, after),
        ...omitNullish({ ownVoice, voices, waitWords }),
      }),
  },
  embedded: {
    missing: () => null,
    detectsTurns: () => false,
    models: () => [null],
    make: (sink, { speech, clock, after }) => {
      if (speech === null) {
        throw new GatewayError('SPEECH_FAULT', 'the embedded backend needs the speech pool, which is down', {
          retryable: true,
        })
      }
      return new EmbeddedBackend(sink, { speech, ...clockTimers(clock, after) })
    },
  },
}

/** Names that an agent may ask for. */
const BACKENDS: readonly string[] = Object.keys(REGISTRY)

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
  throw new GatewayError(
    'BACKEND_KEY_MISSING',
    `agent ${agent} uses backend ${wanted}, but ${missing} is not set; set it, or use backend: auto`,
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

/** What a module with a backend exports. */
interface BackendModule {
  /** @param options  the module's entry in the agent's `backends:` block, unchanged; empty without one */
  createBackend(sink: BackendSink, context: BackendContext, options: Readonly<Record<string, unknown>>): Backend
}

/**
 * The factory of backend `name` (resolved). A module is imported in this thread first: its name is `module:` and a
 * specifier, such as `module:file:///opt/agents/own-backend.js` or the name of a package. (`module:./own-backend.js` in an
 * agent's file has become such a URL when the file was loaded.)
 * @throws GatewayError AGENT_INVALID for an unknown name, or a module that cannot be used
 */
export async function loadBackend(name: string, context: BackendContext): Promise<BackendFactory> {
  if (!name.startsWith(MODULE_PREFIX)) {
    const registered = REGISTRY[name]
    if (registered === undefined)
      throw new GatewayError('AGENT_INVALID', `there is no backend ${name}; allowed: ${BACKENDS.join(', ')}`)
    if (name === 'cascade') await loadStageModules(context.options.cascade ?? {})
    return (sink) => registered.make(sink, context)
  }
  const specifier = name.slice(MODULE_PREFIX.length)
  let loaded: Partial<BackendModule>
  try {
    loaded = (await import(specifier)) as Partial<BackendModule>
  } catch (cause) {
    throw new GatewayError('AGENT_INVALID', `backend ${name} cannot be loaded: ${messageOf(cause)}`, { cause })
  }
  const { createBackend } = loaded
  if (typeof createBackend !== 'function') {
    throw new GatewayError(
      'AGENT_INVALID',
      `backend ${name} does not export a function createBackend(sink, context, options)`,
    )
  }
  const options =
    (context.options as Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>)[name] ?? {}
  return (sink) => {
    try {
      return createBackend(sink, context, options)
    } catch (cause) {
      // `BackendList` leaves out a backend that fails with a GatewayError; any other error would end the call.
      if (cause instanceof GatewayError) throw cause
      throw new GatewayError('AGENT_INVALID', `backend ${name} cannot be made: ${messageOf(cause)}`, { cause })
    }
  }
}

/** The models of the backend `name`, as they are priced; null in it: one without a name. */
export function modelsOf(name: string, settings: BackendSettings, options: BackendOptions): readonly (string | null)[] {
  return REGISTRY[name]?.models(settings, options) ?? [null]
}

/** What the model of the backend `name` does not see of a tool's schema, such as `not of when`; empty: it sees all of it. */
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

/** What the services of the backend `name` cannot do, one line each; empty for a backend that is one service. */
export function lacksOf(name: string, settings: BackendSettings, options: BackendOptions): readonly string[] {
  return name === 'cascade' ? stageLacks(settings.cascade, options.cascade ?? {}) : []
}
