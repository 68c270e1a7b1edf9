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

/** Makers of a vendor's services, by part and name: `services` of the file services.ts in its folder. */
type VendorCode = {
  readonly [Name in PartName]?: Readonly<Record<string, (options: never) => ServiceFactory<Services[Name]>>>
}

/** By folder; those that this thread's agents use, so at most as many as there are vendors. */
const loadedCode = new Map<string, VendorCode>()

/** Imports the code of the vendors of an agent's services for `parts`: those that no agent uses cost nothing. */
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

/** The fixed phrases of an agent in the first voice of its list. */
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

/** The text model of an agent, for work after its calls; null where none is set. */
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

/** The services of one call. Their vendors' code and the modules among them were loaded. */
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
