import { MessageReader, eventParser } from '../transport/message-reader.js'
import { noRealtimeStats } from '../transport/realtime-backend.js'
import type { ServerEvent } from './wire.js'
export type LiveStats = ReturnType<typeof noLiveStats>

/** Reads the messages of one session. */
export class LiveReader extends MessageReader<ServerEvent, 'unused'> {
  constructor(stats: LiveStats) {
    super(stats, {
      parse: parseLiveEvent,
      audioKey: 'delta',
      audioText: (event) => (event.type === 'session.output_audio.delta' ? event.delta : null),
    })
  }
}

const WORDS = { delta: 'string', start_ms: 'number', end_ms: 'number' } as const

/** Events that are known, and that nothing here needs. */
const UNUSED = new Set([
  'session.updated',
  'session.instructions.appended',
  'session.thinking.appended',
  'session.commentary.appended',
  'session.input_audio.muted',
  'session.input_audio.unmuted',
  'session.input_audio.append',
  'session.output_audio.fixture.playing',
  'session.output_audio.fixture.played',
  'decision.event',
  'decision.item.created',
  'decision.item.deleted',
  'info',
  // Events of SIP calls: they go to observers only. Digits of our callers come from the gateway.
  'transport.dtmf.received',
  'transport.dtmf.send',
  'transport.dtmf.sent',
  'transport.ringing',
  'transport.answered',
  'transport.failed',
])

/** Counters of one session; plain fields. */
export function noLiveStats() {
  return {
    ...noRealtimeStats(),
    /** Words of speech that the caller had interrupted. */
    lateEvents: 0,
    /** Texts that were longer than the service takes at once: sent in parts, or cut. */
    contextSplit: 0,
    contextCut: 0,
    /** The model spoke on for so long after an interruption that the caller hears it again. */
    interruptionsIgnored: 0,
    /** Results of delegations that a newer one had replaced: given to the model silently, or dropped. */
    staleQuiet: 0,
    staleDropped: 0,
    /** Delegations that did not end in time, or failed. */
    delegationsGivenUp: 0,
    delegationsFailed: 0,
    /** Delegations for somebody else: `decisions`, or not the mode that was asked for. */
    delegationsForeign: 0,
    /** Tool calls that came after their delegation was given up. */
    lateToolCalls: 0,
  }
}

/** Checks one event. `unused`: it is known and not read. */
export const parseLiveEvent = eventParser<ServerEvent, 'unused'>(
  {
    'session.started': { session: 'object' },
    'session.output_audio.delta': { delta: 'string' },
    'session.input_transcript.delta': WORDS,
    'session.output_transcript.delta': WORDS,
    'session.delegation.created': { delegation: 'object' },
    'response.event': { event: 'object' },
    'session.usage.updated': { usage: 'object' },
    'session.closed': { reason: 'string', usage: 'object' },
    error: { error: 'object' },
  },
  (type) => (UNUSED.has(type) ? 'unused' : 'unknown'),
)
