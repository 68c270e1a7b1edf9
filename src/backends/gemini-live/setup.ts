import { gemini as facts } from '../../vendors/gemini/facts.js'
import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import type { GeminiOptions } from '../../agents/file/backend-options.js'
import type { BackendSession, ToolSpec } from '../backend.js'
import { recentHistory, recentTools } from '../prompts.js'
import { geminiParameters } from '../tool-schema.js'
import { replyText } from '../tool-text.js'
import { termsOf } from '../vocabulary.js'
import { turnEndAfter } from '../transport/caller-uplink.js'
import type { TurnEnd } from '../transport/caller-uplink.js'
import type { RealtimeOptions } from '../transport/realtime-backend.js'
import type { WireContent, WireFunction, WireSetup } from './wire.js'

/**
 * The key goes into the URL, as the service requires; a model's name may lack its `models/`.
 *
 * `turns`: `gateway` when not given, because the service does not report speech reliably. `texts`: when not given, what the
 * model takes; for one that is not known `content`, and `realtime` after the service refused that.
 */
export type GeminiLiveOptions = RealtimeOptions &
  Omit<GeminiOptions, 'model'> & {
    /** `v1beta` when not given; `v1alpha` for ephemeral tokens (`auth_tokens/…`). */
    readonly apiVersion?: string
    /** The whole address, for Vertex AI or a proxy: then `headers` carry the credentials. */
    readonly url?: string
  }

/** The service ends a connection after about ten minutes and announces it a minute before. */
export const GEMINI_CONNECTION_MS = 10 * 60_000
export const GEMINI_INPUT_RATE_HZ = 16_000
export const GEMINI_OUTPUT_RATE_HZ = 24_000

/** Differences between the generations of the models, and between the two services. */
export interface ModelTraits {
  /**
   * Gemini 3.8 and later: tools do not block unless their declaration says so, and new input cancels a call that does.
   */
  readonly asynchronous: boolean
  /** It takes tools that do not block. */
  readonly nonBlocking: boolean
  /** It reasons in the background: it needs a thinking level, and takes no tool that blocks. */
  readonly thinks: boolean
  /** Vertex AI has no `behavior`. */
  readonly vertex: boolean
  /** The service may say which messages a resumed session holds; see `takesTransparent`. */
  readonly transparent: boolean
  /** It sees a tool's `parametersJsonSchema`, and not only its `parameters`. */
  readonly jsonSchema: boolean
  /** How it takes texts; null where that is not known. */
  readonly texts: 'content' | 'realtime' | null
}

/** Services of which a worker knows what it found out. */
const GEMINI_HOSTS_MAX = 32
/** Models of which a worker knows how they take texts. */
const GEMINI_MODELS_MAX = 64

// Facts that this worker's sessions learnt from refusals; per worker, so each finds out once.

/**
 * Services that take `sessionResumption.transparent`, by the host of their address: a host that refuses the setup with
 * it, and takes it without, is not sent it again. Needed because Google's own client (@google/genai 3.1) lets only Vertex
 * AI have it, the Developer API of May 2026 refused it (google/adk-python#5771), and the types of Gemini 3.8 have it.
 */
export const takesTransparent = new LRUCache<string, boolean>(atMost(GEMINI_HOSTS_MAX))
/** How models that are not known by their name take texts, by host and model. */
export const takesTexts = new LRUCache<string, 'content' | 'realtime'>(atMost(GEMINI_MODELS_MAX))

/** Reported traits of models, by name. Not in it: the older schema before 3.8, and texts are tried. */
const MODELS: readonly (Pick<ModelTraits, 'jsonSchema' | 'texts'> & { readonly name: RegExp })[] = [
  // Native audio models of 2.5 see no arguments in `parametersJsonSchema`.
  { name: /gemini-(live-)?2\./, jsonSchema: false, texts: 'content' },
  // It closes with 1007 on content that is not history.
  { name: /gemini-3\.1-flash-live/, jsonSchema: false, texts: 'realtime' },
  { name: /gemini-3\.8/, jsonSchema: true, texts: 'content' },
]

