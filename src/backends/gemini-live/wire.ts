import { exactJson } from '../../core/json.js'
import { MessageReader } from '../transport/message-reader.js'
import { noRealtimeStats } from '../transport/realtime-backend.js'
import { closeFaults, speaksOfKey, speaksOfQuota } from '../transport/vendor-fault.js'
import type { WireUsage } from './usage.js'

/**
 * The part of the Gemini Live protocol that is used here: JSON both ways, in text or binary frames. Field names are
 * the vendor's. Checked against the vendor's published types by test/backends/gemini-wire.test.ts.
 */

export interface WireContent {
  readonly role: 'user' | 'model'
  readonly parts: { readonly text: string }[]
}

export interface WireFunction {
  readonly name: string
  readonly description: string
  /** Gemini's own subset (`geminiParameters`). */
  readonly parameters?: Readonly<Record<string, unknown>>
  readonly parametersJsonSchema?: unknown
  readonly behavior?: 'BLOCKING' | 'NON_BLOCKING'
}

interface WireTranscription {
  readonly languageCodes?: string[]
  readonly customVocabulary?: string[]
}

export interface WireSetup {
  readonly model: string
  readonly generationConfig: {
    readonly responseModalities: ['AUDIO']
    readonly speechConfig?: {
      readonly languageCode?: string
      readonly voiceConfig?: { readonly prebuiltVoiceConfig: { readonly voiceName: string } }
    }
    readonly maxOutputTokens?: number
    readonly temperature?: number
    readonly thinkingConfig?: { readonly thinkingLevel: 'LOW' | 'MEDIUM' | 'HIGH' }
  }
  readonly systemInstruction: { readonly parts: { readonly text: string }[] }
  readonly tools?: { readonly functionDeclarations: WireFunction[] }[]
  readonly realtimeInputConfig: {
    readonly automaticActivityDetection: {
      readonly disabled?: boolean
      readonly silenceDurationMs?: number
      readonly prefixPaddingMs?: number
    }
  }
  readonly sessionResumption: { readonly handle?: string; readonly transparent?: boolean }
  readonly contextWindowCompression?: { readonly slidingWindow: Record<string, never> }
  readonly inputAudioTranscription: WireTranscription
  readonly outputAudioTranscription: Record<string, never>
  readonly historyConfig?: { readonly initialHistoryInClientContent: boolean }
}

export interface WireFunctionResponse {
  readonly id: string
  readonly name: string
  readonly response: { readonly output: unknown } | { readonly error: unknown }
  /** Both only for calls that do not block. */
  readonly scheduling?: 'WHEN_IDLE' | 'INTERRUPT' | 'SILENT'
  readonly willContinue?: boolean
}

/** Messages that are sent, except the caller's audio, whose JSON is never built as an object. */
export type ClientMessage =
  | { readonly setup: WireSetup }
  | { readonly clientContent: { readonly turns: WireContent[]; readonly turnComplete: boolean } }
  | { readonly realtimeInput: { readonly activityStart: Record<string, never> } }
  | { readonly realtimeInput: { readonly activityEnd: Record<string, never> } }
  | { readonly realtimeInput: { readonly audioStreamEnd: true } }
  | { readonly realtimeInput: { readonly text: string } }
  | { readonly toolResponse: { readonly functionResponses: WireFunctionResponse[] } }
  | {
      readonly contextUpdate: {
        readonly systemInstruction?: { readonly parts: { readonly text: string }[] }
        readonly tools?: { readonly tools: { readonly functionDeclarations: WireFunction[] }[] }
      }
    }

/** `realtimeInput.audio`: its JSON before and after the base64 audio. */
export const AUDIO_PREFIX = '{"realtimeInput":{"audio":{"data":"'
export const AUDIO_SUFFIX = '","mimeType":"audio/pcm;rate=16000"}}}'

interface WirePart {
  readonly text?: string
  readonly thought?: boolean
  readonly inlineData?: { readonly mimeType?: string; readonly data?: string }
}

/** A tool call that can be answered: it has an id and a name. The arguments may be any value. */
export interface FunctionCall {
  readonly id: string
  readonly name: string
  readonly args: unknown
}

/** A message of the service. It may have several of these members at once. */
export interface ServerMessage {
  readonly setupComplete?: object
  readonly serverContent?: {
    readonly modelTurn?: { readonly parts?: readonly WirePart[] }
    readonly interrupted?: boolean
    readonly generationComplete?: boolean
    readonly turnComplete?: boolean
    readonly turnCompleteReason?: string
    readonly waitingForInput?: boolean
    readonly interactionStatus?: string
    readonly interimInputTranscription?: object
    readonly inputTranscription?: { readonly text?: string; readonly finished?: boolean }
    readonly outputTranscription?: { readonly text?: string; readonly finished?: boolean }
  }
  readonly toolCall?: {
    readonly functionCalls?: readonly { readonly id?: string; readonly name?: string; readonly args?: unknown }[]
  }
  readonly toolCallCancellation?: { readonly ids?: readonly string[] }
  readonly goAway?: { readonly timeLeft?: string }
  readonly sessionResumptionUpdate?: {
    readonly newHandle?: string
    readonly resumable?: boolean
    /** A 64-bit number, which Google's JSON writes as text. */
    readonly lastConsumedClientMessageIndex?: string
  }
  readonly usageMetadata?: WireUsage
  readonly voiceActivity?: { readonly voiceActivityType?: string }
  /** Known and not read: only for allowlisted projects. */
  readonly voiceActivityDetectionSignal?: object
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

type Unread = 'no-member' | 'no-object'

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

const NO_PARTS: readonly WirePart[] = []

/** The parts of a turn that are objects. */
export function partsOf(message: ServerMessage): readonly WirePart[] {
  const parts: unknown = message.serverContent?.modelTurn?.parts
  if (!Array.isArray(parts)) return NO_PARTS
  return parts.every(isObject) ? (parts as WirePart[]) : (parts.filter(isObject) as WirePart[])
}

function isObject(part: unknown): boolean {
  return typeof part === 'object' && part !== null
}

/** Milliseconds of a duration such as `9.5s`; 0 for anything else. */
export function durationMs(text: unknown): number {
  const match = typeof text === 'string' ? /^(\d+(?:\.\d+)?)s$/.exec(text) : null
  return match === null ? 0 : Math.round(Number(match[1]) * 1000)
}

/** Samples a second, from `audio/pcm;rate=24000`. Null for formats other than PCM. */
export function rateOf(mimeType: string | undefined): number | null {
  if (mimeType === undefined || !mimeType.startsWith('audio/pcm')) return null
  const match = /;\s*rate=(\d{4,6})/.exec(mimeType)
  return match === null ? 24_000 : Number(match[1])
}

/**
 * The fault of a close by the service. It has no error messages: it sends only a close code and up to 123 bytes of
 * text.
 */
export const closeFault = closeFaults((code, reason) => {
  if (speaksOfQuota(reason)) return 'quota'
  if (speaksOfKey(reason)) return 'auth'
  if (/resource.?exhausted|rate limit|too many requests/i.test(reason) || code === 1013) return 'rate_limit'
  return /deadline expired|session (duration|expired)|go ?away|aborted/i.test(reason) ? 'session_expired' : null
})

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
    /** Sessions that were made again because the service refused a text as content. */
    contentRefused: 0,
    /** Messages that were sent again because the service had not consumed them. */
    resentMessages: 0,
  }
}
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
