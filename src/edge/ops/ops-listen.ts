import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { isCallSid } from '../../core/ids.js'
import type { Clock } from '../../core/clock.js'
import { SOCKET_IDLE_S } from '../../core/limits.js'
import type { Metrics } from '../../telemetry/metrics.js'
import type { CallDirectory, Listening } from '../../workers/main/live-call.js'
import type { Audit, Operator } from './ops-audit.js'
import { errorReply, jsonOf, jsonReply } from '../http/reply.js'
import type { Exchange } from '../http/http-exchange.js'
import type { Reply } from '../http/reply.js'
import { NO_COMPRESSION } from '../http/uws.js'
import type { HttpRequest, HttpResponse, TemplatedApp, WebSocket } from '../http/uws.js'

/** Maximum number of listeners to calls of this process. */
const LISTENERS_MAX = 16
/**
 * Maximum number of unsent bytes of one listener, 4 s at 16 kHz. More audio is dropped, so that the call does not wait.
 */
const LISTENER_BACKLOG_BYTES_MAX = 256 * 1024
/**
 * Time in ms between two requests for the sound of another node's call. The second constant is the time without a
 * request after which the listener counts as gone.
 */
const ASKS_EVERY_MS = 100
const GONE_AFTER_MS = 3000
/** Maximum size in bytes of a listener's message; a listener does not need to send any. */
const LISTENER_MESSAGE_BYTES_MAX = 64

interface ListenerData {
  readonly callSid: string
  readonly operator: Operator
  listening: Listening | null
  begun: boolean
}

/** Audio of a call since the last request of a listener at another node. */
const heardSchema = z.object({
  sampleRateHz: z.int(),
  /** s16le as base64, the caller left and the agent right. */
  audio: z.string(),
  over: z.boolean(),
})

/** Listener at another node to a call of this node. */
interface FarListener {
  readonly callSid: string
  readonly operator: Operator
  readonly rateHz: number
  readonly chunks: Uint8Array[]
  bytes: number
  over: boolean
  askedAtMs: number
  stop: () => void
}

/**
 * `GET /api/calls/{sid}/listen` (upgrade): both voices of a live call. The sound of another node's call is fetched from
 * the other node ten times a second. The first message is a text,
 * `{"type":"format","sampleRateHz":16000,"channels":2}`. All later messages are binary: s16le, the caller left and the
 * agent right. The socket closes with 1000 when the stream ends. A listener who does not read loses audio.
 */
export class ListenSockets {
  readonly #options: ListenOptions
  readonly #open = new Set<WebSocket<ListenerData>>()
  readonly #far = new Map<string, FarListener>()
  readonly #dropped: () => void

