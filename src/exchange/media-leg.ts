import type { WebSocket } from 'ws'
import { jsonObject } from '../core/json.js'
import { BYTES_PER_SAMPLE, FRAME_MS } from '../core/units.js'
import { peakOf, samplesOf } from '../media/pcm.js'

/** Rate in Hz of all audio with Asterisk: s16le, Asterisk's format `slin16`. */
export const LEG_RATE_HZ = 16_000
const FORMAT = 'slin16'
const FRAME_BYTES = (LEG_RATE_HZ / 1000) * FRAME_MS * BYTES_PER_SAMPLE

/** Maximum number of unsent bytes of a leg: two seconds of audio. Later frames are dropped. */
const UNSENT_BYTES_MAX = 64 * 1024
const ASK_STATUS_MS = 500
/**
 * Maximum time in ms without a message of a leg. Asterisk answers each status request, so a leg without messages for a
 * longer time is lost.
 */
const SILENT_MS_MAX = 20_000
/** Number of frames in Asterisk's queue that absorb timer jitter. Silent frames above this number are skipped. */
const QUEUED_FRAMES = 3
/** Close code that `ws` gives a socket that ended without a close frame. */
const NO_CLOSE_FRAME = 1006
/**
 * Maximum sample magnitude of a silent frame: 50 dB below full scale. The pauses between the agent's words also contain
 * silent frames.
 */
const SILENCE_LEVEL = 100
/** Minimum sample magnitude at which a phone that is not answered counts as sending sound. */
const SOUND_LEVEL = 200
/** Minimum number of messages with sound before the answer: a single message is a click. */
const SOUND_MESSAGES_MIN = 3

/** Next dialplan step after the media socket has closed. */
export type AfterLeg = 'fallback' | `hangup ${number}`

/** ISDN causes that Asterisk translates to the phone's protocol. */
export const CAUSE = { unallocated: 1, normal: 16, busy: 17, rejected: 21 } as const

interface MediaLegEvents {
  /** Receives s16le at 16 kHz in messages of any size; the memory is valid only until the function returns. */
  readonly audio: (bytes: Uint8Array) => void
  /** Receives a DTMF digit: 0-9 * # A-D. */
  readonly digit: (digit: string) => void
  /** Called with the reason if the socket ended and the exchange had not closed it. */
  readonly closed: (why: string) => void
}

/** Counts of all legs. */
export interface LegCounters {
  /** Number of frames to phones that were dropped because Asterisk did not read. */
  framesDropped: number
  /** Number of silent frames that were not sent, so that Asterisk's queue becomes short again after a stall. */
  framesSkipped: number
  /**
   * Duration in ms of skipped sound of phones, mostly silence. After a stall it is skipped, so that later sound is not
   * late.
   */
  heardMsSkipped: number
  /** Number of legs that ended because Asterisk became silent or sent another format. */
  legsLost: number
}

/** An Asterisk telephone: one media socket, from its handshake to its end. */
export class MediaLeg {
  readonly id: string
  /** Caller ID and called number as the dialplan filtered them. Both are empty for a phone that was rung. */
  readonly from: string
  readonly to: string
  /** Headers of the caller's INVITE, as returned by `headersIn`. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  after: AfterLeg = 'fallback'
  /**
   * True if the socket broke, Asterisk became silent, or Asterisk sent another format: the person may not have hung up.
   */
  lost = false
  /** Called once, at the first sound before the answer. */
  onSound: (() => void) | null = null
  readonly #socket: WebSocket
  readonly #counters: LegCounters
  readonly #status: NodeJS.Timeout
  #events: MediaLegEvents | null = null
  #answered = false
  #closed = false
  #excessFrames = 0
  #soundMessages = 0
  #heardMs = performance.now()

