import type { IncomingHttpHeaders } from 'node:http'
import type { ConversationItem, RealtimeSessionCreateRequest } from 'openai/resources/realtime/realtime'
import type { WebSocket } from 'ws'
import { z } from 'zod'
import { type DoubleOptions, NOT_FOUND, type Refusal } from '../../simulator/vendors/double.js'
import {
  type NewServerEvent,
  OpenAiDouble,
  OpenAiDoubleSession,
  type ReadSession,
  refusedSession,
} from '../self-hosted/double.js'
import { LOCALES_MAX } from './options.js'
import { NATIVE_MODEL, SOCKET_PATH } from './wire.js'

/**
 * A stand-in for Azure Voice Live on loopback: OpenAI's double with the beta's events. It accepts exactly the session
 * that the types of @azure/ai-voicelive 1.1.0 allow.
 */
export class AzureVoiceLiveDouble extends OpenAiDouble {
  protected override readonly basePath = ''

  constructor(options: DoubleOptions = {}) {
    super({ ...options, dialect: 'beta', loose: false })
  }

  protected override accept(client: WebSocket, url?: URL): OpenAiDoubleSession {
    return new AzureVoiceLiveSession(client, this, url?.searchParams.get('model') ?? '')
  }

  /** Also accepts the API key in the address, because the vendor's own client sends the key there too. */
  protected override refusalOf({ pathname, searchParams }: URL, headers: IncomingHttpHeaders): Refusal | null {
    if (pathname !== SOCKET_PATH) return NOT_FOUND
    if (this.key !== null && headers['api-key'] !== this.key && headers.authorization !== `Bearer ${this.key}`)
      return refusal(401, 'Access denied due to invalid subscription key or wrong API endpoint.')
    const missing = ['api-version', 'model'].find((name) => (searchParams.get(name) ?? '') === '')
    return missing === undefined ? null : refusal(400, `The ${missing} query parameter is required.`)
  }
}

const refusal = (status: number, message: string): Refusal => ({
  status,
  body: JSON.stringify({ error: { code: String(status), message } }),
})

class AzureVoiceLiveSession extends OpenAiDoubleSession {
  readonly #model: string

  constructor(client: WebSocket, double: OpenAiDouble, model: string) {
    super(client, double)
    this.#model = model
  }

  /**
   * Sends an event. The base class sends its greeting in its constructor, so this method may run before the fields of
   * this class exist.
   */
  override send(event: NewServerEvent): void {
    if (event.type === 'session.created' || event.type === 'session.updated') {
      return super.send({ ...event, session: { id: 'sess_double', ...this.given } } as object as NewServerEvent)
    }
    if ('item' in event && event.item !== undefined)
      return super.send({ ...event, item: flat(event.item) } as object as NewServerEvent)
    if (event.type !== 'response.done') return super.send(event)
    const { response } = event
    super.send({ ...event, response: { ...response, output: response.output?.map(flat) } } as object as NewServerEvent)
  }

