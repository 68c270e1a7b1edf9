/**
 * A backend of one's own, written with what the package exports: it speaks the protocol of xiaozhi-esp32-server, an
 * open-source voice agent server that people run themselves (README.md, beside this file, has where it is published and
 * how each part of the contract is mapped onto it).
 *
 * An agent names it by `backend: [module:./xiaozhi-backend.js, embedded]`, with its options under `backends:
 * xiaozhi-backend:`.
 */
import type {
  Backend,
  BackendCapabilities,
  BackendSession,
  BackendSink,
  TextOptions,
  ToolReply,
  ToolSpec,
} from 'mkondo/backend'
import type { BackendContext } from 'mkondo/registry'
import {
  CallerUplink,
  KeyEntry,
  VendorConnection,
  keysText,
  keysTranscript,
  messageLength,
  objectArguments,
  openingText,
  preRollMs,
  recapText,
  replyText,
  saidText,
  vendorFault,
} from 'mkondo/transport'
import type { VendorFault } from 'mkondo/transport'

/** The entry `xiaozhi-backend` in the agent's `backends:` block. */
export interface XiaozhiOptions {
  /** `ws://HOST:8000/xiaozhi/v1/` */
  readonly url: string
  readonly token: string | null
  /** Identifier of this client at the server. The server has a prompt, a voice and a memory for each client. */
  readonly deviceId: string
  /** Default: 8 s. */
  readonly connectTimeoutMs?: number
}

export function createBackend(
  sink: BackendSink,
  { clock }: BackendContext,
  options: Readonly<Record<string, unknown>>,
): Backend {
  const { url, token = null, deviceId = 'mkondo', connectTimeoutMs } = options
  if (typeof url !== 'string' || !/^wss?:/.test(url)) throw new Error('needs url, such as ws://HOST:8000/xiaozhi/v1/')
  if (token !== null && typeof token !== 'string') throw new Error('token must be a text')
  if (typeof deviceId !== 'string') throw new Error('deviceId must be a text')
  return new XiaozhiBackend(
    sink,
    { url, token, deviceId, ...(typeof connectTimeoutMs === 'number' ? { connectTimeoutMs } : {}) },
    clock,
  )
}

const RATE_HZ = 16_000
/** Raw samples, little-endian. The server accepts them if the greeting requests `pcm`. */
const AUDIO = { format: 'pcm', sample_rate: RATE_HZ, channels: 1, frame_duration: 60 }
const WAITING_MS_MAX = 10_000
const PRE_ROLL_MS_MAX = 1200
const CALLS_MAX = 64
const UNTOLD_MAX = 16
const ECHOES_MAX = 8

/** One answer, from its first sentence, sound or tool call to its end. */
interface Answer {
  readonly generation: number
  readonly itemId: string
  words: string
  samples: number
}

type Message = Readonly<Record<string, unknown>>

class XiaozhiBackend implements Backend {
  readonly capabilities: BackendCapabilities = {
    name: 'xiaozhi',
    inputRateHz: RATE_HZ,
    outputRateHz: RATE_HZ,
    // In the server's manual mode the client reports when the caller begins and ends.
    serverVad: false,
    truncate: false,
    maxSessionMs: null,
  }
  readonly #sink: BackendSink
  readonly #nowMs: () => number
  readonly #connection: VendorConnection
  readonly #uplink: CallerUplink
  readonly #keys: KeyEntry
  readonly #counts = { malformedMessages: 0, unknownMessages: 0, lateAudio: 0, emptyAnswers: 0, fixedInstructions: 0 }
  #session: BackendSession | null = null
  #tools: readonly ToolSpec[] = []
  #serverId = ''
  #greeted = false
  #outputRateHz: 16000 | 24000 = RATE_HZ
  #generation = 0
  #callerTurns = 0
  #entries = 0
  /** True between `tts start` and `tts stop` of an answer that the caller may hear. Audio at any other time is late. */
  #answering = false
  /** True if a message came since `tts start`. */
  #began = false
  #answer: Answer | null = null
  #speaking = false
  /** True if the server was informed that the caller speaks. */
  #listening = false
  /** Calls without a result: the server's id, by the gateway's id. */
  readonly #calls = new Map<string, unknown>()
  /**
   * Texts for the model that need no answer. They are sent with the next text, because the server answers each text.
   */
  readonly #untold: string[] = []
  /** Texts that were sent, without punctuation. The server returns them as if the caller had said them. */
  readonly #echoes: string[] = []

