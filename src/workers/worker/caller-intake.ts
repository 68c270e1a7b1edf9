import type { Backend } from '../../backends/backend.js'
import { AnsweringMachineDetector } from '../../call/turns/answering-machine-detector.js'
import type { AnsweringMachineOptions, AnswerVerdict } from '../../call/turns/answering-machine-detector.js'
import type { TurnDecider } from '../../call/turns/end-of-turn.js'
import type { CallSession } from '../../call/call-session.js'
import { plainFrame } from '../../call/turns/frame-figures.js'
import { smallArray } from '../../core/small-arrays.js'
import { BYTES_PER_SAMPLE, FRAME_MS, frameSamples, samplesToMs } from '../../core/units.js'
import { CallerPath } from '../../media/caller-path.js'
import type { CallerPathStats } from '../../media/caller-path.js'
import type { StreamResampler } from '../../media/resample/resampler.js'
import { isPureTone } from '../../media/vad/pure-tone.js'
import { FrameHistogram } from '../../telemetry/frame-histogram.js'
import type { CallJournal } from '../shared/call-journal.js'
import type { CallStart } from '../shared/call-messages.js'
import { FRAMES_WAIT_MS_MAX } from './call-pace.js'
import type { CallerLatency } from './caller-latency.js'
import type { WorkerContext } from './worker-context.js'
import { Word } from '../shared/shared-call-layout.js'
import { bytesInRing } from '../shared/shared-call.js'
import type { SharedCall } from '../shared/shared-call.js'
import type { TickView } from './tick-view.js'

/** Minimum level in dBFS of a tone; a quieter tone is line hum. */
const TONE_DBFS_MIN = -45
/**
 * Number of frames that are held back from the model while DTMF digits are private. A digit is recognised only 30 to 50
 * ms after its tone began.
 */
const KEY_FRAMES = 4

interface CallerIntakeOptions {
  readonly start: CallStart
  readonly context: WorkerContext
  readonly shared: SharedCall
  readonly session: CallSession
  /** Decides when a turn ends; null if the session decides. A decider from a module may read the samples. */
  readonly turnDecider: TurnDecider | null
  readonly backend: Backend
  readonly journal: CallJournal | null
  readonly callerLatency: CallerLatency
  /** Answering-machine detection of an outbound call; null for other calls. */
  readonly amd: AnsweringMachineOptions | null
  readonly digit: (digit: string) => void
  readonly amdResult: (verdict: AnswerVerdict) => void
}

