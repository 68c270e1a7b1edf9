import { TRANSCRIPT_ENTRIES_MAX } from '../core/limits.js'
import type { CallKernel } from './call-kernel.js'
import { asSaid } from './call-log.js'
import type { EscalationPacket } from './documents/handoff.js'

/**
 * Returns the call's data for a human. In a call back, the packet includes the earlier call only after the person on the
 * line was given it.
 */
export function handoffPacket(call: CallKernel, reason: string, summary: string): EscalationPacket {
  const { options, person, stages } = call
  const { toolCalls, transcript } = person.told
  return {
    version: 1,
    callSid: options.callSid,
    agent: options.agent,
    language: call.language.now,
    reason,
    summary,
    identity: person.identity,
    tried: toolCalls.map(({ record: { name, ok, args } }) => ({ name, ok, args })),
    ...(stages === null ? {} : stages.left),
    transcript: asSaid([...transcript, ...call.transcript.open]).slice(-TRANSCRIPT_ENTRIES_MAX),
    // This only formats a given time; it does not read a clock.
    at: new Date(call.nowMs + options.wallOffsetMs).toISOString(),
  }
}
