import { z } from 'zod'
import { maskNumber, partyKey, subscriberNumber } from '../../sautikit/phone.js'
import { CALL_OUTCOMES } from './record.js'
import { indexedWords, wantedWords, wordsOf } from './found-words.js'
import type { CallRecord } from './record.js'

/** A record as it was written: one of an earlier build has fewer keys. */
export type WrittenRecord = Partial<CallRecord> & Pick<CallRecord, 'callSid' | 'startedAt'>

interface CallFilter {
  /** Its limit on the calls, for help and documents. */
  readonly help: string
  /** The values by which a call is found. */
  readonly of: (record: WrittenRecord) => readonly string[]
  /** The values that are looked for; one of them is enough. @defaultValue the one that is asked for */
  readonly asked?: (value: string) => readonly string[]
}

/**
 * Filters for ended calls. Each is an option of `mkondo calls find` and a parameter of `GET /api/find`; values are
 * compared whole, small and capital letters alike.
 */
export const CALL_FILTERS = {
  caller: {
    help: "the other party's number; where records have it masked, all calls that show the same",
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

/** Longest value of a filter, and longest text that is looked for. */
const FILTER_CHARS_MAX = 200
/** Words of a text that is looked for. */
const TEXT_WORDS_MAX = 20
const COST_MAX = 1_000_000_000

const filter = z.string().trim().min(1).max(FILTER_CHARS_MAX)
const cost = z.coerce.number().min(0).max(COST_MAX).exactOptional()
/** Calendar time, or a day in UTC. */
const time = z.union([z.iso.date(), z.iso.datetime({ offset: true })]).exactOptional()
const filters = Object.fromEntries(FILTERS.map(([name]) => [name, filter.exactOptional()])) as Record<
  CallFilterName,
  z.ZodExactOptional<typeof filter>
>

/** A search for ended calls; all of it must fit. */
export const callSearchSchema = z.strictObject({
  ...filters,
  outcome: z.enum(CALL_OUTCOMES).exactOptional(),
  text: filter
    .refine((text) => wordsOf(text).length <= TEXT_WORDS_MAX, `at most ${TEXT_WORDS_MAX} words`)
    .refine((text) => wordsOf(text).length > 0, 'at least one word')
    .exactOptional(),
  minCost: cost,
  maxCost: cost,
  from: time,
  to: time,
})
export type CallSearch = z.output<typeof callSearchSchema>
/** Names of what may be asked for. */
export const CALL_SEARCH_KEYS = Object.keys(callSearchSchema.shape) as readonly (keyof CallSearch)[]

/** Help of what is no filter by a value. */
export const CALL_RANGES = {
  text: 'words that were said, or stand in the summary; each must be there',
  minCost: 'what the call cost at least, in its currency',
  maxCost: 'what it cost at most',
  from: 'begun at this time or later: 2026-11-27 (UTC), or 2026-11-27T09:00:00+03:00',
  to: 'begun before this time',
} as const satisfies Readonly<Record<Exclude<keyof CallSearch, CallFilterName>, string>>

/** How much a call cost as far as it is known, in the currency of its record; null: nothing is known. */
export function costOf({
  wholeCost,
  cost: models,
}: WrittenRecord): { readonly amount: number; readonly currency: string } | null {
  const of = wholeCost ?? models
  return of === null || of === undefined ? null : { amount: of.known, currency: of.currency }
}

/** Words and terms by which a full-text index finds a call, each separated by spaces. A word that was said is never a term. */
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
 * The same search as an FTS5 expression over the columns of `IndexedCall`.
 * @param numbers  of ours, to whose calls it is limited; null: any
 * @returns null where any call fits
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

/** True for a call that an asker may see who is limited to these numbers of ours; null: to none. */
export function isOfNumbers({ number }: Pick<Parties, 'number'>, numbers: readonly string[] | null): boolean {
  return numbers === null || (number !== undefined && numbers.includes(number))
}

/** True if the call may be of another number than the one that is looked for, since its record shows both in the same way. */
export function isAlike({ caller, number }: CallSearch, parties: Parties): boolean {
  const isOther = (asked: string | undefined, forms: readonly string[]): boolean =>
    asked !== undefined && !forms.includes(wholeForm(asked))
  return isOther(caller, callerOf(parties)) || isOther(number, numberOf(parties))
}

/** Longest term; longer values are alike as far as this. */
const TERM_BYTES_MAX = 120

/** One word, that the index does not split. */
function term(name: string, value: string): string {
  const bytes = new TextEncoder().encode(`${name}=${value.trim().toLowerCase()}`).subarray(0, TERM_BYTES_MAX)
  return `zq${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
}

/** Steps to each doubling of a cost, from 2^-14 on. */
const COST_STEPS = 32
const COST_LEVELS = 11

function costStep(amount: number): number {
  return amount <= 0
    ? 0
    : Math.min(2 ** COST_LEVELS - 1, Math.max(0, Math.floor(COST_STEPS * (14 + Math.log2(amount)))))
}

/** A cost is in a range of each length: 1, 2, 4 … steps. */
function costTerms(amount: number): string[] {
  const step = costStep(amount)
  return Array.from({ length: COST_LEVELS }, (_, level) => term('cost', `${level}.${step >> level}`))
}

/** The fewest of these ranges that together are one. */
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

/** Numbers of a record. */
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

/** By how a number is shown, and by itself where it is whole: a masked one does not say whose it is. */
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