  constructor(socket: WebSocket, call: Pick<MediaLeg, 'id' | 'from' | 'to' | 'headers'>, counters: LegCounters) {
    this.id = call.id
    this.from = call.from
    this.to = call.to
    this.headers = call.headers
    this.#socket = socket
    this.#counters = counters
    socket.on('message', (data: Buffer, isBinary: boolean) => this.#onMessage(data, isBinary))
    socket.on('close', (code: number) => {
      if (code !== NO_CLOSE_FRAME) return this.#end('hung up')
      if (!this.#closed) this.lost = true
      this.#end('the media socket broke')
    })
    socket.on('error', () => undefined)
    this.#status = setInterval(() => this.#askStatus(), ASK_STATUS_MS)
    this.#status.unref()
  }

  /** Starts receiving events. Called once. */
  listen(events: MediaLegEvents): void {
    this.#events = events
    if (this.#closed) events.closed('hung up')
  }

  /** Answers the phone's call. Audio is sent from now on. */
  answer(): void {
    if (this.#answered) return
    this.connected()
    this.#command('ANSWER')
  }

  /** Records that a rung phone was answered. Audio is sent from now on. */
  connected(): void {
    this.#answered = true
    this.onSound = null
  }

  /** Plays 20 ms to the phone. Does nothing before the answer. */
  play(frame: Int16Array): void {
    if (!this.#answered || this.#closed) return
    if (this.#excessFrames > 0 && peakOf(frame) <= SILENCE_LEVEL) {
      this.#excessFrames--
      this.#counters.framesSkipped++
      return
    }
    if (this.#socket.bufferedAmount > UNSENT_BYTES_MAX) {
      this.#counters.framesDropped++
      return
    }
    // The frame is copied, because `ws` may keep the bytes and the frame's memory is used again.
    this.#socket.send(Buffer.from(new Uint8Array(frame.buffer, frame.byteOffset, frame.byteLength)))
  }

  /** Discards the audio that Asterisk has queued for the phone. */
  flush(): void {
    this.#excessFrames = 0
    this.#command('FLUSH_MEDIA')
  }

  /** Counts sound of the phone that was skipped. */
  skipped(ms: number): void {
    this.#counters.heardMsSkipped += Math.round(ms)
  }

  /** Ends the socket. The dialplan then requests `after`. */
  close(): void {
    if (this.#closed) return
    this.#stop()
    this.#socket.close(1000)
  }

  /** Ends the socket, and reports the reason to the listener. */
  drop(why: string): void {
    if (this.#closed) return
    this.#socket.close(1000)
    this.#end(why)
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    this.#heardMs = performance.now()
    if (isBinary) {
      if (
        this.onSound !== null &&
        peakOf(samplesOf(data)) > SOUND_LEVEL &&
        ++this.#soundMessages >= SOUND_MESSAGES_MIN
      ) {
        this.onSound()
        this.onSound = null
      }
      this.#events?.audio(data)
      return
    }
    const { event, digit, format, queue_length: queued, optimal_frame_size: frameBytes } = jsonObject(data) ?? {}
    if (event === 'DTMF_END' && typeof digit === 'string' && /^[0-9*#A-D]$/.test(digit)) this.#events?.digit(digit)
    else if (event === 'STATUS' && typeof queued === 'number') this.#excessFrames = Math.max(0, queued - QUEUED_FRAMES)
    else if (event === 'MEDIA_START' && (format !== FORMAT || frameBytes !== FRAME_BYTES))
      this.#lose(`Asterisk sends ${String(format)} and not ${FORMAT}`)
  }

  #askStatus(): void {
    if (performance.now() - this.#heardMs > SILENT_MS_MAX) this.#lose('Asterisk fell silent')
    else this.#command('GET_STATUS')
  }

  #lose(why: string): void {
    this.#counters.legsLost++
    this.lost = true
    this.#socket.terminate()
    this.#end(why)
  }

  #command(command: string): void {
    if (!this.#closed && this.#socket.readyState === this.#socket.OPEN) this.#socket.send(JSON.stringify({ command }))
  }

  #end(why: string): void {
    if (this.#closed) return
    this.#stop()
    this.#events?.closed(why)
  }

  #stop(): void {
    this.#closed = true
    clearInterval(this.#status)
  }
}
