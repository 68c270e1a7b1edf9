import { WAITS_OPEN_MAX } from '../../core/limits.js'
import type { KeptWait } from '../documents/checkpoint.js'
import { withoutNoValues } from './value-fault.js'

/** How a wait ended. `expired`: nobody knows; `cancelled`: the caller does not want to wait, and nobody knows. */
type WaitStatus = 'succeeded' | 'failed' | 'expired' | 'cancelled'

interface Outcome {
  readonly status: WaitStatus
  readonly value: unknown
  /** It came after the conversation had given up waiting. */
  readonly late: boolean
}

/** One tool call whose answer comes later. Times are on the session's clock. */
export interface Wait {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly startedAtMs: number
  readonly untilMs: number
  state: 'waiting' | 'over' | 'settled'
  /** Outcome that the caller has not heard completely. */
  outcome: Outcome | null
  /** The caller has heard how it ended. */
  told: boolean
  /** How often the backend was given the outcome. */
  tries: number
}

/** Maximum number of times that an interrupted outcome is spoken. */
const TELL_MAX = 3
/** An interrupted answer has conveyed the outcome if the caller heard this much of it. */
const HEARD_ENOUGH_MS = 2000
/** Waits that a call remembers, so that a late outcome still finds its call. */
const WAITS_KEPT_MAX = 16

/**
 * The tool calls of one call whose answers come later.
 *
 *     waiting --outcome--> settled        spoken at the next pause
 *     waiting --time is over, or the caller cancels--> over     spoken too
 *     over    --outcome, late--> settled  spoken at the next pause
 *
 * An outcome that the caller interrupts too early is spoken again. An outcome that nobody spoke goes out as a message, which
 * the main thread knows from the states that are reported to it.
 */
export class PendingTools {
  readonly #waits: Wait[] = []
  /** The outcome that the backend is saying: of which wait, and in which item; null before that item. */
  #telling: { readonly wait: Wait; readonly afterGeneration: number; itemId: string | null } | null = null

  /** @param zeroMs  of the kept times, on this session's clock */
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

  /** Somebody waits. */
  get waiting(): readonly Wait[] {
    return this.#waits.filter(({ state }) => state === 'waiting')
  }

  /** True if nothing is waiting, and no outcome is left to speak. */
  get idle(): boolean {
    return this.#waits.every(({ state, outcome, told }) => state !== 'waiting' && (outcome === null || told))
  }

  /** Why the agent may not call that tool now; null where it may. */
  refusal(name: string, waits: boolean): string | null {
    const { waiting } = this
    if (waiting.some((wait) => wait.name === name))
      return 'It was called already and waits for its outcome, which you get as a message. Do not call it again until then.'
    return waits && waiting.length >= WAITS_OPEN_MAX ? `${WAITS_OPEN_MAX} tools wait for their outcome already.` : null
  }

  /**
   * An outcome has come.
   * @returns null where it is known already, or the call is not known: nothing is to be done
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
    return { wait, first: state !== 'settled' } // else another worker has logged it
  }

  /** Ends the conversation's wait; a later outcome is spoken all the same. */
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

  /** The oldest outcome that is still to be spoken; null while another one is being spoken. */
  get untold(): Wait | null {
    if (this.#telling !== null) return null
    return this.#waits.find(({ outcome, told, tries }) => outcome !== null && !told && tries < TELL_MAX) ?? null
  }

  /** The backend is given the outcome of that wait. @param afterGeneration  its answer is of a later generation */
  tell(wait: Wait, afterGeneration: number): void {
    wait.tries++
    this.#telling = { wait, afterGeneration, itemId: null }
  }

  /** The backend has no words for it: who has not heard it gets it as a message when the call is over. */
  cannotBeTold(callId: string): void {
    const wait = this.#waits.find((one) => one.callId === callId)
    if (wait !== undefined) this.said(wait)
  }

  /** The gateway has said it, or nobody needs to: as far as this outcome goes. */
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

  /** The agent was interrupted. @param playedMs  of the item that was heard last @returns as `itemHeard` */
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

  /** For another worker, which gets the outcomes again. @param zeroMs  of the kept times */
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

/** A tool's answer for the model while its outcome is not known. @param said  the gateway's own words to the caller */
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

/** Text of an outcome for a model that does not wait for results. */
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
