import type { BackendEvent } from './backend-events.js'
import type { CallCore } from './call-core.js'
import type { Ending } from './ending.js'
import { CALLBACK_TOOL, END_CALL_TOOL, ESCALATE_TOOL, isBuiltIn } from './gateway-tools.js'
import type { Handover } from './transfer.js'

type ToolCallEvent = Extract<BackendEvent, { readonly type: 'tool-call' }>

/** How soon a filler is thought of again while somebody speaks. */
const FILLER_POLL_MS = 100

/**
 * Takes the model's tool calls: runs the agent's tools outside, carries the gateway's own out here, and keeps the
 * caller company while one is slow. `ToolLedger` holds what each call's state is.
 *
 *     tool-call --refused (unknown, invalid, too many)--> error to the model at once
 *     tool-call --the agent's--> run-tool; filler after afterMs of quiet; result to the model, exactly once
 *     tool-call --escalate_to_human--> Handover; answered only when it fails
 *     tool-call --request_callback--> CallbackOffer; answered at once
 *     tool-call --end_call--> Ending; answered only when the caller speaks up
 */
export class ToolDesk {
  readonly #core: CallCore
  readonly #ending: Ending
  readonly #handover: Handover
  /** Fillers since the tools that run now began, and the text whose turn it is. */
  #spoken = 0
  #next = 0

  constructor(core: CallCore, ending: Ending, handover: Handover) {
    this.#core = core
    this.#ending = ending
    this.#handover = handover
  }

  call(event: ToolCallEvent): void {
    const core = this.#core
    const gateway = isBuiltIn(event.name)
    const fault = this.#faultOf(event, gateway)
    if (fault !== null) return this.#refuse(event, fault)
    const decision = core.tools.call(event.callId, event.name, event.args, core.nowMs, gateway)
    switch (decision.type) {
      case 'refuse':
        return this.#refuse(event, decision.error)
      case 'ignore':
        return
      case 'answer':
        core.out({ type: 'backend-tool-result', callId: event.callId, ok: decision.ok, value: decision.value })
        return
      case 'run':
        core.mark('tool-start', event.name)
        core.checkpointDue = true
        if (event.name === ESCALATE_TOOL) return this.#escalate(event)
        if (event.name === END_CALL_TOOL) return this.#endCall(event)
        if (event.name === CALLBACK_TOOL) return this.#callBack(event)
        core.out({
          type: 'run-tool', callId: event.callId, name: event.name, args: event.args,
          idempotencyKey: decision.idempotencyKey,
        })
        if (!core.deadlines.isSet('filler')) {
          this.#spoken = 0
          core.in('filler', core.options.filler.afterMs)
        }
        if (!core.deadlines.isSet('tool-limit')) core.in('tool-limit', core.options.toolLimitMs)
        return
      default: {
        const never: never = decision
        return never
      }
    }
  }

  result(callId: string, ok: boolean, value: unknown, error: string | undefined, end: 'answered' | 'overdue' = 'answered'): void {
    const core = this.#core
    const answer = core.tools.result(callId, { ok, value, error }, core.nowMs, core.streamZeroMs, end)
    if (answer === null) return
    core.mark('tool-end', answer.name)
    core.checkpointDue = true
    if (core.tools.running === 0) {
      core.deadlines.clear('filler')
      core.deadlines.clear('tool-limit')
    }
    if (!core.backendUsable) return
    core.out({ type: 'backend-tool-result', callId, ok: answer.ok, value: answer.value })
    // The model must say something now, whatever it heard.
    if (core.state === 'live') core.in('answer', core.options.answerTimeoutMs)
  }

  /** The backend takes tool calls back. */
  cancel(callIds: readonly string[]): void {
    const core = this.#core
    const cancelled = core.tools.cancel(callIds, core.nowMs, core.streamZeroMs)
    if (cancelled.length === 0) return
    core.out({ type: 'cancel-tools', callIds: cancelled })
    if (core.tools.running === 0) core.deadlines.clear('filler')
    core.checkpointDue = true
  }

  /** Gives up on tools that never came back. */
  limitDue(): void {
    const core = this.#core
    const overdue = core.tools.overdue(core.nowMs - core.options.toolLimitMs)
    if (overdue.length > 0) core.out({ type: 'cancel-tools', callIds: overdue })
    for (const callId of overdue) {
      this.result(callId, false, { error: 'The tool did not answer in time.' }, 'no answer in time', 'overdue')
    }
    const oldestMs = core.tools.oldestStartMs()
    if (oldestMs !== null) core.deadlines.set('tool-limit', oldestMs + core.options.toolLimitMs)
  }

  fillerDue(): void {
    const core = this.#core
    const { texts, afterMs, everyMs } = core.options.filler
    if (core.state !== 'live' || core.tools.running === 0 || texts.length === 0) return
    if (core.sounding || core.speech.speaking || core.bargeIn.paused) return core.in('filler', FILLER_POLL_MS)
    const quietMs = core.nowMs - core.agentHeardAtMs
    const neededMs = this.#spoken > 0 ? everyMs : afterMs
    if (quietMs < neededMs) return core.in('filler', neededMs - quietMs)
    this.#spoken++
    core.announce(texts[this.#next++ % texts.length] as string, 'filler')
    core.in('filler', everyMs)
  }

  /** The goodbye was taken back: the model must know that the call goes on. */
  endTakenBack(callId: string): void {
    this.result(callId, false, { error: 'The caller spoke up; the call goes on.' }, 'taken back')
  }

  #faultOf(event: ToolCallEvent, gateway: boolean): string | null {
    const core = this.#core
    if (event.invalid !== undefined) return event.invalid
    if (!gateway) {
      return core.options.toolNames.includes(event.name) ? null : `There is no tool named ${event.name.slice(0, 64)}.`
    }
    const required = event.name === ESCALATE_TOOL ? ['reason'] : []
    for (const key of ['reason', 'summary', 'number', 'note']) {
      const value = event.args[key]
      if (value === undefined && !required.includes(key)) continue
      if (typeof value !== 'string') return `${key} must be a text.`
    }
    if (event.name !== END_CALL_TOOL && core.options.escalation === null) {
      return 'No human can be reached from this line.'
    }
    if (core.state !== 'live' && core.state !== 'connecting') return 'The call is already being ended or handed over.'
    return null
  }

  #refuse(event: ToolCallEvent, error: string): void {
    const core = this.#core
    core.counters.toolCallsRefused++
    core.tools.refused(event.callId, event.name.slice(0, 64), event.args, core.streamMs, error)
    core.mark('tool-refused', `${event.name.slice(0, 64)}: ${error}`)
    core.out({ type: 'backend-tool-result', callId: event.callId, ok: false, value: { error } })
    if (core.state === 'live') core.in('answer', core.options.answerTimeoutMs)
  }

  #escalate(event: ToolCallEvent): void {
    const { reason, summary } = event.args
    this.#handover.start({
      reason: String(reason),
      summary: typeof summary === 'string' ? summary : '',
      origin: 'agent',
      toolCallId: event.callId,
    })
  }

  #callBack(event: ToolCallEvent): void {
    const { number, note } = event.args
    const fault = this.#handover.callback.request(typeof number === 'string' ? number : null, typeof note === 'string' ? note : '')
    this.result(event.callId, fault === null, fault === null ? { noted: true } : { error: fault }, fault ?? undefined)
  }

  #endCall(event: ToolCallEvent): void {
    const { reason } = event.args
    this.#ending.endAfterSpeech(typeof reason === 'string' ? reason : '', this.#core.options.goodbyeText, event.callId)
  }
}
