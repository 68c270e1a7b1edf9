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
 * Data of the caller, from a look-up that runs beside the backend's connection.
 *
 *     open --answer--> known; the consent text, or the greeting, that waited begins
 *     open --withinMs after the webhook--> late; the first words begin without it, and an answer is still taken
 */
export class Caller extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['awaitCaller', 'tellCaller'] as const
  /** Waits for the look-up: the beginning of the call, or the conversation. */
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

  /** True if the first words wait; then they begin by themselves. */
  awaitCaller(next: 'converse' | 'begin'): boolean {
    const { caller, preparedAtMs } = this.call.options
    if (!this.call.person.open || caller === null || this.call.nowMs >= preparedAtMs + caller.withinMs) return false
    this.#held ??= next
    this.call.deadlines.set('caller', preparedAtMs + caller.withinMs)
    return true
  }

  /**
   * The conversation begins, or goes on: stages and the audit of claims learn what is known.
   * @returns whether that leads the call to a human or to another agent
   */
  tellCaller(): boolean {
    if (!this.#given()) return false
    this.call.tell({ type: 'caller-data', value: this.call.person.values })
    return this.call.ask('followStage') || this.call.line.promised !== null
  }

  /** The caller has proved who they are, and more may be said. Stages act on it with the result of that tool. */
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

  #answered({ state, from, values, earlier = NOTHING }: CallerAnswer): void {
    const { caller, preparedAtMs } = this.call.options
    const { person } = this.call
    if (caller === null || !person.open) return
    const ms = this.call.nowMs - preparedAtMs
    const late = ms > caller.withinMs && state !== 'withheld'
    const { source, of } = caller
    const { memoryOf } = caller
    // Another agent's look-up of the same source has found them: a second one that fails takes nothing back.
    const all = { ...person.known?.values, ...values }
    const as = { source, of, ...(memoryOf === undefined ? {} : { memoryOf }) }
    person.lookedUp({ ...as, from, state: late ? 'late' : state, ms, values: all, earlier })
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

  /** The call begins in the language of its caller. */
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
