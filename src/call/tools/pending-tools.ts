import { WAITS_OPEN_MAX } from '../../core/limits.js'
import type { KeptWait } from '../documents/checkpoint.js'
import { withoutNoValues } from './value-fault.js'

/**
 * End of a wait. `expired`: the wait's time is over, and the outcome is unknown. `cancelled`: the caller no longer
 * wants to wait, and the outcome is unknown.
 */
type WaitStatus = 'succeeded' | 'failed' | 'expired' | 'cancelled'

interface Outcome {
  readonly status: WaitStatus
  readonly value: unknown
  /** True if the outcome arrived after the conversation had stopped waiting. */
  readonly late: boolean
}

/** One tool call whose result arrives later. Times are on the session's clock. */
export interface Wait {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly startedAtMs: number
  readonly untilMs: number
  state: 'waiting' | 'over' | 'settled'
  /** Outcome that the caller has not completely heard; null without such an outcome. */
  outcome: Outcome | null
  /** True if the caller has heard the outcome. */
  told: boolean
  /** Number of times that the outcome was sent to the backend. */
  tries: number
}

/** Maximum number of times that one outcome is spoken, if the caller interrupts it. */
const TELL_MAX = 3
/**
 * Minimum played duration of an interrupted answer, in milliseconds, after which the caller counts as informed of the
 * outcome.
 */
const HEARD_ENOUGH_MS = 2000
/** Maximum number of waits that one phone call remembers. A remembered wait can still receive a late outcome. */
const WAITS_KEPT_MAX = 16

/**
 * Tool calls of one phone call whose results arrive later.
 *
 *     waiting --outcome--> settled        spoken at the next pause
 *     waiting --time is over, or the caller cancels--> over     spoken at the next pause
 *     over    --outcome, late--> settled  spoken at the next pause
 *
 * An outcome that the caller interrupts too early is spoken again. If an outcome was never spoken, the main thread
 * sends it as a message. The reported states show if it was spoken.
 */
export class PendingTools {
  readonly #waits: Wait[] = []
  /** Outcome that the backend is saying, with its wait and its item. The item is null until the backend begins. */
  #telling: { readonly wait: Wait; readonly afterGeneration: number; itemId: string | null } | null = null

  /** @param zeroMs  zero of the stored times, on this session's clock */
  constructor(kept: readonly KeptWait[], zeroMs: number) {
    for (const { callId, name, args, startMs, untilMs, state } of kept) {
      const at = { startedAtMs: zeroMs + startMs, untilMs: zeroMs + untilMs }
      this.#waits.push({ callId, name, args, ...at, state, outcome: null, told: false, tries: 0 })
    }
  }