  protected override read(wanted: RealtimeSessionCreateRequest): ReadSession {
    const { success, data, error } = session.safeParse(wanted)
    if (!success) return refusedSession(error)
    if (data.input_audio_transcription?.phrase_list !== undefined && NATIVE_MODEL.test(this.#model)) {
      const param = 'session.input_audio_transcription.phrase_list'
      return { refused: { code: 'invalid_value', message: `phrase_list is not supported for ${this.#model}.`, param } }
    }
    return { session: asOpenAi({ ...(this.given as Wanted), ...data }) }
  }

  protected override itemFault(item: ConversationItem): string | null {
    if (item.type !== 'message') return null
    const allowed = item.role === 'assistant' ? ['text'] : ['input_text', 'input_audio']
    const strange = partsOf(item).find(({ type }) => !allowed.includes(type ?? ''))
    return strange === undefined
      ? null
      : `Invalid value: '${strange.type ?? ''}'. Supported values: ${allowed.join(', ')}.`
  }
}

const PARTS: Readonly<Record<string, string>> = { output_text: 'text', output_audio: 'audio' }

/** An item in the beta's form. */
function flat(item: ConversationItem): ConversationItem {
  if (item.type !== 'message') return item
  const content = partsOf(item).map((part) => ({ ...part, type: PARTS[part.type ?? ''] ?? part.type }))
  return { ...item, content } as object as ConversationItem
}

function partsOf({ content }: Extract<ConversationItem, { type: 'message' }>): readonly { readonly type?: string }[] {
  return content
}

const text = z.string().min(1)
const ms = z.int().min(0)
const voiceTraits = {
  name: text,
  temperature: z.number().min(0).max(1).optional(),
  custom_lexicon_url: z.url().optional(),
  custom_text_normalization_url: z.url().optional(),
  prefer_locales: z.array(text).optional(),
  locale: text.optional(),
  style: text.optional(),
  pitch: text.optional(),
  rate: z
    .string()
    .regex(/^(?:0\.[5-9]\d*|1(?:\.[0-4]\d*|\.50*)?)$/)
    .optional(),
  volume: text.optional(),
}
const OPENAI_VOICES = ['alloy', 'ash', 'ballad', 'coral', 'echo', 'sage', 'shimmer', 'verse', 'marin', 'cedar'] as const
const NATIVE_VOICES = [
  'aarti',
  'andrew',
  'ava',
  'denise',
  'diya',
  'elsa',
  'florian',
  'francisca',
  'meera',
  'xiaoxiao',
  'yunxi',
  'ximena',
] as const
/** Voices of Azure Speech: the names for East Africa, and the form of names for other languages. */
const STANDARD_VOICE =
  /^(?:sw-KE-(?:Zuri|Rafiki)|sw-TZ-(?:Rehema|Daudi)|en-KE-(?:Asilia|Chilemba)|en-TZ-(?:Imani|Elimu)|(?!sw-|en-KE|en-TZ)[a-z]{2,3}-[A-Z]{2}-\w+?)(?:Multilingual)?(?:Neural|:[\w-]+Neural)$/

const vad = {
  threshold: z.number().min(0).max(1).optional(),
  prefix_padding_ms: ms.optional(),
  silence_duration_ms: ms.optional(),
  auto_truncate: z.boolean().optional(),
  create_response: z.boolean().optional(),
  interrupt_response: z.boolean().optional(),
}
const endOf = (model: string) =>
  z.strictObject({
    model: z.literal(model),
    threshold_level: z.enum(['low', 'medium', 'high', 'default']).optional(),
    timeout_ms: ms.optional(),
  })
const semantic = { ...vad, speech_duration_ms: ms.optional(), remove_filler_words: z.boolean().optional() }
const languages = z.array(z.string().regex(/^[a-z]{2,3}(?:-[A-Z]{2})?$/)).optional()

/** `session` of `session.update`: all fields of `RequestSession`. Unknown fields are refused. */
const session = z
  .strictObject({
    model: text.optional(),
    modalities: z.array(z.enum(['text', 'audio', 'animation', 'avatar'])).optional(),
    animation: z.unknown().optional(),
    voice: z
      .union([
        z.enum(OPENAI_VOICES),
        z.discriminatedUnion('type', [
          z.strictObject({ type: z.literal('openai'), name: z.enum(OPENAI_VOICES) }),
          z.strictObject({ type: z.literal('azure-standard'), ...voiceTraits, name: z.string().regex(STANDARD_VOICE) }),
          z.strictObject({ type: z.literal('azure-custom'), ...voiceTraits, endpoint_id: text }),
          z.strictObject({ type: z.literal('azure-personal'), ...voiceTraits, model: text }),
          z.strictObject({ type: z.literal('azure-realtime-native'), name: z.enum(NATIVE_VOICES) }),
        ]),
      ])
      .optional(),
    instructions: z.string().optional(),
    input_audio_sampling_rate: z.union([z.literal(8000), z.literal(16000), z.literal(24000)]).optional(),
    input_audio_format: z.enum(['pcm16', 'g711_ulaw', 'g711_alaw']).optional(),
    output_audio_format: z.enum(['pcm16', 'pcm16_8000hz', 'pcm16_16000hz', 'g711_ulaw', 'g711_alaw']).optional(),
    turn_detection: z
      .discriminatedUnion('type', [
        z.strictObject({
          ...vad,
          type: z.literal('server_vad'),
          end_of_utterance_detection: endOf('semantic_detection_v1').optional(),
        }),
        z.strictObject({
          ...semantic,
          type: z.literal('azure_semantic_vad'),
          languages,
          end_of_utterance_detection: endOf('semantic_detection_v1').optional(),
        }),
        z.strictObject({
          ...semantic,
          type: z.literal('azure_semantic_vad_en'),
          end_of_utterance_detection: endOf('semantic_detection_v1_en').optional(),
        }),
        z.strictObject({
          ...semantic,
          type: z.literal('azure_semantic_vad_multilingual'),
          languages,
          end_of_utterance_detection: endOf('semantic_detection_v1_multilingual').optional(),
        }),
      ])
      .nullable()
      .optional(),
    input_audio_noise_reduction: z
      .strictObject({ type: z.enum(['azure_deep_noise_suppression', 'near_field', 'far_field']) })
      .optional(),
    input_audio_echo_cancellation: z
      .strictObject({
        type: z.literal('server_echo_cancellation'),
        reference_source: z.enum(['server', 'client']).optional(),
        channels: z.int().min(1).max(2).optional(),
      })
      .optional(),
    avatar: z.unknown().optional(),
    input_audio_transcription: z
      .strictObject({
        model: z.enum(['whisper-1', 'gpt-4o-transcribe', 'gpt-4o-mini-transcribe', 'mai-transcribe-1', 'azure-speech']),
        language: z
          .string()
          .regex(/^[a-z]{2,3}(?:-[A-Z]{2})?(?:,[a-z]{2,3}(?:-[A-Z]{2})?)*$/)
          .refine((list) => list.split(',').length <= LOCALES_MAX, { error: `at most ${LOCALES_MAX} languages` })
          .optional(),
        custom_speech: z.record(z.string(), z.string()).optional(),
        phrase_list: z.array(text).optional(),
      })
      .optional(),
    output_audio_timestamp_types: z.array(z.literal('word')).optional(),
    tools: z
      .array(
        z.strictObject({
          type: z.literal('function'),
          name: text,
          description: z.string().optional(),
          parameters: z.looseObject({}).optional(),
        }),
      )
      .optional(),
    tool_choice: z.union([z.enum(['auto', 'none', 'required']), z.looseObject({ type: text })]).optional(),
    temperature: z.number().min(0).max(1).optional(),
    max_response_output_tokens: z.union([z.int().min(1), z.literal('inf')]).optional(),
    reasoning_effort: z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh']).optional(),
    interim_response: z.unknown().optional(),
    include: z.array(text).optional(),
    metadata: z.record(z.string(), z.string()).optional(),
  })
  .superRefine(
    ({ input_audio_format: format, input_audio_sampling_rate: rate, input_audio_transcription: stt }, context) => {
      if (format?.startsWith('g711') === true && rate !== undefined && rate !== 8000)
        context.addIssue({ code: 'custom', path: ['input_audio_sampling_rate'], message: 'G.711 has 8000 Hz' })
      if (stt?.phrase_list !== undefined && stt.model !== 'azure-speech')
        context.addIssue({
          code: 'custom',
          path: ['input_audio_transcription', 'phrase_list'],
          message: 'azure-speech only',
        })
    },
  )
type Wanted = z.output<typeof session>

const OUTPUT_RATES: Readonly<Record<string, number>> = { pcm16_8000hz: 8000, pcm16_16000hz: 16_000 }
const LAWS = { g711_ulaw: 'audio/pcmu', g711_alaw: 'audio/pcma' } as const

/** Converts the session to the form of OpenAI's double. */
function asOpenAi(wanted: Wanted): RealtimeSessionCreateRequest {
  const { input_audio_format: input = 'pcm16', output_audio_format: output = 'pcm16' } = wanted
  const { turn_detection: turns, input_audio_transcription: stt, instructions, tools } = wanted
  const pcm = (rate: number) => ({ type: 'audio/pcm', rate }) as { type: 'audio/pcm'; rate: 24000 }
  return {
    type: 'realtime',
    ...(instructions === undefined ? {} : { instructions }),
    ...(tools === undefined ? {} : { tools: tools as NonNullable<RealtimeSessionCreateRequest['tools']> }),
    audio: {
      input: {
        format: input === 'pcm16' ? pcm(wanted.input_audio_sampling_rate ?? 24_000) : { type: LAWS[input] },
        turn_detection:
          turns === null ? null : { type: 'server_vad', interrupt_response: turns?.interrupt_response !== false },
        ...(stt === undefined ? {} : { transcription: { model: stt.model } }),
      },
      output: {
        format:
          output === 'g711_ulaw' || output === 'g711_alaw'
            ? { type: LAWS[output] }
            : pcm(OUTPUT_RATES[output] ?? 24_000),
      },
    },
  }
}

export const doubles = { 'azure-voice-live': [[AzureVoiceLiveDouble, 'AZURE_VOICE_LIVE_URL']] }
