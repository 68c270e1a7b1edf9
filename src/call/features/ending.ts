import { assertNever } from '../../core/assert.js'
import type { CarrierState } from '../../sautikit/carrier-state.js'
import { Feature } from '../feature.js'
import { QUIET_POLL_MS, WORDS_HEARD_MS_MAX } from '../call-deadlines.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import { isClosing, saysGoodbye } from '../spoken/closing-cues.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { EndReason } from '../documents/record.js'
import type { CallInput, StreamFault } from '../events.js'
import type { FactOf } from '../facts.js'
import { closeCodeOf, outcomeOf } from '../outcome.js'
import type { OutcomeFacts } from '../outcome.js'
import type { ToolCallEvent } from '../requests.js'

/** An audio socket that we closed counts as closed after this, whatever the other side does. */
const STREAM_CLOSE_WAIT_MS = 2000

/** Ends by which the gateway leaves a caller who is still there. */
const OWN_ENDS: ReadonlySet<EndReason> = new Set<EndReason>([
  'agent-goodbye',
  'silence-limit',
  'duration-limit',
  'operator-hangup',
  'drain-limit',
  'backend-failed',
  'escalated',
])

/** Why the call is being ended. */
interface EndPlan {
  readonly reason: EndReason
  readonly detail: string
  /** The agent asked for the end: a caller who speaks up cancels it. */
  readonly cancellable: boolean
  /** The tool call that asked for the end; it is answered only if the end is cancelled. */
  readonly toolCallId: string | null
  /** The phrase that must be heard before the end. */
  itemId: string | null
  quietSinceMs: number | null
}

/** Interval at which the duration limit is checked again during an escalation or a goodbye. */
const DURATION_POLL_MS = 5000
/** Interval at which the answer to a caller's goodbye is checked for its end. */
const CLOSING_POLL_MS = 250
/** Quiet after the agent's last words before an agreed end; longer while the backend may still send words. */
const QUIET_MS = 400
const QUIET_WHILE_RESPONDING_MS = 1500

const HEARS = ['stream-open', 'barge-in', 'caller-turn', 'caller-acts'] as const

/**
 * The end of the call, whoever ends it.
 *
 *     (any)    --the gateway's goodbye-->  closing  words announced, then end-stream when heard (or by deadline)
 *     live     --end_call-->         closing  current words heard and QUIET_MS of quiet, then end-stream
 *     closing  --caller speaks up, end_call only-->  live
 *     (any)    --end now-->          closed   end-stream sent, tools cancelled, backend closed
 *     closed   --stream-closed, or STREAM_CLOSE_WAIT_MS-->  ended
 *     (any)    --stream-closed-->    ended    the caller hung up, or what the socket's fault says
 *     waiting  --end-->              ended    there is no stream to close
 */
