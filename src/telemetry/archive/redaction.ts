import type { CallerValues } from '../../call/caller-data.js'
import { DIGIT_WORDS } from '../../call/spoken/spoken-numbers.js'
import type { Handoff } from '../../call/documents/handoff.js'
import type { CallRecord } from '../../call/documents/record.js'

/** Part of the conversation that a record may contain. */
export type TranscriptPolicy = 'full' | 'masked' | 'none'

/** Numbers in digits. All digits are masked, because even four of them may be the end of a card number. */
const DIGITS = /\d(?:[ .,/-]{0,2}\d)*/g
const DIGIT = `(?:${DIGIT_WORDS.join('|')})`
const SPOKEN_DIGITS = new RegExp(`\\b${DIGIT}(?:[ ,.-]+${DIGIT}){2,}\\b`, 'gi')

/**
 * Record in the form in which it may be stored. `masked`: each number becomes `#`, if it is in digits or was read out
 * digit by digit (English and Swahili). This applies to the transcript, arguments of tools, texts of models and facts.
 * `none`: all words are removed; arguments and facts keep only their names.
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
 * Handoff packet in the form in which it may be stored after the call. Its words are removed if `keepsWords` is false
 * or the policy is `none`. A call back keeps its number. Its note is removed only with `none`.
 * @param keepsWords false: the caller wants the words of the call removed
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

/** Order of a call back in the form in which it may be stored. With `none`, its note is removed. */
export function keptCallBack<Order extends { readonly note: string }>(order: Order, policy: TranscriptPolicy): Order {
  return policy === 'none' ? { ...order, note: '' } : order
}

/** End reasons whose detail contains words of a model, which may quote the caller. */
export const WORDED_BY_A_MODEL: ReadonlySet<CallRecord['endReason']> = new Set(['agent-goodbye', 'escalated'])

/** Pattern of the detail of an end: the reason, the words, and the figures of the call. Only the words are redacted. */
const WORDED_END = new RegExp(`^((?:${[...WORDED_BY_A_MODEL].join('|')}): )(.*?)((?:; \\S+ ms of stream.*)?)$`, 's')
/**
 * Patterns of details that contain words of the call, by the mark's name. Each pattern has three groups: the text
 * before the words, the words, and the text after the words.
 */
const WORDED_MARKS: ReadonlyMap<string, RegExp> = new Map([
  ['goodbye', WORDED_END],
  ['hang-up', WORDED_END],
  ['ended', WORDED_END],
  ['claim-unsupported', /^(.*?: no-source; )(.*)()$/s],
  // Words that a supervisor sent to the model.
  ['whisper', /^()(.*)()$/s],
])

/** True if a claim's phrase is a quote from the call. The phrases of all other claims come from the agent's file. */
function isQuoted({ verdict }: CallRecord['claims'][number]): boolean {
  return verdict === 'no-source'
}

export function maskDigits(text: string): string {
  return text.replace(DIGITS, (digits) => '#'.repeat(digits.replace(/\D/g, '').length)).replace(SPOKEN_DIGITS, '###')
}

/** Facts in the form in which they may be stored: without numbers for `masked`, and empty for `none`. */
export function redactFacts(facts: CallerValues, policy: TranscriptPolicy): CallerValues {
  if (policy === 'full') return facts
  return policy === 'none' ? {} : (masked(facts, policy) as CallerValues)
}

/** Masks texts and numbers in any JSON. With `none`, only the keys remain. */
function masked(value: unknown, policy: TranscriptPolicy): unknown {
  if (typeof value === 'string' || typeof value === 'number') return policy === 'none' ? '…' : maskDigits(String(value))
  if (Array.isArray(value)) return value.map((entry) => masked(entry, policy))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, masked(entry, policy)]))
}
