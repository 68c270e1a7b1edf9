import { z } from 'zod'
import { SOCKET_OR_HTTP, apiKey, modelName, optional } from '../../core/setting.js'
import { vendor } from '../vendor.js'

// Plain facts about Azure Voice Live: https://learn.microsoft.com/azure/ai-services/speech-service/voice-live, and the
// types of @azure/ai-voicelive 1.1.0.

export const AZURE_VOICE_LIVE = 'azure-voice-live'

export const azureVoiceLive = vendor({
  folder: 'azure-voice-live',
  title: 'Azure Voice Live',
  settings: {
    azureVoiceLiveUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: 'The address of the Azure resource for the backend azure-voice-live, such as https://RESOURCE.services.ai.azure.com. A version of the API may follow it as ?api-version=.',
    }),
    azureVoiceLiveKey: optional({
      kind: apiKey,
      help: 'The key of that resource.',
    }),
    azureVoiceLiveModel: optional({
      kind: modelName,
      help: 'The model of the backend azure-voice-live, where the agent names none. It has no default, because each region has its own list.',
    }),
  },
  services: {},
})

/** Version of the protocol; @azure/ai-voicelive 1.1.0, DEFAULT_API_VERSION. */
export const API_VERSION = '2026-07-15'
export const SOCKET_PATH = '/voice-live/realtime'

/** Key, address and model from the settings; null where unset. Plain data. */
export interface AzureVoiceLiveSettings {
  readonly apiKey: string | null
  readonly baseUrl: string | null
  readonly model: string | null
}

/** Voices of an agent that names none, by language; the service has its own for any other language. */
export const USUAL_VOICES: Readonly<Record<string, string>> = { sw: 'sw-KE-ZuriNeural', en: 'en-KE-AsiliaNeural' }
/** Locales of the languages that callers here speak, where a tag has no region. */
export const USUAL_REGIONS: Readonly<Record<string, string>> = { sw: 'KE', en: 'KE' }

/** Recogniser that hears all of Azure's locales, several of them in one session. */
export const AZURE_SPEECH = 'azure-speech'
/** Languages of one session that the recogniser can tell apart. */
export const LOCALES_MAX = 10

/** Models with a voice and ears of their own: they take no list of phrases. */
export const NATIVE_MODEL = /realtime/
/** The model that has Azure's native voices. */
export const AZURE_NATIVE_MODEL = /^azure-realtime/

/** Detection of turns by meaning, and the model that tells whether a sentence is finished. */
export const SEMANTIC_TURNS = {
  azure_semantic_vad: 'semantic_detection_v1',
  azure_semantic_vad_en: 'semantic_detection_v1_en',
  azure_semantic_vad_multilingual: 'semantic_detection_v1_multilingual',
} as const
export const USUAL_TURNS: keyof typeof SEMANTIC_TURNS = 'azure_semantic_vad_multilingual'

/** Rates of pcm16, in Hz, each with the name of the output format. */
export const PCM_OUTPUT = { 8000: 'pcm16_8000hz', 16000: 'pcm16_16000hz', 24000: 'pcm16' } as const

const silenceMs = z
  .int()
  .min(100)
  .max(5000)
  .exactOptional()
  .describe("Silence that ends the turn. Default: the service's.")
const heard = {
  threshold: z.number().min(0).max(1).exactOptional().describe("Threshold for speech. Default: the service's."),
  prefixPaddingMs: z
    .int()
    .min(0)
    .max(2000)
    .exactOptional()
    .describe("Audio before the speech that is included. Default: the service's."),
  silenceMs,
}

/**
 * An agent's options.
 * @param common  options that other realtime services have too
 * @param interruptResponse  that of a service with OpenAI's events
 */
