import { assertNever } from '../../core/assert.js'
import type { CarrierState } from '../../sautikit/carrier-state.js'
import { Feature, OF_THE_CONVERSATION, QUIET_POLL_MS, WORDS_HEARD_MS_MAX } from '../call-feature.js'
import type { CallFeature, DeadlineName } from '../call-feature.js'
import { isClosing, saysGoodbye } from '../closing-cues.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { EndReason } from '../documents/record.js'
import type { CallInput, StreamFault } from '../events.js'
import type { ToolCallEvent } from './tool-calls.js'
import { closeCodeOf, outcomeOf } from '../outcome.js'
import type { OutcomeFacts } from '../outcome.js'

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
  streamClosedAtMs: number | null = null
  // The end.
  #plan: EndPlan | null = null
  #outcomeFacts: OutcomeFacts | null = null
  #closedFor: { readonly reason: EndReason; readonly detail: string } | null = null
  /** The end of a call whose budget is used up, while the agent may not speak. */
  #spent: ToolCallEvent | null = null

  due(name: DeadlineName): void {
    if (name === 'closing-cue') this.#closingCueDue()
    else if (name === 'duration') this.#durationDue()
    else if (name === 'budget') this.#budgetDue()
    else if (name === 'words-heard') this.#wordsHeardDue()
    else if (name === 'quiet-goodbye') this.#quietGoodbyeDue()
    else if (name === 'quiet-goodbye-limit') this.endAsPlanned()
    else if (name === 'stream-close') this.#streamCloseOverdue()
  }

  #wordsHeardDue(): void {
    if (this.call.state === 'closing') this.endAsPlanned()
    else this.call.escalation.transferAnnouncementOver()
  }

  input(input: CallInput): boolean {
    if (input.type === 'stream-closed') {
      if (this.call.streamOpenedAtMs !== null) this.#streamClosed(input.code, input.fault ?? null)
    } else if (input.type === 'carrier-state') this.#carrierState(input.state)
    else if (input.type === 'hangup-requested') this.#hangup(input.reason, input.detail, input.speak)
    else return false
    return true
  }

  itemOver(itemId: string): void {
    if (this.#plan?.itemId !== itemId) return
    this.#plan.itemId = null
    if (!this.#plan.cancellable) this.endAsPlanned()
  }

  checkpoint(): Pick<CallCheckpoint, 'ending'> {
    const end = this.#plan ?? this.call.effects.end
    return {
      ending: end === null ? (this.call.resume?.ending ?? null) : { reason: end.reason, detail: end.detail },
    }
  }

  /** The agent's own end, which a caller who speaks up takes back. */
  get cancellable(): boolean {
    return this.#plan?.cancellable === true
  }

  /** The gateway's goodbye in the agent's place. */
  isAgentsGoodbye(itemId: string): boolean {
    return this.#plan?.cancellable === true && this.#plan.itemId === itemId
  }

  #carrierState(state: CarrierState): void {
    this.call.mark('carrier-state', state)
    if (this.call.state === 'closed') return
    const noStream = this.call.streamOpenedAtMs === null
    switch (state) {
      case 'completed':
      case 'failed':
        if (noStream)
          return this.#finish(state === 'failed' ? 'stream-error' : 'caller-hung-up', 'before the stream opened')
        // The socket may stay open for seconds after the leg has ended: stop speaking now.
        this.call.stopAgent()
        return this.call.state === 'bridged'
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
  closingCue(words: string): void {
    const { closing = null } = this.call.options
    this.call.clear('closing-cue')
    if (closing === null || this.call.state !== 'live' || !isClosing(words)) return
    this.call.mark('closing-cue')
    this.call.in('closing-cue', closing.afterMs)
  }

  #closingCueDue(): void {
    const { afterMs = 0 } = this.call.options.closing ?? {}
    if (this.call.state !== 'live') return
    const last = this.call.log.transcript.at(-1)
    const answered =
      last?.role === 'agent' &&
      this.call.agentSpokeLast &&
      !this.call.presence.engaged &&
      !this.call.callerSpeech.speaking
    const quietMs = this.call.nowMs - Math.max(this.call.agentHeardAtMs, this.call.callerSpeech.lastVoicedMs || 0)
    if (!answered || quietMs < afterMs) return this.call.in('closing-cue', CLOSING_POLL_MS)
    // A question is to be answered.
    if (last.text.trimEnd().endsWith('?')) return
    const text = saysGoodbye(last.text) ? '' : this.call.goodbye
    this.endAfterSpeech('the caller said that this is all', null, text)
  }

  #hangup(reason: EndReason, detail: string, speak: boolean): void {
    if (this.call.state === 'closed') return
    if (!speak || !this.call.streaming) return this.endNow(reason, detail)
    if (this.call.state === 'closing' && this.#plan?.cancellable === false) return
    // The gateway does not speak over a human on the line.
    if (this.call.state === 'bridged' || this.call.state === 'holding') return this.endNow(reason, detail)
    this.speakThenEnd(reason, detail, this.call.goodbye, true)
  }

  #durationDue(): void {
    if (this.call.state === 'bridged') return
    if (this.call.state !== 'live' && this.call.state !== 'connecting')
      return this.call.in('duration', DURATION_POLL_MS)
    const { text, maxMs } = this.call.options.duration
    this.speakThenEnd('duration-limit', `${maxMs} ms`, this.call.text(text), true)
  }

  /** The budget of the call is used up. Who waits for a human, or keys in a number, is not hung up on: it ends after that. */
  budgetSpent(event: ToolCallEvent): void {
    const { state, agentSpeech, presence, tools, effects } = this.call
    if (state === 'live' && !agentSpeech.closed && !presence.callerWaits && !effects.holds()) return tools.take(event)
    this.#spent = event
    this.call.in('budget', QUIET_POLL_MS)
  }

  #budgetDue(): void {
    if (this.#spent === null) return
    const { handover, presence, effects } = this.call
    const waits = this.call.state !== 'live' || handover.to !== null || presence.engaged || effects.holds()
    if (waits) return this.call.in('budget', QUIET_POLL_MS)
    // Nobody heard a goodbye of the model meanwhile.
    this.call.agentSpokeLast = false
    this.call.tools.take(this.#spent)
    this.#spent = null
  }

  /** Says `text`, then ends the stream. `interrupt` cuts what the agent is saying. */
  speakThenEnd(reason: EndReason, detail: string, text: string, interrupt: boolean): void {
    if (!this.call.streaming || text === '') return this.endNow(reason, detail)
    if (this.#waits(reason, detail, () => this.speakThenEnd(reason, detail, text, interrupt))) return
    if (interrupt) this.call.stopAgent()
    this.#beginClosing()
    const itemId = this.call.announce(text, reason === 'backend-failed' ? 'apology' : 'goodbye')
    this.#plan = { reason, detail, cancellable: false, toolCallId: null, itemId, quietSinceMs: null }
    this.call.in('words-heard', this.call.wordsMs(text))
    this.call.mark('goodbye', detail === '' ? reason : `${reason}: ${detail}`)
  }

  /**
   * The agent asked for the end, or the caller has said goodbye: plays the agent's current words first, then `goodbye`.
   * A caller who speaks up takes it back.
   */
  endAfterSpeech(detail: string, toolCallId: string | null, goodbye: string): void {
    if (this.#waits('agent-goodbye', detail, () => this.endAfterSpeech(detail, toolCallId, goodbye))) return
    this.#beginClosing()
    const itemId = goodbye === '' ? null : this.call.announce(goodbye, 'goodbye')
    this.#plan = { reason: 'agent-goodbye', detail, cancellable: true, toolCallId, itemId, quietSinceMs: null }
    this.call.in('quiet-goodbye', QUIET_POLL_MS)
    this.call.in('quiet-goodbye-limit', WORDS_HEARD_MS_MAX + this.call.playout.pendingMs())
    this.call.mark('goodbye', 'agent-goodbye')
  }

  #beginClosing(): void {
    this.call.digits.abandon()
    this.call.enter('closing')
    this.call.agentSpeech.close()
    this.call.clear(...OF_THE_CONVERSATION)
    this.call.changed()
  }

  /** The caller spoke up before an agreed end: the call continues, and the model learns it. */
  cancelGoodbye(): void {
    const plan = this.#plan
    if (plan === null || !plan.cancellable) return
    this.#plan = null
    this.call.clear('quiet-goodbye', 'quiet-goodbye-limit')
    this.call.enter('live')
    this.call.agentSpeech.open()
    this.call.mark('goodbye-taken-back')
    if (plan.toolCallId !== null)
      this.call.tools.result(plan.toolCallId, false, { error: 'The caller spoke up; the call goes on.' }, 'taken back')
    this.call.in('silence', this.call.options.silence.afterMs)
  }

  /** Ends the call once the agent's last words were heard and nothing follows. */
  #quietGoodbyeDue(): void {
    const plan = this.#plan
    if (plan === null || !plan.cancellable) return
    if (this.call.sounding || plan.itemId !== null || this.call.bargeIn.paused) {
      plan.quietSinceMs = null
    } else {
      plan.quietSinceMs ??= this.call.nowMs
      const neededMs = this.call.agentSpeech.responding === null ? QUIET_MS : QUIET_WHILE_RESPONDING_MS
      if (this.call.nowMs - plan.quietSinceMs >= neededMs) return this.endAsPlanned()
    }
    this.call.in('quiet-goodbye', QUIET_POLL_MS)
  }

  endAsPlanned(): void {
    if (this.#plan !== null) this.endNow(this.#plan.reason, this.#plan.detail)
  }

  /** Ends the stream, where no tool with an effect runs: without another word. With `hangup` false the leg stays up for a human. */
  endNow(reason: EndReason, detail: string, hangup = true): void {
    if (!this.#waits(reason, detail, () => this.endNow(reason, detail, hangup))) this.#endAtOnce(reason, detail, hangup)
  }

  /** @returns true where the gateway's own end waits for effects. A broken line waits for nothing, and nobody hears anything there. */
  #waits(reason: EndReason, detail: string, end: () => void): boolean {
    if (!OWN_ENDS.has(reason) || !this.call.streaming) return false
    return this.call.effects.delays(reason, detail, end)
  }

  #endAtOnce(reason: EndReason, detail: string, hangup: boolean): void {
    if (this.call.state === 'closed' || this.call.state === 'ended') return
    const hadStream = this.call.streaming
    this.call.out({ type: 'end-stream', code: closeCodeOf(reason), reason, detail, hangup })
    if (!hadStream) return this.#finish(reason, detail)
    this.#closedFor = { reason, detail }
    this.#release(reason)
    this.call.enter('closed')
    this.call.deadlines.clearAll()
    this.call.in('stream-close', STREAM_CLOSE_WAIT_MS)
  }

  /** The socket is closed. @param fault  null when it was closed normally */
  #streamClosed(code: number, fault: StreamFault | null): void {
    this.streamClosedAtMs = this.call.nowMs
    if (this.#closedFor !== null) return this.#finish(this.#closedFor.reason, this.#closedFor.detail)
    if (this.call.state === 'bridged') return this.#finish('escalated', 'the call with the human ended')
    if (fault === null) return this.#finish('caller-hung-up', `in ${this.call.state}`)
    // After a failed socket the carrier holds the leg in silence, so it is asked to hang up, unless a human is on the
    // way. A lost connection usually means that the leg is lost too.
    if (fault.reason !== 'socket-lost' && this.call.escalation.asked?.outcome !== null)
      this.call.out({ type: 'end-stream', code, ...fault, hangup: true })
    this.#finish(fault.reason, fault.detail)
  }

  #streamCloseOverdue(): void {
    if (this.#closedFor === null) return
    this.call.mark('stream-close-overdue')
    this.#finish(this.#closedFor.reason, this.#closedFor.detail)
  }

  #finish(reason: EndReason, detail: string): void {
    if (this.call.state === 'ended') return
    const facts = this.#release(reason)
    const message = reason === 'caller-hung-up' ? this.call.callBack.begunMessage() : null
    if (message !== null) this.call.callBack.note('words', null, message)
    this.call.enter('ended')
    this.streamClosedAtMs ??= this.call.nowMs
    this.call.deadlines.clearAll()
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
    const bridged = this.call.escalation.asked?.outcome === 'answered'
    // Read before the turn is closed: a caller who waits at the end was not served.
    const facts = (this.#outcomeFacts ??= {
      escalated: bridged,
      answered: this.call.log.turnsAnswered > 0,
      waiting:
        this.call.turns.waitingForReal ||
        (this.call.escalation.asked !== null && !bridged && this.call.state !== 'live') ||
        this.call.ledger.effectsRunning.length > 0,
    })
    const asAsked = reason === 'escalated' || reason === 'agent-goodbye' || bridged
    this.call.digits.drop()
    this.call.ledger.close(asAsked)
    this.call.settleBargeIn()
    this.call.bargeIn.abandon()
    this.call.tools.cutAll()
    this.call.backend.close(reason)
    this.call.transcript.close(this.call.streamMs)
    this.call.claims.judge(true)
    this.call.recordTurn(this.call.turns.close(this.call.streamZeroMs))
    return facts
  }
}
