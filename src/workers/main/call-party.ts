import type { CallLogEntry } from '../../call/documents/log-entry.js'
import type { CallRecord } from '../../call/documents/record.js'
import type { CallerValues } from '../../call/caller-data.js'
import { partyKey, sameNumber } from '../../sautikit/phone.js'
import { agentKeyOf, callerOf, ownNumberOf } from './call-start.js'
import type { NewCall } from './live-call.js'
import type { HostedAgent, MainThreadContext } from './main-thread-context.js'

/** The person on a call's line: what earlier calls have taught of them, what this call adds, and their wish for no more. */
export class CallParty {
  /** Empty where it is withheld. */
  readonly number: string
  /** `partyKey` of the number. */
  readonly key: string
  readonly #ours: string
  readonly #hosted: () => HostedAgent
  readonly #context: MainThreadContext

  /** @param hosted  the agent that has the call now */
  constructor(call: NewCall, hosted: () => HostedAgent, context: MainThreadContext) {
    this.number = callerOf(call)
    this.key = partyKey(this.number)
    this.#ours = ownNumberOf(call)
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
    this.#context.lines.found(this.key, agentKeyOf(this.#hosted()), values)
  }

  /** Their last call to this agent at this number of ours; null where nothing is remembered. */
  async recalled() {
    return (await this.#context.callerMemory?.recall(this.number, this.#line)) ?? null
  }

  /** Their next call knows the facts and the outcome of this one, where its agent asks for that. */
  remember({ outcome, facts }: CallRecord): void {
    const { definition } = this.#hosted()
    if (definition.caller?.memory !== true) return
    const known = Object.fromEntries(facts.map((fact) => [fact.name, fact.value]))
    const call = { endedWallMs: this.#context.wallClock(), outcome, facts: known }
    const keptMs = this.#context.recordsKeptMs(definition.name)
    void this.#context.callerMemory?.remember(this.number, this.#line, call, keptMs)
  }

  /** They want no calls from us. @returns whether that is written */
  async wantsNoCalls(): Promise<boolean> {
    return this.number !== '' && (await this.#context.onDoNotCall?.(this.number)) === true
  }

  /** Where they are remembered: no other business and no other agent learns of it. */
  get #line(): string {
    return `${this.#ours} ${this.#hosted().definition.name}`
  }
}
