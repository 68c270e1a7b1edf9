import type { Clock } from '../../core/clock.js'

/** One of the three services. */
export interface StageOptions {
  /** Up to and with the version: `http://10.0.0.5:8000/v1`. */
  readonly baseUrl: string
  /** Null or missing: no `Authorization` header. Never shown. */
  readonly apiKey?: string | null
  readonly model: string
  /** How long it may be silent: until its first byte, and between two pieces of its answer. */
  readonly timeoutMs?: number
}

/** Plain data (but for the clock). */
export interface CascadeOptions {
  readonly stt: StageOptions & {
    /** Words that are likely: names of products, for instance. */
    readonly prompt?: string
  }
  readonly llm: StageOptions & {
    readonly temperature?: number
    readonly maxTokens?: number
  }
  readonly tts: StageOptions & {
    /** For agents that name none. */
    readonly voice?: string
    readonly speed?: number
    /** Rate of raw samples; 24,000 when not given. A WAV header says its own. */
    readonly sampleRateHz?: number
  }
  /** In metrics and records; `cascade` when not given. */
  readonly name?: string
  /** Ask each service for its models when the call begins, so that a wrong key is found then; true when not given. */
  readonly probe?: boolean
  /** What the recogniser is known to make of noise; compared in lower case without punctuation. */
  readonly artefacts?: readonly string[]
  /** `performance.now` when not given. */
  readonly nowMs?: Clock
}

/** What Whisper writes when it hears nothing; it was trained on subtitles. */
export const ARTEFACTS: readonly string[] = [
  'thank you', 'thanks for watching', 'thank you for watching', 'you', 'bye', 'subtitles by the amaraorg community', 'music', 'applause',
]
/**
 * Speech that goes on is given to the recogniser in pieces too, only to learn whether it is understood: the first after this much of
 * it, each other one after the second.
 */
export const LISTEN_IN_FIRST_MS = 4000
export const LISTEN_IN_EVERY_MS = 4000
/** Turns with less voice than this are noise. */
export const UTTERANCE_MS_MIN = 250
export const STT_TIMEOUT_MS = 10_000
export const LLM_TIMEOUT_MS = 8000
export const TTS_TIMEOUT_MS = 5000
export const PROBE_TIMEOUT_MS = 2000
export const TTS_RATE_HZ = 24_000
