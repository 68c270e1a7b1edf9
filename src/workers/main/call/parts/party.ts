import type { CallRecord } from '../../../../call/documents/record.js'
import { redactFacts, redactRecord } from '../../../../telemetry/archive/redaction.js'
import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import { lineOf, lookUpOf } from '../call-start.js'
import type { MainDoor } from '../main-door.js'
import type { MainPart, MainThings } from '../main-part.js'

type Of = Pick<MainThings, 'origin' | 'agent' | 'session' | 'stream' | 'consent' | 'context'>

/** The person on a call's line: what earlier calls have taught of them, what this call adds, and their wish for no more. */
export class CallParty implements MainPart {
  readonly #door: Pick<MainDoor, 'mark' | 'send'>
  readonly #of: Of
  /** When they first wanted no more calls: the second time the number is on the list already. Null: nobody has said so. */
  #unwantedMs: number | null = null
  #unwantedKept: Promise<boolean> = Promise.resolve(false)

  constructor(door: Pick<MainDoor, 'mark' | 'send'>, of: Of) {
    this.#door = door
    this.#of = of
  }

  readonly messages = {
    log: ({ entries }) => this.#of.context.lines.logged(this.#of.origin.key, entries),
    // Their line has nothing above the telephone's band, or has.
    'line-band': ({ narrow }) => this.#of.context.lines.heard(this.#of.origin.key, narrow),
    'caller-found': ({ values }) => {
      const { origin, agent, context } = this.#of
      context.lines.found(origin.key, lookUpOf(origin.call, agent.hosted), values)
    },
    'caller-recall': () =>
      void this.recalled().then((earlier) => this.#door.send({ type: 'caller-recalled', earlier })),
    'do-not-call': ({ callId }) =>
      void this.wantsNoCalls().then((kept) => this.#door.send({ type: 'do-not-call', callId, kept })),
    'do-not-call-undone': () =>
      void this.isMailbox().then((undone) => {
        if (undone) this.#door.mark('do-not-call-undone', 'a mailbox had said so')
      }),
  } satisfies Handlers<FromCall>

  /**
   * Their last call to this agent at this number of ours, with no more of its facts than records keep now; null where nothing is
   * remembered.
   */
  async recalled() {
    const earlier = (await this.#of.context.callerMemory?.recall(this.#of.origin.number, this.#line)) ?? null
    return earlier === null ? null : { ...earlier, facts: redactFacts(earlier.facts, this.#of.context.transcript) }
  }

  /**
   * The next verified call of the number knows the outcome of this one, in which its owner was verified, and of its facts what a record
   * keeps, where its agent asks for that. A mailbox is nobody's call.
   */
  recorded(record: CallRecord): void {
    const { origin, agent, session, stream, consent, context } = this.#of
    // Somebody else may have the phone: what its owner's last call left stays.
    if (session.identity === null || consent.refused || stream.openedMs === null) return
    const { callSid, outcome, outbound } = record
    const { transcript } = context
    const { definition } = agent
    if (definition.caller?.memory !== true || (outbound !== null && outbound.result !== 'person')) return
    const facts = transcript === 'none' ? [] : redactRecord(record, transcript).facts
    const known = Object.fromEntries(facts.map((fact) => [fact.name, fact.value]))
    const call = { callSid, endedWallMs: context.wallClock(), outcome, facts: known }
    const keptMs = context.recordsKeptMs(definition.name)
    void context.callerMemory?.remember(origin.number, this.#line, call, keptMs)
  }

  /** They want no calls from us. @returns whether that is written */
  wantsNoCalls(): Promise<boolean> {
    const { origin, context } = this.#of
    const { onDoNotCall, wallClock } = context
    this.#unwantedMs ??= wallClock()
    if (origin.number !== '' && onDoNotCall !== undefined)
      this.#unwantedKept = onDoNotCall(origin.number, this.#unwantedMs, true)
    return this.#unwantedKept
  }

  /** Nobody is there, but a mailbox. @returns whether its number is off the do-not-call list again: not where it was on it before */
  async isMailbox(): Promise<boolean> {
    const sinceMs = this.#unwantedMs
    this.#unwantedMs = null
    if (sinceMs === null) return false
    await this.#unwantedKept
    return (await this.#of.context.onDoNotCall?.(this.#of.origin.number, sinceMs, false)) === true
  }

  /** Where they are remembered: no other business and no other agent learns of it. */
  get #line(): string {
    return lineOf(this.#of.origin.call, this.#of.agent.hosted)
  }
}
