/**
 * The part of the Gemini Live protocol that is spoken here: JSON both ways, text or binary frames alike. Field names are
 * the vendor's. Checked against the vendor's published types by test/backends/gemini-wire.test.ts.
 */

export interface WireContent {
  readonly role: 'user' | 'model'
  readonly parts: { readonly text: string }[]
}

export interface WireFunction {
  readonly name: string
  readonly description: string
  readonly parametersJsonSchema: unknown
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
  }
  readonly systemInstruction: { readonly parts: { readonly text: string }[] }
  readonly tools?: { readonly functionDeclarations: WireFunction[] }[]
  readonly realtimeInputConfig: {
    readonly automaticActivityDetection: { readonly disabled?: boolean; readonly silenceDurationMs?: number; readonly prefixPaddingMs?: number }
  }
  readonly sessionResumption: { readonly handle?: string }
  readonly contextWindowCompression?: { readonly slidingWindow: Record<string, never> }
  readonly inputAudioTranscription: Record<string, never>
  readonly outputAudioTranscription: Record<string, never>
  readonly historyConfig?: { readonly initialHistoryInClientContent: boolean }
}

export interface WireFunctionResponse {
  readonly id: string
  readonly name: string
  readonly response: { readonly output: unknown } | { readonly error: unknown }
}

/** What is sent, but for the caller's audio, whose JSON is never built as an object. */
export type ClientMessage =
  | { readonly setup: WireSetup }
  | { readonly clientContent: { readonly turns: WireContent[]; readonly turnComplete: boolean } }
  | { readonly realtimeInput: { readonly activityStart: Record<string, never> } }
  | { readonly realtimeInput: { readonly activityEnd: Record<string, never> } }
  | { readonly realtimeInput: { readonly text: string } }
  | { readonly toolResponse: { readonly functionResponses: WireFunctionResponse[] } }
  | { readonly contextUpdate: { readonly systemInstruction?: { readonly parts: { readonly text: string }[] }; readonly tools?: { readonly tools: { readonly functionDeclarations: WireFunction[] }[] } } }

/** `realtimeInput.audio`, in the two halves around its samples. */
export const AUDIO_PREFIX = '{"realtimeInput":{"audio":{"data":"'
export const AUDIO_SUFFIX = '","mimeType":"audio/pcm;rate=16000"}}}'

export interface WirePart {
  readonly text?: string
  readonly thought?: boolean
  readonly inlineData?: { readonly mimeType?: string; readonly data?: string }
}

/** What is read; any number of the members at once. */
export interface ServerMessage {
  readonly setupComplete?: object
  readonly serverContent?: {
    readonly modelTurn?: { readonly parts?: readonly WirePart[] }
    readonly interrupted?: boolean
    readonly generationComplete?: boolean
    readonly turnComplete?: boolean
    readonly turnCompleteReason?: string
    readonly inputTranscription?: { readonly text?: string; readonly finished?: boolean }
    readonly outputTranscription?: { readonly text?: string; readonly finished?: boolean }
  }
  readonly toolCall?: { readonly functionCalls?: readonly { readonly id?: string; readonly name?: string; readonly args?: unknown }[] }
  readonly toolCallCancellation?: { readonly ids?: readonly string[] }
  readonly goAway?: { readonly timeLeft?: string }
  readonly sessionResumptionUpdate?: { readonly newHandle?: string; readonly resumable?: boolean }
  readonly usageMetadata?: { readonly promptTokenCount?: number; readonly responseTokenCount?: number }
  readonly voiceActivity?: { readonly voiceActivityType?: string }
}

const MEMBERS: readonly string[] = [
  'setupComplete', 'serverContent', 'toolCall', 'toolCallCancellation', 'goAway', 'sessionResumptionUpdate', 'usageMetadata', 'voiceActivity',
]

/**
 * @returns the message; `unknown` for one with none of the members that are read, `malformed` where one of them is no
 *   object. What is inside of them is read as what it may be: anything.
 */
export function parseServerMessage(value: unknown): ServerMessage | 'unknown' | 'malformed' {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'malformed'
  let known = 0
  for (const name of MEMBERS) {
    const member = (value as Record<string, unknown>)[name]
    if (member === undefined) continue
    if (typeof member !== 'object' || member === null || Array.isArray(member)) return 'malformed'
    known++
  }
  return known > 0 ? (value) : 'unknown'
}

const NO_PARTS: readonly WirePart[] = []

/** Parts of a turn; none where the message holds something else in their place. */
export function partsOf(message: ServerMessage): readonly WirePart[] {
  const parts: unknown = message.serverContent?.modelTurn?.parts
  if (!Array.isArray(parts)) return NO_PARTS
  return parts.every(isObject) ? parts as WirePart[] : parts.filter(isObject) as WirePart[]
}

function isObject(part: unknown): boolean {
  return typeof part === 'object' && part !== null
}

/** Milliseconds of a duration such as `9.5s`; 0 for anything else: then there is no time left. */
export function durationMs(text: unknown): number {
  const match = typeof text === 'string' ? /^(\d+(?:\.\d+)?)s$/.exec(text) : null
  return match === null ? 0 : Math.round(Number(match[1]) * 1000)
}

/** Samples a second, from `audio/pcm;rate=24000`. Null for what is no PCM. */
export function rateOf(mimeType: string | undefined): number | null {
  if (mimeType === undefined || !mimeType.startsWith('audio/pcm')) return null
  const match = /;\s*rate=(\d{4,6})/.exec(mimeType)
  return match === null ? 24_000 : Number(match[1])
}