  constructor(sink: BackendSink, options: XiaozhiOptions, nowMs: () => number) {
    this.#sink = sink
    this.#nowMs = nowMs
    const { url, token, deviceId, connectTimeoutMs } = options
    this.#uplink = new CallerUplink({
      sampleRateHz: RATE_HZ,
      ...messageLength(AUDIO.frame_duration, null),
      waitingMsMax: WAITING_MS_MAX,
      preRollMs: PRE_ROLL_MS_MAX,
      send: (pcm, length) => {
        if (!this.#listening || this.#connection.congested) return false
        this.#connection.sendBytes(pcm, length)
        return true
      },
    })
    this.#keys = new KeyEntry((keys) => {
      this.#sink.event(keysTranscript(keys, ++this.#entries, this.#generation + 1))
      this.#connection.whenReady(() => this.#write(keysText(keys)))
    })
    this.#connection = new VendorConnection(sink, {
      service: 'Xiaozhi',
      secrets: [token],
      ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
      target: () => ({
        url,
        headers: {
          'Protocol-Version': '1',
          'Device-Id': deviceId,
          'Client-Id': deviceId,
          ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
        },
      }),
      opened: () =>
        this.#send({
          type: 'hello',
          version: 1,
          transport: 'websocket',
          features: { mcp: true },
          audio_params: AUDIO,
        }),
      message: (data, binary) => {
        if (binary) this.#sound(data)
        else this.#message(data)
      },
      closeFault: (code, words) => this.#closeFault(code, words),
      ended: () => {
        this.#keys.close()
        this.#uplink.clear()
        this.#calls.clear()
        this.#answer = null
      },
    })
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    this.#session = session
    this.#tools = session.tools
    const { history, toolLedger } = session
    if (history.length > 0 || toolLedger.length > 0) this.#untold.push(recapText(history, toolLedger))
    return this.#connection.connect(signal)
  }

  pushAudio(pcm: Int16Array): void {
    if (this.#connection.alive) this.#uplink.push(pcm)
  }

  speechStart(atMs: number): void {
    if (this.#speaking || !this.#connection.alive) return
    this.#speaking = true
    this.#uplink.open(preRollMs(this.#nowMs() - atMs))
    this.#connection.whenReady(() => {
      // If the caller continues a question, the longer question replaces the question that the model is answering.
      if (this.#answering && this.#answer === null) this.#abort()
      this.#send({ type: 'listen', state: 'start', mode: 'manual' })
      this.#listening = true
      this.#uplink.retry()
    })
  }

  speechEnd(): void {
    if (!this.#speaking) return
    this.#speaking = false
    this.#uplink.flush()
    this.#connection.whenReady(() => {
      if (!this.#speaking) this.#uplink.close()
      this.#listening = this.#speaking
      this.#send({ type: 'listen', state: 'stop', mode: 'manual' })
    })
  }

  sendText(text: string, { role, respond }: TextOptions): void {
    this.#connection.whenReady(() => {
      const words = text === '' && this.#session !== null ? openingText(this.#session) : text
      const marked = role === 'caller' ? words : `[${role === 'agent' ? saidText(words) : words}]`
      if (respond) this.#write(marked)
      else if (this.#untold.length < UNTOLD_MAX) this.#untold.push(marked)
    })
  }

  dtmf(digit: string): void {
    if (this.#connection.alive) this.#keys.press(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    const id = this.#calls.get(callId)
    if (id === undefined || !this.#calls.delete(callId)) return
    const text = replyText(reply)
    const content = [{ type: 'text', text }]
    // If a call has failed, the server reads only `error`.
    this.#reply(id, reply.ok ? { content, isError: false } : { content, isError: true, error: text })
  }

  interrupt(): void {
    if (this.#answer !== null) this.#abort()
  }

  updateSession({ instructions, tools }: { instructions?: string; tools?: readonly ToolSpec[] }): void {
    // The instructions are in the server's own configuration.
    if (instructions !== undefined) this.#counts.fixedInstructions++
    if (tools === undefined) return
    this.#tools = tools
    this.#connection.whenReady(() =>
      this.#rpc({ jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: {} }),
    )
  }

  snapshot(): null {
    return null
  }

  counters(): Readonly<Record<string, number>> {
    return this.#counts
  }

  close(reason: string): Promise<void> {
    return this.#connection.close(reason)
  }

  // --- messages of the server -----------------------------------------------------------------------------

  #message(data: Buffer): void {
    const message = objectOf(data)
    if (message === null) {
      this.#counts.malformedMessages++
      return
    }
    switch (message['type']) {
      case 'hello':
        return this.#hello(message)
      case 'stt':
        return this.#heard(message['text'])
      case 'tts':
        return this.#tts(message['state'], message['text'])
      case 'mcp':
        return this.#asked(message['payload'] as Message | undefined)
      case 'llm': // the facial expression that a device should show
        return
      default:
        this.#counts.unknownMessages++
    }
  }

  #hello({ session_id: id, audio_params: audio }: Message): void {
    const { format = AUDIO.format, sample_rate: rateHz } = (audio ?? {}) as Message
    if (format !== AUDIO.format)
      return this.#connection.fail(vendorFault('bad_request', 'Xiaozhi: the server sends compressed audio only', true))
    this.#greeted = true
    this.#serverId = typeof id === 'string' ? id : ''
    if (rateHz === 24_000) this.#outputRateHz = rateHz
    this.#connection.ready(() => this.#uplink.retry())
  }

  #heard(text: unknown): void {
    if (typeof text !== 'string' || text === '') return
    const echo = this.#echoes.indexOf(letters(text))
    if (echo >= 0) {
      this.#echoes.splice(echo, 1)
      return
    }
    const itemId = `caller-${++this.#callerTurns}`
    this.#sink.event({
      type: 'transcript',
      role: 'caller',
      text,
      final: true,
      itemId,
      generation: this.#generation + 1,
    })
  }

  #tts(state: unknown, text: unknown): void {
    switch (state) {
      case 'start':
        this.#answering = true
        this.#began = false
        return
      case 'sentence_start': {
        if (!this.#answering || typeof text !== 'string') return
        const answer = this.#open()
        answer.words += answer.words === '' ? text : ` ${text}`
        this.#words(answer, false)
        return
      }
      case 'stop':
        if (!this.#answering) return
        this.#answering = false
        if (!this.#began) {
          this.#counts.emptyAnswers++
          this.#open()
          return this.#end('failed', 'the answer was empty')
        }
        return this.#end('completed')
    }
  }

  #sound(data: Buffer): void {
    if (!this.#answering) {
      this.#counts.lateAudio++
      return
    }
    const pcm = samplesOf(data)
    if (pcm.length === 0) return
    const answer = this.#open()
    answer.samples += pcm.length
    this.#sink.audio(pcm, this.#outputRateHz, answer.itemId, answer.generation)
  }

  /** MCP: the gateway is the server, and its tools are the agent's tools. */
  #asked(payload: Message | undefined): void {
    const { method, id, params } = payload ?? {}
    switch (method) {
      case 'initialize':
        return this.#reply(id, {
          protocolVersion: '2024-11-05',
          capabilities: { tools: {} },
          serverInfo: { name: 'mkondo', version: '1' },
          instructions: this.#session?.instructions ?? '',
        })
      case 'tools/list':
        return this.#reply(id, {
          tools: this.#tools.map(({ name, description, parameters }) => ({
            name,
            description,
            inputSchema: parameters,
          })),
        })
      case 'tools/call':
        return this.#call(id, (params ?? {}) as Message)
      default:
        if (typeof method === 'string' && !method.startsWith('notifications/')) this.#counts.unknownMessages++
    }
  }

  #call(id: unknown, { name, arguments: written }: Message): void {
    const callId = `call-${String(id)}`
    // Calls of a stopped answer are ignored.
    if (!this.#answering || typeof name !== 'string' || this.#calls.has(callId) || this.#calls.size >= CALLS_MAX) return
    this.#calls.set(callId, id)
    const { generation } = this.#open()
    this.#sink.event({ type: 'tool-call', callId, name, generation, ...objectArguments(written) })
    // The model continues when it gets the result.
    this.#end('completed')
  }

  #closeFault(code: number, words: string): VendorFault {
    const what = `Xiaozhi closed the connection (${code})${words === '' ? '' : `: ${words}`}`
    const polite = code === 1000 || code === 1005
    // If the server refuses a client, it sends a sentence and closes the connection normally.
    if (polite && !this.#greeted) return vendorFault('auth', `${what}, before its greeting: is the token right?`, true)
    if (polite) return vendorFault('session_expired', what, true)
    return vendorFault(code === 1011 ? 'internal' : 'network', what, true)
  }

  // --- the answer -----------------------------------------------------------------------------------------

  #open(): Answer {
    this.#began = true
    if (this.#answer !== null) return this.#answer
    const generation = ++this.#generation
    const answer = { generation, itemId: `answer-${generation}`, words: '', samples: 0 }
    this.#answer = answer
    this.#sink.event({ type: 'turn-start', generation })
    return answer
  }

  #end(status: 'completed' | 'cancelled' | 'failed', reason?: string): void {
    const answer = this.#answer
    if (answer === null) return
    this.#answer = null
    const { generation, itemId, words, samples } = answer
    if (status === 'completed') {
      if (samples > 0) this.#sink.event({ type: 'audio-done', generation, itemId })
      if (words !== '') this.#words(answer, true)
    }
    this.#sink.event({
      type: 'usage',
      usage: {
        inputTokens: 0,
        outputTokens: 0,
        audioInMs: this.#uplink.takeSentMs(),
        audioOutMs: (samples * 1000) / this.#outputRateHz,
      },
    })
    this.#sink.event({ type: 'turn-done', generation, status, ...(reason === undefined ? {} : { reason }) })
  }

  #words({ generation, itemId, words: text }: Answer, final: boolean): void {
    this.#sink.event({ type: 'transcript', role: 'agent', text, final, itemId, generation })
  }

  /** Stops the server's present answer. The caller does not hear any of it from now on, even if more audio comes. */
  #abort(): void {
    this.#answering = false
    this.#send({ type: 'abort', reason: 'caller' })
    const callIds = [...this.#calls.keys()]
    this.#calls.clear()
    if (callIds.length > 0) this.#sink.event({ type: 'tool-cancel', callIds })
    this.#end('cancelled')
  }

  // --- messages to the server -----------------------------------------------------------------------------

  /** Sends a text that the server answers. */
  #write(words: string): void {
    const text = [...this.#untold.splice(0), words].join('\n')
    this.#echoes.push(letters(text))
    if (this.#echoes.length > ECHOES_MAX) this.#echoes.shift()
    this.#send({ type: 'listen', state: 'detect', text })
  }

  #reply(id: unknown, result: unknown): void {
    this.#rpc({ jsonrpc: '2.0', id, result })
  }

  #rpc(payload: unknown): void {
    this.#send({ type: 'mcp', payload })
  }

  #send(message: Message): void {
    this.#connection.send(JSON.stringify(this.#serverId === '' ? message : { session_id: this.#serverId, ...message }))
  }
}

function objectOf(data: Buffer): Message | null {
  try {
    const value: unknown = JSON.parse(data.toString())
    return typeof value === 'object' && value !== null ? (value as Message) : null
  } catch {
    return null
  }
}

/** Copies the data, because a message may begin at an odd address. An incomplete sample at the end is left out. */
function samplesOf(data: Buffer): Int16Array {
  const pcm = new Int16Array(data.length >> 1)
  data.copy(Buffer.from(pcm.buffer), 0, 0, pcm.length * 2)
  return pcm
}

function letters(text: string): string {
  return text.replace(/[^\p{L}\p{N}]+/gu, '').toLowerCase()
}
