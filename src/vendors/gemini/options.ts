import { z } from 'zod'
import {
  gatewayTurns,
  languages,
  maxOutputTokens,
  messageMs,
  model,
  prefixPaddingMs,
  silenceMs,
  streamSilence,
  temperature,
  vocabulary,
} from '../common-options.js'

/** Options of the live service. */
export const liveOptions = z.strictObject({
  model,
  turns: z
    .discriminatedUnion(
      'by',
      [
        gatewayTurns,
        z.strictObject({
          by: z.literal('server'),
          silenceMs,
          prefixPaddingMs: prefixPaddingMs.describe(
            'Length of speech before the turn begins. Default: the default of the service.',
          ),
        }),
      ],
      { error: 'must have by: gateway or by: server' },
    )
    .exactOptional()
    .describe('Detector of the end of a turn. Default: GEMINI_TURNS.'),
  temperature,
  maxOutputTokens,
  texts: z
    .enum(['content', 'realtime'])
    .exactOptional()
    .describe(
      'Method of sending text. realtime: for models that accept content only at the start. Default: the method that the model accepts.',
    ),
  transcription: z
    .strictObject({ languages: languages(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/, 'sw-KE'), vocabulary })
    .exactOptional()
    .describe('Hints for the transcription of the caller. Default: none.'),
  thinkingLevel: z
    .enum(['low', 'medium', 'high'])
    .exactOptional()
    .describe(
      'Effort of thinking, for models that think (…-extended-thinking). It is not sent to other models, which refuse it. Default: low.',
    ),
  compressContext: z
    .boolean()
    .exactOptional()
    .describe('Lets the service discard the oldest part of a long call. Default: true.'),
  messageMs,
  streamSilence,
})

export type GeminiOptions = z.output<typeof liveOptions>
