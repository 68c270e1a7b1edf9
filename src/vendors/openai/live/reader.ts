import { MessageReader, eventParser } from '../../../backends/transport/message-reader.js'
import { noRealtimeStats } from '../../../backends/transport/realtime-backend.js'
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

/** Events that are known but not used. */
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
  // Events of SIP calls are sent only to observers. The gateway detects callers' DTMF digits itself.
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
    /** Number of events with words of interrupted speech. */
    lateEvents: 0,
    /** Number of texts that were longer than the service accepts at once. They were sent in parts, or cut. */
    contextSplit: 0,
    contextCut: 0,
    /** Number of ignored interruptions: the model continued until the caller heard it again. */
    interruptionsIgnored: 0,
    /** Number of results of replaced delegations: sent to the model silently, or dropped. */
    staleQuiet: 0,
    staleDropped: 0,
    /** Number of delegations that ended too late or failed. */
    delegationsGivenUp: 0,
    delegationsFailed: 0,
    /**
     * Number of delegations that the gateway does not handle: delegations of `decisions`, or in a mode that was not
     * requested.
     */
    delegationsForeign: 0,
    /** Number of tool calls that arrived after their delegation had failed. */
    lateToolCalls: 0,
  }
}

/** Checks one event. @returns `unused` for an event that is known but not read */
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
