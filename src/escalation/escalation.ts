import { assertNever } from '../core/assert.js'
import type { Wake } from '../core/clock.js'
import { HANGUP_TRIES_MAX } from '../core/limits.js'
import type { VoiceAction } from '../sautikit/actions.js'
import { Deadlines } from '../call/deadlines.js'
import { CONTINUATION_MS, DialDocument, HANG_UP, NO_ACTIONS, dialActions } from './escalation-documents.js'
import type {
  EscalationAsker, EscalationCommand, EscalationInput, EscalationOptions, EscalationOutput, EscalationState,
} from './escalation-events.js'
import { Hunt } from './escalation-hunt.js'
import type { CarrierState, EscalationStep } from '../call/events.js'
import { LastWords } from './last-words.js'
import type { CallbackAsk, EscalationOutcome, EscalationStrategy } from '../call/record.js'

/** The session speaks its announcement first (WORDS_HEARD_MS_MAX) and closes then. */
const STREAM_CLOSE_MS = 30_000
/** Past its ringing time by this much, a dial that nobody reported on has been answered. */
const RING_GRACE_MS = 5000
const HANGUP_RETRY_MS = 1000
/** The caller's answer to the offer of a call back: the session's words, its own wait, and some talk about it. */
const OFFER_MS = 120_000
/** The same where the carrier asks: its voice reads at most 1,000 characters, 11 a second. */
const SPOKEN_OFFER_MS = 90_000

const DEADLINES = ['stream-close', 'continuation', 'ring', 'words', 'offer', 'hangup-retry'] as const

/**
 * Gets one caller to a human. Lives on the main thread, outside the session: it must outlive the stream and the
 * worker. What the carrier does after a closed stream is not the same everywhere (it goes on with its document, asks
 * a webhook, or holds the leg in silence), so whoever asks first gets the Dial, and a watchdog covers nobody asking.
 *
 *     none    --escalate--> pending (after-stream-dial: close-stream) | dialing (supervision, conference: hold)
 *     pending --stream closed, somebody asks--> dialing     with a Dial document, one at a time
 *     pending --nobody asks in CONTINUATION_MS--> the next strategy
 *     dialing --answered, joined, dial-completed, no news past the ringing time--> bridged
 *     dialing --busy, no-answer, declined--> the next number, then the next strategy
 *     dialing --the API refuses--> the next strategy
 *     (any)   --call back, stream open--> offering          the session asks the caller
 *     offering --accepted--> failed (called back)    --declined, no answer in OFFER_MS--> failed
 *     (any)   --no strategy left, stream open--> failed     the session tells the caller and goes on
 *     (any)   --no strategy left, stream closed--> failed   words, perhaps the offer, and a hang-up for who asks, else a
 *                                                           hang-up by REST, and a call back that nobody had to ask for
 *     (any)   --carrier: completed--> failed | bridged      nobody is left to be dialled for
 *     failed  --escalate, stream open--> a new attempt
 *
 * Outside the desk's hours, and those of every number, nobody is rung. A carrier that is known to hold the leg is never
 * given a closed stream. An `escalate` while one is under way repeats the last step: a session that was taken over asks
 * again.
 */
export class Escalation {
  state: EscalationState = 'none'
  /** Commands that the carrier's API refused. */
  restFailures = 0
  /** Calls that nobody could hang up: no API, or it failed HANGUP_TRIES_MAX times. */
  callsLeft = 0
  readonly #options: EscalationOptions
  readonly #hunt = new Hunt()
  readonly #lastWords: LastWords
  readonly #deadlines = new Deadlines(DEADLINES)
  readonly #outputs: EscalationOutput[] = []
  #nowMs = 0
  #strategyIndex = -1
  #strategy: EscalationStrategy | null = null
  #lastOutcome: EscalationOutcome = 'failed'
  #lastDetail = 'no way to reach a human is set up'
  #settled = false
  #lastStep: EscalationStep | null = null
  #streamClosed = false
  #streamStopped = false
  /** The call is over for the carrier: nothing can be dialled any more. */
  #terminal = false
  #dial: DialDocument | null = null
  /** When the attempt that runs began; null when none does. */
  #attemptSinceMs: number | null = null
  /** It failed after the stream: only the carrier can still tell the caller. */
  #owesWords = false
  #requests = 0
  #openRequest: EscalationCommand | null = null
  #hangupTries = 0

