import { stageEntries } from '../../agents/backend-options.js'
import { STAGE_EXPORTS } from '../../agents/own-backends.js'
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
import { googleTextToSpeech } from './google-text-to-speech.js'
import { openAiSpeechToText } from './openai-speech-to-text.js'
import { sherpaSpeechToText, voskSpeechToText } from './own-server-speech-to-text.js'
import { OwnVoice } from './own-voice.js'
import { entriesOf, isModule, settingsOf, STAGES } from './service-facts.js'
import type { CascadeOwn, CascadeSettings, EntryOf, StageName } from './service-facts.js'
import { sonioxSpeechToText, sonioxTextToSpeech } from './soniox.js'
import { speech } from './speech-requests.js'
import type { LanguageModel, SpeechToText, StageContext, StageFactory, TextToSpeech } from './stage.js'
import { whisper } from './whisper-requests.js'

interface Stages {
  readonly stt: SpeechToText
  readonly llm: LanguageModel
  readonly tts: TextToSpeech
}

type Maker<Options, Stage> = (options: Options) => StageFactory<Stage>

const MAKERS: {
  readonly [Name in StageName]: {
    readonly [One in keyof CascadeSettings[Name]]: Maker<
      NonNullable<CascadeSettings[Name][One]> & EntryOf<Name>,
      Stages[Name]
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
  const factory = (): StageFactory<TextToSpeech> => factoryOf('tts', entry, settings)
  const model = isModule(entry.service) ? entry.service : factory().model
  return new OwnVoice({ ...phrases, factory, settings: { ...entry, model } })
}

/** The text model of an agent, for work after its calls; null where none is set. */
export function textModelOf(settings: CascadeSettings, own: CascadeOwn): StageFactory<LanguageModel> | null {
  const [entry] = entriesOf('llm', settings, own)
  return entry === undefined || settingsOf(settings, 'llm', entry.service) === null
    ? null
    : factoryOf('llm', entry, settings)
}

/** The stages of one call. The modules among them were loaded. */
export function stagesOf(
  settings: CascadeSettings,
  own: CascadeOwn,
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
  const make = (MAKERS[stage] as Readonly<Record<string, Maker<never, Stages[Name]>>>)[name]
  if (make === undefined) {
    const allowed = Object.keys(MAKERS[stage]).join(', ')
    throw new GatewayError('AGENT_INVALID', `${stage}: there is no service ${name}; allowed: ${allowed}`)
  }
  const set = settingsOf(settings, stage, name)
  if (set === null) throw new GatewayError('BACKEND_KEY_MISSING', `${stage}: ${name} is not set up`)
  return make({ ...set, ...(entry as object) } as never)
}

// --- stages from modules --------------------------------------------------------------------------------------

/** @param options  the `options` of the module's entry in the agent's file; empty without them */
type StageModule<Stage> = (context: StageContext, options: Readonly<Record<string, unknown>>) => Stage

/** By specifier; the modules of this thread's agents, which Node keeps too. */
const modules = new Map<string, Readonly<Record<string, unknown>>>()

/** Imports the modules among an agent's stages in this thread. @throws GatewayError AGENT_INVALID */
export async function loadStageModules(own: CascadeOwn): Promise<void> {
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
