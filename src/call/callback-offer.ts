import type { CallCore } from './call-core.js'
import type { Ending } from './ending.js'
import { wordsDeadlineMs } from './ending.js'
import type { EscalationPacket } from './events.js'
import type { CallbackAsk } from './record.js'

/** A key that stands for yes. */
const YES_KEY = '1'
/** How long a key or a word is waited for when the question was heard: callers think for 3 to 5 s. */
const ANSWER_MS = 12_000
const DIGITS_MIN = 7
const DIGITS_MAX = 15

/** Whose wish it is, or was going to be. */
interface Wish {
  readonly reason: string
  readonly summary: string
}

/**
 * Asks a caller whom no human could take whether to call back, and takes wishes for a call back at any time.
 *
 *     closed --offer--> open      the words are spoken; the backend, where it lives, goes on listening
 *     open   --key 1, request_callback--> closed   noted, told outside
 *     open   --ANSWER_MS, another key while the backend is dead--> closed   told outside; then the goodbye, where one is due
 */
export class CallbackOffer {
  readonly #core: CallCore
  readonly #ending: Ending
  readonly #packet: (reason: string, summary: string) => EscalationPacket
  /** The wish that is asked about; null while nothing is. */
  #open: Wish | null = null

  constructor(core: CallCore, ending: Ending, packet: (reason: string, summary: string) => EscalationPacket) {
    this.#core = core
    this.#ending = ending
    this.#packet = packet
  }

  /** Says why nobody comes and asks the question. */
  offer(words: string, wish: Wish | null): void {
    const core = this.#core
    const text = `${words} ${core.options.escalation?.callback?.offerText ?? ''}`.trim()
    this.#open = wish ?? { reason: '', summary: '' }
    core.announce(text, 'escalation')
    core.in('offer', wordsDeadlineMs(core, text) + ANSWER_MS)
    core.mark('callback-offered')
  }

  /** Another way to a human is tried: the question is not open any more. */
  withdraw(): void {
    this.#open = null
    this.#core.deadlines.clear('offer')
  }

  /** @returns true when the key was an answer to the question. */
  digit(digit: string): boolean {
    const core = this.#core
    if (this.#open === null) return false
    if (digit === YES_KEY) {
      // Whatever else is being said, the answer to it is known.
      core.hushAgent()
      this.#take('key', null, '')
      const confirmed = core.options.escalation?.callback?.confirmedText ?? ''
      if (this.#endsTheCall) {
        this.#goodbye(confirmed)
      } else {
        if (confirmed !== '') core.announce(confirmed, 'escalation')
        core.out({ type: 'backend-text', text: 'The caller pressed 1: the call back is noted and they have been told.', role: 'system', respond: false })
      }
      return true
    }
    if (!core.backendDead) return false
    this.due()
    return true
  }

  /**
   * The model's `request_callback`.
   * @param number  as the caller gave it; null for the number that they call from
   * @returns what is wrong with it, for the model; null when it is noted
   */
  request(number: string | null, note: string): string | null {
    const { callback } = this.#core.options.escalation ?? {}
    if (callback === null || callback === undefined) return 'This line does not call back.'
    if (number === null && !callback.numberKnown) return 'The caller\'s number is withheld; ask for it and give it as number.'
    const digits = number?.replace(/[ ().-]/g, '') ?? null
    if (digits !== null && !(/^\+?\d+$/.test(digits) && digits.length >= DIGITS_MIN && digits.length <= DIGITS_MAX + 1)) {
      return 'number must be a phone number, digits only.'
    }
    this.#take('words', digits, note)
    return null
  }

  /** No answer in time. */
  due(): void {
    if (this.#open === null) return
    this.withdraw()
    this.#core.out({ type: 'callback', wish: null })
    this.#core.mark('callback-declined')
    if (this.#endsTheCall) this.#goodbye('')
  }

  #take(asked: CallbackAsk, number: string | null, note: string): void {
    const core = this.#core
    const wish = this.#open ?? { reason: 'a call back', summary: note }
    this.withdraw()
    core.escalation = { reason: wish.reason, strategy: 'callback', outcome: 'answered' }
    core.out({ type: 'callback', wish: { asked, number, note, packet: this.#packet(wish.reason, wish.summary) } })
    core.mark('callback-noted', asked)
    core.checkpointDue = true
  }

  get #endsTheCall(): boolean {
    return this.#core.backendDead || this.#core.options.escalation?.afterFailure === 'goodbye'
  }

  #goodbye(words: string): void {
    const core = this.#core
    const reason = core.backendDead ? 'backend-failed' : 'agent-goodbye'
    this.#ending.speakThenEnd(reason, 'after the offer of a call back', `${words} ${core.options.goodbyeText}`.trim(), false)
  }
}
