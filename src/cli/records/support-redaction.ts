import type { CallRecord } from '../../call/documents/record.js'
import { maskNumber } from '../../sautikit/phone.js'
import { maskText } from '../../telemetry/redact.js'
import { shapeOf } from './journal-cut.js'

/** Redacted document. */
export interface Redacted {
  /** Number of texts that were replaced by their shape (letters by x, digits by 0). */
  texts: number
  /** Number of texts in which a phone number, a key or an address was replaced. */
  masked: number
}

/** Marks and end reasons whose detail may quote the caller, because a model or an operator wrote the detail. */
const WORDED_MARKS: ReadonlySet<string> = new Set(['ended', 'hang-up', 'forced', 'escalation', 'callback'])
const WORDED_REASONS: ReadonlySet<string> = new Set(['agent-goodbye', 'escalated', 'operator-hangup'])

/**
 * Call record for support. Times, figures, reasons of decisions and errors are unchanged. Words of people are replaced
 * by their shape, and phone numbers are masked.
 * @param withWords  true: the words are unchanged, and only numbers, keys and addresses are masked
 */
export function redactForSupport(
  record: CallRecord,
  withWords: boolean,
): { readonly record: CallRecord; readonly redacted: Redacted } {
  const redacted: Redacted = { texts: 0, masked: 0 }
  const words = (text: string): string => {
    if (withWords || text === '') return text
    redacted.texts++
    return shapeOf(text)
  }
  const allWords = <T>(value: T): T => mapped(value, words, withWords) as T
  const shaped = {
    ...record,
    from: maskNumber(record.from),
    to: maskNumber(record.to),
    endDetail: WORDED_REASONS.has(record.endReason) ? words(record.endDetail) : record.endDetail,
    transcript: record.transcript.map((entry) => ({ ...entry, text: words(entry.text) })),
    toolCalls: record.toolCalls.map((call) => ({
      ...call,
      args: allWords(call.args),
      ...(call.error === undefined ? {} : { error: call.error }),
    })),
    escalation:
      record.escalation === null
        ? null
        : {
            ...record.escalation,
            reason: words(record.escalation.reason),
            callback:
              record.escalation.callback === null
                ? null
                : {
                    ...record.escalation.callback,
                    number: maskNumber(record.escalation.callback.number),
                    note: words(record.escalation.callback.note),
                  },
          },
    timeline: record.timeline.map((mark) =>
      mark.detail === undefined || !WORDED_MARKS.has(mark.name) ? mark : { ...mark, detail: words(mark.detail) },
    ),
    stops: record.stops.map((stop) => (WORDED_MARKS.has(stop.mark) ? { ...stop, why: words(stop.why) } : stop)),
  }
  const clean = mapped(
    shaped,
    (text) => {
      const masked = maskText(text)
      if (masked !== text) redacted.masked++
      return masked
    },
    true,
  )
  return { record: clean as CallRecord, redacted }
}

/**
 * Copy of any JSON in which each string is replaced by the result of `text`. Without `keepsNumbers`, each number
 * becomes 0.
 */
function mapped(value: unknown, text: (text: string) => string, keepsNumbers: boolean): unknown {
  if (typeof value === 'string') return text(value)
  if (typeof value === 'number') return keepsNumbers ? value : 0
  if (Array.isArray(value)) return value.map((entry) => mapped(entry, text, keepsNumbers))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, mapped(entry, text, keepsNumbers)]))
}
