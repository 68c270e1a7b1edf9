import { stageEntries } from '../../agents/backend-options.js'
import type { BackendOptions } from '../../agents/backend-options.js'
import { STAGE_EXPORTS } from '../../agents/own-backends.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { omitNullish } from '../../core/omit-nullish.js'
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

/** A vendor's service, at its public address when none is given. */
interface VendorSettings {
  readonly apiKey: string
  readonly baseUrl?: string
}

/** Null for a service that lacks the setting that it needs. */
type Settings<Name extends string, Own> = Readonly<Record<Name, Own | null>>

/** Keys and addresses of the stages' services. Plain data. */
export interface CascadeSettings {
  /** `realtime`: OpenAI's realtime transcription, or vLLM's, on one's own machines. */
  readonly stt: Settings<'whisper' | 'realtime', ServiceSettings> &
    Settings<'soniox' | 'deepgram' | 'openai', VendorSettings> &
    Settings<'vosk' | 'sherpa', { readonly baseUrl: string }>
  readonly llm: Settings<'chat', ServiceSettings> &
    Settings<'anthropic' | 'gemini', VendorSettings & { readonly model: string }>
  readonly tts: Settings<'speech', ServiceSettings> &
    Settings<'soniox' | 'deepgram' | 'cartesia' | 'elevenlabs', VendorSettings>
}

type Own = NonNullable<BackendOptions['cascade']>
type StageName = keyof Stages
type EntryOf<Name extends StageName> = NonNullable<ReturnType<typeof stageEntries<Name>>>[number]

interface Stages {
  readonly stt: SpeechToText
  readonly llm: LanguageModel
  readonly tts: TextToSpeech
}

/** A service of one stage. */
interface Service<Options, Stage> {
  /** The setting without which it cannot be used. */
  readonly needs: string
  /** Features that callers will miss with it; absent: none. */
  readonly lacks?: string
  readonly make: (options: Options) => StageFactory<Stage>
}

/** The first one of a stage that is set up is used where the agent names none. */
const SERVICES: {
  readonly [Name in StageName]: {
    readonly [One in keyof CascadeSettings[Name]]: Service<
      NonNullable<CascadeSettings[Name][One]> & EntryOf<Name>,
      Stages[Name]
    >
  }
} = {
  stt: {
    whisper: {
      needs: 'STT_URL',
      lacks: 'has no words before the turn is over, so that the model is asked later',
      make: whisper,
    },
    soniox: { needs: 'SONIOX_API_KEY', make: sonioxSpeechToText },
    deepgram: { needs: 'DEEPGRAM_API_KEY', lacks: 'does not understand Swahili', make: deepgramSpeechToText },
    realtime: {
      needs: 'STT_REALTIME_URL',
      lacks: 'does not tell which language the caller speaks',
      make: openAiSpeechToText,
    },
    vosk: {
      needs: 'VOSK_URL',
      lacks: 'does not tell which language the caller speaks, and takes no terms',
      make: voskSpeechToText,
    },
    sherpa: {
      needs: 'SHERPA_URL',
      lacks: 'does not tell which language the caller speaks, and takes no terms',
      make: sherpaSpeechToText,
    },
    openai: {
      needs: 'OPENAI_API_KEY',
      lacks: 'does not tell which language the caller speaks',
      make: openAiSpeechToText,
    },
  },
  llm: {
    chat: { needs: 'LLM_URL', make: chat },
    anthropic: { needs: 'ANTHROPIC_API_KEY', make: anthropic },
    gemini: { needs: 'GEMINI_API_KEY', make: gemini },
  },
  tts: {
    speech: {
      needs: 'TTS_URL',
      lacks: 'does not tell when a word sounds: what an interrupted caller heard is estimated',
      make: speech,
    },
    soniox: { needs: 'SONIOX_API_KEY', make: sonioxTextToSpeech },
    deepgram: { needs: 'DEEPGRAM_API_KEY', lacks: 'speaks English only', make: deepgramTextToSpeech },
    cartesia: { needs: 'CARTESIA_API_KEY', lacks: 'does not speak Swahili', make: cartesiaTextToSpeech },
    elevenlabs: {
      needs: 'ELEVENLABS_API_KEY',
      lacks: 'speaks Swahili with model eleven_v3_conversational only',
      make: elevenLabsTextToSpeech,
    },
  },
}
const STAGES = ['stt', 'llm', 'tts'] as const

/** A service by its name in an agent's file; undefined for a module. */
function serviceOf<Name extends StageName>(stage: Name, name: string): Service<never, Stages[Name]> | undefined {
  return (SERVICES[stage] as Readonly<Record<string, Service<never, Stages[Name]>>>)[name]
}

function settingsOf(settings: CascadeSettings, stage: StageName, name: string): object | null {
  return (settings[stage] as Readonly<Record<string, object | null>>)[name] ?? null
}

/** The agent's services for a stage; without any, the one with an address of its own, or else one that has a key. */
function entriesOf<Name extends StageName>(stage: Name, settings: CascadeSettings, own: Own): readonly EntryOf<Name>[] {
  const listed = stageEntries(stage, own)
  if (listed !== null) return listed
  const names = Object.keys(SERVICES[stage])
  const service = names.find((name) => settingsOf(settings, stage, name) !== null) ?? names[0] ?? ''
  return [{ service } as EntryOf<Name>]
}

