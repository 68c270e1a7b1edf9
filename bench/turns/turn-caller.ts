import type { Socket } from 'node:net'
import { FRAME_MS, frameSamples } from '../../src/core/units.js'
import { machineMs } from '../kit/process.js'
import { FrameReader, maskedFrame, OPCODE } from '../generator/lines.js'
import { askForStream, openSocket } from '../generator/opening.js'

/** One turn, measured at the caller. */
interface CallerTurn {
  /** Time at which the frame with the last voiced sample was sent. */
  readonly stoppedMs: number
  /** Time at which the first sound of the answer came; NaN if no sound came. */
  heardMs: number
}

const RATE_HZ = 16_000
const FRAME = frameSamples(RATE_HZ)
/** Minimum level of a sample of the agent's voice. */
const HEARD_LEVEL = 500
/**
 * Pause in ms between the end of an answer and the next words. A part of a frame is added, so that turns do not always
 * begin at the same phase.
 */
const PAUSE_MS = 500
/** Maximum time in ms of an answer. If it takes longer, it counts as missing. */
const ANSWER_MS_MAX = 4000

/** Caller who says the same few words again and again. The caller always listens to the whole answer first. */
export class TurnCaller {
  readonly turns: CallerTurn[] = []
  readonly #speech: Int16Array
  readonly #reader = new FrameReader((opcode, bytes, from, to) => this.#frame(opcode, bytes, from, to))
  readonly #quiet = new Int16Array(FRAME)
  #socket: Socket | null = null
  #dueMs = 0
  #timer: NodeJS.Timeout | null = null
  #speechAt = -1
  #lastSoundMs: number
  #greeted = false

  /** @param speech s16 samples at 16 kHz, in whole frames. The last sample is voiced */
  constructor(speech: Int16Array) {
    this.#speech = speech
    this.#lastSoundMs = Infinity
  }

  /** @param callSid requests the stream with a webhook; null if `/` accepts the stream at once, as at a peer */
  async open(port: number, callSid: string | null): Promise<void> {
    const url = callSid === null ? new URL(`ws://127.0.0.1:${port}/`) : await askForStream(port, callSid)
    this.#socket = await openSocket(port, url.pathname + url.search, {
      onBytes: (bytes) => this.#reader.push(bytes),
      onClose: () => this.close(),
    })
    this.#dueMs = machineMs()
    this.#next()
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#socket?.destroy()
    this.#socket = null
  }

  #next(): void {
    this.#dueMs += FRAME_MS
    this.#timer = setTimeout(
      () => {
        this.#send()
        this.#next()
      },
      Math.max(0, this.#dueMs - machineMs()),
    )
  }

  #send(): void {
    const socket = this.#socket
    if (socket === null) return
    const nowMs = machineMs()
    const open = this.turns.at(-1)
    if (this.#speechAt < 0 && this.#greeted && nowMs - this.#lastSoundMs >= PAUSE_MS) {
      // The next turn begins when the answer to this turn is over, or when it can no longer come.
      if (open === undefined || !Number.isNaN(open.heardMs) || nowMs - open.stoppedMs > ANSWER_MS_MAX)
        this.#speechAt = 0
    }
    let frame: Int16Array = this.#quiet
    if (this.#speechAt >= 0) {
      frame = this.#speech.subarray(this.#speechAt, this.#speechAt + FRAME)
      this.#speechAt += FRAME
      if (this.#speechAt >= this.#speech.length) {
        this.#speechAt = -1
        this.turns.push({ stoppedMs: nowMs, heardMs: NaN })
        this.#lastSoundMs = nowMs
      }
    }
    socket.write(maskedFrame(OPCODE.binary, Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength)))
  }

  #frame(opcode: number, bytes: Buffer, from: number, to: number): void {
    if (opcode === OPCODE.ping) {
      this.#socket?.write(maskedFrame(OPCODE.pong, bytes.subarray(from, to)))
      return
    }
    if (opcode !== OPCODE.binary) return
    const nowMs = machineMs()
    for (let at = from; at + 1 < to; at += 2) {
      if (Math.abs(bytes.readInt16LE(at)) < HEARD_LEVEL) continue
      this.#lastSoundMs = nowMs
      this.#greeted = true
      const open = this.turns.at(-1)
      if (open !== undefined && Number.isNaN(open.heardMs) && nowMs > open.stoppedMs) open.heardMs = nowMs
      return
    }
  }
}