/**
 * Caller's audio of a call on its worker. For each due frame, the session gets the voice decision and the backend gets
 * the samples. Its methods are steps of the tick.
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
  #voicedAtMs = -Infinity
  #keyAtMs = -Infinity
  /** Maximum number of bytes of frames that wait in the ring, for each channel. */
  readonly #waitingBytesMax: number
  /**
   * Frames that are held back, the oldest first. The model gets a frame when it is certain that the frame contains no
   * private digit.
   */
  readonly #held: { readonly frame: Int16Array; voiced: boolean }[] = []
  /** Answering-machine detection; null once its verdict is final. */
  #amdDetector: AnsweringMachineDetector | null
  /** True until the detection has found a person. Until then the backend gets no audio. */
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
    const frameBytes = frameSamples(legRateHz) * BYTES_PER_SAMPLE
    this.#waitingBytesMax = (FRAMES_WAIT_MS_MAX / FRAME_MS) * bytesInRing(frameBytes)
    this.#referenceFrame = smallArray(Int16Array, frameSamples(legRateHz))
    this.#referenced = shared.outbound.taken
    this.#waitingReferenced = (shared.words[Word.waitingSent] as number) >>> 0
    // Samples that were played are read again, as the reference for the echo.
    shared.outbound.recallFrom = this.#referenced
    const heardOut = options.start.resume?.checkpoint.amd === 'recording'
    this.#amdDetector = amd === null ? null : new AnsweringMachineDetector(amd, heardOut)
    this.#amdRuns = amd !== null
  }

  /** Time of the next due frame, unless a packet comes earlier. */
  get dueMs(): number {
    return this.#path.dueMs
  }

  /** Time of the last frame with voice; -Infinity before the first. `keyAtMs`: time of the caller's last DTMF digit. */
  get voicedAtMs(): number {
    return this.#voicedAtMs
  }

  get keyAtMs(): number {
    return this.#keyAtMs
  }

  /** True if each frame is needed at once, because digits are private or an answering machine may have answered. */
  get isWatched(): boolean {
    const { session } = this.#options
    return this.#amdRuns || this.#amdDetector !== null || session.private || session.privateKeys || session.secretTones
  }

  /** True if a frame above the quiet level waits in the jitter buffer until it is due. */
  get loudWaits(): boolean {
    return this.#path.waitsLoud
  }

  /** Mean square of samples below which a frame is quiet, in the unit of the word `inPower`. */
  get quietPower(): number {
    return this.#path.quietPower
  }

  /** True if the packets that wait in the ring have reached their limit. */
  get isFull(): boolean {
    return this.#options.shared.inbound.waitingBytes >= this.#path.channels * this.#waitingBytesMax
  }

  /** Copy of the counters; allocates memory. */
  get stats(): CallerPathStats {
    return this.#path.stats
  }

  /** True if the caller's line carries only a telephone's band; null while this is unknown. */
  get narrowBand(): boolean | null {
    return this.#path.narrowBand
  }

  /**
   * 99th percentile of the latency that we add to a frame, from the carrier's socket to the backend, in ms; NaN before
   * the first frame.
   */
  get frameLatencyP99Ms(): number {
    return this.#latency.quantileMs(0.99)
  }

  /** Moves the carrier's packets into the caller's path. @param view  the shared memory at this tick */
  receive(nowMs: number, view: TickView): void {
    const {
      shared: { inbound },
      journal,
      session,
    } = this.#options
    // The sent audio is read before the packets, because the packets may already contain its echo.
    this.reference(view)
    const head = view.inHead
    for (let packet = inbound.next(head); packet !== null; packet = inbound.next(head)) {
      journal?.packet(packet, inbound.arrivalMs, session.privateKeys || session.secretTones)
      this.#path.push(packet, inbound.arrivalMs)
      inbound.release()
    }
    journal?.tick(nowMs)
    const { words } = this.#options.shared
    const burstMs = this.#path.lineBurstMs
    // The word is written only after a change, because main reads its cache line at every tick.
    if (words[Word.lineBurstMs] !== burstMs) Atomics.store(words, Word.lineBurstMs, burstMs)
  }

  /** Takes the next frame that is due. @returns false if no frame is due; otherwise `detect` and `attend` follow */
  take(nowMs: number, readMs: number): boolean {
    return this.#path.take(nowMs, readMs)
  }

  /** Detects voice and DTMF digits in the taken frame. */
  detect(): void {
    this.#path.detect()
  }

  /** Gives the session the frame's voice decision, and the backend the frame's samples. */
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
    if (path.voiced) this.#voicedAtMs = nowMs
    if (path.agentHeardAtMs > this.#agentHeardAtMs) {
      this.#agentHeardAtMs = path.agentHeardAtMs
      // The waiting sound is not an answer to the caller.
      if (this.#options.shared.words[Word.waiting] === 0) this.#options.callerLatency.onset(this.#agentHeardAtMs)
    }
  }

  /** Gives the backend the taken frame. While digits are private, the backend gets an earlier frame. */
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
    // The resampler also gets the frames that the backend does not get. Otherwise its filter's history would have a
    // gap.
    const pcm = this.#toBackend.convert(frame)
    if (!this.#amdRuns) this.#options.backend.pushAudio(pcm, voiced)
  }

  /** Earliest arrival time of audio that may belong to a digit recognised now. */
  keyFromMs(nowMs: number): number {
    return Math.min(nowMs, this.#path.arrivalMs || nowMs) - KEY_FRAMES * FRAME_MS
  }

  /** Notes that the stream opened. The carrier's first packet may contain speech from before this time. */
  streamOpened(openedAtMs: number): void {
    this.#path.openedAtMs = openedAtMs
  }

  /**
   * Takes a DTMF digit, from its sound or from the carrier. A digit shows that a person is on the line, because
   * answering machines do not send digits.
   */
  digitCame(nowMs: number): void {
    this.#keyAtMs = nowMs
    if (this.#amdRuns) this.#amdResult({ who: 'human', why: 'a DTMF digit' })
    this.#amdDetector = null
  }

  /** Notes that playout discarded its waiting samples. They will never be played, so they cause no echo. */
  playoutCleared(): void {
    this.#referencedTo(this.#options.shared.outbound.written)
  }

  release(): void {
    this.#toBackend.release()
    this.#path.release()
  }

  /**
   * Searches for an answering machine. The backend gets no audio before a person is found, because a model would answer
   * the voicemail's greeting.
   */
  #screen(guard: AnsweringMachineDetector): void {
    const { frame, voiced, levelDbfs, sampleRateHz, lineIsFaulty } = this.#path
    const verdict = guard.frame(
      voiced,
      !voiced && levelDbfs > TONE_DBFS_MIN && isPureTone(frame, sampleRateHz, lineIsFaulty ? levelDbfs : null),
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
   * Gives the sent samples and their playing time to the caller's path. Our voice and the waiting sound come back as
   * echo, from the carrier's mix or from the caller's loudspeaker.
   */
  reference(view: TickView): void {
    const { dated, waitingSent } = view
    if (dated >>> 0 === this.#referenced && waitingSent >>> 0 === this.#waitingReferenced) return
    const { sampleZeroMs, waitingZeroMs } = view
    const { legRateHz } = this.#options.start
    this.#passOverwritten(waitingSent)
    for (;;) {
      // The difference is signed. After a discard, `dated` is less than the count here until the main thread has sent
      // new speech.
      const speech = (dated - this.#referenced) | 0
      const waiting = (waitingSent - this.#waitingReferenced) | 0
      if (speech <= 0 && waiting <= 0) return
      const speechMs = sampleZeroMs + samplesToMs(this.#referenced, legRateHz)
      const waitingMs = waitingZeroMs + samplesToMs(this.#waitingReferenced, legRateHz)
      // Samples of speech and of the waiting sound are read in the order in which they were played.
      if (speech > 0 && (waiting <= 0 || speechMs < waitingMs)) this.#speechReference(speech, speechMs)
      else this.#waitingReference(waitingMs)
    }
  }

  /**
   * Skips samples of the waiting sound that main may overwrite soon. Only the newer half of the stored samples is safe
   * to read.
   */
  #passOverwritten(waitingSent: number): void {
    const frame = this.#referenceFrame.length
    const late = ((waitingSent - this.#waitingReferenced) | 0) - this.#options.shared.waitingSent.length / 2
    if (late > 0) this.#waitingReferenced = (this.#waitingReferenced + Math.ceil(late / frame) * frame) >>> 0
  }

  #speechReference(left: number, playedAtMs: number): void {
    const frame = this.#referenceFrame
    // The last frame of a sentence may be incomplete. The main thread has filled it with zeros.
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
