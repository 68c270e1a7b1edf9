import { z } from 'zod'
import {
  gatewayTurns,
  audio,
  fraction,
  locale,
  maxOutputTokens,
  messageMs,
  model,
  prefixPaddingMs,
  silenceMs,
  streamSilence,
  transcription,
  vocabulary,
} from '../common-options.js'
import { interruptResponse } from '../self-hosted/options.js'

/** Recogniser that supports all of Azure's locales, and several locales in one session. */
export const AZURE_SPEECH = 'azure-speech'
/** Maximum number of languages that the recogniser distinguishes in one session. */
export const LOCALES_MAX = 10
export const USUAL_TURNS = 'azure_semantic_vad_multilingual'

const heard = {
  threshold: fraction.describe(
    'Threshold of the voice detection, 0 to 1; with a higher value less sound counts as speech. Default: the default of the service.',
  ),
  prefixPaddingMs: prefixPaddingMs.describe(
    "Length of the audio before the speech that is included. Default: the service's.",
  ),
  silenceMs,
}

const turns = z.discriminatedUnion(
  'by',
  [
    gatewayTurns,
    z.strictObject({ by: z.literal('server_vad'), ...heard, interruptResponse }),
    z.strictObject({
      by: z.enum(['azure_semantic_vad', 'azure_semantic_vad_en', 'azure_semantic_vad_multilingual']),
      ...heard,
      speechMs: prefixPaddingMs.describe(
        'Length of speech before the turn begins. Default: the default of the service.',
      ),
      endOfUtterance: z
        .strictObject({
          level: z
            .enum(['low', 'medium', 'high', 'default'])
            .exactOptional()
            .describe('Required certainty that the sentence is finished. Default: default.'),
          timeoutMs: z
            .int()
            .min(100)
            .max(10_000)
            .exactOptional()
            .describe('Maximum wait for the rest of a sentence. Default: the default of the service.'),
        })
        .exactOptional()
        .describe(
          'Waits while the sentence is unfinished. Models that hear audio directly do not support it. Default: none.',
        ),
      interruptResponse,
    }),
  ],
  {
    error:
      'must have by: gateway, server_vad, azure_semantic_vad, azure_semantic_vad_en or azure_semantic_vad_multilingual',
  },
)

/** An agent's options. */
export const azureVoiceLiveOptions = z.strictObject({
  model,
  maxOutputTokens,
  messageMs,
  streamSilence,
  turns: turns
    .exactOptional()
    .describe(
      `Detector of the end of a turn. Default: ${USUAL_TURNS}; but the gateway for all backends of a list, if one of them does not have this detector.`,
    ),
  audio: audio.describe(
    'pcm has the rate of the leg, so that nothing is resampled. pcmu and pcma are the two laws of G.711. Default: pcm.',
  ),
  transcription: transcription.describe(`Recogniser of the caller's words. null: none. Default: ${AZURE_SPEECH}.`),
  locales: z
    .array(locale)
    .min(1)
    .max(LOCALES_MAX)
    .exactOptional()
    .describe(
      `Regions of the callers' languages, for ${AZURE_SPEECH}. Default: the agent's languages. sw and en without a region become sw-KE and en-KE.`,
    ),
  phrases: vocabulary.describe(`Words and names that callers are likely to say, for ${AZURE_SPEECH}.`),
  noiseReduction: z
    .enum(['azure_deep_noise_suppression', 'near_field', 'far_field'])
    .exactOptional()
    .describe('Noise reduction of the service. Default: none.'),
  echoCancellation: z
    .boolean()
    .exactOptional()
    .describe(
      "Lets the service remove the agent's own voice from the caller's audio. Silence is then sent too. Default: false.",
    ),
  speed: z.number().min(0.5).max(1.5).exactOptional().describe('Speed of a voice of Azure Speech. Default: 1.'),
  style: z
    .string()
    .regex(/^[\w-]{1,50}$/, { error: 'must be the name of a style' })
    .exactOptional()
    .describe('Speaking style of a voice of Azure Speech, if it has styles. Default: none.'),
  temperature: fraction.describe("Randomness of the model's words, 0 to 1. Default: 0.7, the default of the service."),
  reasoningEffort: z
    .enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh'])
    .exactOptional()
    .describe('Effort of thinking, for models that reason. Default: the default of the service.'),
})

export type AzureVoiceLiveOptions = z.output<typeof azureVoiceLiveOptions>
