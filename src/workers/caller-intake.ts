import type { Backend } from '../backends/backend.js'
import { AnswerGuard } from '../call/answer-guard.js'
import type { AnswerGuardOptions, AnswerVerdict } from '../call/answer-guard.js'
import type { CallSession } from '../call/call-session.js'
import { frameSamples, samplesToMs } from '../core/units.js'
import { CallerPath } from '../media/caller-path.js'
import type { CallerPathStats } from '../media/caller-path.js'
import type { StreamResampler } from '../media/resample/resampler.js'
import { isPureTone } from '../media/vad/pure-tone.js'
import { FrameHistogram } from '../telemetry/frame-histogram.js'
import type { CallJournal } from './call-journal.js'
import type { CallStart } from './call-messages.js'
import type { CallerLatency } from './caller-latency.js'
import type { WorkerContext } from './worker-context.js'
import { Time, Word } from './shared-call.js'
import type { SharedCall } from './shared-call.js'

/** A tone below this level is hum of the line. */
const TONE_DBFS_MIN = -45

interface CallerIntakeOptions {
  readonly start: CallStart
  readonly context: WorkerContext
  readonly shared: SharedCall
  readonly session: CallSession
  readonly backend: Backend
  readonly journal: CallJournal | null
  readonly ear: CallerLatency
  /** Answering-machine detection of an outbound call; null for any other. */
  readonly screening: AnswerGuardOptions | null
  readonly digit: (digit: string) => void
  readonly screened: (verdict: AnswerVerdict) => void
}

/**
 * The caller's side of a call on its worker: takes packets out of the shared ring, and gives of each frame that is due the decision to
 * the session and the samples to the backend. Its methods are stages of the worker's tick.
 */
export class CallerIntake {
  readonly #options: CallerIntakeOptions
  readonly #path: CallerPath
  readonly #toBackend: StreamResampler
  readonly #latency = new FrameHistogram()
  readonly #referenceFrame: Int16Array
  #referenced: number
  #earOnsetMs = -Infinity
  /** Answering-machine detection; null once it has decided. */
  #answerGuard: AnswerGuard | null

  constructor(options: CallerIntakeOptions) {
    const { start: { legRateHz, track }, context, backend, shared, screening } = options
    this.#options = options
    this.#path = new CallerPath({ sampleRateHz: legRateHz, track, vadBank: context.vads })
    const { inputRateHz } = backend.capabilities
    this.#toBackend = context.resamplers.open(legRateHz, inputRateHz)
    this.#referenceFrame = new Int16Array(frameSamples(legRateHz))
    this.#referenced = shared.outbound.taken
    // What was played is read again, as the reference of the echo.
    shared.outbound.recallFrom = this.#referenced
    this.#answerGuard = screening === null ? null : new AnswerGuard(screening)
  }

  /** No frame is due before this time, unless a packet comes. */
  get dueMs(): number {
    return this.#path.dueMs
  }

  /** A copy of the counters; allocates. */
  get stats(): CallerPathStats {
    return this.#path.stats
  }

  /** From the carrier's socket to the backend; NaN before the first frame. */
  get frameLatencyP99Ms(): number {
    return this.#latency.quantileMs(0.99)
  }

  /** Bytes from the carrier into the caller's path. */
  receive(nowMs: number): void {
    const { shared: { inbound }, journal } = this.#options
    // Before the packets, in which the echo of it may come back.
    this.#reference()
    for (let packet = inbound.next(); packet !== null; packet = inbound.next()) {
      journal?.packet(packet, inbound.arrivalMs)
      this.#path.push(packet, inbound.arrivalMs)
      inbound.release()
    }
    journal?.tick(nowMs)
  }

  /** The next frame that is due. @returns false when there is none; else `detect` and `attend` follow */
  take(nowMs: number): boolean {
    return this.#path.take(nowMs)
  }

  /** Detects voice and DTMF digits in it. */
  detect(): void {
    this.#path.detect()
  }

  /** The frame to the session as a decision, to the backend as samples. */
  attend(nowMs: number): void {
    const { journal, session, digit, backend, context, start } = this.#options
    const path = this.#path
    journal?.writer.frame(path.voiced, nowMs)
    session.callerFrame(path.voiced, nowMs)
    if (this.#answerGuard !== null) this.#screen(this.#answerGuard)
    if (path.digit !== null) digit(path.digit)
    // Frames that the backend does not get pass the filter too: its history has no gap.
    const pcm = this.#toBackend.convert(path.frame)
    if (this.#answerGuard === null) backend.pushAudio(pcm, path.voiced)
    const waitedMs = nowMs - path.arrivalMs
    context.latencyIn.observeMs(waitedMs)
    this.#latency.observeMs(waitedMs)
    context.slowestIn?.offer(waitedMs, start.callSid)
    if (path.agentHeardAtMs > this.#earOnsetMs) {
      this.#earOnsetMs = path.agentHeardAtMs
      this.#options.ear.onset(this.#earOnsetMs)
    }
  }

  /** A DTMF digit came, as sound or from the carrier: machines press none. */
  keyPressed(): void {
    if (this.#answerGuard !== null) this.#screened({ who: 'human', why: 'a key' })
  }

  /** What waited in playout was discarded: it was never played, and no echo of it will come. */
  playoutCleared(): void {
    this.#referencedTo(this.#options.shared.outbound.written)
  }

  release(): void {
    this.#toBackend.release()
    this.#path.release()
  }

  /** Until it is known that a person answered, the backend gets no audio: a model would answer the voicemail's greeting. */
  #screen(guard: AnswerGuard): void {
    const { frame, voiced, levelDbfs, sampleRateHz } = this.#path
    const verdict = guard.frame(voiced, !voiced && levelDbfs > TONE_DBFS_MIN && isPureTone(frame, sampleRateHz), levelDbfs)
    if (verdict !== null) this.#screened(verdict)
  }

  #screened(verdict: AnswerVerdict): void {
    this.#answerGuard = null
    this.#options.screened(verdict)
  }

  /**
   * Our own voice comes back: mixed into the line by the carrier, or out of the caller's loudspeaker. The path gets what was
   * sent, with the time at which it is played.
   */
  #reference(): void {
    const { shared: { words, times, outbound }, start } = this.#options
    // Read without Atomics, as most ticks find nothing: what this misses is found with the next packet.
    if ((words[Word.dated] as number) >>> 0 === this.#referenced) return
    const frame = this.#referenceFrame
    const dated = Atomics.load(words, Word.dated) >>> 0
    const sampleZeroMs = times[Time.sampleZeroMs] as number
    // Signed: after a discard `dated` is behind until main has dated new speech.
    for (let left = (dated - this.#referenced) | 0; left > 0; left = (dated - this.#referenced) | 0) {
      // Main takes whole frames; less is the end of a sentence, which it pads with zeros.
      const samples = Math.min(left, frame.length)
      if (outbound.recall(this.#referenced, frame, samples)) {
        frame.fill(0, samples)
        this.#played(frame, sampleZeroMs + samplesToMs(this.#referenced, start.legRateHz))
      }
      this.#referencedTo((this.#referenced + samples) >>> 0)
    }
  }

  #played(frame: Int16Array, playedAtMs: number): void {
    this.#options.journal?.played(frame, playedAtMs)
    this.#path.playedReference(frame, playedAtMs)
  }

  #referencedTo(position: number): void {
    this.#referenced = position
    this.#options.shared.outbound.recallFrom = position
  }
}
