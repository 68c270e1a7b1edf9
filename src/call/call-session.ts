import type { Wake } from '../core/clock.js'
import { DEADLINES } from './call-feature.js'
import type { CallState } from './call-feature.js'
import { CallKernel } from './call-kernel.js'
import type { CallLog } from './call-log.js'
import type { CallSessionOptions } from './call-options.js'
import { SECRET_DIGIT } from './digit-collection.js'
import { CALL_CHECKPOINT_VERSION } from './documents/checkpoint.js'
import type { CallCheckpoint, OwedAnswer, SessionResume } from './documents/checkpoint.js'
import type { TurnDecider } from './end-of-turn.js'
import type { CallInput, CallOutput, PlayoutView } from './events.js'
import type { Caller } from './features/caller.js'
import type { EscalationAsked } from './features/escalation-side.js'
import { plainFrame } from './frame-figures.js'
import type { CallerFrame } from './frame-figures.js'
import { VERIFY_TOOL } from './gateway-tools.js'
import { VERIFIED_FACT } from './stage-definition.js'
import type { Stages } from './stages.js'
import type { UsageSums } from './usage.js'

/** Waiting speech beyond this is not in the shared ring, so it is lost when the worker dies. */
const SURVIVING_SPEECH_MS = 2000
/** Frame in place of the caller's audio while the caller enters secret digits. */
const UNHEARD = plainFrame(false)

/**
 * Makes all decisions of one call: inputs with their time go in, outputs come out. It has no sockets, timers, clocks or
 * logs, so the same inputs give the same outputs. A journal relies on this.
 *
 *     waiting    --stream-opened-->                          connecting   (after a lost stream the gateway says that the
 *                                                                         line was cut off)
 *     connecting --backend ready-->                          live         (the backend gets its kick-off text)
 *     connecting, live --no greeting of the backend in time--> the same   (the gateway greets)
 *     connecting --not ready in time-->                      escalating | closing   with an apology
 *     live       --backend died, answers nothing-->          escalating | closing   with an apology
 *     live       --escalate_to_human, operator, rule-->      escalating   see `EscalationSide`
 *     live       --end_call, silence, duration, operator-->  closing      see `Ending`
 *     (any)      --carrier completed, end now-->             closed
 *     (any)      --stream-closed-->                          ended
 *
 * Frames, turns, barge-in, playout and deadlines are in `CallKernel`; what else a call can be about is a feature each.
 */
export class CallSession {
  readonly #call: CallKernel

  /**
   * @param resume      state of the same call from its previous worker: the session continues and does not greet again
   * @param turnDecider in place of the one that the options ask for
   */
  constructor(options: CallSessionOptions, playout: PlayoutView, resume?: SessionResume, turnDecider?: TurnDecider) {
    this.#call = new CallKernel(options, playout, resume, turnDecider)
  }

  /** Events so far; each entry was an output. */
  get log(): CallLog {
    return this.#call.log
  }

  get usage(): UsageSums {
    return this.#call.usage
  }

  get counters(): CallKernel['counters'] {
    return this.#call.counters
  }

  /** Data of the caller. */
  get caller(): Pick<Caller, 'open' | 'values' | 'earlier'> {
    return this.#call.caller
  }

  /** Who is rung back has not said yet that they want to go on. */
  get asksToGoOn(): boolean {
    return this.#call.ringBack.unconfirmed !== null
  }

  /** The stages of the call; null: it has none. */
  get stages(): Stages | null {
    return this.#call.stages.machine
  }

  get state(): CallState {
    return this.#call.state
  }

  /** Nobody but a tool may have what the caller enters or says now. */
  get private(): boolean {
    return this.#call.digits.private
  }

  /**
   * A key as the input `dtmf` may have it: SECRET_DIGIT for a digit that nobody but a tool may have. Null for none at all: the
   * echo of an own tone, which would count as one of these.
   */
  keyOf(digit: string): string | null {
    if (!this.privateKeys || !/^\d$/.test(digit)) return digit
    return this.#call.sentDigits.isOwn(digit) ? null : SECRET_DIGIT
  }

  /** Nobody but a tool may have the keys that the caller presses now. The gateway's own questions by key are newer. */
  get privateKeys(): boolean {
    return this.#call.digits.privateKeys
  }

  /** From the opened stream to the first agent sound; null before that sound. */
  get greetingMs(): number | null {
    return this.#call.greeting.startedMs
  }

  /** Tag of the language that the call is in. */
  get language(): string {
    return this.#call.language.now
  }

  get escalation(): EscalationAsked | null {
    return this.#call.escalation.asked
  }

  /** Time zero of transcript, turns and barge-ins, on the clock of the inputs. */
  get streamZeroMs(): number {
    return this.#call.streamZeroMs
  }