  begin(call: Pick<Wait, 'callId' | 'name' | 'args' | 'startedAtMs'>, untilMs: number): void {
    this.#waits.push({ ...call, untilMs, state: 'waiting', outcome: null, told: false, tries: 0 })
    if (this.#waits.length > WAITS_KEPT_MAX) this.#waits.shift()
  }

  /** Waits in progress. */
  get waiting(): readonly Wait[] {
    return this.#waits.filter(({ state }) => state === 'waiting')
  }

  /** True if no tool call is waiting and every outcome was spoken. */
  get idle(): boolean {
    return this.#waits.every(({ state, outcome, told }) => state !== 'waiting' && (outcome === null || told))
  }

  /** Returns the reason why the agent must not call that tool now; null if the agent may call it. */
  refusal(name: string, waits: boolean): string | null {
    const { waiting } = this
    if (waiting.some((wait) => wait.name === name))
      return 'It was called already and waits for its outcome, which you get as a message. Do not call it again until then.'
    return waits && waiting.length >= WAITS_OPEN_MAX ? `${WAITS_OPEN_MAX} tools wait for their outcome already.` : null
  }

  /**
   * Takes an outcome.
   * @returns null if the outcome is already known, or the tool call is unknown
   */
  settle(
    callId: string,
    status: 'succeeded' | 'failed',
    value: unknown,
  ): { readonly wait: Wait; readonly first: boolean } | null {
    const wait = this.#waits.find((one) => one.callId === callId)
    if (wait === undefined || wait.told || (wait.state === 'settled' && wait.outcome !== null)) return null
    const { state } = wait
    wait.state = 'settled'
    this.#queue(wait, { status, value, late: state === 'over' })
    return { wait, first: state !== 'settled' } // `first` is false if another worker has logged the outcome
  }

  /** Ends the conversation's wait. An outcome that arrives later is still spoken. */
  giveUp(wait: Wait, status: 'expired' | 'cancelled'): void {
    wait.state = 'over'
    this.#queue(wait, { status, value: null, late: false })
  }

  #queue(wait: Wait, outcome: Outcome): void {
    wait.outcome = outcome
    wait.tries = 0
    if (this.#telling?.wait === wait) this.#telling = null
  }

  overdue(nowMs: number): readonly Wait[] {
    return this.waiting.filter(({ untilMs }) => nowMs >= untilMs)
  }

  /** Oldest outcome that was not spoken yet; null while another outcome is being spoken. */
  get untold(): Wait | null {
    if (this.#telling !== null) return null
    return this.#waits.find(({ outcome, told, tries }) => outcome !== null && !told && tries < TELL_MAX) ?? null
  }

  /**
   * Notes that the outcome of `wait` was sent to the backend.
   * @param afterGeneration  newest generation so far; the answer has a later generation
   */
  tell(wait: Wait, afterGeneration: number): void {
    wait.tries++
    this.#telling = { wait, afterGeneration, itemId: null }
  }

  /**
   * Notes that the backend cannot say the outcome. If the caller has not heard the outcome, the main thread sends it as
   * a message after the call.
   */
  cannotBeTold(callId: string): void {
    const wait = this.#waits.find((one) => one.callId === callId)
    if (wait !== undefined) this.said(wait)
  }

  /** Notes that the gateway has said the outcome, or need not say it. */
  said(wait: Wait): void {
    wait.outcome = null
    if (this.#telling?.wait === wait) this.#telling = null
  }

  itemStarted(itemId: string, generation: number | null): void {
    const telling = this.#telling
    if (telling !== null && telling.itemId === null && generation !== null && generation > telling.afterGeneration)
      telling.itemId = itemId
  }

  /** @returns the wait whose outcome the caller has heard now; null for any other item */
  itemHeard(itemId: string): Wait | null {
    const telling = this.#telling
    return telling?.itemId === itemId ? this.#heard(telling.wait) : null
  }

  /**
   * Handles an interruption of the agent.
   * @param playedMs  played duration of the last heard item
   * @returns the wait whose outcome the caller has heard now; null for any other item
   */
  interrupted(itemId: string | null, playedMs: number): Wait | null {
    const telling = this.#telling
    if (telling === null) return null
    if (telling.itemId !== null && telling.itemId === itemId && playedMs >= HEARD_ENOUGH_MS)
      return this.#heard(telling.wait)
    this.#telling = null
    if (telling.wait.tries >= TELL_MAX) telling.wait.outcome = null
    return null
  }

  #heard(wait: Wait): Wait {
    const final = wait.state === 'settled'
    wait.outcome = null
    wait.told = final
    this.#telling = null
    return wait
  }

  /**
   * Returns the state for another worker, which receives the outcomes again. @param zeroMs  zero of the stored times
   */
  kept(zeroMs: number): KeptWait[] {
    return this.#waits
      .filter(({ told }) => !told)
      .map(({ callId, name, args, startedAtMs, untilMs, state }) => ({
        callId,
        name,
        args,
        startMs: startedAtMs - zeroMs,
        untilMs: untilMs - zeroMs,
        state,
      }))
  }
}

/** Returns the result for the model while the outcome is unknown. @param said  the gateway's words to the caller */
export function pendingAnswer(said: string): Readonly<Record<string, unknown>> {
  const told =
    said === '' ? 'Tell the caller what they have to do now.' : `The caller hears: "${said}" Add nothing to that.`
  return {
    pending: true,
    note:
      `It was asked for, and nobody knows yet how it ends. ${told} Do not call it again, and do not say that it is done: only ` +
      'its outcome counts, which you get as a message of the system. Until then help with other things.',
  }
}

/** Returns the text of an outcome for a model that does not wait for results. */
export function outcomeText({ name, outcome, tries }: Wait): string {
  const { status, value, late } = outcome ?? { status: 'expired', value: null, late: false }
  const result = JSON.stringify({ status, result: withoutNoValues(value) })
  if (tries > 1)
    return `The caller interrupted you before they heard the outcome of ${name}: ${result}. Say it now, unless they know it.`
  if (status === 'cancelled')
    return `The caller does not want to wait for ${name} any more. It is not known how it ends: say neither that it was done nor that it was not.`
  if (status === 'expired')
    return `No outcome of ${name} has come in time. That is no failure: say that you have no confirmation yet, and do not call it again.`
  return `The outcome of ${name} has come${late ? ' after all' : ''}: ${result}. Tell the caller.`
}
