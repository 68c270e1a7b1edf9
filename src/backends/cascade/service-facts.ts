import { serviceEntries } from '../../agents/file/backend-options.js'
import type { BackendOptions } from '../../agents/file/backend-options.js'
import { SERVICES } from '../../vendors/list.js'
import { PARTS } from '../../vendors/vendor.js'
import type { PartName } from '../../vendors/vendor.js'
import { pricedModel } from '../prices.js'

// Data about a cascade's services, without the code of the services. services.ts makes the services.

/**
 * API keys, addresses and models of the services by part and name; a value is null if the service is not set up. Plain
 * data.
 */
export type CascadeSettings = Readonly<Record<PartName, Readonly<Record<string, object | null>>>>

export type CascadeOwn = NonNullable<BackendOptions['cascade']>
export type EntryOf<Name extends PartName> = NonNullable<ReturnType<typeof serviceEntries<Name>>>[number]

/**
 * @param values  values of all settings
 * @param files  contents of the files that settings name, by setting
 */
export function cascadeSettings(values: object, files: Readonly<Record<string, unknown>>): CascadeSettings {
  const ofPart = (part: PartName): Readonly<Record<string, object | null>> =>
    Object.fromEntries([...SERVICES[part]].map(([name, service]) => [name, service.settings(values, files)]))
  return { stt: ofPart('stt'), llm: ofPart('llm'), tts: ofPart('tts') }
}

export function isModule(service: string): boolean {
  return service.startsWith('module:')
}

/** @returns the settings of a service; null if the service is not set up */
export function settingsOf(settings: CascadeSettings, part: PartName, name: string): object | null {
  return settings[part][name] ?? null
}

/**
 * @returns the agent's services for a part. If the agent does not name a service, the result is the service whose
 * address is set, or else a service whose API key is set
 */
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
    entriesOf<PartName>(part, settings, own).map((entry) => ({ part, entry, ...SERVICES[part].get(entry.service) })),
  )
}

/**
 * @returns a service of the agent that uses gRPC; null if there is none. Most gateways do not have the packages for
 * gRPC
 */
export function grpcService(settings: CascadeSettings, own: CascadeOwn): string | null {
  return servicesOf(settings, own).find(({ grpc = false }) => grpc)?.entry.service ?? null
}

/** @returns the missing settings that a cascade of this agent needs; null if the cascade can be used */
export function missingForServices(settings: CascadeSettings, own: CascadeOwn): string | null {
  const missing = servicesOf(settings, own).flatMap(({ part, entry, needs = [] }) =>
    settingsOf(settings, part, entry.service) === null ? needs : [],
  )
  const names = [...new Set(missing)]
  return names.length === 0 ? null : names.join(', ').replace(/, ([^,]*)$/, ' and $1')
}

/** @returns the models of all parts, as named in price lists; null for a module. Called only if all parts are set up */
export function serviceModels(settings: CascadeSettings, own: CascadeOwn): readonly (string | null)[] {
  return servicesOf(settings, own).map(({ part, entry }) => modelOf(settings, part, entry))
}

/** @returns the agent's first language model, as named in price lists; null if the model is not set up */
export function textModelName(settings: CascadeSettings, own: CascadeOwn): string | null {
  const [entry] = entriesOf('llm', settings, own)
  const known = entry !== undefined && settingsOf(settings, 'llm', entry.service) !== null
  return known ? modelOf(settings, 'llm', entry) : null
}

function modelOf(settings: CascadeSettings, part: PartName, entry: { readonly service: string }): string | null {
  const usual = SERVICES[part].get(entry.service)?.own
  const { model, baseUrl } = { ...usual, ...settingsOf(settings, part, entry.service), ...entry } as {
    readonly model?: string
    readonly baseUrl?: string
  }
  return model === undefined || baseUrl === undefined ? null : pricedModel(model, baseUrl)
}

/**
 * @returns the missing abilities of the agent's services, one text for each, such as `stt whisper has no …`
 * @param languages  the agent's languages, used if its cascade does not name languages
 */
export function serviceLacks(
  settings: CascadeSettings,
  own: CascadeOwn,
  languages: readonly string[],
): readonly string[] {
  const spoken = own.languages ?? languages
  return servicesOf(settings, own).flatMap(({ part, entry, lacks, languagesMax = Infinity }) => {
    const unheard = spoken.slice(languagesMax).join(', ')
    const words = [
      lacks,
      unheard === '' ? undefined : `supports ${languagesMax} languages, so it does not recognise ${unheard}`,
    ]
    return words.flatMap((what) => (what === undefined ? [] : [`${part} ${entry.service} ${what}`]))
  })
}
