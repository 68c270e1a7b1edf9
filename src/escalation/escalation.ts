import { assertNever } from '../core/assert.js'
import type { Wake } from '../core/clock.js'
import { Deadlines } from '../call/deadlines.js'
import { ESCALATION_DEADLINES } from '../call/documents/kept-call.js'
import type { EscalationSnapshot } from '../call/documents/kept-call.js'
import type { EscalationStep } from '../call/events.js'
import type { CarrierState, HumanEvent } from '../sautikit/carrier-state.js'
import type { EscalationOutcome, EscalationStrategy } from '../call/documents/record.js'
import type { VoiceAction } from '../sautikit/actions.js'
import { CONTINUATION_MS, DialDocument, FarewellDocument, HANG_UP, NO_ACTIONS } from './documents.js'
import type { ContinuationAsker, DocumentOptions } from './documents.js'
import { HuntGroup } from './hunt-group.js'
import type { HuntGroupOptions } from './hunt-group.js'
import type { AfterStream, EscalationInput, EscalationCommand, EscalationOutput } from './escalation-events.js'

/**
 * Maximum number of attempts to hang up a call by REST. After these attempts only the carrier's timeouts end the leg.
 */
const HANGUP_TRIES_MAX = 3

/**
 * Time limit for the session's announcement (at most WORDS_HEARD_MS_MAX) and the closing of the stream, in
 * milliseconds.
 */
const STREAM_CLOSE_MS = 30_000
/**
 * Time after the ringing time in which an event must arrive, in milliseconds. If an event does not arrive, the dial
 * counts as answered.
 */
export const RING_GRACE_MS = 5000
const HANGUP_RETRY_MS = 1000
/**
 * Time limit for the answer to the offer of a call back, in milliseconds. It includes the session's words, the
 * session's own wait, and some conversation.
 */
const OFFER_MS = 120_000
/**
 * Time limit if the carrier asks the question, in milliseconds. The carrier's voice reads at most 1,000 characters, 11
 * characters a second.
 */
const SPOKEN_OFFER_MS = 90_000

/**
 * Escalation of one call: a state machine that connects a caller to a human. It runs on the main thread, outside the
 * session, because it must continue after the stream and the worker have ended. After a stream closes, a carrier
 * continues with its document, requests a webhook, or holds the leg in silence. Therefore the first request is answered
 * with the Dial, and a watchdog acts if no request comes.
 *
 *     none    --escalate--> pending (after-stream-dial: close-stream) | dialing (supervision, conference: hold)
 *     pending --stream closed, a request--> dialing         with a Dial document, one at a time
 *     pending --no request in CONTINUATION_MS--> the next strategy
 *     dialing --answered, joined, dial-completed, no event after the ringing time--> bridged
 *     dialing --busy, no-answer, declined--> the next number, then the next strategy
 *     dialing --the API refuses--> the next strategy
 *     (any)   --call back, stream open--> offering          the session asks the caller
 *     offering --accepted--> failed (called back)    --declined, no answer in OFFER_MS--> failed
 *     (any)   --no strategy left, stream open--> failed     the session informs the caller and continues
 *     (any)   --no strategy left, stream closed--> failed   a request gets words, perhaps the offer, and a hang-up;
 *                                                           without one: REST hang-up, call back without question
 *     (any)   --carrier: completed--> failed | bridged      the call is over
 *     failed  --escalate, stream open--> a new attempt
 *
 * Numbers are rung only in the hours of the desk and in their own hours. A number that must not be rung now (`mayRing`)
 * is skipped. If all numbers are skipped, the strategy is skipped before its stream is closed. The stream is never
 * closed if the carrier is known to hold the leg. An `escalate` during an escalation repeats the last step, because a
 * session on a new worker asks again.
 *
 * If the call's node is lost, another node restores the machine from its `snapshot` and sends the input
 * `stream-closed`. After that the transitions above apply.
 */
