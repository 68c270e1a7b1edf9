import { z } from 'zod'
import { maskNumber, partyKey, subscriberNumber } from '../../sautikit/phone.js'
import { CALL_OUTCOMES, CALL_SERVED } from './record.js'
import { indexedWords, wantedWords, wordsOf } from './found-words.js'
import type { CallRecord } from './record.js'

/** A record as it was stored; records of earlier builds have fewer properties. */
export type WrittenRecord = Partial<CallRecord> & Pick<CallRecord, 'callSid' | 'startedAt'>

interface CallFilter {
  /** Condition of the filter in words, for help and documents. */
  readonly help: string
  /** Returns the values of a call that the filter is compared with. */
  readonly of: (record: WrittenRecord) => readonly string[]
  /** Returns the values to search for; one match is enough. @defaultValue the filter's value */
  readonly asked?: (value: string) => readonly string[]
}

/**
 * Filters for ended calls. Each is an option of `mkondo calls find` and a parameter of `GET /api/find`. Whole values
 * are compared, regardless of case.
 */
export const CALL_FILTERS = {
  caller: {
    help: "the other party's number; if records mask it, all calls with the same visible digits",
    of: callerOf,
    asked: askedForms,
  },
  number: {
    help: 'our own number',
    of: numberOf,
    asked: askedForms,
  },
  agent: {
    help: 'the name of an agent that had the call, also after a handover',
    of: ({ agent = '', handovers = [] }) => [agent, ...handovers.map(({ to }) => to)],
  },
  agentVersion: {
    help: "the version of the agent's files, as its record names it",
    of: ({ agentVersion }) => (typeof agentVersion === 'string' ? [agentVersion] : []),
  },
  outcome: { help: 'how it ended', of: ({ outcome = '' }) => [outcome] },
  served: {
    help: 'the result for the caller; records of earlier builds have none',
    of: ({ served }) => (typeof served === 'string' ? [served] : []),
  },
  reason: { help: 'endReason of the record, such as caller-hung-up', of: ({ endReason = '' }) => [endReason] },
  stage: { help: 'a stage that the call was in', of: ({ stages = [] }) => stages.map(({ stage }) => stage) },
  field: {
    help: 'a field of the analysis with its value, such as intent:refund',
    of: ({ analysis }) =>
      Object.entries(analysis?.fields ?? {}).map(([name, { value }]) => `${name}:${String(value ?? '')}`),
  },
} as const satisfies Readonly<Record<string, CallFilter>>
type CallFilterName = keyof typeof CALL_FILTERS
const FILTERS = Object.entries(CALL_FILTERS) as readonly (readonly [CallFilterName, CallFilter])[]

/** Maximum length of a filter's value, and of a searched text, in characters. */
const FILTER_CHARS_MAX = 200
/** Maximum number of words in a searched text. */
const TEXT_WORDS_MAX = 20
const COST_MAX = 1_000_000_000

const filter = z.string().trim().min(1).max(FILTER_CHARS_MAX)
const cost = z.coerce.number().min(0).max(COST_MAX).exactOptional()
/** Calendar time, or a day in UTC. */
export const searchTimeSchema = z.union([z.iso.date(), z.iso.datetime({ offset: true })], {
  error: 'allowed: a day (UTC), such as 2026-11-27, or a time with its zone, such as 2026-11-27T09:00:00Z',
})
const time = searchTimeSchema.exactOptional()
const filters = Object.fromEntries(
  FILTERS.map(([name, { help }]) => [name, filter.exactOptional().describe(help)]),
) as Record<CallFilterName, z.ZodExactOptional<typeof filter>>

/** Help for search parameters other than filters. */
export const CALL_RANGES = {
  text: 'words of the transcript or the summary; every word must occur',
  minCost: 'minimum cost of the call, in its currency',
  maxCost: 'maximum cost of the call, in its currency',
  from: 'begun at this time or later: 2026-11-27 (UTC), or 2026-11-27T09:00:00+03:00',
  to: 'begun before this time',
} as const

/** A search for ended calls; a call must match every parameter. */
export const callSearchSchema = z.strictObject({
  ...filters,
  outcome: z.enum(CALL_OUTCOMES).exactOptional().describe(CALL_FILTERS.outcome.help),
  served: z.enum(CALL_SERVED).exactOptional().describe(CALL_FILTERS.served.help),
  text: filter
    .refine((text) => wordsOf(text).length <= TEXT_WORDS_MAX, `at most ${TEXT_WORDS_MAX} words`)
    .refine((text) => wordsOf(text).length > 0, 'at least one word')
    .exactOptional()
    .describe(CALL_RANGES.text),
  minCost: cost.describe(CALL_RANGES.minCost),
  maxCost: cost.describe(CALL_RANGES.maxCost),
  from: time.describe(CALL_RANGES.from),
  to: time.describe(CALL_RANGES.to),
})
export type CallSearch = z.output<typeof callSearchSchema>
/** Names of all parameters of a search. */
export const CALL_SEARCH_KEYS = Object.keys(callSearchSchema.shape) as readonly (keyof CallSearch)[]

/** Returns the known cost of a call, in the currency of its record; null if the cost is unknown. */
export function costOf({
  wholeCost,
  cost: models,
}: WrittenRecord): { readonly amount: number; readonly currency: string } | null {
  const of = wholeCost ?? models
  return of === null || of === undefined ? null : { amount: of.known, currency: of.currency }
}

