import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import { NO_DIGIT, YES_DIGIT } from '../escalation-rules.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'
import { isSmallTalk, isYesNo, saysNo } from '../turns/turn-words.js'

/**
 * Times for the end of the wait for a refusal, in milliseconds. First: maximum delay of recognised words after the
 * voice. Second: time after `refusal.waitMs` for a caller who speaks. Third: interval between checks.
 */
const CONSENT_WORDS_MS = 2000
const CONSENT_SPEECH_MS = 4000

const CONSENT_POLL_MS = 100
type Progress = 'due' | 'saying' | 'answer' | 'withdrawn' | 'refused' | 'said'

/** Instruction for the model not to talk about the refusal. */
const REFUSED_TEXT =
  'The caller has just said that they do not want to be recorded, and was told that nothing of this call is kept. Do not ask why.'

const HEARS = ['conversation-begins', 'recording-found', 'response-unwanted', 'caller-said'] as const

/**
 * Announcement that the call is recorded or transcribed, and the caller's answer to it.
 *
 *     due    --the consent text begins--> saying
 *     saying --heard, the agent waits for a refusal--> answer
 *     saying --heard, no wait is set--> said
 *     saying --cannot be heard--> said: nothing of the recording is kept
 *     saying, answer --a refusal--> said: nothing is kept
 *     answer --other words; silence for `refusal.waitMs`--> said
 *     saying, answer --the person was only a recording--> withdrawn --a person takes the call--> saying
 *     withdrawn --a refusal, from a person who talks for long--> refused: nothing is kept --somebody takes the call--> said
 */
