import { stageEntries } from '../../agents/backend-options.js'
import type { BackendOptions } from '../../agents/backend-options.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import type { CascadeOptions } from './cascade-backend.js'
import { anthropic } from './anthropic-requests.js'
import { cartesiaTextToSpeech } from './cartesia-text-to-speech.js'
import { chat } from './chat-requests.js'
import { deepgramSpeechToText, deepgramTextToSpeech } from './deepgram.js'
import { elevenLabsTextToSpeech } from './elevenlabs-text-to-speech.js'
import { gemini } from './gemini-requests.js'
import { openAiSpeechToText } from './openai-speech-to-text.js'
import { sherpaSpeechToText, voskSpeechToText } from './own-server-speech-to-text.js'
import { sonioxSpeechToText, sonioxTextToSpeech } from './soniox.js'
import { speech } from './speech-requests.js'
import { OwnVoice } from './own-voice.js'
import type { LanguageModel, SpeechToText, StageContext, StageFactory, TextToSpeech } from './stage.js'
import { whisper } from './whisper-requests.js'

/** One service with an API in OpenAI's shape. */
export interface ServiceSettings {
  readonly baseUrl: string
  readonly apiKey: string | null
  readonly model: string
}

interface VoiceSettings {
  readonly apiKey: string | null
  readonly ttsUrl: string | null
}

/** Keys and addresses of the stages' services; null where unset. Plain data. */
export interface CascadeSettings {
  /** `/audio/transcriptions`, `/chat/completions`, `/audio/speech`. */
  readonly stt: ServiceSettings | null
  readonly llm: ServiceSettings | null
  readonly tts: ServiceSettings | null
  readonly anthropic: { readonly apiKey: string | null; readonly baseUrl: string | null; readonly model: string }
  readonly gemini: { readonly apiKey: string | null; readonly baseUrl: string | null; readonly model: string }
  readonly soniox: { readonly apiKey: string | null; readonly sttUrl: string | null; readonly ttsUrl: string | null }
  readonly deepgram: VoiceSettings & { readonly sttUrl: string | null }
  readonly cartesia: VoiceSettings
  readonly openai: { readonly apiKey: string | null; readonly baseUrl: string | null }
  /** OpenAI's realtime transcription, or vLLM's, on one's own machines. */
  readonly sttRealtime: ServiceSettings | null
  readonly voskUrl: string | null
  readonly sherpaUrl: string | null
  readonly elevenlabs: VoiceSettings
}

type Own = NonNullable<BackendOptions['cascade']>
type StageName = 'stt' | 'llm' | 'tts'
type EntryOf<Name extends StageName> = NonNullable<ReturnType<typeof stageEntries<Name>>>[number]

/** A service of one stage: which setting it lacks, and how it is made. */
interface Service<Name extends StageName, Stage> {
  /** What callers will miss with it; absent: nothing. */
  readonly lacks?: string
  readonly missing: (settings: CascadeSettings) => string | null
  readonly make: (own: EntryOf<Name>, settings: CascadeSettings) => StageFactory<Stage>
}

const soniox = { missing: ({ soniox: { apiKey } }: CascadeSettings) => (apiKey === null ? 'SONIOX_API_KEY' : null) }

