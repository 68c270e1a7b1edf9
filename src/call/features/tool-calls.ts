import { assertNever } from '../../core/assert.js'
import { waitOf } from '../backend-events.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'
import { FILLER_POLL_MS, Fillers } from '../turns/fillers.js'
import { ESCALATE_TOOL, TOOL_NAME_CHARS_MAX, absence, isOfAStage, noTool, sessionTool } from '../tools/gateway-tools.js'
import type { ToolCallEvent } from '../requests.js'
import { CUT_OFF, UNCERTAIN } from '../tools/tool-ledger.js'
import type { ToolResult } from '../tools/tool-ledger.js'

const HEARS = [
  'turn-ended',
  'announce-failed',
  'agent-words',
  'model-audio',
  'model-holding',
  'caller-acts',
  'tool-pending',
  'conversation-continues',
  'tools-taken-back',
] as const

/**
 * Tool calls of the model, including calls of the gateway's own tools, and fillers while a tool runs.
 *
 *     tool-call --refused (unknown, invalid, too many)--> error to the model at once
 *     tool-call --tool of the agent--> run-tool; filler after afterMs of quiet; result to the model, exactly once
 *     tool-call --result arrives later--> see `PendingTools`; the model gets a first answer, and then the outcome
 *     tool-call --tool of the session--> see `SESSION_TOOLS`
 */
