import { serviceEntries } from '../../agents/file/backend-options.js'
import type { BackendOptions } from '../../agents/file/backend-options.js'
import { SERVICES } from '../../vendors/list.js'
import type { VendorService } from '../../vendors/list.js'
import { PARTS } from '../../vendors/vendor.js'
import type { PartName } from '../../vendors/vendor.js'
import { pricedModel } from '../prices.js'

// The services of a cascade, without their code: services.ts makes them.

/** One service with an API in OpenAI's shape. */
export interface ServiceSettings {
  readonly baseUrl: string
  readonly apiKey: string | null
  readonly model: string
}

/** Keys, addresses and models of the services by part and name; null for one that is not set up. Plain data. */
export type CascadeSettings = Readonly<Record<PartName, Readonly<Record<string, object | null>>>>

export type CascadeOwn = NonNullable<BackendOptions['cascade']>
export type EntryOf<Name extends PartName> = NonNullable<ReturnType<typeof serviceEntries<Name>>>[number]

/**
 * @param values  of all settings
 * @param files  contents of the files that they name, by the setting
 */
export function cascadeSettings(values: object, files: Readonly<Record<string, unknown>>): CascadeSettings {
  const ofPart = (part: PartName): Readonly<Record<string, object | null>> =>
    Object.fromEntries([...SERVICES[part]].map(([name, service]) => [name, service.settings(values, files)]))
  return { stt: ofPart('stt'), llm: ofPart('llm'), tts: ofPart('tts') }
}

export function isModule(service: string): boolean {
  return service.startsWith('module:')
}

/** A service by its name in an agent's file; undefined for a module. */
function factsOf(part: PartName, name: string): VendorService | undefined {
  return SERVICES[part].get(name)
}

/** Settings of a service; null for one that is not set up. */
export function settingsOf(settings: CascadeSettings, part: PartName, name: string): object | null {
  return settings[part][name] ?? null
}

/** The agent's services for a part; without any, the one with an address of its own, or else one that has a key. */
export function entriesOf<Name extends PartName>(
  part: Name,
  settings: CascadeSettings,
  own: CascadeOwn,
): readonly EntryOf<Name>[] {
  const listed = serviceEntries(part, own)
  if (listed !== null) return listed
  const names = [...SERVICES[part].keys()]
  const service = names.find((name) => settingsOf(settings, part, name) !== null) ?? names[0] ?? ''
  return [{ service } as EntryOf<Name>]
}

/** The services of all parts that the agent uses. */
function servicesOf(settings: CascadeSettings, own: CascadeOwn) {
  return PARTS.flatMap((part) =>
    entriesOf<PartName>(part, settings, own).map((entry) => ({ part, entry, ...factsOf(part, entry.service) })),
  )
}

/** A service of the agent that is reached over gRPC, whose packages most gateways do without; null: there is none. */
export function grpcService(settings: CascadeSettings, own: CascadeOwn): string | null {
  return servicesOf(settings, own).find(({ grpc = false }) => grpc)?.entry.service ?? null
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
  return servicesOf(settings, own).map(({ part, entry }) => modelOf(settings, part, entry))
}

/** The first of the agent's language models, as it is priced; null where it is not set up. */
export function textModelName(settings: CascadeSettings, own: CascadeOwn): string | null {
  const [entry] = entriesOf('llm', settings, own)
  const known = entry !== undefined && settingsOf(settings, 'llm', entry.service) !== null
  return known ? modelOf(settings, 'llm', entry) : null
}

function modelOf(settings: CascadeSettings, part: PartName, entry: { readonly service: string }): string | null {
  const usual = factsOf(part, entry.service)?.own
  const { model, baseUrl } = { ...usual, ...settingsOf(settings, part, entry.service), ...entry } as {
    readonly model?: string
    readonly baseUrl?: string
  }
  return model === undefined || baseUrl === undefined ? null : pricedModel(model, baseUrl)
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
