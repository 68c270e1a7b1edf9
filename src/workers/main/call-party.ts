import type { CallLogEntry } from '../../call/documents/log-entry.js'
import type { CallRecord } from '../../call/documents/record.js'
import type { CallerValues } from '../../call/caller-data.js'
import { partyKey, sameNumber } from '../../sautikit/phone.js'
import { redactFacts, redactRecord } from '../../telemetry/archive/redaction.js'
import { callerOf, lineOf, lookUpOf } from './call-start.js'
import type { NewCall } from './live-call.js'
import type { HostedAgent, MainThreadContext } from './main-thread-context.js'

/** The person on a call's line: what earlier calls have taught of them, what this call adds, and their wish for no more. */
export class CallParty {
  /** Empty where it is withheld. */
  readonly number: string
  /** `partyKey` of the number. */
  readonly key: string
  readonly #call: NewCall
  readonly #hosted: () => HostedAgent
  readonly #context: MainThreadContext
  /** When they first wanted no more calls: the second time the number is on the list already. Null: nobody has said so. */
  #unwantedMs: number | null = null
  #unwantedKept: Promise<boolean> = Promise.resolve(false)

  /** @param hosted  the agent that has the call now */
  constructor(call: NewCall, hosted: () => HostedAgent, context: MainThreadContext) {
    this.number = callerOf(call)
    this.key = partyKey(this.number)
    this.#call = call
    this.#hosted = hosted
    this.#context = context
  }

  isOf(number: string): boolean {
    return sameNumber(this.number, number)
  }

  logged(entries: readonly CallLogEntry[]): void {
    this.#context.lines.logged(this.key, entries)
  }

  /** @param narrow  their line has nothing above the telephone's band */
  heard(narrow: boolean): void {
    this.#context.lines.heard(this.key, narrow)
  }

  /** A look-up has found these values. */
  found(values: CallerValues): void {
    this.#context.lines.found(this.key, lookUpOf(this.#call, this.#hosted()), values)
  }

  /**
   * Their last call to this agent at this number of ours, with no more of its facts than records keep now; null where nothing is
   * remembered.
   */
  async recalled() {
    const earlier = (await this.#context.callerMemory?.recall(this.number, this.#line)) ?? null
    return earlier === null ? null : { ...earlier, facts: redactFacts(earlier.facts, this.#context.transcript) }
  }

  /**
   * The next verified call of the number knows the outcome of this one, in which its owner was verified, and of its facts what a record
   * keeps, where its agent asks for that. A mailbox is nobody's call.
   */
  remember(record: CallRecord): void {
    const { callSid, outcome, outbound } = record
    const { transcript } = this.#context
    const { definition } = this.#hosted()
    if (definition.caller?.memory !== true || (outbound !== null && outbound.result !== 'person')) return
    const facts = transcript === 'none' ? [] : redactRecord(record, transcript).facts
    const known = Object.fromEntries(facts.map((fact) => [fact.name, fact.value]))
    const call = { callSid, endedWallMs: this.#context.wallClock(), outcome, facts: known }
    const keptMs = this.#context.recordsKeptMs(definition.name)
    void this.#context.callerMemory?.remember(this.number, this.#line, call, keptMs)
  }

  /** They want no calls from us. @returns whether that is written */
  wantsNoCalls(): Promise<boolean> {
    const { onDoNotCall, wallClock } = this.#context
    this.#unwantedMs ??= wallClock()
    if (this.number !== '' && onDoNotCall !== undefined)
      this.#unwantedKept = onDoNotCall(this.number, this.#unwantedMs, true)
    return this.#unwantedKept
  }

  /** Nobody is there, but a mailbox. @returns whether its number is off the do-not-call list again: not where it was on it before */
  async isMailbox(): Promise<boolean> {
    const sinceMs = this.#unwantedMs
    this.#unwantedMs = null
    if (sinceMs === null) return false
    await this.#unwantedKept
    return (await this.#context.onDoNotCall?.(this.number, sinceMs, false)) === true
  }

  /** Where they are remembered: no other business and no other agent learns of it. */
  get #line(): string {
    return lineOf(this.#call, this.#hosted())
  }
}
