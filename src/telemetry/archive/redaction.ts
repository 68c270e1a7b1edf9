import type { CallerValues } from '../../call/caller-data.js'
import { DIGIT_WORDS } from '../../call/spoken/spoken-numbers.js'
import type { Handoff } from '../../call/documents/handoff.js'
import type { CallRecord } from '../../call/documents/record.js'

/** How much of what was said a record may hold. */
export type TranscriptPolicy = 'full' | 'masked' | 'none'

/** Four digits can be a card's end, an order, a year; three in words are a number that was read out. */
const DIGITS = /\d(?:[ .,/-]{0,2}\d)*/g
const DIGIT = `(?:${DIGIT_WORDS.join('|')})`
const SPOKEN_DIGITS = new RegExp(`\\b${DIGIT}(?:[ ,.-]+${DIGIT}){2,}\\b`, 'gi')

/**
 * The record as it may be kept. `masked`: every number that was said, in digits or read out digit by digit (English and
 * Swahili), is `#`, wherever the words of the call stand: in arguments of tools, in what a model says of the call, in facts. `none`: no
 * words of anybody, and only the names of tools' arguments and of facts.
 */
export function redactRecord(record: CallRecord, policy: TranscriptPolicy): CallRecord {
  if (policy === 'full') return record
  const { escalation } = record
  const text = (words: string): string => (policy === 'none' ? '' : maskDigits(words))
  const without = (mark: string, words: string): string => {
    const [, before = '', quote = '', after = ''] = WORDED_MARKS.get(mark)?.exec(words) ?? ['', words]
    return before + text(quote) + after
  }
  return {
    ...record,
    endDetail: WORDED_BY_A_MODEL.has(record.endReason) ? text(record.endDetail) : record.endDetail,
    transcript: policy === 'none' ? [] : record.transcript.map((entry) => ({ ...entry, text: text(entry.text) })),
    toolCalls: record.toolCalls.map((call) => ({ ...call, args: masked(call.args, policy) as typeof call.args })),
    claims: record.claims.map((claim) => (isQuoted(claim) ? { ...claim, phrase: text(claim.phrase) } : claim)),
    stages: record.stages.map(({ summary, ...stage }) =>
      summary === undefined || policy === 'none' ? stage : { ...stage, summary: text(summary) },
    ),
    facts: record.facts.map((fact) => ({ ...fact, value: masked(fact.value, policy) as typeof fact.value })),
    handovers: record.handovers.map((handover) => ({ ...handover, summary: text(handover.summary) })),
    escalation:
      escalation === null
        ? null
        : {
            ...escalation,
            reason: text(escalation.reason),
            callback:
              escalation.callback === null ? null : { ...escalation.callback, note: text(escalation.callback.note) },
          },
    timeline: record.timeline.map((mark) =>
      mark.detail === undefined ? mark : { ...mark, detail: without(mark.name, mark.detail) },
    ),
    stops: record.stops.map((stop) => ({ ...stop, why: without(stop.mark, stop.why) })),
  }
}

/**
 * The packet as it may be kept after the call. Where its caller wants no words kept: whom to call back, and what they asked
 * to be called back about. With `none` not even that.
 * @param keepsWords  false: the caller wants none kept
 */
export function keptHandoff(handoff: Handoff, keepsWords: boolean, policy: TranscriptPolicy): Handoff {
  if (keepsWords && policy !== 'none') return handoff
  const { facts: _, ...packet } = handoff
  const { tried, stages, escalation } = packet
  const callback = escalation?.callback ?? null
  return {
    ...packet,
    reason: '',
    summary: '',
    identity: null,
    tried: tried.map((tool) => ({ ...tool, args: {} })),
    ...(stages === undefined ? {} : { stages: stages.map(({ stage }) => ({ stage })) }),
    transcript: [],
    escalation:
      escalation === null
        ? null
        : { ...escalation, reason: '', callback: callback === null ? null : keptCallBack(callback, policy) },
  }
}

/** The order of a call back as it may be kept: with `none` without its note. */
export function keptCallBack<Order extends { readonly note: string }>(order: Order, policy: TranscriptPolicy): Order {
  return policy === 'none' ? { ...order, note: '' } : order
}

/** End reasons whose detail is a model's words: it may quote the caller. */
export const WORDED_BY_A_MODEL: ReadonlySet<CallRecord['endReason']> = new Set(['agent-goodbye', 'escalated'])

/** After the reason, and before the figures of the call. */
const WORDED_END = new RegExp(`^((?:${[...WORDED_BY_A_MODEL].join('|')}): )(.*?)((?:; \\S+ ms of stream.*)?)$`, 's')
/** Details that have words of the call: what is before them, the words, and what is after them. */
const WORDED_MARKS: ReadonlyMap<string, RegExp> = new Map([
  ['goodbye', WORDED_END],
  ['hang-up', WORDED_END],
  ['ended', WORDED_END],
  ['claim-unsupported', /^(.*?: no-source; )(.*)()$/s],
  // A supervisor's, to the model.
  ['whisper', /^()(.*)()$/s],
])

/** The phrase of any other claim is one of the agent's file. */
function isQuoted({ verdict }: CallRecord['claims'][number]): boolean {
  return verdict === 'no-source'
}

export function maskDigits(text: string): string {
  return text.replace(DIGITS, (digits) => '#'.repeat(digits.replace(/\D/g, '').length)).replace(SPOKEN_DIGITS, '###')
}

/** Facts as they may be kept: with `masked` without numbers, with `none` none. */
export function redactFacts(facts: CallerValues, policy: TranscriptPolicy): CallerValues {
  if (policy === 'full') return facts
  return policy === 'none' ? {} : (masked(facts, policy) as CallerValues)
}

/** Any JSON with its texts and numbers masked; with `none` only its keys remain. */
function masked(value: unknown, policy: TranscriptPolicy): unknown {
  if (typeof value === 'string' || typeof value === 'number') return policy === 'none' ? '…' : maskDigits(String(value))
  if (Array.isArray(value)) return value.map((entry) => masked(entry, policy))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, masked(entry, policy)]))
}