/**
 * By the model's name: `gemini-3.8-live`, `gemini-live-2.5-flash`. A name without a version counts as an older model;
 * its tools are declared as blocking, which every generation takes.
 */
export function traitsOf({ model, url }: Pick<GeminiLiveOptions, 'model' | 'url'>): ModelTraits {
  const [, major, minor] = (/gemini-(?:live-)?(\d+)\.(\d+)/.exec(model) ?? []).map(Number)
  const version = major === undefined || minor === undefined ? null : major + minor / 100
  const asynchronous = version !== null && version >= ASYNCHRONOUS_FROM
  const known = MODELS.find(({ name }) => name.test(model))
  const vertex = /aiplatform\.googleapis\.com/.test(url ?? '') || /^(projects|publishers)\//.test(model)
  return {
    asynchronous,
    // Between 3.0 and 3.8 no model has them (pipecat 4448).
    nonBlocking: !vertex && (asynchronous || (version !== null && version < 3)),
    thinks: asynchronous && model.includes('extended-thinking'),
    vertex,
    transparent: asynchronous || vertex,
    jsonSchema: known?.jsonSchema ?? asynchronous,
    texts: known?.texts ?? null,
  }
}

/** 3.8, as major and hundredths. */
const ASYNCHRONOUS_FROM = 3.08

/**
 * True if the model waits for the tool's result. On a model that works asynchronously a tool with an effect does not
 * block unless the agent's file says so, because any sound of the caller would cancel it in the middle.
 */
export function blocks(tool: ToolSpec, traits: ModelTraits): boolean {
  if (!traits.nonBlocking) return true
  if (traits.thinks) return false
  return tool.blocking ?? !(traits.asynchronous && tool.once === true)
}

