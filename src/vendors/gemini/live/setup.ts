import { gemini as facts, isVertex } from '../facts.js'
import { LRUCache } from 'lru-cache'
import { atMost } from '../../../core/at-most.js'
import type { GeminiOptions } from '../options.js'
import type { BackendSession, ToolSpec } from '../../../backends/backend.js'
import { recentHistory, recentTools } from '../../../backends/prompts.js'
import { geminiParameters } from '../tool-schema.js'
import { replyText } from '../../../backends/tool-text.js'
import { termsOf } from '../../../backends/vocabulary.js'
import { Wishes } from '../../../backends/wishes.js'
import { turnEndAfter } from '../../../backends/transport/caller-uplink.js'
import type { TurnEnd } from '../../../backends/transport/caller-uplink.js'
import { socketUrl } from '../../../backends/transport/realtime-backend.js'
import type { RealtimeOptions } from '../../../backends/transport/realtime-backend.js'
import type { WireContent, WireFunction, WireSetup } from './wire.js'

/**
 * Options of a session. A model's name may omit `models/`.
 *
 * `turns`: `gateway` by default, because the service does not report speech reliably. `texts`: by default the form that
 * the model is known to accept; for an unknown model `content`, then `realtime` after a refusal.
 */
export type GeminiLiveOptions = RealtimeOptions & Omit<GeminiOptions, 'model'>

/**
 * Duration of a connection in ms: the service ends a connection after about ten minutes, and announces the end a minute
 * before.
 */
export const GEMINI_CONNECTION_MS = 10 * 60_000
export const GEMINI_INPUT_RATE_HZ = 16_000
export const GEMINI_OUTPUT_RATE_HZ = 24_000

/** Differences between the generations of the models, and between the two services. */
export interface ModelTraits {
  /**
   * True from Gemini 3.8: tools do not block unless their declaration says so. New input cancels a blocking tool call.
   */
  readonly asynchronous: boolean
  /** True if the model supports tools that do not block. */
  readonly nonBlocking: boolean
  /** True if the model reasons in the background: it needs a thinking level and refuses blocking tools. */
  readonly thinks: boolean
  /** True for Vertex AI, which does not support `behavior`. */
  readonly vertex: boolean
  /** True if the service may report which messages a resumed session contains; see `takesTransparent`. */
  readonly transparent: boolean
  /** True if the model reads a tool's `parametersJsonSchema`, not only its `parameters`. */
  readonly jsonSchema: boolean
  /** Form in which the model accepts texts; null if unknown. */
  readonly texts: 'content' | 'realtime' | null
}

/** Maximum number of services whose traits a worker stores. */
const GEMINI_HOSTS_MAX = 32
/** Maximum number of models whose form of texts a worker stores. */
const GEMINI_MODELS_MAX = 64

// Facts that this worker's sessions learnt from refusals. Each worker learns these facts separately.

/**
 * Support of `sessionResumption.transparent`, by host. If a host refuses the setup with this field and accepts the
 * setup without it, the field is not sent again. Sources differ. Google's own client (@google/genai 3.1) allows the
 * field only for Vertex AI. The Developer API of May 2026 refused the field (google/adk-python#5771). The types of
 * Gemini 3.8 contain the field.
 */
export const takesTransparent = new LRUCache<string, boolean>(atMost(GEMINI_HOSTS_MAX))
/** Form in which models with unknown names accept texts, by host and model. */
export const takesTexts = new LRUCache<string, 'content' | 'realtime'>(atMost(GEMINI_MODELS_MAX))

/**
 * Traits of models as users reported them, by model name. For all other models: `jsonSchema` is false before 3.8, and
 * the form of texts is found by trying.
 */
const MODELS: readonly (Pick<ModelTraits, 'jsonSchema' | 'texts'> & { readonly name: RegExp })[] = [
  // Native audio models of 2.5 do not receive arguments from `parametersJsonSchema`.
  { name: /gemini-(live-)?2\./, jsonSchema: false, texts: 'content' },
  // The model closes with 1007 on content that is not history.
  { name: /gemini-3\.1-flash-live/, jsonSchema: false, texts: 'realtime' },
  { name: /gemini-3\.8/, jsonSchema: true, texts: 'content' },
]

/**
 * @returns the traits by the model's name: `gemini-3.8-live`, `gemini-live-2.5-flash`. A model without a version in its
 * name counts as an older model. The tools of such a model are declared as blocking, which every generation accepts
 */
export function traitsOf({ model, baseUrl }: Pick<GeminiLiveOptions, 'model' | 'baseUrl'>): ModelTraits {
  const [, major, minor] = (/gemini-(?:live-)?(\d+)\.(\d+)/.exec(model) ?? []).map(Number)
  const version = major === undefined || minor === undefined ? null : major + minor / 100
  const asynchronous = version !== null && version >= ASYNCHRONOUS_FROM
  const known = MODELS.find(({ name }) => name.test(model))
  const vertex = isVertex(model, baseUrl)
  return {
    asynchronous,
    // Models from 3.0 to before 3.8 do not support non-blocking tools (pipecat 4448).
    nonBlocking: !vertex && (asynchronous || (version !== null && version < 3)),
    thinks: asynchronous && model.includes('extended-thinking'),
    vertex,
    transparent: asynchronous || vertex,
    jsonSchema: known?.jsonSchema ?? asynchronous,
    texts: known?.texts ?? null,
  }
}

