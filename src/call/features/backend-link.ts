import { assertNever } from '../../core/assert.js'
import type { BackendEvent } from '../backend-events.js'
import { Feature } from '../call-feature.js'
import type { CallFeature, DeadlineName } from '../call-feature.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallInput } from '../events.js'
import { addUsage } from '../usage.js'

/** Responses that may fail one after another before the backend counts as dead. */
const RESPONSES_FAILED_MAX = 3
/** Missing answers in a row after which the backend counts as dead. */
const ANSWERS_MISSING_MAX = 2

/**
 * The events of the backend, and whether it is there and answers.
 *
 *     response  --turn-start--> given --turn-done, cut, interrupted--> over; its later events are dropped and counted
 *     backend   --fatal error, closed--> dead
 *     backend   --RESPONSES_FAILED_MAX responses failed in a row--> dead; the caller is asked to repeat before that
 *     backend   --no sound in answerTimeoutMs, twice in a row, or once before the greeting--> dead
 */
export class BackendLink extends Feature implements CallFeature {
  /** Something that the backend said was played to the caller. */
  spoke: boolean
  // The backend.
  ready = false
  dead = false
  #closed = false
  /** When the backend last gave a sign of a response. */
  activeAtMs = -Infinity
  #responsesFailed = 0
  #answersMissing = 0

  constructor(call: CallKernel) {
    super(call)
    this.spoke = call.resume?.greetingMs != null
  }

  due(name: DeadlineName): void {
    if (name === 'answer') this.#answerDue()
  }

  input(input: CallInput): boolean {
    if (input.type !== 'backend') return false
    this.#event(input.event)
    return true
  }

  /** Audio of a live response came. @param first  the first of its response */
  audio(first: boolean): void {
    this.activeAtMs = this.call.nowMs
    if (!first) return
    this.call.mark('agent-audio')
    this.call.tools.cancelFiller()
  }

  /** The caller hears what it says. */
  answers(): void {
    this.#answersMissing = 0
    this.spoke = true
  }

  /** The backend takes commands. */
  get usable(): boolean {
    return !this.dead && !this.#closed
  }

  close(reason: string): void {
    if (this.#closed) return
    this.#closed = true
    this.call.out({ type: 'backend-close', reason })
  }

  #event(event: BackendEvent): void {
    switch (event.type) {
      case 'ready':
        return this.#isReady()
      case 'turn-start':
        if (this.call.agentSpeech.begin(event.generation)) this.activeAtMs = this.call.nowMs
        else if (
          this.call.greeting.instead ||
          this.call.words.asksToWait ||
          this.call.digits.collection !== null ||
          this.call.consent.awaitsAnswer
        ) {
          if (this.call.greeting.instead) this.call.mark('greeting-too-late')
          this.call.consent.interrupted ||= this.call.consent.awaitsAnswer
          this.call.out({ type: 'backend-interrupt', itemId: null, playedMs: 0 })
        }
        return
      case 'audio-done':
        return
      case 'turn-done':
        return this.#turnDone(event)
      case 'speech-started':
        return this.call.backendHeardSpeech()
      case 'speech-stopped':
        return this.call.backendHeardStop()
      case 'understood':
        // A partial result of hold music may resemble words by chance: only the words of a whole segment end the wait, or
        // the suspicion before it.
        if (this.call.presence.putOnHold.waiting) return
        this.call.level.understood()
        return this.call.presence.understood(!this.call.presence.putOnHold.suspected)
      case 'expects':
        if (event.keys !== undefined) this.call.digits.dialogueExpects(event.keys)
        return this.call.callerSpeech.expect(event.what)
      case 'interrupted':
        return this.call.backendInterrupted(event.generation)
      case 'transcript':
        return event.role === 'caller'
          ? this.call.words.ofCaller(event.itemId, event.text, event.final, event.languages)
          : this.call.words.ofAgent(event)
      case 'tool-call':
        // With a human on the line the backend is closing: its tool calls are ignored.
        if (this.call.streaming && this.call.state !== 'bridged') {
          if (event.spent === true) return this.call.ending.budgetSpent(event)
          if (this.call.agentSpeech.wanted(event.generation)) return this.call.tools.take(event)
        }
        this.call.counters.lateEventsDropped++
        return
      case 'tool-cancel':
        return this.call.tools.takenBack(event.callIds)
      case 'usage':
        return addUsage(this.call.usage, event.usage)
      case 'error':
        this.call.mark('backend-error', event.code)
        return event.fatal ? this.failed(`backend error ${event.code}`) : undefined
      case 'expiring':
        return this.call.mark('backend-expiring', String(event.inMs))
      case 'failover':
        this.call.mark(
          'backend-failover',
          `${event.from} to ${event.to} in ${Math.round(event.gapMs)} ms: ${event.reason}`,
        )
        this.call.callerSpeech.expect('open')
        this.call.digits.modelHasTheCall()
        // The new backend was asked only now.
        if (this.call.deadlines.isSet('answer')) this.call.awaitAnswer()
        return
      case 'holding':
        return this.#holding()
      case 'closed':
        return this.#closed ? undefined : this.failed(`backend closed with ${event.code}`)
      default:
        return assertNever(event)
    }
  }

