import { once } from 'node:events'
import type { IncomingHttpHeaders } from 'node:http'
import { type WebSocket, WebSocketServer } from 'ws'
import { isSampleRateHz } from '../../core/units.js'
import { energyOf, G711, joined, samplesOf } from '../../media/pcm.js'
import { RateConverter } from '../../media/resample/rate-converter.js'
import { LocalHttpServer, type LocalHttpServerOptions } from '../../system/local-http-server.js'
import { isPureTone } from '../../media/vad/pure-tone.js'
import type { ScriptedReply } from '../../backends/conformance.js'
import type { DoubleFault } from '../choices.js'
import { SILENCE_MS, toneSpeaker } from './tone-speaker.js'
import type { SpokenText, Speaker } from './tone-speaker.js'

/** Text of a double's recogniser for speech that it cannot recognise. */
export const INAUDIBLE = '[inaudible]'

/** An answer, with its sound if the sound already exists. */
export interface ModelReply extends ScriptedReply {
  readonly sound?: SpokenText
}

/** The model behind a session of a double: a script, or a model that understands speech. */
export interface DoubleModel {
  /** Number of answers that were begun. */
  readonly answers: number
  /** The last answer that was begun; null before the first answer. */
  readonly lastReply: ModelReply | null
  /** The model's reply when it has to answer. */
  nextReply(): ModelReply | Promise<ModelReply>
  /** @returns the caller's words, after the caller has finished */
  nextCallerText(): string | Promise<string>
  /** Receives all audio of the caller's line, s16. */
  hear?(pcm: Int16Array, sampleRateHz: number): void
  callerStarted?(): void
  /** A text from the client: words of an earlier session, or a note. */
  told?(role: 'caller' | 'agent' | 'system', text: string): void
  /** Receives the result of a tool call as the client wrote it: JSON, as text or parsed. */
  toolResult?(callId: string, output: unknown): void
  /** Records that the service cancelled these tool calls. */
  callsTakenBack?(callIds: readonly string[]): void
  close?(): void
}

interface ScriptOptions {
  /**
   * Time in ms after the start of a spoken answer. If the next answer is due within this time, the caller had not
   * finished. Then the same answer is spoken again, as by a model that was interrupted at its first word. Default: 0
   * (no repetition).
   */
  readonly againWithinMs?: number
  readonly nowMs?: () => number
}

/** Answers in order; `Yes.` after the end of the script. */
export class Script implements DoubleModel {
  readonly #replies: ScriptedReply[]
  readonly #callerTexts: string[]
  readonly #againWithinMs: number
  readonly #nowMs: () => number
  #last: { readonly reply: ScriptedReply; readonly atMs: number } | null = null
  /** Number of answers that were begun. */
  answers = 0

  constructor(
    replies: readonly ScriptedReply[] = [],
    callerTexts: readonly string[] = [],
    options: ScriptOptions = {},
  ) {
    this.#replies = [...replies]
    this.#callerTexts = [...callerTexts]
    this.#againWithinMs = options.againWithinMs ?? 0
    this.#nowMs = options.nowMs ?? (() => performance.now())
  }

  reply(...replies: readonly ScriptedReply[]): void {
    this.#replies.push(...replies)
  }

  callerSays(...texts: readonly string[]): void {
    this.#callerTexts.push(...texts)
  }

