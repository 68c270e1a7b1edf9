import type { Socket } from 'node:net'
import { FRAME_MS } from '../../src/core/units.js'
import { seededRandom } from '../../src/carrier/random.js'
import { machineMs } from '../kit/process.js'
import { type Histogram, recordMs } from '../kit/histogram.js'
import { CountedFrames } from './counted-frames.js'
import { HeardAnswers } from './heard-answers.js'
import { ReceivedAudio, type ReceivedAudioOptions, type AudioCounts } from './received-audio.js'
import type { LineEcho } from './line-echo.js'
import { FrameReader, type Line, maskedFrame, OPCODE } from './lines.js'
import { MARKER_EVERY_FRAMES, TALK_FRAMES, placeInPeriod, talkFrame } from './signal.js'

/** Context that all callers of a generator share. */
export interface SharedByCallers {
  readonly line: Line
  readonly counts: AudioCounts
  readonly lateness: Histogram
  readonly audio: ReceivedAudioOptions
  readonly tone: Int16Array
  readonly marker: Int16Array
  /** Masked frames of the caller's speech, in order. */
  readonly speech: readonly Buffer[]
  /** Speech of a caller by schedule (`talkFrame`), as samples; empty where callers say nothing. */
  readonly talk: readonly Int16Array[]
  /** Speech comes back this much later. */
  readonly answerAfterMs: number
  readonly conversation: {
    /** A period of masked frames; all callers have the same. */
    readonly frames: readonly Buffer[]
    readonly answer: Int16Array
    /** From the end of a turn to its answer, without what the way takes; null where the server decides when a turn ends. */
    readonly answerDueMs: number | null
  } | null
  /** The audio of one call in this number is judged; of the others frames are counted. */
  readonly truthEvery: number
  /** Share of the time in which those others send. */
  readonly dutyPercent: number
  framesSent: number
}

/** A call that sends for a part of the time does so in one piece of each second, so that no server takes its line for dead. */
const DUTY_EVERY_FRAMES = 50
const DUTY_STEP_FRAMES = 17
/** In this time what is said has come back. */
const ECHO_MS = 400
/** A caller is silent for half a second before it speaks: the backend connects meanwhile. */
const SILENT_FRAMES = 25

// Payloads are looked at as samples: bytes of any alignment are moved here first.
const scratch = new Int16Array(64 * 1024)

/** One simulated caller: sends a frame at each turn of the wheel and listens to what comes back. */
export class Caller implements Spoke {
  readonly received: ReceivedAudio | HeardAnswers | CountedFrames
  framesSent = 0
  lost = false
  readonly #shared: SharedByCallers
  readonly #interruptions: Interruptions | null
  readonly #echo: LineEcho | null
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
  /** Due time of the first frame that was sent, and when it would be answered if the way took no time. */
  #startMs = NaN

  /** @param number  its place among the callers of a run: when it talks */
  constructor(
    shared: SharedByCallers,
    name: string,
    number: number,
    interruptions: Interruptions | null,
    echo: LineEcho | null,
  ) {
    this.#shared = shared
    this.#echo = echo
    this.#number = number
    this.#interruptions = interruptions
    const isJudged = number % shared.truthEvery === 0
    this.received = !isJudged
      ? new CountedFrames(shared.tone.length, shared.counts)
      : shared.conversation !== null
        ? new HeardAnswers(
            shared.line.rateHz,
            shared.conversation.answer,
            shared.counts,
            shared.conversation.answerDueMs,
          )
        : new ReceivedAudio(
            shared.audio,
            shared.counts,
            shared.tone,
            shared.talk.length > 0 ? number : null,
            echo !== null,
          )
    this.#reader = new FrameReader((opcode, bytes, from, to) => this.#frame(opcode, bytes, from, to))
    // Buffers of its own: the number of each frame is written into them.
    this.#tone = shared.line.frame(shared.tone, name)
    this.#marker = shared.line.frame(shared.marker, name)
    this.#silence = shared.line.frame(new Int16Array(shared.tone.length), name)
    this.#talk = shared.talk.map((samples) => shared.line.frame(samples, name))
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
    this.received.finish(machineMs())
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
    const shared = this.#shared
    if (this.#rests()) {
      this.framesSent++
      return
    }
    const alone = this.#frameAt(dueMs)
    const frame = this.#echo === null ? alone : (shared.line.withSamples(alone, this.#echo.play()) ?? alone)
    this.framesSent++
    const hold = this.#interruptions?.hold() ?? false
    if (hold) {
      if (this.received instanceof ReceivedAudio) this.received.excuse(dueMs + ECHO_MS)
      this.#held.push(Buffer.from(frame))
      return
    }
    for (const late of this.#held) socket.write(late)
    this.#held.length = 0
    // Bytes that the kernel did not take are kept by reference, and ours are written over at the next turn.
    socket.write(socket.writableLength > 0 ? Buffer.from(frame) : frame)
    if (dueMs >= shared.counts.windowStartMs && dueMs < shared.counts.windowEndMs) {
      recordMs(shared.lateness, machineMs() - dueMs)
      if (!(this.received instanceof CountedFrames)) shared.framesSent++
    }
  }

  #frameAt(dueMs: number): Buffer {
    const { received } = this
    const { conversation, speech, answerAfterMs } = this.#shared
    if (conversation !== null) {
      const place = placeInPeriod(this.framesSent, this.#number)
      if (place === TALK_FRAMES - 1 && received instanceof HeardAnswers) received.turnEnds(dueMs)
      return conversation.frames[place] as Buffer
    }
    if (this.framesSent === 0) this.#startMs = dueMs + answerAfterMs
    const isJudged = received instanceof ReceivedAudio
    if (isJudged) received.startMs = this.#startMs
    if (this.#interruptions?.begins(dueMs, this.#startMs) === true) {
      this.#speechAt = 0
      if (isJudged) {
        received.interrupts(dueMs - FRAME_MS)
        received.excuse(dueMs + speech.length * FRAME_MS + ECHO_MS)
      }
    }
    return this.#next()
  }

  /** A caller whose audio is not judged sends for a part of the time only, where the machine is too small for more. */
  #rests(): boolean {
    if (!(this.received instanceof CountedFrames)) return false
    const place = (this.framesSent + this.#number * DUTY_STEP_FRAMES) % DUTY_EVERY_FRAMES
    return place * 100 >= this.#shared.dutyPercent * DUTY_EVERY_FRAMES
  }

  #next(): Buffer {
    const { speech, line } = this.#shared
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
    const { line } = this.#shared
    if (opcode === OPCODE.binary) {
      const count = line.samples(bytes, from, to, scratch)
      if (count > 0) this.#heard(count, nowMs)
    } else if (opcode === OPCODE.text) {
      const heard = line.text(bytes, from, to, scratch)
      if (heard.type === 'audio') this.#heard(heard.samples, nowMs)
      else if (heard.type === 'clear') this.#cleared(nowMs)
      else if (heard.type === 'reply') this.#socket?.write(heard.frame)
    } else if (opcode === OPCODE.ping) {
      this.#socket?.write(maskedFrame(OPCODE.pong, bytes.subarray(from, to)))
    }
  }

