import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import { CALLER_SOURCE } from '../caller-data.js'
import type { FactOf } from '../facts.js'
import { isOfAStage, textOf } from '../tools/gateway-tools.js'

/**
 * Interval between checks if a stage whose time is over can end, in milliseconds. The gateway checks while the call is
 * not in conversation.
 */
const STAGE_POLL_MS = 1000
const STAGE_TIME_TEXT = 'The stage of this call has changed because its time was up: go on as the new instructions say.'

const HEARS = ['conversation-begins', 'caller-data', 'tool-settled'] as const

/**
 * Changes of the call's stage. `Stages` decides about the stage. This feature informs the model of changes, and acts if
 * a stage leads to a human.
 */
export class StageChanges extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['goToStage', 'followStage'] as const
  /** Reason for an escalation, if the call has entered a stage that leads to a human; null otherwise. */
  #humanDue: string | null = null

  due(name: DeadlineName): void {
    if (name === 'stage') this.#due()
  }

  hear(fact: FactOf<typeof HEARS>): void {
    if (fact.type === 'conversation-begins') this.#begin()
    else if (fact.type === 'caller-data') this.#result(CALLER_SOURCE, { ok: true, value: fact.value })
    else if (fact.type === 'tool-settled' && fact.stage) {
      const { ok, value, error } = fact
      this.#result(fact.name, { ok, value, ...(error === undefined ? {} : { error }) })
    }
  }

  #begin(): void {
    this.call.stages?.begin(this.call.streamMs)
    this.call.stages?.settle(this.call.streamMs)
    this.#changed()
    this.#timed()
  }

  /** Handles the model's `go_to_stage`. */
  goToStage(callId: string, args: Readonly<Record<string, unknown>>): void {
    const { stages } = this.call
    if (stages === null) return
    const refusal = stages.ask(args, this.call.streamMs)
    this.#changed()
    const { escalate } = stages.stage
    const summary = textOf(args['summary'])
    // This tool call is answered only if no human can be reached, like a call of `escalate_to_human`.
    if (refusal === null && escalate !== undefined && this.#humanDue !== null) {
      this.#humanDue = null
      if (this.call.ask('escalate', { reason: escalate, summary, origin: 'agent', toolCallId: callId })) return
    }
    const value = refusal === null ? { stage: stages.name } : { error: refusal }
    if (this.call.line.promised !== null)
      return void this.call.effects.ledger.result(callId, { ok: true, value, error: undefined })
    this.call.ask('answerTool', callId, refusal === null, value, refusal ?? undefined)
  }

  /** Handles the result of a tool, or the outcome of a pending tool. */
  #result(tool: string, result: { readonly ok: boolean; readonly value: unknown; readonly error?: string }): void {
    if (this.call.stages === null || !isOfAStage(tool)) return
    this.call.stages.result({ tool, ...result }, this.call.streamMs)
    this.#changed()
  }

  /** Leaves a stage whose time is up. */
  #due(): void {
    if (this.call.line.state !== 'live') return this.call.in('stage', STAGE_POLL_MS)
    this.call.stages?.settle(this.call.streamMs)
    if (!this.#changed() || this.followStage() || !this.call.model.usable) return
    this.call.model.tell(STAGE_TIME_TEXT, this.call.talk.allQuiet)
  }

  /** Informs the model of a change. @returns true if the stage has changed */
  #changed(): boolean {
    const { stages } = this.call
    const change = stages?.takeChange() ?? null
    if (stages === null || change === null) return false
    const summed = change === 'moved' && this.call.log.stages.at(-1)?.summary !== undefined
    this.call.out({ type: 'stage', ...(summed ? { forget: true } : {}) })
    this.call.changed()
    if (change === 'known') return false
    const { escalate = null, handoverTo, language } = stages.stage
    this.#humanDue = escalate
    if (handoverTo !== undefined) {
      const refusal = this.call.ask('handOver', handoverTo, this.call.log.stages.at(-1)?.summary ?? '')
      if (refusal !== null && this.call.model.usable) this.call.model.tell(refusal)
    }
    if (language !== undefined && this.call.language.set(language)) this.call.languageChanged()
    this.#timed()
    return true
  }

  /** Acts on a new stage that leads to a human. @returns true if the call is being escalated */
  followStage(): boolean {
    const reason = this.#humanDue
    this.#humanDue = null
    if (reason === null || this.call.line.state !== 'live') return false
    return this.call.ask('escalate', { reason, summary: '', origin: 'rule', toolCallId: null })
  }

  #timed(): void {
    const dueMs = this.call.stages?.dueMs ?? null
    if (dueMs === null) this.call.clear('stage')
    else this.call.deadlines.set('stage', this.call.streamZeroMs + dueMs)
  }
}
