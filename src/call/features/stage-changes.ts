import { Feature } from '../call-feature.js'
import type { CallFeature, DeadlineName } from '../call-feature.js'
import type { CallKernel } from '../call-kernel.js'
import { isOfAStage, textOf } from '../gateway-tools.js'
import { Stages } from '../stages.js'

/** A stage whose time is up is left this much later at the earliest, where the call is not in conversation. */
const STAGE_POLL_MS = 1000
const STAGE_TIME_TEXT = 'The stage of this call has changed because its time was up: go on as the new instructions say.'

/**
 * The stage that the call is in.
 *
 * `Stages` decides in which stage the call is. The session informs the model, and acts where a stage leads to a human.
 */
export class StageChanges extends Feature implements CallFeature {
  /** The stages of the call; null: it has none. */
  readonly machine: Stages | null
  /** The call has come into a stage that leads to a human, for this reason. */
  #humanDue: string | null = null

  constructor(call: CallKernel) {
    super(call)
    const { options, log, resume } = call
    this.machine =
      options.stages === null
        ? null
        : new Stages(
            options.stages,
            log,
            (entry) => {
              call.record(entry)
              if (entry.kind === 'fact') return call.mark('fact', entry.record.name)
              const { from, stage, why } = entry.record
              call.mark('stage', from === null ? stage : `${from} to ${stage}: ${why}`)
            },
            resume?.identity != null,
            resume?.callBack === 'asks',
            options.collections.flatMap(({ secretFor }) => secretFor?.tool ?? []),
          )
  }

  due(name: DeadlineName): void {
    if (name === 'stage') this.#due()
  }

  begin(): void {
    this.machine?.begin(this.call.streamMs)
    this.machine?.settle(this.call.streamMs)
    this.#changed()
    this.#timed()
  }

  /** The model has called `go_to_stage`. */
  asked(callId: string, args: Readonly<Record<string, unknown>>): void {
    const { machine: stages } = this
    if (stages === null) return
    const refusal = stages.ask(args, this.call.streamMs)
    this.#changed()
    const { escalate } = stages.stage
    const summary = textOf(args['summary'])
    // Answered only if no human can be reached, as the tool that asks for one.
    if (refusal === null && escalate !== undefined && this.#humanDue !== null) {
      this.#humanDue = null
      if (this.call.escalation.escalate({ reason: escalate, summary, origin: 'agent', toolCallId: callId })) return
    }
    const value = refusal === null ? { stage: stages.name } : { error: refusal }
    if (this.call.handover.to !== null)
      return void this.call.ledger.result(callId, { ok: true, value, error: undefined })
    this.call.tools.result(callId, refusal === null, value, refusal ?? undefined)
  }

  /** A tool has answered, or what it waited for is known. */
  result(tool: string, result: { readonly ok: boolean; readonly value: unknown; readonly error?: string }): void {
    if (this.machine === null || !isOfAStage(tool)) return
    this.machine.result({ tool, ...result }, this.call.streamMs)
    this.#changed()
  }

  /** It is time to leave the stage. */
  #due(): void {
    if (this.call.state !== 'live') return this.call.in('stage', STAGE_POLL_MS)
    this.machine?.settle(this.call.streamMs)
    if (!this.#changed() || this.escalates() || !this.call.backend.usable) return
    this.call.tellModel(STAGE_TIME_TEXT, this.call.allQuiet)
  }

  /** Informs the model of a change. @returns whether the stage is another now */
  #changed(): boolean {
    const { machine: stages } = this
    const change = stages?.takeChange() ?? null
    if (stages === null || change === null) return false
    const summed = change === 'moved' && this.call.log.stages.at(-1)?.summary !== undefined
    this.call.out({ type: 'stage', ...(summed ? { forget: true } : {}) })
    this.call.changed()
    if (change === 'known') return false
    const { escalate = null, handoverTo, language } = stages.stage
    this.#humanDue = escalate
    if (handoverTo !== undefined) {
      const refusal = this.call.handover.handOver(handoverTo, this.call.log.stages.at(-1)?.summary ?? '')
      if (refusal !== null && this.call.backend.usable) this.call.tellModel(refusal)
    }
    if (language !== undefined && this.call.language.set(language)) this.call.words.languageChanged()
    this.#timed()
    return true
  }

  /** The stage that the call came into leads to a human. @returns whether one is being reached */
  escalates(): boolean {
    const reason = this.#humanDue
    this.#humanDue = null
    if (reason === null || this.call.state !== 'live') return false
    return this.call.escalation.escalate({ reason, summary: '', origin: 'rule', toolCallId: null })
  }

  #timed(): void {
    const dueMs = this.machine?.dueMs ?? null
    if (dueMs === null) this.call.clear('stage')
    else this.call.deadlines.set('stage', this.call.streamZeroMs + dueMs)
  }
}
