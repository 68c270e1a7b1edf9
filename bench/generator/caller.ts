import type { Socket } from 'node:net'
import { FRAME_MS, frameSamples } from '../../src/core/units.js'
import type { LegRateHz } from '../../src/core/units.js'
import { machineMs } from '../kit/clock.js'
import { recordMs } from '../kit/histogram.js'
import type { Histogram } from '../kit/histogram.js'
import { Ear, SEQUENCE_AT } from './ear.js'
import type { EarOptions, Hearing } from './ear.js'
import { FrameReader, OPCODE, maskedFrame } from './framing.js'
import type { Interruptions } from './interruptions.js'
import { MARKER_EVERY_FRAMES, talkFrame } from './signal.js'
import type { Line } from './lines.js'
import type { Spoke } from './wheel.js'

/** What all callers of a generator share. */
export interface Crowd {
  readonly line: Line
  readonly hearing: Hearing
  readonly lateness: Histogram
  readonly ear: EarOptions
  readonly tone: Int16Array
  readonly marker: Int16Array
  /** Masked frames of the caller's speech, in order. */
  readonly speech: readonly Buffer[]
  /** What a caller says by schedule (`talkFrame`), as samples; empty where callers say nothing. */
  readonly talk: readonly Int16Array[]
  framesSent: number
}

/** In this time what is said has come back. */
const ECHO_MS = 400
/** A caller is silent for half a second before it speaks: the backend connects meanwhile. */
const SILENT_FRAMES = 25

// Payloads are looked at as samples: bytes of any alignment are moved here first.
const scratch = new Int16Array(64 * 1024)

/** One simulated caller: sends a frame at each turn of the wheel and listens to what comes back. */
export class Caller implements Spoke {
  readonly ear: Ear
  framesSent = 0
  lost = false
  readonly #crowd: Crowd
  readonly #interruptions: Interruptions | null
  readonly #reader: FrameReader
  readonly #tone: Buffer
  readonly #marker: Buffer
  readonly #silence: Buffer
  readonly #talk: readonly Buffer[]
  readonly #number: number
  #silentFrames = 0
  #socket: Socket | null = null
  #finished = false
  /** Frames that the line holds back, in order. */
  readonly #held: Buffer[] = []
  #speechAt = -1

  /** @param number  its place among the callers of a run: when it talks */
  constructor(crowd: Crowd, name: string, number: number, interruptions: Interruptions | null) {
    this.#crowd = crowd
    this.#number = number
    this.#interruptions = interruptions
    this.ear = new Ear(crowd.ear, crowd.hearing, crowd.tone, crowd.talk.length > 0 ? number : null)
    this.#reader = new FrameReader((opcode, bytes, from, to) => this.#frame(opcode, bytes, from, to))
    // Buffers of its own: the number of each frame is written into them.
    this.#tone = crowd.line.frame(crowd.tone, name)
    this.#marker = crowd.line.frame(crowd.marker, name)
    this.#silence = crowd.line.frame(new Int16Array(crowd.tone.length), name)
    this.#talk = crowd.talk.map((samples) => crowd.line.frame(samples, name))
  }

  /** The socket is open: from the next turn on frames are sent. */
  opened(socket: Socket, greeting: readonly Buffer[]): void {
    this.#socket = socket
    for (const frame of greeting) socket.write(frame)
  }

  bytes(bytes: Buffer): void {
    this.#reader.push(bytes)
  }

  closed(): void {
    if (!this.#finished) this.lost = true
    this.#socket = null
  }

  /** Sends nothing more. */
  finish(): void {
    this.#finished = true
    this.ear.finish(machineMs())
  }

  close(): void {
    this.#finished = true
    this.#socket?.destroy()
  }

  // --- sending ----------------------------------------------------------------------------------------------

  due(dueMs: number): void {
    const socket = this.#socket
    if (socket === null || this.#finished) return
    if (this.#silentFrames < SILENT_FRAMES) {
      this.#silentFrames++
      socket.write(this.#silence)
      return
    }
    if (this.framesSent === 0) this.ear.startMs = dueMs
    const crowd = this.#crowd
    const frame = this.#next(dueMs)
    this.framesSent++
    const hold = this.#interruptions?.hold() ?? false
    if (hold) {
      this.ear.excuse(dueMs + ECHO_MS)
      this.#held.push(Buffer.from(frame))
      return
    }
    for (const late of this.#held) socket.write(late)
    this.#held.length = 0
    // Bytes that the kernel did not take are kept by reference, and ours are written over at the next turn.
    socket.write(socket.writableLength > 0 ? Buffer.from(frame) : frame)
    if (dueMs >= crowd.hearing.windowStartMs && dueMs < crowd.hearing.windowEndMs) {
      recordMs(crowd.lateness, machineMs() - dueMs)
      crowd.framesSent++
    }
  }

  #next(dueMs: number): Buffer {
    const { speech, line } = this.#crowd
    if (this.#interruptions?.begins(dueMs, this.ear.startMs) === true) {
      this.#speechAt = 0
      this.ear.interrupts(dueMs - FRAME_MS)
      this.ear.excuse(dueMs + speech.length * FRAME_MS + ECHO_MS)
    }
    if (this.#speechAt >= 0) {
      const frame = speech[this.#speechAt++]
      if (frame !== undefined) return frame
      this.#speechAt = -1
    }
    const talk = this.#talk.length > 0 ? talkFrame(this.framesSent, this.#number) : -1
    if (talk >= 0) {
      const frame = this.#talk[talk] as Buffer
      line.number(frame, this.framesSent)
      return frame
    }
    const marker = this.framesSent % MARKER_EVERY_FRAMES === MARKER_EVERY_FRAMES - 1
    const frame = marker ? this.#marker : this.#tone
    line.number(frame, this.framesSent)
    return frame
  }

  // --- receiving --------------------------------------------------------------------------------------------

  #frame(opcode: number, bytes: Buffer, from: number, to: number): void {
    const nowMs = machineMs()
    const { line } = this.#crowd
    if (opcode === OPCODE.binary) {
      const count = line.samples(bytes, from, to, scratch)
      if (count > 0) this.ear.audio(scratch, count, nowMs)
    } else if (opcode === OPCODE.text) {
      const heard = line.text(bytes, from, to, scratch)
      if (heard.type === 'audio') this.ear.audio(scratch, heard.samples, nowMs)
      else if (heard.type === 'clear') this.ear.cleared(nowMs)
      else if (heard.type === 'reply') this.#socket?.write(heard.frame)
    } else if (opcode === OPCODE.ping) {
      this.#socket?.write(maskedFrame(OPCODE.pong, bytes.subarray(from, to)))
    }
  }
}

/** Byte of the payload at which a frame's number lies. */
export function sequenceByte(rateHz: LegRateHz): number {
  return frameSamples(rateHz) * SEQUENCE_AT * 2
}