export class ToolCalls extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['takeTool', 'answerTool', 'watchTool', 'cancelTools'] as const
  /** Tool calls made by features of the gateway; the model does not receive their results. */
  readonly #own = new Set<string>()
  /** True if the model has called tools for too long and must now answer without tools. */
  #withheld = false
  readonly #fillers: Fillers
  /** Item of a filler whose sound has not begun; '' without such a filler. */
  #fillerId = ''

  constructor(call: CallKernel) {
    super(call)
    this.#fillers = new Fillers(call.options.filler)
  }

  due(name: DeadlineName): void {
    if (name === 'filler') this.#fillerDue()
    else if (name === 'tool-limit') this.#limitDue()
  }

  get busy(): boolean {
    return this.call.effects.running > 0
  }

  input(input: CallInput): boolean {
    if (input.type !== 'tool-result') return false
    this.answerTool(input.callId, input.ok, input.value, input.error)
    return true
  }

  checkpoint(): Pick<CallCheckpoint, 'toolsRunning'> {
    return { toolsRunning: this.call.effects.ledger.unanswered() }
  }

  hear(fact: FactOf<typeof HEARS>): void {
    switch (fact.type) {
      case 'turn-ended':
        return this.#turn(fact.atMs)
      case 'announce-failed':
        return fact.itemId === this.#fillerId ? this.#fillers.unheard() : undefined
      case 'agent-words':
        return fact.by === 'model' ? this.#fillers.modelSays(fact.text) : undefined
      case 'model-audio':
        return this.#cancelFiller()
      case 'model-holding':
        if (this.#fillers.none && !this.call.callerSpeech.speaking && !this.call.talk.bargeIn.undecided)
          this.#sayFiller()
        return
      case 'caller-acts':
        return this.call.clear('filler')
      case 'tool-pending':
        return this.call.effects.running === 0 ? this.call.clear('filler', 'tool-limit') : undefined
      case 'conversation-continues':
        return fact.after === 'escalation' && this.call.effects.running > 0
          ? this.call.in('filler', this.call.options.filler.afterMs)
          : undefined
      case 'tools-taken-back':
        return this.cancelTools(fact.callIds)
      default:
        return
    }
  }

  /** Acts on the end of a caller's turn. The model may call tools again, and a late answer gets a filler. */
  #turn(atMs: number): void {
    const { answerAfterMs = null } = this.call.options.filler
    this.#fillers.turn()
    this.call.effects.ledger.turn()
    if (this.#withheld) this.call.out({ type: 'backend-tools', offered: true })
    this.#withheld = false
    if (answerAfterMs !== null && this.call.effects.running === 0)
      this.call.deadlines.set('filler', atMs + answerAfterMs)
  }

  cancelTools(callIds: readonly string[] | 'all' | 'cut'): void {
    const { ledger } = this.call.effects
    if (callIds === 'cut') {
      this.#cancel(ledger.runningIds())
      return this.call.clear('tool-limit', 'filler')
    }
    if (callIds === 'all') {
      this.#cancel(ledger.runningIds().filter((callId) => !ledger.isEffect(callId)))
      const oldestMs = ledger.oldestStartMs()
      if (oldestMs === null) return this.call.clear('tool-limit', 'filler')
      return this.call.deadlines.set('tool-limit', oldestMs + this.call.options.toolLimitMs)
    }
    const effect = callIds.some((callId) => ledger.isEffect(callId))
    if (!this.#cancel(callIds)) return
    if (effect) this.call.tell({ type: 'effect-settled', end: 'uncertain', spoken: false })
    if (ledger.running === 0) this.call.clear('filler')
  }

  /** @returns true if at least one of the tool calls was running */
  #cancel(running: readonly string[]): boolean {
    const callIds = this.call.effects.ledger.cancel(running)
    if (callIds.length > 0) this.call.out({ type: 'cancel-tools', callIds })
    return callIds.length > 0
  }

  #sayFiller(): void {
    const phrase = this.#fillers.take()
    if (phrase !== null) this.#fillerId = this.call.talk.announce(this.call.text(phrase), 'filler')
  }

  /**
   * Cancels a filler because the answer came before the filler's sound began. If the cancellation was in time,
   * `announce-failed` follows.
   */
  #cancelFiller(): void {
    const itemId = this.#fillerId
    if (itemId === '' || this.call.agentSpeech.item(itemId)?.started !== false || !this.call.agentSpeech.isOpen(itemId))
      return
    this.call.out({ type: 'announce-cancel', itemId })
  }

  takeTool(event: ToolCallEvent): void {
    const { callId, name, args } = event
    const waited = waitOf(event)
    const fault =
      this.#faultOf(event) ?? this.call.effects.pending.refusal(name, Object.hasOwn(this.call.options.waits, name))
    if (fault !== null) return this.#refuse(event, fault)
    const handler = sessionTool(name)
    const decision = this.call.effects.ledger.call(callId, name, args, handler !== undefined, waited)
    switch (decision.type) {
      case 'refuse':
        return this.#refuse(event, decision.error)
      case 'ignore':
        return
      case 'answer':
        return this.call.out({ type: 'backend-tool-result', callId, ok: decision.ok, value: decision.value })
      case 'repeat':
        this.call.mark('tool-repeated', name)
        this.call.counters.toolCallsRefused++
        return this.call.out({ type: 'backend-tool-result', callId, ok: true, value: decision.value })
      case 'enough':
        if (!this.#withheld) this.call.out({ type: 'backend-tools', offered: false })
        this.#withheld = true
        return this.#refuse(event, decision.error)
      case 'run':
        break
      default:
        return assertNever(decision)
    }
    this.call.mark('tool-start', name)
    this.call.changed()
    if (handler !== undefined) return handler.run(this.call, callId, args)
    this.call.out({ type: 'run-tool', callId, name, args, occurrence: decision.occurrence })
    this.watchTool(waited !== 'failure')
  }

  watchTool(filled: boolean, ownCallId?: string): void {
    if (ownCallId !== undefined) this.#own.add(ownCallId)
    // If several tools run, the first tool determines the time of the filler. A time that was set before any tool ran
    // belongs to a late answer, and the first tool replaces it.
    if (filled && (this.call.effects.running === 1 || !this.call.deadlines.isSet('filler')))
      this.call.in('filler', this.call.options.filler.afterMs)
    if (!this.call.deadlines.isSet('tool-limit')) this.call.in('tool-limit', this.call.options.toolLimitMs)
  }

  /** @returns the fault of the tool call; null if the call is valid */
  #faultOf({ name, args, invalid }: ToolCallEvent): string | null {
    if (invalid !== undefined) return invalid
    const handler = sessionTool(name)
    const offered = this.call.options.toolNames.includes(name)
    const missing = handler !== undefined ? absence(handler, this.call) : offered ? null : noTool(name)
    if (missing !== null) return missing
    const elsewhere = isOfAStage(name) ? (this.call.stages?.refusal(name) ?? null) : null
    if (elsewhere !== null || handler === undefined) return elsewhere
    for (const key of ['reason', 'summary', 'number', 'note']) {
      const required = name === ESCALATE_TOOL && key === 'reason'
      if ((args[key] !== undefined || required) && typeof args[key] !== 'string') return `${key} must be a text.`
    }
    const fault = handler.fault?.(this.call, args) ?? null
    if (fault !== null) return fault
    if (this.call.line.state !== 'live' && this.call.line.state !== 'connecting')
      return 'The call is already being ended or handed over.'
    // A dialogue without a model says only the words of its file. Therefore the gateway itself waits for the effect and
    // announces the result.
    return handler.leaves === true && this.call.keypad.dialogue === null ? this.call.effects.refusal(name) : null
  }

  /**
   * True if the agent has left the conversation, because an end or a handover waits for running tools. The agent then
   * does not say anything more.
   */
  get #left(): boolean {
    const { line, effects } = this.call
    return line.promised !== null || effects.ledger.runningNames().some((name) => sessionTool(name)?.leaves === true)
  }

  #refuse({ callId, name, args, background }: ToolCallEvent, error: string): void {
    const shortName = name.slice(0, TOOL_NAME_CHARS_MAX)
    this.call.counters.toolCallsRefused++
    this.call.tell({ type: 'tool-refused', name, args })
    this.call.effects.ledger.refused(callId, shortName, args, this.call.streamMs, error)
    this.call.mark('tool-refused', `${shortName}: ${error}`)
    this.call.out({ type: 'backend-tool-result', callId, ok: false, value: { error } })
    // A model that only calls tools is not answering, so the deadline for the answer remains set.
    if (this.call.line.state === 'live' && background !== true && !this.#withheld) this.call.wait.forAnswer()
  }

  answerTool(callId: string, ok: boolean, value: unknown, error: string | undefined, recorded?: unknown): void {
    this.#answer(callId, { ok, value, error, recorded }, 'answered')
  }

  #answer(callId: string, result: ToolResult, end: 'answered' | 'overdue'): void {
    const { ok, error } = result
    const own = this.#own.delete(callId)
    const left = this.#left
    const answer = this.call.effects.ledger.result(callId, result, end)
    if (answer === null) {
      this.call.counters.toolResultsLate++
      return
    }
    this.call.mark('tool-end', answer.name)
    const { name, value } = answer
    if (this.call.effects.ledger.hasEffect(name)) {
      const { line, model, floor } = this.call
      const open = own || !floor.closed
      const spoken = line.state === 'live' && model.usable && open && !left && !answer.quiet
      this.call.tell({
        type: 'effect-settled',
        ...{ end: ok ? ('done' as const) : error === UNCERTAIN ? ('uncertain' as const) : ('failed' as const), spoken },
      })
    }
    // This fact is sent before the result, so that the model's answer to the result belongs to the new stage.
    this.call.tell({
      type: 'tool-settled',
      callId,
      name,
      ok,
      value,
      ...(error === undefined ? {} : { error }),
      stage: true,
    })
    if (this.call.effects.running === 0) this.call.clear('filler', 'tool-limit')
    if (own) return this.call.tell({ type: 'own-tool-settled', callId, ok: answer.ok, value, error })
    if (!this.call.model.usable) return
    this.call.out({ type: 'backend-tool-result', callId, ok: answer.ok, value: answer.value })
    // The model must speak about the result now, unless the result is marked as quiet or the model has left the
    // conversation.
    if (this.call.line.state === 'live' && !answer.quiet && !left) this.call.wait.forAnswer()
  }

  /** Ends tool calls whose results did not arrive in time. */
  #limitDue(): void {
    const { toolLimitMs } = this.call.options
    const overdue = this.call.effects.ledger.overdue(this.call.nowMs - toolLimitMs)
    if (overdue.length > 0) this.call.out({ type: 'cancel-tools', callIds: overdue })
    for (const callId of overdue) {
      const [said, error] = this.call.effects.ledger.isEffect(callId)
        ? [CUT_OFF, UNCERTAIN]
        : ['The tool did not answer in time.', 'no answer in time']
      this.#answer(callId, { ok: false, value: { error: said }, error }, 'overdue')
    }
    const oldestMs = this.call.effects.ledger.oldestStartMs()
    if (oldestMs !== null) this.call.deadlines.set('tool-limit', oldestMs + toolLimitMs)
  }

  /**
   * Says a filler, because a tool runs for long or the model's answer is late. The filler shows the caller that the
   * line works.
   */
  #fillerDue(): void {
    if (this.call.line.state !== 'live' || this.call.keypad.grants.has('digits')) return
    const runs = this.call.effects.running > 0
    const { answerAfterMs = null } = this.call.options.filler
    const late = answerAfterMs !== null && this.call.talk.turns.understood && !this.call.input.smallTalk
    if (!runs && !(late && this.#fillers.none)) return
    const waits = (runs && this.call.effects.ledger.awaited) || this.call.talk.turns.waiting
    if (!waits || this.call.talk.sounding || this.call.callerSpeech.speaking || this.call.talk.bargeIn.undecided)
      return this.call.in('filler', FILLER_POLL_MS)
    const quietMs = this.call.nowMs - this.call.talk.agentHeardAtMs
    const neededMs = this.#fillers.neededMs
    if (runs && quietMs < neededMs) return this.call.in('filler', neededMs - quietMs)
    this.#sayFiller()
    if (runs) this.call.in('filler', this.call.options.filler.everyMs)
  }
}
