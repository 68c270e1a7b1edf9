import { assertNever } from '../../core/assert.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint, SessionResume } from '../documents/checkpoint.js'
import type { EscalationOutcome, EscalationStrategy } from '../documents/record.js'
import { EscalationRules } from '../escalation-rules.js'
import type { CallInput, EscalationStep } from '../events.js'
import type { FactOf } from '../facts.js'
import { ESCALATE_TOOL } from '../tools/gateway-tools.js'
import { handoffPacket } from '../handoff-packet.js'
import type { EscalationRequest } from '../requests.js'

const HEARS = ['barge-in'] as const

/**
 * The session's part of an escalation to a human.
 *
 * `Escalation` decides how to reach a human, because it must outlive the stream. The session informs the caller, and
 * holds, closes or resumes the stream. The first announcement comes after the first step of `Escalation`, because this
 * step shows that the gateway can try to reach a human.
 *
 *     live       --requested-->                       escalating  handoff packet sent
 *     escalating --step close-stream-->               closed      once the announcement was heard
 *     escalating --step hold-->                       holding     announced, then silent, stream kept
 *     escalating | holding --step bridged-->          bridged     backend closed, no time limits any more
 *     escalating | holding --step offer-->            live | escalating   the caller is offered a call back
 *     escalating | holding --step failed, no step in time, held too long-->  live | closing   the caller is informed
 *     holding    --step close-stream-->               closed      the next strategy needs a closed stream
 */
