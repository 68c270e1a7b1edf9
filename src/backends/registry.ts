import type { Clock } from '../core/clock.js'
import { GatewayError, messageOf } from '../core/errors.js'
import type { LegRateHz } from '../core/units.js'
import type { Backend, BackendFactory, BackendSink } from './backend.js'
import { CascadeBackend } from './cascade/cascade-backend.js'
import { EmbeddedBackend } from './embedded/embedded-backend.js'
import type { SpeechClient } from './embedded/speech-client.js'
import { GeminiLiveBackend } from './gemini-live/gemini-backend.js'
import { OpenAiRealtimeBackend } from './openai-realtime/openai-backend.js'

/** One service that speaks HTTP in OpenAI's shape. */
export interface ServiceSettings {
  readonly baseUrl: string
  readonly apiKey: string | null
  readonly model: string
}

/** Keys, addresses and models, as the settings have them; null where unset. Plain data: workers get a copy. */
export interface BackendSettings {
  readonly openai: { readonly apiKey: string | null; readonly baseUrl: string | null; readonly model: string }
  readonly gemini: { readonly apiKey: string | null; readonly baseUrl: string | null; readonly model: string | null }
  /** A realtime server of one's own. */
  readonly selfHosted: (ServiceSettings & { readonly dialect: 'ga' | 'beta'; readonly rateHz: 16000 | 24000 }) | null
  readonly cascade: { readonly stt: ServiceSettings; readonly llm: ServiceSettings; readonly tts: ServiceSettings } | null
  /** Caller audio in one message to a realtime model, 20 to 100 ms. */
  readonly messageMs: number
}

/** What the backends of one call may use. */
export interface BackendContext {
  readonly speech: SpeechClient | null
  readonly clock: Clock
  readonly settings: BackendSettings
  readonly legRateHz: LegRateHz
}

/** A backend that this version has: what it needs before it can be used, and how it is made. */
interface Registered {
  /** The setting that is missing; null when the backend can be used. */
  readonly missing: (settings: BackendSettings) => string | null
  readonly make: (sink: BackendSink, context: BackendContext) => Backend
}

const unusable = (name: string): GatewayError => new GatewayError('BACKEND_KEY_MISSING', `backend ${name} is not set up`)

const REGISTRY: Readonly<Record<string, Registered>> = {
  openai: {
    missing: ({ openai }) => (openai.apiKey === null ? 'OPENAI_API_KEY' : null),
    make: (sink, { settings: { openai, messageMs }, clock, legRateHz }) => new OpenAiRealtimeBackend(sink, {
      apiKey: openai.apiKey, model: openai.model, messageMs, nowMs: clock,
      ...(openai.baseUrl === null ? {} : { baseUrl: openai.baseUrl }),
      // An 8 kHz leg has no more to offer than G.711, which saves both resamplings.
      audio: legRateHz === 8000 ? 'pcmu' : 'pcm',
    }),
  },
  gemini: {
    missing: ({ gemini }) => (gemini.apiKey === null ? 'GEMINI_API_KEY' : gemini.model === null ? 'GEMINI_MODEL' : null),
    make: (sink, { settings: { gemini, messageMs }, clock }) => {
      if (gemini.model === null) throw unusable('gemini')
      return new GeminiLiveBackend(sink, {
        apiKey: gemini.apiKey, model: gemini.model, messageMs, nowMs: clock,
        ...(gemini.baseUrl === null ? {} : { baseUrl: gemini.baseUrl }),
      })
    },
  },
  'self-hosted': {
    missing: ({ selfHosted }) => (selfHosted === null ? 'REALTIME_URL' : null),
    make: (sink, { settings: { selfHosted, messageMs }, clock }) => {
      if (selfHosted === null) throw unusable('self-hosted')
      const { rateHz, ...server } = selfHosted
      return new OpenAiRealtimeBackend(sink, {
        ...server, inputRateHz: rateHz, outputRateHz: rateHz, name: 'self-hosted', messageMs, nowMs: clock,
      })
    },
  },
  cascade: {
    missing: ({ cascade }) => (cascade === null ? 'STT_URL, LLM_URL and TTS_URL' : null),
    make: (sink, { settings: { cascade }, clock }) => {
      if (cascade === null) throw unusable('cascade')
      return new CascadeBackend(sink, { ...cascade, nowMs: clock })
    },
  },
  embedded: {
    missing: () => null,
    make: (sink, { speech, clock }) => {
      if (speech === null) {
        throw new GatewayError('SPEECH_FAULT', 'the embedded backend needs the speech pool, which is down', { retryable: true })
      }
      return new EmbeddedBackend(sink, { speech, nowMs: clock })
    },
  },
}

