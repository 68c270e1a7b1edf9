import type { Wake } from '../core/clock.js'
import { DEADLINE_NAMES } from './call-deadlines.js'
import type { CallState } from './call-deadlines.js'
import { CallFeatures } from './call-feature.js'
import type { CallFeature } from './call-feature.js'
import { CallKernel } from './call-kernel.js'
import type { CallLog } from './call-log.js'
import type { CallSessionOptions } from './call-options.js'
import { SECRET_DIGIT } from './tools/digit-collection.js'
import { CALL_CHECKPOINT_VERSION } from './documents/checkpoint.js'
import type { CallLogRecords } from './documents/log-entry.js'
import type { CallCheckpoint, OwedAnswer, SessionResume } from './documents/checkpoint.js'
import type { TurnDecider } from './turns/end-of-turn.js'
import type { CallInput, CallOutput, PlayoutView } from './events.js'
import { BackendLink } from './features/backend-link.js'
import { CallBackOffer } from './features/call-back-offer.js'
import { Caller } from './features/caller.js'
import { Claims } from './features/claims.js'
import { Consent } from './features/consent.js'
import { Digits } from './features/digits.js'
import { EffectWait } from './features/effect-wait.js'
import { Ending } from './features/ending.js'
import { EscalationSide } from './features/escalation-side.js'
import { Handover } from './features/handover.js'
import { Opening } from './features/opening.js'
import { Presence } from './features/presence.js'
import { RingBack } from './features/ring-back.js'
import { SentDigits } from './features/sent-digits.js'
import { StageChanges } from './features/stage-changes.js'
import { ToolCalls } from './features/tool-calls.js'
import { WaitingSound } from './features/waiting-sound.js'
import { Waits } from './features/waits.js'
import { Words } from './features/words.js'
import { plainFrame } from './turns/frame-figures.js'
import type { CallerFrame } from './turns/frame-figures.js'
import { VERIFY_TOOL } from './tools/gateway-tools.js'
import { VERIFIED_FACT } from './stage-definition.js'
import type { EscalationAsked } from './resources/line.js'
import type { Withheld } from './caller-data.js'
import type { Person } from './resources/person.js'
import type { Stages } from './stages.js'
import type { UsageSums } from './usage.js'

/**
 * Duration of the agent's speech that the shared ring holds, in milliseconds. If the worker dies, waiting speech
 * outside this ring is lost.
 */
const SURVIVING_SPEECH_MS = 2000
/** Frame that replaces the caller's audio while the caller enters secret digits. */
const UNHEARD = plainFrame(false)

/**
 * Makes all decisions of one call. Inputs with their times go in; outputs come out. This class does not use sockets,
 * timers, clocks or logs, so equal inputs give equal outputs. Replay of a journal depends on this.
 *
 *     waiting    --stream-opened-->                          connecting   (after a lost stream the gateway says that the
 *                                                                         line was cut off)
 *     connecting --backend ready-->                          live         (the backend gets its kick-off text)
 *     connecting, live --no greeting of the backend in time--> unchanged  (the gateway greets)
 *     connecting --backend not ready in time-->              escalating | closing   with an apology
 *     live       --backend died or does not answer-->        escalating | closing   with an apology
 *     live       --escalate_to_human, operator, rule-->      escalating   see `EscalationSide`
 *     live       --end_call, silence, duration, operator-->  closing      see `Ending`
 *     (any)      --carrier completed, end now-->             closed
 *     (any)      --stream-closed-->                          ended
 *
 * `CallCore` has clock, deadlines and outputs. `TurnTaking` has frames, turns, barge-in and playout. Each other subject
 * of a call is a feature.
 */
export class CallSession {
  readonly #call: CallKernel

  /**
   * @param resume  state of this call from its previous worker. With this state the session continues and does not
   * greet again
   * @param turnDecider  replaces the turn decider of the options
   * @param without  features that this session does not have; `UNANSWERED` answers their requests
   * @defaultValue none
   */
  constructor(
    options: CallSessionOptions,
    playout: PlayoutView,
    resume?: SessionResume,
    turnDecider?: TurnDecider,
    without: readonly FeatureName[] = [],
  ) {
    const names = without.length === 0 ? FEATURE_NAMES : FEATURE_NAMES.filter((name) => !without.includes(name))
    const featuresOf = (call: CallKernel, from: SessionResume | undefined): CallFeatures =>
      new CallFeatures(
        names,
        names.map((name): CallFeature => FEATURES[name](call, from)),
      )
    this.#call = new CallKernel(options, playout, featuresOf, resume, turnDecider)
  }

  /** Log of all events so far. Each of its entries was also sent as an output. */
  get log(): CallLog {
    return this.#call.log
  }

  get usage(): UsageSums {
    return this.#call.usage
  }

  get counters(): CallKernel['counters'] {
    return this.#call.counters
  }

