import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import { NO_DIGIT, YES_DIGIT } from '../escalation-rules.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'
import { failedTools } from '../tools/failed-tools.js'
import { ESCALATE_TOOL, isOffered } from '../tools/gateway-tools.js'
import { isClosing } from '../spoken/closing-cues.js'
import { isYesNo, saysNo } from '../turns/turn-words.js'

/** Time for the caller to answer the offer by digit or in words, in milliseconds. Callers think for 3 to 5 s. */
const ANSWER_MS = 8000

interface Offer {
  /** Names of the tools that failed. */
  readonly tools: string
  /** Item of the question. */
  readonly itemId: string
  /** Tool call that requested the end; null without one. */
  readonly toolCallId: string | null
  /** The end that the agent requested. */
  readonly end: () => void
}

const HEARS = ['caller-turn', 'put-on-hold', 'recording-found', 'line'] as const

/**
 * Offer of a human before the agent's end of a call in which a tool failed. It does not depend on the model or the
 * dialogue, which may not offer a human. The offer is made once in a call.
 *
 *     offered --digit 1, or yes-->               escalation
 *     offered --digit 2, no, or ANSWER_MS-->     the end that the agent requested
 *     offered --other words, a hold, or an escalation--> the end is cancelled
 */
export class HumanOffer extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['offerHuman'] as const
  /** Null without an open offer. */
  #offer: Offer | null = null
  #wasMade = false

  due(name: DeadlineName): void {
    if (name === 'human-offer') this.#declined('no answer')
  }

  get busy(): boolean {
    return this.#offer !== null
  }

  input(input: CallInput): boolean {
    if (this.#offer === null || input.type !== 'dtmf') return false
    if (input.digit === YES_DIGIT) this.#accepted('digit')
    else if (input.digit === NO_DIGIT) this.#declined('digit')
    else return false
    return true
  }

  hear(fact: FactOf<typeof HEARS>): void {
    if (this.#offer === null) return
    if (fact.type === 'recording-found') return this.#declined('a recording')
    // The caller does not hear the offer.
    if (fact.type === 'put-on-hold') return this.#continue()
    if (fact.type === 'line') return fact.to === 'escalating' ? this.#continue() : undefined
    if (saysNo(fact.text) || isClosing(fact.text)) this.#declined('words')
    else if (isYesNo(fact.text)) this.#accepted('words')
    else this.#continue()
  }

  offerHuman(toolCallId: string | null, end: () => void): boolean {
    const { line, log, options } = this.call
    const text = this.call.text(options.escalation?.toolFailedText)
    if (this.#wasMade || line.state !== 'live' || line.promised !== null || line.human !== null) return false
    if (text === '' || !isOffered(ESCALATE_TOOL, this.call)) return false
    const tools = failedTools(log.toolCalls).join(', ')
    if (tools === '') return false
    this.#wasMade = true
    this.call.keypad.grants.take('human')
    this.#offer = { tools, itemId: this.call.talk.announce(text, 'escalation'), toolCallId, end }
    this.call.in('human-offer', this.call.talk.wordsMs(text) + ANSWER_MS)
    this.call.mark('human-offered', tools)
    return true
  }

  #take(): Offer | null {
    const offer = this.#offer
    this.#offer = null
    this.call.keypad.grants.giveBack('human')
    this.call.clear('human-offer')
    return offer
  }

  #accepted(by: string): void {
    const offer = this.#take()
    if (offer === null) return
    this.call.mark('human-accepted', by)
    const { tools, toolCallId } = offer
    this.call.ask('escalate', { reason: `A tool failed: ${tools}`, summary: '', origin: 'rule', toolCallId })
  }

  #declined(by: string): void {
    const offer = this.#take()
    if (offer === null) return
    this.call.mark('human-declined', by)
    // The caller has answered, so the rest of the offer is discarded.
    if (this.call.agentSpeech.item(offer.itemId)?.over === 'no') this.call.talk.stopAgent()
    offer.end()
  }

  /** Cancels the end, because the caller or the gateway continues the call. */
  #continue(): void {
    const toolCallId = this.#take()?.toolCallId ?? null
    if (toolCallId === null) return
    const error = 'The caller was offered a human and has not answered; the call goes on.'
    this.call.ask('answerTool', toolCallId, false, { error }, 'taken back')
  }
}
