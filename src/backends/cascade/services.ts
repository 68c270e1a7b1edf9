import { serviceEntries } from '../../agents/file/backend-options.js'
import { SERVICE_EXPORTS } from '../../agents/file/own-backends.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { omitNullish } from '../../core/omit-nullish.js'
import { SERVICES } from '../../vendors/list.js'
import { PARTS } from '../../vendors/vendor.js'
import type { PartName } from '../../vendors/vendor.js'
import type { CascadeOptions } from './cascade-backend.js'
import { OwnVoice } from './own-voice.js'
import { entriesOf, isModule, settingsOf } from './service-facts.js'
import type { CascadeOwn, CascadeSettings, EntryOf } from './service-facts.js'
import type { LanguageModel, SpeechToText, ServiceContext, ServiceFactory, TextToSpeech } from './service.js'

interface Services {
  readonly stt: SpeechToText
  readonly llm: LanguageModel
  readonly tts: TextToSpeech
}

/**
 * Type of the export `services` of a vendor's file services.ts. It contains factories of the vendor's services, by part
 * and name.
 */
type VendorCode = {
  readonly [Name in PartName]?: Readonly<Record<string, (options: never) => ServiceFactory<Services[Name]>>>
}

/** Loaded code of the vendors that this thread's agents use, by the vendor's folder. At most one entry per vendor. */
const loadedCode = new Map<string, VendorCode>()

/** Imports the code of the vendors whose services an agent uses for `parts`. Code of other vendors is not imported. */
export async function loadVendors(
  settings: CascadeSettings,
  own: CascadeOwn,
  parts: readonly PartName[] = PARTS,
): Promise<void> {
  for (const part of parts) {
    for (const { service } of entriesOf<PartName>(part, settings, own)) {
      const folder = SERVICES[part].get(service)?.vendor.folder
      if (folder === undefined || loadedCode.has(folder)) continue
      const code = (await import(`../../vendors/${folder}/services.js`)) as { readonly services: VendorCode }
      loadedCode.set(folder, code.services)
    }
  }
}

/** @returns the sound of an agent's fixed phrases, spoken by the first voice of the agent's list */
export async function ownVoiceOf(
  settings: CascadeSettings,
  own: CascadeOwn,
  phrases: Omit<ConstructorParameters<typeof OwnVoice>[0], 'factory' | 'settings'>,
): Promise<OwnVoice | null> {
  await loadVendors(settings, own, ['tts'])
  const [entry] = entriesOf('tts', settings, own)
  if (entry === undefined) return null
  const factory = (): ServiceFactory<TextToSpeech> => factoryOf('tts', entry, settings)
  const model = isModule(entry.service) ? entry.service : factory().model
  return new OwnVoice({ ...phrases, factory, settings: { ...entry, model } })
}

/** @returns the text model with which an agent does work after its calls; null if no model is set */
export async function textModelOf(
  settings: CascadeSettings,
  own: CascadeOwn,
): Promise<ServiceFactory<LanguageModel> | null> {
  await loadVendors(settings, own, ['llm'])
  const [entry] = entriesOf('llm', settings, own)
  return entry === undefined || settingsOf(settings, 'llm', entry.service) === null
    ? null
    : factoryOf('llm', entry, settings)
}

/** Makes the services of one call. Their vendors' code and modules must already be loaded. */
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
 * @throws GatewayError AGENT_INVALID for an unknown service; BACKEND_KEY_MISSING for a service that is not set up.
 * `missingForServices` reports such a service earlier
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
  const service = SERVICES[part].get(name)
  if (service === undefined) {
    const allowed = [...SERVICES[part].keys()].join(', ')
    throw new GatewayError('AGENT_INVALID', `${part}: there is no service ${name}; allowed: ${allowed}`)
  }
  const set = settingsOf(settings, part, name)
  if (set === null) throw new GatewayError('BACKEND_KEY_MISSING', `${part}: ${name} is not set up`)
  const make = loadedCode.get(service.vendor.folder)?.[part]?.[name]
  if (make === undefined) throw new GatewayError('AGENT_INVALID', `${part}: ${name} was not loaded`)
  return make({ ...set, ...(entry as object) } as never)
}

// --- services from modules --------------------------------------------------------------------------------------

/** @param options value of `options` in the module's entry in the agent's file; empty if the entry has no options */
type ServiceModule<Service> = (context: ServiceContext, options: Readonly<Record<string, unknown>>) => Service

/** Loaded modules of this thread's agents, by import specifier. */
const modules = new Map<string, Readonly<Record<string, unknown>>>()

/** Imports, in this thread, the modules among an agent's services. @throws GatewayError AGENT_INVALID */
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
