import type { IncomingHttpHeaders } from 'node:http'
import type { RealtimeSessionCreateRequest } from 'openai/resources/realtime/realtime'
import type { WebSocket } from 'ws'
import { z } from 'zod'
import { NOT_FOUND, type Refusal } from '../../simulator/vendors/double.js'
import {
  type NewServerEvent,
  OpenAiDouble,
  OpenAiDoubleSession,
  type ReadSession,
  refusedSession,
} from '../self-hosted/double.js'
import { keyRefusal } from '../self-hosted/key-double.js'

/**
 * A stand-in for xAI's voice on loopback, based on OpenAI's double. It accepts exactly the session that public clients
 * send (pipecat-ai/pipecat and livekit/agents, November 2026). xAI publishes no client.
 */
export class XaiDouble extends OpenAiDouble {
  protected override accept(client: WebSocket): OpenAiDoubleSession {
    return new XaiSession(client, this)
  }

  protected override refusalOf({ pathname, searchParams }: URL, headers: IncomingHttpHeaders): Refusal | null {
    if (pathname !== '/v1/realtime') return NOT_FOUND
    if (!searchParams.has('model')) return { status: 400, body: '{"error":"You must provide a model."}' }
    return keyRefusal(this.key, headers)
  }
}

class XaiSession extends OpenAiDoubleSession {
  /**
   * Sends an event. The base class sends its greeting in its constructor, so this method may run before the fields of
   * this class exist.
   */
  override send(event: NewServerEvent): void {
    if (event.type === 'session.created') {
      this.sendRaw('{"type":"conversation.created","event_id":"event_0","conversation":{"id":"conv_double"}}')
      this.sendRaw('{"type":"ping","event_id":"event_ping","timestamp":1}')
    }
    if (event.type === 'session.updated')
      return super.send({ ...event, session: { id: 'sess_double', ...this.given } } as object as NewServerEvent)
    // The first part of the words arrives earlier, also in an event of this type.
    if (event.type === 'conversation.item.input_audio_transcription.completed') {
      const [transcript = ''] = event.transcript.split(' ')
      super.send({ ...event, transcript, status: 'in_progress' } as object as NewServerEvent)
      return super.send({ ...event, status: 'completed' } as object as NewServerEvent)
    }
    super.send(event)
  }

  protected override read(wanted: RealtimeSessionCreateRequest): ReadSession {
    const { success, data, error } = session.safeParse(wanted)
    if (!success) return refusedSession(error)
    const { turn_detection: turns, voice, audio, ...rest } = data
    const { input, output } = audio ?? {}
    // In xAI's session, voice and turn detection are beside the audio, not inside it.
    const heard = turns === undefined ? input : { ...input, turn_detection: turns }
    const spoken = voice === undefined ? output : { ...output, voice }
    const asOpenAi = { ...rest, ...(heard || spoken ? { audio: { input: heard, output: spoken } } : {}) }
    return { session: asOpenAi as object as RealtimeSessionCreateRequest }
  }
}

const ms = z.int().min(0).max(10_000).optional()
const format = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('audio/pcm'),
    rate: z.literal([8000, 16_000, 21_050, 24_000, 32_000, 44_100, 48_000]).optional(),
  }),
  z.strictObject({ type: z.enum(['audio/pcmu', 'audio/pcma']) }),
])

/** `session` of `session.update`, with exactly the fields that public clients send. */
const session = z.strictObject({
  instructions: z.string().optional(),
  voice: z.string().min(1).optional(),
  turn_detection: z
    .strictObject({
      type: z.literal('server_vad'),
      threshold: z.number().min(0.1).max(0.9).optional(),
      prefix_padding_ms: ms,
      silence_duration_ms: ms,
      idle_timeout_ms: ms,
    })
    .nullable()
    .optional(),
  audio: z
    .strictObject({
      input: z
        .strictObject({
          format: format.optional(),
          transcription: z
            .strictObject({
              language_hint: z.string().min(2).optional(),
              keyterms: z.array(z.string().max(50)).max(100).optional(),
            })
            .optional(),
        })
        .optional(),
      output: z.strictObject({ format: format.optional(), speed: z.number().min(0.7).max(1.5).optional() }).optional(),
    })
    .optional(),
  reasoning: z.strictObject({ effort: z.enum(['none', 'high']) }).optional(),
  tools: z.array(z.looseObject({ type: z.string() })).optional(),
})

export const doubles = { xai: [[XaiDouble, 'XAI_BASE_URL']] }

/** Options of the agent that the service may refuse, each with its field in the session. */
export const sessionFields = {
  xai: [
    {
      options: { keywords: ['Zawadi'], speed: 0.9, reasoningEffort: 'none' },
      fields: ['keyterms', 'speed', 'reasoning', 'language_hint'],
    },
    {
      options: { turns: { by: 'server_vad', threshold: 0.5, prefixPaddingMs: 300, silenceMs: 400 } },
      fields: ['threshold', 'prefix_padding_ms', 'silence_duration_ms', 'language_hint'],
    },
  ],
}
