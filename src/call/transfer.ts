import { assertNever } from '../core/assert.js'
import { TRANSCRIPT_ENTRIES_MAX } from '../core/limits.js'
import type { CallCore } from './call-core.js'
import { CallbackOffer } from './callback-offer.js'
import type { Ending } from './ending.js'
import { wordsDeadlineMs } from './ending.js'
import type { EscalationPacket, EscalationStep } from './events.js'
import type { EscalationOutcome, EscalationStrategy } from './record.js'

export type HandoverOrigin = 'agent' | 'operator' | 'rule' | 'backend-failed'

export interface HandoverRequest {
  readonly reason: string
  readonly summary: string
  readonly origin: HandoverOrigin
  /** The tool call that asked; it is answered when the handover failed. */
  readonly toolCallId: string | null
}

/**
 * The session's part of an escalation. What reaches the human is decided outside (`Escalation`), because it outlives
 * the stream; here the caller is told, and the stream is kept, closed or gone on with. Nothing is promised before the
 * first step says that there is somebody to try.
 *
 *     live     --asked for-->                       handover  packet out
 *     handover --step close-stream-->               closed    once the announcement was heard
 *     handover --step hold-->                       holding   announced, then silent, stream kept
 *     handover | holding --step bridged-->          bridged   backend let go, no limits of ours any more
 *     handover | holding --step offer-->            live | handover  caller is told and asked, see `CallbackOffer`
 *     handover | holding --step failed, no step in stepTimeoutMs, hold too long-->  live | closing   caller is told
 *     holding  --step close-stream-->               closed    the next strategy needs the stream gone
 */
export class Handover {
  request: HandoverRequest | null = null
  readonly callback: CallbackOffer
  readonly #core: CallCore
  readonly #ending: Ending
  /** The announcement that must be heard before the stream may close. */
  #itemId: string | null = null
  #announced = false
  #closeWanted = false

  constructor(core: CallCore, ending: Ending) {
    this.#core = core
    this.#ending = ending
    this.callback = new CallbackOffer(core, ending, (reason, summary) => this.#packet(reason, summary))
  }

  /** @returns false when this agent cannot hand over. Asking again while it is under way changes nothing. */
  start(request: HandoverRequest): boolean {
    const core = this.#core
    if (core.options.escalation === null) return false
    if (core.state === 'escalating' || core.state === 'holding' || core.state === 'bridged') return true
    this.#enter(request)
    this.#announced = false
    if (request.origin === 'operator' || request.origin === 'rule') core.hushAgent()
    if (request.origin === 'backend-failed') this.#say(core.options.apologyText)
    return true
  }

  /** A taken-over call asks for its step again, without telling the caller twice. */
  resume(reason: string, summary: string, holding: boolean): void {
    this.#enter({ reason, summary, origin: this.#core.backendDead ? 'backend-failed' : 'agent', toolCallId: null })
    this.#announced = true
    if (holding) this.#hold()
  }

  step(step: EscalationStep): void {
    const core = this.#core
    if (!core.streaming || core.state === 'closing') return
    switch (step.type) {
      case 'close-stream':
        core.deadlines.clear('escalation-step')
        core.deadlines.clear('hold')
        this.#announce(step.mayBeSilent)
        this.#closeWanted = true
        if (this.#itemId === null) this.#close()
        return
      case 'hold':
        this.#announce(false)
        return this.#hold()
      case 'bridged':
        return this.#bridged(step.strategy)
      case 'offer':
        if (core.state === 'escalating' || core.state === 'holding') this.#unreached(step.outcome, step.detail, step.closed, true)
        return
      case 'failed':
        if (core.state === 'escalating' || core.state === 'holding') this.#unreached(step.outcome, step.detail, step.closed, false)
        return
      default:
        assertNever(step)
    }
  }

  /** A phrase was heard, cut, or could not be spoken. */
  itemOver(itemId: string): void {
    if (this.#itemId === itemId) this.wordsOverdue()
  }

  /** The announcement is through, or will never be: on with it. */
  wordsOverdue(): void {
    this.#itemId = null
    this.#core.deadlines.clear('words-heard')
    if (this.#closeWanted) this.#close()
  }

  /** Nobody came, and the machine outside has not said so. */
  fail(outcome: EscalationOutcome, detail: string): void {
    this.#unreached(outcome, detail, false, false)
  }

  /** Tells caller and backend that nobody can be reached; `offer` asks whether to call back. */
  #unreached(outcome: EscalationOutcome, detail: string, closed: boolean, offer: boolean): void {
    const core = this.#core
    const request = this.request
    const options = core.options.escalation
    for (const name of ['escalation-step', 'hold', 'words-heard'] as const) core.deadlines.clear(name)
    if (core.escalation !== null) core.escalation = { ...core.escalation, outcome }
    core.mark('escalation-failed', detail)
    this.request = null
    this.#itemId = null
    this.#closeWanted = false
    const words = (closed ? options?.closedText : options?.failedText) ?? ''
    if (!offer && (core.backendDead || options?.afterFailure === 'goodbye')) {
      const reason = core.backendDead ? 'backend-failed' : 'agent-goodbye'
      const text = `${words} ${core.options.goodbyeText}`.trim()
      this.#ending.speakThenEnd(reason, `escalation failed: ${detail}`, text, true)
      return
    }
    // What the backend began to say meanwhile was not let through and must not come out in halves.
    core.hushAgent()
    core.generationFence = core.generationSeen
    core.checkpointDue = true
    core.agentHeardAtMs = core.nowMs
    if (offer) this.callback.offer(words, request)
    else if (words !== '') core.announce(words, 'escalation')
    if (core.backendDead) return
    core.generationCeiling = Infinity
    core.state = 'live'
    this.#tellBackend(request?.toolCallId ?? null, outcome, closed, offer)
    core.in('silence', core.options.silence.afterMs)
    if (core.tools.running > 0) core.in('filler', core.options.filler.afterMs)
  }

  #tellBackend(toolCallId: string | null, outcome: EscalationOutcome, closed: boolean, offer: boolean): void {
    const core = this.#core
    const why = closed ? 'No human is there at this hour.' : 'No human could be reached.'
    const next = offer
      ? 'The caller has been told, and was asked whether to be called back: the system takes the key 1 for yes. If they say '
        + 'yes in words, call request_callback.'
      : 'The caller has been told. Go on helping.'
    const note = `${why} ${next}`
    if (toolCallId === null) {
      core.out({ type: 'backend-text', text: note, role: 'system', respond: false })
      return
    }
    const value = { error: note, outcome }
    core.out({ type: 'backend-tool-result', callId: toolCallId, ok: false, value })
    const answer = core.tools.result(toolCallId, { ok: false, value, error: outcome }, core.nowMs, core.streamZeroMs)
    if (answer === null) return
    core.mark('tool-end', answer.name)
  }

  #enter(request: HandoverRequest): void {
    const core = this.#core
    this.callback.withdraw()
    this.request = request
    core.state = 'escalating'
    core.generationCeiling = core.generationSeen
    for (const name of ['silence', 'filler', 'answer', 'backend-ready'] as const) core.deadlines.clear(name)
    core.escalation = { reason: request.reason, strategy: null, outcome: null }
    core.in('escalation-step', core.options.escalation?.stepTimeoutMs ?? 0)
    core.mark('escalation', request.origin)
    core.out({ type: 'escalate', packet: this.#packet(request.reason, request.summary) })
    core.checkpointDue = true
  }

  /** There is somebody to try. */
  #announce(mayBeSilent: boolean): void {
    const { announceText = null, silentLineText = null } = this.#core.options.escalation ?? {}
    this.#say([this.#announced ? null : announceText, mayBeSilent ? silentLineText : null]
      .filter((text) => text !== null).join(' '))
    this.#announced = true
  }

  #say(text: string): void {
    const core = this.#core
    if (text === '') return
    this.#itemId = core.announce(text, 'escalation')
    core.in('words-heard', wordsDeadlineMs(core, text))
  }

