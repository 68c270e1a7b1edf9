import type { ErrorCode } from '../../core/errors.js'
import { CARRIER_FRAME_BYTES_MAX, EDGE_SWEEP_MS, SOCKET_IDLE_S } from '../../core/limits.js'
import { handshakeMetadata, offersSubprotocol } from '../../sautikit/stream-messages.js'
import type { Subprotocol } from '../../sautikit/stream-messages.js'
import type { LiveCall } from '../../workers/main/live-call.js'
import type { RefusalReason } from '../../telemetry/metric-labels.js'
import { CarrierSocket, endOfOurs, endOfSocket, socketCounters } from './carrier-socket.js'
import type { SocketCounters, SocketData } from './carrier-socket.js'
import type { Client, ClientAddresses } from '../http/client-address.js'
import { Exchange } from '../http/http-exchange.js'
import { AUDIO_PATH } from './public-routes.js'
import { errorReply } from '../http/reply.js'
import type { HttpErrorCode, HttpStatus } from '../http/reply.js'
import type { EdgeOptions } from '../options.js'
import type { UnsentReplies } from '../http/reply-writer.js'
import type { StreamTokens } from './stream-tokens.js'
import { NO_COMPRESSION } from '../http/uws.js'
import type { HttpRequest, HttpResponse, TemplatedApp, UpgradeContext, WebSocket } from '../http/uws.js'
import type { WebhookGuard } from './webhook-guard.js'

/**
 * Maximum number of unsent bytes of one socket: 2 s of 16 kHz audio besides the kernel's buffer. More bytes end the
 * call.
 */
const SOCKET_BACKPRESSURE_BYTES_MAX = 64 * 1024

type MediaOptions = Pick<EdgeOptions, 'calls' | 'clock' | 'log' | 'metrics' | 'fleet'>

interface Refusal {
  readonly reason: RefusalReason
  readonly status: HttpStatus
  readonly code: HttpErrorCode
  readonly message: string
}

interface Admission {
  readonly call: LiveCall
  readonly nonce: string
  readonly subprotocol: Subprotocol
}

/** The refusal for each fault of a token. */
const TOKEN_REFUSALS: Readonly<Record<string, readonly [RefusalReason, HttpStatus, ErrorCode]>> = {
  missing: ['token-missing', 401, 'TOKEN_MISSING'],
  expired: ['token-expired', 403, 'TOKEN_EXPIRED'],
}

/** Refusals of tokens that are valid and were made by this gateway. */
const TOKEN_WAS_OURS: readonly RefusalReason[] = ['token-used', 'call-unknown', 'duplicate']

/**
 * Audio sockets of all calls. Every refusal comes before the upgrade, because the carrier then reports a
 * `stream-error`. After the upgrade a socket can only be closed.
 */
export class MediaSockets {
  readonly counters: SocketCounters = socketCounters()
  readonly #options: MediaOptions
  readonly #tokens: StreamTokens
  readonly #guard: WebhookGuard
  readonly #addresses: ClientAddresses
  readonly #unsent: UnsentReplies
  readonly #answeredAtMs: (callSid: string) => number | undefined
  readonly #open = new Set<CarrierSocket>()
  readonly #utf8 = new TextDecoder()
  #sweptAtMs: number

  /** @param answeredAtMs  returns the time of the answer to a call's first webhook, on this clock */
  constructor(
    options: MediaOptions,
    tokens: StreamTokens,
    guard: WebhookGuard,
    addresses: ClientAddresses,
    answeredAtMs: (callSid: string) => number | undefined,
    unsent: UnsentReplies,
  ) {
    this.#options = options
    this.#unsent = unsent
    this.#tokens = tokens
    this.#answeredAtMs = answeredAtMs
    this.#guard = guard
    this.#addresses = addresses
    this.#sweptAtMs = options.clock()
    this.#export()
  }

