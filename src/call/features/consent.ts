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
 * The words of a caller who has spoken come this long after the voice; how long one who goes on is heard out, beyond
 * `refusal.waitMs`; and how often that is looked at.
 */
const CONSENT_WORDS_MS = 2000
const CONSENT_SPEECH_MS = 4000

const CONSENT_POLL_MS = 100
type Progress = 'due' | 'saying' | 'answer' | 'withdrawn' | 'refused' | 'said'

/** To the model: nothing that it says has to come back to it. */
const REFUSED_TEXT =
  'The caller has just said that they do not want to be recorded, and was told that nothing of this call is kept. Do not ask why.'

const HEARS = ['conversation-begins', 'recording-found', 'response-unwanted', 'caller-said'] as const

/**
 * The announcement that the call is recorded, or written down, and the caller's answer to it.
 *
 *     due    --the consent text begins--> saying
 *     saying --heard, and a no is waited for--> answer; otherwise--> said; not heard: nothing of the recording is kept
 *     saying, answer --a no--> said: nothing is kept
 *     answer --other words; nothing for `refusal.waitMs`--> said
 *     saying, answer --a recording was taken for a person--> withdrawn --somebody takes the call--> saying
 *     withdrawn --a no: it is a person who talks for long--> refused: nothing is kept --somebody takes the call--> said
 */
export class Consent extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['askConsent'] as const
  /** Progress of the announcement that the call is recorded, where one is set. */
  #progress: Progress
  /** The backend does not know yet that the caller does not want to be recorded. */
  #refusalUntold = false
  #itemId: string | null = null
  /** When it was heard. */
  #heardAtMs = Infinity
  /** The backend began to answer before it was known what the caller had said, and was interrupted. */
  #interrupted = false

  constructor(call: CallKernel) {
    super(call)
    // Who had the call before has said it, where it had to be said.
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

  /** Says the text, in the caller's language once that is known. @returns false when it was said, or need not be said */
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

  /** Not by `askConsent`, which waited for a look-up, where an escalation that failed came first. */
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

  /** Nobody is there who could hear it, or answer: whoever comes hears it from its beginning. */
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

  /** The backend is ready: it learns of a refusal. */
  #tellRefusal(): void {
    if (!this.#refusalUntold) return
    this.#refusalUntold = false
    this.call.model.tell(REFUSED_TEXT)
  }

  /** The conversation waits for it. */
  get #waiting(): boolean {
    return this.#progress === 'saying' || this.#progress === 'answer'
  }

  /** The consent text was heard, or cannot be heard; in the second case nothing of the recording is kept. */
  #textOver(heard: boolean): void {
    if (this.#progress !== 'saying') return
    const { refusal } = this.call.options
    this.call.clear('consent')
    this.call.mark('recording', heard ? 'the caller was told' : 'the caller could not be told')
    if (!heard || refusal === null || this.call.line.state !== 'connecting') return this.#settled(heard)
    this.#become('answer')
    // A backend that ends turns of itself answers before the words are known: not yet. Others answer what is known.
    if (this.call.options.serverVad) this.call.floor.close('consent')
    this.#heardAtMs = this.call.nowMs
    this.call.in('consent', refusal.waitMs)
  }

  /** No answer yet: who speaks is heard out, and the words come a while after the voice. */
  #due(): void {
    if (this.#progress === 'saying') return this.#textOver(false)
    const { speaking, lastVoicedMs } = this.call.callerSpeech
    const untilMs = this.#heardAtMs + (this.call.options.refusal?.waitMs ?? 0) + CONSENT_SPEECH_MS
    const spoke = lastVoicedMs > this.#heardAtMs && this.call.nowMs < lastVoicedMs + CONSENT_WORDS_MS
    if ((speaking || spoke) && this.call.nowMs < untilMs) return this.call.in('consent', CONSENT_POLL_MS)
    this.#answered(false)
  }

  /** A no counts while the text is said, and where it comes after `withdraw`; anything else only after the text. */
  #words(text: string): void {
    const refused = saysNo(text)
    if (refused && this.#progress === 'withdrawn' && this.call.options.refusal !== null) {
      this.#become('refused')
      return this.#refused()
    }
    if (!this.#waiting || (!refused && this.#progress !== 'answer')) return
    // One that ends turns of itself was interrupted: it is asked to greet, unless there is more to answer than a greeting.
    const asks = !refused && !isYesNo(text) && !isSmallTalk(text)
    this.call.ask('answerFirst', asks || !this.call.options.serverVad, this.#interrupted)
    this.#answered(refused)
  }

  /** @returns whether the digit was an answer */
  #digit(digit: string): boolean {
    const refused = digit === NO_DIGIT
    if (!(refused && this.#waiting) && !(digit === YES_DIGIT && this.#progress === 'answer')) return false
    return this.#answered(refused)
  }

  /** @returns false where no answer is waited for */
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
