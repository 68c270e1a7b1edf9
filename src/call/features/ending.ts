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

/**
 * Time after which a stream that the gateway has closed counts as closed, in milliseconds. The carrier may never
 * answer.
 */
const STREAM_CLOSE_WAIT_MS = 2000

/** Reasons for an end by the gateway while the caller is still on the line. */
const OWN_ENDS: ReadonlySet<EndReason> = new Set<EndReason>([
  'agent-goodbye',
  'silence-limit',
  'duration-limit',
  'operator-hangup',
  'drain-limit',
  'backend-failed',
  'escalated',
])

/** Reason and state of the call's end. */
interface EndPlan {
  readonly reason: EndReason
  readonly detail: string
  /** True if the agent requested the end. A caller who speaks again then cancels the end. */
  readonly cancellable: boolean
  /** Tool call that requested the end. The tool call is answered only if the end is cancelled. */
  readonly toolCallId: string | null
  /** Item of the phrase that must be heard before the end. */
  itemId: string | null
  quietSinceMs: number | null
}

/** Interval at which the duration limit is checked again during an escalation or a goodbye, in milliseconds. */
const DURATION_POLL_MS = 5000
/** Interval at which the gateway checks if the answer to a caller's goodbye has ended, in milliseconds. */
const CLOSING_POLL_MS = 250
/** Duration of quiet between the agent's last words and an agreed end, in milliseconds. */
const QUIET_MS = 400
/** Duration of quiet before an agreed end while the backend may still send words, in milliseconds. */
const QUIET_WHILE_RESPONDING_MS = 1500

const HEARS = ['stream-open', 'barge-in', 'caller-turn', 'caller-acts'] as const

/**
 * End of the call, by any side.
 *
 *     (any)    --the gateway's goodbye-->  closing  words announced, then end-stream when heard (or by deadline)
 *     live     --end_call-->         closing  current words heard and QUIET_MS of quiet, then end-stream
 *     closing  --caller speaks again, end_call only-->  live
 *     (any)    --end now-->          closed   end-stream sent, tools cancelled, backend closed
 *     closed   --stream-closed, or STREAM_CLOSE_WAIT_MS-->  ended
 *     (any)    --stream-closed-->    ended    the caller hung up, or the socket's fault is the reason
 *     waiting  --end-->              ended    without a stream to close
 */
export class Ending extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['sayThenEnd', 'endNow', 'endAfterSpeech', 'endForBudget'] as const
  // The planned end; null if no end is planned.
  #plan: EndPlan | null = null
  #outcomeFacts: OutcomeFacts | null = null
  /** End that waits for tools with an effect. */
  #delayed: { readonly reason: EndReason; readonly detail: string } | null = null
  #closedFor: { readonly reason: EndReason; readonly detail: string } | null = null
  /** Tool call that ends the call when the budget is used up. The tool call waits while the agent may not speak. */
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
        // The socket may stay open for seconds after the leg has ended, so speech stops now.
        this.call.talk.stopAgent()
        return this.call.line.state === 'bridged'
          ? this.#endAtOnce('escalated', 'the call with the human ended', false)
          : this.#endAtOnce('caller-hung-up', `carrier says ${state}`, false)
      case 'busy':
      case 'refused':
      case 'no-answer':
        // If this call already has a stream, these states describe another leg.
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

  /**
   * Handles words that may mean that the caller does not need anything else. The agent answers as usual, and after that
   * the call ends.
   */
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
    // The agent has asked a question. The caller must be able to answer, so the call does not end here.
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

  /**
   * Ends the call because its budget is used up. If the caller waits for a human or enters a number, the call ends
   * after that.
   */
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
    // If the model said goodbye during the wait, the caller did not hear this goodbye, so it does not count.
    this.call.talk.callerSpokeLast()
    this.call.ask('takeTool', this.#spent)
    this.#spent = null
  }

  /** Says `words`, then ends the stream. `interrupt` discards the agent's current speech. */
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
   * Ends the call at the agent's request or after the caller's goodbye: the agent's current words play first, then
   * `goodbye`. A caller who speaks again cancels the end.
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

  /** Continues the call because the caller spoke before an agreed end, and informs the model. */
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

  /** Ends the call when the caller has heard the agent's last words and no further words follow. */
  #quietGoodbyeDue(): void {
    const plan = this.#plan
    if (plan === null || !plan.cancellable) return
    if (this.call.talk.sounding || plan.itemId !== null || this.call.talk.bargeIn.undecided) {
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

  /**
   * Ends the stream without further words. The end waits for a running tool with an effect. If `hangup` is false, the
   * leg stays open for a human.
   */
  endNow(reason: EndReason, detail: string, hangup = true): void {
    if (!this.#waits(reason, detail, () => this.endNow(reason, detail, hangup))) this.#endAtOnce(reason, detail, hangup)
  }

  /**
   * @returns true if the gateway's own end waits for effects. The end does not wait on a broken line, because the
   * caller cannot hear anything.
   */
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

  /** Handles the closed socket. @param fault  null if the socket was closed normally */
  #streamClosed(code: number, fault: StreamFault | null): void {
    this.call.stream.close(this.call.nowMs)
    if (this.#closedFor !== null) return this.#finish(this.#closedFor.reason, this.#closedFor.detail)
    if (this.call.line.state === 'bridged') return this.#finish('escalated', 'the call with the human ended')
    if (fault === null) return this.#finish('caller-hung-up', `in ${this.call.line.state}`)
    // The carrier keeps the leg open in silence after its socket has failed, so the gateway asks the carrier to hang
    // up. The gateway does not ask in two cases: a human is being reached, or the connection was lost. A lost
    // connection usually means that the leg was lost.
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
   * @returns the facts for the outcome
   */
  #release(reason: EndReason): OutcomeFacts {
    const bridged = this.call.line.human?.outcome === 'answered'
    // These values are read before the turn is closed, because a caller who still waits at the end was not served.
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
