import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import { QUIET_POLL_MS } from '../call-deadlines.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import { YES_DIGIT } from '../escalation-rules.js'
import type { CallInput } from '../events.js'
import { withoutNoValues } from '../tools/value-fault.js'

/** Limits of a backend's context from a cut-off conversation: the newest entries and tool results. */
const RESUMED_WORDS_MAX = 100
const RESUMED_TOOLS_MAX = 20
/** A service's words of speech come this long after the model's reaction to it, or not at all. */
const WORDS_LATE_MS = 3000
const NOTHING_SAID =
  'The person has said nothing yet that could be a yes. Ask whether they want to go on, and call it once they have said so.'

/**
 * A caller who is rung back after their call was cut off.
 *
 *     asks --digit 1, or words of the person and then resume_conversation--> confirmed
 *
 * Only then anything of the other call is given to the backend.
 */
export class RingBack extends Feature implements CallFeature {
  readonly answers = ['confirmRingBack'] as const

  /** Turns of the call that was cut off. */
  readonly #turnsBefore: number
  /** The model's call that waits for words of the person. */
  #askedBy: { readonly callId: string; readonly untilMs: number } | null = null

  constructor(call: CallKernel) {
    super(call)
    this.#turnsBefore = call.log.turns.length
    this.#hold()
  }

  due(name: DeadlineName): void {
    if (name === 'ring-back') this.#askedDue()
  }

  input(input: CallInput): boolean {
    return input.type === 'dtmf' && this.#digit(input.digit)
  }

  checkpoint(): Pick<CallCheckpoint, 'callBack'> {
    if (this.call.resume?.callBack === undefined) return {}
    return { callBack: this.call.person.unconfirmed === null ? 'confirmed' : 'asks' }
  }

  /** @returns true when the digit has confirmed that the caller goes on */
  #digit(digit: string): boolean {
    if (this.call.person.unconfirmed === null || digit !== YES_DIGIT || this.call.line.state !== 'live') return false
    this.call.talk.stopAgent()
    this.call.talk.callerActive()
    const conversation = JSON.stringify(this.#confirmed('key'))
    this.call.model.tell(`The person pressed ${digit}: they want to go on. Go on from here: ${conversation}`)
    // As the caller's answer, so that a backend without a model has one too.
    this.call.out({ type: 'backend-text', text: digit, role: 'caller', respond: true })
    this.call.wait.forAnswer()
    return true
  }

  /**
   * The model says that the person has confirmed. Nobody is believed who has said nothing: words of the person that are still being
   * recognised are awaited.
   */
  confirmRingBack(callId: string): void {
    this.#askedBy = { callId, untilMs: this.call.nowMs + (this.#voice ? WORDS_LATE_MS : 0) }
    this.#askedDue()
  }

  #askedDue(): void {
    if (this.#askedBy === null) return
    const { callId, untilMs } = this.#askedBy
    const { unconfirmed } = this.call.person
    const waits = unconfirmed !== null && !this.#words
    if (waits && this.call.nowMs < untilMs) return this.call.in('ring-back', QUIET_POLL_MS)
    this.#askedBy = null
    if (waits) this.call.ask('answerTool', callId, false, { error: NOTHING_SAID }, 'nothing said')
    else this.call.ask('answerTool', callId, true, unconfirmed === null ? {} : this.#confirmed('words'), undefined)
  }

  /** The person has said or keyed something in this call. */
  get #words(): boolean {
    return this.call.log.transcript.slice(this.call.person.unconfirmed ?? 0).some(({ role }) => role === 'caller')
  }

  /** The person has spoken, and words of it may come. */
  get #voice(): boolean {
    return this.call.talk.turns.waitingForReal || this.call.log.turns.length > this.#turnsBefore
  }

  /** @returns the conversation that was cut off */
  #confirmed(by: 'key' | 'words'): Readonly<Record<string, unknown>> {
    const words = this.call.log.transcript.slice(0, this.call.person.unconfirmed ?? 0)
    this.call.person.confirm()
    this.#hold()
    this.call.mark('call-back-confirmed', by)
    this.call.changed()
    return {
      conversation: words.slice(-RESUMED_WORDS_MAX).map(({ role, text }) => ({ role, text })),
      toolResults: this.call.log.toolCalls
        .filter(({ end }) => end !== 'refused' && end !== 'built-in')
        .slice(-RESUMED_TOOLS_MAX)
        .map(({ record, result }) => {
          const { name, args, ok } = record
          return { name, args, ok, result: withoutNoValues(result) }
        }),
      known: withoutNoValues(Object.fromEntries(this.call.log.facts.map(({ name, value }) => [name, value]))),
      note: 'The identity of the person is not verified in this call.',
    }
  }

  #hold(): void {
    this.call.keypad.grants.set('ring-back', this.call.person.unconfirmed !== null)
  }
}
