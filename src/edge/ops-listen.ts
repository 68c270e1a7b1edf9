import { isCallSid } from '../core/ids.js'
import { SOCKET_IDLE_S } from '../core/limits.js'
import type { Log } from '../telemetry/log.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { CallDirectory, Listening } from '../workers/live-call.js'
import { audit } from './ops-audit.js'
import type { Operator } from './ops-audit.js'
import { errorReply } from './http-exchange.js'
import type { Exchange } from './http-exchange.js'
import { NO_COMPRESSION } from './uws.js'
import type { HttpRequest, HttpResponse, TemplatedApp, WebSocket } from './uws.js'

/** Who may listen to calls of this process at once. */
const LISTENERS_MAX = 16
/** Unsent audio of one listener, 4 s at 16 kHz; more is dropped, and the call is not held up. */
const LISTENER_BACKLOG_BYTES_MAX = 256 * 1024
/** A listener says nothing. */
const LISTENER_MESSAGE_BYTES_MAX = 64

interface ListenerData {
  readonly callSid: string
  readonly operator: Operator
  listening: Listening | null
  messagesDropped: number
}

interface ListenOptions {
  readonly calls: Pick<CallDirectory, 'find'>
  readonly log: Log
  readonly metrics: Metrics
  /** This node's name, for the audit log. */
  readonly node: string | null
  /** Answers a request that may not listen; null then. */
  readonly admit: (
    res: HttpResponse,
    req: HttpRequest,
  ) => { readonly exchange: Exchange; readonly operator: Operator } | null
}

/**
 * `GET /api/calls/{sid}/listen` (upgrade): both voices of a live call of this process. The first message is a text,
 * `{"type":"format","sampleRateHz":16000,"channels":2}`; the others are binary, s16le, the caller left and the agent
 * right. The socket closes with 1000 when the stream is over. A listener who does not read loses audio.
 */
export class ListenSockets {
  readonly #options: ListenOptions
  readonly #open = new Set<WebSocket<ListenerData>>()
  readonly #dropped: () => void

  constructor(options: ListenOptions) {
    this.#options = options
    const { metrics } = options
    const dropped = metrics.defineCounter(
      'listen_messages_dropped',
      'Audio that slow listeners of live calls lost',
      [],
    )({})
    this.#dropped = () => dropped.inc()
    metrics.defineGauge('listeners', 'Operators who listen to live calls').from(() => this.#open.size)
  }

  routes(app: TemplatedApp): void {
    app.ws<ListenerData>('/api/calls/:sid/listen', {
      maxPayloadLength: LISTENER_MESSAGE_BYTES_MAX,
      compression: NO_COMPRESSION,
      idleTimeout: SOCKET_IDLE_S,
      // LISTENER_BACKLOG_BYTES_MAX is the bound: a close frame has to fit behind it.
      maxBackpressure: 0,
      sendPingsAutomatically: true,
      upgrade: (res, req, context) => {
        const callSid = req.getParameter(0)
        const admitted = this.#options.admit(res, req)
        if (admitted === null) return
        const { exchange, operator } = admitted
        const call = isCallSid(callSid) ? this.#options.calls.find(callSid) : undefined
        if (call === undefined || callSid === undefined) {
          this.#note('listen', 404, callSid ?? null, operator)
          return void exchange.reply(errorReply(404, 'CALL_UNKNOWN', 'this process has no live call of that SID'))
        }
        if (this.#open.size >= LISTENERS_MAX) {
          this.#note('listen', 503, callSid, operator)
          return void exchange.reply(errorReply(503, 'BUSY', `${LISTENERS_MAX} listen already; wait until one stops`))
        }
        res.upgrade<ListenerData>(
          { callSid, operator, listening: null, messagesDropped: 0 },
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
        if (data.listening !== null) this.#note('listen-over', 200, data.callSid, data.operator)
        data.listening?.stop()
        data.listening = null
      },
    })
  }

  closeAll(): void {
    for (const ws of [...this.#open]) ws.end(1001)
  }

  #begin(ws: WebSocket<ListenerData>): void {
    const data = ws.getUserData()
    this.#open.add(ws)
    const heard = (rows: Int16Array<ArrayBuffer>): void => {
      if (!this.#open.has(ws)) return
      if (ws.getBufferedAmount() > LISTENER_BACKLOG_BYTES_MAX) {
        data.messagesDropped++
        this.#dropped()
      } else ws.send(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength), true)
    }
    const over = (): void => {
      if (this.#open.has(ws)) ws.end(1000)
    }
    data.listening = this.#options.calls.find(data.callSid)?.listen(heard, over) ?? null
    if (data.listening === null) {
      this.#note('listen', 409, data.callSid, data.operator)
      return ws.end(4409, 'the call has no stream, or as many listeners as it may have')
    }
    this.#note('listen', 200, data.callSid, data.operator)
    ws.send(JSON.stringify({ type: 'format', sampleRateHz: data.listening.rateHz, channels: 2 }))
  }

  #note(
    command: 'listen' | 'listen-over',
    status: 200 | 404 | 409 | 503,
    callSid: string | null,
    operator: Operator,
  ): void {
    audit(this.#options.log, { command, node: this.#options.node, call_sid: callSid }, { status }, operator)
  }
}
