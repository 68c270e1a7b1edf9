import type { ZodType, output } from 'zod'
import { omitNullish } from '../core/omit-nullish.js'
import type { Given } from '../core/setting.js'
import type { ModelPrice } from './model-price.js'

// The declaration of a vendor as plain facts. The vendor's code is imported only where calls run; its double is
// imported only when the double starts.

/** Parts of a cascade. */
export const PARTS = ['stt', 'llm', 'tts'] as const
export type PartName = (typeof PARTS)[number]

/** Page and day of a fact's source. */
interface Source {
  /** Page of the vendor that states the fact. */
  readonly source: string
  /** Day on which the page was read. */
  readonly readOn: string
}

/** Prices of a model, in US dollars. */
export type ListedPrice = ModelPrice & Source

/** The first day on which a source named a model. */
export interface FirstSeen {
  /**
   * Date as YYYY-MM-DD: the vendor's release date if a page gives it, otherwise the day on which its page was read for
   * this table.
   */
  readonly on: string
  readonly source: string
}

/** The announced end of a model. */
export interface ListedEnd extends Source {
  /** Day on which the vendor switches the model off, as YYYY-MM-DD in UTC. */
  readonly endsOn: string
  /** Model that the vendor recommends instead; null if the vendor recommends no model. */
  readonly successor: string | null
}

/** Form of a usage file or bill that the vendor exports, as CSV (`docs/COST.md`). */
export interface ListedExport extends Source {
  /** Columns that identify a file of this form. */
  readonly marks: readonly string[]
  /** Column map, as in a YAML file for `--map`. */
  readonly map: Readonly<Record<string, unknown>>
}

/** A default that changed in a release. */
interface ChangedDefault {
  /** Newest version of the gateway with the old default. */
  readonly until: string
  /** Name of the environment variable with the default. */
  readonly setting: string
  /** Backend that uses the setting. */
  readonly backend: string
  readonly was: string
  readonly now: string
  /** Line of `mkondo.yaml` that keeps the old default. */
  readonly rewrite: string
}

/** One service for one part of a cascade. `Values` are its vendor's settings. */
export interface Service<Values> {
  /** Description for people who choose a service; Markdown of the service's page. */
  readonly about: string
  /** Setting that the service requires. */
  readonly needs: string
  /** Features that callers will miss with this service; absent if no feature is missing. */
  readonly lacks?: string
  /** Maximum number of languages of one call; the service refuses a call with more. Absent: no limit. */
  readonly languagesMax?: number
  /**
   * Address and model, used if the settings and the agent do not name them. If the service does not name its model, the
   * model's name is used for prices only.
   */
  readonly own?: { readonly baseUrl?: string; readonly model?: string }
  /**
   * Schemas of the service's optional fields in an agent's file, beside `service`. If several services of a cascade's
   * part have a field with one name, they use one schema.
   */
  readonly options: Readonly<Record<string, ZodType>>
  /** Minimum and maximum speed of a voice, as multiples of its normal speed. Absent: no limits. */
  readonly speeds?: readonly [slowest: number, fastest: number]
  /** True if the service's pronunciation dictionaries have versions. Absent: false. */
  readonly versionedDictionary?: true
  /** True if the service is used over gRPC, whose packages most gateways do not need. Absent: false. */
  readonly grpc?: true
  /**
   * @returns API key, address and model for the vendor's code, as data; null if the service is not set up
   * @param files  contents of the files that settings name, by the setting
   */
  settings(values: Values, files: Readonly<Record<string, unknown>>): object | null
}

/**
 * A recogniser. An agent compares the caller's words with words of the agent's file. So the gateway asks the recogniser
 * to leave the caller's words unchanged, if possible.
 */
export interface Recogniser<Values> extends Service<Values> {
  /**
   * Changes that the recogniser makes by default to the caller's words, and the settings that the gateway uses instead;
   * Markdown of the service's page.
   */
  readonly changes: string
}

/** A model in use, by its name in the lists of prices and ends. */
interface UsedModel {
  readonly model: string
  /** Server that runs the model; the vendor's lists may not apply to other servers. Absent: the vendor's own server. */
  readonly baseUrl?: string
}

/**
 * One realtime service: a backend that hears and speaks. `Values` are the vendor's settings; `Set` is the plain data
 * made from these settings.
 */
export interface RealtimeService<
  Values = object,
  Set extends object = object,
  Options extends ZodType = ZodType,
  Voice extends ZodType = ZodType,
> {
  /** Turn detection, and the handling of an interrupted answer; Markdown of the service's page. */
  readonly about: string
  /** Setting that the service requires. */
  readonly needs: string
  /** Settings that `mkondo init` writes for the service. */
  readonly asks: readonly string[]
  /**
   * True if `backend: auto` uses the service as soon as it is set up. Absent: false, an agent must name the service.
   */
  readonly automatic?: true
  /** An agent's options, all optional. */
  readonly options: Options
  /** Schema of an agent's voice. Absent: any voice name, or one name per language. */
  readonly voice?: Voice
  /** @returns API key, address and model for the vendor's code, as plain data; null if the service is not set up */
  settings(values: Values): Set | null
  /** @returns the name of another setting that this agent needs, if it is not set; null if all settings are set */
  missing?(set: Set, own: output<Options>): string | null
  /** True if the service itself detects the caller's end of turn. */
  detectsTurns(set: Set, own: output<Options>): boolean
  /** True if, with these options, the service works at 8 kHz on a leg of 8 kHz. Absent: false. */
  usesLegRate?(this: void, own: output<Options>): boolean
  /** @returns the models that the service uses. If there are several, the reported usage names the model */
  models(set: Set, own: output<Options>): readonly UsedModel[]
}

