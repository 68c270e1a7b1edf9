import type { Clock } from '../../core/clock.js'
import { CARRIER_BURST_MS, CARRIER_FRAME_BYTES_MAX, SOCKET_IDLE_S } from '../../core/limits.js'
import { BYTES_PER_SAMPLE } from '../../core/units.js'
import type { StreamFault } from '../../call/events.js'
import type { EndReason } from '../../call/documents/record.js'
import { parseStreamText } from '../../sautikit/stream-messages.js'
import type { LiveCall, MediaSink } from '../../workers/main/live-call.js'
import type { WebSocket } from '../http/uws.js'

/** Time in ms over which the carrier's byte rate is measured (docs/PROTOCOL.md). */
const CARRIER_RATE_WINDOW_MS = 10_000
/** Time in ms without any frame from the carrier after which a call ends. */
const CARRIER_SILENT_MS = 5000
/** Time in ms between two pings of the server to each carrier socket. */
const SOCKET_PING_MS = 15_000
/** Time in ms without audio after an empty binary frame: the carrier then waits for us to close. */
const CARRIER_FLUSHED_MS = 1000
/** Maximum number of text frames of one socket in one rate window; the carrier sends a few per call. */
const TEXT_FRAMES_PER_WINDOW_MAX = 500

/**
 * State that uWebSockets.js stores with a socket. uWebSockets.js copies the fields of this object. So the object has
 * only one field, which refers to the state.
 */
export interface SocketData {
  readonly carrier: CarrierSocket
}
export type SocketCounters = ReturnType<typeof socketCounters>

/**
 * Time in ms without frames after which a ping is sent. The carrier sends a frame every 20 ms while its leg lives, and
 * a stall of the network also delays the answer to a ping. So if a ping after LEG_PING_MS is answered and no frames
 * come, the caller has hung up and the carrier left the socket open. In production, such sockets were seen for 5 s and
 * for 32 s. The call ends after LEG_OVER_MS.
 */
const LEG_PING_MS = 1000
const LEG_OVER_MS = 2000

interface CarrierSocketOptions {
  readonly call: LiveCall
  /** Number of channels of the agent's track; two only if both tracks were requested. */
  readonly channels: 1 | 2
  readonly counters: SocketCounters
  /** Called once, with the first audio. */
  readonly onFirstAudio: () => void
  /** Monotonic clock. */
  readonly clock: Clock
}

/**
 * One carrier socket: passes frames between the carrier and its call, and detects faults. Frames only increment
 * counters; `sweep` reads the clock, a few times a second for all sockets.
 */
export class CarrierSocket implements MediaSink {
  readonly call: LiveCall
  /** Cause of the socket's end, if it has ended or will end; null while it is in use. */
  cause: CloseCause | null = null
  readonly #counters: SocketCounters
  readonly #onFirstAudio: () => void
  readonly #clock: Clock
  readonly #bytesPerMs: number
  readonly #windowBytesMax: number
  #ws: WebSocket<SocketData> | null = null
  /** Number of frames of any kind, and the number at the last sweep. */
  #frames = 0
  #framesSeen = 0
  #quietMs = 0
  /**
   * True if the carrier answered a ping that was sent while no frames came: its connection works, so its leg has ended.
   */
  #answersInSilence = false
  #binaryFrames = 0
  #textFrames = 0
  /** True if the carrier sent an empty frame: it will send no more audio. */
  #flushed = false
  #windowBytes = 0
  #windowTexts = 0
  #windowStartMs: number
  #pingAtMs: number

  constructor(options: CarrierSocketOptions) {
    this.call = options.call
    this.#counters = options.counters
    this.#onFirstAudio = options.onFirstAudio
    this.#clock = options.clock
    this.#bytesPerMs = (options.call.legRateHz * BYTES_PER_SAMPLE * options.channels) / 1000
    this.#windowBytesMax = windowBytesMax(this.#bytesPerMs, CARRIER_RATE_WINDOW_MS)
    const nowMs = options.clock()
    this.#windowStartMs = nowMs
    this.#pingAtMs = nowMs + SOCKET_PING_MS
  }

  get open(): boolean {
    return this.#ws !== null
  }

  /** Number of bytes that wait in this socket, without the kernel's buffer. */
  get backpressureBytes(): number {
    return this.#ws?.getBufferedAmount() ?? 0
  }

  opened(ws: WebSocket<SocketData>): void {
    this.#ws = ws
  }

  /** Notes that the socket is closed; uWebSockets.js allows no more use of the object. */
  gone(): void {
    this.#ws = null
  }

  // --- from the carrier ---------------------------------------------------------------------------------------