  nextReply(): ScriptedReply {
    this.answers++
    const nowMs = this.#nowMs()
    const last = this.#last
    const cut = last?.reply.say !== undefined && nowMs - last.atMs < this.#againWithinMs
    const reply = cut ? onceMore(last.reply) : (this.#replies.shift() ?? { say: 'Yes.' })
    this.#last = { reply, atMs: nowMs }
    return reply
  }

  /** The last answer that was begun; null before the first answer. */
  get lastReply(): ScriptedReply | null {
    return this.#last?.reply ?? null
  }

  nextCallerText(): string {
    return this.#callerTexts.shift() ?? 'hello'
  }
}

/** Repeats an answer with new ids for its tool calls, because a model never uses an id twice. */
function onceMore(reply: ScriptedReply): ScriptedReply {
  return reply.calls === undefined
    ? reply
    : { ...reply, calls: reply.calls.map((call) => ({ ...call, callId: `${call.callId}_again` })) }
}

/** Detection of the caller's turns by a double. */
interface Turns {
  readonly silenceMs: number
  /**
   * True: DTMF digits and the tones of phone lines do not count as speech. Default: any loud sound counts as speech.
   */
  readonly skipsTones?: boolean
}

/** @returns the encoding of samples by their format's type, such as `audio/pcma`; null for plain samples */
function lawOfFormat(type: string | undefined): (typeof G711)[keyof typeof G711] | null {
  return type === 'audio/pcmu' ? G711.pcmu : type === 'audio/pcma' ? G711.pcma : null
}

/** A format of a session's audio. */
interface AudioFormat {
  readonly type?: string
  readonly rate?: number
}

export function rateOfFormat(format: AudioFormat | undefined): number {
  return lawOfFormat(format?.type) === null ? (format?.rate ?? 24_000) : 8000
}

/** The samples of a message; null if it is not base64. */
export function samplesIn(base64: string, format: AudioFormat | undefined): Int16Array | null {
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.toString('base64') !== base64) return null
  const law = lawOfFormat(format?.type)
  if (law === null) return samplesOf(bytes)
  const samples = new Int16Array(bytes.length)
  return samples.subarray(0, law.decode(bytes, samples))
}

/** The base64 text of samples, which `samplesIn` reads. */
export function base64Of(samples: Int16Array, format: AudioFormat | undefined): string {
  const law = lawOfFormat(format?.type)
  const bytes = Buffer.from(samples.slice().buffer)
  return bytes.toString('base64', 0, law === null ? bytes.length : law.encode(samples, bytes))
}

/** Finds the start and end of speech by level. Times are durations of audio, not of the clock. */
export class LevelDetector {
  heardMs = 0
  speaking = false
  readonly #options: Turns & { readonly sampleRateHz: number }
  #loudMs = 0
  #quietMs = 0

  constructor(options: Turns & { readonly sampleRateHz: number }) {
    this.#options = options
  }

  /** Ends the audio for now. @returns true if the caller was speaking until now */
  end(): boolean {
    const spoke = this.speaking
    this.speaking = false
    this.#loudMs = 0
    return spoke
  }

  /** @returns the starts and ends of speech in this audio, in order */
  hear(pcm: Int16Array): ('started' | 'stopped')[] {
    const { sampleRateHz, silenceMs, skipsTones = false } = this.#options
    const edges: ('started' | 'stopped')[] = []
    const window = Math.round(sampleRateHz / 100)
    for (let from = 0; from < pcm.length; from += window) {
      const to = Math.min(pcm.length, from + window)
      const ms = ((to - from) * 1000) / sampleRateHz
      this.heardMs += ms
      const rms = Math.sqrt(energyOf(pcm, from, to) / (to - from))
      const loud = rms > 500 && !(skipsTones && isTone(pcm.subarray(from, to), sampleRateHz))
      this.#loudMs = loud ? this.#loudMs + ms : 0
      this.#quietMs = loud ? 0 : this.#quietMs + ms
      if (!this.speaking && this.#loudMs >= 60) {
        this.speaking = true
        edges.push('started')
      } else if (this.speaking && this.#quietMs >= silenceMs) {
        this.speaking = false
        edges.push('stopped')
      }
    }
    return edges
  }
}

function isTone(window: Int16Array, sampleRateHz: number): boolean {
  return isSampleRateHz(sampleRateHz) && isPureTone(window, sampleRateHz)
}

export interface DoubleOptions extends LocalHttpServerOptions {
  /** The only valid API key; null accepts every client. */
  readonly key?: string | null
  readonly script?: Script
  /** The model of a session, by its instructions. Default: the script, for all sessions. */
  readonly model?: (instructions: string) => DoubleModel
  /** The service's detection of the caller's turns: the required silence, default 200 ms, and the handling of tones. */
  readonly turns?: Partial<Turns>
  /** The agent's voice, such as `flite.speak`. Default: a tone. */
  readonly speaker?: Speaker
  /** Wait in ms before a session is confirmed. */
  readonly readyDelayMs?: number
}

