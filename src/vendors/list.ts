import { anthropic } from './anthropic/facts.js'
import { azure } from './azure/facts.js'
import { azureVoiceLive } from './azure-voice-live/facts.js'
import { cartesia } from './cartesia/facts.js'
import { deepgram } from './deepgram/facts.js'
import { elevenLabs } from './elevenlabs/facts.js'
import { gemini } from './gemini/facts.js'
import { google } from './google/facts.js'
import { openAi } from './openai/facts.js'
import { openAiShaped } from './openai-shaped/facts.js'
import { ownRecognisers } from './own-recognisers/facts.js'
import { soniox } from './soniox/facts.js'
import type { PartName, Service, Vendor } from './vendor.js'

/**
 * All vendors. Where an agent names no service for a part of its cascade, the first one here that is set up is used: one
 * with an address of its own, or else one that has a key.
 */
const DECLARED = [
  openAiShaped,
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
] as const

export const VENDORS: readonly Vendor[] = DECLARED as readonly unknown[] as readonly Vendor[]

type Intersection<Union> = (Union extends unknown ? (of: Union) => void : never) extends (of: infer All) => void
  ? All
  : never

/** Settings of all vendors. */
export const VENDOR_SETTINGS = Object.assign({}, ...DECLARED.map(({ settings }) => settings)) as Intersection<
  (typeof DECLARED)[number]['settings']
>

/** A service of a vendor, for one part of a cascade. */
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

/** By part and name, in the order of the list. */
export const SERVICES: Readonly<Record<PartName, ReadonlyMap<string, VendorService>>> = {
  stt: servicesOf('stt'),
  llm: servicesOf('llm'),
  tts: servicesOf('tts'),
}
