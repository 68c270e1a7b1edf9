import type { CarrierState } from '../../call/events.js'
import type { VoiceAction } from '../../sautikit/actions.js'
import type { ContinuationAsker } from '../../escalation/documents.js'
import type { AfterStream, HumanOutcome, SimulatedHuman } from '../call-options.js'
import type { SpokenLine } from './observed-call.js'

/** As the carrier of spoken calls: a gateway that redirects in circles must end too. */
const DOCUMENTS_MAX = 20
/** How long a caller stands a silent line. */
const GIVE_UP_MS = 20_000

/** The way on of a call, as the edge asks for it. */
export interface AfterStreamCall {
  carrierState(state: CarrierState): void
  continuation(asker: ContinuationAsker, digits?: string | null): readonly VoiceAction[]
}

/** Who asks for the next document, and with which keys of the caller. */
interface Question {
  readonly asker: ContinuationAsker
  readonly digits: string | null
}

export interface TextCarrierOptions {
  readonly call: AfterStreamCall
  readonly afterStream: AfterStream
  readonly human: SimulatedHuman
  readonly nowMs: () => number
  /** Says something to the caller; resolves when it has been heard. */
  readonly speak: (text: string) => Promise<void>
  /** The next key that the caller pressed and nobody has taken; null for none. */
  readonly takeKey: () => string | null
  /** Waits in the call's own time; ends early when the call is over. */
  readonly wait: (ms: number) => Promise<void>
  readonly over: () => boolean
}

const DIAL_STATES: Readonly<Record<HumanOutcome, CarrierState>> = {
  'answered': 'answered', 'busy': 'busy', 'no-answer': 'no-answer', 'declined': 'busy',
}

const GET_DIGITS_TIMEOUT_S = 5
const KEY_POLL_MS = 50

/** What the carrier does with a call after its stream: the documents it is given, without their sound. */
export class TextCarrier {
  readonly dials: { readonly outcome: HumanOutcome }[] = []
  readonly said: SpokenLine[] = []
  readonly complaints: string[] = []
  readonly #options: TextCarrierOptions

  constructor(options: TextCarrierOptions) {
    this.#options = options
  }

  /** Runs until nothing is left to do. @returns why the call ended */
  async run(): Promise<string> {
    const { call, afterStream, over } = this.#options
    call.carrierState('stream-stopped')
    if (afterStream === 'holds') return this.#giveUp()
    let question: Question = { asker: afterStream === 'continues' ? 'after-stream' : 'voice', digits: null }
    for (let documents = 0; documents < DOCUMENTS_MAX && !over(); documents++) {
      const actions = call.continuation(question.asker, question.digits)
      // A webhook that is answered with nothing leaves the leg in silence.
      if (actions.length === 0 && question.asker === 'voice' && documents === 0) return this.#giveUp()
      const next = await this.#document(actions)
      if (next === null) return 'the document has nothing left to do'
      question = next
    }
    if (!over()) this.complaints.push(`more than ${DOCUMENTS_MAX} documents in one call`)
    return 'the call is over'
  }

  async #giveUp(): Promise<string> {
    await this.#options.wait(GIVE_UP_MS)
    return 'gave up on a silent line after the stream'
  }

  /** @returns what asks for the next document; null when nothing does */
  async #document(actions: readonly VoiceAction[]): Promise<Question | null> {
    for (const action of actions) {
      if (this.#options.over()) return null
      switch (action.verb) {
        case 'say':
          await this.#say(action.text)
          break
        case 'get-digits':
          for (const nested of action.nested) if (nested.verb === 'say') await this.#say(nested.text)
          return { asker: 'voice', digits: await this.#digits(action) }
        case 'dial':
          if (action.numbers.length === 0) this.complaints.push('Dial names nobody')
          if (await this.#dial((action.timeoutS ?? 60) * 1000)) return null
          return { asker: 'voice', digits: null }
        case 'redirect':
          return { asker: 'after-stream', digits: null }
        case 'hangup': case 'reject':
          return null
        case 'conference':
          // Someone else ends it; the caller waits in the room.
          await this.#options.wait(GIVE_UP_MS)
          return null
        default:
          this.complaints.push(`text mode plays no ${action.verb} after the stream`)
      }
    }
    return null
  }

  /** Keys until enough came, the last one was pressed, or none for a while. */
  async #digits({ timeoutS, numDigits = 0, finishOnKey = '#' }: Extract<VoiceAction, { readonly verb: 'get-digits' }>): Promise<string> {
    const { takeKey, wait, over, nowMs } = this.#options
    const timeoutMs = (timeoutS ?? GET_DIGITS_TIMEOUT_S) * 1000
    let digits = ''
    let untilMs = nowMs() + timeoutMs
    while (!over() && nowMs() < untilMs && (numDigits === 0 || digits.length < numDigits)) {
      const key = takeKey()
      if (key === finishOnKey) break
      if (key === null) {
        await wait(KEY_POLL_MS)
        continue
      }
      digits += key
      untilMs = nowMs() + timeoutMs
    }
    return digits
  }

  async #say(text: string): Promise<void> {
    const startMs = this.#options.nowMs()
    await this.#options.speak(text)
    this.said.push({ role: 'carrier', text, startMs, endMs: this.#options.nowMs() })
  }

  /** @returns true when the human was reached and has hung up, and with them the call */
  async #dial(timeoutMs: number): Promise<boolean> {
    const { call, human, wait, over } = this.#options
    call.carrierState('ringing')
    const ringMs = Math.min(human.ringMs, timeoutMs)
    await wait(ringMs)
    if (over()) return true
    const outcome = human.ringMs > ringMs ? 'no-answer' : human.outcome
    this.dials.push({ outcome })
    call.carrierState(DIAL_STATES[outcome])
    if (outcome !== 'answered') return false
    await wait(human.talkMs)
    if (over()) return true
    call.carrierState('dial-completed')
    return false
  }
}