/** An HTTP answer that refuses a request or an upgrade. */
export interface Refusal {
  readonly status: number
  readonly body: string
}

/** Answer for an unknown path. */
export const NOT_FOUND: Refusal = { status: 404, body: '{"error":{"message":"Not found"}}' }

/** Refusal of a session. */
export interface RefusedSession {
  readonly type: string
  readonly code: string
  readonly message: string
  readonly param?: string
}

/** Refusal for an account without credit. */
export const NO_QUOTA: RefusedSession = {
  type: 'insufficient_quota',
  code: 'insufficient_quota',
  message: 'You exceeded your current quota, please check your plan and billing details.',
}
export const NO_QUOTA_REFUSAL: Refusal = { status: 429, body: JSON.stringify({ error: NO_QUOTA }) }
/**
 * Number of empty answers that is larger than any number of requests. A double with this number of empty answers never
 * answers.
 */
export const EMPTY_FOREVER = Number.MAX_SAFE_INTEGER

/** A vendor's WebSocket service on loopback: one session per connection, and faults on demand. */
export abstract class SocketDouble<Session extends DoubleSession> extends LocalHttpServer {
  readonly script: Script
  readonly sessions: Session[] = []
  /** Number of upgrade requests, including refused ones. */
  connections = 0
  readyDelayMs: number
  /** Refusal of the next upgrades; null accepts them, `'never'` leaves them unanswered. */
  refuse: Refusal | 'never' | null = null
  /** Closes each new connection at once with this code and reason. */
  closeAtOnce: { readonly code: number; readonly reason: string } | null = null
  readonly speaker: Speaker
  /** The model of a session. */
  readonly model: (instructions: string) => DoubleModel
  readonly turns: Turns
  protected readonly key: string | null
  readonly #clients: ReadonlySet<WebSocket>

  constructor(options: DoubleOptions = {}) {
    super(options, (_request, response) => response.writeHead(426).end())
    this.script = options.script ?? new Script()
    this.readyDelayMs = options.readyDelayMs ?? 0
    this.key = options.key ?? null
    this.speaker = options.speaker ?? toneSpeaker(24_000)
    this.model = options.model ?? (() => this.script)
    this.turns = { silenceMs: SILENCE_MS, ...options.turns }
    const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 16 * 1024 * 1024 })
    this.#clients = sockets.clients
    this.server.on('upgrade', (request, socket, head) => {
      this.connections++
      // A client whose base URL ends with a slash may send two slashes. At least one real service accepts them, so all
      // doubles accept them.
      const url = new URL((request.url ?? '').replace(/^\/+/, '/'), 'http://double')
      const refusal = this.refuse ?? this.refusalOf?.(url, request.headers) ?? null
      if (refusal === 'never') return
      if (refusal !== null) {
        socket.end(
          `HTTP/1.1 ${refusal.status} Refused\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(refusal.body)}\r\nConnection: close\r\n\r\n${refusal.body}`,
        )
        return
      }
      sockets.handleUpgrade(request, socket, head, (client) => {
        if (this.closeAtOnce !== null) return client.close(this.closeAtOnce.code, this.closeAtOnce.reason)
        const session = this.accept(client, url, request.headers)
        if (session !== null) this.sessions.push(session)
      })
    })
  }

  /** Activates these faults. */
  misbehave(faults: readonly DoubleFault[]): void {
    if (faults.includes('no-quota')) this.refuse = NO_QUOTA_REFUSAL
    if (faults.includes('never-ready')) this.refuse = 'never'
  }

  /** Resolves when the clients have read all data that was sent to them. */
  async arrived(): Promise<void> {
    await Promise.all(
      [...this.#clients].map(async (client) => {
        const gone = once(client, 'close')
        client.ping()
        await Promise.race([once(client, 'pong'), gone])
      }),
    )
  }

  /** @returns the vendor's refusal of this upgrade; null if the double accepts it. Absent: every upgrade is accepted */
  protected refusalOf?(url: URL, headers: IncomingHttpHeaders): Refusal | null
  /** @returns the session; null if the client was closed instead */
  protected abstract accept(client: WebSocket, url: URL, headers: IncomingHttpHeaders): Session | null

  /** The newest session. */
  get session(): Session {
    const session = this.sessions.at(-1)
    if (session === undefined) throw new Error('no client is connected to the double')
    return session
  }

  override async close(): Promise<void> {
    for (const session of this.sessions) session.stop()
    await super.close()
  }
}