  /** Number of sounds that lowered the agent's volume, but were not classified before the agent was stopped. */
  get ducksUndecided(): number {
    return this.#call.talk.bargeIn.ducksUndecided
  }

  /** Data of the caller. */
  get caller(): Pick<Person, 'open' | 'values' | 'earlier'> {
    return this.#call.person
  }

  /** True in a call back until the person was given the earlier call. */
  get asksToGoOn(): boolean {
    return this.#call.person.withheld
  }

  /** Log of the call, without the entries that the person on the line may not hear. */
  get told(): CallLogRecords {
    return this.#call.person.told
  }

  /** The stages of the call; null without stages. */
  get stages(): Stages | null {
    return this.#call.stages
  }

  get state(): CallState {
    return this.#call.line.state
  }

  /** True if only a tool may receive the caller's digits and words now. */
  get private(): boolean {
    return this.#call.keypad.private
  }

  /**
   * Returns the digit for the input `dtmf`. A digit that only a tool may receive becomes SECRET_DIGIT. An echo of a
   * tone that the gateway sent becomes null.
   */
  keyOf(digit: string): string | null {
    if (!this.#call.keypad.isPrivate(digit) || !/^\d$/.test(digit)) return digit
    return this.#call.keypad.isEcho(digit) ? null : SECRET_DIGIT
  }

  /** True while secret DTMF tones sound, or while their echo may still arrive. */
  get secretTones(): boolean {
    return this.#call.keypad.isEcho(SECRET_DIGIT)
  }

  /** True if only a tool may receive the digits that the caller presses now. */
  get privateKeys(): boolean {
    return this.#call.keypad.isPrivate()
  }

  /** True while a turn of the caller is open. */
  get callerSpeaks(): boolean {
    return this.#call.callerSpeech.speaking
  }

  /** Time at which the caller's open turn ends if no more voice follows. */
  get turnEndsAtMs(): number {
    return this.#call.callerSpeech.endsAtMs
  }

  /**
   * True while the session counts voiced or unvoiced frames. It counts during a sound over the agent, hold music, or
   * ignored sound.
   */
  get countsFrames(): boolean {
    const { bargeIn, unrecognised, putOnHold } = this.#call.talk
    return bargeIn.undecided || unrecognised.ignoring || putOnHold.suspected
  }

  /** True while the call waits for an answer of the model, the end of a tool, or a DTMF digit. */
  get awaits(): boolean {
    const { agentSpeech, wait, effects, keypad } = this.#call
    return agentSpeech.responding !== null || wait.answerDue || effects.running > 0 || keypad.grants.holder !== null
  }

  /**
   * Time from the opening of the stream to the first agent sound, in milliseconds; null before the first agent sound.
   */
  get greetingMs(): number | null {
    return this.#call.talk.greetingMs
  }

  /** Tag of the call's current language. */
  get language(): string {
    return this.#call.language.now
  }

  get escalation(): EscalationAsked | null {
    return this.#call.line.human
  }

  /** Time zero of transcript, turns and barge-ins, on the clock of the inputs. */
  get streamZeroMs(): number {
    return this.#call.streamZeroMs
  }

  /** Total time for which the call had an open stream, in milliseconds, over all streams of the call. */
  streamMs(nowMs: number): number {
    const { stream, newStream } = this.#call
    if (stream.openedAtMs === null) return newStream?.streamMs ?? 0
    return (stream.closedAtMs ?? nowMs) - stream.openedAtMs - stream.gapMs
  }

  /**
   * Sets the caller's identity after a tool has verified it. The escalation packet includes it.
   * @param withheld  withheld data of the caller, read from a journal; null if the session itself has this data
   */
  setIdentity(identity: Readonly<Record<string, unknown>>, withheld: Withheld | null = null): void {
    this.#call.person.identify(identity, withheld)
    this.stages?.know(VERIFIED_FACT, true, this.#call.streamMs, VERIFY_TOOL)
    this.#call.tell({ type: 'identified' })
    this.#call.changed()
  }

  /**
   * Takes one input and processes everything that is due at `nowMs`. After this method, call `pollOutput()` until it
   * returns null. Faults of backend, carrier or tools do not throw.
   */
  handle(input: CallInput, nowMs: number): void {
    const call = this.#call
    if (call.line.state === 'ended') return
    call.clockTo(nowMs)
    this.#input(input)
    call.features.settled(input)
    this.#afterwards()
  }

  /**
   * Takes one 20 ms frame of the caller; `nowMs` is the time of its last sample. Allocates only if something changes.
   */
  callerFrame(heard: CallerFrame, nowMs: number): void {
    const call = this.#call
    if (!call.line.streaming || call.line.inAmd) return
    const frame = call.keypad.private ? UNHEARD : heard
    call.clockTo(nowMs)
    if (call.talk.callerFrame(frame, nowMs)) this.#afterwards()
  }

  /**
   * True if audio of this item may be played. False if the audio's response was cancelled; the audio must then be
   * dropped.
   */
  acceptAudio(itemId: string, generation: number, nowMs: number): boolean {
    const call = this.#call
    const known = call.agentSpeech.item(itemId)
    if (known !== undefined && known.generation === null) return known.over !== 'cut' && call.line.streaming
    const audio = call.line.streaming ? call.agentSpeech.audio(itemId, generation) : 'late'
    if (audio === 'late') {
      call.counters.lateAudioDropped++
      return false
    }
    call.clockTo(nowMs)
    call.model.active()
    if (audio === 'first') {
      call.mark('agent-audio')
      call.tell({ type: 'model-audio' })
    }
    return true
  }

  /** True if the response with this number may be played. */
  wantsResponse(generation: number): boolean {
    return this.#call.line.streaming && this.#call.agentSpeech.isWanted(generation)
  }

  pollOutput(): CallOutput | null {
    return this.#call.takeOutput()
  }

  /** Latest time for the next `handle({ type: 'timer' })`; null if no deadline is set. */
  nextWake(): Wake | null {
    return this.#call.deadlines.next()
  }

  checkpoint(): CallCheckpoint {
    const call = this.#call
    const itemId = call.playout.currentItem(call.nowMs)
    const parts = call.features.checkpoint()
    // Each property is written in one place. A test compares the properties with the checkpoint's schema.
    return Object.assign(
      {
        version: CALL_CHECKPOINT_VERSION,
        callSid: call.options.callSid,
        state: checkpointState(call.line.state),
        streamOpenedWallMs:
          call.stream.openedAtMs === null
            ? (call.resume?.streamOpenedWallMs ?? null)
            : call.stream.openedAtMs + call.options.wallOffsetMs,
        owed: this.#owed,
        heard: itemId === null ? null : { itemId, playedMs: call.playout.playedMs(itemId, call.nowMs) },
        language: call.language.callers,
        nextAnnouncement: call.talk.nextAnnouncement,
        identity: call.person.identity,
        openTranscript: call.transcript.open,
        usage: { ...call.usage },
        gapMs: call.stream.gapMs,
      },
      ...parts,
    ) as CallCheckpoint
  }

  get #owed(): OwedAnswer {
    const call = this.#call
    if (call.stream.openedAtMs === null) return call.owed
    if (call.line.promised !== null) return 'answer'
    const runs = call.effects.running > 0 || call.input.grants.has('digits')
    if (call.talk.turns.waitingForReal || call.wait.answerDue || runs) return 'answer'
    return call.agentSpeech.responding !== null || call.playout.pendingMs() > SURVIVING_SPEECH_MS
      ? 'rest-of-answer'
      : 'nothing'
  }

  #input(input: CallInput): void {
    if (!this.#call.features.input(input)) this.#call.talk.take(input)
  }

  #afterwards(): void {
    // Each pass clears one deadline. The limit matters only if a handler sets a deadline in the past.
    for (let passes = 0; passes < 2 * DEADLINE_NAMES.length; passes++) {
      const due = this.#call.deadlines.takeDue(this.#call.nowMs)
      if (due === null) break
      this.#call.talk.due(due)
      this.#call.features.due(due)
    }
    this.#call.features.afterwards()
    if (this.#call.line.state !== 'ended') this.#call.noticeCheckpoint()
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

/**
 * Every feature, in the order in which features receive an input. The echo of a digit that the gateway sent is dropped.
 * The first active feature of this list takes any other digit:
 * - the time in which the caller may refuse the recording
 * - an entry of digits
 * - an offer of a call back
 * - a confirmation by a person who is called back
 *
 * Without an active feature, the backend receives the digit. Claims are audited before a stage changes.
 */
const FEATURES = {
  'sent-digits': (call) => new SentDigits(call),
  consent: (call) => new Consent(call),
  digits: (call) => new Digits(call),
  'call-back-offer': (call) => new CallBackOffer(call),
  'ring-back': (call) => new RingBack(call),
  opening: (call) => new Opening(call),
  caller: (call) => new Caller(call),
  'backend-link': (call) => new BackendLink(call),
  words: (call) => new Words(call),
  'tool-calls': (call) => new ToolCalls(call),
  'effect-wait': (call) => new EffectWait(call),
  waits: (call) => new Waits(call),
  'waiting-sound': (call) => new WaitingSound(call),
  handover: (call) => new Handover(call),
  claims: (call) => new Claims(call),
  'stage-changes': (call) => new StageChanges(call),
  presence: (call) => new Presence(call),
  'escalation-side': (call, resume) => new EscalationSide(call, resume),
  ending: (call) => new Ending(call),
} satisfies Record<string, (call: CallKernel, resume: SessionResume | undefined) => CallFeature>

export type FeatureName = keyof typeof FEATURES
export const FEATURE_NAMES = Object.keys(FEATURES) as FeatureName[]
