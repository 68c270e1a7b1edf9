import type { Backend } from '../../backends/backend.js'
import { AnsweringMachineDetector } from '../../call/turns/answering-machine-detector.js'
import type { AnsweringMachineOptions, AnswerVerdict } from '../../call/turns/answering-machine-detector.js'
import type { TurnDecider } from '../../call/turns/end-of-turn.js'
import type { CallSession } from '../../call/call-session.js'
import { plainFrame } from '../../call/turns/frame-figures.js'
import { smallArray } from '../../core/small-arrays.js'
import { FRAME_MS, frameSamples, samplesToMs } from '../../core/units.js'
import { CallerPath } from '../../media/caller-path.js'
import type { CallerPathStats } from '../../media/caller-path.js'
import type { StreamResampler } from '../../media/resample/resampler.js'
import { isPureTone } from '../../media/vad/pure-tone.js'
import { FrameHistogram } from '../../telemetry/frame-histogram.js'
import type { CallJournal } from '../shared/call-journal.js'
import type { CallStart } from '../shared/call-messages.js'
import type { CallerLatency } from './caller-latency.js'
import type { WorkerContext } from './worker-context.js'
import { Time, Word } from '../shared/shared-call-layout.js'
import type { SharedCall } from '../shared/shared-call.js'

/** A tone below this level is line hum. */
const TONE_DBFS_MIN = -45
/** A key is recognised 30 to 50 ms after its tone began: where keys are private, frames wait so long for the model. */
const KEY_FRAMES = 4

interface CallerIntakeOptions {
  readonly start: CallStart
  readonly context: WorkerContext
  readonly shared: SharedCall
  readonly session: CallSession
  /** Decides the ends of turns; one of your own may hear the samples itself. */
  readonly turnDecider: TurnDecider | null
  readonly backend: Backend
  readonly journal: CallJournal | null
  readonly callerLatency: CallerLatency
  /** Answering-machine detection of an outbound call; null for any other. */
  readonly amd: AnsweringMachineOptions | null
  readonly digit: (digit: string) => void
  readonly amdResult: (verdict: AnswerVerdict) => void
}

/**
 * The caller's side of a call on its worker: takes packets out of the shared ring. For each frame that is due, the
 * session gets the voice decision and the backend gets the samples. Its methods are steps of the worker's tick.
 */
export class CallerIntake {
  readonly #options: CallerIntakeOptions
  readonly #path: CallerPath
  readonly #toBackend: StreamResampler
  readonly #latency = new FrameHistogram()
  readonly #referenceFrame: Int16Array
  #referenced: number
  #waitingReferenced: number
  #agentHeardAtMs = -Infinity
  /** Frames that the model gets once it is certain that they have no private key, the oldest first. */
  readonly #held: { readonly frame: Int16Array; voiced: boolean }[] = []
  /** Answering-machine detection; null once nothing can change its verdict. */
  #amdDetector: AnsweringMachineDetector | null
  /** It is not known that a person is there: the backend gets no audio. */
  #amdRuns: boolean

  constructor(options: CallerIntakeOptions) {
    const {
      start: { legRateHz, track },
      context,
      backend,
      shared,
      amd,
    } = options
    this.#options = options
    this.#path = new CallerPath({ sampleRateHz: legRateHz, track, vadBank: context.vads })
    const { inputRateHz } = backend.capabilities
    this.#toBackend = context.resamplers.open(legRateHz, inputRateHz)
    this.#referenceFrame = smallArray(Int16Array, frameSamples(legRateHz))
    this.#referenced = shared.outbound.taken
    this.#waitingReferenced = (shared.words[Word.waitingSent] as number) >>> 0
    // Played samples are read again, as the reference for the echo.
    shared.outbound.recallFrom = this.#referenced
    const heardOut = options.start.resume?.checkpoint.amd === 'recording'
    this.#amdDetector = amd === null ? null : new AnsweringMachineDetector(amd, heardOut)
    this.#amdRuns = amd !== null
  }

  /** No frame is due before this time, unless a packet comes. */
  get dueMs(): number {
    return this.#path.dueMs
  }

  /** A copy of the counters; allocates. */
  get stats(): CallerPathStats {
    return this.#path.stats
  }