  constructor(options: EscalationOptions) {
    this.#options = options
    this.#lastWords = new LastWords(options)
  }

  handle(input: EscalationInput, nowMs: number): void {
    this.#nowMs = Math.max(nowMs, this.#nowMs)
    switch (input.type) {
      case 'escalate': this.#escalate(); break
      case 'stream-closed': this.#onStreamClosed(); break
      case 'carrier-state': this.#onCarrierState(input.state); break
      case 'rest-result': this.#onRestResult(input.requestId, input.ok, input.detail, input.outcome); break
      case 'human': this.#onHuman(input.event); break
      case 'callback': this.#onCallback(input.accepted); break
      case 'timer': break
      default: assertNever(input)
    }
    for (let passes = 0; passes < 2 * DEADLINES.length; passes++) {
      const due = this.#deadlines.takeDue(this.#nowMs)
      if (due === null) return
      this.#due(due)
    }
  }

  /**
   * How the call goes on, for whichever of the carrier's requests asks. Only voice webhooks and the after-stream URL
   * are known to be obeyed; a Dial given to a status callback does not stop the watchdog, and moves to the first
   * sure asker. Tell the carrier state that came with a request (`carrier-state`) before asking.
   * @param digits  keys that came with the request; null when it is no answer to a question for keys
   */
  ask(asker: EscalationAsker, nowMs: number, digits: string | null = null): readonly VoiceAction[] {
    this.#nowMs = Math.max(nowMs, this.#nowMs)
    if (this.state === 'none' || this.#terminal) return NO_ACTIONS
    // An events answer is never read by the carrier: giving it the document would only take it from the next asker.
    if (asker === 'events') return NO_ACTIONS
    if (this.state === 'failed') return this.#askFailed(asker, digits)
    if (this.#strategy !== 'after-stream-dial') return NO_ACTIONS
    if (this.state === 'bridged') {
      // The human has left and the caller has not.
      return asker === 'after-stream' || asker === 'voice' ? HANG_UP : NO_ACTIONS
    }
    if (!this.#streamClosed && !this.#streamStopped && asker !== 'after-stream') return NO_ACTIONS
    return this.#dial === null ? this.#serveDial(asker) : this.#askAgain(asker, this.#dial)
  }

  /** Something may still come of it: the call must not be forgotten. */
  get busy(): boolean {
    return this.state === 'pending' || this.state === 'dialing' || this.state === 'offering' || this.#deadlines.next() !== null
      || this.#openRequest?.type === 'hangup'
  }

  pollOutput(): EscalationOutput | null {
    return this.#outputs.shift() ?? null
  }

  nextWake(): Wake | null {
    return this.#deadlines.next()
  }

  // --- inputs ---------------------------------------------------------------------------------------------

  #escalate(): void {
    if (this.#terminal || this.state === 'bridged') return
    if (this.state !== 'none' && this.state !== 'failed') {
      if (this.#lastStep !== null && !this.#streamClosed) this.#outputs.push({ type: 'step', step: this.#lastStep })
      return
    }
    if (this.#streamClosed) return
    this.#strategyIndex = -1
    this.#strategy = null
    this.#settled = false
    this.#lastStep = null
    this.#lastOutcome = 'failed'
    this.#lastDetail = 'no way to reach a human is set up'
    this.#hunt.begin(this.#options, this.#nowMs)
    if (this.#hunt.closed) this.#lastDetail = 'nobody is there at this hour'
    this.#nextStrategy()
  }

  #onStreamClosed(): void {
    if (this.#streamClosed) return
    this.#streamClosed = true
    this.#deadlines.clear('stream-close')
    if (this.state !== 'pending' && this.state !== 'dialing' && this.state !== 'offering') return
    if (this.state === 'offering') return this.#onCallback(false)
    // A dial that was served before the socket went needs no second asker.
    if (this.#strategy === 'after-stream-dial') {
      if (this.#dial?.sure !== true) this.#in('continuation', CONTINUATION_MS)
    } else if (this.#strategy === 'supervision') {
      this.#fallBack('failed', 'the stream was lost while a human was called')
    }
  }

  #onCarrierState(state: CarrierState): void {
    const dialling = this.#dial !== null && this.state === 'dialing'
    switch (state) {
      case 'stream-stopped':
        this.#streamStopped = true
        return
      case 'ringing':
        if (this.#dial !== null) this.#makeSure(this.#dial)
        return
      case 'answered':
        if (this.#dial === null) return
        this.#makeSure(this.#dial)
        return this.#bridged('answered')
      case 'dial-completed':
        if (this.#dial !== null) this.#bridged('the dial completed')
        return
      case 'busy':
      case 'no-answer':
      case 'failed':
        if (dialling) return this.#numberFailed(state)
        return this.#isOver(state)
      case 'completed':
        return this.#isOver('completed')
      case 'stream-started':
      case 'stream-error':
      case 'unknown':
        return
      default:
        assertNever(state)
    }
  }

  #onRestResult(requestId: string, ok: boolean, detail: string, outcome: EscalationOutcome | undefined): void {
    const request = this.#openRequest
    if (request === null || request.requestId !== requestId) return
    this.#openRequest = null
    if (!ok) this.restFailures++
    if (request.type === 'hangup') {
      if (ok) return
      if (this.#hangupTries < HANGUP_TRIES_MAX) this.#in('hangup-retry', HANGUP_RETRY_MS)
      else this.callsLeft++
      return
    }
    if (this.state !== 'dialing') return
    if (outcome === 'answered') return this.#bridged('answered')
    if (outcome !== undefined && outcome !== 'failed') return this.#numberFailed(outcome)
    // A refusal speaks of our account or of the call, not of this number: the others would be refused too.
    if (!ok) this.#fallBack('failed', `the carrier's API refused: ${detail}`)
  }

  #onHuman(event: 'joined' | 'busy' | 'no-answer' | 'declined' | 'failed' | 'left'): void {
    if (event === 'left') {
      // With the human gone the caller would be alone on a silent line.
      if (this.state === 'bridged' && this.#strategy !== 'after-stream-dial' && !this.#terminal) this.#hangup()
      // The leg that rang is over, and nobody was heard on it.
      else if (this.state === 'dialing' && this.#strategy !== 'after-stream-dial') this.#numberFailed('no-answer')
      return
    }
    if (this.state !== 'dialing' || this.#strategy === 'after-stream-dial') return
    if (event === 'joined') this.#bridged('joined')
    else this.#numberFailed(event)
  }

  #onCallback(accepted: boolean): void {
    if (this.state !== 'offering') return
    this.#deadlines.clear('offer')
    this.state = 'failed'
    this.#attemptOver(accepted ? 'answered' : 'declined', accepted ? 'the caller is called back' : 'the caller wants no call back')
    if (accepted) this.#settle('answered', `a call back: ${this.#lastDetail}`)
    else this.#settle(this.#lastOutcome, this.#lastDetail)
  }

  #due(name: (typeof DEADLINES)[number]): void {
    switch (name) {
      case 'stream-close':
        return this.#fallBack('failed', 'the stream was not closed in time')
      case 'continuation':
        return this.#fallBack('failed', `nobody asked how to go on in ${CONTINUATION_MS} ms`)
      case 'ring':
        // A dial's only news may be its end; the API's calls report when they are answered.
        if (this.#strategy === 'after-stream-dial') return this.#bridged('no news past the ringing time')
        return this.#numberFailed('no-answer')
      case 'offer':
        if (this.state === 'offering') return this.#onCallback(false)
        return
      case 'words':
      case 'hangup-retry':
        return this.#terminal ? undefined : this.#leave()
      default:
        assertNever(name)
    }
  }

  // --- strategies -----------------------------------------------------------------------------------------

  #fallBack(outcome: EscalationOutcome, detail: string): void {
    this.#lastOutcome = outcome
    this.#lastDetail = detail
    this.#attemptOver(outcome, detail)
    this.#nextStrategy()
  }

  #nextStrategy(): void {
    this.#deadlines.clearAll()
    this.#dial = null
    this.#hunt.again()
    for (this.#strategyIndex++; this.#strategyIndex < this.#options.strategies.length; this.#strategyIndex++) {
      const strategy = this.#options.strategies[this.#strategyIndex] as EscalationStrategy
      if (!this.#possible(strategy)) continue
      this.#strategy = strategy
      return this.#begin(strategy)
    }
    this.#fail(false)
  }

  #possible(strategy: EscalationStrategy): boolean {
    if (this.#terminal) return false
    const { restAvailable, conferenceRoom, afterStream } = this.#options
    const { someone } = this.#hunt
    switch (strategy) {
      // A leg that the carrier holds would stay in silence: its stream, once closed, is not to be had again.
      case 'after-stream-dial': return someone && (this.#streamClosed || afterStream !== 'holds')
      case 'supervision': return someone && restAvailable && !this.#streamClosed
      // Only a call that was answered into a room can be joined there.
      case 'conference': return someone && restAvailable && conferenceRoom !== null
      // With the stream the session asks the caller; without it whoever asks how to go on gets the question.
      case 'callback': return !this.#streamClosed
      default: return assertNever(strategy)
    }
  }

  #begin(strategy: EscalationStrategy): void {
    this.#attemptSinceMs = this.#nowMs
    switch (strategy) {
      case 'after-stream-dial':
        this.state = 'pending'
        if (this.#streamClosed) return this.#in('continuation', CONTINUATION_MS)
        // Nobody could end the silence of a carrier that is not known to go on: the caller is told what to do in it.
        this.#step({ type: 'close-stream', mayBeSilent: !this.#options.restAvailable && this.#options.afterStream !== 'continues' })
        return this.#in('stream-close', STREAM_CLOSE_MS)
      case 'supervision':
      case 'conference':
        this.state = 'dialing'
        this.#step({ type: 'hold' })
        return this.#callHuman(strategy)
      case 'callback':
        this.state = 'offering'
        this.#step({ type: 'offer', outcome: this.#lastOutcome, detail: this.#lastDetail, closed: this.#hunt.closed })
        return this.#in('offer', OFFER_MS)
      default:
        assertNever(strategy)
    }
  }

  #callHuman(strategy: 'supervision' | 'conference'): void {
    const { number } = this.#hunt
    this.#attemptSinceMs = this.#nowMs
    const requestId = this.#requestId()
    this.#command(strategy === 'supervision'
      ? { type: 'supervise', requestId, number }
      : { type: 'create-conference-call', requestId, number, room: this.#options.conferenceRoom as string })
    this.#in('ring', this.#options.ringTimeoutMs + RING_GRACE_MS)
  }

  #numberFailed(outcome: EscalationOutcome): void {
    this.#lastOutcome = outcome
    this.#lastDetail = `${this.#hunt.position}: ${outcome}`
    this.#attemptOver(outcome, '')
    this.#deadlines.clear('ring')
    this.#dial = null
    if (!this.#hunt.next()) {
      // The carrier asks again after a failed dial: those words are for it, whatever strategy would be next.
      return this.#strategy === 'after-stream-dial' ? this.#fail(true) : this.#nextStrategy()
    }
    if (this.#strategy !== 'after-stream-dial') return this.#callHuman(this.#strategy as 'supervision' | 'conference')
    this.state = 'pending'
    this.#in('continuation', CONTINUATION_MS)
  }

  #bridged(detail: string): void {
    if (this.state === 'bridged') return
    this.state = 'bridged'
    this.#deadlines.clearAll()
    this.#attemptOver('answered', detail)
    if (!this.#streamClosed && this.#strategy !== null && this.#strategy !== 'after-stream-dial') {
      this.#step({ type: 'bridged', strategy: this.#strategy })
    }
    this.#settle('answered', detail)
  }

  /** `asked`: the carrier is about to ask how to go on, so that words can be said. */
  #fail(asked: boolean): void {
    this.state = 'failed'
    this.#owesWords = this.#streamClosed
    this.#deadlines.clearAll()
    this.#dial = null
    if (!this.#terminal) {
      if (!this.#streamClosed) {
        this.#step({ type: 'failed', outcome: this.#lastOutcome, detail: this.#lastDetail, closed: this.#hunt.closed })
      } else if (asked) this.#in('words', CONTINUATION_MS)
      else this.#leave()
    }
    this.#settle(this.#lastOutcome, this.#lastDetail)
  }

  /** The carrier has ended the call. */
  #isOver(state: 'completed' | 'busy' | 'no-answer' | 'failed'): void {
    if (this.#terminal) return
    this.#terminal = true
    this.#deadlines.clearAll()
    if (this.state === 'offering') return this.#onCallback(false)
    if (this.state !== 'pending' && this.state !== 'dialing') return
    const dial = this.#dial
    const talked = this.state === 'dialing' && dial !== null
      && this.#nowMs - dial.servedAtMs > this.#options.ringTimeoutMs
    if (talked) return this.#bridged('the call ended after the ringing time')
    this.#lastOutcome = this.state === 'dialing' ? 'no-answer' : 'failed'
    this.#lastDetail = `the call ended (${state}) before a human answered`
    this.#attemptOver(this.#lastOutcome, this.#lastDetail)
    this.#fail(false)
  }

  // --- documents ------------------------------------------------------------------------------------------

  #serveDial(asker: EscalationAsker): readonly VoiceAction[] {
    this.#dial = new DialDocument(asker, dialActions(this.#options, this.#hunt.number), this.#nowMs)
    this.#strategy = 'after-stream-dial'
    this.#attemptSinceMs ??= this.#nowMs
    if (asker !== 'stream-status') this.#makeSure(this.#dial)
    return this.#dial.actions
  }

  #askAgain(asker: EscalationAsker, dial: DialDocument): readonly VoiceAction[] {
    const again = dial.askedAgain(asker, this.#nowMs)
    switch (again) {
      case 'repeat': return dial.actions
      case 'hand-over': return this.#serveDial(asker)
      case 'nothing': return NO_ACTIONS
      case 'dial-is-over':
        // Nobody said how it went; only somebody who talked can have made it last.
        if (this.#nowMs - dial.servedAtMs > this.#options.ringTimeoutMs + RING_GRACE_MS) {
          this.#bridged('the dial was over after the ringing time')
          return HANG_UP
        }
        this.#numberFailed('no-answer')
        return this.ask(asker, this.#nowMs)
      default: return assertNever(again)
    }
  }

  #askFailed(asker: EscalationAsker, digits: string | null): readonly VoiceAction[] {
    // With the stream open the session has told the caller; what comes after it is not the escalation's.
    if (!this.#owesWords || this.#hangupTries > 0) return NO_ACTIONS
    if (asker !== 'stream-status') this.#deadlines.clear('words')
    const word = this.#lastWords.ask(asker, digits, this.#nowMs)
    if (word.asks) this.#in('offer', SPOKEN_OFFER_MS)
    else if (digits !== null) this.#deadlines.clear('offer')
    if (word.accepted) this.#callBack('key')
    return word.actions
  }

  /** The carrier has the document and dials. */
  #makeSure(dial: DialDocument): void {
    if (dial.sure) return
    dial.sure = true
    this.state = 'dialing'
    this.#deadlines.clear('continuation')
    this.#deadlines.clear('stream-close')
    this.#in('ring', this.#options.ringTimeoutMs + RING_GRACE_MS)
  }

  // --- outputs --------------------------------------------------------------------------------------------

  #step(step: EscalationStep): void {
    if (this.#lastStep?.type === 'hold' && step.type === 'hold') return
    this.#lastStep = step
    this.#outputs.push({ type: 'step', step })
  }

  #attemptOver(outcome: EscalationOutcome, detail: string): void {
    const sinceMs = this.#attemptSinceMs
    if (sinceMs === null || this.#strategy === null) return
    this.#attemptSinceMs = null
    // Where the carrier never asked, nobody was rung.
    const rang = this.#strategy !== 'callback' && (this.#strategy !== 'after-stream-dial' || this.#dial !== null)
    this.#outputs.push({ type: 'attempt', attempt: {
      strategy: this.#strategy, human: rang ? this.#hunt.place : null, outcome, detail,
      ms: Math.round(this.#nowMs - sinceMs),
    } })
  }

  #callBack(asked: CallbackAsk): void {
    this.#outputs.push({ type: 'callback', asked })
  }

  /** Nobody asks how to go on with a caller whom nobody reached. */
  #leave(): void {
    if (this.#hangupTries === 0 && this.#lastWords.nobodyAsks()) this.#callBack('nobody-reached')
    this.#hangup()
  }

  #settle(outcome: EscalationOutcome, detail: string): void {
    if (this.#settled) return
    this.#settled = true
    this.#outputs.push({ type: 'settled', strategy: this.#strategy, outcome, detail })
  }

  #hangup(): void {
    if (!this.#options.restAvailable) {
      this.callsLeft++
      return
    }
    this.#hangupTries++
    this.#command({ type: 'hangup', requestId: this.#requestId() })
  }

  #command(command: EscalationCommand): void {
    this.#openRequest = command
    this.#outputs.push({ type: 'command', command })
  }

  #requestId(): string {
    return `esc-${++this.#requests}`
  }

  #in(name: (typeof DEADLINES)[number], afterMs: number): void {
    this.#deadlines.set(name, this.#nowMs + afterMs)
  }
}
