import type { Socket } from 'node:net'
import { FRAME_MS, frameSamples } from '../../src/core/units.js'
import { machineMs } from '../kit/process.js'
import { FrameReader, maskedFrame, OPCODE } from '../generator/lines.js'
import { askForStream, openSocket } from '../generator/opening.js'

/** One turn as the caller saw it. */
interface CallerTurn {
  /** When the frame with the last voiced sample was sent. */
  readonly stoppedMs: number
  /** When the first sound of the answer came; NaN when none did. */
  heardMs: number
}

const RATE_HZ = 16_000
const FRAME = frameSamples(RATE_HZ)
/** Louder than this is the agent's voice. */
const HEARD_LEVEL = 500
/** After the end of an answer, before the next words; plus a part of a frame, so that turns do not fall on one beat. */
const PAUSE_MS = 500
/** An answer that takes longer is none. */
const ANSWER_MS_MAX = 4000

/** A caller who says the same few words, hears the answer out, and says them again. */
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

  /** @param speech  s16 at 16 kHz whose last sample is voiced; whole frames */
  constructor(speech: Int16Array) {
    this.#speech = speech
    this.#lastSoundMs = Infinity
  }

  /** @param callSid  asked for by webhook; null: `/` takes the stream at once, as a peer does */
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
      // The next one begins when this one's answer is over, or will never come.
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
