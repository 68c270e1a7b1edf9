import { MessageReader, eventParser } from '../../../backends/transport/message-reader.js'
import { noRealtimeStats } from '../../../backends/transport/realtime-backend.js'
import type { ServerEvent } from './wire.js'

type Unread = 'ignored' | 'hosted-mcp' | 'sip' | 'warning'
export type OpenAiStats = ReturnType<typeof noOpenAiStats>

/** Reads the messages of one session. */
export class EventReader extends MessageReader<ServerEvent, Unread> {
  constructor(stats: OpenAiStats) {
    super(stats, {
      parse: parseServerEvent,
      audioKey: 'delta',
      audioText: (event) => (event.type === 'response.output_audio.delta' ? event.delta : null),
      unread: (why) => {
        if (why === 'hosted-mcp') stats.hostedMcpEvents++
        else if (why === 'sip') stats.sipEvents++
        else if (why === 'warning') stats.serviceWarnings++
      },
    })
  }
}

/** Current names of the events that the beta named differently. */
const RENAMED: Readonly<Record<string, string>> = {
  'response.audio.delta': 'response.output_audio.delta',
  'response.audio.done': 'response.output_audio.done',
  'response.audio_transcript.delta': 'response.output_audio_transcript.delta',
  'response.audio_transcript.done': 'response.output_audio_transcript.done',
  'response.text.delta': 'response.output_text.delta',
  'response.text.done': 'response.output_text.done',
  'conversation.item.created': 'conversation.item.added',
}

/** Events that are known but not read, because other events carry their information. */
const IGNORED: ReadonlySet<string> = new Set([
  'conversation.created',
  'conversation.item.deleted',
  'conversation.item.done',
  'conversation.item.input_audio_transcription.segment',
  'conversation.item.retrieved',
  'conversation.item.truncated',
  'input_audio_buffer.cleared',
  'input_audio_buffer.committed',
  'input_audio_buffer.timeout_triggered',
  // Keep-alive message of xAI.
  'ping',
  'response.content_part.added',
  'response.content_part.done',
  'response.function_call_arguments.delta',
])

/**
 * Events of tools that the service runs itself, on servers of the Model Context Protocol. The gateway configures no
 * such tools.
 */
const HOSTED_MCP = /^(?:mcp_list_tools|response\.mcp_call(?:_arguments)?)\./

/** Events that only calls over SIP or WebRTC have. */
const SIP = /^(?:output_audio_buffer\.|input_audio_buffer\.dtmf_event_received$)/

const DELTA = { item_id: 'string', delta: 'string' } as const

/** Checks one event, and gives an event of the beta its current name. */
export const parseServerEvent = eventParser<ServerEvent, Unread>(
  {
    'session.created': {},
    'session.updated': {},
    'input_audio_buffer.speech_started': {},
    'input_audio_buffer.speech_stopped': {},
    'conversation.item.added': { item: 'object' },
    'conversation.item.input_audio_transcription.delta': { item_id: 'string' },
    'conversation.item.input_audio_transcription.completed': { item_id: 'string', transcript: 'string' },
    'conversation.item.input_audio_transcription.failed': { item_id: 'string' },
    'response.created': { response: 'object' },
    'response.done': { response: 'object' },
    'response.output_item.added': { item: 'object' },
    'response.output_item.done': { item: 'object' },
    'response.output_audio.delta': DELTA,
    'response.output_audio.done': { item_id: 'string' },
    'response.output_audio_transcript.delta': DELTA,
    'response.output_audio_transcript.done': { item_id: 'string', transcript: 'string' },
    'response.output_text.delta': DELTA,
    'response.output_text.done': { item_id: 'string', text: 'string' },
    'response.function_call_arguments.done': { call_id: 'string', arguments: 'string' },
    'rate_limits.updated': { rate_limits: 'object' },
    error: { error: 'object' },
  },
  (type) => {
    if (IGNORED.has(type)) return 'ignored'
    if (type === 'warning') return 'warning'
    return HOSTED_MCP.test(type) ? 'hosted-mcp' : SIP.test(type) ? 'sip' : 'unknown'
  },
  RENAMED,
)

/** Counters of one session; plain fields. */
export function noOpenAiStats() {
  return {
    ...noRealtimeStats(),
    /** Number of events of hosted MCP tools and of SIP calls; these events are not read. */
    hostedMcpEvents: 0,
    sipEvents: 0,
    /** Number of warnings about an omitted option, from services that send warnings (Azure Voice Live). */
    serviceWarnings: 0,
    lateEvents: 0,
    toolCallsGivenUp: 0,
    /** Number of refusals of `response.create` because another response was running. */
    createRefusals: 0,
    /** Number of responses that completed without sound, words and tool calls, or with only silence. */
    emptyResponses: 0,
    /** Number of answers that the service ended early. */
    answersCut: 0,
    /** Number of pieces of speech that were dropped, because the model repeated them before a tool call. */
    repeatedSpeech: 0,
    /** Number of dropped answers to a backchannel during an answer that the caller still heard. */
    backchannelAnswers: 0,
    /** Number of results for tool calls that are not open: answered, dropped, or from another session. */
    lateToolResults: 0,
    races: 0,
    /** Number of speed changes that the service refused. */
    speedRefusals: 0,
    /** Number of items that a server did not delete. */
    forgetRefusals: 0,
    /** Number of responses whose end the server did not report. */
    endsMissing: 0,
    /** Number of output rate changes by the server. */
    rateChanges: 0,
  }
}
