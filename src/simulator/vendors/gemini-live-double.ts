import type {
  Content,
  FunctionCall,
  LiveClientMessage,
  LiveClientSetup,
  LiveServerMessage,
  MediaModality,
} from '@google/genai'
import type { IncomingMessage } from 'node:http'
import type { WebSocket } from 'ws'
import type { ScriptedReply } from '../../backends/conformance.js'
import { samplesOf } from '../../media/pcm.js'
import { type DoubleOptions, LevelDetector, type Script, SocketDouble, soundOf, type Speaker } from './double.js'

/**
 * A stand-in for Gemini Live on loopback, written from the vendor's published types: JSON in binary frames, setup as
 * the first message, a scripted model, and errors as close codes with a short reason, as the vendor sends them.
 */
export class GeminiDouble extends SocketDouble<GeminiDoubleSession> {
  /** Handles of sessions that can be resumed. */
  readonly handles = new Set<string>()

  static start(options: DoubleOptions = {}): Promise<GeminiDouble> {
    return new GeminiDouble(options).listen()
  }

  get baseUrl(): string {
    return `http://127.0.0.1:${this.port}`
  }

  protected refusalOf(): null {
    return null
  }

  protected accept(client: WebSocket, request: IncomingMessage): GeminiDoubleSession | null {
    // The vendor's own client sends two slashes if its base URL ends with one.
    const url = new URL((request.url ?? '/').replace(/^\/+/, '/'), 'http://127.0.0.1')
    if (
      !/^\/ws\/google\.ai\.generativelanguage\.v1(alpha|beta)\.GenerativeService\.BidiGenerateContent$/.test(
        url.pathname,
      )
    ) {
      client.close(1008, `${url.pathname} is not found`)
      return null
    }
    if (this.key !== null && url.searchParams.get('key') !== this.key) {
      client.close(1007, 'API key not valid. Please pass a valid API key.')
      return null
    }
    return new GeminiDoubleSession(client, {
      script: this.script,
      speaker: this.speaker,
      readyDelayMs: () => this.readyDelayMs,
      handles: this.handles,
    })
  }
}

interface SessionParts {
  readonly script: Script
  readonly speaker: Speaker
  readonly readyDelayMs: () => number
  readonly handles: Set<string>
}

/** The vendor's class without its getters. */
type NewServerMessage = Partial<Omit<LiveServerMessage, 'text' | 'data'>>

const PIECE_MS = 100
const OUTPUT_RATE_HZ = 24_000

/** One session: handles a client's messages as the vendor's server does. */
class GeminiDoubleSession {
  setup: LiveClientSetup | null = null
  /** Every message of the client but audio. */
  readonly received: LiveClientMessage[] = []
  readonly texts: string[] = []
  readonly toolAnswers: { readonly callId: string; readonly text: string }[] = []
  callerAudioMs = 0
  /** Audio messages outside of an announced activity, while the service's own detection is off. */
  unannouncedAudio = 0
  rateHz = OUTPUT_RATE_HZ
  readonly #socket: WebSocket
  readonly #parts: SessionParts
  #detector = new LevelDetector({ sampleRateHz: 16_000, silenceMs: 200 })
  #activity = false
  #historyOpen = false
  #generating: { timer: NodeJS.Timeout | null; over: boolean } | null = null
  #callsOpen = new Set<string>()
  readonly #callsTakenBack = new Set<string>()
  #stopped = false

  constructor(socket: WebSocket, parts: SessionParts) {
    this.#socket = socket
    this.#parts = parts
    socket.on('message', (data) => this.#receive(JSON.parse((data as Buffer).toString()) as LiveClientMessage))
    socket.on('close', () => this.stop())
    socket.on('error', () => undefined)
  }

  send(message: NewServerMessage): void {
    // Binary and with line breaks, as the vendor's server sends it.
    this.sendRaw(Buffer.from(JSON.stringify(message, null, 2)))
  }

  sendRaw(data: string | Buffer): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(data)
  }

  closeWith(code: number, reason: string): void {
    this.#socket.close(code, reason)
  }

  freeze(): void {
    this.#stopped = true
    this.#socket.pause()
  }

  stop(): void {
    this.#stopped = true
    if (this.#generating?.timer) clearTimeout(this.#generating.timer)
  }

  #receive(message: LiveClientMessage): void {
    if (message.realtimeInput?.audio === undefined) this.received.push(message)
    if (this.setup === null) return this.#setUp(message.setup)
    if (message.clientContent !== undefined)
      return this.#content(message.clientContent.turns ?? [], message.clientContent.turnComplete === true)
    if (message.toolResponse !== undefined) return this.#toolResponse(message.toolResponse.functionResponses ?? [])
    const input = message.realtimeInput
    if (input?.audio !== undefined) return this.#hear(input.audio.data ?? '', input.audio.mimeType ?? '')
    if (input?.activityStart !== undefined) return this.#activityStart()
    if (input?.activityEnd !== undefined) return this.#activityEnd()
    if (input?.text !== undefined) {
      this.texts.push(input.text)
      if (this.setup.realtimeInputConfig?.automaticActivityDetection?.disabled !== true) this.#generate()
    }
  }

  #setUp(setup: LiveClientSetup | undefined): void {
    if (setup?.model === undefined || !setup.model.startsWith('models/'))
      return this.closeWith(1007, 'setup must be the first message and only the first')
    const handle = setup.sessionResumption?.handle
    if (handle !== undefined && !this.#parts.handles.has(handle))
      return this.closeWith(1007, 'Request contains an invalid argument.')
    this.setup = setup
    this.#historyOpen = setup.historyConfig?.initialHistoryInClientContent === true
    const confirm = (): void => this.send({ setupComplete: {} })
    const delayMs = this.#parts.readyDelayMs()
    if (delayMs > 0) setTimeout(confirm, delayMs).unref()
    else confirm()
  }

