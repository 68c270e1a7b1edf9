import { DEADLINES, ENDED_BY } from '../call-deadlines.js'
import type { CallState, DeadlineName, Interruption } from '../call-deadlines.js'
import type { CallCore } from '../call-core.js'
import type { Floor } from './floor.js'
import type { Model } from './model.js'
import type { EndReason, EscalationHistory } from '../documents/record.js'

export type EscalationAsked = Pick<EscalationHistory, 'reason' | 'strategy' | 'outcome'>

/**
 * The line to the caller. The state shows the current part of the call: the conversation, the search for a human, a
 * human, or the end. When a feature enters a state, deadlines of the conversation end, or are suspended until the
 * conversation continues (`DEADLINES`).
 */
export class Line {
  #state: CallState = 'waiting'
  #promised: string | null = null
  #inAmd = false
  #human: EscalationAsked | null = null
  #revocable = false
  readonly #core: CallCore
  readonly #floor: Floor
  readonly #model: Model
  /**
   * Remaining time of each suspended deadline, in milliseconds. The deadline runs again when the conversation
   * continues.
   */
  readonly #suspended = new Map<DeadlineName, number>()

  constructor(core: CallCore, floor: Floor, model: Model) {
    this.#core = core
    this.#floor = floor
    this.#model = model
  }

  get state(): CallState {
    return this.#state
  }

  /** True if the stream is open and the session has not closed it. */
  get streaming(): boolean {
    return this.#core.stream.openedAtMs !== null && this.#state !== 'closed' && this.#state !== 'ended'
  }

  /**
   * Agent to which the call was promised; null without a promise. The agent gets the call when the caller has heard the
   * words so far.
   */
  get promised(): string | null {
    return this.#promised
  }

  /**
   * True if the called party of a placed call is still unknown, or is a recording. In this state the agent does not
   * speak or listen.
   */
  get inAmd(): boolean {
    return this.#inAmd
  }

  /** Requested human and the result of the escalation; null without a request. */
  get human(): EscalationAsked | null {
    return this.#human
  }

  /** True if the caller can cancel the planned end. */
  get revocable(): boolean {
    return this.#state === 'closing' && this.#revocable
  }

  /** Reason for the end of the call if no human can be reached; null if the call continues in this case. */
  get endAfterFailure(): EndReason | null {
    if (this.#model.dead) return 'backend-failed'
    return this.#core.options.escalation?.afterFailure === 'goodbye' ? 'agent-goodbye' : null
  }

  /** Changes the state. No other method changes it. @param revocable  true if the caller can cancel the change */
  enter(to: CallState, revocable = false): void {
    this.#core.tell({ type: 'line', to })
    if (to !== 'waiting' && to !== 'live') this.#interrupt(to)
    this.#state = to
    this.#revocable = revocable
    if (to === 'live') this.#resume()
    else if (to === 'escalating' || to === 'holding' || to === 'bridged' || to === 'closing') this.#floor.close('line')
  }

  promise(agent: string | null): void {
    this.#promised = agent
  }

  setAmd(on: boolean): void {
    this.#inAmd = on
  }

  askedForHuman(human: EscalationAsked): void {
    this.#human = human
  }

  /** Promises the call to the next agent. This agent does not answer any more. */
  handOver(): void {
    this.#floor.close('next-agent')
    this.#interrupt('handed-over')
  }

  #interrupt(by: Interruption): void {
    for (const name of ENDED_BY[by]) {
      if (!this.#core.deadlines.isSet(name)) continue
      if ('returns' in DEADLINES[name]) this.#suspended.set(name, this.#core.deadlines.leftMs(name, this.#core.nowMs))
      this.#core.clear(name)
    }
  }

  #resume(): void {
    this.#floor.open('line')
    for (const [name, leftMs] of this.#suspended) if (!this.#core.deadlines.isSet(name)) this.#core.in(name, leftMs)
    this.#suspended.clear()
  }
}