/** A realtime service, typed by its own settings, options and voices. */
export function realtime<Values, Set extends object, Options extends ZodType, Voice extends ZodType = never>(
  declared: RealtimeService<Values, Set, Options, Voice>,
): RealtimeService<Values, Set, Options, Voice> {
  return declared
}

/** Values of these settings. */
export type ValuesOf<Settings extends Readonly<Record<string, Given<unknown>>>> = {
  readonly [Name in keyof Settings]: Settings[Name]['fallback']
}

export type RealtimeServices = Readonly<Record<string, RealtimeService>>

interface Services<Values> {
  readonly stt?: Readonly<Record<string, Recogniser<Values>>>
  readonly llm?: Readonly<Record<string, Service<Values>>>
  readonly tts?: Readonly<Record<string, Service<Values>>>
}

/** A file that a setting names; the file is read when the gateway starts. */
interface SettingFile {
  /** Noun for the file's content, such as `the JSON key of …`. */
  readonly noun: string
  readonly manual: string
  readonly schema: ZodType
}

/**
 * One vendor of services, with the name of its folder in src/vendors. The folder's README.md is the vendor's page; the
 * tables in the page are made from this declaration.
 */
export interface Vendor<
  Values extends object = object,
  Own extends Services<never> = Services<never>,
  Backends extends RealtimeServices = RealtimeServices,
> {
  readonly folder: string
  /** `ElevenLabs` */
  readonly title: string
  readonly settings: { readonly [K in keyof Values]: Given<Values[K]> }
  readonly files?: Readonly<Record<string, SettingFile>>
  readonly services: Own
  /** Realtime services by the backend's name in an agent's file. */
  readonly backends: Backends
  /** Hosts at which models with these names have the prices in `prices`; absent if there are no such hosts. */
  readonly hosts?: RegExp
  readonly prices?: Readonly<Record<string, ListedPrice>>
  readonly ends?: Readonly<Record<string, ListedEnd>>
  /**
   * Release dates of models. All other models were first seen when their price or end was read. Absent: no release date
   * is known.
   */
  readonly released?: Readonly<Record<string, FirstSeen>>
  /** Usage files with known columns, by their name for `--map`, most specific first. Absent: no such files. */
  readonly exports?: Readonly<Record<string, ListedExport>>
  /** Tokens per second of audio, by the model's name. Absent: 10 for input and 20 for output. */
  readonly audioTokens?: { readonly models: RegExp; readonly in: number; readonly out: number }
  /** Defaults that changed in a release. Absent: no default changed. */
  readonly changedDefaults?: readonly ChangedDefault[]
  /** Doubles of the vendor's services, by their name for `mkondo double`. Absent: no doubles. */
  readonly doubles?: Readonly<Record<string, ServiceDoubleFacts | RealtimeDoubleFacts>>
}

interface DoubleFacts {
  /** Description of the double, such as `recogniser and voice of …`. */
  readonly what: string
  /** Port of the double. Services that the double needs in addition use the next ports. */
  readonly port: number
  /** Setting of the double's API key; absent if the double needs no key. */
  readonly key?: string
}

/** A double of services of a cascade. */
export interface ServiceDoubleFacts extends DoubleFacts {
  readonly parts: readonly ('STT' | 'LLM' | 'TTS')[]
}

/** A double of a realtime service. */
export interface RealtimeDoubleFacts extends DoubleFacts {
  /** Name of the double's backend in an agent's file. */
  readonly backend: string
  /** Values of further settings for a gateway that uses the double. */
  readonly env?: Readonly<Record<string, string>>
  /** Faults in addition to `no-quota` and `never-ready`, which every double supports. */
  readonly faults: readonly ('deaf' | 'empty-answers' | 'delegate-hangs')[]
}

/**
 * @returns each model that has a price, an end or a release in a vendor's declaration, with the first day on which a
 * source named the model
 */
export function seenModels({ prices = {}, ends = {}, released = {} }: Vendor): ReadonlyMap<string, FirstSeen> {
  const seen = new Map<string, FirstSeen>()
  const readings = [prices, ends].flatMap((rows) =>
    Object.entries<ListedPrice | ListedEnd>(rows).map(
      ([model, { readOn: on, source }]) => [model, { on, source }] as const,
    ),
  )
  for (const [model, found] of [...Object.entries(released), ...readings]) {
    const known = seen.get(model)
    if (known === undefined || found.on < known.on) seen.set(model, found)
  }
  return seen
}

/** Declares a vendor; the type of its settings is passed to its services. */
export function vendor<
  Values extends object,
  const Own extends Services<Values>,
  const Backends extends RealtimeServices = Readonly<Record<never, never>>,
>({
  backends = {} as Backends,
  ...declared
}: Omit<Vendor<Values, Own, Backends>, 'backends'> & { readonly backends?: Backends }): Vendor<Values, Own, Backends> {
  return { ...declared, backends }
}

/** @returns key and address of a service that needs an API key, with the fields of `more`; null without a key */
export function keyed(apiKey: string | null, baseUrl: string | null, more: object = {}): object | null {
  return apiKey === null ? null : { apiKey, ...omitNullish({ baseUrl }), ...more }
}

/** @returns a self-hosted service at an address, with the fields of `more`; null without an address */
export function atAddress(baseUrl: string | null, more: object = {}): object | null {
  return baseUrl === null ? null : { baseUrl, ...more }
}
