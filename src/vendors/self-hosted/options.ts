import { z } from 'zod'
import {
  gatewayTurns,
  LONGEST,
  audio,
  fraction,
  languages,
  messageMs,
  model,
  prefixPaddingMs,
  silenceMs,
  streamSilence,
  temperature,
  transcription,
  vocabulary,
} from '../common-options.js'

// Options of servers with OpenAI's realtime API, including OpenAI's own.

/** Recognisers that accept languages and keywords (openai 7.55.0, AudioTranscription). */
export const HINTED: readonly string[] = ['gpt-transcribe', 'gpt-live-transcribe']
export const interruptResponse = z
  .boolean()
  .exactOptional()
  .describe(
    'Lets the service end its own answer when it hears the caller. false: the gateway decides by the rules of bargeIn. Default: false; true if bargeIn.backchannel is null.',
  )

/** @param defaults  default setting, used if the agent's file does not set one */
const openAiTurns = (defaults: string) =>
  z
    .discriminatedUnion(
      'by',
      [
        gatewayTurns,
        z.strictObject({
          by: z.literal('server_vad'),
          threshold: fraction.describe(
            'Threshold of the voice detection, 0 to 1; with a higher value less sound counts as speech. Default: 0.5, the default of the service.',
          ),
          prefixPaddingMs: prefixPaddingMs.describe(
            "Length of the audio before the speech that is included. Default: the service's, 300.",
          ),
          silenceMs: silenceMs.describe('Silence that ends the turn. Default: 500, the default of the service.'),
          idleTimeoutMs: z
            .int()
            .min(5000)
            .max(30_000)
            .exactOptional()
            .describe('Silence in ms before the model speaks to the caller. Default: never.'),
          interruptResponse,
        }),
        z.strictObject({
          by: z.literal('semantic_vad'),
          eagerness: z
            .enum(['low', 'medium', 'high', 'auto'])
            .exactOptional()
            .describe('Eagerness: how soon a pause ends the turn.'),
          interruptResponse,
        }),
      ],
      { error: 'must have by: gateway, by: server_vad or by: semantic_vad' },
    )
    .exactOptional()
    .describe(
      `Detector of the end of a turn. Default: ${defaults}; but the gateway for all backends of a list, if one of them does not have this detector.`,
    )

/**
 * Turn detection: by the gateway's VAD, the server's silence detection, or the meaning of the words. With the gateway's
 * VAD the backend commits the input buffer.
 */
export type OpenAiTurns = z.output<ReturnType<typeof openAiTurns>>

/** Options of OpenAI's service and of compatible servers. */
const openAiShaped = (defaults: string) => ({
  model,
  turns: openAiTurns(defaults),
  audio: audio.describe('pcmu and pcma are the two laws of G.711: 8 kHz, and a sixth of the bytes of pcm.'),
  transcription: transcription.describe('Model that transcribes the caller. null: none.'),
  noiseReduction: z
    .enum(['near_field', 'far_field'])
    .exactOptional()
    .describe('Noise reduction of the service: for a handset, or for a loudspeaker. Default: none.'),
  speed: z.number().min(0.25).max(1.5).exactOptional().describe('Speed of the voice. Default: 1.'),
  maxOutputTokens: z.int().min(1).max(4096).exactOptional().describe(LONGEST),
  messageMs,
  streamSilence,
})

/** Options of OpenAI's own service. */
export const realtimeOptions = z
  .strictObject({
    ...openAiShaped('OPENAI_TURNS'),
    languages: languages(/^[a-z]{2}$/, 'sw').describe(
      'Languages that callers speak, for gpt-transcribe and gpt-live-transcribe.',
    ),
    keywords: vocabulary.describe(
      'Words and names that callers are likely to say, for gpt-transcribe and gpt-live-transcribe.',
    ),
    contextTokens: z
      .int()
      .min(1000)
      .max(200_000)
      .exactOptional()
      .describe(
        'Maximum length of the conversation after the instructions, in tokens. Default: the limit of the model.',
      ),
    reasoningEffort: z
      .enum(['minimal', 'low', 'medium', 'high', 'xhigh'])
      .exactOptional()
      .describe('Effort of thinking, for models that reason. Default: the default of the service.'),
    parallelToolCalls: z
      .boolean()
      .exactOptional()
      .describe(
        'Lets the model call several tools at once, for models that reason. Default: the default of the service.',
      ),
    retentionRatio: fraction.describe(
      'Share of the conversation that remains if it exceeds the context. Default with contextTokens: 0.8.',
    ),
  })
  .superRefine(({ transcription: recogniser, languages: spoken, keywords }, context) => {
    if (recogniser === undefined || (recogniser !== null && HINTED.includes(recogniser))) return
    for (const [name, given] of Object.entries({ languages: spoken, keywords })) {
      if (given === undefined) continue
      context.addIssue({ code: 'custom', path: [name], message: `needs transcription: ${HINTED.join(' or ')}` })
    }
  })

/** Options of a self-hosted server. */
export const selfHostedOptions = z.strictObject({
  ...openAiShaped('REALTIME_TURNS'),
  temperature: temperature.describe(
    "Randomness of the model's words, 0 to 2, sent only in the beta dialect. The current protocol has no such option.",
  ),
})

export type OpenAiOptions = z.output<typeof realtimeOptions>
export type SelfHostedOptions = z.output<typeof selfHostedOptions>