  /** How long the stream has been open, or was open in total; all streams of the call together. */
  streamMs(nowMs: number): number {
    const { streamOpenedAtMs, newStream, gapMs, ending } = this.#call
    if (streamOpenedAtMs === null) return newStream?.streamMs ?? 0
    return (ending.streamClosedAtMs ?? nowMs) - streamOpenedAtMs - gapMs
  }

  /** Who the caller is, once a tool has established it; goes into the escalation packet. */
  setIdentity(identity: Readonly<Record<string, unknown>>): void {
    this.#call.identity = identity
    this.stages?.know(VERIFIED_FACT, true, this.#call.streamMs, VERIFY_TOOL)
    this.#call.caller.identified()
    this.#call.changed()
  }

  /**
   * Takes one input and runs what is due at `nowMs`. Then drain `pollOutput()` until null. It does not throw because of
   * what the backend, the carrier or a tool did.
   */
  handle(input: CallInput, nowMs: number): void {
    const call = this.#call
    if (call.state === 'ended') return
    call.clockTo(nowMs)
    this.#input(input)
    call.escalation.applyRules(input)
    this.#afterwards()
  }

  /**
   * One 20 ms frame of the caller, `nowMs` being the time of its last sample. No allocation unless something changes.
   */
  callerFrame(heard: CallerFrame, nowMs: number): void {
    const call = this.#call
    if (!call.streaming || call.opening.amd) return
    const frame = call.digits.private ? UNHEARD : heard
    call.clockTo(nowMs)
    if (call.callerFrame(frame, nowMs)) this.#afterwards()
  }

  /** True if audio of that item may be played. False: it belongs to a dead response; drop it. */
  acceptAudio(itemId: string, generation: number, nowMs: number): boolean {
    const call = this.#call
    const known = call.agentSpeech.item(itemId)
    if (known !== undefined && known.generation === null) return known.over !== 'cut' && call.streaming
    const audio = call.streaming ? call.agentSpeech.audio(itemId, generation) : 'late'
    if (audio === 'late') {
      call.counters.lateAudioDropped++
      return false
    }
    call.clockTo(nowMs)
    call.backend.audio(audio === 'first')
    return true
  }

  pollOutput(): CallOutput | null {
    return this.#call.takeOutput()
  }

  /** Latest time to call `handle({ type: 'timer' })`; null when no deadline is set. */
  nextWake(): Wake | null {
    return this.#call.deadlines.next()
  }

  checkpoint(): CallCheckpoint {
    const call = this.#call
    const itemId = call.playout.currentItem(call.nowMs)
    const parts = call.features.map((feature) => feature.checkpoint?.())
    // Each key has one writer; the schema of the checkpoint proves in tests that none is missing.
    return Object.assign(
      {
        version: CALL_CHECKPOINT_VERSION,
        callSid: call.options.callSid,
        state: checkpointState(call.state),
        streamOpenedWallMs:
          call.streamOpenedAtMs === null
            ? (call.resume?.streamOpenedWallMs ?? null)
            : call.streamOpenedAtMs + call.options.wallOffsetMs,
        owed: this.#owed,
        heard: itemId === null ? null : { itemId, playedMs: call.playout.playedMs(itemId, call.nowMs) },
        language: call.language.callers,
        nextAnnouncement: call.nextAnnouncement,
        identity: call.identity,
        openTranscript: call.transcript.open,
        usage: { ...call.usage },
        gapMs: call.gapMs,
      },
      ...parts,
    ) as CallCheckpoint
  }

  get #owed(): OwedAnswer {
    const call = this.#call
    if (call.streamOpenedAtMs === null) return call.opening.owed
    if (call.handover.to !== null) return 'answer'
    const runs = call.ledger.running > 0 || call.digits.collection !== null
    if (call.turns.waitingForReal || call.deadlines.isSet('answer') || runs) return 'answer'
    return call.agentSpeech.responding !== null || call.playout.pendingMs() > SURVIVING_SPEECH_MS
      ? 'rest-of-answer'
      : 'nothing'
  }

  #input(input: CallInput): void {
    for (const feature of this.#call.features) if (feature.input?.(input) === true) return
    this.#call.input(input)
  }

  #afterwards(): void {
    // Each pass clears a deadline; the bound only guards against one that is set in the past.
    for (let passes = 0; passes < 2 * DEADLINES.length; passes++) {
      const due = this.#call.deadlines.takeDue(this.#call.nowMs)
      if (due === null) break
      this.#call.due(due)
      for (const feature of this.#call.features) feature.due?.(due)
    }
    this.#call.waitingSound.follow()
    this.#call.noticeCheckpoint()
  }
}

function checkpointState(state: CallState): CallCheckpoint['state'] {
  switch (state) {
    case 'connecting':
      return 'live'
    case 'closed':
    case 'ended':
      return 'closing'
    default:
      return state
  }
}
