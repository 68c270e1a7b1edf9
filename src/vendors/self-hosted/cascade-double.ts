import type { IncomingMessage, ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ChatCompletionChunk, ChatCompletionCreateParamsStreaming } from 'openai/resources/chat/completions'
import type { ScriptedReply } from '../../backends/conformance.js'
import type { CascadeModels } from '../../simulator/vendors/cascade-models.js'
import { wavHeader } from '../../media/wav.js'
import { LocalHttpServer } from '../../system/local-http-server.js'
import { type DoubleOptions, partOf, type Refusal, Script, soundOf } from '../../simulator/vendors/double.js'
import { keyRefusal } from './key-double.js'
import { toneSpeaker } from '../../simulator/vendors/tone-speaker.js'

type Route = 'models' | 'stt' | 'llm' | 'tts'

interface CascadeDoubleOptions extends DoubleOptions {
  /** Models that replace the script and the speaker. */
  readonly models?: CascadeModels
}

/**
 * The three OpenAI-compatible HTTP endpoints of a cascade on loopback, written from the vendor's published types.
 * Recogniser and model follow the script; `models` replaces recogniser, model and voice.
 */
export class CascadeDouble extends LocalHttpServer {
  protected override readonly basePath = '/v1'
  readonly script: Script
  /** Requests by route. */
  readonly requests: Record<Route, number> = { models: 0, stt: 0, llm: 0, tts: 0 }
  /** Number of requests that only open a connection. */
  warmings = 0
  /** Client ports of the last warming request and of the last transcription. */
  readonly clientPorts: { warming: number | undefined; stt: number | undefined } = {
    warming: undefined,
    stt: undefined,
  }
  readonly chats: ChatCompletionCreateParamsStreaming[] = []
  readonly spoken: string[] = []
  readonly heardBytes: number[] = []
  callerAudioMs = 0
  readyDelayMs: number
  /** Routes that refuse, never answer or break the connection. */
  readonly refuse: Partial<Record<Route, Refusal | 'never' | 'destroy'>> = {}
  /** Delay before each answer of a route, in milliseconds. */
  readonly delayMs: Partial<Record<Route, number>> = {}
  /** Format of the voice's answers. */
  voice: 'pcm' | 'wav' | 'wav-22050' | 'mp3' = 'pcm'
  /** Lines sent unchanged after the first chunk of the model's stream. */
  garbage: readonly string[] = []
  /** Number of requests that the client aborted before the answer. */
  aborted = 0
  /** The answer whose sentences are spoken. */
  #reply: ScriptedReply = {}
  readonly #options: CascadeDoubleOptions

  constructor(options: CascadeDoubleOptions = {}) {
    super(options, (request, response) => {
      response.on('close', () => {
        if (!response.writableEnded) this.aborted++
      })
      void this.#answer(request, response)
    })
    this.#options = options
    this.script = options.script ?? new Script()
    this.readyDelayMs = options.readyDelayMs ?? 0
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === 'OPTIONS') {
      this.warmings++
      this.clientPorts.warming = request.socket.remotePort
    }
    const route = routeOf(request.url ?? '')
    if (route === 'stt') this.clientPorts.stt = request.socket.remotePort
    if (route === null) return void response.writeHead(404).end('{"error":{"message":"Not found"}}')
    this.requests[route]++
    const body = await buffer(request)
    const refusal = keyRefusal(this.#options.key ?? null, request.headers) ?? this.refuse[route]
    if (refusal === 'never') return
    if (refusal === 'destroy') return void request.socket.destroy()
    const delayMs = route === 'models' ? this.readyDelayMs : (this.delayMs[route] ?? 0)
    if (delayMs > 0) await sleep(delayMs, undefined, { ref: false })
    if (refusal !== undefined)
      return void response.writeHead(refusal.status, { 'content-type': 'application/json' }).end(refusal.body)
    const objection = this.objection(body.toString('latin1'))
    if (objection !== null)
      return void response
        .writeHead(400, { 'content-type': 'application/json' })
        .end(JSON.stringify({ error: { type: 'invalid_request_error', code: null, param: null, message: objection } }))
    switch (route) {
      case 'models':
        return void response.writeHead(200, { 'content-type': 'application/json' }).end('{"object":"list","data":[]}')
      case 'stt':
        return this.#transcribe(body, response)
      case 'llm':
        return this.#chat(JSON.parse(body.toString()) as ChatCompletionCreateParamsStreaming, response)
      case 'tts':
        return this.#speak(JSON.parse(body.toString()) as { input: string; response_format: string }, response)
    }
  }

