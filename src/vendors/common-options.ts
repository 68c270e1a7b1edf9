import { z } from 'zod'

// Options that several services of an agent's backends share. If several services of a cascade's part have an option
// with one name, they use one schema.

export const model = z
  .string()
  .regex(/^\S{1,200}$/, { error: 'must be the name of a model, without spaces' })
  .exactOptional()
  .describe('Name of the model at the service. Default: from the settings.')
export const messageMs = z
  .int()
  .min(20)
  .max(100)
  .exactOptional()
  .describe('Length of the caller audio in one message, in milliseconds. Default: BACKEND_MESSAGE_MS.')
export const streamSilence = z
  .boolean()
  .exactOptional()
  .describe(
    'Also sends the silence between turns to a service that detects turns. Default: BACKEND_STREAM_SILENCE; always true with idleTimeoutMs.',
  )
export const temperature = z
  .number()
  .min(0)
  .max(2)
  .exactOptional()
  .describe("Randomness of the model's words, 0 to 2. Default: the default of the service.")
export const LONGEST = "Maximum length of an answer, in tokens. Default: the service's."
export const maxOutputTokens = z.int().min(1).max(65_536).exactOptional().describe(LONGEST)
/** Options of `turns` if the gateway detects the turns. */
export const gatewayTurns = z.strictObject({
  by: z.literal('gateway').describe('Detector of turns: the gateway, or a method of the service.'),
})
/** Recogniser of the caller's words; null for no recogniser. */
export const transcription = z
  .string()
  .regex(/^\S{1,200}$/, { error: 'must be the name of a model, or null' })
  .nullable()
  .exactOptional()

/** @param codes  description of the codes' form, for the error message */
export const languages = (form: RegExp, codes: string) =>
  z
    .array(z.string().regex(form, { error: `must be a language code such as ${codes}` }))
    .min(1)
    .max(10)
    .exactOptional()
    .describe('Languages that callers speak. Default: the languages of the agent.')
export const vocabulary = z
  .array(z.string().min(1).max(100))
  .min(1)
  .max(100)
  .exactOptional()
  .describe('Words and names that callers are likely to say. Default: none.')

export const silenceMs = z
  .int()
  .min(100)
  .max(5000)
  .exactOptional()
  .describe('Silence that ends the turn. Default: the default of the service.')
/** Audio before the start of a turn that is included in the turn, in milliseconds. */
export const prefixPaddingMs = z.int().min(0).max(2000).exactOptional()
/** Schema of a threshold or a share, 0 to 1. */
export const fraction = z.number().min(0).max(1).exactOptional()
export const locale = z
  .string()
  .regex(/^[a-z]{2,3}-[A-Z]{2}$/, { error: 'must be a language and a region, such as sw-TZ' })
/** Audio formats: PCM at the service's or the leg's rate, and the two encodings of G.711. */
export const audio = z.enum(['pcm', 'pcmu', 'pcma']).exactOptional()

// Options of a cascade's services.
export const timeoutMs = z
  .int()
  .min(500)
  .max(60_000)
  .exactOptional()
  .describe('Maximum time in ms without data from the service.')
export const context = z.string().max(2000).exactOptional().describe('Subject of the calls. Default: none.')
export const locales = z
  .array(locale)
  .min(1)
  .max(10)
  .exactOptional()
  .describe("Regions of the callers' languages, such as sw-TZ. Default: sw-KE and en-KE.")
export const voice = z
  .string()
  .min(1)
  .max(200)
  .exactOptional()
  .describe("Name of a voice, in place of the agent's voice. Default: the agent's voice.")
export const speed = z
  .number()
  .min(0.25)
  .max(4)
  .exactOptional()
  .describe('Factor of the speed. A value outside the range of the service is limited to this range (docs/VENDORS.md).')
const vendorId = z.string().regex(/^[\w-]{1,100}$/, { error: 'must be an id of 1 to 100 letters, digits, _ and -' })
export const dictionary = z
  .strictObject({
    id: vendorId.describe('Id of the dictionary in your account.'),
    version: vendorId
      .exactOptional()
      .describe('Version of the dictionary. It is required if the service has versions.'),
  })
  .exactOptional()
  .describe('Pronunciation dictionary of the vendor, stored in your account there. Default: none.')
