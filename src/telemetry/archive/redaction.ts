import { DIGIT_WORDS } from '../../call/spoken-numbers.js'
import type { CallRecord, ToolCallRecord, TranscriptEntry } from '../../call/documents/record.js'

/** How much of what was said a record may hold. */
export type TranscriptPolicy = 'full' | 'masked' | 'none'

/** Four digits can be a card's end, an order, a year; three in words are a number that was read out. */
const DIGITS = /\d(?:[ .,/-]{0,2}\d)*/g
const DIGIT = `(?:${DIGIT_WORDS.join('|')})`
const SPOKEN_DIGITS = new RegExp(`\\b${DIGIT}(?:[ ,.-]+${DIGIT}){2,}\\b`, 'gi')

/**
 * The record as it may be kept. `masked`: every number that was said, in digits or read out digit by digit (English and
 * Swahili), is `#`, and so are those in the arguments of tools and in the reason of an escalation. `none`: no words of
 * anybody, and only the names of tools' arguments.
 */
export function redactRecord(record: CallRecord, policy: TranscriptPolicy): CallRecord {
  if (policy === 'full') return record
  const text = (words: string): string => (policy === 'none' ? '' : maskDigits(words))
  return {
    ...record,
    transcript:
      policy === 'none'
        ? []
        : record.transcript.map((entry): TranscriptEntry => ({ ...entry, text: text(entry.text) })),
    toolCalls: record.toolCalls.map((call): ToolCallRecord => ({
      ...call,
      args: masked(call.args, policy) as ToolCallRecord['args'],
    })),
    escalation: record.escalation === null ? null : { ...record.escalation, reason: text(record.escalation.reason) },
  }
}

export function maskDigits(text: string): string {
  return text.replace(DIGITS, (digits) => '#'.repeat(digits.replace(/\D/g, '').length)).replace(SPOKEN_DIGITS, '###')
}

/** Any JSON with its texts and numbers masked; with `none` only its keys remain. */
function masked(value: unknown, policy: TranscriptPolicy): unknown {
  if (typeof value === 'string') return policy === 'none' ? '…' : maskDigits(value)
  if (typeof value === 'number') return policy === 'none' ? '…' : value
  if (Array.isArray(value)) return value.map((entry) => masked(entry, policy))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, masked(entry, policy)]))
}
