import { exactJson } from '../../core/json.js'
import { MessageReader } from '../transport/message-reader.js'
import { noRealtimeStats } from '../transport/realtime-backend.js'
import { partsOf } from './wire.js'
import type { WirePart, ServerMessage, FunctionCall } from './wire.js'

type Unread = 'no-member' | 'no-object'
export type GeminiStats = ReturnType<typeof noGeminiStats>

/**
 * Reads the messages of one session. The base64 of a single piece of audio goes past the parser, and its part has an empty
 * text; see `audioOf`.
 */
export class GeminiReader extends MessageReader<ServerMessage, Unread> {
  constructor(stats: GeminiStats) {
    super(stats, {
      parse: parseServerMessage,
      json: exactJson,
      audioKey: 'data',
      // The removed data is audio only if exactly one part lacks its data now.
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
 * @returns the message; `no-member` if it has none of the members that are read, `no-object` if it or one of them is not
 *   an object. Fields inside the members are not checked.
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
    /** Pieces of audio in a format or at a rate that cannot be played. */
    unplayableAudio: 0,
    rateChanges: 0,
    latePieces: 0,
    toolCallsCancelled: 0,
    /** Calls with the id of one that was still open. */
    repeatedToolCalls: 0,
    /** Results for calls that are over: answered, cancelled, or of another session. */
    lateToolResults: 0,
    /** Speech that was given again before a tool call, and was dropped. */
    repeatedSpeech: 0,
    /** `interrupted` although neither the caller nor the gateway said anything. */
    phantomInterruptions: 0,
    /** Turns that ended without sound, words and tool calls, or with silence for their sound, although something was asked. */
    emptyTurns: 0,
    /** Times that the model said that it waits for more of the caller. */
    waitsForInput: 0,
    /** Messages with a preview of the caller's words, which is not read. */
    interimTranscripts: 0,
    resumesRefused: 0,
    /** Setups that were refused and sent again without transparent resumption. */
    transparentRefused: 0,
    /** Optional fields that the service refused by their names, and that are left out since. */
    wishesRefused: 0,
    /** Sessions that were made again because the service refused a text as content. */
    contentRefused: 0,
    /** Messages that were sent again because the service had not consumed them. */
    resentMessages: 0,
  }
}

const NO_CALLS: readonly FunctionCall[] = []

/** The calls of a message that can be answered: those with an id and a name. Others are counted as malformed. */
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
