import type { ZodType } from 'zod'
import { omitNullish } from '../core/omit-nullish.js'
import type { Given } from '../core/setting.js'

// The declaration of a vendor. Plain facts: its code is imported where calls run, its double where one is started.

/** Parts of a cascade. */
export const PARTS = ['stt', 'llm', 'tts'] as const
export type PartName = (typeof PARTS)[number]

/** Prices of a model, by the units of `ModelPrice`, in US dollars. */
export interface ListedPrice {
  readonly inputPerMillionTokens?: number
  readonly inputAudioPerMillionTokens?: number
  readonly cachedPerMillionTokens?: number
  readonly cachedAudioPerMillionTokens?: number
  readonly cacheWritePerMillionTokens?: number
  readonly outputPerMillionTokens?: number
  readonly outputAudioPerMillionTokens?: number
  readonly perMinute?: number
  readonly perMillionCharacters?: number
  /** The page of the vendor that says so. */
  readonly source: string
  /** The day on which it was read. */
  readonly readOn: string
}

/** The announced end of a model. */
export interface ListedEnd {
  /** The day, as YYYY-MM-DD in UTC, on which the vendor switches it off. */
  readonly endsOn: string
  /** The model that the vendor recommends instead; null: it recommends none. */
  readonly successor: string | null
  /** The page that says so. */
  readonly source: string
  /** The day on which it was read. */
  readonly readOn: string
}

/** One service for one part of a cascade. `Values` are those of its vendor's settings. */
export interface Service<Values> {
  /** The setting without which it cannot be used. */
  readonly needs: string
  /** Features that callers will miss with it; absent: none. */
  readonly lacks?: string
  /** Languages of one call that it is asked for: with more it refuses the call. Absent: any number. */
  readonly languagesMax?: number
  /** Address and model where neither settings nor agent name them. A model without a name there has one for prices. */
  readonly own?: { readonly baseUrl?: string; readonly model?: string }
  /** Keys of an agent's entry for it, beside `service`. */
  readonly options: readonly string[]
  /** A voice: slowest and fastest, times its own speed. Absent: any. */
  readonly speeds?: readonly [slowest: number, fastest: number]
  /** Its pronunciation dictionaries have versions. Absent: false. */
  readonly versionedDictionary?: true
  /** It is reached over gRPC, whose packages most gateways do without. Absent: false. */
  readonly grpc?: true
  /**
   * Key, address and model for its maker in the vendor's code; null where it is not set up. Plain data.
   * @param files  contents of the files that settings name, by the setting
   */
  settings(values: Values, files: Readonly<Record<string, unknown>>): object | null
}

type Services<Values> = Readonly<Partial<Record<PartName, Readonly<Record<string, Service<Values>>>>>>

/** A file that a setting names, read at the start. */
interface SettingFile {
  /** `the JSON key of …` */
  readonly noun: string
  readonly manual: string
  readonly schema: ZodType
}

/** One vendor of services: its folder below src/vendors has this name. */
export interface Vendor<Values extends object = object, Own extends Services<never> = Services<never>> {
  readonly folder: string
  /** `ElevenLabs` */
  readonly title: string
  readonly settings: { readonly [K in keyof Values]: Given<Values[K]> }
  readonly files?: Readonly<Record<string, SettingFile>>
  readonly services: Own
  /** Hosts at which the models have the names and prices of `prices`; absent: none. */
  readonly hosts?: RegExp
  readonly prices?: Readonly<Record<string, ListedPrice>>
  readonly ends?: Readonly<Record<string, ListedEnd>>
  /** Doubles of its services, by the name that `mkondo double` takes. Absent: none. */
  readonly doubles?: Readonly<Record<string, ServiceDoubleFacts>>
}

/** A double of a recogniser, a voice, or both. */
export interface ServiceDoubleFacts {
  /** `recogniser and voice of …` */
  readonly what: string
  /** Services that it needs beside it take the next ports. */
  readonly port: number
  /** The setting of its key; absent: it asks for none. */
  readonly key?: string
  readonly parts: readonly ('STT' | 'TTS')[]
}

/** A vendor, with its services' settings typed by its own. */
export function vendor<Values extends object, const Own extends Services<Values>>(
  declared: Vendor<Values, Own>,
): Vendor<Values, Own> {
  return declared
}

/** Key and address of a service that needs a key, and `more`; null without one. */
export function keyed(apiKey: string | null, baseUrl: string | null, more: object = {}): object | null {
  return apiKey === null ? null : { apiKey, ...omitNullish({ baseUrl }), ...more }
}

/** A service at an address of one's own; null without one. */
export function atAddress(baseUrl: string | null, more: object = {}): object | null {
  return baseUrl === null ? null : { baseUrl, ...more }
}
