import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocketServer } from 'ws'
import type { WebSocket } from 'ws'
import { FRAME_MS } from '../../src/core/units.js'
import { samplesOf } from '../../src/media/pcm.js'
import { LevelDetector } from '../../src/simulator/vendors/double.js'
import { machineMs } from '../kit/process.js'

interface KnownServiceOptions {
  /** Time in ms from the question to the first sound of the answer. */
  readonly delayMs: number
  /**
   * Time in ms from the request for a session to its confirmation. It represents the connection to a distant service.
   */
  readonly readyMs: number
  /** Silence in ms that ends the caller's turn, if the service detects turns itself. */
  readonly silenceMs: number
  /** Length of each answer. */
  readonly answerMs: number
  /** True: answers come in pieces of 100 ms, slightly faster than real time. If absent, an answer comes all at once. */
  readonly paced?: boolean
  /** True: the service stores every sample that it receives. */
  readonly keepsAudio?: boolean
}

/** One answer: the time at which it was requested, and the time at which its first sound was sent. */
interface KnownAnswer {
  readonly askedMs: number
  sentMs: number
}

const TONE_HZ = 330
const AMPLITUDE = 8000
const PIECE_MS = 100
const PACE_MS = 90

/**
 * Stand-in for a realtime model with a known delay. It uses OpenAI's protocol and answers each turn with a tone after
 * `delayMs`. It records the times of all requests and answers.
 */
export class KnownService {
  readonly sessions: KnownSession[] = []
  readonly #options: KnownServiceOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(options: KnownServiceOptions) {
    this.#options = options
    this.#server = createServer()
    const sockets = new WebSocketServer({ server: this.#server, perMessageDeflate: false })
    this.#server.on('connection', (socket) => {
      socket.setNoDelay(true)
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
      socket.on('error', () => undefined)
    })
    sockets.on('connection', (socket) => this.sessions.push(new KnownSession(socket, this.#options)))
  }

  static async start(options: KnownServiceOptions): Promise<KnownService> {
    const service = new KnownService(options)
    await new Promise<void>((resolve) => service.#server.listen(0, '127.0.0.1', resolve))
    return service
  }

  get baseUrl(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

interface ClientMessage {
  readonly type?: string
  readonly audio?: string
  readonly session?: {
    readonly audio?: {
      readonly input?: { readonly format?: { readonly rate?: number }; readonly turn_detection?: object | null }
      readonly output?: { readonly format?: { readonly rate?: number } }
    }
  }
}

/** One session of the stand-in. */
export class KnownSession {
  readonly answers: KnownAnswer[] = []
  /** Every sample that was received, if the service stores them. */
  readonly samples: number[] = []
  /** Number of messages with the caller's audio, and number of their bytes. */
  readonly audioIn = { messages: 0, bytes: 0 }
  readonly #socket: WebSocket
  readonly #options: KnownServiceOptions
  #detector: LevelDetector | null = null
  #rateHz = 24_000
  #responses = 0
  #pending: NodeJS.Timeout | null = null

  constructor(socket: WebSocket, options: KnownServiceOptions) {
    this.#socket = socket
    this.#options = options
    socket.on('message', (data) => {
      const message = JSON.parse((data as Buffer).toString('latin1')) as ClientMessage
      if (message.type === 'input_audio_buffer.append') {
        this.audioIn.messages++
        this.audioIn.bytes += (data as Buffer).length
      }
      this.#message(message)
    })
    socket.on('close', () => this.#cancel())
    socket.on('error', () => undefined)
    this.#send({ type: 'session.created', session: { type: 'realtime' } })
  }

  /** Cuts the connection, with all data that is on its way. */
  breakOff(): void {
    this.#cancel()
    this.#socket.terminate()
  }

  #message(message: ClientMessage): void {
    switch (message.type) {
      case 'session.update': {
        const audio = message.session?.audio
        this.#rateHz = audio?.output?.format?.rate ?? 24_000
        this.#detector =
          audio?.input?.turn_detection == null
            ? null
            : new LevelDetector({
                sampleRateHz: audio.input.format?.rate ?? 24_000,
                silenceMs: this.#options.silenceMs,
              })
        setTimeout(() => this.#send({ type: 'session.updated', session: message.session }), this.#options.readyMs)
        return
      }
      case 'input_audio_buffer.append':
        return this.#hear(message.audio ?? '')
      case 'response.create':
        return this.#answer()
      case 'response.cancel':
        return this.#cancel()
      default:
        return
    }
  }

  #hear(audio: string): void {
    const pcm = samplesOf(Buffer.from(audio, 'base64'))
    if (this.#options.keepsAudio === true) for (const sample of pcm) this.samples.push(sample)
    for (const edge of this.#detector?.hear(pcm) ?? []) {
      this.#send({
        type: edge === 'started' ? 'input_audio_buffer.speech_started' : 'input_audio_buffer.speech_stopped',
        item_id: 'item',
      })
      if (edge === 'stopped') this.#answer()
      else this.#cancel()
    }
  }

  #answer(): void {
    this.#cancel()
    const answer: KnownAnswer = { askedMs: machineMs(), sentMs: NaN }
    this.answers.push(answer)
    this.#pending = setTimeout(() => this.#speak(answer), this.#options.delayMs)
  }

  #speak(answer: KnownAnswer): void {
    const ids = { response_id: `resp_${++this.#responses}`, item_id: `item_${this.#responses}` }
    const samples = new Int16Array((this.#rateHz * Math.ceil(this.#options.answerMs / FRAME_MS) * FRAME_MS) / 1000)
    for (let i = 0; i < samples.length; i++)
      samples[i] = Math.round(AMPLITUDE * Math.cos((2 * Math.PI * TONE_HZ * i) / this.#rateHz))
    this.#send({ type: 'response.created', response: { id: ids.response_id } })
    answer.sentMs = machineMs()
    const step = this.#options.paced === true ? (this.#rateHz * PIECE_MS) / 1000 : samples.length
    const piece = (from: number): void => {
      const delta = Buffer.from(samples.buffer, from * 2, Math.min(step, samples.length - from) * 2).toString('base64')
      this.#send({ type: 'response.output_audio.delta', ...ids, output_index: 0, content_index: 0, delta })
      if (from + step < samples.length) {
        this.#pending = setTimeout(() => piece(from + step), PACE_MS)
        return
      }
      this.#pending = null
      this.#send({ type: 'response.output_audio.done', ...ids, output_index: 0, content_index: 0 })
      this.#send({ type: 'response.done', response: { id: ids.response_id, status: 'completed', output: [] } })
    }
    piece(0)
  }

  #cancel(): void {
    if (this.#pending !== null) clearTimeout(this.#pending)
    this.#pending = null
  }

  #send(message: object): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(JSON.stringify(message))
  }
}