/** The services of all stages that the agent uses. */
function servicesOf(settings: CascadeSettings, own: Own) {
  return STAGES.flatMap((stage) =>
    entriesOf<StageName>(stage, settings, own).map((entry) => ({ stage, entry, ...serviceOf(stage, entry.service) })),
  )
}

/** The settings that a cascade of this agent lacks; null when it can be used. */
export function missingForStages(settings: CascadeSettings, own: Own): string | null {
  const missing = servicesOf(settings, own).flatMap(({ stage, entry, needs = [] }) =>
    settingsOf(settings, stage, entry.service) === null ? needs : [],
  )
  const names = [...new Set(missing)]
  return names.length === 0 ? null : names.join(', ').replace(/, ([^,]*)$/, ' and $1')
}

/** The models of all stages, as they are priced; null for a module. */
export function stageModels(settings: CascadeSettings, own: Own): readonly (string | null)[] {
  return servicesOf(settings, own).map(({ stage, entry }) =>
    isModule(entry.service) ? null : factoryOf(stage, entry, settings).model,
  )
}

/** Missing abilities of the agent's services, one line each: `stt whisper has no …`. */
export function stageLacks(settings: CascadeSettings, own: Own): readonly string[] {
  return servicesOf(settings, own).flatMap(({ stage, entry, lacks }) =>
    lacks === undefined ? [] : [`${stage} ${entry.service} ${lacks}`],
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
  const factory = (): StageFactory<TextToSpeech> => factoryOf('tts', entry, settings)
  const model = isModule(entry.service) ? entry.service : factory().model
  return new OwnVoice({ ...phrases, factory, settings: { ...entry, model } })
}

/** The text model of an agent, for work after its calls; null where none is set. */
export function textModelOf(settings: CascadeSettings, own: Own): StageFactory<LanguageModel> | null {
  const [entry] = entriesOf('llm', settings, own)
  return entry === undefined || settingsOf(settings, 'llm', entry.service) === null
    ? null
    : factoryOf('llm', entry, settings)
}

/** The stages of one call. The modules among them were loaded. */
export function stagesOf(
  settings: CascadeSettings,
  own: Own,
): Pick<CascadeOptions, 'stt' | 'llm' | 'tts' | 'artefacts' | 'languages' | 'speculate'> {
  const factories = <Name extends StageName>(stage: Name): readonly StageFactory<Stages[Name]>[] =>
    entriesOf(stage, settings, own).map((entry) => factoryOf(stage, entry, settings))
  const { artefacts, languages, speculate } = own
  return {
    stt: factories('stt'),
    llm: factories('llm'),
    tts: factories('tts'),
    ...omitNullish({ artefacts, languages, speculate }),
  }
}

/**
 * @throws GatewayError AGENT_INVALID for a service that there is not; BACKEND_KEY_MISSING for one that is not set up:
 * `missingForStages` was not asked first
 */
function factoryOf<Name extends StageName>(
  stage: Name,
  entry: EntryOf<Name>,
  settings: CascadeSettings,
): StageFactory<Stages[Name]> {
  const { service: name, options = {} } = entry as {
    readonly service: string
    readonly options?: Readonly<Record<string, unknown>>
  }
  if (isModule(name)) {
    const create = modules.get(name)?.[STAGE_EXPORTS[stage]] as StageModule<Stages[Name]> | undefined
    if (create === undefined) throw new GatewayError('AGENT_INVALID', `${stage}: ${name} was not loaded`)
    return { service: name, model: name, make: (context) => create(context, options) }
  }
  const service = serviceOf(stage, name)
  if (service === undefined) {
    const allowed = Object.keys(SERVICES[stage]).join(', ')
    throw new GatewayError('AGENT_INVALID', `${stage}: there is no service ${name}; allowed: ${allowed}`)
  }
  const set = settingsOf(settings, stage, name)
  if (set === null) throw new GatewayError('BACKEND_KEY_MISSING', `${stage}: ${name} is not set up`)
  return service.make({ ...set, ...(entry as object) } as never)
}

// --- stages from modules --------------------------------------------------------------------------------------

/** @param options  the `options` of the module's entry in the agent's file; empty without them */
type StageModule<Stage> = (context: StageContext, options: Readonly<Record<string, unknown>>) => Stage

/** By specifier; the modules of this thread's agents, which Node keeps too. */
const modules = new Map<string, Readonly<Record<string, unknown>>>()

function isModule(service: string): boolean {
  return service.startsWith('module:')
}

/** Imports the modules among an agent's stages in this thread. @throws GatewayError AGENT_INVALID */
export async function loadStageModules(own: Own): Promise<void> {
  for (const stage of STAGES) {
    for (const { service } of (stageEntries<StageName>(stage, own) ?? []).filter((entry) => isModule(entry.service))) {
      let loaded = modules.get(service)
      try {
        loaded ??= (await import(service.slice('module:'.length))) as Readonly<Record<string, unknown>>
      } catch (cause) {
        throw new GatewayError('AGENT_INVALID', `${stage}: ${service} cannot be loaded: ${messageOf(cause)}`, { cause })
      }
      if (typeof loaded[STAGE_EXPORTS[stage]] !== 'function')
        throw new GatewayError(
          'AGENT_INVALID',
          `${stage}: ${service} does not export a function ${STAGE_EXPORTS[stage]}(context, options)`,
        )
      modules.set(service, loaded)
    }
  }
}