  #content(turns: readonly Content[], complete: boolean): void {
    for (const turn of turns)
      for (const part of turn.parts ?? []) if (part.text !== undefined) this.texts.push(part.text)
    if (this.#historyOpen) {
      if (complete) this.#historyOpen = false
      return
    }
    this.#interrupt()
    if (complete) this.#generate()
  }

  #hear(data: string, mimeType: string): void {
    const bytes = Buffer.from(data, 'base64')
    if (mimeType !== 'audio/pcm;rate=16000' || bytes.toString('base64') !== data)
      return this.closeWith(1007, 'Request contains an invalid argument.')
    const samples = samplesOf(bytes)
    this.callerAudioMs += samples.length / 16
    if (this.setup?.realtimeInputConfig?.automaticActivityDetection?.disabled === true) {
      if (!this.#activity) this.unannouncedAudio++
      return
    }
    for (const edge of this.#detector.hear(samples)) {
      if (edge === 'started') this.#callerStarted()
      else this.#answerCaller()
    }
  }

  #activityStart(): void {
    this.#activity = true
    this.#callerStarted()
  }

  #activityEnd(): void {
    if (!this.#activity) return this.closeWith(1007, 'activityEnd without activityStart')
    this.#activity = false
    this.#answerCaller()
  }

  /** The caller speaks: interrupts the answer and cancels open tool calls. */
  #callerStarted(): void {
    this.#interrupt()
    if (this.#callsOpen.size === 0) return
    this.send({ toolCallCancellation: { ids: [...this.#callsOpen] } })
    for (const id of this.#callsOpen) this.#callsTakenBack.add(id)
    this.#callsOpen.clear()
  }

  #answerCaller(): void {
    const text = this.#parts.script.nextCallerText()
    for (const word of text.split(/(?<= )/)) this.send({ serverContent: { inputTranscription: { text: word } } })
    setTimeout(() => this.#generate(), 5)
  }

  #interrupt(): void {
    const generating = this.#generating
    if (generating === null || generating.over) return
    generating.over = true
    if (generating.timer !== null) clearTimeout(generating.timer)
    this.#generating = null
    // One more piece of audio arrives after the interruption, as with the real service.
    this.#piece(new Int16Array((PIECE_MS * this.rateHz) / 1000))
    this.send({ serverContent: { interrupted: true } })
    this.send({ serverContent: { turnComplete: true } })
  }

  #toolResponse(responses: readonly { readonly id?: string; readonly response?: unknown }[]): void {
    for (const { id = '', response } of responses) {
      // The answer and the cancellation may cross.
      if (this.#callsTakenBack.has(id)) return
      if (!this.#callsOpen.delete(id)) return this.closeWith(1007, `no function call ${id}`)
      this.toolAnswers.push({ callId: id, text: JSON.stringify(response) })
    }
    if (this.#callsOpen.size === 0) this.#generate()
  }

  #piece(samples: Int16Array): void {
    const data = Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength).toString('base64')
    this.send({
      serverContent: { modelTurn: { parts: [{ inlineData: { mimeType: `audio/pcm;rate=${this.rateHz}`, data } }] } },
    })
  }

  #generate(): void {
    if (this.#stopped) return
    const reply = this.#parts.script.nextReply()
    const generating: { timer: NodeJS.Timeout | null; over: boolean } = { timer: null, over: false }
    this.#generating = generating
    const pcm = soundOf(reply, this.#parts.speaker, this.rateHz)
    const step = (PIECE_MS * this.rateHz) / 1000
    let at = 0
    const go = (): void => {
      if (this.#stopped || generating.over) return
      while (at < pcm.length) {
        this.#piece(pcm.subarray(at, at + step))
        at += step
        if ((reply.paceMs ?? 0) > 0) {
          generating.timer = setTimeout(go, reply.paceMs)
          return
        }
      }
      generating.over = true
      this.#generating = null
      this.#finish(reply)
    }
    for (const word of (reply.say ?? '').split(/(?<= )/))
      if (word !== '') this.send({ serverContent: { outputTranscription: { text: word } } })
    generating.timer = setTimeout(go, 0)
  }

  #finish(reply: ScriptedReply): void {
    if (reply.calls !== undefined && reply.calls.length > 0) {
      const functionCalls = reply.calls.map((call): FunctionCall => ({
        id: call.callId,
        name: call.name,
        args: call.args as Record<string, unknown>,
      }))
      for (const call of reply.calls) this.#callsOpen.add(call.callId)
      this.send({ toolCall: { functionCalls } })
      return
    }
    this.send({ serverContent: { generationComplete: true } })
    this.send({
      serverContent: { turnComplete: true },
      usageMetadata: {
        promptTokenCount: 20,
        responseTokenCount: 10,
        totalTokenCount: 30,
        promptTokensDetails: [
          { modality: 'TEXT' as MediaModality, tokenCount: 12 },
          { modality: 'AUDIO' as MediaModality, tokenCount: 8 },
        ],
        responseTokensDetails: [{ modality: 'AUDIO' as MediaModality, tokenCount: 10 }],
      },
    })
    const handle = `handle-${this.#parts.handles.size + 1}`
    this.#parts.handles.add(handle)
    this.send({ sessionResumptionUpdate: { newHandle: handle, resumable: true } })
  }
}
