import type { EscalationPacket } from '../../call/events.js'
import type { CallRecord } from '../../call/record.js'
import type { HumanOutcome } from '../call-options.js'
import type { CallerLatency } from '../caller-latency.js'

/** A line of the conversation as a report shows it; the carrier's own words are those of Say verbs. */
export interface SpokenLine {
  readonly role: 'caller' | 'agent' | 'carrier'
  readonly text: string
  /** Milliseconds since the stream opened. */
  readonly startMs: number
  readonly endMs: number
  readonly interrupted?: boolean
}

/** One call of a scenario, as far as it can be seen from outside: what the expectations are held against. */
export interface ObservedCall {
  readonly callSid: string
  /** The gateway's record; null when it has none, or was not to be reached. */
  readonly record: CallRecord | null
  /** What the human was given; null when nobody was asked for. */
  readonly packet: EscalationPacket | null
  readonly lines: readonly SpokenLine[]
  readonly dials: readonly { readonly outcome: HumanOutcome }[]
  /** Measured where the caller hears. */
  readonly callerHeard: CallerLatency
  /** From the webhook to the end. */
  readonly durationMs: number
  readonly ended: string
  /** What a real carrier would have choked on. */
  readonly complaints: readonly string[]
  /** The call did not end by itself within the scenario's time; null when it did. */
  readonly overdue: string | null
}

/** The transcript of a record with what the carrier said besides, in order. */
export function linesOf(record: CallRecord | null, carrier: readonly SpokenLine[]): SpokenLine[] {
  const lines: SpokenLine[] = (record?.transcript ?? []).map(({ role, text, startMs, endMs, interrupted }) => ({
    role, text, startMs, endMs, ...(interrupted === true ? { interrupted } : {}),
  }))
  return [...lines, ...carrier].sort((a, b) => a.startMs - b.startMs)
}