/** The address of a session. It holds the key: do not keep or log it. */
export function liveUrl(options: GeminiLiveOptions): string {
  if (options.url !== undefined) return options.url
  const { apiKey, baseUrl = facts.services.llm.gemini.own.baseUrl, apiVersion = 'v1beta' } = options
  const url = new URL(baseUrl)
  url.protocol = url.protocol.replace('http', 'ws')
  const ephemeral = apiKey?.startsWith('auth_tokens/') === true
  const method = ephemeral ? 'BidiGenerateContentConstrained' : 'BidiGenerateContent'
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/ws/google.ai.generativelanguage.${apiVersion}.GenerativeService.${method}`
  if (apiKey !== null) url.searchParams.set(ephemeral ? 'access_token' : 'key', apiKey)
  return url.toString()
}

/** Google publishes no default for its silence: any moment of the first 1.5 s may end the turn. */
const UNKNOWN_TURN_END: TurnEnd = { fromMs: 0, toMs: 1500 }

/** When the service ends a turn; null where the gateway does. */
export function turnEndOf({ turns = { by: 'gateway' } }: GeminiLiveOptions): TurnEnd | null {
  if (turns.by === 'gateway') return null
  return turns.silenceMs === undefined ? UNKNOWN_TURN_END : turnEndAfter(turns.silenceMs)
}

/** Terms that the model which transcribes the caller is given: only where the agent's file has some, as not every model takes them. */
export function hintedTerms({ transcription }: GeminiLiveOptions, session: BackendSession): string[] {
  const { vocabulary: own } = transcription ?? {}
  return own === undefined ? [] : termsOf(own, session.vocabulary)
}

/** Optional fields of the setup (a model that reasons needs its thinking level), by the words with which the service names them. */
const WISHES = {
  maxOutputTokens: /max_?output_?tokens/i,
  temperature: /temperature/i,
} as const

export type Wish = keyof typeof WISHES

/** The optional fields that a refusal names. */
export function wishesIn(refusal: string): Wish[] {
  return (Object.keys(WISHES) as Wish[]).filter((wish) => WISHES[wish].test(refusal))
}

/** The first message of a session. `handle` is that of the session to resume. */
export function setupOf(
  options: GeminiLiveOptions,
  session: BackendSession,
  handle: string | null,
  history: boolean,
  transparent = traitsOf(options).transparent,
  refused: ReadonlySet<Wish> = new Set(),
): WireSetup {
  const voice = session.voice ?? options.voice
  const { turns = { by: 'gateway' }, transcription, thinkingLevel = 'low' } = options
  const traits = traitsOf(options)
  const languages = transcription?.languages ?? (traits.asynchronous ? [...session.languages] : [])
  const vocabulary = hintedTerms(options, session)
  return {
    model: options.model.includes('/') ? options.model : `models/${options.model}`,
    generationConfig: {
      responseModalities: ['AUDIO'],
      ...(voice === undefined ? {} : { speechConfig: { voiceConfig: { prebuiltVoiceConfig: { voiceName: voice } } } }),
      ...(options.maxOutputTokens === undefined || refused.has('maxOutputTokens')
        ? {}
        : { maxOutputTokens: options.maxOutputTokens }),
      ...(options.temperature === undefined || refused.has('temperature') ? {} : { temperature: options.temperature }),
      // The other models refuse it.
      ...(traits.thinks ? { thinkingConfig: { thinkingLevel: THINKING_LEVELS[thinkingLevel] } } : {}),
    },
    systemInstruction: { parts: [{ text: session.instructions }] },
    ...(session.tools.length === 0 ? {} : { tools: declarationsOf(session.tools, traits) }),
    realtimeInputConfig: {
      automaticActivityDetection:
        turns.by === 'gateway'
          ? { disabled: true }
          : {
              ...(turns.silenceMs === undefined ? {} : { silenceDurationMs: turns.silenceMs }),
              ...(turns.prefixPaddingMs === undefined ? {} : { prefixPaddingMs: turns.prefixPaddingMs }),
            },
    },
    sessionResumption: {
      ...(handle === null ? {} : { handle }),
      ...(transparent ? { transparent: true } : {}),
    },
    ...(options.compressContext === false ? {} : { contextWindowCompression: { slidingWindow: {} } }),
    inputAudioTranscription: {
      ...(languages.length === 0 ? {} : { languageCodes: [...languages] }),
      ...(vocabulary.length === 0 ? {} : { customVocabulary: vocabulary }),
    },
    outputAudioTranscription: {},
    ...(history ? { historyConfig: { initialHistoryInClientContent: true } } : {}),
  }
}

const THINKING_LEVELS = { low: 'LOW', medium: 'MEDIUM', high: 'HIGH' } as const

export function declarationsOf(
  tools: readonly ToolSpec[],
  traits: ModelTraits,
): { readonly functionDeclarations: WireFunction[] }[] {
  return tools.length === 0 ? [] : [{ functionDeclarations: tools.map((tool) => functionOf(tool, traits)) }]
}

export function functionOf(tool: ToolSpec, traits: ModelTraits): WireFunction {
  return {
    name: tool.name,
    description: tool.description,
    ...(traits.jsonSchema ? { parametersJsonSchema: tool.parameters } : classicParameters(tool)),
    // Always sent: the default differs between the generations.
    ...(traits.vertex ? {} : { behavior: blocks(tool, traits) ? ('BLOCKING' as const) : ('NON_BLOCKING' as const) }),
  }
}

/** An object without properties is refused: a tool without arguments has no schema. */
function classicParameters({ parameters }: ToolSpec): Pick<WireFunction, 'parameters'> {
  const { schema } = geminiParameters(parameters)
  return schema['properties'] === undefined ? {} : { parameters: schema }
}

/**
 * The history of the call as content. Tool calls become notes, because the service does not accept results of calls
 * that it did not make.
 */
export function historyOf(session: BackendSession): WireContent[] {
  const turns: WireContent[] = []
  const notes = recentTools(session.toolLedger).map(
    (entry) =>
      `[${entry.name} was already called with ${JSON.stringify(entry.args)} and answered: ${replyText({ ok: entry.ok, value: entry.result })}]`,
  )
  if (notes.length > 0) turns.push({ role: 'user', parts: notes.map((text) => ({ text })) })
  for (const { role, text } of recentHistory(session.history)) {
    turns.push({ role: role === 'caller' ? 'user' : 'model', parts: [{ text }] })
  }
  return turns
}