export class Ending extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['sayThenEnd', 'endNow', 'endAfterSpeech', 'endForBudget'] as const
  // The end.
  #plan: EndPlan | null = null
  #outcomeFacts: OutcomeFacts | null = null
  /** An end that waits for tools with an effect. */
  #delayed: { readonly reason: EndReason; readonly detail: string } | null = null
  #closedFor: { readonly reason: EndReason; readonly detail: string } | null = null
  /** The end of a call whose budget is used up, while the agent may not speak. */
  #spent: ToolCallEvent | null = null

  due(name: DeadlineName): void {
    if (name === 'closing-cue') this.#closingCueDue()
    else if (name === 'duration') this.#durationDue()
    else if (name === 'budget') this.#budgetDue()
    else if (name === 'goodbye-heard') this.#endAsPlanned()
    else if (name === 'quiet-goodbye') this.#quietGoodbyeDue()
    else if (name === 'quiet-goodbye-limit') this.#endAsPlanned()
    else if (name === 'stream-close') this.#streamCloseOverdue()
  }

  hear(fact: FactOf<typeof HEARS>): void {
    if (fact.type === 'stream-open') this.call.deadlines.set('duration', fact.durationDueMs)
    else if (fact.type === 'barge-in') this.#cancelGoodbye()
    else if (fact.type === 'caller-turn') this.#closingCue(fact.text)
    else if (fact.type === 'caller-acts') this.call.clear('closing-cue')
  }

  input(input: CallInput): boolean {
    if (input.type === 'stream-closed') {
      if (this.call.stream.openedAtMs !== null) this.#streamClosed(input.code, input.fault ?? null)
    } else if (input.type === 'carrier-state') this.#carrierState(input.state)
    else if (input.type === 'hangup-requested') this.#hangup(input.reason, input.detail, input.speak)
    else return false
    return true
  }

  itemOver(itemId: string): void {
    if (this.#plan?.itemId !== itemId) return
    this.#plan.itemId = null
    if (!this.#plan.cancellable) this.#endAsPlanned()
  }

  checkpoint(): Pick<CallCheckpoint, 'ending'> {
    const end = this.#plan ?? this.#delayed
    return {
      ending: end === null ? (this.call.resume?.ending ?? null) : { reason: end.reason, detail: end.detail },
    }
  }

  #carrierState(state: CarrierState): void {
    this.call.mark('carrier-state', state)
    if (this.call.line.state === 'closed') return
    const noStream = this.call.stream.openedAtMs === null
    switch (state) {
      case 'completed':
      case 'failed':
        if (noStream)
          return this.#finish(state === 'failed' ? 'stream-error' : 'caller-hung-up', 'before the stream opened')
        // The socket may stay open for seconds after the leg has ended: stop speaking now.
        this.call.talk.stopAgent()
        return this.call.line.state === 'bridged'
          ? this.#endAtOnce('escalated', 'the call with the human ended', false)
          : this.#endAtOnce('caller-hung-up', `carrier says ${state}`, false)
      case 'busy':
      case 'refused':
      case 'no-answer':
        // When there is a stream, these states are about another leg.
        return noStream ? this.#finish('caller-hung-up', state) : undefined
      case 'stream-error':
        return noStream ? this.#endAtOnce('stream-error', 'the carrier could not open the stream', true) : undefined
      case 'ringing':
      case 'answered':
      case 'stream-started':
      case 'stream-stopped':
      case 'dial-completed':
      case 'unknown':
        return
      default:
        return assertNever(state)
    }
  }

  /** The caller may have said that this is all. The agent answers it as anything; then the call ends. */
  #closingCue(words: string): void {
    const { closing = null } = this.call.options
    this.call.clear('closing-cue')
    if (closing === null || this.call.line.state !== 'live' || !isClosing(words)) return
    this.call.mark('closing-cue')
    this.call.in('closing-cue', closing.afterMs)
  }

  #closingCueDue(): void {
    const { afterMs = 0 } = this.call.options.closing ?? {}
    if (this.call.line.state !== 'live') return
    const last = this.call.log.transcript.at(-1)
    const answered =
      last?.role === 'agent' &&
      this.call.talk.agentSpokeLast &&
      !this.call.talk.engaged &&
      !this.call.callerSpeech.speaking
    const quietMs = this.call.nowMs - Math.max(this.call.talk.agentHeardAtMs, this.call.callerSpeech.lastVoicedMs || 0)
    if (!answered || quietMs < afterMs) return this.call.in('closing-cue', CLOSING_POLL_MS)
    // A question is to be answered.
    if (last.text.trimEnd().endsWith('?')) return
    const said = saysGoodbye(last.text)
    this.endAfterSpeech('the caller said that this is all', null, () => (said ? '' : this.call.goodbye))
  }

  #hangup(reason: EndReason, detail: string, speak: boolean): void {
    if (this.call.line.state === 'closed') return
    if (!speak || !this.call.line.streaming) return this.endNow(reason, detail)
    if (this.call.line.state === 'closing' && this.#plan?.cancellable === false) return
    // The gateway does not speak over a human on the line.
    if (this.call.line.state === 'bridged' || this.call.line.state === 'holding') return this.endNow(reason, detail)
    this.sayThenEnd(reason, detail, () => this.call.goodbye, true)
  }

  #durationDue(): void {
    if (this.call.line.state === 'bridged') return
    if (this.call.line.state !== 'live' && this.call.line.state !== 'connecting')
      return this.call.in('duration', DURATION_POLL_MS)
    const { text, maxMs } = this.call.options.duration
    this.sayThenEnd('duration-limit', `${maxMs} ms`, () => this.call.text(text), true)
  }

  /** The budget of the call is used up. Who waits for a human, or keys in a number, is not hung up on: it ends after that. */
  endForBudget(event: ToolCallEvent): void {
    const { line, floor, wait } = this.call
    if (line.state === 'live' && !floor.closed && !wait.callerWaits && !this.call.ask('awaitEffects'))
      return this.call.ask('takeTool', event)
    this.#spent = event
    this.call.in('budget', QUIET_POLL_MS)
  }

  #budgetDue(): void {
    if (this.#spent === null) return
    const { line, talk } = this.call
    const waits = line.state !== 'live' || line.promised !== null || talk.engaged || this.call.ask('awaitEffects')
    if (waits) return this.call.in('budget', QUIET_POLL_MS)
    // Nobody heard a goodbye of the model meanwhile.
    this.call.talk.callerSpokeLast()
    this.call.ask('takeTool', this.#spent)
    this.#spent = null
  }

  /** Says `words`, then ends the stream. `interrupt` cuts what the agent is saying. */
  sayThenEnd(reason: EndReason, detail: string, words: () => string, interrupt: boolean): void {
    if (this.#waits(reason, detail, () => this.sayThenEnd(reason, detail, words, interrupt))) return
    const text = words()
    if (!this.call.line.streaming || text === '') return this.endNow(reason, detail)
    if (interrupt) this.call.talk.stopAgent()
    this.#beginClosing(false)
    const itemId = this.call.talk.announce(text, reason === 'backend-failed' ? 'apology' : 'goodbye')
    this.#plan = { reason, detail, cancellable: false, toolCallId: null, itemId, quietSinceMs: null }
    this.call.in('goodbye-heard', this.call.talk.wordsMs(text))
    this.call.mark('goodbye', detail === '' ? reason : `${reason}: ${detail}`)
  }

  /**
   * The agent asked for the end, or the caller has said goodbye: plays the agent's current words first, then `goodbye`.
   * A caller who speaks up takes it back.
   */
  endAfterSpeech(detail: string, toolCallId: string | null, goodbye: () => string): void {
    if (this.#waits('agent-goodbye', detail, () => this.endAfterSpeech(detail, toolCallId, goodbye))) return
    this.#beginClosing(true)
    const text = goodbye()
    const itemId = text === '' ? null : this.call.talk.announce(text, 'goodbye', 'answer')
    this.#plan = { reason: 'agent-goodbye', detail, cancellable: true, toolCallId, itemId, quietSinceMs: null }
    this.call.in('quiet-goodbye', QUIET_POLL_MS)
    this.call.in('quiet-goodbye-limit', WORDS_HEARD_MS_MAX + this.call.playout.pendingMs())
    this.call.mark('goodbye', 'agent-goodbye')
  }

  #beginClosing(revocable: boolean): void {
    this.call.line.enter('closing', revocable)
    this.call.changed()
  }

  /** The caller spoke up before an agreed end: the call continues, and the model learns it. */
  #cancelGoodbye(): void {
    const plan = this.#plan
    if (plan === null || !plan.cancellable) return
    this.#plan = null
    this.call.clear('quiet-goodbye', 'quiet-goodbye-limit')
    this.call.line.enter('live')
    this.call.mark('goodbye-taken-back')
    if (plan.toolCallId !== null)
      this.call.ask(
        'answerTool',
        plan.toolCallId,
        false,
        { error: 'The caller spoke up; the call goes on.' },
        'taken back',
      )
    this.call.tell({ type: 'conversation-continues', after: 'goodbye' })
  }

  /** Ends the call once the agent's last words were heard and nothing follows. */
  #quietGoodbyeDue(): void {
    const plan = this.#plan
    if (plan === null || !plan.cancellable) return
    if (this.call.talk.sounding || plan.itemId !== null || this.call.talk.bargeIn.paused) {
      plan.quietSinceMs = null
    } else {
      plan.quietSinceMs ??= this.call.nowMs
      const neededMs = this.call.agentSpeech.responding === null ? QUIET_MS : QUIET_WHILE_RESPONDING_MS
      if (this.call.nowMs - plan.quietSinceMs >= neededMs) return this.#endAsPlanned()
    }
    this.call.in('quiet-goodbye', QUIET_POLL_MS)
  }

  #endAsPlanned(): void {
    if (this.#plan !== null) this.endNow(this.#plan.reason, this.#plan.detail)
  }

  /** Ends the stream without another word, once no tool with an effect runs. With `hangup` false the leg stays up for a human. */
  endNow(reason: EndReason, detail: string, hangup = true): void {
    if (!this.#waits(reason, detail, () => this.endNow(reason, detail, hangup))) this.#endAtOnce(reason, detail, hangup)
  }

  /** @returns true if the gateway's own end waits for effects. A broken line waits for nothing, and nobody hears anything there. */
  #waits(reason: EndReason, detail: string, end: () => void): boolean {
    const waits = OWN_ENDS.has(reason) && this.call.line.streaming && this.call.ask('delayEnd', end)
    this.#delayed = waits ? { reason, detail } : null
    return waits
  }

  #endAtOnce(reason: EndReason, detail: string, hangup: boolean): void {
    if (this.call.line.state === 'closed' || this.call.line.state === 'ended') return
    const hadStream = this.call.line.streaming
    this.call.out({ type: 'end-stream', code: closeCodeOf(reason), reason, detail, hangup })
    if (!hadStream) return this.#finish(reason, detail)
    this.#closedFor = { reason, detail }
    this.#release(reason)
    this.call.line.enter('closed')
    this.call.in('stream-close', STREAM_CLOSE_WAIT_MS)
  }

  /** The socket is closed. @param fault  null when it was closed normally */
  #streamClosed(code: number, fault: StreamFault | null): void {
    this.call.stream.close(this.call.nowMs)
    if (this.#closedFor !== null) return this.#finish(this.#closedFor.reason, this.#closedFor.detail)
    if (this.call.line.state === 'bridged') return this.#finish('escalated', 'the call with the human ended')
    if (fault === null) return this.#finish('caller-hung-up', `in ${this.call.line.state}`)
    // After a failed socket the carrier holds the leg in silence, so it is asked to hang up, unless a human is on the
    // way. A lost connection usually means that the leg is lost too.
    if (fault.reason !== 'socket-lost' && this.call.line.human?.outcome !== null)
      this.call.out({ type: 'end-stream', code, ...fault, hangup: true })
    this.#finish(fault.reason, fault.detail)
  }

  #streamCloseOverdue(): void {
    if (this.#closedFor === null) return
    this.call.mark('stream-close-overdue')
    this.#finish(this.#closedFor.reason, this.#closedFor.detail)
  }

  #finish(reason: EndReason, detail: string): void {
    if (this.call.line.state === 'ended') return
    const facts = this.#release(reason)
    this.call.tell({ type: 'call-ended', callerHungUp: reason === 'caller-hung-up' })
    this.call.line.enter('ended')
    this.call.stream.close(this.call.nowMs)
    const { turns, turnsAnswered } = this.call.log
    const figures = `${Math.round(this.call.streamMs)} ms of stream, ${turnsAnswered} of ${turns.length} turns answered${facts.waiting ? ', the caller was waiting' : ''}`
    this.call.mark('ended', `${reason}${detail === '' ? '' : `: ${detail}`}; ${figures}`)
    this.call.out({ type: 'ended', outcome: outcomeOf(reason, facts), reason, detail })
  }

  /**
   * Cancels tools, closes the backend and logs everything that is still open. Idempotent.
   * @returns facts for the outcome
   */
  #release(reason: EndReason): OutcomeFacts {
    const bridged = this.call.line.human?.outcome === 'answered'
    // Read before the turn is closed: a caller who waits at the end was not served.
    const facts = (this.#outcomeFacts ??= {
      escalated: bridged,
      answered: this.call.log.turnsAnswered > 0,
      waiting:
        this.call.talk.turns.waitingForReal ||
        (this.call.line.human !== null && !bridged && this.call.line.state !== 'live') ||
        this.call.effects.ledger.effectsRunning.length > 0,
    })
    const asAsked = reason === 'escalated' || reason === 'agent-goodbye' || bridged
    this.call.tell({ type: 'call-ends' })
    this.call.effects.ledger.close(asAsked)
    this.call.talk.settleBargeIn()
    this.call.talk.bargeIn.abandon()
    this.call.ask('cancelTools', 'cut')
    this.call.model.close(reason)
    this.call.transcript.close(this.call.streamMs)
    this.call.tell({ type: 'conversation-over' })
    this.call.recordTurn(this.call.talk.turns.close(this.call.streamZeroMs))
    return facts
  }
}