  async #transcribe(body: Buffer, response: ServerResponse): Promise<void> {
    const at = body.indexOf('RIFF')
    const bytes = at < 0 ? 0 : body.readUInt32LE(at + 40)
    this.heardBytes.push(bytes)
    this.callerAudioMs += bytes / 32
    const { models } = this.#options
    const text =
      models === undefined || at < 0 ? this.script.nextCallerText() : await models.transcribe(body.subarray(at))
    // whisper.cpp begins the text with a space.
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ text: ` ${text}` }))
  }

  #chat(request: ChatCompletionCreateParamsStreaming, response: ServerResponse): void {
    this.chats.push(request)
    const reply = this.#options.models?.answer(request.messages) ?? this.script.nextReply()
    this.#reply = reply
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const chunk = (
      delta: ChatCompletionChunk.Choice.Delta,
      finish: ChatCompletionChunk.Choice['finish_reason'] = null,
    ): void => {
      const event: ChatCompletionChunk = {
        id: 'chatcmpl-1',
        object: 'chat.completion.chunk',
        created: 1,
        model: request.model,
        choices: [{ index: 0, delta, finish_reason: finish, logprobs: null }],
      }
      response.write(`data: ${JSON.stringify(event)}\n\n`)
    }
    chunk({ role: 'assistant', content: '' })
    for (const line of this.garbage) response.write(line)
    for (const piece of (reply.say ?? '').match(/.{1,7}/gs) ?? []) chunk({ content: piece })
    for (const [index, call] of (reply.calls ?? []).entries()) {
      const text = typeof call.args === 'string' ? call.args : JSON.stringify(call.args)
      chunk({
        tool_calls: [{ index, id: call.callId, type: 'function', function: { name: call.name, arguments: '' } }],
      })
      for (const piece of text.match(/.{1,5}/gs) ?? [])
        chunk({ tool_calls: [{ index, function: { arguments: piece } }] })
    }
    chunk({}, reply.calls === undefined ? 'stop' : 'tool_calls')
    const usage = { prompt_tokens: 20, completion_tokens: 10, total_tokens: 30 }
    response.write(
      `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: request.model, choices: [], usage })}\n\n`,
    )
    response.end('data: [DONE]\n\n')
  }

  async #speak(request: { readonly input: string }, response: ServerResponse): Promise<void> {
    this.spoken.push(request.input)
    const { paceMs = 0 } = this.#reply
    const part = partOf(this.#reply, request.input)
    const { models, speaker = toneSpeaker(24_000) } = this.#options
    const rateHz = this.voice === 'wav-22050' ? 22_050 : 24_000
    const sound = await models?.speak(request.input)
    const pcm = soundOf({ ...part, ...(sound === undefined ? {} : { sound }) }, speaker, rateHz)
    const bytes = Buffer.from(pcm.buffer, pcm.byteOffset, pcm.byteLength)
    response.writeHead(200, { 'content-type': this.voice === 'mp3' ? 'audio/mpeg' : 'audio/pcm' })
    if (this.voice === 'mp3') return void response.end(Buffer.from('ID3\u0004 not samples'))
    if (this.voice !== 'pcm') response.write(wavHeader({ sampleRateHz: rateHz, channels: 1, dataBytes: bytes.length }))
    // Odd number of bytes, so that chunks end inside a sample.
    const step = 4801
    for (let at = 0; at < bytes.length; at += step) {
      if (response.destroyed) return
      response.write(bytes.subarray(at, at + step))
      if (paceMs > 0) await sleep(paceMs)
    }
    response.end()
  }
}

function routeOf(url: string): Route | null {
  if (url === '/v1/models') return 'models'
  if (url === '/v1/audio/transcriptions') return 'stt'
  if (url === '/v1/chat/completions') return 'llm'
  return url === '/v1/audio/speech' ? 'tts' : null
}
