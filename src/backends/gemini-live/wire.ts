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
