import { serviceEntries } from '../../agents/file/backend-options.js'
import type { BackendOptions } from '../../agents/file/backend-options.js'
import { pricedModel } from '../prices.js'
import { VENDOR_URLS } from '../vendor-urls.js'
import type { GoogleKeys } from './google-account.js'

// Facts of the services of a cascade, without their code: services.ts makes them.

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

/** Google Cloud's, with a key of either kind. */
type GoogleSettings = GoogleKeys & Pick<VendorSettings, 'baseUrl'>

/** Null for a service that lacks the setting that it needs. */
type Settings<Name extends string, Own> = Readonly<Record<Name, Own | null>>

/** Keys and addresses of the services. Plain data. */
export interface CascadeSettings {
  /** `realtime`: OpenAI's realtime transcription, or vLLM's, on one's own machines. */
  readonly stt: Settings<'whisper' | 'realtime', ServiceSettings> &
    Settings<'soniox' | 'deepgram' | 'openai', VendorSettings> &
    Settings<'azure', Required<VendorSettings>> &
    Settings<'vosk' | 'sherpa', { readonly baseUrl: string }> &
    Settings<'google', GoogleSettings>
  readonly llm: Settings<'chat', ServiceSettings> &
    Settings<'anthropic' | 'gemini', VendorSettings & { readonly model: string }>
  readonly tts: Settings<'speech', ServiceSettings> &
    Settings<'soniox' | 'deepgram' | 'cartesia' | 'elevenlabs', VendorSettings> &
    Settings<'azure', Required<VendorSettings>> &
    Settings<'google', GoogleSettings>
}

export type PartName = keyof CascadeSettings
export type CascadeOwn = NonNullable<BackendOptions['cascade']>
export type EntryOf<Name extends PartName> = NonNullable<ReturnType<typeof serviceEntries<Name>>>[number]

/** A service of one part of the cascade. */
interface ServiceFacts {
  /** The setting without which it cannot be used. */
  readonly needs: string
  /** Features that callers will miss with it; absent: none. */
  readonly lacks?: string
  /** Languages of one call that it is asked for: with more it refuses the call. Absent: any number. */
  readonly languagesMax?: number
  /** Address and model where neither settings nor agent name them. */
  readonly own?: { readonly baseUrl?: string; readonly model?: string }
}

const GOOGLE_NEEDS = 'GOOGLE_SPEECH_API_KEY (or GOOGLE_SPEECH_CREDENTIALS)'

/** The first one of a part that is set up is used where the agent names none. */
export const SERVICES = {
  stt: {
    whisper: {
      needs: 'STT_URL',
      lacks: 'has no words before the turn is over, so that the model is asked later',
    },
    soniox: { needs: 'SONIOX_API_KEY', own: { baseUrl: VENDOR_URLS['soniox stt'], model: 'stt-rt-v4' } },
    deepgram: {
      needs: 'DEEPGRAM_API_KEY',
      lacks: 'does not understand Swahili',
      own: { baseUrl: VENDOR_URLS.deepgram, model: 'nova-3' },
    },
    // Its address is that of a region; the models have no names there, these are for prices.
    azure: { needs: 'AZURE_SPEECH_KEY', languagesMax: 10, own: { model: 'azure-speech-to-text' } },
    realtime: { needs: 'STT_REALTIME_URL', lacks: 'does not tell which language the caller speaks' },
    vosk: {
      needs: 'VOSK_URL',
      lacks: 'does not tell which language the caller speaks, and takes no terms',
      // The server recognises with the model that it was started with; this is its name in prices.
      own: { model: 'vosk' },
    },
    sherpa: {
      needs: 'SHERPA_URL',
      lacks: 'does not tell which language the caller speaks, and takes no terms',
      own: { model: 'sherpa-onnx' },
    },
    openai: {
      needs: 'OPENAI_API_KEY',
      lacks: 'does not tell which language the caller speaks',
      own: { baseUrl: VENDOR_URLS.openai, model: 'gpt-live-transcribe' },
    },
    // The last: its key may be for the voice alone. The model has no name there unless the agent gives one.
    google: {
      needs: GOOGLE_NEEDS,
      // One, and three `alternativeLanguageCodes`.
      languagesMax: 4,
      own: { baseUrl: VENDOR_URLS['google stt'], model: 'google-speech-to-text' },
    },
  },
  llm: {
    chat: { needs: 'LLM_URL' },
    anthropic: { needs: 'ANTHROPIC_API_KEY', own: { baseUrl: VENDOR_URLS.anthropic } },
    gemini: { needs: 'GEMINI_API_KEY', own: { baseUrl: VENDOR_URLS.gemini } },
  },
  tts: {
    speech: {
      needs: 'TTS_URL',
      lacks: 'does not tell when a word sounds: what an interrupted caller heard is estimated',
    },
    soniox: { needs: 'SONIOX_API_KEY', own: { baseUrl: VENDOR_URLS['soniox tts'], model: 'tts-rt-v2' } },
    deepgram: {
      needs: 'DEEPGRAM_API_KEY',
      lacks: 'speaks English only',
      // The example of `SpeakV2Model` in `@deepgram/sdk` 5.13.0.
      own: { baseUrl: VENDOR_URLS.deepgram, model: 'flux-alexis-en' },
    },
    azure: { needs: 'AZURE_SPEECH_KEY', own: { model: 'azure-neural-voice' } },
    cartesia: {
      needs: 'CARTESIA_API_KEY',
      lacks: 'does not speak Swahili',
      // The newest model of `TTSModel` in `@cartesia/cartesia-js` 4.2.0.
      own: { baseUrl: VENDOR_URLS.cartesia, model: 'sonic-3.5' },
    },
    google: {
      needs: GOOGLE_NEEDS,
      lacks: 'does not tell when a word sounds: what an interrupted caller heard is estimated',
      own: { baseUrl: VENDOR_URLS['google tts'], model: 'chirp3-hd' },
    },
    elevenlabs: {
      needs: 'ELEVENLABS_API_KEY',
      lacks: 'speaks Swahili with model eleven_v3_conversational only',
      own: { baseUrl: VENDOR_URLS.elevenlabs, model: 'eleven_flash_v2_5' },
    },
  },
} as const satisfies {
  readonly [Name in PartName]: { readonly [One in keyof CascadeSettings[Name]]: ServiceFacts }
}
export const PARTS = ['stt', 'llm', 'tts'] as const

