import { Readable } from 'node:stream'
import type { MessageCreateParamsStreaming, RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages'
import type { Content, GenerateContentConfig, GenerateContentResponse, Tool } from '@google/genai'
import type { Deepgram } from '@deepgram/sdk'
import type { protos as recognition } from '@google-cloud/speech'
import type { protos } from '@google-cloud/text-to-speech'
import t from 'tap'
import type { SpeechCreateParams } from 'openai/resources/audio/speech'
import type { ChatCompletionChunk, ChatCompletionCreateParamsStreaming } from 'openai/resources/chat/completions'
import type { RealtimeTranscriptionSessionCreateRequest } from 'openai/resources/realtime/realtime'
import type { AnthropicEvent, AnthropicRequest } from '../../src/vendors/anthropic/wire.js'
import type { ChatChunk, ChatRequest } from '../../src/backends/cascade/chat-wire.js'
import type { DeepgramResults, DeepgramTurnInfo } from '../../src/vendors/deepgram/services.js'
import type { GeminiChunk, GeminiRequest } from '../../src/vendors/gemini/text-wire.js'
import type { GoogleRecognitionConfig } from '../../src/vendors/google/speech-to-text.js'
import type { GoogleSpeechRequest } from '../../src/vendors/google/text-to-speech.js'
import type { TranscriptionSession } from '../../src/vendors/self-hosted/realtime/speech-to-text.js'
import { eventData } from '../../src/backends/cascade/http-service.js'
import { localeOf } from '../../src/backends/cascade/spoken-locales.js'
import type { SpeechRequest } from '../../src/backends/cascade/speech-requests.js'

/** Compiles only if a value of the first type can be used as one of the second. */
type Fits<Ours extends Theirs, Theirs> = Ours
export type _Types = [
  Fits<ChatRequest, ChatCompletionCreateParamsStreaming>,
  Fits<SpeechRequest, SpeechCreateParams>,
  Fits<ChatCompletionChunk, ChatChunk>,
  Fits<AnthropicRequest, MessageCreateParamsStreaming>,
  Fits<RawMessageStreamEvent, AnthropicEvent>,
  Fits<GeminiRequest['contents'][number], Content>,
  Fits<NonNullable<GeminiRequest['tools']>[number], Tool>,
  Fits<Pick<GeminiRequest['generationConfig'], 'seed'>, GenerateContentConfig>,
  Fits<Pick<GenerateContentResponse, keyof GeminiChunk>, GeminiChunk>,
  Fits<GoogleSpeechRequest, protos.google.cloud.texttospeech.v1.ISynthesizeSpeechRequest>,
  Fits<GoogleRecognitionConfig, recognition.google.cloud.speech.v1.IRecognitionConfig>,
  Fits<TranscriptionSession, RealtimeTranscriptionSessionCreateRequest>,
  Fits<Deepgram.listen.ListenV1Results, DeepgramResults>,
  Fits<Deepgram.listen.ListenV2TurnInfo, DeepgramTurnInfo>,
]

/** Reads a stream that arrives in these pieces, and counts the events that are too long. */
async function read(pieces: Iterable<Uint8Array>): Promise<{ readonly data: string[]; readonly oversize: number }> {
  let oversize = 0
  const data: string[] = []
  for await (const text of eventData(Readable.from(pieces), () => oversize++)) data.push(text)
  return { data, oversize }
}

t.test('events are whole wherever the stream is split', async (t) => {
  const text = Buffer.from('data: {"a":"ä"}\n\n: a comment\nevent: x\r\ndata:{"b":2}\r\n\r\ndata: [DONE]\n\n')
  for (let step = 1; step < 12; step++) {
    const pieces = Array.from({ length: Math.ceil(text.length / step) }, (_, i) =>
      text.subarray(i * step, (i + 1) * step),
    )
    t.same(await read(pieces), { data: ['{"a":"ä"}', '{"b":2}'], oversize: 0 }, `in steps of ${step}`)
  }
})

t.test('the last event needs no line break', async (t) => {
  t.same(await read([Buffer.from('data: {"a":1}')]), { data: ['{"a":1}'], oversize: 0 })
})

t.test('an endless line or event is given up', async (t) => {
  const mib = Buffer.alloc(1024 * 1024, 'x')
  const next = Buffer.from('xx\n\ndata: 7\n\n')
  t.same(await read([Buffer.from('data: '), mib, mib, mib, mib, mib, next]), { data: ['7'], oversize: 1 }, 'a line')
  const line = Buffer.concat([Buffer.from('data: '), mib, Buffer.from('\n')])
  t.same(
    await read([line, line, line, line, Buffer.from('\ndata: 7\n\n')]),
    { data: ['7'], oversize: 1 },
    'an event of many lines',
  )
})

t.test('each language gets one region for a service', (t) => {
  const locales = ['sw', 'sw-KE', 'sw-TZ', 'en', 'fr', 'fr-CA'].map((tag) => localeOf(tag))
  t.same(locales, ['sw-KE', 'sw-KE', 'sw-TZ', 'en-KE', 'fr-FR', 'fr-CA'])
  t.equal(localeOf('en', ['sw-TZ', 'en-GB']), 'en-GB')
  t.equal(localeOf('en-KE', ['en-GB']), 'en-GB')
  t.end()
})
