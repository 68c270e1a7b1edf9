import { Feature } from '../call-feature.js'
import type { CallFeature, DeadlineName } from '../call-feature.js'
import type { CallKernel } from '../call-kernel.js'
import { CALLER_SOURCE } from '../caller-data.js'
import type { CallerAnswer, CallerValues, KnownCaller } from '../caller-data.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { CallInput } from '../events.js'

const NOTHING: CallerValues = {}

/**
 * Data of the caller, from a look-up that runs beside the backend's connection.
 *
 *     open --answer--> known; a greeting that waited begins
 *     open --withinMs after the webhook--> late; the greeting begins without it, and an answer is still taken
 */
export class Caller extends Feature implements CallFeature {
  known: KnownCaller | null
  /** The greeting waits for the look-up. */
  #held = false

  constructor(call: CallKernel) {
    super(call)
    const { source, of } = call.options.caller ?? {}
    const kept = call.resume?.caller
    this.known = kept !== undefined && kept.source === source && kept.of === of ? kept : null
  }

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
    return this.known === null ? {} : { caller: this.known }
  }

  /** The look-up has no answer yet. */
  get open(): boolean {
    return this.call.options.caller !== null && this.known === null
  }

  /** Values that may be said to this caller now. */
  get values(): CallerValues {
    const { options, identity } = this.call
    if (this.known === null) return NOTHING
    if (identity !== null) return { ...this.earlier, ...this.known.values }
    const { personal = [] } = options.caller ?? {}
    return Object.fromEntries(Object.entries(this.known.values).filter(([name]) => !personal.includes(name)))
  }

  /** Values that an earlier call of this number has left: nothing before the caller has proved to be its owner. */
  get earlier(): CallerValues {
    return this.call.identity === null ? NOTHING : (this.known?.earlier ?? NOTHING)
  }

  /** True if the greeting waits; then it begins by itself. */
  holdsGreeting(): boolean {
    const { caller, preparedAtMs } = this.call.options
    if (!this.open || caller === null || this.call.nowMs >= preparedAtMs + caller.withinMs) return false
    this.#held = true
    this.call.deadlines.set('caller', preparedAtMs + caller.withinMs)
    return true
  }

  /**
   * The conversation begins, or goes on: stages and the audit of claims learn what is known.
   * @returns whether that leads the call to a human or to another agent
   */
  tell(): boolean {
    if (!this.#given()) return false
    this.call.stages.result(CALLER_SOURCE, { ok: true, value: this.values })
    return this.call.stages.escalates() || this.call.handover.to !== null
  }

  /** The caller has proved who they are, and more may be said. Stages act on it with the result of that tool. */
  identified(): void {
    const { personal = [] } = this.call.options.caller ?? {}
    if ((personal.length === 0 && Object.keys(this.earlier).length === 0) || !this.#given()) return
    this.call.out({ type: 'caller' })
    this.call.stages.machine?.result({ tool: CALLER_SOURCE, ok: true, value: this.values }, this.call.streamMs)
  }

  #given(): boolean {
    const values = Object.values(this.values)
    this.call.claims.audit?.given(values.join('; '), false)
    return values.length > 0
  }

  #answered({ state, from, values, earlier = NOTHING }: CallerAnswer): void {
    const { caller, preparedAtMs } = this.call.options
    if (caller === null || this.known !== null) return
    const ms = this.call.nowMs - preparedAtMs
    const late = ms > caller.withinMs && state !== 'withheld'
    const { source, of } = caller
    this.known = { source, of, from, state: late ? 'late' : state, ms, values, earlier }
    const fields = Object.keys({ ...values, ...earlier })
    const what = fields.length === 0 ? '' : `: ${fields.join(', ')}`
    this.call.mark('caller-known', `${state}${late ? ', late' : ''} by ${from} after ${Math.round(ms)} ms${what}`)
    this.call.changed()
    if (fields.length > 0) {
      if (!this.call.greeting.done) this.#speak(caller.language)
      this.call.out({ type: 'caller' })
      if (this.call.state === 'live') this.tell()
    }
    this.#letGo()
  }

  /** The call begins in the language of its caller. */
  #speak(field: string | null): void {
    const wanted = field === null ? undefined : this.values[field]
    if (typeof wanted !== 'string' || !this.call.language.set(wanted)) return
    this.call.language.answered()
    this.call.words.languageChanged()
  }

  #letGo(): void {
    this.call.clear('caller')
    if (!this.#held) return
    this.#held = false
    const { state, backend, opening } = this.call
    if (state === 'connecting' && backend.usable && !opening.amd) opening.begin()
  }
}