export function isModule(service: string): boolean {
  return service.startsWith('module:')
}

/** A service by its name in an agent's file; undefined for a module. */
function factsOf(part: PartName, name: string): ServiceFacts | undefined {
  return (SERVICES[part] as Readonly<Record<string, ServiceFacts>>)[name]
}

/** Settings of a service; null for one that is not set up. */
export function settingsOf(settings: CascadeSettings, part: PartName, name: string): object | null {
  return (settings[part] as Readonly<Record<string, object | null>>)[name] ?? null
}

/** The agent's services for a part; without any, the one with an address of its own, or else one that has a key. */
export function entriesOf<Name extends PartName>(
  part: Name,
  settings: CascadeSettings,
  own: CascadeOwn,
): readonly EntryOf<Name>[] {
  const listed = serviceEntries(part, own)
  if (listed !== null) return listed
  const names = Object.keys(SERVICES[part])
  const service = names.find((name) => settingsOf(settings, part, name) !== null) ?? names[0] ?? ''
  return [{ service } as EntryOf<Name>]
}

/** The services of all parts that the agent uses. */
function servicesOf(settings: CascadeSettings, own: CascadeOwn) {
  return PARTS.flatMap((part) =>
    entriesOf<PartName>(part, settings, own).map((entry) => ({ part, entry, ...factsOf(part, entry.service) })),
  )
}

/** True if one of the agent's recognisers is reached over gRPC, whose packages most gateways do without. */
export function usesGrpc(settings: CascadeSettings, own: CascadeOwn): boolean {
  return entriesOf('stt', settings, own).some(({ service }) => service === 'google')
}

/** The settings that a cascade of this agent lacks; null when it can be used. */
export function missingForServices(settings: CascadeSettings, own: CascadeOwn): string | null {
  const missing = servicesOf(settings, own).flatMap(({ part, entry, needs = [] }) =>
    settingsOf(settings, part, entry.service) === null ? needs : [],
  )
  const names = [...new Set(missing)]
  return names.length === 0 ? null : names.join(', ').replace(/, ([^,]*)$/, ' and $1')
}

/** The models of all parts, as they are priced; null for a module. All of them are set up. */
export function serviceModels(settings: CascadeSettings, own: CascadeOwn): readonly (string | null)[] {
  return servicesOf(settings, own).map(({ part, entry, own: usual }) => {
    const { model, baseUrl } = { ...usual, ...settingsOf(settings, part, entry.service), ...entry } as {
      readonly model?: string
      readonly baseUrl?: string
    }
    return model === undefined || baseUrl === undefined ? null : pricedModel(model, baseUrl)
  })
}

/**
 * Missing abilities of the agent's services, one line each: `stt whisper has no …`.
 * @param languages  those of the agent, where its cascade has none of its own
 */
export function serviceLacks(
  settings: CascadeSettings,
  own: CascadeOwn,
  languages: readonly string[],
): readonly string[] {
  const spoken = own.languages ?? languages
  return servicesOf(settings, own).flatMap(({ part, entry, lacks, languagesMax = Infinity }) => {
    const unheard = spoken.slice(languagesMax).join(', ')
    const words = [lacks, unheard === '' ? undefined : `takes ${languagesMax} languages, and does not hear ${unheard}`]
    return words.flatMap((what) => (what === undefined ? [] : [`${part} ${entry.service} ${what}`]))
  })
}
