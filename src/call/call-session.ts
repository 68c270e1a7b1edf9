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
 * Clock, deadlines and outputs are in `CallCore`, frames, turns, barge-in and playout in `TurnTaking`; what else a call can be about
 * is a feature each.
 */
export class CallSession {
  readonly #call: CallKernel

  /**
   * @param resume      state of the same call from its previous worker: the session continues and does not greet again
   * @param turnDecider in place of the one that the options ask for
   * @param without     features that this call lacks: what is asked of them has the answer of `UNANSWERED`
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
  get caller(): Pick<Person, 'open' | 'values' | 'earlier'> {
    return this.#call.person
  }

  /** Who is rung back has not said yet that they want to go on. */
  get asksToGoOn(): boolean {
    return this.#call.person.unconfirmed !== null
  }

  /** The stages of the call; null: it has none. */
  get stages(): Stages | null {
    return this.#call.stages
  }

  get state(): CallState {
    return this.#call.line.state
  }

  /** Nobody but a tool may have what the caller enters or says now. */
  get private(): boolean {
    return this.#call.keypad.private
  }

  /**
   * A key as the input `dtmf` may have it: SECRET_DIGIT for a digit that nobody but a tool may have. Null for none at all: the
   * echo of an own tone, which would count as one of these.
   */
  keyOf(digit: string): string | null {
    if (!this.#call.keypad.isPrivate(digit) || !/^\d$/.test(digit)) return digit
    return this.#call.keypad.isEcho(digit) ? null : SECRET_DIGIT
  }

  /** Keys sound that nobody is to read, or their echo may still come. */
  get secretTones(): boolean {
    return this.#call.keypad.isEcho(SECRET_DIGIT)
  }

  /** Nobody but a tool may have keys that the caller presses now. */
  get privateKeys(): boolean {
    return this.#call.keypad.isPrivate()
  }

  /** From the opened stream to the first agent sound; null before that sound. */
  get greetingMs(): number | null {
    return this.#call.talk.greetingMs
  }

  /** Tag of the language that the call is in. */
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

  /** How long the stream has been open, or was open in total; all streams of the call together. */
  streamMs(nowMs: number): number {
    const { stream, newStream } = this.#call
    if (stream.openedAtMs === null) return newStream?.streamMs ?? 0
    return (stream.closedAtMs ?? nowMs) - stream.openedAtMs - stream.gapMs
  }

  /**
   * Who the caller is, once a tool has established it; goes into the escalation packet.
   * @param withheld  as in a journal; null: the session has the values itself
   */
  setIdentity(identity: Readonly<Record<string, unknown>>, withheld: Withheld | null = null): void {
    this.#call.person.identify(identity, withheld)
    this.stages?.know(VERIFIED_FACT, true, this.#call.streamMs, VERIFY_TOOL)
    this.#call.tell({ type: 'identified' })
    this.#call.changed()
  }

  /**
   * Takes one input and runs what is due at `nowMs`. Then drain `pollOutput()` until null. It does not throw because of
   * what the backend, the carrier or a tool did.
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
   * One 20 ms frame of the caller, `nowMs` being the time of its last sample. No allocation unless something changes.
   */
  callerFrame(heard: CallerFrame, nowMs: number): void {
    const call = this.#call
    if (!call.line.streaming || call.line.inAmd) return
    const frame = call.keypad.private ? UNHEARD : heard
    call.clockTo(nowMs)
    if (call.talk.callerFrame(frame, nowMs)) this.#afterwards()
  }

  /** True if audio of that item may be played. False: it belongs to a dead response; drop it. */
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
    const parts = call.features.checkpoint()
    // Each key has one writer; the schema of the checkpoint proves in tests that none is missing.
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
    // Each pass clears a deadline; the bound only guards against one that is set in the past.
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
 * Every feature. A key is nobody's if it is the echo of our own; else it goes to an open question of consent, an entry of digits, the
 * offer of a call back, a person who is rung back, and then to the backend. Claims are judged before a stage changes.
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
