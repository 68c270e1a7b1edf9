import { z } from 'zod'
import {
  gatewayTurns,
  audio,
  messageMs,
  model,
  prefixPaddingMs,
  silenceMs,
  streamSilence,
  vocabulary,
} from '../common-options.js'

/** Options of xAI's voice. */
export const xaiOptions = z.strictObject({
  model,
  turns: z
    .discriminatedUnion(
      'by',
      [
        gatewayTurns,
        z.strictObject({
          by: z.literal('server_vad'),
          threshold: z
            .number()
            .min(0.1)
            .max(0.9)
            .exactOptional()
            .describe(
              'Threshold of the voice detection, 0 to 1; with a higher value less sound counts as speech. Default: 0.85, the default of the service.',
            ),
          prefixPaddingMs: prefixPaddingMs.describe(
            "Length of the audio before the speech that is included. Default: the service's, 333.",
          ),
          silenceMs,
        }),
      ],
      { error: 'must have by: gateway or by: server_vad' },
    )
    .exactOptional()
    .describe('Detector of the end of a turn. The service also interrupts its own answers. Default: the gateway.'),
  audio: audio.describe('pcmu and pcma are the two laws of G.711. Default: pcm at the rate of the leg.'),
  keywords: vocabulary.describe('Up to 100 words and names of at most 50 characters that callers are likely to say.'),
  reasoningEffort: z
    .enum(['none', 'high'])
    .exactOptional()
    .describe('Effort of thinking, for models that reason. Default: the default of the service.'),
  speed: z.number().min(0.7).max(1.5).exactOptional().describe('Speed of the voice. Default: 1.'),
  messageMs,
  streamSilence,
})

export type XaiOptions = z.output<typeof xaiOptions>