/** One connection of a double. */
export abstract class DoubleSession {
  protected readonly client: WebSocket
  /** True once the connection is over: all later work is dropped. */
  protected stopped = false

  constructor(client: WebSocket) {
    this.client = client
    client.on('message', (data, binary) => this.take(data as Buffer, binary))
    client.on('close', () => this.stop())
    client.on('error', () => undefined)
  }

  /** A message of the client. */
  protected abstract take(bytes: Buffer, binary: boolean): void

  stop(): void {
    this.stopped = true
  }

  /** Sends `data` unchanged. */
  sendRaw(data: string | Buffer): void {
    if (this.client.readyState === this.client.OPEN) this.client.send(data)
  }

  protected sendJson(message: object): void {
    this.sendRaw(JSON.stringify(message))
  }

  /**
   * Calls `work` after `ms`; for 0 ms immediately, because scripted sessions must not need additional turns of the
   * event loop. After `stop`, `work` is not called.
   */
  protected later(ms: number, work: () => void): void {
    if (ms <= 0) return work()
    setTimeout(() => {
      if (!this.stopped) work()
    }, ms).unref()
  }
}

/** One session of a service whose model hears and speaks. */
export abstract class SpokenSession<
  Double extends Pick<SocketDouble<DoubleSession>, 'model' | 'turns'>,
> extends DoubleSession {
  callerAudioMs = 0
  protected readonly double: Double
  protected detector: LevelDetector
  #model: DoubleModel | null = null

  constructor(client: WebSocket, double: Double, sampleRateHz: number) {
    super(client)
    this.double = double
    this.detector = new LevelDetector({ sampleRateHz, ...double.turns })
  }

  /** Instructions in the session's configuration. */
  protected abstract get instructions(): string

  /**
   * The model. It is created when the first message needs it, because the session is configured before this message.
   */
  protected get dialogue(): DoubleModel {
    return (this.#model ??= this.double.model(this.instructions))
  }

  override stop(): void {
    super.stop()
    this.#model?.close?.()
  }
}

/**
 * Calls `work` with `value`. If `value` is not a promise, `work` is called immediately, because scripted sessions must
 * not need additional turns of the event loop.
 */
export function soon<T>(value: T | Promise<T>, work: (value: T) => void): void {
  if (value instanceof Promise) void value.then(work)
  else work(value)
}

/** @returns the sound of an answer at `sampleRateHz`, cut or stretched to `audioMs` if the script sets `audioMs` */
export function soundOf(reply: ModelReply, speaker: Speaker, sampleRateHz: number): Int16Array {
  if (reply.say === undefined || reply.say === '') return new Int16Array(0)
  const spoken = reply.sound ?? speaker(reply.say)
  const pcm = atRate(spoken.pcm, spoken.sampleRateHz, sampleRateHz)
  if (reply.audioMs === undefined) return pcm
  const exact = new Int16Array(Math.round((reply.audioMs * sampleRateHz) / 1000))
  for (let i = 0; i < exact.length; i++) exact[i] = pcm[i % pcm.length] ?? 0
  return exact
}

/** @returns a part of an answer. Its duration is in proportion to its number of letters */
export function partOf({ audioMs, say = '' }: ScriptedReply, text: string): ScriptedReply {
  const letters = (words: string): number => words.replaceAll(' ', '').length
  return audioMs === undefined
    ? { say: text }
    : { say: text, audioMs: (audioMs * letters(text)) / Math.max(1, letters(say)) }
}

/** Converts a whole sound to another rate. */
export function atRate(pcm: Int16Array, fromHz: number, toHz: number): Int16Array {
  if (fromHz === toHz) return pcm
  const converter = new RateConverter(fromHz, toHz)
  return joined([converter.process(pcm), converter.flush()]).subarray(0, Math.floor((pcm.length * toHz) / fromHz))
}
