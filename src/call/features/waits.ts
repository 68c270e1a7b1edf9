import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'
import { outcomeText, pendingAnswer } from '../tools/pending-tools.js'
import type { Wait } from '../tools/pending-tools.js'
import { asksToCancel } from '../turns/turn-words.js'
import { withoutNoValues } from '../tools/value-fault.js'

/**
 * Interval of the check of pending tools, in milliseconds. The check ends a wait whose time is over, and finds a pause
 * in which an outcome can be reported.
 */
const WAITS_POLL_MS = 200
/** Minimum pause before the agent speaks, in milliseconds. After this pause the agent does not interrupt the caller. */
const PAUSE_MS = 300

const HEARS = ['conversation-begins', 'agent-sounds', 'item-heard', 'agent-cut', 'caller-said'] as const

/** Pending tools: the wait in the conversation, and the report of the outcome during a pause. */
export class Waits extends Feature implements CallFeature {
  readonly hears = HEARS
  due(name: DeadlineName): void {
    if (name === 'waits') this.#due()
  }

  get busy(): boolean {
    return this.call.effects.awaited
  }

  input(input: CallInput): boolean {
    if (input.type === 'tool-pending') this.#begin(input.callId, input.waitMs)
    else if (input.type === 'tool-outcome') this.#outcome(input.callId, input.status, input.value)
    else if (input.type === 'tool-untold') {
      this.call.effects.pending.cannotBeTold(input.callId)
      this.call.wait.noAnswer()
    } else return false
    return true
  }

  hear(fact: FactOf<typeof HEARS>): void {
    const { pending } = this.call.effects
    switch (fact.type) {
      case 'conversation-begins':
        return this.#watch()
      case 'agent-sounds':
        return fact.kind === 'answer' ? pending.itemStarted(fact.itemId, fact.generation) : undefined
      case 'item-heard':
        return this.#outcomeHeard(pending.itemHeard(fact.itemId))
      case 'agent-cut':
        return this.#outcomeHeard(pending.interrupted(fact.itemId, fact.playedMs))
      case 'caller-said':
        return fact.final && asksToCancel(fact.text) ? this.#cancel() : undefined
      default:
        return
    }
  }

  checkpoint(): Pick<CallCheckpoint, 'waits'> {
    const waits = this.call.effects.pending.kept(this.call.streamZeroMs)
    return waits.length === 0 ? {} : { waits }
  }