export function azureVoiceLiveOptions<Common extends z.ZodRawShape>(
  common: Common,
  interruptResponse: z.ZodExactOptional<z.ZodBoolean>,
) {
  const turns = z.discriminatedUnion(
    'by',
    [
      z.strictObject({
        by: z.literal('gateway').describe('Who detects it: the gateway, or the service in one of its ways.'),
      }),
      z.strictObject({ by: z.literal('server_vad'), ...heard, interruptResponse }),
      z.strictObject({
        by: z.enum(['azure_semantic_vad', 'azure_semantic_vad_en', 'azure_semantic_vad_multilingual']),
        ...heard,
        speechMs: z
          .int()
          .min(0)
          .max(2000)
          .exactOptional()
          .describe("Speech that has to come before the turn begins. Default: the service's."),
        endOfUtterance: z
          .strictObject({
            level: z
              .enum(['low', 'medium', 'high', 'default'])
              .exactOptional()
              .describe('How sure it has to be that the sentence is finished. Default: default.'),
            timeoutMs: z
              .int()
              .min(100)
              .max(10_000)
              .exactOptional()
              .describe("Longest wait for the rest of a sentence. Default: the service's."),
          })
          .exactOptional()
          .describe('Waits while the sentence is unfinished; not with a model that hears by itself. Default: none.'),
        interruptResponse,
      }),
    ],
    {
      error:
        'must have by: gateway, server_vad, azure_semantic_vad, azure_semantic_vad_en or azure_semantic_vad_multilingual',
    },
  )
  return z.strictObject({
    ...common,
    turns: turns
      .exactOptional()
      .describe(
        `Who detects the end of a turn. Default: ${USUAL_TURNS}; if one backend of a list cannot, the gateway for all of them.`,
      ),
    audio: z
      .enum(['pcm', 'pcmu', 'pcma'])
      .exactOptional()
      .describe('pcm has the rate of the leg, so that nothing is resampled; pcmu and pcma are G.711. Default: pcm.'),
    transcription: z
      .string()
      .regex(/^\S{1,200}$/, { error: 'must be the name of a model, or null' })
      .nullable()
      .exactOptional()
      .describe(`The recogniser of the caller's words; null for none. Default: ${AZURE_SPEECH}.`),
    locales: z
      .array(z.string().regex(/^[a-z]{2,3}-[A-Z]{2}$/, { error: 'must be a language and a region, such as sw-TZ' }))
      .min(1)
      .max(LOCALES_MAX)
      .exactOptional()
      .describe(
        `Regions of the callers' languages, for ${AZURE_SPEECH}. Default: those of the agent; sw-KE and en-KE.`,
      ),
    phrases: z
      .array(z.string().min(1).max(100))
      .min(1)
      .max(100)
      .exactOptional()
      .describe(`Words and names that callers are likely to say, for ${AZURE_SPEECH}.`),
    noiseReduction: z
      .enum(['azure_deep_noise_suppression', 'near_field', 'far_field'])
      .exactOptional()
      .describe('Noise reduction of the service. Default: none.'),
    echoCancellation: z
      .boolean()
      .exactOptional()
      .describe("Removes the agent's own voice from what the service hears; sends the silence too. Default: false."),
    speed: z.number().min(0.5).max(1.5).exactOptional().describe('Speed of a voice of Azure Speech. Default: 1.'),
    style: z
      .string()
      .regex(/^[\w-]{1,50}$/, { error: 'must be the name of a style' })
      .exactOptional()
      .describe('Speaking style of a voice of Azure Speech, where it has any.'),
    temperature: z
      .number()
      .min(0)
      .max(1)
      .exactOptional()
      .describe("How freely the model chooses its words. Default: the service's, 0.7."),
    reasoningEffort: z
      .enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh'])
      .exactOptional()
      .describe('Only for models that reason.'),
  })
}

/** The setting that is missing; null when the service can be used. @param own  the agent's model */
export function azureVoiceLiveLacks(
  { apiKey, baseUrl, model }: AzureVoiceLiveSettings,
  own: string | undefined,
): string | null {
  if (baseUrl === null) return 'AZURE_VOICE_LIVE_URL'
  if (apiKey === null) return 'AZURE_VOICE_LIVE_KEY'
  return model === null && own === undefined ? 'AZURE_VOICE_LIVE_MODEL' : null
}