  #hold(): void {
    const core = this.#core
    core.deadlines.clear('escalation-step')
    core.deadlines.clear('silence')
    core.deadlines.clear('filler')
    core.deadlines.clear('answer')
    if (core.state === 'holding' || core.state === 'bridged') return
    core.state = 'holding'
    core.generationCeiling = core.generationSeen
    core.in('hold', core.options.escalation?.holdTimeoutMs ?? 0)
    core.mark('hold')
    core.checkpointDue = true
  }

  #bridged(strategy: EscalationStrategy): void {
    const core = this.#core
    if (core.state === 'bridged') return
    core.hushAgent()
    core.state = 'bridged'
    core.generationCeiling = core.generationSeen
    core.deadlines.clearAll()
    core.escalation = { reason: core.escalation?.reason ?? 'operator', strategy, outcome: 'answered' }
    core.mark('bridged', strategy)
    core.cancelTools()
    core.closeBackend('bridged')
    core.checkpointDue = true
    // The room holds the call; an idle stream would only cost. Any other leg would end with it.
    if (strategy === 'conference') this.#ending.endNow('escalated', 'a human joined the conference', false)
  }

  #close(): void {
    this.#closeWanted = false
    this.#ending.endNow('escalated', this.request?.reason ?? 'operator', false)
  }

  #packet(reason: string, summary: string): EscalationPacket {
    const { options, nowMs, log, transcript } = this.#core
    return {
      version: 1,
      callSid: options.callSid,
      agent: options.agent,
      reason,
      summary,
      identity: this.#core.identity,
      tried: log.toolCalls.map(({ record: { name, ok, args } }) => ({ name, ok, args })),
      transcript: [...log.transcript, ...transcript.open].slice(-TRANSCRIPT_ENTRIES_MAX),
      // Only formats a number; the clock was read by whoever made `wallOffsetMs`.
      at: new Date(nowMs + options.wallOffsetMs).toISOString(),
    }
  }
}
