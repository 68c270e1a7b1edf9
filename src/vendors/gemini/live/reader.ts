import { exactJson } from '../../../core/json.js'
import { MessageReader } from '../../../backends/transport/message-reader.js'
import { noRealtimeStats } from '../../../backends/transport/realtime-backend.js'
import { partsOf } from './wire.js'
import type { WirePart, ServerMessage, FunctionCall } from './wire.js'

type Unread = 'no-member' | 'no-object'
export type GeminiStats = ReturnType<typeof noGeminiStats>

/**
 * Reads the messages of one session. If a message has exactly one piece of audio, the base64 of this audio bypasses the
 * parser. The parsed part then has an empty text; see `audioOf`.
 */
export class GeminiReader extends MessageReader<ServerMessage, Unread> {
  constructor(stats: GeminiStats) {
    super(stats, {
      parse: parseServerMessage,
      json: exactJson,
      audioKey: 'data',
      // The data that was removed before parsing is audio only if exactly one part has no data now.
      audioText: (message) => (partsOf(message).filter(hasNoData).length === 1 ? '' : null),
      unread: (why) => {
        if (why === 'no-member') stats.unknownMessages++
        else stats.malformedMessages++
      },
    })
  }
}

function hasNoData({ inlineData }: WirePart): boolean {
  return inlineData?.data === ''
}

const MEMBERS: readonly string[] = [
  'setupComplete',
  'serverContent',
  'toolCall',
  'toolCallCancellation',
  'goAway',
  'sessionResumptionUpdate',
  'usageMetadata',
  'voiceActivity',
  'voiceActivityDetectionSignal',
]

/**
 * @returns the message; `no-object` if the message or a member is not an object; `no-member` if all members are
 * unknown. Fields inside the members are not checked
 */
export function parseServerMessage(value: unknown): ServerMessage | Unread {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'no-object'
  let known = 0
  for (const name of MEMBERS) {
    const member = (value as Record<string, unknown>)[name]
    if (member === undefined) continue
    if (typeof member !== 'object' || member === null || Array.isArray(member)) return 'no-object'
    known++
  }
  return known > 0 ? value : 'no-member'
}

/** Counters of one session; plain fields. */
export function noGeminiStats() {
  return {
    ...noRealtimeStats(),
    unknownMessages: 0,
    /** Number of audio pieces whose format or rate cannot be played. */
    unplayableAudio: 0,
    rateChanges: 0,
    latePieces: 0,
    toolCallsCancelled: 0,
    /** Number of tool calls that repeat the id of an open tool call. */
    repeatedToolCalls: 0,
    /** Number of results for tool calls that are not open: answered, cancelled, or from another session. */
    lateToolResults: 0,
    /** Number of pieces of speech that were dropped, because the model repeated them before a tool call. */
    repeatedSpeech: 0,
    /** Number of `interrupted` messages although neither the caller nor the gateway sent input. */
    phantomInterruptions: 0,
    /** Number of requested turns that ended without sound, words and tool calls, or with only silence. */
    emptyTurns: 0,
    /** Number of the model's reports that it waits for more of the caller's words. */
    waitsForInput: 0,
    /** Number of messages with a preview of the caller's words. The preview is not used. */
    interimTranscripts: 0,
    resumesRefused: 0,
    /** Number of setups that were refused and sent again without transparent resumption. */
    transparentRefused: 0,
    /** Number of sessions that were connected again because the service refused a text as content. */
    contentRefused: 0,
    /** Number of messages sent again because the service had not consumed them. */
    resentMessages: 0,
  }
}

const NO_CALLS: readonly FunctionCall[] = []

/** @returns the tool calls of a message that have an id and a name. All other tool calls are counted as malformed */
export function functionCallsOf(message: ServerMessage, stats: GeminiStats): readonly FunctionCall[] {
  const wire = message.toolCall?.functionCalls
  if (!Array.isArray(wire)) return NO_CALLS
  return (wire as readonly unknown[]).flatMap((value) => {
    const call = value as { readonly id?: unknown; readonly name?: unknown; readonly args?: unknown } | null
    if (typeof call?.id === 'string' && typeof call.name === 'string')
      return [{ id: call.id, name: call.name, args: call.args }]
    stats.malformedMessages++
    return []
  })
}
