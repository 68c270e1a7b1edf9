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

/** Time for the caller to answer the question by digit or in words, in milliseconds. Callers think for 3 to 5 s. */
const OFFER_ANSWER_MS = 12_000
/** Time for the gateway to accept or refuse the call back, in milliseconds. The store has 2 s of this time. */
const ANSWER_MS = 4000
const NO_ANSWER: CallBackRefusal = {
  why: 'not-kept',
  text: 'The call back could not be noted; nobody will call. Tell the caller so.',
}

const HEARS = ['understood', 'recording-found', 'line', 'call-ended'] as const

/**
 * A call back that is offered after a failed escalation, or that the caller requests.
 *
 *     offer  --digit 1, request_callback--> asking, output `callback`
 *     asking --`callback-answer`, or none within ANSWER_MS--> noted or refused: caller and model are informed
 *     offer  --OFFER_ANSWER_MS, or another digit when the backend is dead--> output `callback`, perhaps a goodbye
 */
export class CallBackOffer extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['offerCallBack', 'withdrawOffer', 'noteCallBack'] as const
  /** Call back that is offered to the caller; null without an open offer. */
  #offer: { readonly reason: string; readonly summary: string } | null = null
  /** True if the call ends unless the caller accepts the offer. The caller may already have left the line. */
  #endsAfterOffer = false
  /** Item of the question. */
  #itemId: string | null = null
  /** True if the caller accepted by DTMF digit. A yes spoken simultaneously belongs to the same request. */
  #keyed = false
  /** Request that waits for an answer; null without such a request. */
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
    // The caller is present, so an offer that would end the call is withdrawn.
    if (fact.type === 'understood' && this.#endsAfterOffer) this.withdrawOffer()
    else if (fact.type === 'recording-found' || (fact.type === 'line' && fact.to === 'escalating')) this.withdrawOffer()
    else if (fact.type === 'call-ended' && fact.callerHungUp) {
      const message = this.#begunMessage()
      // The caller has hung up. Therefore no tool call or digit waits for the result of this request.
      if (message !== null) this.#calledBack(this.#wish({ asked: 'words', number: null, note: message }).reason)
    }
  }

  /**
   * Says that no human is available and offers a call back.
   * @param ends  true if the call ends unless the caller accepts
   */
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

  /** @returns true if the digit answered the offer of a call back */
  #digit(digit: string): boolean {
    if (this.#offer === null) return false
    if (digit === YES_DIGIT) {
      // The caller has answered, so the rest of the question is discarded. Other speech of the agent is played to its
      // end.
      if (this.call.agentSpeech.item(this.#itemId)?.over === 'no') this.call.talk.stopAgent()
      this.#ask({ asked: 'key', number: null, note: '' }, [])
      return true
    }
    if (!this.call.model.dead) return false
    this.#declined()
    return true
  }

  /** Handles an offer that was not answered in time, or was not accepted. */
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
   * Handles the model's `request_callback`. The tool call is answered when the call back is stored or refused.
   * @param number  number as the caller stated it; null for the number from which the caller calls
   * @param wantedAt  the caller's date and time as the model wrote them; null if the caller named none
   * @returns the error for the model; null if the answer follows
   */
  noteCallBack(callId: string, number: string | null, note: string, wantedAt: string | null): string | null {
    const { callback } = this.call.options.escalation ?? {}
    if (callback === null || callback === undefined) return 'This line does not call back.'
    if (number === null && !callback.numberKnown)
      return "The caller's number is withheld, or is none that we call; ask for another and give it as number."
    // The caller is promised a call. If this number cannot be called, the agent therefore asks for another number.
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
   * Returns the message that a caller began before hanging up. Such a caller expects a call back.
   * @returns null if the message is empty, already stored or not wanted
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

  /** @param refusal  null if the call back was stored */
  #answered(refusal: CallBackRefusal | null): void {
    const asking = this.#asking
    // The request no longer exists, because its worker was lost, or its deadline has passed. The gateway still stores
    // or refuses the call back.
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

  /** Answers a caller who pressed a digit, in the gateway's own words. */
  #answerKey(refusal: CallBackRefusal | null): void {
    const { callback } = this.call.options.escalation ?? {}
    // A call back for this number is already waiting. The caller gets that call back, so the promise is kept.
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

  /** Says `words` and goodbye if the call has to end because a human was not reached. @returns true if the call ends */
  #endsAfterFailure(words: string): boolean {
    const reason = this.call.line.endAfterFailure
    if (reason === null) return false
    const text = () => `${words} ${this.call.goodbye}`.trim()
    this.call.ask('sayThenEnd', reason, 'after the offer of a call back', text, false)
    return true
  }
}