  routes(app: TemplatedApp): void {
    app.ws<SocketData>(AUDIO_PATH, {
      maxPayloadLength: CARRIER_FRAME_BYTES_MAX,
      compression: NO_COMPRESSION,
      idleTimeout: SOCKET_IDLE_S,
      sendPingsAutomatically: false, // sweep() sends pings, spread over the sockets
      maxBackpressure: SOCKET_BACKPRESSURE_BYTES_MAX,
      upgrade: (res, req, context) => this.#upgrade(res, req, context),
      open: (ws) => this.#opened(ws),
      message: (ws, message, isBinary) => {
        const { carrier } = ws.getUserData()
        if (isBinary) carrier.binary(message)
        else carrier.text(this.#utf8.decode(message))
      },
      pong: (ws) => ws.getUserData().carrier.pong(),
      close: (ws, code, message) => this.#closed(ws, code, message),
    })
  }

  /** Checks all sockets; called by the edge's one timer. */
  sweep(nowMs: number): void {
    // After a stall of this process its sockets hold frames that no handler has received yet.
    const sinceMs = nowMs - this.#sweptAtMs
    const elapsedMs = Math.min(sinceMs, 2 * EDGE_SWEEP_MS)
    this.#sweptAtMs = nowMs
    for (const socket of this.#open) socket.sweep(nowMs, elapsedMs, elapsedMs < sinceMs)
  }

  /**
   * Closes all sockets (1001).
   * @returns the number of sockets
   */
  closeAll(): number {
    const sockets = [...this.#open] // copied, because each socket leaves the set while it closes
    for (const socket of sockets) socket.shutDown()
    return sockets.length
  }

  cutAll(): void {
    for (const socket of [...this.#open]) socket.cut()
  }

  // --- before the upgrade -------------------------------------------------------------------------------------

  #upgrade(res: HttpResponse, req: HttpRequest, context: UpgradeContext): void {
    const admission = this.#admit(req)
    const client = this.#addresses.of(res, req)
    if ('status' in admission) return this.#refuse(new Exchange(res, req, this.#unsent), admission, client)

    this.#guard.work.proved(client.address)
    const { call, nonce, subprotocol } = admission
    const { calls, clock, metrics, fleet } = this.#options
    const answeredAtMs = this.#answeredAtMs(call.callSid)
    const carrier = new CarrierSocket({
      call,
      channels: calls.agent(call.agent)?.stream.track === 'both_tracks' ? 2 : 1,
      counters: this.counters,
      clock,
      onFirstAudio: () => {
        if (answeredAtMs !== undefined) metrics.streamSetup.observe((clock() - answeredAtMs) / 1000, call.callSid)
      },
    })
    this.#tokens.use(nonce)
    const metadata = handshakeMetadata(headersOf(req))
    // `upgrade` opens the socket before it returns.
    res.upgrade<SocketData>({ carrier }, req.getHeader('sec-websocket-key'), subprotocol, '', context)
    if (!carrier.open) return
    // Metadata in the handshake's headers replaces the first text frame.
    if (metadata !== null) call.text([metadata])
    // The result is not awaited: the call has already begun, and this node remembers its used nonces itself.
    void fleet?.node.streamOpened(call.callSid, nonce).then((result) => {
      if (result === 'used') carrier.disown()
    })
  }

  /** Checks the token and ignores the address: a good token is admitted even from an address with failures. */
  #admit(req: HttpRequest): Admission | Refusal {
    const subprotocol = offersSubprotocol(req.getHeader('sec-websocket-protocol'))
    if (subprotocol === null) {
      return refusal('subprotocol', 400, 'SUBPROTOCOL', 'the socket must offer the subprotocol audio.drachtio.org')
    }
    const token = this.#tokens.check(req.getQuery('t'), 'audio')
    if (token.result !== 'ok') {
      const [reason, status, code] = TOKEN_REFUSALS[token.result] ?? (['token-invalid', 403, 'TOKEN_INVALID'] as const)
      return refusal(reason, status, code, `the token in the URL is refused: ${token.result}`)
    }
    if (this.#tokens.isUsed(token.nonce))
      return refusal('token-used', 403, 'TOKEN_USED', 'the token in the URL has opened a socket already')
    const { calls, fleet } = this.#options
    const call = calls.find(token.callSid)
    if (call === undefined) {
      const where = fleet === undefined ? 'this gateway' : `node ${fleet.node.name}`
      return refusal(
        'call-unknown',
        403,
        'CALL_UNKNOWN',
        `the call of this token is not at ${where}: it is over, or NODE_URL leads to another node than its owner`,
      )
    }
    // The token belongs to an earlier owner, which had the call before this node took it over. Without the store there
    // is no epoch.
    if (fleet !== undefined && token.epoch !== 0 && !fleet.node.heldIn(token.callSid, token.epoch))
      return refusal('token-invalid', 403, 'TOKEN_INVALID', 'the token in the URL is of an earlier owner of its call')
    if (call.state !== 'waiting') return taken()
    return { call, nonce: token.nonce, subprotocol }
  }

  #refuse(exchange: Exchange, refused: Refusal, client: Client): void {
    const closes = this.#guard.closes(client.address)
    // A token that we made gets its own reason, even from an address with failures.
    if (closes !== null && !TOKEN_WAS_OURS.includes(refused.reason)) {
      this.#options.metrics.callsRefused({ reason: 'rate-limit' }).inc()
      return this.#guard.close(exchange, client, closes)
    }
    this.#options.metrics.callsRefused({ reason: refused.reason }).inc()
    // Above the limit a refusal is only counted, because a flood must not displace entries of the log and the list.
    if (closes === null) {
      this.#guard.refusals.note({ reason: refused.reason, why: refused.message, callSid: null, agent: null })
      this.#options.log.warn(
        { reason: refused.reason, code: refused.code, status: refused.status, address: client.address },
        'an audio socket was refused',
      )
    }
    exchange.reply(errorReply(refused.status, refused.code, refused.message, { close: true }))
  }

  // --- after the upgrade
  // -----------------------------------------------------------------------------------------------

  #opened(ws: WebSocket<SocketData>): void {
    const { carrier } = ws.getUserData()
    carrier.opened(ws)
    this.#open.add(carrier)
    try {
      carrier.call.attach(carrier)
    } catch (error) {
      this.#options.log
        .call(carrier.call.callSid)
        .error({ err: error }, 'an audio socket could not be attached to its call')
      carrier.disown()
    }
  }

  #closed(ws: WebSocket<SocketData>, code: number, message: ArrayBuffer): void {
    const { carrier } = ws.getUserData()
    carrier.gone()
    this.#open.delete(carrier)
    const {
      cause,
      code: endCode,
      fault,
    } = carrier.cause === null ? endOfSocket(code, this.#utf8.decode(message)) : endOfOurs(carrier.cause, code)
    this.#options.metrics.socketsClosed({ why: cause }).inc(1, carrier.call.callSid)
    this.#options.log.call(carrier.call.callSid).debug({ code, cause, ...fault }, 'the audio socket closed')
    if (cause !== 'refused') carrier.call.detach(endCode, fault)
    this.#options.fleet?.node.streamClosed(carrier.call.callSid)
  }

  #export(): void {
    const { metrics } = this.#options
    const counters = this.counters
    metrics.socketsOpen.from(() => this.#open.size)
    metrics.socketBackpressure.from(() => {
      let fullest = 0
      for (const socket of this.#open) fullest = Math.max(fullest, socket.backpressureBytes)
      return fullest
    })
    metrics.countOne('socket_sends_delayed', 'Frames that an audio socket buffered', () => counters.sendsDelayed)
    metrics.countFrom(metrics.carrierFrames({ direction: 'in' }), () => counters.framesIn)
    metrics.countFrom(metrics.carrierFrames({ direction: 'out' }), () => counters.framesOut)
    metrics.countFrom(metrics.carrierBytes({ direction: 'in' }), () => counters.bytesIn)
    metrics.countFrom(metrics.carrierBytes({ direction: 'out' }), () => counters.bytesOut)
    metrics.countFrom(metrics.carrierFramesBad({ kind: 'empty' }), () => counters.emptyFrames)
    metrics.countFrom(metrics.carrierFramesBad({ kind: 'odd' }), () => counters.oddFrames)
    metrics.countFrom(metrics.carrierFramesBad({ kind: 'text-dropped' }), () => counters.textFramesDropped)
    metrics.countFrom(metrics.carrierFramesBad({ kind: 'garbage' }), () => counters.garbageTexts)
    metrics.countFrom(metrics.carrierFramesBad({ kind: 'unknown' }), () => counters.unknownTexts)
  }
}

function refusal(reason: RefusalReason, status: HttpStatus, code: HttpErrorCode, message: string): Refusal {
  return { reason, status, code, message }
}

function taken(): Refusal {
  return refusal('duplicate', 409, 'DUPLICATE_CALL', 'the call of this token has or had its socket')
}

function headersOf(req: HttpRequest): [string, string][] {
  const headers: [string, string][] = []
  req.forEach((name, value) => {
    headers.push([name, value])
  })
  return headers
}