  #isReady(): void {
    if (this.ready) return
    this.ready = true
    this.call.mark('backend-ready')
    if (this.call.state === 'connecting' && !this.call.opening.amd && !this.call.consent.waiting)
      this.call.opening.begin()
  }

  #turnDone({ generation, status, reason, cut }: Extract<BackendEvent, { type: 'turn-done' }>): void {
    this.call.agentSpeech.end(generation)
    this.call.transcript.withoutSound((itemId) => this.call.agentSpeech.isOpen(itemId), this.call.streamMs)
    if (status === 'completed') this.#responsesFailed = 0
    if (cut !== undefined) this.call.mark('answer-cut', cut)
    if (status !== 'failed' || this.call.state !== 'live' || this.call.agentSpeech.isDead(generation)) return
    this.call.mark('response-failed', reason)
    if (++this.#responsesFailed >= RESPONSES_FAILED_MAX)
      return this.failed(`${this.#responsesFailed} responses failed in a row`)
    this.call.clear('answer')
    this.call.announce(this.call.text(this.call.options.responseFailedText), 'apology')
  }

  /** The backend has made no sound for too long after the caller's turn or the kick-off. */
  #answerDue(): void {
    if (this.call.state !== 'live') return
    const { answerTimeoutMs, responseFailedText } = this.call.options
    // A backend that waits for a tool's outcome need not say anything until then.
    const waits =
      this.call.ledger.running > 0 || this.call.digits.collection !== null || this.call.waits.pending.waiting.length > 0
    if (waits || this.call.sounding || this.call.bargeIn.paused || this.call.callerSpeech.speaking)
      return this.call.in('answer', answerTimeoutMs)
    // One missing answer is allowed: the backend may not have taken the caller's words for a question.
    if (++this.#answersMissing >= ANSWERS_MISSING_MAX || !this.spoke)
      return this.failed(`no answer in ${answerTimeoutMs} ms`)
    this.call.mark('answer-missing')
    this.call.announce(this.call.text(responseFailedText), 'apology')
    this.call.in('answer', answerTimeoutMs)
  }

  /** Failover takes long and the caller waits: say a filler. */
  #holding(): void {
    this.call.mark('backend-holding')
    if (this.call.state !== 'live' || this.call.sounding || this.call.agentSpeech.anyOpen) return
    if (this.call.tools.fillers.none && !this.call.callerSpeech.speaking && !this.call.bargeIn.paused)
      this.call.tools.sayFiller()
  }

  /** The backend is dead. The caller hears an apology, then gets a human or the end of the call. */
  failed(detail: string): void {
    if (this.dead && this.call.streaming && this.call.state !== 'connecting') return
    this.dead = true
    if (this.call.state === 'waiting' || this.call.opening.amd) return
    this.call.mark('backend-failed', detail)
    if (this.call.state !== 'live' && this.call.state !== 'connecting') return
    if (this.call.bargeIn.paused) this.call.stopAgent()
    this.call.agentSpeech.responding = null
    // The caller is promised an agent with a backend of their own.
    if (this.call.handover.to !== null) return
    this.call.tools.cancelAll()
    this.close('backend-failed')
    const request = {
      reason: 'technical problem',
      summary: detail,
      origin: 'backend-failed',
      toolCallId: null,
    } as const
    if (this.call.options.onBackendFailure === 'escalate' && this.call.escalation.escalate(request)) return
    this.call.ending.speakThenEnd('backend-failed', detail, this.call.text(this.call.options.apologyText), false)
  }
}
