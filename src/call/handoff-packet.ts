import { TRANSCRIPT_ENTRIES_MAX } from '../core/limits.js'
import type { CallKernel } from './call-kernel.js'
import { asSaid } from './call-log.js'
import type { EscalationPacket } from './documents/handoff.js'

/**
 * Returns the call's data for a human. In a call back, the packet includes the person's data only after the person has
 * confirmed that the earlier call was theirs.
 */
export function handoffPacket(call: CallKernel, reason: string, summary: string): EscalationPacket {
  const { options, log, person, stages } = call
  const { unconfirmed } = person
  return {
    version: 1,
    callSid: options.callSid,
    agent: options.agent,
    language: call.language.now,
    reason,
    summary,
    identity: person.identity,
    tried: unconfirmed === null ? log.toolCalls.map(({ record: { name, ok, args } }) => ({ name, ok, args })) : [],
    ...(stages === null || unconfirmed !== null ? {} : stages.left),
    transcript: asSaid([...log.transcript.slice(unconfirmed ?? 0), ...call.transcript.open]).slice(
      -TRANSCRIPT_ENTRIES_MAX,
    ),
    // This only formats a given time; it does not read a clock.
    at: new Date(call.nowMs + options.wallOffsetMs).toISOString(),
  }
}
