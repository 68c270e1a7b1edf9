import { z } from 'zod'

/** `BackendUsage`, with `figure` for each of its numbers. */
export const usageSchemaOf = (figure: z.ZodNumber) =>
  z.object({
    inputTokens: figure,
    outputTokens: figure,
    audioInMs: figure,
    audioOutMs: figure,
    model: z.string().exactOptional(),
    inputTextTokens: figure.exactOptional(),
    inputAudioTokens: figure.exactOptional(),
    inputCachedTokens: figure.exactOptional(),
    inputCachedAudioTokens: figure.exactOptional(),
    outputTextTokens: figure.exactOptional(),
    outputAudioTokens: figure.exactOptional(),
    sessionSeconds: figure.exactOptional(),
    speechCharacters: figure.exactOptional(),
  })
