import { assertNever } from '../../core/assert.js'
import type { BackendEvent } from '../backend-events.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'
import { addUsage } from '../usage.js'

/** Number of consecutive failed responses at which the backend counts as dead. */
const RESPONSES_FAILED_MAX = 3
/** Number of consecutive missing answers at which the backend counts as dead. */
const ANSWERS_MISSING_MAX = 2

const HEARS = ['agent-sounds'] as const

/**
 * Handles events of the backend, and checks that the backend is connected and answers.
 *
 *     response  --turn-start--> given --turn-done, cut, interrupted--> over; its later events are dropped and counted
 *     backend   --fatal error, closed--> dead
 *     backend   --RESPONSES_FAILED_MAX responses failed in a row--> dead; the caller is asked to repeat after each
 *     backend   --no sound in answerTimeoutMs, twice in a row, or once before the greeting--> dead
 */
export class BackendLink extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['failModel'] as const
  #responsesFailed = 0
  #answersMissing = 0

  due(name: DeadlineName): void {
    if (name === 'answer') this.#answerDue()
  }

  input(input: CallInput): boolean {
    if (input.type !== 'backend') return false
    this.#event(input.event)
    return true
  }

  hear(fact: FactOf<typeof HEARS>): void {
    if (fact.type === 'agent-sounds' && fact.kind === 'answer') this.#answersMissing = 0
  }

  #event(event: BackendEvent): void {
    switch (event.type) {
      case 'ready':
        return this.#isReady()
      case 'turn-start':
        if (this.call.agentSpeech.begin(event.generation)) this.call.model.active()
        else if (this.call.floor.interruptsModel) {
          this.call.tell({ type: 'response-unwanted' })
          this.call.out({ type: 'backend-interrupt', itemId: null, playedMs: 0 })
        }
        return
      case 'audio-done':
        return
      case 'turn-done':
        return this.#turnDone(event)
      case 'speech-started':
        return this.call.talk.backendHeardSpeech()
      case 'speech-stopped':
        return this.call.talk.backendHeardStop()
      case 'understood':
        // A partial result of hold music may contain words by chance. Therefore only a final transcript ends a wait on
        // hold, or the suspicion of hold music.
        if (this.call.talk.putOnHold.waiting || this.call.talk.level.saidByOther) return
        this.call.talk.level.understood()
        return this.call.tell({ type: 'understood', endsHold: !this.call.talk.putOnHold.suspected })
      case 'not-understood':
        return this.call.mark('not-understood', 'the backend found no meaning in the words')
      case 'expects':
        if (event.keys !== undefined) this.call.tell({ type: 'dialogue-keys', keys: event.keys })
        return this.call.callerSpeech.expect(event.what)
      case 'interrupted':
        return this.call.talk.backendInterrupted(event.generation)
      case 'transcript':
        // Services repeat the words of an item. The words count once.
        if (this.call.transcript.isOver(event.role, event.itemId)) return void this.call.counters.lateEventsDropped++
        return this.call.tell(event)
      case 'tool-call':
        // While a human is on the line the backend is closing, so its tool calls are ignored.
        if (this.call.line.streaming && this.call.line.state !== 'bridged') {
          if (event.spent === true) return this.call.ask('endForBudget', event)
          if (this.call.agentSpeech.wanted(event.generation)) return this.call.ask('takeTool', event)
        }
        this.call.counters.lateEventsDropped++
        return
      case 'tool-cancel':
        return this.call.tell({ type: 'tools-taken-back', callIds: event.callIds })
      case 'usage':
        return addUsage(this.call.usage, event.usage)
      case 'error':
        this.call.mark('backend-error', event.code)
        return event.fatal ? this.failModel(`backend error ${event.code}`) : undefined
      case 'expiring':
        return this.call.mark('backend-expiring', String(event.inMs))
      case 'failover':
        this.call.mark(
          'backend-failover',
          `${event.from} to ${event.to} in ${Math.round(event.gapMs)} ms: ${event.reason}`,
        )
        this.call.callerSpeech.expect('open')
        this.call.tell({ type: 'model-replaced' })
        // The new backend gets the full time limit, because it received the caller's words only now.
        if (this.call.wait.answerDue) this.call.wait.forAnswer()
        return
      case 'holding':
        return this.#holding()
      case 'closed':
        return this.call.model.closed ? undefined : this.failModel(`backend closed with ${event.code}`)
      default:
        return assertNever(event)
    }
  }

  #isReady(): void {
    if (this.call.model.ready) return
    this.call.model.becomeReady()
    this.call.mark('backend-ready')
    this.call.tell({ type: 'model-ready' })
  }

  #turnDone({ generation, status, reason, cut }: Extract<BackendEvent, { type: 'turn-done' }>): void {
    this.call.agentSpeech.end(generation)
    this.call.transcript.withoutSound((itemId) => this.call.agentSpeech.isOpen(itemId), this.call.streamMs)
    if (status === 'completed') this.#responsesFailed = 0
    if (cut !== undefined) this.call.mark('answer-cut', cut)
    if (status !== 'failed' || this.call.line.state !== 'live' || this.call.agentSpeech.isDead(generation)) return
    this.call.mark('response-failed', reason)
    if (++this.#responsesFailed >= RESPONSES_FAILED_MAX)
      return this.failModel(`${this.#responsesFailed} responses failed in a row`)
    this.call.wait.noAnswer()
    this.call.talk.announce(this.call.text(this.call.options.responseFailedText), 'apology')
  }

  /** Acts if the agent made no sound within the time limit after the caller's turn or the kick-off. */
  #answerDue(): void {
    if (this.call.line.state !== 'live') return
    const { answerTimeoutMs, responseFailedText } = this.call.options
    // A backend that waits for a tool's outcome need not speak before the outcome arrives.
    const waits = this.call.effects.running > 0 || this.call.input.grants.has('digits') || this.call.effects.awaited
    if (waits || this.call.talk.sounding || this.call.talk.bargeIn.undecided || this.call.callerSpeech.speaking)
      return this.call.wait.forAnswer()
    // One missing answer is allowed, because the backend may not have recognised the caller's words as a question.
    if (++this.#answersMissing >= ANSWERS_MISSING_MAX || !this.call.model.spoke)
      return this.failModel(`no answer in ${answerTimeoutMs} ms`)
    this.call.mark('answer-missing')
    this.call.talk.announce(this.call.text(responseFailedText), 'apology')
    this.call.wait.forAnswer()
  }

  /** Says a filler, because failover is slow and the caller waits. */
  #holding(): void {
    this.call.mark('backend-holding')
    if (this.call.line.state !== 'live' || this.call.talk.sounding || this.call.agentSpeech.anyOpen) return
    this.call.tell({ type: 'model-holding' })
  }

  /** Handles a dead backend. The caller hears an apology, then gets a human or the end of the call. */
  failModel(detail: string): void {
    if (this.call.model.dead && this.call.line.streaming && this.call.line.state !== 'connecting') return
    this.call.model.die()
    if (this.call.line.state === 'waiting' || this.call.line.inAmd) return
    this.call.mark('backend-failed', detail)
    if (this.call.line.state !== 'live' && this.call.line.state !== 'connecting') return
    // If an undecided sound has silenced the agent, the agent's speech is discarded. Otherwise it would continue after
    // the apology. Audible speech may finish.
    if (this.call.talk.bargeIn.undecided && this.call.talk.bargeIn.sound === 'silent') this.call.talk.stopAgent()
    this.call.agentSpeech.giveUp()
    // The call was promised to another agent, which has a backend of its own.
    if (this.call.line.promised !== null) return
    this.call.ask('cancelTools', 'all')
    this.call.model.close('backend-failed')
    const request = {
      reason: 'technical problem',
      summary: detail,
      origin: 'backend-failed',
      toolCallId: null,
    } as const
    if (this.call.options.onBackendFailure === 'escalate' && this.call.ask('escalate', request)) return
    this.call.ask('sayThenEnd', 'backend-failed', detail, () => this.call.text(this.call.options.apologyText), false)
  }
}
