import { MESSAGE_CHARS_MAX } from '../../core/limits.js'
import { numberToCall } from '../../sautikit/phone.js'
import { Feature } from '../call-feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import { isClosing } from '../closing-cues.js'
import type { CallbackAsk } from '../documents/record.js'
import { YES_DIGIT } from '../escalation-rules.js'
import type { CallInput } from '../events.js'
import type { Fact } from '../facts.js'
import { CALLBACK_TOOL, ESCALATE_TOOL } from '../gateway-tools.js'
import { handoffPacket } from '../handoff-packet.js'
import { saysNo } from '../turn-words.js'

/** Time for the caller to answer by digit or in words after the question was heard: callers think for 3 to 5 s. */
const OFFER_ANSWER_MS = 12_000
/** A date and a time of the clock. */
const WANTED_AT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$/

/**
 * A call back that is offered after a failed escalation, or asked for.
 *
 *     offer  --digit 1, request_callback--> noted, output `callback`
 *     offer  --OFFER_ANSWER_MS, or another digit when the backend is dead--> output `callback`, perhaps a goodbye
 */
export class CallBackOffer extends Feature implements CallFeature {
  readonly answers = ['offerCallBack', 'withdrawOffer', 'noteCallBack'] as const
  /** The call back that the caller is being asked about; null while nothing is asked. */
  #offer: { readonly reason: string; readonly summary: string } | null = null
  /** The call ends when the offer is not accepted: nobody may be there. */
  #endsAfterOffer = false
  /** Noted by key: the yes in words that comes with it is the same wish. */
  #keyed = false

  due(name: DeadlineName): void {
    if (name === 'offer') this.#declined()
  }

  get busy(): boolean {
    return this.#offer !== null && this.#endsAfterOffer
  }

  input(input: CallInput): boolean {
    return input.type === 'dtmf' && this.#digit(input.digit)
  }

  hear(fact: Fact): void {
    // The caller is there after all: an offer that would end the call is taken back.
    if (fact.type === 'understood' && this.#endsAfterOffer) this.withdrawOffer()
    else if (fact.type === 'recording-found' || (fact.type === 'line' && fact.to === 'escalating')) this.withdrawOffer()
    else if (fact.type === 'call-ended' && fact.callerHungUp) {
      const message = this.#begunMessage()
      if (message !== null) this.#note('words', null, message)
    }
  }

  /** Says that nobody can come and asks whether to call back. @param ends  the call ends when it is not accepted */
  offerCallBack(
    words: string,
    wish: { readonly reason: string; readonly summary: string } | null,
    ends: boolean,
  ): void {
    const text = `${words} ${this.call.text(this.call.options.escalation?.callback?.offerText)}`.trim()
    this.call.keypad.grants.take('call-back')
    this.#offer = wish ?? { reason: '', summary: '' }
    this.call.announce(text, 'escalation')
    this.call.in('offer', this.call.wordsMs(text) + OFFER_ANSWER_MS)
    this.call.mark('callback-offered')
    this.#endsAfterOffer = ends
  }

  withdrawOffer(): void {
    this.#offer = null
    this.call.keypad.grants.giveBack('call-back')
    this.#endsAfterOffer = false
    this.call.clear('offer')
  }

  /** @returns true when the digit answered the offer of a call back */
  #digit(digit: string): boolean {
    if (this.#offer === null) return false
    if (digit === YES_DIGIT) {
      // The answer is known, so the rest of the question need not be heard.
      this.call.stopAgent()
      this.#note('key', null, '')
      const confirmed = this.call.text(this.call.options.escalation?.callback?.confirmedText)
      if (this.#endsAfterFailure(confirmed)) return true
      if (confirmed !== '') this.call.announce(confirmed, 'escalation')
      this.call.model.tell('The caller pressed 1: the call back is noted and they have been told.')
      return true
    }
    if (!this.call.model.dead) return false
    this.#declined()
    return true
  }

  /** No answer came in time, or it was not yes. */
  #declined(): void {
    if (this.#offer === null) return
    const ends = this.#endsAfterOffer
    this.withdrawOffer()
    this.call.out({ type: 'callback', wish: null })
    this.call.mark('callback-declined')
    if (ends)
      this.call.ask('sayThenEnd', 'silence-limit', 'on hold, after the offer of a call back', this.call.goodbye, false)
    else this.#endsAfterFailure('')
  }

  /**
   * Handles the model's `request_callback`.
   * @param number  as the caller gave it; null for the number that they call from
   * @param wantedAt  their date and time; null where they named none
   * @returns the error for the model; null when the call back is noted
   */
  noteCallBack(number: string | null, note: string, wantedAt: string | null): string | null {
    const { callback } = this.call.options.escalation ?? {}
    if (callback === null || callback === undefined) return 'This line does not call back.'
    if (number === null && !callback.numberKnown)
      return "The caller's number is withheld; ask for it and give it as number."
    // They are promised a call: a number that cannot be called is asked for again.
    const read = number === null ? null : numberToCall(number)
    if (read !== null && 'fault' in read) return `number is one that ${read.fault}; ask the caller for it again.`
    if (wantedAt !== null && !(WANTED_AT.test(wantedAt) && Number.isFinite(Date.parse(`${wantedAt}:00Z`))))
      return 'at must be a date and a time, as 2026-11-27T15:00.'
    if (this.#keyed && number === null && wantedAt === null) return null
    this.#note('words', number?.replace(/[ ().-]/g, '') ?? null, note, wantedAt)
    return null
  }

  /**
   * Words of a caller who did not finish a message: a caller who gives a name expects a call. Null: no words, the caller
   * wanted to leave no message, or it is noted already.
   */
  #begunMessage(): string | null {
    const taken = this.call.log.toolCalls.findLast(({ record: { name } }) => name === ESCALATE_TOOL)?.record
    if (taken?.args['takesMessage'] !== true) return null
    if (this.call.line.human?.strategy === 'callback' || this.call.line.human?.outcome === 'answered') return null
    if (this.call.options.escalation?.callback?.numberKnown !== true) return null
    const said = this.call.log.transcript
      .filter(({ role, startMs }) => role === 'caller' && startMs >= taken.startMs + taken.ms)
      .map(({ text }) => text.trim())
      .filter((text) => text !== '')
    const last = said.at(-1)
    if (last === undefined || saysNo(last) || isClosing(last)) return null
    return said.join(' ').slice(0, MESSAGE_CHARS_MAX)
  }

  #note(asked: CallbackAsk, number: string | null, note: string, wantedAt: string | null = null): void {
    const { reason, summary } = this.#offer ?? { reason: 'a call back', summary: note }
    this.withdrawOffer()
    this.#keyed = asked === 'key'
    this.call.line.askedForHuman({ reason, strategy: 'callback', outcome: 'answered' })
    this.call.tell({ type: 'arranged', tool: CALLBACK_TOOL })
    this.call.out({
      type: 'callback',
      wish: {
        asked,
        number,
        note,
        ...(wantedAt === null ? {} : { wantedAt }),
        packet: handoffPacket(this.call, reason, summary),
      },
    })
    this.call.mark('callback-noted', asked)
    this.call.changed()
  }

  /** Says goodbye after `words`, if the call ends because no human could be reached. @returns true if it ends */
  #endsAfterFailure(words: string): boolean {
    const reason = this.call.line.endAfterFailure
    if (reason === null) return false
    const text = `${words} ${this.call.goodbye}`.trim()
    this.call.ask('sayThenEnd', reason, 'after the offer of a call back', text, false)
    return true
  }
}