export class Escalation {
  /** `offering`: the session has offered a call back and waits for the caller's answer. */
  state: 'none' | 'pending' | 'dialing' | 'offering' | 'bridged' | 'failed' = 'none'
  /** Number of calls that could not be hung up: without an API, or after HANGUP_TRIES_MAX failed attempts. */
  callsLeft = 0
  readonly #options: EscalationOptions
  readonly #farewell: FarewellDocument
  #huntGroup = new HuntGroup({ humans: [], hours: null, caller: '' }, 0)
  #askedWallMs = 0
  readonly #deadlines = new Deadlines(ESCALATION_DEADLINES)
  readonly #outputs: EscalationOutput[] = []
  #nowMs = 0
  #strategyIndex = -1
  #strategy: EscalationStrategy | null = null
  #lastOutcome: EscalationOutcome = 'failed'
  #lastDetail = ''
  #settled = false
  #lastStep: EscalationStep | null = null
  #streamClosed = false
  #streamStopped = false
  /** True if the carrier has ended the call. After that, numbers cannot be dialled. */
  #terminal = false
  #dial: DialDocument | null = null
  /** Start of the current attempt; null without an attempt. */
  #attemptSinceMs: number | null = null
  /**
   * True if the escalation failed after the stream was closed. In this state only the carrier can speak to the caller.
   */
  #owesFarewell = false
  #requests = 0
  #openRequest: EscalationCommand | null = null
  #hangupTries = 0

  /**
   * @param before  snapshot of this escalation from another node, whose stream is lost; the next input must be
   * `stream-closed`
   */
  constructor(options: EscalationOptions, before: EscalationSnapshot | null = null, nowMs = 0) {
    this.#options = options
    this.#nowMs = nowMs
    this.#farewell = new FarewellDocument(options, before?.farewell, nowMs)
    if (before !== null) this.#restore(before)
  }