  #heard(count: number, nowMs: number): void {
    this.received.audio(scratch, count, nowMs)
    this.#echo?.heard(scratch, count)
  }

  #cleared(nowMs: number): void {
    if (this.received instanceof ReceivedAudio) this.received.cleared(nowMs)
    this.#echo?.cleared()
  }
}

/** How often a caller interrupts, and for how long it speaks. */
const INTERRUPT_EVERY_MS = 4000
export const SPEECH_MS = 800
/** Share of frames at which the line stalls, and for how long at most: later than any playout waits for nothing. */
const STALL_SHARE = 0.005
const STALL_FRAMES_MAX = 3

/**
 * Behaviour of the line and the caller at level L3, from a seed: one frame in two hundred begins a stall of 20 to 60 ms,
 * after which what was held back comes at once, so that one frame in a hundred is late; and every four seconds the
 * caller speaks over the agent.
 */
export class Interruptions {
  readonly #random: () => number
  #stallFrames = 0
  #nextMs = NaN

  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  /** True if the frame that is due now is held back. */
  hold(): boolean {
    if (this.#stallFrames > 0) {
      this.#stallFrames--
      return this.#stallFrames > 0
    }
    if (this.#random() < STALL_SHARE) this.#stallFrames = 1 + Math.floor(this.#random() * STALL_FRAMES_MAX)
    return this.#stallFrames > 0
  }

  /** True if the caller begins to speak with the frame due at `dueMs`; `startMs` was its first. */
  begins(dueMs: number, startMs: number): boolean {
    if (Number.isNaN(this.#nextMs)) {
      // Callers are spread over the period, on the grid of their frames, and let the agent begin.
      const frames = Math.floor(this.#random() * (INTERRUPT_EVERY_MS / FRAME_MS))
      this.#nextMs = startMs + 2000 + frames * FRAME_MS
    }
    if (dueMs < this.#nextMs) return false
    this.#nextMs += INTERRUPT_EVERY_MS
    return true
  }
}

/** An item on the wheel: called once in each turn, when its slot is due. */
interface Spoke {
  due(dueMs: number): void
}

/**
 * One timer for all calls: a turn of 20 ms in slots of 1 ms, each due at `origin + n` ms whatever happened before. A
 * slot that comes late is made up at once and its calls see the time at which it was due, not at which it came: so
 * no delay of the generator, and none of the server, moves a later frame.
 */
export class Wheel {
  readonly #slots: Spoke[][] = Array.from({ length: FRAME_MS }, () => [])
  #slot = 0
  #nextMs = 0
  #next = 0
  #timer: NodeJS.Timeout | null = null

  start(): void {
    this.#nextMs = Math.ceil(machineMs()) + 1
    this.#timer = setTimeout(this.#run, 1)
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  /** Adds a call where few are: each next one 7 slots on, so that any number is spread over the turn. */
  add(spoke: Spoke): void {
    const slot = this.#next
    this.#next = (this.#next + 7) % FRAME_MS
    ;(this.#slots[slot] as Spoke[]).push(spoke)
  }

  readonly #run = (): void => {
    let nowMs = machineMs()
    while (nowMs >= this.#nextMs) {
      for (const spoke of this.#slots[this.#slot] as Spoke[]) spoke.due(this.#nextMs)
      this.#nextMs++
      this.#slot = (this.#slot + 1) % FRAME_MS
      nowMs = machineMs()
    }
    this.#timer = setTimeout(this.#run, Math.max(0, this.#nextMs - nowMs))
  }
}