/** Words and terms with which a full-text index finds a call, separated by spaces. Spoken words are never terms. */
export interface IndexedCall {
  readonly said: string
  readonly terms: string
}

export function indexedCall(record: WrittenRecord): IndexedCall {
  const { transcript = [], analysis, number } = record
  const amount = costOf(record)?.amount
  const texts = [...transcript.map(({ text }) => text), analysis?.summary ?? '']
  const terms = [
    ...FILTERS.flatMap(([name, { of }]) => of(record).map((value) => term(name, value))),
    ...(number === undefined ? [] : [term('own', number)]),
    ...(amount === undefined ? [] : costTerms(amount)),
  ]
  return { said: texts.flatMap(indexedWords).join(' '), terms: terms.join(' ') }
}

/**
 * Returns the search as an FTS5 expression over the columns of `IndexedCall`.
 * @param numbers  the gateway's numbers that are searched; null for all
 * @returns null if every call matches
 */
export function searchExpression(search: CallSearch, numbers: readonly string[] | null): string | null {
  const { text, minCost, maxCost } = search
  const isAnyCost = minCost === undefined && maxCost === undefined
  const said = wantedWords(text ?? '').map((word) => [word])
  const terms = [
    ...FILTERS.flatMap(([name, { asked = (value: string) => [value] }]: readonly [CallFilterName, CallFilter]) => {
      const value = search[name]
      return value === undefined ? [] : [asked(value).map((each) => term(name, each))]
    }),
    ...(isAnyCost ? [] : [costRange(minCost ?? 0, maxCost ?? COST_MAX)]),
    ...(numbers === null ? [] : [numbers.length === 0 ? [term('own', '')] : numbers.map((each) => term('own', each))]),
  ]
  const within = (column: keyof IndexedCall, alternatives: readonly (readonly string[])[]): string[] =>
    alternatives.map((each) => `${column} : (${each.map((word) => `"${word}"`).join(' OR ')})`)
  const all = [...within('said', said), ...within('terms', terms)]
  return all.length === 0 ? null : all.join(' AND ')
}

/**
 * True if the client may see the call. `numbers`: the gateway's numbers to which the client is limited; null if the
 * client is not limited.
 */
export function isOfNumbers({ number }: Pick<Parties, 'number'>, numbers: readonly string[] | null): boolean {
  return numbers === null || (number !== undefined && numbers.includes(number))
}

/**
 * True if the call's number may differ from the searched number. Records mask digits, so two different numbers can have
 * the same visible digits.
 */
export function isAlike({ caller, number }: CallSearch, parties: Parties): boolean {
  const isOther = (asked: string | undefined, forms: readonly string[]): boolean =>
    asked !== undefined && !forms.includes(wholeForm(asked))
  return isOther(caller, callerOf(parties)) || isOther(number, numberOf(parties))
}

/** Maximum length of a term, in bytes; longer values are compared only up to this length. */
const TERM_BYTES_MAX = 120

/** Returns one word that the index does not split. */
function term(name: string, value: string): string {
  const bytes = new TextEncoder().encode(`${name}=${value.trim().toLowerCase()}`).subarray(0, TERM_BYTES_MAX)
  return `zq${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
}

/** Number of steps in which a cost doubles. Steps are counted from a cost of 2^-14. */
const COST_STEPS = 32
const COST_LEVELS = 11

function costStep(amount: number): number {
  return amount <= 0
    ? 0
    : Math.min(2 ** COST_LEVELS - 1, Math.max(0, Math.floor(COST_STEPS * (14 + Math.log2(amount)))))
}

/**
 * Returns the search terms of a cost. Each term is a range that contains the cost: one range of 1 step, one of 2 steps,
 * one of 4 steps, and so on.
 */
function costTerms(amount: number): string[] {
  const step = costStep(amount)
  return Array.from({ length: COST_LEVELS }, (_, level) => term('cost', `${level}.${step >> level}`))
}

/** Returns the fewest terms of `costTerms` whose ranges together cover the costs from `min` to `max`. */
function costRange(min: number, max: number): string[] {
  const terms: string[] = []
  let [from, to] = [costStep(min), Math.max(costStep(min), costStep(max)) + 1]
  for (let level = 0; from < to; level++) {
    if (from % 2 === 1) terms.push(term('cost', `${level}.${from++}`))
    if (to % 2 === 1) terms.push(term('cost', `${level}.${--to}`))
    from /= 2
    to /= 2
  }
  return terms
}

/** Phone numbers of a record. */
interface Parties {
  readonly direction?: string
  readonly from?: string
  readonly to?: string
  readonly number?: string
}

function callerOf({ direction, from = '', to = '' }: Parties): string[] {
  return partyForms(direction === 'outbound' ? to : from)
}

function numberOf({ direction, from = '', to = '', number }: Parties): string[] {
  return partyForms(number ?? (direction === 'outbound' ? from : to))
}

/**
 * Terms for a phone number: the number as records show it, and the full number if it is not masked. A masked number
 * does not identify its owner.
 */
function partyForms(shown: string): string[] {
  if (shown === '') return []
  return shown.includes('…') ? [shown, `shown ${shown}`] : [wholeForm(shown), `shown ${maskNumber(shown)}`]
}

function askedForms(asked: string): string[] {
  const whole = wholeForm(asked)
  return asked.includes('…') ? [`shown ${asked}`] : [whole, maskNumber(whole)]
}

function wholeForm(number: string): string {
  return subscriberNumber(number) ?? partyKey(number)
}
