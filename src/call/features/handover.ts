import { Feature } from '../feature.js'
import { QUIET_POLL_MS, WORDS_HEARD_MS_MAX } from '../call-deadlines.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { FactOf } from '../facts.js'
import { HANDOVER_TOOL } from '../tools/gateway-tools.js'

/** Maximum number of handovers between agents in one call. After this number the call stays with its agent. */
const HANDOVERS_MAX = 4
/** Maximum length of an agent's message to the next agent, in characters. */
const SUMMARY_CHARS_MAX = 300

const HEARS = ['conversation-begins'] as const

/**
 * Handover of the call to another agent, which continues it.
 *
 *     live --hand_over, a stage with handoverTo--> the words so far are heard --> `handover`, the last output
 *
 * The handover waits while the call is not live: during a recording, the search for a human, or a goodbye that can be
 * cancelled. It also waits for tools with an effect.
 *
 * The new agent continues the call from the checkpoint, as a new worker does after a worker has died. Until the
 * handover the checkpoint contains the promise, so that a new worker keeps the promise. The record contains only
 * handovers that took place.
 */
export class Handover extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['handOver'] as const
  #promised: CallCheckpoint['handover']
  #limitMs = 0
  /** True if the handover waited because the call was not live. */
  #heldUp = false

  constructor(call: CallKernel) {
    super(call)
    this.#promise(call.resume?.handover)
    if (call.line.promised !== null) this.call.in('handover', QUIET_POLL_MS)
  }

  hear(fact: FactOf<typeof HEARS>): void {
    if (fact.type === 'conversation-begins') this.#tellGone()
  }

  #promise(promised: CallCheckpoint['handover']): void {
    this.#promised = promised
    this.call.line.promise(promised === undefined || promised.gone === true ? null : promised.to)
  }

  /** Informs the model that the promised agent no longer exists. */
  #tellGone(): void {
    const promised = this.#promised
    if (promised?.gone !== true) return
    this.#promise(undefined)
    const error = `${promised.to} cannot have this call. Say so, and go on yourself, or offer a human.`
    const asked = this.call.log.toolCalls.findLast(({ record: { name } }) => name === HANDOVER_TOOL)
    if (asked !== undefined)
      this.call.out({ type: 'backend-tool-result', callId: asked.callId, ok: false, value: { error } })
    this.call.model.tell(error)
  }

  checkpoint(): Pick<CallCheckpoint, 'handover'> {
    return this.#promised === undefined ? {} : { handover: this.#promised }
  }

  due(name: DeadlineName): void {
    if (name === 'handover') this.#due()
  }

  /** @returns the reason why the call stays with this agent; null if the call moves */
  handOver(to: string, summary: string): string | null {
    if (this.call.log.handovers.length >= HANDOVERS_MAX)
      return `This caller was handed over ${HANDOVERS_MAX} times already: go on yourself, or offer a human.`
    if (this.call.line.promised !== null) return 'The call is already being handed over.'
    this.#promise({ to, summary: summary.trim().slice(0, SUMMARY_CHARS_MAX) })
    this.call.changed()
    this.call.tell({ type: 'agent-promised' })
    this.#heldUp = this.call.line.state !== 'live' || this.call.ask('awaitEffects')
    if (!this.#heldUp) this.#endConversation()
    this.#limitMs = this.call.nowMs + WORDS_HEARD_MS_MAX
    this.call.in('handover', QUIET_POLL_MS)
    return null
  }

  /** Ends this agent's part. The agent does not answer any more, and its running tools are cut off. */
  #endConversation(): void {
    this.call.ask('cancelTools', 'cut')
    this.call.line.handOver()
  }

  #due(): void {
    if (this.#promised === undefined) return
    if (this.call.line.state !== 'live' || this.call.ask('awaitEffects')) {
      // Another agent must not take over during a recording, the search for a human, or a goodbye, or while an effect
      // is running. That agent gets the call when the conversation continues and all effects have ended.
      this.#limitMs = this.call.nowMs + WORDS_HEARD_MS_MAX
      this.#heldUp = true
      return this.call.in('handover', QUIET_POLL_MS)
    }
    // The reason for the delay has ended, and this agent can speak again.
    if (this.#heldUp) this.#endConversation()
    this.#heldUp = false
    const { talk, agentSpeech, input } = this.call
    const speaks = talk.sounding || talk.bargeIn.undecided || agentSpeech.responding !== null || input.expected
    if (speaks && this.call.nowMs < this.#limitMs) return this.call.in('handover', QUIET_POLL_MS)
    this.call.talk.settleBargeIn()
    this.call.transcript.close(this.call.streamMs)
    this.call.tell({ type: 'conversation-over' })
    const { streamMs: atMs, options } = this.call
    this.call.out({ type: 'handover', record: { atMs, from: options.agent, ...this.#promised } })
  }
}