  constructor(options: ListenOptions) {
    this.#options = options
    const { metrics } = options
    const dropped = metrics.defineOne(
      'listen_messages_dropped',
      'Audio messages that slow listeners of live calls lost',
    )
    this.#dropped = () => dropped.inc()
    metrics.defineGauge('listeners', 'Operators who listen to live calls of this process').from(() => this.#listeners)
  }

  routes(app: TemplatedApp): void {
    app.ws<ListenerData>('/api/calls/:sid/listen', {
      maxPayloadLength: LISTENER_MESSAGE_BYTES_MAX,
      compression: NO_COMPRESSION,
      idleTimeout: SOCKET_IDLE_S,
      // No limit by uWebSockets.js: LISTENER_BACKLOG_BYTES_MAX limits the audio, and a close frame must fit behind the
      // audio.
      maxBackpressure: 0,
      sendPingsAutomatically: true,
      upgrade: (res, req, context) => {
        const callSid = req.getParameter(0)
        const admitted = this.#options.admit(res, req)
        if (admitted === null) return
        const { exchange, operator } = admitted
        const call = isCallSid(callSid) ? this.#options.calls.find(callSid) : undefined
        const known = call !== undefined || (this.#options.elsewhere !== null && isCallSid(callSid))
        if (!known || callSid === undefined) {
          this.#note('listen', 404, callSid ?? null, operator)
          return void exchange.reply(errorReply(404, 'CALL_UNKNOWN', 'this process has no live call of that SID'))
        }
        if (this.#listeners >= LISTENERS_MAX) {
          this.#note('listen', 503, callSid, operator)
          return void exchange.reply(errorReply(503, 'BUSY', `${LISTENERS_MAX} listen already; wait until one stops`))
        }
        res.upgrade<ListenerData>(
          { callSid, operator, listening: null, begun: false },
          req.getHeader('sec-websocket-key'),
          '',
          req.getHeader('sec-websocket-extensions'),
          context,
        )
      },
      open: (ws) => this.#begin(ws),
      close: (ws) => {
        this.#open.delete(ws)
        const data = ws.getUserData()
        if (data.begun) this.#note('listen-over', 200, data.callSid, data.operator)
        data.listening?.stop()
        data.listening = null
      },
    })
  }

  closeAll(): void {
    for (const ws of [...this.#open]) ws.end(1001)
    for (const id of [...this.#far.keys()]) this.#endFar(id)
  }

  get #listeners(): number {
    return this.#open.size + this.#far.size
  }

  // --- listeners here to a call of another node --------------------------------------------------------------

  async #relay(ws: WebSocket<ListenerData>): Promise<void> {
    const { callSid, operator } = ws.getUserData()
    const id = randomUUID()
    for (let first = true; this.#open.has(ws); first = false) {
      const reply = await this.#options.elsewhere?.(callSid, id, operator).catch(() => null)
      if (!this.#open.has(ws)) return
      const heard = reply?.status === 200 ? heardSchema.safeParse(jsonOf(reply)) : null
      if (heard?.success !== true) {
        if (first) this.#note('listen', reply?.status === 409 ? 409 : 404, callSid, operator)
        return ws.end(reply?.status === 409 ? 4409 : 4404, 'the call has no stream, or its node does not answer')
      }
      const { sampleRateHz, audio, over } = heard.data
      if (first) {
        this.#note('listen', 200, callSid, operator)
        ws.getUserData().begun = true
        ws.send(JSON.stringify({ type: 'format', sampleRateHz, channels: 2 }))
      }
      if (audio !== '') this.#deliver(ws, Buffer.from(audio, 'base64'))
      if (over) return ws.end(1000)
      await sleep(ASKS_EVERY_MS)
    }
  }

  // --- listeners at another node to a call of this node ------------------------------------------------------

  /** Returns the sound since the listener's last request. */
  hear(callSid: string, id: string, operator: Operator): Reply {
    const nowMs = this.#options.clock()
    for (const [other, { askedAtMs }] of this.#far) if (nowMs - askedAtMs > GONE_AFTER_MS) this.#endFar(other)
    const far = this.#far.get(id) ?? this.#beginFar(callSid, id, operator, nowMs)
    if ('status' in far) return far
    far.askedAtMs = nowMs
    const audio = Buffer.concat(far.chunks.splice(0)).toString('base64')
    far.bytes = 0
    if (far.over) this.#endFar(id)
    return jsonReply({ sampleRateHz: far.rateHz, audio, over: far.over } satisfies z.output<typeof heardSchema>)
  }

  #beginFar(callSid: string, id: string, operator: Operator, nowMs: number): FarListener | Reply {
    if (this.#listeners >= LISTENERS_MAX) return errorReply(409, 'CONFLICT', `${LISTENERS_MAX} listen already`)
    const call = this.#options.calls.find(callSid)
    if (call === undefined) return errorReply(404, 'CALL_UNKNOWN', 'this node has no live call of that SID')
    const listening = call.listen(
      (rows) => this.#keep(id, new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength)),
      () => {
        const far = this.#far.get(id)
        if (far !== undefined) far.over = true
      },
    )
    if (listening === null)
      return errorReply(409, 'CONFLICT', 'the call has no stream, or already has the maximum number of listeners')
    const { rateHz } = listening
    const stop = (): void => listening.stop()
    const far = { callSid, operator, rateHz, chunks: [], bytes: 0, over: false, askedAtMs: nowMs, stop }
    this.#far.set(id, far)
    this.#note('listen', 200, callSid, operator)
    return far
  }

  #keep(id: string, rows: Uint8Array): void {
    const far = this.#far.get(id)
    if (far === undefined) return
    if (this.#options.clock() - far.askedAtMs > GONE_AFTER_MS) return this.#endFar(id)
    if (far.bytes + rows.byteLength > LISTENER_BACKLOG_BYTES_MAX) return this.#dropped()
    far.chunks.push(rows.slice())
    far.bytes += rows.byteLength
  }

  #endFar(id: string): void {
    const far = this.#far.get(id)
    if (far === undefined) return
    this.#far.delete(id)
    far.stop()
    this.#note('listen-over', 200, far.callSid, far.operator)
  }

  // --- listeners here to a call of this node -----------------------------------------------------------------

  #begin(ws: WebSocket<ListenerData>): void {
    const data = ws.getUserData()
    this.#open.add(ws)
    if (this.#options.calls.find(data.callSid) === undefined) return void this.#relay(ws)
    const heard = (rows: Int16Array<ArrayBuffer>): void =>
      this.#deliver(ws, new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength))
    const over = (): void => {
      if (this.#open.has(ws)) ws.end(1000)
    }
    data.listening = this.#options.calls.find(data.callSid)?.listen(heard, over) ?? null
    if (data.listening === null) {
      this.#note('listen', 409, data.callSid, data.operator)
      return ws.end(4409, 'the call has no stream, or already has the maximum number of listeners')
    }
    data.begun = true
    this.#note('listen', 200, data.callSid, data.operator)
    ws.send(JSON.stringify({ type: 'format', sampleRateHz: data.listening.rateHz, channels: 2 }))
  }

  #deliver(ws: WebSocket<ListenerData>, audio: Uint8Array): void {
    if (!this.#open.has(ws)) return
    if (ws.getBufferedAmount() <= LISTENER_BACKLOG_BYTES_MAX) ws.send(audio, true)
    else this.#dropped()
  }

  #note(
    command: 'listen' | 'listen-over',
    status: 200 | 404 | 409 | 503,
    callSid: string | null,
    operator: Operator,
  ): void {
    this.#options.audit({ command, call_sid: callSid }, { status }, operator)
  }
}

interface ListenOptions {
  readonly calls: Pick<CallDirectory, 'find'>
  readonly clock: Clock
  /** Asks the node that has a call for its sound; null without other nodes. @param id  id of the listener */
  readonly elsewhere: ((callSid: string, id: string, operator: Operator) => Promise<Reply>) | null
  readonly audit: Audit
  readonly metrics: Metrics
  /** Admits a request; null if it may not listen. The refused request is then answered. */
  readonly admit: (
    res: HttpResponse,
    req: HttpRequest,
  ) => { readonly exchange: Exchange; readonly operator: Operator } | null
}
