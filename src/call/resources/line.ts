import { DEADLINES, ENDED_BY } from '../call-deadlines.js'
import type { CallState, DeadlineName, Interruption } from '../call-deadlines.js'
import type { CallCore } from '../call-core.js'
import type { Floor } from './floor.js'
import type { Model } from './model.js'
import type { EndReason, EscalationHistory } from '../documents/record.js'

export type EscalationAsked = Pick<EscalationHistory, 'reason' | 'strategy' | 'outcome'>

/**
 * The line to the caller: it belongs to the stream, a human or the end. Whoever enters a state takes the line; what belongs to the
 * conversation ends with it, or is suspended until the conversation continues (`DEADLINES`).
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
  /** Deadlines that run on when the conversation continues, with the milliseconds that are left of each. */
  readonly #suspended = new Map<DeadlineName, number>()

  constructor(core: CallCore, floor: Floor, model: Model) {
    this.#core = core
    this.#floor = floor
    this.#model = model
  }

  get state(): CallState {
    return this.#state
  }

  /** The stream is open and the session has not closed it. */
  get streaming(): boolean {
    return this.#core.stream.openedAtMs !== null && this.#state !== 'closed' && this.#state !== 'ended'
  }

  /** The agent that was promised and gets the call as soon as the words so far are heard; null: none. */
  get promised(): string | null {
    return this.#promised
  }

  /** It is not known yet who took a call that we placed, or it is a recording: the agent is silent and does not listen. */
  get inAmd(): boolean {
    return this.#inAmd
  }

  /** A human who was asked for, and what came of it; null: none was. */
  get human(): EscalationAsked | null {
    return this.#human
  }

  /** The end that is near can be taken back by the caller. */
  get revocable(): boolean {
    return this.#state === 'closing' && this.#revocable
  }

  /** Reason for which the call ends when no human could be reached; null: it continues. */
  get endAfterFailure(): EndReason | null {
    if (this.#model.dead) return 'backend-failed'
    return this.#core.options.escalation?.afterFailure === 'goodbye' ? 'agent-goodbye' : null
  }

  /** Every change of the state is here. @param revocable  the caller can take it back */
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

  /** The promised agent gets the call: this one answers nobody any more. */
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
