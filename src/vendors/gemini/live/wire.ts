import { closeFaults, speaksOfKey, speaksOfQuota } from '../../../backends/transport/vendor-fault.js'
import type { WireUsage } from './usage.js'

/**
 * The used part of the Gemini Live protocol: JSON both ways, in text or binary frames, in the vendor's field names.
 * test/backends/gemini-wire.test.ts checks it against the vendor's published types.
 */

export interface WireContent {
  readonly role: 'user' | 'model'
  readonly parts: { readonly text: string }[]
}

export interface WireFunction {
  readonly name: string
  readonly description: string
  /** Schema in Gemini's own subset (`geminiParameters`). */
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
  /** Set only for tool calls that do not block. */
  readonly scheduling?: 'WHEN_IDLE' | 'INTERRUPT' | 'SILENT'
  readonly willContinue?: boolean
}

/** Messages to the service, except the caller's audio. The JSON of caller audio is never built as an object. */
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

/** JSON of `realtimeInput.audio` before and after the base64 audio. */
export const AUDIO_PREFIX = '{"realtimeInput":{"audio":{"data":"'
export const AUDIO_SUFFIX = '","mimeType":"audio/pcm;rate=16000"}}}'

export interface WirePart {
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

/** A message of the service. A message may have several of these members. */
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
    /** A 64-bit number; Google's JSON writes 64-bit numbers as text. */
    readonly lastConsumedClientMessageIndex?: string
  }
  readonly usageMetadata?: WireUsage
  readonly voiceActivity?: { readonly voiceActivityType?: string }
  /** Member that is known but not read, because only allowlisted projects receive it. */
  readonly voiceActivityDetectionSignal?: object
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

/** @returns the milliseconds of a duration such as `9.5s`; 0 if the text is not a duration */
export function durationMs(text: unknown): number {
  const match = typeof text === 'string' ? /^(\d+(?:\.\d+)?)s$/.exec(text) : null
  return match === null ? 0 : Math.round(Number(match[1]) * 1000)
}

/** @returns samples per second from `audio/pcm;rate=24000`; null for formats other than PCM */
export function rateOf(mimeType: string | undefined): number | null {
  if (mimeType === undefined || !mimeType.startsWith('audio/pcm')) return null
  const match = /;\s*rate=(\d{4,6})/.exec(mimeType)
  return match === null ? 24_000 : Number(match[1])
}

/**
 * Converts a close by the service to a fault. The service sends no error messages, only a close code and up to 123
 * bytes of text.
 */
export const closeFault = closeFaults((code, reason) => {
  if (speaksOfQuota(reason)) return 'quota'
  if (speaksOfKey(reason)) return 'auth'
  if (/resource.?exhausted|rate limit|too many requests/i.test(reason) || code === 1013) return 'rate_limit'
  return /deadline expired|session (duration|expired)|go ?away|aborted/i.test(reason) ? 'session_expired' : null
})
