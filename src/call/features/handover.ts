import { Feature } from '../feature.js'
import { QUIET_POLL_MS, WORDS_HEARD_MS_MAX } from '../call-deadlines.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { FactOf } from '../facts.js'
import { HANDOVER_TOOL } from '../tools/gateway-tools.js'

/** Handovers between agents in one call; then they stay with the one that they have. */
const HANDOVERS_MAX = 4
/** Characters of what an agent says to the next. */
const SUMMARY_CHARS_MAX = 300

const HEARS = ['conversation-begins'] as const

/**
 * The handover to another agent, who goes on with the call.
 *
 *     live --hand_over, a stage with handoverTo--> the words so far are heard --> `handover`, the last output
 *
 * It waits while the call is not live: for the end of a recording, a human who is tried, a goodbye that may be taken back. It also
 * waits for tools with an effect.
 * Another worker's half of the call goes on from the checkpoint, as after a worker's death, with the other agent. Until then the
 * promise is in the checkpoint, and a worker that goes on with the call keeps it. The record has a handover that took place.
 */
export class Handover extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['handOver'] as const
  #promised: CallCheckpoint['handover']
  #limitMs = 0
  /** The call was not live. */
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

  /** The model learns that the agent whom it has promised is gone. */
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

  /** @returns why the call stays with this agent; null when it goes */
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

  /** This agent answers nobody any more, and its tools do nothing. */
  #endConversation(): void {
    this.call.ask('cancelTools', 'cut')
    this.call.line.handOver()
  }

  #due(): void {
    if (this.#promised === undefined) return
    if (this.call.line.state !== 'live' || this.call.ask('awaitEffects')) {
      // A recording is heard out, a human is tried, or the agent says goodbye: no other agent may have that. Whoever is there
      // when the conversation goes on gets the agent who was promised. A tool with an effect settles before.
      this.#limitMs = this.call.nowMs + WORDS_HEARD_MS_MAX
      this.#heldUp = true
      return this.call.in('handover', QUIET_POLL_MS)
    }
    // Whatever had held it up has given the word back to this agent.
    if (this.#heldUp) this.#endConversation()
    this.#heldUp = false
    const { talk, agentSpeech, input } = this.call
    const speaks = talk.sounding || talk.bargeIn.paused || agentSpeech.responding !== null || input.expected
    if (speaks && this.call.nowMs < this.#limitMs) return this.call.in('handover', QUIET_POLL_MS)
    this.call.talk.settleBargeIn()
    this.call.transcript.close(this.call.streamMs)
    this.call.tell({ type: 'conversation-over' })
    const { streamMs: atMs, options } = this.call
    this.call.out({ type: 'handover', record: { atMs, from: options.agent, ...this.#promised } })
  }
}