  #restore(before: EscalationSnapshot): void {
    this.state = before.state
    this.#strategy = before.strategy
    this.#strategyIndex = before.strategyIndex
    this.#askedWallMs = before.askedWallMs
    this.#huntGroup = new HuntGroup(this.#options, before.askedWallMs, before.human)
    this.#lastOutcome = before.lastOutcome
    this.#lastDetail = before.lastDetail
    this.#settled = before.settled
    this.#streamClosed = before.streamClosed
    this.#streamStopped = true
    this.#terminal = before.terminal
    this.#dial = before.dial === null ? null : DialDocument.restored(this.#options, before.dial, this.#nowMs)
    this.#attemptSinceMs = before.attemptMs === null ? null : this.#nowMs - before.attemptMs
    this.#owesFarewell = before.owesFarewell
    this.#requests = before.requests
    this.#hangupTries = before.hangupTries
    for (const name of ESCALATION_DEADLINES) {
      const leftMs = before.deadlines[name]
      if (leftMs !== undefined) this.#in(name, leftMs)
    }
  }

  snapshot(nowMs: number): EscalationSnapshot {
    const deadlines = this.#deadlines.left(nowMs)
    // The next node cannot know if the carrier received the hang-up, so that node requests the hang-up again.
    if (this.#openRequest?.type === 'hangup') deadlines['hangup-retry'] ??= HANGUP_RETRY_MS
    return {
      state: this.state,
      strategy: this.#strategy,
      strategyIndex: this.#strategyIndex,
      askedWallMs: this.#askedWallMs,
      human: this.#huntGroup.index,
      lastOutcome: this.#lastOutcome,
      lastDetail: this.#lastDetail,
      settled: this.#settled,
      streamClosed: this.#streamClosed,
      terminal: this.#terminal,
      dial: this.#dial?.snapshot(nowMs) ?? null,
      attemptMs: this.#attemptSinceMs === null ? null : nowMs - this.#attemptSinceMs,
      owesFarewell: this.#owesFarewell,
      farewell: this.#farewell.snapshot(nowMs),
      requests: this.#requests,
      hangupTries: this.#hangupTries,
      deadlines,
    }
  }

  handle(input: EscalationInput, nowMs: number): void {
    this.#nowMs = Math.max(nowMs, this.#nowMs)
    switch (input.type) {
      case 'escalate':
        this.#escalate()
        break
      case 'stream-closed':
        this.#onStreamClosed()
        break
      case 'carrier-state':
        this.#onCarrierState(input.state)
        break
      case 'rest-result':
        this.#onRestResult(input.requestId, input.ok, input.detail)
        break
      case 'human':
        this.#onHuman(input.event)
        break
      case 'callback':
        this.#onCallback(input.accepted)
        break
      case 'timer':
        break
      default:
        assertNever(input)
    }
    for (let passes = 0; passes < 2 * ESCALATION_DEADLINES.length; passes++) {
      const due = this.#deadlines.takeDue(this.#nowMs)
      if (due === null) return
      this.#due(due)
    }
  }

  /**
   * Returns the document for a request of the carrier. If the request contains a carrier state, pass this state first,
   * as the input `carrier-state`.
   *
   * The carrier reliably obeys only answers to voice webhooks and to the after-stream URL. A Dial in the answer to a
   * status callback does not stop the watchdog, and is served again to the next request of another kind.
   * @param digits  DTMF digits of the request; null without digits
   */
  ask(asker: ContinuationAsker, nowMs: number, digits: string | null = null): readonly VoiceAction[] {
    this.#nowMs = Math.max(nowMs, this.#nowMs)
    if (this.state === 'none' || this.#terminal) return NO_ACTIONS
    // The carrier ignores the answer to an event.
    if (asker === 'events') return NO_ACTIONS
    if (this.state === 'failed') return this.#askFailed(asker, digits)
    if (this.#strategy !== 'after-stream-dial') return NO_ACTIONS
    if (this.state === 'bridged') {
      // The human has left, but the caller is still on the line.
      return asker === 'after-stream' || asker === 'voice' ? HANG_UP : NO_ACTIONS
    }
    if (!this.#streamClosed && !this.#streamStopped && asker !== 'after-stream') return NO_ACTIONS
    return this.#dial === null ? this.#serveDial(asker) : this.#askAgain(asker, this.#dial)
  }

  /** True if the escalation may still change, so that the call must be kept. */
  get busy(): boolean {
    return (
      this.state === 'pending' ||
      this.state === 'dialing' ||
      this.state === 'offering' ||
      this.#deadlines.next() !== null ||
      this.#openRequest?.type === 'hangup'
    )
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
    this.#askedWallMs = this.#nowMs + this.#options.wallOffsetMs
    this.#huntGroup = new HuntGroup(this.#options, this.#askedWallMs)
    this.#lastDetail = this.#huntGroup.closed ? 'nobody is there at this hour' : 'no way to reach a human is set up'
    this.#nextStrategy()
  }

  #onStreamClosed(): void {
    if (this.#streamClosed) return
    this.#streamClosed = true
    this.#deadlines.clear('stream-close')
    if (this.state !== 'pending' && this.state !== 'dialing' && this.state !== 'offering') return
    if (this.state === 'offering') return this.#onCallback(false)
    // If a Dial was served before the stream closed, a second request is not necessary.
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
      case 'refused':
        if (dialling) return this.#numberFailed('declined')
        return this.#isOver('failed')
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

  #onRestResult(requestId: string, ok: boolean, detail: string): void {
    const request = this.#openRequest
    if (request === null || request.requestId !== requestId) return
    this.#openRequest = null
    if (request.type === 'hangup') {
      if (ok) return
      if (this.#hangupTries < HANGUP_TRIES_MAX) this.#in('hangup-retry', HANGUP_RETRY_MS)
      else this.callsLeft++
      return
    }
    // The reason for a refusal is the gateway's account or the call. Therefore all other numbers would be refused too.
    if (!ok && this.state === 'dialing') this.#fallBack('failed', `the carrier's API refused: ${detail}`)
  }

  #onHuman(event: HumanEvent): void {
    if (event === 'left') {
      // Without the human the caller would be alone on a silent line.
      if (this.state === 'bridged' && this.#strategy !== 'after-stream-dial' && !this.#terminal) this.#hangup()
      // The leg ended without an answer.
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
    this.#attemptOver(
      accepted ? 'answered' : 'declined',
      accepted ? 'the caller is called back' : 'the caller wants no call back',
    )
    if (accepted) this.#settle('answered', `a call back: ${this.#lastDetail}`)
    else this.#settle(this.#lastOutcome, this.#lastDetail)
  }

  #due(name: EscalationDeadline): void {
    switch (name) {
      case 'stream-close':
        return this.#fallBack('failed', 'the stream was not closed in time')
      case 'continuation':
        return this.#fallBack('failed', `the carrier did not ask how to continue within ${CONTINUATION_MS} ms`)
      case 'ring':
        // A Dial may report only its end. Calls that the API places also report the answer.
        if (this.#strategy === 'after-stream-dial') return this.#bridged('no news past the ringing time')
        return this.#numberFailed('no-answer')
      case 'offer':
        if (this.state === 'offering') return this.#onCallback(false)
        return
      case 'farewell':
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
    for (this.#strategyIndex++; this.#strategyIndex < this.#options.strategies.length; this.#strategyIndex++) {
      const strategy = this.#options.strategies[this.#strategyIndex] as EscalationStrategy
      this.#huntGroup.restart()
      if (!this.#possible(strategy) || (strategy !== 'callback' && !this.#findHuman())) continue
      this.#strategy = strategy
      return this.#begin(strategy)
    }
    this.#fail(false)
  }

  #possible(strategy: EscalationStrategy): boolean {
    if (this.#terminal) return false
    const { restAvailable, inConference, afterStream } = this.#options
    const someone = !this.#huntGroup.empty
    switch (strategy) {
      // A leg on hold would stay silent, because a closed stream cannot be opened again.
      case 'after-stream-dial':
        return someone && (this.#streamClosed || afterStream !== 'holds')
      case 'supervision':
        return someone && restAvailable && !this.#streamClosed
      case 'conference':
        return someone && restAvailable && inConference
      // While the stream is open, the session asks the caller. After it is closed, the farewell document asks.
      case 'callback':
        return !this.#streamClosed
      default:
        return assertNever(strategy)
    }
  }

  /** If the current number must not be rung now, moves to the next number that may be rung. */
  #findHuman(): boolean {
    for (let more = this.#huntGroup.place !== null; more; more = this.#huntGroup.next()) {
      if (this.#options.mayRing(this.#huntGroup.number, this.#nowMs)) return true
      this.#lastOutcome = 'busy'
      this.#lastDetail = `${this.#huntGroup.position}: too many calls in this minute, or of a range that is never rung`
    }
    return false
  }

  #begin(strategy: EscalationStrategy): void {
    this.#attemptSinceMs = this.#nowMs
    switch (strategy) {
      case 'after-stream-dial':
        this.state = 'pending'
        if (this.#streamClosed) return this.#in('continuation', CONTINUATION_MS)
        // Without an API the gateway cannot end a leg on hold. The session therefore gives the caller instructions for
        // the silence.
        this.#step({
          type: 'close-stream',
          mayBeSilent: !this.#options.restAvailable && this.#options.afterStream !== 'continues',
        })
        return this.#in('stream-close', STREAM_CLOSE_MS)
      case 'supervision':
      case 'conference':
        this.state = 'dialing'
        this.#step({ type: 'hold' })
        return this.#callHuman(strategy)
      case 'callback':
        this.state = 'offering'
        this.#step({
          type: 'offer',
          outcome: this.#lastOutcome,
          detail: this.#lastDetail,
          closed: this.#huntGroup.closed,
        })
        return this.#in('offer', OFFER_MS)
      default:
        assertNever(strategy)
    }
  }

  #callHuman(strategy: 'supervision' | 'conference'): void {
    const { number } = this.#huntGroup
    this.#attemptSinceMs = this.#nowMs
    const requestId = this.#requestId()
    this.#command({ type: strategy === 'supervision' ? 'supervise' : 'create-conference-call', requestId, number })
    this.#in('ring', this.#options.ringTimeoutMs + RING_GRACE_MS)
  }

  #numberFailed(outcome: EscalationOutcome): void {
    this.#lastOutcome = outcome
    this.#lastDetail = `${this.#huntGroup.position}: ${outcome}`
    this.#attemptOver(outcome, '')
    this.#deadlines.clear('ring')
    this.#dial = null
    if (!this.#huntGroup.next() || !this.#findHuman()) {
      // After a failed dial the carrier requests the next document. This document is the farewell, even if another
      // strategy would be next.
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

  /** @param carrierAsks  true if the carrier should request a document; this document can be the farewell */
  #fail(carrierAsks: boolean): void {
    this.state = 'failed'
    this.#owesFarewell = this.#streamClosed
    this.#deadlines.clearAll()
    this.#dial = null
    if (!this.#terminal) {
      if (!this.#streamClosed) {
        this.#step({
          type: 'failed',
          outcome: this.#lastOutcome,
          detail: this.#lastDetail,
          closed: this.#huntGroup.closed,
        })
      } else if (carrierAsks) this.#in('farewell', CONTINUATION_MS)
      else this.#leave()
    }
    this.#settle(this.#lastOutcome, this.#lastDetail)
  }

  /** Handles the end of the call at the carrier. */
  #isOver(state: 'completed' | 'busy' | 'no-answer' | 'failed'): void {
    if (this.#terminal) return
    this.#terminal = true
    this.#deadlines.clearAll()
    if (this.state === 'offering') return this.#onCallback(false)
    if (this.state !== 'pending' && this.state !== 'dialing') return
    const dial = this.#dial
    const talked =
      this.state === 'dialing' && dial !== null && this.#nowMs - dial.servedAtMs > this.#options.ringTimeoutMs
    if (talked) return this.#bridged('the call ended after the ringing time')
    this.#lastOutcome = this.state === 'dialing' ? 'no-answer' : 'failed'
    this.#lastDetail = `the call ended (${state}) before a human answered`
    this.#attemptOver(this.#lastOutcome, this.#lastDetail)
    this.#fail(false)
  }

  // --- documents ------------------------------------------------------------------------------------------

  #serveDial(asker: ContinuationAsker): readonly VoiceAction[] {
    this.#dial = new DialDocument(this.#options, this.#huntGroup.number, asker, this.#nowMs)
    this.#strategy = 'after-stream-dial'
    this.#attemptSinceMs ??= this.#nowMs
    if (asker !== 'stream-status') this.#makeSure(this.#dial)
    return this.#dial.actions
  }

  #askAgain(asker: ContinuationAsker, dial: DialDocument): readonly VoiceAction[] {
    const again = dial.askedAgain(asker, this.#nowMs)
    switch (again) {
      case 'repeat':
        return dial.actions
      case 'serve-again':
        return this.#serveDial(asker)
      case 'nothing':
        return NO_ACTIONS
      case 'dial-is-over':
        // No event has reported the outcome. The dial counts as answered, because only a conversation lasts longer than
        // the ringing time.
        if (this.#nowMs - dial.servedAtMs > this.#options.ringTimeoutMs + RING_GRACE_MS) {
          this.#bridged('the dial was over after the ringing time')
          return HANG_UP
        }
        this.#numberFailed('no-answer')
        return this.ask(asker, this.#nowMs)
      default:
        return assertNever(again)
    }
  }

  #askFailed(asker: ContinuationAsker, digits: string | null): readonly VoiceAction[] {
    // If the stream was open, the session has informed the caller. In this case later documents are not the
    // escalation's task.
    if (!this.#owesFarewell || this.#hangupTries > 0) return NO_ACTIONS
    if (asker !== 'stream-status') this.#deadlines.clear('farewell')
    const { actions, asks, accepted } = this.#farewell.ask(asker, digits, this.#nowMs)
    if (asks) this.#in('offer', SPOKEN_OFFER_MS)
    else if (digits !== null) this.#deadlines.clear('offer')
    if (accepted) this.#outputs.push({ type: 'callback', asked: 'key' })
    return actions
  }

  /** Notes that the carrier certainly has the document and dials. */
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
    // Without a Dial document a human was not called.
    const rang = this.#strategy !== 'callback' && (this.#strategy !== 'after-stream-dial' || this.#dial !== null)
    this.#outputs.push({
      type: 'attempt',
      attempt: {
        strategy: this.#strategy,
        human: rang ? this.#huntGroup.place : null,
        outcome,
        detail,
        ms: Math.round(this.#nowMs - sinceMs),
      },
    })
  }

  /** Handles a carrier that did not request the farewell document. */
  #leave(): void {
    if (this.#hangupTries === 0 && this.#farewell.notAsked())
      this.#outputs.push({ type: 'callback', asked: 'nobody-reached' })
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

  #in(name: EscalationDeadline, afterMs: number): void {
    this.#deadlines.set(name, this.#nowMs + afterMs)
  }
}

/** Ways in which one call may reach a human. */
export interface EscalationOptions extends HuntGroupOptions, DocumentOptions {
  /**
   * Strategies in order. A strategy that cannot run (its stream is closed, or it is not configured) is skipped.
   * `callback`, which offers a call back, must be last.
   */
  readonly strategies: readonly EscalationStrategy[]
  /** Calendar time minus monotonic time. */
  readonly wallOffsetMs: number
  /** True if the call was answered with a conference room, which a human can join. */
  readonly inConference: boolean
  /** True if REST calls are possible, because an API key is set. */
  readonly restAvailable: boolean
  readonly afterStream: AfterStream
  /**
   * Called once before a number is called. Returns false if the number's range is never called, or if the number got
   * too many calls in this minute.
   */
  readonly mayRing: (number: string, nowMs: number) => boolean
}

type EscalationDeadline = (typeof ESCALATION_DEADLINES)[number]