/** Version 3.8 as one number: the minor version counts in hundredths. */
const ASYNCHRONOUS_FROM = 3.08

/**
 * True if the model waits for the tool's result. By default, a tool with an effect does not block an asynchronous
 * model, because any sound of the caller would cancel a blocking tool call.
 */
export function blocks(tool: ToolSpec, traits: ModelTraits): boolean {
  if (!traits.nonBlocking) return true
  if (traits.thinks) return false
  return tool.blocking ?? !(traits.asynchronous && tool.once === true)
}

/**
 * Address and headers of a session. They contain the API key, which the Developer API requires in the address: do not
 * store or log them.
 */
export function liveTarget(options: GeminiLiveOptions): {
  readonly url: string
  readonly headers: Record<string, string>
} {
  const { apiKey, baseUrl = facts.services.llm.gemini.own.baseUrl, headers = {} } = options
  const { vertex } = traitsOf(options)
  const service = vertex
    ? 'cloud.aiplatform.v1beta1.LlmBidiService/'
    : 'ai.generativelanguage.v1beta.GenerativeService.'
  const url = socketUrl(baseUrl, `/ws/google.${service}BidiGenerateContent`)
  if (!vertex && apiKey !== null) url.searchParams.set('key', apiKey)
  return {
    url: url.toString(),
    headers: { ...headers, ...(vertex && apiKey !== null ? { 'x-goog-api-key': apiKey } : {}) },
  }
}

/** Google publishes no default silence: the turn may end at any moment of the 1.5 s after the caller's last voice. */
const UNKNOWN_TURN_END: TurnEnd = { fromMs: 0, toMs: 1500 }

/**
 * @returns the time after the caller's last voice at which the service ends the turn; null if the gateway ends turns
 */
export function turnEndOf({ turns = { by: 'gateway' } }: GeminiLiveOptions): TurnEnd | null {
  if (turns.by === 'gateway') return null
  return turns.silenceMs === undefined ? UNKNOWN_TURN_END : turnEndAfter(turns.silenceMs)
}

/**
 * @returns terms for the model that transcribes the caller. Sent only if the agent's file has terms, because not every
 * model accepts them
 */
export function hintedTerms({ transcription }: GeminiLiveOptions, session: BackendSession): string[] {
  const { vocabulary: own } = transcription ?? {}
  return own === undefined ? [] : termsOf(own, session.vocabulary)
}

/** Makes the first message of a session. `handle` belongs to the session to resume. */
export function setupOf(
  options: GeminiLiveOptions,
  session: BackendSession,
  handle: string | null,
  history: boolean,
  transparent = traitsOf(options).transparent,
  wishes = new Wishes(),
): WireSetup {
  const voice = session.voice ?? options.voice
  const { turns = { by: 'gateway' }, transcription, thinkingLevel = 'low' } = options
  const traits = traitsOf(options)
  const languages = transcription?.languages ?? (traits.asynchronous ? [...session.languages] : [])
  const vocabulary = hintedTerms(options, session)
  return {
    model: options.model.includes('/')
      ? options.model
      : `${traits.vertex ? 'publishers/google/' : ''}models/${options.model}`,
    generationConfig: {
      responseModalities: ['AUDIO'],
      ...(voice === undefined ? {} : { speechConfig: { voiceConfig: { prebuiltVoiceConfig: { voiceName: voice } } } }),
      ...wishes.of({ maxOutputTokens: options.maxOutputTokens, temperature: options.temperature }),
      // Models without background reasoning refuse this field.
      ...(traits.thinks ? { thinkingConfig: { thinkingLevel: THINKING_LEVELS[thinkingLevel] } } : {}),
    },
    systemInstruction: { parts: [{ text: session.instructions }] },
    ...(session.tools.length === 0 ? {} : { tools: declarationsOf(session.tools, traits) }),
    realtimeInputConfig: {
      automaticActivityDetection:
        turns.by === 'gateway'
          ? { disabled: true }
          : wishes.of({ silenceDurationMs: turns.silenceMs, prefixPaddingMs: turns.prefixPaddingMs }),
    },
    sessionResumption: {
      ...(handle === null ? {} : { handle }),
      ...(transparent ? { transparent: true } : {}),
    },
    ...wishes.of({
      contextWindowCompression: options.compressContext === false ? undefined : { slidingWindow: {} },
    }),
    inputAudioTranscription: wishes.of({
      languageCodes: languages.length === 0 ? undefined : [...languages],
      customVocabulary: vocabulary.length === 0 ? undefined : vocabulary,
    }),
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
    // `behavior` is always sent, because its default differs between the generations of models.
    ...(traits.vertex ? {} : { behavior: blocks(tool, traits) ? ('BLOCKING' as const) : ('NON_BLOCKING' as const) }),
  }
}

/** The service refuses an object without properties, so a tool without arguments has no parameters. */
function classicParameters({ parameters }: ToolSpec): Pick<WireFunction, 'parameters'> {
  const { schema } = geminiParameters(parameters)
  return schema['properties'] === undefined ? {} : { parameters: schema }
}

/**
 * Converts the history of the call to content. Tool calls become notes: the service accepts only results of its own
 * calls.
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
