import type { BackendUsage } from '../../../call/backend-events.js'
import { noUsage } from '../../../call/usage.js'
import { usageNumber } from '../../../backends/watch.js'

/** `response.usage`, and the `usage` of a transcript that is charged by tokens. */
export interface WireUsage {
  readonly input_tokens?: number
  readonly output_tokens?: number
  readonly input_token_details?: {
    readonly text_tokens?: number
    readonly audio_tokens?: number
    readonly cached_tokens?: number
    readonly cached_tokens_details?: { readonly audio_tokens?: number } | null
  } | null
  readonly output_token_details?: { readonly text_tokens?: number; readonly audio_tokens?: number } | null
  /** Charged length of a transcript, in seconds. */
  readonly seconds?: number
}

/** Counts tokens. A detail that the service does not report is absent in the result; see `BackendUsage`. */
export function tokensOf(usage: WireUsage | null | undefined): Omit<BackendUsage, 'audioInMs' | 'audioOutMs'> {
  const input = usage?.input_token_details
  const output = usage?.output_token_details
  const details: Readonly<Partial<Record<keyof BackendUsage, number | undefined>>> = {
    inputTextTokens: input?.text_tokens,
    inputAudioTokens: input?.audio_tokens,
    inputCachedTokens: input?.cached_tokens,
    inputCachedAudioTokens: input?.cached_tokens_details?.audio_tokens,
    outputTextTokens: output?.text_tokens,
    outputAudioTokens: output?.audio_tokens,
    sessionSeconds: usage?.seconds,
  }
  return {
    inputTokens: usageNumber(usage?.input_tokens),
    outputTokens: usageNumber(usage?.output_tokens),
    ...Object.fromEntries(
      Object.entries(details).flatMap(([name, count]) => (count === undefined ? [] : [[name, usageNumber(count)]])),
    ),
  }
}

/** Usage of the transcription of the caller's words; the service charges it separately from responses. */
export function transcriptionUsage(model: string, usage: WireUsage): BackendUsage {
  return { ...noUsage(), ...tokensOf(usage), model }
}
