import { z } from 'zod'
import { languageCode } from '../../call/spoken/localized-text.js'

/** Maximum number of recorded phrases of one agent. */
const RECORDED_MAX = 100

const file = z
  .string()
  .regex(/\.wav$/i, { error: 'must be a .wav file' })
  .max(200)

export const recordedPhrasesSchema = z
  .record(
    z.string().max(100),
    z.union([
      file,
      z.record(languageCode, file).refine((files) => Object.keys(files).length > 0, { error: 'has no file' }),
    ]),
  )
  .refine((phrases) => Object.keys(phrases).length <= RECORDED_MAX, { error: `has more than ${RECORDED_MAX} phrases` })

export const waitingSoundSchema = z.strictObject({
  file: file.describe('WAV file of the agents folder, 0.2 to 60 s long. It is repeated.'),
  afterMs: z
    .int()
    .min(500)
    .max(20_000)
    .default(2000)
    .describe('Time in ms that a caller waits before the sound begins.'),
  gainDb: z.int().min(-40).max(0).default(-12).describe('Gain of the sound: -12 plays the file 12 dB softer.'),
})