const STT: Readonly<Record<string, Service<'stt', SpeechToText>>> = {
  whisper: {
    lacks: 'has no words before the turn is over, so that the model is asked later',
    missing: ({ stt }) => (stt === null ? 'STT_URL' : null),
    make: (own, { stt }) => whisper({ ...set(stt), ...own }),
  },
  soniox: {
    ...soniox,
    make: (own, { soniox: { apiKey, sttUrl } }) =>
      sonioxSpeechToText({ apiKey: apiKey ?? '', ...(sttUrl === null ? {} : { baseUrl: sttUrl }), ...own }),
  },
  deepgram: {
    lacks: 'does not understand Swahili',
    missing: ({ deepgram: { apiKey } }) => (apiKey === null ? 'DEEPGRAM_API_KEY' : null),
    make: (own, { deepgram: { apiKey, sttUrl } }) =>
      deepgramSpeechToText({ apiKey: apiKey ?? '', ...(sttUrl === null ? {} : { baseUrl: sttUrl }), ...own }),
  },
  realtime: {
    lacks: 'does not tell which language the caller speaks',
    missing: ({ sttRealtime }) => (sttRealtime === null ? 'STT_REALTIME_URL' : null),
    make: (own, { sttRealtime }) => openAiSpeechToText({ ...set(sttRealtime), ...own, service: 'realtime' }),
  },
  vosk: {
    lacks: 'does not tell which language the caller speaks, and takes no terms',
    missing: ({ voskUrl }) => (voskUrl === null ? 'VOSK_URL' : null),
    make: (_own, { voskUrl }) => voskSpeechToText({ baseUrl: voskUrl ?? '' }),
  },
  sherpa: {
    lacks: 'does not tell which language the caller speaks, and takes no terms',
    missing: ({ sherpaUrl }) => (sherpaUrl === null ? 'SHERPA_URL' : null),
    make: (_own, { sherpaUrl }) => sherpaSpeechToText({ baseUrl: sherpaUrl ?? '' }),
  },
  openai: {
    lacks: 'does not tell which language the caller speaks',
    missing: ({ openai: { apiKey } }) => (apiKey === null ? 'OPENAI_API_KEY' : null),
    make: (own, { openai: { apiKey, baseUrl } }) =>
      openAiSpeechToText({ apiKey, ...(baseUrl === null ? {} : { baseUrl }), ...own }),
  },
}
const LLM: Readonly<Record<string, Service<'llm', LanguageModel>>> = {
  chat: {
    missing: ({ llm }) => (llm === null ? 'LLM_URL' : null),
    make: (own, { llm }) => chat({ ...set(llm), ...own }),
  },
  anthropic: {
    missing: ({ anthropic: { apiKey } }) => (apiKey === null ? 'ANTHROPIC_API_KEY' : null),
    make: (own, { anthropic: { baseUrl, ...rest } }) =>
      anthropic({ ...rest, ...(baseUrl === null ? {} : { baseUrl }), ...own }),
  },
  gemini: {
    missing: ({ gemini: { apiKey } }) => (apiKey === null ? 'GEMINI_API_KEY' : null),
    make: (own, { gemini: { baseUrl, ...rest } }) =>
      gemini({ ...rest, ...(baseUrl === null ? {} : { baseUrl }), ...own }),
  },
}
const TTS: Readonly<Record<string, Service<'tts', TextToSpeech>>> = {
  speech: {
    lacks: 'does not tell when a word sounds: what an interrupted caller heard is estimated',
    missing: ({ tts }) => (tts === null ? 'TTS_URL' : null),
    make: (own, { tts }) => speech({ ...set(tts), ...own }),
  },
  soniox: {
    ...soniox,
    make: (own, { soniox: { apiKey, ttsUrl } }) =>
      sonioxTextToSpeech({ apiKey: apiKey ?? '', ...(ttsUrl === null ? {} : { baseUrl: ttsUrl }), ...own }),
  },
  deepgram: voiceOf('deepgram', 'DEEPGRAM_API_KEY', deepgramTextToSpeech, 'speaks English only'),
  cartesia: voiceOf('cartesia', 'CARTESIA_API_KEY', cartesiaTextToSpeech, 'does not speak Swahili'),
  elevenlabs: voiceOf(
    'elevenlabs',
    'ELEVENLABS_API_KEY',
    elevenLabsTextToSpeech,
    'speaks Swahili with model eleven_v3_conversational only',
  ),
}
/** A voice that needs its key, and has an address of its own unless the settings say otherwise. */
function voiceOf(
  name: 'deepgram' | 'cartesia' | 'elevenlabs',
  key: string,
  make: (
    options: EntryOf<'tts'> & { readonly apiKey: string; readonly baseUrl?: string },
  ) => StageFactory<TextToSpeech>,
  lacks: string,
): Service<'tts', TextToSpeech> {
  return {
    lacks,
    missing: (settings) => (settings[name].apiKey === null ? key : null),
    make: (own, { [name]: { apiKey, ttsUrl } }) =>
      make({ apiKey: apiKey ?? '', ...(ttsUrl === null ? {} : { baseUrl: ttsUrl }), ...own }),
  }
}

const SERVICES = { stt: STT, llm: LLM, tts: TTS }

/** @throws GatewayError BACKEND_KEY_MISSING: `missing` was not asked first */
function set(service: ServiceSettings | null): ServiceSettings {
  if (service === null) throw new GatewayError('BACKEND_KEY_MISSING', 'a stage of the cascade has no address')
  return service
}

/** The agent's services for a stage; without any, the one with an address of its own, or else one that has a key. */
function entriesOf<Name extends StageName>(stage: Name, settings: CascadeSettings, own: Own): readonly EntryOf<Name>[] {
  const listed = stageEntries(stage, own)
  if (listed !== null) return listed
  const names = Object.keys(SERVICES[stage])
  const usable = names.find((name) => SERVICES[stage][name]?.missing(settings) === null) ?? names[0] ?? ''
  return [{ service: usable } as EntryOf<Name>]
}

/** The settings that a cascade of this agent lacks; null when it can be used. */
export function missingForStages(settings: CascadeSettings, own: Own): string | null {
  const missing = (['stt', 'llm', 'tts'] as const).flatMap((stage) =>
    entriesOf(stage, settings, own).flatMap(({ service }) => SERVICES[stage][service]?.missing(settings) ?? []),
  )
  const names = [...new Set(missing)]
  return names.length === 0 ? null : names.join(', ').replace(/, ([^,]*)$/, ' and $1')
}

/** The models of all stages, as they are priced; null for a module. */
export function stageModels(settings: CascadeSettings, own: Own): readonly (string | null)[] {
  return (['stt', 'llm', 'tts'] as const).flatMap((stage) =>
    entriesOf<StageName>(stage, settings, own).map((entry) =>
      isModule(entry.service) ? null : (SERVICES[stage][entry.service]?.make(entry as never, settings).model ?? null),
    ),
  )
}