export class Consent extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['askConsent'] as const
  /** Progress of the announcement; not used if the agent does not have an announcement. */
  #progress: Progress
  /** True until the backend knows that the caller does not want to be recorded. */
  #refusalUntold = false
  #itemId: string | null = null
  /** Time at which the caller heard the end of the announcement. */
  #heardAtMs = Infinity
  /** True if the backend began to answer before the caller's words were recognised, and was interrupted. */
  #interrupted = false

  constructor(call: CallKernel) {
    super(call)
    // The previous worker has made the announcement, unless its checkpoint contains `untold`.
    const told = call.newStream?.consented ?? (call.resume !== null && call.resume.untold !== true)
    this.#progress = told ? 'said' : 'due'
  }

  due(name: DeadlineName): void {
    if (name === 'consent') this.#due()
  }

  checkpoint(): Pick<CallCheckpoint, 'untold'> {
    const over = this.#progress === 'said' || this.#progress === 'refused'
    return over || this.call.text(this.call.options.consentText) === '' ? {} : { untold: true }
  }

  input(input: CallInput): boolean {
    return input.type === 'dtmf' && this.#digit(input.digit)
  }

  itemOver(itemId: string, over: 'heard' | 'cut'): void {
    if (itemId === this.#itemId) this.#textOver(over === 'heard')
  }

  hear(fact: FactOf<typeof HEARS>): void {
    if (fact.type === 'conversation-begins') this.#conversationBegins()
    else if (fact.type === 'recording-found') this.#withdraw()
    else if (fact.type === 'response-unwanted') this.#interrupted ||= this.#progress === 'answer'
    else if (fact.type === 'caller-said' && fact.final) this.#words(fact.text)
  }

  /**
   * Says the consent text. If the caller's language is not known yet, the text waits for the look-up.
   * @returns false if the text was said earlier, or is not needed
   */
  askConsent(): boolean {
    if (this.call.text(this.call.options.consentText) === '') return false
    if (this.#progress === 'refused') {
      this.#become('said')
      this.#sayRefused()
    }
    if (this.#progress !== 'due' && this.#progress !== 'withdrawn') return false
    if (this.call.ask('awaitCaller', 'converse')) return true
    this.#say()
    return true
  }

  /**
   * Says the consent text if it has not begun. This is necessary if an escalation fails while `askConsent` waits for a
   * look-up.
   */
  #conversationBegins(): void {
    if (this.#progress === 'due' && this.call.text(this.call.options.consentText) !== '') this.#say()
    this.#tellRefusal()
  }

  #say(): void {
    const text = this.call.text(this.call.options.consentText)
    this.#become('saying')
    this.#itemId = this.call.talk.announce(text, 'prompt')
    this.call.in('consent', this.call.talk.wordsMs(text))
  }

  /**
   * Withdraws the announcement, because a person cannot hear or answer it now. The next person on the line hears the
   * announcement from its beginning.
   */
  #withdraw(): void {
    if (!this.#waiting) return
    this.call.clear('consent')
    this.#become('withdrawn')
    this.#itemId = null
  }

  #become(progress: Progress): void {
    this.#progress = progress
    this.call.keypad.grants.set('consent', this.#waiting)
    this.call.floor.sound.set('consent', progress === 'saying')
    if (progress !== 'answer') this.call.floor.open('consent')
  }

  /** Informs the backend of a refusal, when the backend is ready. */
  #tellRefusal(): void {
    if (!this.#refusalUntold) return
    this.#refusalUntold = false
    this.call.model.tell(REFUSED_TEXT)
  }

  /** True if the conversation waits for the announcement. */
  get #waiting(): boolean {
    return this.#progress === 'saying' || this.#progress === 'answer'
  }

  /**
   * Notes that the consent text was heard, or cannot be heard. If the text cannot be heard, the recording is not kept.
   */
  #textOver(heard: boolean): void {
    if (this.#progress !== 'saying') return
    const { refusal } = this.call.options
    this.call.clear('consent')
    this.call.mark('recording', heard ? 'the caller was told' : 'the caller could not be told')
    if (!heard || refusal === null || this.call.line.state !== 'connecting') return this.#settled(heard)
    this.#become('answer')
    // A backend that ends turns itself would answer before the caller's words are recognised, so its response is not
    // played. Other backends answer only recognised words.
    if (this.call.options.serverVad) this.call.floor.close('consent')
    this.#heardAtMs = this.call.nowMs
    this.call.in('consent', refusal.waitMs)
  }

  /**
   * Ends the wait if no answer came in time. A caller who speaks may finish first. The words arrive some time after the
   * voice.
   */
  #due(): void {
    if (this.#progress === 'saying') return this.#textOver(false)
    const { speaking, lastVoicedMs } = this.call.callerSpeech
    const untilMs = this.#heardAtMs + (this.call.options.refusal?.waitMs ?? 0) + CONSENT_SPEECH_MS
    const spoke = lastVoicedMs > this.#heardAtMs && this.call.nowMs < lastVoicedMs + CONSENT_WORDS_MS
    if ((speaking || spoke) && this.call.nowMs < untilMs) return this.call.in('consent', CONSENT_POLL_MS)
    this.#answered(false)
  }

  /**
   * Handles the caller's words. A refusal counts during the text and after `withdraw`. Other answers count only after
   * the text.
   */
  #words(text: string): void {
    const refused = saysNo(text)
    if (refused && this.#progress === 'withdrawn' && this.call.options.refusal !== null) {
      this.#become('refused')
      return this.#refused()
    }
    if (!this.#waiting || (!refused && this.#progress !== 'answer')) return
    // The response of a backend that ends turns itself was interrupted. That backend is asked to greet, unless the
    // caller's words need an answer.
    const asks = !refused && !isYesNo(text) && !isSmallTalk(text)
    this.call.ask('answerFirst', asks || !this.call.options.serverVad, this.#interrupted)
    this.#answered(refused)
  }

  /** @returns true if the digit was an answer */
  #digit(digit: string): boolean {
    const refused = digit === NO_DIGIT
    if (!(refused && this.#waiting) && !(digit === YES_DIGIT && this.#progress === 'answer')) return false
    return this.#answered(refused)
  }

  /** @returns false if the call does not wait for an answer */
  #answered(refused: boolean): boolean {
    const { refusal } = this.call.options
    if (!this.#waiting || refusal === null) return false
    this.call.clear('consent')
    if (this.call.options.serverVad) {
      this.call.floor.discard()
      this.call.floor.open('consent')
    }
    if (refused) {
      this.#refused()
      this.#sayRefused()
    }
    this.#settled(!refused)
    return true
  }

  #refused(): void {
    this.call.mark('recording', 'the caller said no')
    this.call.out({ type: 'recording-refused' })
    this.#refusalUntold = true
  }

  #sayRefused(): void {
    this.call.talk.announce(this.call.text(this.call.options.refusal?.text ?? ''), 'prompt')
  }

  #settled(announced: boolean): void {
    this.#become('said')
    if (announced) this.call.out({ type: 'recording-announced' })
    if (this.call.line.state === 'connecting') this.call.ask('converse')
  }
}
