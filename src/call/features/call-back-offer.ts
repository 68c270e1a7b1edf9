import { MESSAGE_CHARS_MAX } from '../../core/limits.js'
import { numberToCall } from '../../sautikit/phone.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import { isClosing } from '../spoken/closing-cues.js'
import type { CallbackAsk } from '../documents/record.js'
import { YES_DIGIT } from '../escalation-rules.js'
import type { CallBackRefusal, CallInput, CallbackWish } from '../events.js'
import type { FactOf } from '../facts.js'
import { CALLBACK_TOOL, ESCALATE_TOOL } from '../tools/gateway-tools.js'
import { handoffPacket } from '../handoff-packet.js'
import { saysNo } from '../turns/turn-words.js'

/** Time for the caller to answer by digit or in words after the question was heard: callers think for 3 to 5 s. */
const OFFER_ANSWER_MS = 12_000
/** Time for the gateway to say whether it will call back: its store has 2 s. */
const ANSWER_MS = 4000
const NO_ANSWER: CallBackRefusal = {
  why: 'not-kept',
  text: 'The call back could not be noted; nobody will call. Tell the caller so.',
}

const HEARS = ['understood', 'recording-found', 'line', 'call-ended'] as const

/**
 * A call back that is offered after a failed escalation, or asked for.
 *
 *     offer  --digit 1, request_callback--> asking, output `callback`
 *     asking --`callback-answer`, or none within ANSWER_MS--> noted, or refused: only now the caller and the model hear which
 *     offer  --OFFER_ANSWER_MS, or another digit when the backend is dead--> output `callback`, perhaps a goodbye
 */