export class EscalationSide extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['escalate', 'continueEscalation', 'bridge'] as const
  readonly #rules: EscalationRules | null
  #request: EscalationRequest | null = null
  /** Item of the announcement that must be heard before the stream may close. */
  #transferItemId: string | null = null
  #transferAnnounced = false
  #closeForTransfer = false

  constructor(call: CallKernel, resume: SessionResume | undefined) {
    super(call)
    const { rules } = call.options
    this.#rules = rules === null ? null : new EscalationRules(rules, call.log, resume)
  }

  due(name: DeadlineName): void {
    if (name === 'escalation-step') this.#unreached('failed', 'no step from the escalation machine', false, false)
    else if (name === 'transfer-heard') this.#announcementOver()
    else if (name === 'hold') this.#unreached('no-answer', 'held too long', false, false)
  }

  input(input: CallInput): boolean {
    if (input.type === 'escalate-requested') this.#operatorAsks(input.reason)
    else if (input.type === 'escalation') this.#step(input.step)
    else return false
    return true
  }

  itemOver(itemId: string): void {
    if (itemId === this.#transferItemId) this.#announcementOver()
  }

  checkpoint(): Pick<CallCheckpoint, 'escalation'> {
    const request = this.#request
    return { escalation: request === null ? null : { reason: request.reason, summary: request.summary } }
  }

  hear(fact: FactOf<typeof HEARS>): void {
    // The announcement was interrupted, so the escalation continues without it.
    if (fact.type === 'barge-in' && this.call.line.state === 'escalating') this.call.in('transfer-heard', 0)
  }

  /** Continues a call that was taken over during an escalation. */
  continueEscalation(request: EscalationRequest, holding: boolean): void {
    this.#enter(request)
    this.#transferAnnounced = true
    if (holding) this.#hold()
  }

  /**
   * Applies the agent's escalation rules, which do not depend on the backend. Then acts on the new stage of the call.
   */
  settled(input: CallInput): void {
    const reason = this.#rules?.applies(input, this.call.person.identity) ?? null
    if (reason !== null && this.call.line.state === 'live')
      this.escalate({ reason, summary: '', origin: 'rule', toolCallId: null })
    if (this.call.stages !== null) this.call.ask('followStage')
  }

  #operatorAsks(reason: string): void {
    const possible =
      this.call.line.state === 'live' ||
      this.call.line.state === 'connecting' ||
      this.call.line.state === 'escalating' ||
      this.call.line.state === 'holding'
    const request = { reason, summary: '', origin: 'operator', toolCallId: null } as const
    if (!possible || !this.escalate(request)) this.call.mark('escalation-refused', this.call.line.state)
  }

  /** @returns false if this agent cannot escalate. During an escalation, a second request is ignored. */
  escalate(request: EscalationRequest): boolean {
    if (this.call.options.escalation === null) return false
    if (
      this.call.line.state === 'escalating' ||
      this.call.line.state === 'holding' ||
      this.call.line.state === 'bridged'
    )
      return true
    this.#enter(request)
    if (request.toolCallId === null) this.call.tell({ type: 'arranged', tool: ESCALATE_TOOL })
    this.#transferAnnounced = false
    if (request.origin === 'operator' || request.origin === 'rule') this.call.talk.stopAgent()
    if (request.origin === 'backend-failed') this.#sayBeforeTransfer(this.call.text(this.call.options.apologyText))
    return true
  }

  #enter(request: EscalationRequest): void {
    const { reason, summary, origin } = request
    this.#request = request
    this.call.line.enter('escalating')
    this.call.line.askedForHuman({ reason, strategy: null, outcome: null })
    this.call.in('escalation-step', this.call.options.escalation?.stepTimeoutMs ?? 0)
    this.call.mark('escalation', origin)
    this.call.out({ type: 'escalate', packet: handoffPacket(this.call, reason, summary) })
    this.call.changed()
  }

  #step(step: EscalationStep): void {
    if (!this.call.line.streaming || this.call.line.state === 'closing') return
    const under = this.call.line.state === 'escalating' || this.call.line.state === 'holding'
    switch (step.type) {
      case 'close-stream':
        if (!under) return this.call.mark('escalation-step-late', step.type)
        this.call.clear('escalation-step', 'hold')
        this.#announceTransfer(step.mayBeSilent)
        this.#closeForTransfer = true
        if (this.#transferItemId === null) this.#closeStreamForTransfer()
        return
      case 'hold':
        if (!under) return this.call.mark('escalation-step-late', step.type)
        this.#announceTransfer(false)
        return this.#hold()
      case 'bridged':
        return this.bridge(step.strategy)
      case 'offer':
      case 'failed':
        return under ? this.#unreached(step.outcome, step.detail, step.closed, step.type === 'offer') : undefined
      default:
        return assertNever(step)
    }
  }

  /** Tells the caller that they are being connected. */
  #announceTransfer(mayBeSilent: boolean): void {
    const { announceText = null, silentLineText = null } = this.call.options.escalation ?? {}
    const texts = [this.#transferAnnounced ? null : announceText, mayBeSilent ? silentLineText : null]
    this.#sayBeforeTransfer(
      texts
        .map((text) => this.call.text(text))
        .join(' ')
        .trim(),
    )
    this.#transferAnnounced = true
  }

  #sayBeforeTransfer(text: string): void {
    if (text === '') return
    this.#transferItemId = this.call.talk.announce(text, 'escalation')
    this.call.in('transfer-heard', this.call.talk.wordsMs(text))
  }

  /** Continues after the announcement was heard, or cannot be heard. */
  #announcementOver(): void {
    this.#transferItemId = null
    this.call.clear('transfer-heard')
    if (this.#closeForTransfer) this.#closeStreamForTransfer()
  }

  #closeStreamForTransfer(): void {
    this.#closeForTransfer = false
    this.call.ask('endNow', 'escalated', this.#request?.reason ?? 'operator', false)
  }

  #hold(): void {
    this.call.clear('escalation-step')
    if (this.call.line.state === 'holding' || this.call.line.state === 'bridged') return
    this.call.line.enter('holding')
    this.call.in('hold', this.call.options.escalation?.holdTimeoutMs ?? 0)
    this.call.mark('hold')
    this.call.changed()
  }

  bridge(strategy: EscalationStrategy): void {
    if (this.call.line.state === 'bridged') return
    this.call.talk.stopAgent()
    this.call.line.enter('bridged')
    const { line } = this.call
    line.askedForHuman({ reason: line.human?.reason ?? 'operator', strategy, outcome: 'answered' })
    this.call.mark('bridged', strategy)
    this.call.ask('cancelTools', 'all')
    this.call.model.close('bridged')
    this.call.changed()
    // A conference continues without the gateway's stream, and an open stream would only cost money. Other legs end
    // when their stream ends.
    if (strategy === 'conference') this.call.ask('endNow', 'escalated', 'a human joined the conference', false)
  }

  /**
   * Tells the caller and the backend that no human can be reached. If `offered` is true, the caller is offered a call
   * back.
   */
  #unreached(outcome: EscalationOutcome, detail: string, closed: boolean, offered: boolean): void {
    const request = this.#request
    // The call was promised to another agent. That agent continues the call, and may offer a call back.
    const promised = this.call.line.promised !== null
    const offer = offered && !promised
    if (offered && promised) this.call.out({ type: 'callback', wish: null })
    const options = this.call.options.escalation
    this.call.clear('escalation-step', 'hold', 'transfer-heard')
    const { line } = this.call
    if (line.human !== null) line.askedForHuman({ ...line.human, outcome })
    this.call.mark('escalation-failed', detail)
    this.#request = null
    this.#transferItemId = null
    this.#closeForTransfer = false
    const failed = () => this.call.text(closed ? options?.closedText : options?.failedText)
    const words = failed()
    const takesMessage = request?.takesMessage === true && !this.call.model.dead
    const end = offer || promised || takesMessage ? null : line.endAfterFailure
    if (end !== null) {
      const text = () => `${failed()} ${this.call.goodbye}`.trim()
      this.call.ask('sayThenEnd', end, `escalation failed: ${detail}`, text, true)
      return
    }
    // The backend's speech during the escalation was not played, so the rest of that speech is not played either.
    // Speech of a completed response is played to its end.
    if (this.call.agentSpeech.responding !== null) this.call.talk.stopAgent()
    this.call.floor.discard()
    this.call.changed()
    this.call.talk.agentQuietFromNow()
    if (takesMessage) this.call.ask('withdrawOffer')
    else if (offer) this.call.ask('offerCallBack', words, request, false)
    else if (words !== '') this.call.talk.announce(words, 'escalation')
    if (this.call.model.dead && !promised) return
    this.call.ask('continueAfterEscalation')
    this.#tellBackendUnreached(request, outcome, closed, offer, takesMessage ? words : null)
  }

  /** @param say  message that the backend says to the caller; null if the caller was already informed */
  #tellBackendUnreached(
    request: EscalationRequest | null,
    outcome: EscalationOutcome,
    closed: boolean,
    offer: boolean,
    say: string | null,
  ): void {
    const toolCallId = request?.toolCallId ?? null
    const why = closed ? 'No human is there at this hour.' : 'No human could be reached.'
    const next = offer
      ? 'The caller has been told, and was asked whether to be called back: the system takes the key 1 for yes. If they say ' +
        'yes in words, call request_callback.'
      : this.call.options.escalation?.callback?.numberKnown === false
        ? 'The caller has been told. Their number is not known, or is none that we call: ask whether to call them back, and at which number, and call ' +
          'request_callback with it.'
        : 'The caller has been told. Go on helping.'
    const note = `${why} ${next}`
    if (toolCallId === null) return this.call.model.tell(note)
    const told = offer ? { error: note, outcome, callBackOffered: true } : { error: note, outcome }
    const value = say === null ? told : { error: why, outcome, say }
    this.call.out({ type: 'backend-tool-result', callId: toolCallId, ok: false, value })
    const answer = this.call.effects.ledger.result(toolCallId, { ok: false, value, error: outcome })
    if (answer !== null) this.call.mark('tool-end', answer.name)
  }
}