  /** Notes that the carrier answered a ping. */
  pong(): void {
    if (this.#quietMs >= LEG_PING_MS) this.#answersInSilence = true
  }

  /** @param message  its memory is valid only until this method returns; the call copies the bytes that it keeps */
  binary(message: ArrayBuffer): void {
    this.#frames++
    const bytes = message.byteLength
    const counters = this.#counters
    counters.framesIn++
    if (bytes === 0) {
      counters.emptyFrames++
      this.#flushed = true
      return
    }
    this.#flushed = false
    counters.bytesIn += bytes
    if ((bytes & 1) === 1) counters.oddFrames++ // the reframer keeps the byte for the next frame
    this.#windowBytes += bytes
    if (this.#windowBytes > this.#windowBytesMax && this.#tooMany())
      return this.fail('carrier-abuse', 'more than twice real time over ten seconds')
    if (this.#binaryFrames++ === 0) this.#onFirstAudio()
    this.call.audio(new Uint8Array(message))
  }

  /**
   * True if the rate of frames is too high. After a stall of this process the window is longer, because the delayed
   * frames then come all at once.
   */
  #tooMany(): boolean {
    const windowMs = Math.max(CARRIER_RATE_WINDOW_MS, this.#clock() - this.#windowStartMs)
    return this.#windowBytes > windowBytesMax(this.#bytesPerMs, windowMs)
  }

  text(text: string): void {
    this.#frames++
    this.#counters.textFrames++
    if (++this.#windowTexts > TEXT_FRAMES_PER_WINDOW_MAX) {
      this.#counters.textFramesDropped++
      return
    }
    const messages = parseStreamText(text, this.#textFrames++ === 0)
    for (const { type } of messages) {
      if (type === 'garbage') this.#counters.garbageTexts++
      else if (type === 'unknown') this.#counters.unknownTexts++
    }
    if (messages.length > 0) this.call.text(messages)
  }

  // --- to the carrier -----------------------------------------------------------------------------------------

  sendAudio(bytes: Uint8Array): boolean {
    const ws = this.#ws
    if (ws === null || this.cause !== null) return false
    // Results of `send`. 1: sent. 0: kept and sent later. 2: dropped, because two seconds of audio already wait in
    // addition to the kernel's buffer.
    const sent = ws.send(bytes, true, false)
    if (sent === 2) {
      this.#stuck()
      return false
    }
    if (sent === 0) this.#counters.sendsDelayed++
    this.#counters.framesOut++
    this.#counters.bytesOut += bytes.byteLength
    return true
  }

  sendText(text: string): void {
    const ws = this.#ws
    if (ws === null || this.cause !== null) return
    if (ws.send(text, false, false) === 2) this.#stuck()
  }

  close(code: number): void {
    this.#end('gateway', code)
  }

  /** Closes because the process ends. */
  shutDown(): void {
    this.#end('shutdown', 1001)
  }

  /** Closes at once and without a handshake. */
  cut(): void {
    this.cause ??= 'shutdown'
    this.#ws?.close()
  }

  /** Closes a socket that its call refused; the call is not notified. */
  disown(): void {
    this.#end('refused', 1000)
  }

  /** Ends call and socket because of a fault or an end at the carrier. */
  fail(reason: EndReason & ('caller-hung-up' | 'carrier-silent' | 'carrier-abuse'), detail: string): void {
    if (this.cause !== null) return
    this.cause = reason === 'caller-hung-up' ? 'carrier-silent' : reason
    this.call.hangup(reason, detail, false)
    this.#ws?.end(1000)
  }

  /** Handles a carrier that does not read any more. The call ends at once, before the socket reports its own end. */
  #stuck(): void {
    if (this.cause !== null) return
    this.cause = 'backpressure'
    this.call.hangup('carrier-not-reading', 'the carrier does not read its socket', false)
    // The close is done later, because it calls a method of the call, which is still sending.
    queueMicrotask(() => this.#ws?.close())
  }

  #end(cause: CloseCause, code: number): void {
    if (this.cause !== null) return
    this.cause = cause
    this.#ws?.end(code)
  }

  // --- the watch ----------------------------------------------------------------------------------------------

  /**
   * Checks the frames since the last sweep.
   * @param elapsedMs  time in ms since the last sweep, without stalls of this process: unread frames are not silence of
   * the carrier
   * @param stalled  true: this process has just paused, and the window stays open until its frames are read
   */
  sweep(nowMs: number, elapsedMs: number, stalled: boolean): void {
    const ws = this.#ws
    if (ws === null || this.cause !== null) return
    if (this.#frames !== this.#framesSeen) {
      this.#framesSeen = this.#frames
      this.#quietMs = 0
      this.#answersInSilence = false
    } else {
      const wasQuietMs = this.#quietMs
      this.#quietMs += elapsedMs
      if (this.#flushed && this.#quietMs >= CARRIER_FLUSHED_MS) return this.#end('flushed', 1000)
      if (this.#answersInSilence && this.#quietMs >= LEG_OVER_MS)
        return this.fail('caller-hung-up', 'the carrier answers pings, and sends no frames')
      if (this.#quietMs >= CARRIER_SILENT_MS)
        return this.fail('carrier-silent', 'no frame from the carrier for five seconds')
      if (wasQuietMs < LEG_PING_MS && this.#quietMs >= LEG_PING_MS) ws.ping()
    }
    if (!stalled && nowMs - this.#windowStartMs >= CARRIER_RATE_WINDOW_MS) {
      this.#windowStartMs = nowMs
      this.#windowBytes = 0
      this.#windowTexts = 0
    }
    if (nowMs >= this.#pingAtMs) {
      this.#pingAtMs = nowMs + SOCKET_PING_MS
      ws.ping()
    }
  }
}

// --- how a socket ended ---------------------------------------------------------------------------------------

/** Reason why an audio socket closed, for the counter. */
type CloseCause =
  | 'carrier'
  | 'carrier-error'
  | 'lost'
  | 'protocol'
  | 'too-big'
  | 'gateway'
  | 'carrier-silent'
  | 'carrier-abuse'
  | 'backpressure'
  | 'flushed'
  | 'shutdown'
  | 'refused'

/** A socket's end, as it is reported to its call. */
interface SocketEnd {
  readonly cause: CloseCause
  /** The carrier's close code, or the RFC 6455 code for its protocol error; 1006 without a close frame. */
  readonly code: number
  /** Fault of the stream; absent if the socket was closed in order. */
  readonly fault?: StreamFault
}

/** Close codes of a carrier whose caller hung up, or whose stream was stopped: normal, going away, no code. */
const HANG_UP_CODES: ReadonlySet<number> = new Set([1000, 1001, 1005])

/** Reasons that uWebSockets.js gives when it cuts a socket, with their meanings. */
const CUTS: ReadonlyMap<string, Required<SocketEnd>> = new Map([
  ['Received too big message', broken('too-big', 1009, `a frame of more than ${CARRIER_FRAME_BYTES_MAX} bytes`)],
  ['Received invalid WebSocket frame', broken('protocol', 1002, 'bytes that are no WebSocket frame')],
  ['Received invalid UTF-8', broken('protocol', 1007, 'a text frame that is not UTF-8')],
  ['Received invalid close payload', broken('protocol', 1002, 'a close frame whose code or reason is not allowed')],
  [
    'WebSocket timed out from inactivity',
    {
      cause: 'carrier-silent',
      code: 1006,
      fault: { reason: 'carrier-silent', detail: `nothing for ${SOCKET_IDLE_S} s, not even an answer to a ping` },
    },
  ],
])

/**
 * End of a socket that the gateway did not close.
 * @param reason  reason from uWebSockets.js
 */
export function endOfSocket(code: number, reason: string): SocketEnd {
  if (HANG_UP_CODES.has(code)) return { cause: 'carrier', code }
  if (code !== 1006)
    return {
      cause: 'carrier-error',
      code,
      fault: { reason: 'carrier-error', detail: `the carrier closed with code ${code}` },
    }
  return (
    CUTS.get(reason) ?? {
      cause: 'lost',
      code,
      fault: { reason: 'socket-lost', detail: 'the connection ended without a close frame' },
    }
  )
}

/** End of a socket that we closed. Its call already knows the cause, except for a shutdown. */
export function endOfOurs(cause: CloseCause, code: number): SocketEnd {
  return cause === 'shutdown'
    ? { cause, code, fault: { reason: 'drain-limit', detail: 'the process ends' } }
    : { cause, code }
}

function broken(cause: CloseCause, code: number, detail: string): Required<SocketEnd> {
  return { cause, code, fault: { reason: 'carrier-protocol', detail } }
}

/** Counts of all sockets together: plain numbers, copied to the metrics at the scrape. */
export function socketCounters() {
  return {
    framesIn: 0,
    bytesIn: 0,
    framesOut: 0,
    bytesOut: 0,
    /** Number of sends that the socket delayed. */
    sendsDelayed: 0,
    emptyFrames: 0,
    oddFrames: 0,
    textFrames: 0,
    /** Number of unread text frames above the limit of one window. */
    textFramesDropped: 0,
    /** Pieces of text frames that are neither JSON nor metadata, and JSON of unknown types. */
    garbageTexts: 0,
    unknownTexts: 0,
  }
}

/** Maximum number of bytes of one window: twice real time, and one burst, which may follow a stall of the carrier. */
function windowBytesMax(bytesPerMs: number, windowMs: number): number {
  return bytesPerMs * (2 * windowMs + CARRIER_BURST_MS)
}