export class CallBackOffer extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['offerCallBack', 'withdrawOffer', 'noteCallBack'] as const
  /** The call back that the caller is being asked about; null while nothing is asked. */
  #offer: { readonly reason: string; readonly summary: string } | null = null
  /** The call ends when the offer is not accepted: nobody may be there. */
  #endsAfterOffer = false
  /** The question. */
  #itemId: string | null = null
  /** Noted by key: the yes in words that comes with it is the same wish. */
  #keyed = false
  /** The wish whose answer is waited for. */
  #asking: { readonly asked: CallbackAsk; readonly reason: string; readonly callIds: string[] } | null = null

  due(name: DeadlineName): void {
    if (name === 'offer') this.#declined()
    else if (name === 'callback') this.#answered(NO_ANSWER)
  }

  get busy(): boolean {
    return this.#asking !== null || (this.#offer !== null && this.#endsAfterOffer)
  }

  input(input: CallInput): boolean {
    if (input.type === 'callback-answer') this.#answered(input.refusal)
    else return input.type === 'dtmf' && this.#digit(input.digit)
    return true
  }

  hear(fact: FactOf<typeof HEARS>): void {
    // The caller is there after all: an offer that would end the call is taken back.
    if (fact.type === 'understood' && this.#endsAfterOffer) this.withdrawOffer()
    else if (fact.type === 'recording-found' || (fact.type === 'line' && fact.to === 'escalating')) this.withdrawOffer()
    else if (fact.type === 'call-ended' && fact.callerHungUp) {
      const message = this.#begunMessage()
      // Nobody waits for the answer any more.
      if (message !== null) this.#calledBack(this.#wish({ asked: 'words', number: null, note: message }).reason)
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
    this.#itemId = this.call.talk.announce(text, 'escalation')
    this.call.in('offer', this.call.talk.wordsMs(text) + OFFER_ANSWER_MS)
    this.call.mark('callback-offered')
    this.#endsAfterOffer = ends
  }

  withdrawOffer(): void {
    this.#offer = null
    this.#itemId = null
    this.call.keypad.grants.giveBack('call-back')
    this.#endsAfterOffer = false
    this.call.clear('offer')
  }

  /** @returns true when the digit answered the offer of a call back */
  #digit(digit: string): boolean {
    if (this.#offer === null) return false
    if (digit === YES_DIGIT) {
      // The answer is known, so the rest of the question need not be heard. Other words are.
      if (this.call.agentSpeech.item(this.#itemId)?.over === 'no') this.call.talk.stopAgent()
      this.#ask({ asked: 'key', number: null, note: '' }, [])
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
      this.call.ask(
        'sayThenEnd',
        'silence-limit',
        'on hold, after the offer of a call back',
        () => this.call.goodbye,
        false,
      )
    else this.#endsAfterFailure('')
  }

  /**
   * Handles the model's `request_callback`; its call is answered once it is known whether the call back is kept.
   * @param number  as the caller gave it; null for the number that they call from
   * @param wantedAt  their date and time as the model wrote them; null where they named none
   * @returns the error for the model; null: the answer follows
   */
  noteCallBack(callId: string, number: string | null, note: string, wantedAt: string | null): string | null {
    const { callback } = this.call.options.escalation ?? {}
    if (callback === null || callback === undefined) return 'This line does not call back.'
    if (number === null && !callback.numberKnown)
      return "The caller's number is withheld, or is none that we call; ask for another and give it as number."
    // They are promised a call: a number that cannot be called is asked for again.
    const read = number === null ? null : numberToCall(number)
    if (read !== null && 'fault' in read) return `number is one that ${read.fault}; ask the caller for it again.`
    const isSame = number === null && wantedAt === null
    if (this.#asking?.asked === 'key' && isSame) {
      this.#asking.callIds.push(callId)
      return null
    }
    if (this.#asking !== null) return 'Another call back of this call is being noted; wait for its answer.'
    if (this.#keyed && isSame) {
      this.call.ask('answerTool', callId, true, { noted: true }, undefined)
      return null
    }
    const wish = { asked: 'words', number: number?.replace(/[ ().-]/g, '') ?? null, note } as const
    this.#ask(wantedAt === null ? wish : { ...wish, wantedAt }, [callId])
    return null
  }

  /**
   * Words of a caller who did not finish a message: a caller who gives a name expects a call. Null: no words, the caller
   * wanted to leave no message, or it is noted already.
   */
  #begunMessage(): string | null {
    const taken = this.call.log.toolCalls.findLast(({ record: { name } }) => name === ESCALATE_TOOL)?.record
    if (taken?.args['takesMessage'] !== true || this.#asking !== null) return null
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

  #ask(wish: Omit<CallbackWish, 'packet'>, callIds: string[]): void {
    this.#asking = { asked: wish.asked, callIds, ...this.#wish(wish) }
    this.call.in('callback', ANSWER_MS)
  }

  #wish(wish: Omit<CallbackWish, 'packet'>): { readonly reason: string } {
    const { reason, summary } = this.#offer ?? { reason: 'a call back', summary: wish.note }
    this.withdrawOffer()
    this.call.out({ type: 'callback', wish: { ...wish, packet: handoffPacket(this.call, reason, summary) } })
    this.call.mark('callback-asked', wish.asked)
    return { reason }
  }

  #calledBack(reason: string): void {
    this.call.line.askedForHuman({ reason, strategy: 'callback', outcome: 'answered' })
  }

  /** @param refusal  null: the call back is kept */
  #answered(refusal: CallBackRefusal | null): void {
    const asking = this.#asking
    // The one who asked is gone, with its worker or in time; the call back is kept all the same, or is not.
    if (asking === null) return
    const { asked, reason, callIds } = asking
    this.#asking = null
    this.call.clear('callback')
    if (refusal === null) {
      this.#keyed = asked === 'key'
      this.#calledBack(reason)
      this.call.tell({ type: 'arranged', tool: CALLBACK_TOOL })
      this.call.mark('callback-noted', asked)
      this.call.changed()
    } else this.call.mark('callback-refused', refusal.why)
    for (const callId of callIds)
      this.call.ask(
        'answerTool',
        callId,
        refusal === null,
        refusal === null ? { noted: true } : { error: refusal.text },
        refusal?.text,
      )
    if (asked === 'key') this.#answerKey(refusal)
  }

  /** To a caller who pressed the key, in the gateway's own words. */
  #answerKey(refusal: CallBackRefusal | null): void {
    const { callback } = this.call.options.escalation ?? {}
    // One that waits for this number already is the call that they were promised.
    const isPromised = refusal === null || refusal.why === 'open'
    const words = this.call.text(isPromised ? callback?.confirmedText : callback?.refusedText)
    if (this.#endsAfterFailure(words)) return
    if (words !== '') this.call.talk.announce(words, 'escalation')
    this.call.model.tell(
      refusal === null
        ? 'The caller pressed 1: the call back is noted and they have been told.'
        : `The caller pressed 1, and ${isPromised ? 'a call back is noted already' : 'nobody will call back'}; they have been told. ${refusal.text}`,
    )
  }

  /** Says goodbye after `words`, if the call ends because no human could be reached. @returns true if it ends */
  #endsAfterFailure(words: string): boolean {
    const reason = this.call.line.endAfterFailure
    if (reason === null) return false
    const text = () => `${words} ${this.call.goodbye}`.trim()
    this.call.ask('sayThenEnd', reason, 'after the offer of a call back', text, false)
    return true
  }
}
