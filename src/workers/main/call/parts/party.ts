import { ownerOf } from '../../../../call/owner.js'
import type { CallRecord } from '../../../../call/documents/record.js'
import { redactFacts, redactRecord } from '../../../../telemetry/archive/redaction.js'
import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import { lineOf, lookUpOf } from '../call-start.js'
import type { MainDoor } from '../main-door.js'
import type { MainPart, MainThings } from '../main-part.js'

type Of = Pick<MainThings, 'origin' | 'agent' | 'session' | 'stream' | 'consent' | 'context'>

/** Person on a call's line: facts from earlier calls, facts from this call, and the person's wish for no more calls. */
export class CallParty implements MainPart {
  readonly #door: Pick<MainDoor, 'mark' | 'send'>
  readonly #of: Of
  /**
   * Time in ms of the person's first wish for no more calls; null without such a wish. A second wish does not change
   * the time.
   */
  #unwantedMs: number | null = null
  #unwantedKept: Promise<boolean> = Promise.resolve(false)

  constructor(door: Pick<MainDoor, 'mark' | 'send'>, of: Of) {
    this.#door = door
    this.#of = of
  }

  readonly messages = {
    log: ({ entries }) => this.#of.context.lines.logged(this.#of.origin.key, entries),
    // Remembers if the caller's line carries only the telephone's band.
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
   * The person's last call to this agent at this number of ours; null if nothing is remembered. Facts that records may
   * not contain now are left out.
   */
  async recalled() {
    const earlier = (await this.#of.context.callerMemory?.recall(this.#of.origin.number, this.#line)) ?? null
    return earlier === null ? null : { ...earlier, facts: redactFacts(earlier.facts, this.#of.context.transcript) }
  }

  /**
   * Remembers this call's outcome for the next verified call of this number, if the agent's file requests it. Facts are
   * masked as in records. Only calls with a person on the line are remembered.
   */
  recorded(record: CallRecord): void {
    const { origin, agent, session, stream, consent, context } = this.#of
    // An unverified person may not be the phone's owner. The memory of the owner's last call stays.
    if (session.identity === null || consent.refused || stream.openedMs === null) return
    const { callSid, outcome, outbound } = record
    const { transcript } = context
    const { definition } = agent
    if (definition.caller?.memory !== true || (outbound !== null && outbound.result !== 'person')) return
    const facts = transcript === 'none' ? [] : redactRecord(record, transcript).facts
    const known = Object.fromEntries(facts.map((fact) => [fact.name, fact.value]))
    const owner = ownerOf(session.identity)
    const call = { callSid, endedWallMs: context.wallClock(), outcome, facts: known, owner }
    const keptMs = context.recordsKeptMs(definition.name)
    void context.callerMemory?.remember(origin.number, this.#line, call, keptMs)
  }

  /** Puts the person's number on the do-not-call list. @returns true if the entry is stored */
  wantsNoCalls(): Promise<boolean> {
    const { origin, context } = this.#of
    const { onDoNotCall, wallClock } = context
    this.#unwantedMs ??= wallClock()
    if (origin.number !== '' && onDoNotCall !== undefined)
      this.#unwantedKept = onDoNotCall(origin.number, this.#unwantedMs, true)
    return this.#unwantedKept
  }

  /**
   * Handles a mailbox that answered in place of a person.
   * @returns true if its number was taken off the do-not-call list; false if the number was on the list before this
   * call
   */
  async isMailbox(): Promise<boolean> {
    const sinceMs = this.#unwantedMs
    this.#unwantedMs = null
    if (sinceMs === null) return false
    await this.#unwantedKept
    return (await this.#of.context.onDoNotCall?.(this.#of.origin.number, sinceMs, false)) === true
  }

  /**
   * Key of the person's line for one business and agent. Other businesses and agents do not see the facts stored under
   * it.
   */
  get #line(): string {
    return lineOf(this.#of.origin.call, this.#of.agent.hosted)
  }
}