/** What the agent's services cannot do, one line each: `stt whisper has no …`. */
export function stageLacks(settings: CascadeSettings, own: Own): readonly string[] {
  return (['stt', 'llm', 'tts'] as const).flatMap((stage) =>
    entriesOf<StageName>(stage, settings, own).flatMap(({ service }) => {
      const lacks = SERVICES[stage][service]?.lacks
      return lacks === undefined ? [] : [`${stage} ${service} ${lacks}`]
    }),
  )
}

/** The fixed phrases of an agent in the first voice of its list. */
export function ownVoiceOf(
  settings: CascadeSettings,
  own: Own,
  phrases: Omit<ConstructorParameters<typeof OwnVoice>[0], 'factory' | 'settings'>,
): OwnVoice | null {
  const [entry] = entriesOf('tts', settings, own)
  if (entry === undefined) return null
  const factory = (): StageFactory<TextToSpeech> => factoryOf('tts', entry, TTS, settings)
  const model = isModule(entry.service) ? entry.service : (TTS[entry.service]?.make(entry, settings).model ?? '')
  return new OwnVoice({ ...phrases, factory, settings: { ...entry, model } })
}

/** The text model of an agent, for work after its calls; null where none is set. */
export function textModelOf(settings: CascadeSettings, own: Own): StageFactory<LanguageModel> | null {
  const [entry] = entriesOf('llm', settings, own)
  if (entry === undefined || isModule(entry.service) || LLM[entry.service]?.missing(settings) !== null) return null
  return factoryOf('llm', entry, LLM, settings)
}

/** The stages of one call. The modules among them were loaded. */
export function stagesOf(
  settings: CascadeSettings,
  own: Own,
): Pick<CascadeOptions, 'stt' | 'llm' | 'tts' | 'artefacts' | 'languages' | 'speculate'> {
  const { artefacts, languages, speculate } = own
  return {
    stt: entriesOf('stt', settings, own).map((entry) => factoryOf('stt', entry, STT, settings)),
    llm: entriesOf('llm', settings, own).map((entry) => factoryOf('llm', entry, LLM, settings)),
    tts: entriesOf('tts', settings, own).map((entry) => factoryOf('tts', entry, TTS, settings)),
    ...(artefacts === undefined ? {} : { artefacts }),
    ...(languages === undefined ? {} : { languages }),
    ...(speculate === undefined ? {} : { speculate }),
  }
}

function factoryOf<Name extends StageName, Stage>(
  stage: Name,
  entry: EntryOf<Name>,
  services: Readonly<Record<string, Service<Name, Stage>>>,
  settings: CascadeSettings,
): StageFactory<Stage> {
  const { service: name, ...own } = entry as { readonly service: string }
  if (isModule(name)) {
    const create = modules.get(name)?.[EXPORTS[stage]] as StageModule<Stage> | undefined
    if (create === undefined) throw new GatewayError('AGENT_INVALID', `${stage}: ${name} was not loaded`)
    const { options = {} } = own as { readonly options?: Readonly<Record<string, unknown>> }
    return { service: name, model: name, make: (context) => create(context, options) }
  }
  const service = services[name]
  if (service === undefined)
    throw new GatewayError(
      'AGENT_INVALID',
      `${stage}: there is no service ${name}; allowed: ${Object.keys(services).join(', ')}`,
    )
  return service.make(own as EntryOf<Name>, settings)
}

// --- stages from modules --------------------------------------------------------------------------------------

/** What a module with a stage exports, by stage. */
const EXPORTS = { stt: 'createSpeechToText', llm: 'createLanguageModel', tts: 'createTextToSpeech' } as const

/** @param options  the `options` of the module's entry in the agent's file; empty without them */
type StageModule<Stage> = (context: StageContext, options: Readonly<Record<string, unknown>>) => Stage

/** By specifier; the modules of this thread's agents, which Node keeps too. */
const modules = new Map<string, Readonly<Record<string, unknown>>>()

function isModule(service: string): boolean {
  return service.startsWith('module:')
}

/** Imports the modules among an agent's stages in this thread. @throws GatewayError AGENT_INVALID */
export async function loadStageModules(own: Own): Promise<void> {
  for (const stage of ['stt', 'llm', 'tts'] as const) {
    for (const { service } of (stageEntries<StageName>(stage, own) ?? []).filter((entry) => isModule(entry.service))) {
      let loaded = modules.get(service)
      try {
        loaded ??= (await import(service.slice('module:'.length))) as Readonly<Record<string, unknown>>
      } catch (cause) {
        throw new GatewayError('AGENT_INVALID', `${stage}: ${service} cannot be loaded: ${messageOf(cause)}`, { cause })
      }
      if (typeof loaded[EXPORTS[stage]] !== 'function')
        throw new GatewayError(
          'AGENT_INVALID',
          `${stage}: ${service} does not export a function ${EXPORTS[stage]}(context, options)`,
        )
      modules.set(service, loaded)
    }
  }
}
