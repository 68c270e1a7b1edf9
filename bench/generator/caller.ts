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

/** Objects that all callers of a generator use. */
export interface SharedByCallers {
  readonly line: Line
  readonly counts: AudioCounts
  readonly lateness: Histogram
  readonly audio: ReceivedAudioOptions
  readonly tone: Int16Array
  readonly marker: Int16Array
  /** Frames of the caller's speech, in their order and already masked. */
  readonly speech: readonly Buffer[]
  /** Samples of the speech of a caller who talks by the schedule (`talkFrame`); empty if callers do not talk. */
  readonly talk: readonly Int16Array[]
  /** Time in ms after which a caller's speech comes back. */
  readonly answerAfterMs: number
  readonly conversation: {
    /** Masked frames of one period. They are the same for all callers. */
    readonly frames: readonly Buffer[]
    readonly answer: Int16Array
    /**
     * Time in ms from the end of a turn to its answer, without transmission delay; null if the server itself decides
     * when a turn ends.
     */
    readonly answerDueMs: number | null
  } | null
  /** One call in this number is judged by its audio. In all other calls, frames are only counted. */
  readonly truthEvery: number
  /** Percentage of the time in which calls that are not judged send audio. */
  readonly dutyPercent: number
  framesSent: number
}

/**
 * Period, in frames, of a call that sends only for a part of the time. It sends once in each second, so that servers do
 * not regard its line as dead.
 */
const DUTY_EVERY_FRAMES = 50
const DUTY_STEP_FRAMES = 17
/** Time in ms in which audio must come back after it was sent. */
const ECHO_MS = 400
/** Number of silent frames before a caller speaks (half a second). The backend connects in this time. */
const SILENT_FRAMES = 25

// Aligned buffer into which payloads are copied, so that they can be read as samples.
const scratch = new Int16Array(64 * 1024)

/** Simulated caller. It sends a frame in each turn of the wheel, and judges the audio that comes back. */
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
  /** Frames that the line is delaying, in their order. */
  readonly #held: Buffer[] = []
  #speechAt = -1
  /**
   * Due time of the first frame that was sent, and time at which the answer to this frame would come without
   * transmission delay.
   */
  #startMs = NaN

  /** @param number index among the callers of a run. It decides when this caller talks */
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
    // Each caller has its own buffers, because each frame's number is written into them.
    this.#tone = shared.line.frame(shared.tone, name)
    this.#marker = shared.line.frame(shared.marker, name)
    this.#silence = shared.line.frame(new Int16Array(shared.tone.length), name)
    this.#talk = shared.talk.map((samples) => shared.line.frame(samples, name))
  }

  /** Called when the socket is open. Frames are sent from the next turn of the wheel on. */
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

  /** Stops sending. */
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
    // The kernel did not accept these bytes. They are kept by reference, so they must be copied: this caller's buffers
    // are overwritten in the next turn.
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

  /**
   * True while a caller whose audio is not judged does not send. These callers send less because the machine is too
   * small for more.
   */
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

/** Time in ms between two interruptions by a caller. The second constant is their duration in ms. */
const INTERRUPT_EVERY_MS = 4000
export const SPEECH_MS = 800
/**
 * Share of frames at which the line stalls. The second constant is the maximum duration of a stall in ms. Playout never
 * waits as long as this.
 */
const STALL_SHARE = 0.005
const STALL_FRAMES_MAX = 3

/**
 * Behaviour of the line and the caller at level L3, drawn with a seed. One frame in two hundred starts a stall of 20 to
 * 60 ms. After a stall, the delayed frames come all at once, so one frame in a hundred is late. Every four seconds the
 * caller speaks over the agent.
 */
export class Interruptions {
  readonly #random: () => number
  #stallFrames = 0
  #nextMs = NaN

  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  /** True if the line delays the frame that is due now. */
  hold(): boolean {
    if (this.#stallFrames > 0) {
      this.#stallFrames--
      return this.#stallFrames > 0
    }
    if (this.#random() < STALL_SHARE) this.#stallFrames = 1 + Math.floor(this.#random() * STALL_FRAMES_MAX)
    return this.#stallFrames > 0
  }

  /**
   * True if the caller starts to speak with the frame that is due at `dueMs`. `startMs` is the due time of the caller's
   * first frame.
   */
  begins(dueMs: number, startMs: number): boolean {
    if (Number.isNaN(this.#nextMs)) {
      // Callers are spread over the period, in steps of whole frames. The agent speaks first.
      const frames = Math.floor(this.#random() * (INTERRUPT_EVERY_MS / FRAME_MS))
      this.#nextMs = startMs + 2000 + frames * FRAME_MS
    }
    if (dueMs < this.#nextMs) return false
    this.#nextMs += INTERRUPT_EVERY_MS
    return true
  }
}

/** Entry on the wheel. It is called once in each turn, when its slot is due. */
interface Spoke {
  due(dueMs: number): void
}

/**
 * One timer for all calls. A turn of 20 ms has slots of 1 ms, each due at `origin + n` ms. If a slot is late, it is
 * processed at once, and its calls still get its due time. So a delay of the generator or the server never moves later
 * frames.
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

  /**
   * Adds a call to a slot with few calls. Each new call is 7 slots after the previous call, so that any number of calls
   * is spread over the turn.
   */
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