  /** True if the caller's line carries no more than a telephone's band; null while it is not known. */
  get narrowBand(): boolean | null {
    return this.#path.narrowBand
  }

  /** Added latency from the carrier's socket to the backend, ms; NaN before the first frame. */
  get frameLatencyP99Ms(): number {
    return this.#latency.quantileMs(0.99)
  }

  /** Moves the carrier's packets into the caller's path. */
  receive(nowMs: number): void {
    const {
      shared: { inbound },
      journal,
      session,
    } = this.#options
    // Before the packets, which may already contain the echo.
    this.#reference()
    for (let packet = inbound.next(); packet !== null; packet = inbound.next()) {
      journal?.packet(packet, inbound.arrivalMs, session.privateKeys || session.secretTones)
      this.#path.push(packet, inbound.arrivalMs)
      inbound.release()
    }
    journal?.tick(nowMs)
  }

  /** The next frame that is due. @returns false when there is none; else `detect` and `attend` follow */
  take(nowMs: number, readMs: number): boolean {
    return this.#path.take(nowMs, readMs)
  }

  /** Detects voice and DTMF digits in that frame. */
  detect(): void {
    this.#path.detect()
  }

  /** Gives the session the frame's voice decision, and the backend its samples. */
  attend(nowMs: number): void {
    const { journal, session, turnDecider, digit, context, start } = this.#options
    const path = this.#path
    const unheard = session.private
    if (unheard) path.frame.fill(0)
    journal?.writer.frame(unheard ? { ...plainFrame(false), early: path.early } : path, nowMs)
    turnDecider?.hear?.(path.frame)
    session.callerFrame(path, nowMs)
    if (this.#amdDetector !== null) this.#screen(this.#amdDetector)
    if (path.digit !== null) digit(path.digit)
    this.#pass(path.voiced && !unheard)
    const waitedMs = nowMs - path.arrivalMs
    context.latencyIn.observeMs(waitedMs)
    this.#latency.observeMs(waitedMs)
    context.slowestIn?.offer(waitedMs, start.callSid)
    if (path.agentHeardAtMs > this.#agentHeardAtMs) {
      this.#agentHeardAtMs = path.agentHeardAtMs
      // The waiting sound is no answer.
      if (this.#options.shared.words[Word.waiting] === 0) this.#options.callerLatency.onset(this.#agentHeardAtMs)
    }
  }

  /** Gives the backend the frame that was taken; where keys are private, one of a little before. */
  #pass(voiced: boolean): void {
    const { session } = this.#options
    const { frame } = this.#path
    const waits = session.privateKeys
    if (!waits && this.#held.length === 0) return this.#toModel(frame, voiced)
    this.#held.push({ frame: frame.slice(), voiced })
    if (session.private)
      for (const held of this.#held) {
        held.frame.fill(0)
        held.voiced = false
      }
    while (this.#held.length > (waits ? KEY_FRAMES : 0)) {
      const held = this.#held.shift()
      if (held !== undefined) this.#toModel(held.frame, held.voiced)
    }
  }

  #toModel(frame: Int16Array, voiced: boolean): void {
    // Frames that the backend does not get are resampled too, so that the filter's history has no gap.
    const pcm = this.#toBackend.convert(frame)
    if (!this.#amdRuns) this.#options.backend.pushAudio(pcm, voiced)
  }

  /** When a key may have begun that was recognised now, by the arrival of its audio. */
  keyFromMs(nowMs: number): number {
    return Math.min(nowMs, this.#path.arrivalMs || nowMs) - KEY_FRAMES * FRAME_MS
  }

  /** The carrier's first packet may hold what the caller said before this. */
  streamOpened(openedAtMs: number): void {
    this.#path.openedAtMs = openedAtMs
  }

  /** A DTMF digit came, as sound or from the carrier: an answering machine sends none. */
  digitCame(): void {
    if (this.#amdRuns) this.#amdResult({ who: 'human', why: 'a DTMF digit' })
    this.#amdDetector = null
  }

  /** Playout discarded its waiting samples: they will never be played, so no echo of them will come. */
  playoutCleared(): void {
    this.#referencedTo(this.#options.shared.outbound.written)
  }

  release(): void {
    this.#toBackend.release()
    this.#path.release()
  }

  /**
   * Before a person is known to have answered, the backend gets no audio: a model would answer the voicemail's
   * greeting.
   */
  #screen(guard: AnsweringMachineDetector): void {
    const { frame, voiced, levelDbfs, sampleRateHz } = this.#path
    const verdict = guard.frame(
      voiced,
      !voiced && levelDbfs > TONE_DBFS_MIN && isPureTone(frame, sampleRateHz),
      levelDbfs,
    )
    if (verdict !== null) this.#amdResult(verdict)
    if (guard.over) this.#amdDetector = null
  }

  #amdResult(verdict: AnswerVerdict): void {
    this.#amdRuns = verdict.who === 'recording' || verdict.who === 'machine'
    this.#options.amdResult(verdict)
  }

  /**
   * Our own voice comes back, mixed in by the carrier or from the caller's loudspeaker. So the caller's path gets what
   * was sent, with the time at which it is played. The waiting sound comes back too.
   */
  #reference(): void {
    const {
      shared: { words, times },
      start: { legRateHz },
    } = this.#options
    // Read without Atomics, because most ticks find nothing. What this misses is found at the next packet.
    const isNew =
      (words[Word.dated] as number) >>> 0 !== this.#referenced ||
      (words[Word.waitingSent] as number) >>> 0 !== this.#waitingReferenced
    if (!isNew) return
    const dated = Atomics.load(words, Word.dated)
    const waitingSent = Atomics.load(words, Word.waitingSent)
    const sampleZeroMs = times[Time.sampleZeroMs] as number
    const waitingZeroMs = times[Time.waitingZeroMs] as number
    this.#passOverwritten(waitingSent)
    for (;;) {
      // Signed: after a discard, `dated` is behind until the main thread has sent new speech.
      const speech = (dated - this.#referenced) | 0
      const waiting = (waitingSent - this.#waitingReferenced) | 0
      if (speech <= 0 && waiting <= 0) return
      const speechMs = sampleZeroMs + samplesToMs(this.#referenced, legRateHz)
      const waitingMs = waitingZeroMs + samplesToMs(this.#waitingReferenced, legRateHz)
      // In the order in which they are played.
      if (speech > 0 && (waiting <= 0 || speechMs < waitingMs)) this.#speechReference(speech, speechMs)
      else this.#waitingReference(waitingMs)
    }
  }

  /** Half of what is kept stays readable, because main goes on writing. A thread that was held up for longer leaves out the rest. */
  #passOverwritten(waitingSent: number): void {
    const frame = this.#referenceFrame.length
    const late = ((waitingSent - this.#waitingReferenced) | 0) - this.#options.shared.waitingSent.length / 2
    if (late > 0) this.#waitingReferenced = (this.#waitingReferenced + Math.ceil(late / frame) * frame) >>> 0
  }

  #speechReference(left: number, playedAtMs: number): void {
    const frame = this.#referenceFrame
    // The main thread takes whole frames, and pads the end of a sentence with zeros.
    const samples = Math.min(left, frame.length)
    if (this.#options.shared.outbound.recall(this.#referenced, frame, samples)) {
      frame.fill(0, samples)
      this.#played(frame, playedAtMs)
    }
    this.#referencedTo((this.#referenced + samples) >>> 0)
  }

  #waitingReference(playedAtMs: number): void {
    const { waitingSent } = this.#options.shared
    const frame = this.#referenceFrame
    for (let i = 0; i < frame.length; i++)
      frame[i] = waitingSent[(this.#waitingReferenced + i) & (waitingSent.length - 1)] as number
    this.#played(frame, playedAtMs)
    this.#waitingReferenced = (this.#waitingReferenced + frame.length) >>> 0
  }

  #played(frame: Int16Array, playedAtMs: number): void {
    this.#options.journal?.played(frame, playedAtMs, this.#options.session.secretTones)
    this.#path.playedReference(frame, playedAtMs)
  }

  #referencedTo(position: number): void {
    this.#referenced = position
    this.#options.shared.outbound.recallFrom = position
  }
}
