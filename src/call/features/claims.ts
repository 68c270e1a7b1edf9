import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import { ClaimAudit, correctionOf } from '../claims/claim-audit.js'
import type { CallCheckpoint, OpenClaim } from '../documents/checkpoint.js'
import type { FactOf } from '../facts.js'
import type { ClaimRecord, TranscriptEntry } from '../documents/record.js'

/**
 * Time that an unsupported claim waits for a tool call, in milliseconds. This time starts when the caller has heard the
 * claim and the response is over.
 */
const CLAIM_GRACE_MS = 2500
/** Maximum number of corrections that the model is asked for in one call. */
const CLAIM_CORRECTIONS_MAX = 3

const HEARS = [
  'conversation-begins',
  'conversation-over',
  'tool-settled',
  'model-given',
  'arranged',
  'agent-said',
] as const

/**
 * Audit of the agent's claims.
 *
 *     heard --supported by a tool call, now or when the tool's result arrives--> recorded as done
 *     heard --CLAIM_GRACE_MS without a response or one of its tools | call over--> recorded; corrected if configured
 */
export class Claims extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly #audit: ClaimAudit | null
  #corrections = 0

  constructor(call: CallKernel) {
    super(call)
    const { claims } = call.options
    this.#audit = claims === null ? null : new ClaimAudit(claims, call.log, call.resume?.openClaims)
  }

  due(name: DeadlineName): void {
    if (name === 'claims') this.#due()
  }

  checkpoint(): Pick<CallCheckpoint, 'openClaims'> {
    return this.#open.length === 0 ? {} : { openClaims: this.#open }
  }

  hear(fact: FactOf<typeof HEARS>): void {
    switch (fact.type) {
      case 'conversation-begins':
        // Claims that were open when the worker changed are judged again.
        return this.#await()
      case 'conversation-over':
        return this.#judge(true)
      case 'tool-settled':
        return this.#judge(false)
      case 'model-given':
        return this.#audit?.given(fact.text, fact.ofCaller)
      case 'arranged':
        return this.#audit?.arranged(fact.tool)
      case 'agent-said':
        return fact.by === 'model' ? this.#agentSaid(fact.entry, fact.playedMs) : undefined
      default:
        return
    }
  }

  #await(): void {
    if (this.#open.length > 0) this.call.in('claims', CLAIM_GRACE_MS)
  }

  get #open(): readonly OpenClaim[] {
    return this.#audit?.open ?? []
  }

  #agentSaid(entry: TranscriptEntry, playedMs: number | null): void {
    if (this.#audit === null) return
    this.#audit.said(entry, playedMs, this.call.nowMs + this.call.options.wallOffsetMs)
    this.#judge(false)
    if (this.#audit.open.length > 0 && this.call.line.state !== 'ended') this.call.in('claims', CLAIM_GRACE_MS)
  }

  #due(): void {
    if (this.call.agentSpeech.responding === null || this.call.model.dead) this.#judge(true)
    this.#await()
  }

  /** @param over  true if the turn is over, so that later support is impossible */
  #judge(over: boolean): void {
    if (this.#open.length === 0) return
    const unsupported = (this.#audit?.judge(over, this.call.effects.ledger.runningNames()) ?? []).filter((record) => {
      const { tool, phrase, verdict } = record
      this.call.record({ kind: 'claim', record })
      const about = tool ?? (verdict === 'no-source' ? 'fact' : 'no tool')
      this.call.mark(verdict === 'done' ? 'claim' : 'claim-unsupported', `${about}: ${verdict}; ${phrase}`)
      const { claims } = this.call.options
      return verdict === 'no-source' ? claims?.facts?.correct === true : verdict !== 'done' && claims?.correct === true
    })
    if (unsupported.length > 0) this.#correct(unsupported)
  }

  /**
   * Asks the model to correct itself. The model corrects itself at once if both sides are silent, otherwise with its
   * next answer.
   */
  #correct(claims: readonly ClaimRecord[]): void {
    if (this.call.line.state !== 'live' || !this.call.model.usable) return
    if (this.#corrections >= CLAIM_CORRECTIONS_MAX) return
    this.#corrections++
    const respond = this.call.talk.allQuiet
    this.call.mark('claim-corrected', respond ? 'now' : 'with the next answer')
    this.call.model.tell(correctionOf(claims), respond)
  }
}
