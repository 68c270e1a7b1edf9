import type { PartName } from '../../vendors/vendor.js'

/** A field of a request that a service may refuse: its form in the request, and the service's text of the refusal. */
type Field = readonly [sent: RegExp, words: string]

/** Optional fields of a service's requests, for one kind of calls. A test makes the service refuse each field. */
interface OptionalFields {
  /** Options of the agent that the service may refuse, each with a value that appears unchanged on the wire. */
  readonly wished: Readonly<Record<string, unknown>>
  /** Options without which these fields are not sent, or that the service requires. */
  readonly needed?: Readonly<Record<string, unknown>>
  /** Languages of the call. Default: one language. */
  readonly languages?: readonly string[]
  /** Fields, by their name in the code. */
  readonly fields: Readonly<Record<string, Field>>
}

/**
 * Optional fields of a vendor's services, by part and name: `optionalFields` in the folder's double.ts. Empty if there
 * are none.
 */
export type OptionalFieldsOf = Partial<Record<PartName, Readonly<Record<string, readonly OptionalFields[]>>>>

export const TERMS = { terms: ['Zawadi'] }
export const ABOUT = { context: 'Orders of a shop' }
export const TUNED = { temperature: 0.3719, maxTokens: 17_341 }
export const SPEED = { speed: 0.83 }

export function speedIn(sent: RegExp, words = "Unsupported parameter: 'speed'."): { readonly speed: Field } {
  return { speed: [sent, words] }
}
