import { serviceEntries } from '../../agents/file/backend-options.js'
import { SERVICE_EXPORTS } from '../../agents/file/own-backends.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { omitNullish } from '../../core/omit-nullish.js'
import type { CascadeOptions } from './cascade-backend.js'
import { anthropic } from './anthropic-requests.js'
import { azureSpeechToText, azureTextToSpeech } from './azure-speech.js'
import { cartesiaTextToSpeech } from './cartesia-text-to-speech.js'
import { chat } from './chat-requests.js'
import { deepgramSpeechToText, deepgramTextToSpeech } from './deepgram.js'
import { elevenLabsTextToSpeech } from './elevenlabs-text-to-speech.js'
import { gemini } from './gemini-requests.js'
import { googleSpeechToText } from './google-speech-to-text.js'
import { googleTextToSpeech } from './google-text-to-speech.js'
import { openAiSpeechToText } from './openai-speech-to-text.js'
import { sherpaSpeechToText, voskSpeechToText } from './own-server-speech-to-text.js'
import { OwnVoice } from './own-voice.js'
import { entriesOf, isModule, settingsOf, PARTS } from './service-facts.js'
import type { CascadeOwn, CascadeSettings, EntryOf, PartName } from './service-facts.js'
import { sonioxSpeechToText, sonioxTextToSpeech } from './soniox.js'
import { speech } from './speech-requests.js'
import type { LanguageModel, SpeechToText, ServiceContext, ServiceFactory, TextToSpeech } from './service.js'
import { whisper } from './whisper-requests.js'

interface Services {
  readonly stt: SpeechToText
  readonly llm: LanguageModel
  readonly tts: TextToSpeech
}

type Maker<Options, Service> = (options: Options) => ServiceFactory<Service>

const MAKERS: {
  readonly [Name in PartName]: {
    readonly [One in keyof CascadeSettings[Name]]: Maker<
      NonNullable<CascadeSettings[Name][One]> & EntryOf<Name>,
      Services[Name]
    >
  }
} = {
  stt: {
    whisper,
    soniox: sonioxSpeechToText,
    deepgram: deepgramSpeechToText,
    azure: azureSpeechToText,
    realtime: openAiSpeechToText,
    vosk: voskSpeechToText,
    sherpa: sherpaSpeechToText,
    openai: openAiSpeechToText,
    google: googleSpeechToText,
  },
  llm: { chat, anthropic, gemini },
  tts: {
    speech,
    soniox: sonioxTextToSpeech,
    deepgram: deepgramTextToSpeech,
    azure: azureTextToSpeech,
    cartesia: cartesiaTextToSpeech,
    google: googleTextToSpeech,
    elevenlabs: elevenLabsTextToSpeech,
  },
}

/** The fixed phrases of an agent in the first voice of its list. */
export function ownVoiceOf(
  settings: CascadeSettings,
  own: CascadeOwn,
  phrases: Omit<ConstructorParameters<typeof OwnVoice>[0], 'factory' | 'settings'>,
): OwnVoice | null {
  const [entry] = entriesOf('tts', settings, own)
  if (entry === undefined) return null
  const factory = (): ServiceFactory<TextToSpeech> => factoryOf('tts', entry, settings)
  const model = isModule(entry.service) ? entry.service : factory().model
  return new OwnVoice({ ...phrases, factory, settings: { ...entry, model } })
}

/** The text model of an agent, for work after its calls; null where none is set. */
export function textModelOf(settings: CascadeSettings, own: CascadeOwn): ServiceFactory<LanguageModel> | null {
  const [entry] = entriesOf('llm', settings, own)
  return entry === undefined || settingsOf(settings, 'llm', entry.service) === null
    ? null
    : factoryOf('llm', entry, settings)
}

/** The services of one call. The modules among them were loaded. */
export function factoriesOf(
  settings: CascadeSettings,
  own: CascadeOwn,
): Pick<CascadeOptions, 'stt' | 'llm' | 'tts' | 'artefacts' | 'languages' | 'speculate'> {
  const factories = <Name extends PartName>(part: Name): readonly ServiceFactory<Services[Name]>[] =>
    entriesOf(part, settings, own).map((entry) => factoryOf(part, entry, settings))
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
 * `missingForServices` was not asked first
 */
function factoryOf<Name extends PartName>(
  part: Name,
  entry: EntryOf<Name>,
  settings: CascadeSettings,
): ServiceFactory<Services[Name]> {
  const { service: name, options = {} } = entry as {
    readonly service: string
    readonly options?: Readonly<Record<string, unknown>>
  }
  if (isModule(name)) {
    const create = modules.get(name)?.[SERVICE_EXPORTS[part]] as ServiceModule<Services[Name]> | undefined
    if (create === undefined) throw new GatewayError('AGENT_INVALID', `${part}: ${name} was not loaded`)
    return { service: name, model: name, make: (context) => create(context, options) }
  }
  const make = (MAKERS[part] as Readonly<Record<string, Maker<never, Services[Name]>>>)[name]
  if (make === undefined) {
    const allowed = Object.keys(MAKERS[part]).join(', ')
    throw new GatewayError('AGENT_INVALID', `${part}: there is no service ${name}; allowed: ${allowed}`)
  }
  const set = settingsOf(settings, part, name)
  if (set === null) throw new GatewayError('BACKEND_KEY_MISSING', `${part}: ${name} is not set up`)
  return make({ ...set, ...(entry as object) } as never)
}

// --- services from modules --------------------------------------------------------------------------------------

/** @param options  the `options` of the module's entry in the agent's file; empty without them */
type ServiceModule<Service> = (context: ServiceContext, options: Readonly<Record<string, unknown>>) => Service

/** By specifier; the modules of this thread's agents, which Node keeps too. */
const modules = new Map<string, Readonly<Record<string, unknown>>>()

/** Imports the modules among the services of an agent in this thread. @throws GatewayError AGENT_INVALID */
export async function loadServiceModules(own: CascadeOwn): Promise<void> {
  for (const part of PARTS) {
    for (const { service } of (serviceEntries<PartName>(part, own) ?? []).filter((entry) => isModule(entry.service))) {
      let loaded = modules.get(service)
      try {
        loaded ??= (await import(service.slice('module:'.length))) as Readonly<Record<string, unknown>>
      } catch (cause) {
        throw new GatewayError('AGENT_INVALID', `${part}: ${service} cannot be loaded: ${messageOf(cause)}`, { cause })
      }
      if (typeof loaded[SERVICE_EXPORTS[part]] !== 'function')
        throw new GatewayError(
          'AGENT_INVALID',
          `${part}: ${service} does not export a function ${SERVICE_EXPORTS[part]}(context, options)`,
        )
      modules.set(service, loaded)
    }
  }
}
