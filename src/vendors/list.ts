import type { z } from 'zod'
import { anthropic } from './anthropic/facts.js'
import { azure } from './azure/facts.js'
import { azureVoiceLive } from './azure-voice-live/facts.js'
import { cartesia } from './cartesia/facts.js'
import { deepgram } from './deepgram/facts.js'
import { elevenLabs } from './elevenlabs/facts.js'
import { gemini } from './gemini/facts.js'
import { google } from './google/facts.js'
import { openAi } from './openai/facts.js'
import { selfHosted } from './self-hosted/facts.js'
import { ownRecognisers } from './own-recognisers/facts.js'
import { soniox } from './soniox/facts.js'
import { xai } from './xai/facts.js'
import type { PartName, RealtimeService, Service, Vendor } from './vendor.js'

/**
 * All vendors. If an agent names no service for a part, the first available service in this list is used. Self-hosted
 * services, which have an address of the operator, precede services with a key.
 */
const DECLARED = [
  selfHosted,
  ownRecognisers,
  soniox,
  deepgram,
  azure,
  openAi,
  cartesia,
  google,
  elevenLabs,
  anthropic,
  gemini,
  azureVoiceLive,
  xai,
] as const

type Declared = (typeof DECLARED)[number]

export const VENDORS: readonly Vendor[] = DECLARED as readonly unknown[] as readonly Vendor[]

type Intersection<Union> = (Union extends unknown ? (of: Union) => void : never) extends (of: infer All) => void
  ? All
  : never

/** Settings of all vendors. */
export const VENDOR_SETTINGS = Object.assign({}, ...DECLARED.map(({ settings }) => settings)) as Intersection<
  Declared['settings']
>

/** A vendor's service for one part of a cascade. */
export interface VendorService extends Service<object> {
  readonly name: string
  readonly vendor: Vendor
}

function servicesOf(part: PartName): ReadonlyMap<string, VendorService> {
  return new Map(
    VENDORS.flatMap((vendor) =>
      Object.entries((vendor.services[part] ?? {}) as Readonly<Record<string, Service<object>>>).map(
        ([name, service]) => [name, { ...service, name, vendor }] as const,
      ),
    ),
  )
}

/** Services of a part by name, in the order of the list. */
export const SERVICES: Readonly<Record<PartName, ReadonlyMap<string, VendorService>>> = {
  stt: servicesOf('stt'),
  llm: servicesOf('llm'),
  tts: servicesOf('tts'),
}

type ServicesOf<Part extends PartName, All = Declared['services']> =
  All extends Readonly<Record<Part, infer Named>> ? Named[keyof Named] : never
type OptionsOf<Declaration> = Declaration extends { readonly options: infer Options } ? Options : never

function optionsOf<Part extends PartName>(part: Part) {
  return Object.assign({}, ...[...SERVICES[part].values()].map(({ options }) => options)) as Intersection<
    OptionsOf<ServicesOf<Part>>
  >
}

/** Schemas of the options of all services of a part, by part and option. */
export const SERVICE_OPTIONS = { stt: optionsOf('stt'), llm: optionsOf('llm'), tts: optionsOf('tts') }

/** A realtime service of a vendor. */
export interface VendorBackend extends RealtimeService {
  readonly vendor: Vendor
}

/** Realtime services by the backend's name. The self-hosted server is last. */
export const REALTIME: ReadonlyMap<string, VendorBackend> = new Map(
  [...VENDORS.slice(1), ...VENDORS.slice(0, 1)].flatMap((vendor) =>
    Object.entries(vendor.backends).map(([name, service]) => [name, { ...service, vendor }] as const),
  ),
)

type Backends = Intersection<Declared['backends']>
type VoiceOf<Declaration> = Declaration extends { readonly voice?: infer Voice extends z.ZodType } ? Voice : never

/** Schemas of an agent's options for realtime services, by the backend's name. */
export const REALTIME_OPTIONS = Object.fromEntries(
  [...REALTIME].map(([name, { options }]) => [
    name,
    options.exactOptional().describe(`Options of ${name}. Default: from the settings.`),
  ]),
) as { readonly [Name in keyof Backends]: z.ZodExactOptional<Backends[Name]['options']> }

/** Schemas of an agent's voices by the backend's name, for realtime services with a list of voices. */
export const REALTIME_VOICES = Object.fromEntries(
  [...REALTIME].flatMap(([name, { voice }]) => (voice === undefined ? [] : [[name, voice]])),
) as {
  readonly [Name in keyof Backends as [VoiceOf<Backends[Name]>] extends [never] ? never : Name]: VoiceOf<Backends[Name]>
}

/** Names of all backends of this version, for the agent's file. */
export const BACKENDS: readonly string[] = [...REALTIME.keys(), 'cascade', 'embedded']

/** Candidates for `auto` in order. `auto` means the first available candidate, unless the settings name a backend. */
export const AUTO: readonly string[] = [
  ...[...REALTIME].flatMap(([name, { automatic }]) => (automatic === true ? [name] : [])),
  'embedded',
]

/** Names of the settings for a text model. One of these settings is required. */
export const TEXT_MODEL_SETTINGS = [...SERVICES.llm.values()]
  .map(({ needs }) => needs)
  .join(', ')
  .replace(/, ([^,]*)$/, ' or $1')
