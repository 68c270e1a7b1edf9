import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import { CALLER_SOURCE } from '../caller-data.js'
import type { CallerAnswer, CallerValues } from '../caller-data.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'

const NOTHING: CallerValues = {}

const HEARS = ['identified'] as const

/**
 * Data of the caller, from a look-up that runs while the backend connects.
 *
 *     open --answer--> known; the waiting consent text or greeting begins
 *     open --withinMs after the webhook--> late; the first words begin without the answer, which may still arrive
 */
export class Caller extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['awaitCaller', 'tellCaller'] as const
  /** Step of the call that waits for the look-up: the call's beginning, or the conversation; null if no step waits. */
  #held: 'converse' | 'begin' | null = null

  due(name: DeadlineName): void {
    if (name !== 'caller') return
    this.call.mark('caller-late', `no answer ${this.call.options.caller?.withinMs ?? 0} ms after the webhook`)
    this.#letGo()
  }

  input(input: CallInput): boolean {
    if (input.type !== 'caller-known') return false
    this.#answered(input)
    return true
  }

  checkpoint(): Pick<CallCheckpoint, 'caller'> {
    return this.call.person.known === null ? {} : { caller: this.call.person.known }
  }

  hear(fact: FactOf<typeof HEARS>): void {
    if (fact.type === 'identified') this.#identified()
  }

  /**
   * Delays the first words until the look-up is complete. They then begin without a further request.
   * @returns false if the first words need not wait
   */
  awaitCaller(next: 'converse' | 'begin'): boolean {
    const { caller, preparedAtMs } = this.call.options
    if (!this.call.person.open || caller === null || this.call.nowMs >= preparedAtMs + caller.withinMs) return false
    this.#held ??= next
    this.call.deadlines.set('caller', preparedAtMs + caller.withinMs)
    return true
  }

  /**
   * Passes the caller's data to stages and claims when the conversation begins or continues.
   * @returns true if the data moves the call to a human or to another agent
   */
  tellCaller(): boolean {
    if (!this.#given()) return false
    this.call.tell({ type: 'caller-data', value: this.call.person.values })
    return this.call.ask('followStage') || this.call.line.promised !== null
  }

  /**
   * Acts on a proven identity: the agent may now say more of the caller's data. Stages receive this data now, and act
   * on it together with the tool's result.
   */
  #identified(): void {
    const { personal = [] } = this.call.options.caller ?? {}
    if ((personal.length === 0 && Object.keys(this.call.person.earlier).length === 0) || !this.#given()) return
    this.call.out({ type: 'caller' })
    this.call.stages?.result({ tool: CALLER_SOURCE, ok: true, value: this.call.person.values }, this.call.streamMs)
  }

  #given(): boolean {
    const values = Object.values(this.call.person.values)
    this.call.tell({ type: 'model-given', text: values.join('; '), ofCaller: false })
    return values.length > 0
  }

  #answered({ state, from, values, earlier = NOTHING, owner }: CallerAnswer): void {
    const { caller, preparedAtMs } = this.call.options
    const { person } = this.call
    if (caller === null || !person.open) return
    const ms = this.call.nowMs - preparedAtMs
    const late = ms > caller.withinMs && state !== 'withheld'
    const { source, of } = caller
    const { memoryOf } = caller
    // Another agent's look-up of this source has already found values. If this second look-up fails, these values are
    // kept.
    const all = { ...person.known?.values, ...values }
    const as = { source, of, ...(memoryOf === undefined ? {} : { memoryOf }) }
    const ofOwner = owner === undefined ? {} : { owner }
    person.lookedUp({ ...as, from, state: late ? 'late' : state, ms, values: all, earlier, ...ofOwner })
    const fields = Object.keys({ ...values, ...earlier })
    const what = fields.length === 0 ? '' : `: ${fields.join(', ')}`
    this.call.mark('caller-known', `${state}${late ? ', late' : ''} by ${from} after ${Math.round(ms)} ms${what}`)
    this.call.changed()
    if (fields.length > 0) {
      if (!this.call.person.greeted) this.#speak(caller.language)
      this.call.out({ type: 'caller' })
      if (this.call.line.state === 'live') this.tellCaller()
    }
    this.#letGo()
  }

  /** Sets the caller's language when the call begins. */
  #speak(field: string | null): void {
    const wanted = field === null ? undefined : this.call.person.values[field]
    if (typeof wanted !== 'string' || !this.call.language.set(wanted)) return
    this.call.language.answered()
    this.call.languageChanged()
  }

  #letGo(): void {
    this.call.clear('caller')
    const next = this.#held
    this.#held = null
    const { line, model } = this.call
    if (next === null || line.state !== 'connecting' || line.inAmd) return
    if (next === 'converse' || model.usable) this.call.ask(next)
  }
}