  /** Begins a wait, because a tool has started something whose outcome arrives later. */
  #begin(callId: string, waitMs: number): void {
    const call = this.call.effects.ledger.pending(callId)
    if (call === null) {
      this.call.counters.toolResultsLate++
      return
    }
    this.call.mark('tool-pending', `${call.name}, for at most ${waitMs} ms`)
    this.call.effects.pending.begin(call, this.call.nowMs + waitMs)
    this.call.changed()
    this.call.tell({ type: 'tool-pending' })
    this.#watch()
    if (!this.call.model.usable || !this.call.line.streaming) return
    const said = this.call.line.state === 'live' ? this.call.text(this.call.options.waits[call.name]?.say) : ''
    this.call.out({ type: 'backend-tool-result', callId, ok: true, value: pendingAnswer(said), pending: true })
    if (this.call.line.state !== 'live') return
    if (said === '') return this.call.wait.forAnswer()
    this.call.talk.announce(said, 'tool')
    this.call.wait.noAnswer()
    this.call.floor.close('caller')
  }

  /** Takes a report of a pending tool call. */
  #outcome(callId: string, status: 'progress' | 'succeeded' | 'failed', value: unknown): void {
    if (status === 'progress') {
      const wait = this.call.effects.pending.waiting.find((one) => one.callId === callId)
      if (wait === undefined) return
      this.call.mark('tool-progress', wait.name)
      const text = `There is news of ${wait.name}, which is no outcome yet: ${JSON.stringify(withoutNoValues(value))}`
      if (this.call.model.usable) this.call.model.tell(text)
      return
    }
    const settled = this.call.effects.pending.settle(callId, status, value)
    if (settled === null) return
    const { wait, first } = settled
    const ok = status === 'succeeded'
    this.call.mark('tool-outcome', `${wait.name}: ${status}${wait.outcome?.late === true ? ', late' : ''}`)
    const result = { ok, value, error: ok ? undefined : 'failed' }
    if (wait.outcome?.late === true) this.call.effects.ledger.late(wait, result)
    else if (first) this.call.effects.ledger.result(callId, result)
    this.call.tell({
      type: 'tool-settled',
      ...{ callId, name: wait.name, ok, value, ...(ok ? {} : { error: 'failed' }) },
      stage: first,
    })
    this.call.changed()
    this.call.in('waits', 0)
  }

  /** Cancels the waits because the caller no longer wants to wait. The action outside the gateway may continue. */
  #cancel(): void {
    for (const wait of this.call.effects.pending.waiting) {
      this.#giveUp(wait, 'cancelled')
      this.#tell(wait)
    }
  }

  #giveUp(wait: Wait, status: 'expired' | 'cancelled'): void {
    this.call.mark(`tool-${status}`, wait.name)
    this.call.effects.pending.giveUp(wait, status)
    this.call.out({ type: 'wait', callId: wait.callId, state: status })
    const end = status === 'expired' ? 'expired' : 'abandoned'
    const result = { ok: false, value: { status }, error: status }
    this.call.effects.ledger.result(wait.callId, result, end)
    this.call.tell({ type: 'tool-settled', callId: wait.callId, name: wait.name, ...result, stage: true })
    this.call.changed()
  }

  #watch(): void {
    if (this.call.effects.pending.idle) this.call.clear('waits')
    else this.call.in('waits', WAITS_POLL_MS)
  }

  #due(): void {
    for (const wait of this.call.effects.pending.overdue(this.call.nowMs)) this.#giveUp(wait, 'expired')
    const { untold } = this.call.effects.pending
    const quietMs = this.call.nowMs - Math.max(this.call.talk.agentHeardAtMs, this.call.callerSpeech.lastVoicedMs || 0)
    const pause =
      this.call.line.state === 'live' &&
      quietMs >= PAUSE_MS &&
      !this.call.talk.agentTalking &&
      !this.call.agentSpeech.anyOpen &&
      !this.call.callerSpeech.speaking &&
      !this.call.talk.bargeIn.undecided
    if (pause && untold !== null) this.#tell(untold)
    else if (pause && untold === null) this.#sayStillWaiting(quietMs)
    this.#watch()
  }

  #sayStillWaiting(quietMs: number): void {
    for (const { name } of this.call.effects.pending.waiting) {
      const { still, everyMs = Infinity } = this.call.options.waits[name] ?? {}
      if (quietMs < everyMs) continue
      this.call.talk.announce(this.call.text(still), 'prompt')
      return
    }
  }

  /** Sends an outcome to the backend. Only the backend can say the outcome to the caller. */
  #tell(wait: Wait): void {
    const { callId, name, outcome } = wait
    if (outcome === null || !this.call.model.usable) return
    const { status, value } = outcome
    const said = status === 'expired' ? this.call.text(this.call.options.waits[name]?.onTimeout) : ''
    // If the caller has cancelled the wait, the model answers the caller's own words.
    const respond = said === '' && status !== 'cancelled'
    this.call.effects.pending.tell(wait, this.call.agentSpeech.latest)
    const given = status === 'succeeded' || status === 'failed' ? value : { status }
    const text = outcomeText(wait)
    this.call.out({ type: 'backend-tool-outcome', callId, ok: status === 'succeeded', value: given, text, respond })
    if (respond) return this.call.wait.forAnswer()
    if (said !== '') this.call.talk.announce(said, 'prompt')
    this.call.effects.pending.said(wait)
  }

  #outcomeHeard(wait: Wait | null): void {
    if (wait === null) return
    this.call.changed()
    if (!wait.told) return
    this.call.mark('tool-told', wait.name)
    this.call.out({ type: 'wait', callId: wait.callId, state: 'told' })
  }
}