/** Names that an agent may ask for. */
export const BACKENDS: readonly string[] = Object.keys(REGISTRY)

/** What `auto` takes the first usable of. Self-hosted ones are only used when an agent names them. */
const AUTO: readonly string[] = ['openai', 'gemini', 'embedded']

/** A backend of somebody else's: a module that exports `createBackend`. */
const MODULE_PREFIX = 'module:'

/**
 * The backend that a name in an agent's `backend:` means here.
 * @throws GatewayError BACKEND_KEY_MISSING, or AGENT_INVALID for a backend that this version does not have
 */
export function resolveBackend(agent: string, wanted: string, settings: BackendSettings): string {
  if (wanted === 'auto') return AUTO.find((name) => REGISTRY[name]?.missing(settings) === null) ?? 'embedded'
  if (wanted.startsWith(MODULE_PREFIX)) return wanted
  const registered = REGISTRY[wanted]
  if (registered === undefined) {
    throw new GatewayError('AGENT_INVALID',
      `agent ${agent} asks for backend ${wanted}, which this version does not have; allowed: auto, ${BACKENDS.join(', ')}, module:SPECIFIER`)
  }
  const missing = registered.missing(settings)
  if (missing === null) return wanted
  throw new GatewayError('BACKEND_KEY_MISSING',
    `agent ${agent} asks for backend ${wanted}, but ${missing} is not set; set it, or use backend: auto`)
}

/**
 * The same for one name or a list of them. A list names each backend outright, so each must be set up; `auto` stands
 * for one of its own.
 * @throws GatewayError as `resolveBackend`, or AGENT_INVALID for a backend that is listed twice
 */
export function resolveBackends(agent: string, wanted: string | readonly string[], settings: BackendSettings): readonly string[] {
  const names = (typeof wanted === 'string' ? [wanted] : wanted).map((name) => resolveBackend(agent, name, settings))
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw new GatewayError('AGENT_INVALID', `agent ${agent} lists backend ${twice} twice; list each once`)
  return names
}

/** What a module with a backend exports. */
export interface BackendModule {
  createBackend(sink: BackendSink, context: BackendContext): Backend
}

/**
 * The factory of backend `name` (resolved), which may have to be loaded first: `module:` and a specifier, such as
 * `module:file:///opt/agents/own-backend.js` or the name of a package, is imported in this thread.
 * @throws GatewayError AGENT_INVALID for a name that nothing has, or a module that cannot be used
 */
export async function loadBackend(name: string, context: BackendContext): Promise<BackendFactory> {
  if (!name.startsWith(MODULE_PREFIX)) return backendFactory(name, context)
  const specifier = name.slice(MODULE_PREFIX.length)
  let loaded: Partial<BackendModule>
  try {
    loaded = await import(specifier) as Partial<BackendModule>
  } catch (cause) {
    throw new GatewayError('AGENT_INVALID', `backend ${name} cannot be loaded: ${messageOf(cause)}`, { cause })
  }
  const { createBackend } = loaded
  if (typeof createBackend !== 'function') {
    throw new GatewayError('AGENT_INVALID', `backend ${name} exports no function createBackend(sink, context)`)
  }
  return (sink) => createBackend(sink, context)
}

/** The factory of one of this version's own backends. */
export function backendFactory(name: string, context: BackendContext): BackendFactory {
  const registered = REGISTRY[name]
  if (registered === undefined) throw new GatewayError('AGENT_INVALID', `there is no backend ${name}; allowed: ${BACKENDS.join(', ')}`)
  return (sink) => registered.make(sink, context)
}
