import { YES_DIGIT } from '../call/escalation-rules.js'
import type { EscalationSnapshot } from '../call/documents/kept-call.js'
import type { SayAction, VoiceAction } from '../sautikit/actions.js'

/**
 * Maximum time in ms after the stream was closed in which a continuing carrier requests a document. A carrier that does
 * not send a request in this time holds the leg.
 */
export const CONTINUATION_MS = 3000
/**
 * Time after a request, in milliseconds, in which a second request of the same kind is a repetition. The carrier
 * repeats a request if the first answer was lost.
 */
const REPEAT_MS = 1000

export const NO_ACTIONS: readonly VoiceAction[] = []
export const HANG_UP: readonly VoiceAction[] = [{ verb: 'hangup' }]

/**
 * Kinds of carrier requests that may ask for a document after the stream. The list is equal to the list of the edge's
 * routes.
 */
export type ContinuationAsker = 'after-stream' | 'voice' | 'stream-status' | 'events'

/**
 * Returns the instruction that calls humans.
 * @param timeoutS  ringing time of each phone number, in seconds
 * @param callerId  number that the human sees; null if the carrier decides
 */
export function dialTo(numbers: readonly string[], timeoutS: number, callerId: string | null): VoiceAction {
  return { verb: 'dial', numbers, timeoutS, ...(callerId === null ? {} : { callerId }) }
}

/** Offer of a call back in the carrier's voice, for a caller whose stream is closed. */
interface SpokenOffer {
  readonly ask: SayAction
  readonly confirmed: SayAction
  /** Time that the carrier waits for a digit, in seconds. */
  readonly waitS: number
}

export interface DocumentOptions {
  /** Phone number that the human sees; null if the carrier decides. */
  readonly callerId: string | null
  /** Ringing time of one phone number, in milliseconds. */
  readonly ringTimeoutMs: number
  /** URL that the carrier requests after a `<Dial>`. If null, the document itself ends with words and a hang-up. */
  readonly redirectUrl: string | null
  /** Words after the last failed dial. */
  readonly failedSay: SayAction
  /** Offer of a call back after the stream; null if a call back cannot be offered. */
  readonly offer: SpokenOffer | null
}

type ServedDial = NonNullable<EscalationSnapshot['dial']>
type FarewellState = EscalationSnapshot['farewell']

/**
 * A served Dial document, and the kind of request for which it was served. If the document ends with a Redirect, the
 * carrier sends another request after the dial. The outcome of the dial determines the answer to that request.
 */
export class DialDocument {
  readonly actions: readonly VoiceAction[]
  readonly servedAtMs: number
  /**
   * True if the carrier has certainly read the document. Either the carrier obeys answers to this kind of request, or
   * an event has shown the document's dial.
   */
  sure = false
  readonly #number: string
  readonly #asker: ContinuationAsker
  #repeated = false

  constructor(options: DocumentOptions, number: string, asker: ContinuationAsker, nowMs: number) {
    const { callerId, ringTimeoutMs, redirectUrl } = options
    this.#number = number
    this.#asker = asker
    this.servedAtMs = nowMs
    this.actions = [
      dialTo([number], Math.ceil(ringTimeoutMs / 1000), callerId),
      ...(redirectUrl === null ? farewell(options) : [{ verb: 'redirect', url: redirectUrl, method: 'POST' } as const]),
    ]
  }

  static restored(options: DocumentOptions, served: ServedDial, nowMs: number): DialDocument {
    const dial = new DialDocument(options, served.number, served.asker, nowMs - served.servedMs)
    dial.sure = served.sure
    return dial
  }

  snapshot(nowMs: number): ServedDial {
    return { number: this.#number, asker: this.#asker, sure: this.sure, servedMs: nowMs - this.servedAtMs }
  }

  /**
   * Handles another request after this document was served.
   * @returns `repeat`: the answer was lost, so serve the document again. `serve-again`: the carrier may not have read
   * the first answer, but reads the answer to this kind of request. `dial-is-over`: the request is the document's own
   * Redirect
   */
  askedAgain(asker: ContinuationAsker, nowMs: number): 'repeat' | 'serve-again' | 'dial-is-over' | 'nothing' {
    const sinceMs = nowMs - this.servedAtMs
    if (asker === this.#asker && sinceMs < REPEAT_MS && !this.#repeated) {
      this.#repeated = true
      return 'repeat'
    }
    // The carrier may not read the answer to a status callback, so the next request of another kind gets the document
    // again.
    if (!this.sure && asker !== 'stream-status') return 'serve-again'
    const overMs = asker === this.#asker ? REPEAT_MS : CONTINUATION_MS
    return asker === 'after-stream' && sinceMs >= overMs ? 'dial-is-over' : 'nothing'
  }
}

/** Answer to the carrier for a caller who could not be connected. */
interface Farewell {
  readonly actions: readonly VoiceAction[]
  /** True if the document asks for a digit. */
  readonly asks: boolean
  /** True if the caller accepted the call back; true only once. */
  readonly accepted: boolean
}

/**
 * Document for a caller who could not be connected and whose stream is closed: words and a hang-up. If a call back can
 * be offered, the document begins with the question, and another request contains the caller's digit.
 *
 *     none  --a request--> asked             a repeated request gets this document again
 *     asked --digit 1--> done                accepted and confirmed
 *     asked --another digit, none--> asked   the line is hung up
 *     none  --no request comes--> done       the caller is called back anyway
 */
export class FarewellDocument {
  readonly #options: DocumentOptions
  #state: FarewellState['state']
  #askedAtMs: number

  constructor(options: DocumentOptions, before: FarewellState = { state: 'none', askedMs: null }, nowMs = 0) {
    this.#options = options
    this.#state = before.state
    this.#askedAtMs = before.askedMs === null ? Infinity : nowMs - before.askedMs
  }

  snapshot(nowMs: number): FarewellState {
    return { state: this.#state, askedMs: this.#askedAtMs === Infinity ? null : nowMs - this.#askedAtMs }
  }

  ask(asker: ContinuationAsker, digits: string | null, nowMs: number): Farewell {
    const { offer, failedSay } = this.#options
    if (offer === null) return answer(farewell(this.#options))
    if (digits !== null && this.#state !== 'none') {
      if (digits !== YES_DIGIT) return answer(HANG_UP)
      const accepted = this.#state === 'asked'
      this.#state = 'done'
      return { ...answer([offer.confirmed, ...HANG_UP]), accepted }
    }
    // Later requests about the leg that hears the question are not requests for a document.
    if (this.#state === 'done' || nowMs - this.#askedAtMs > REPEAT_MS) return answer(NO_ACTIONS)
    const question: readonly VoiceAction[] = [
      { verb: 'get-digits', numDigits: 1, timeoutS: offer.waitS, nested: [failedSay, offer.ask] },
      ...HANG_UP,
    ]
    // The carrier seldom reads the answer to a status callback, so the question must be asked again.
    if (asker === 'stream-status') return answer(question)
    this.#state = 'asked'
    this.#askedAtMs = Math.min(this.#askedAtMs, nowMs)
    return { ...answer(question), asks: true }
  }

  /**
   * Notes that the carrier did not send a request. @returns true if the caller must be called back without a question
   */
  notAsked(): boolean {
    if (this.#options.offer === null || this.#state !== 'none') return false
    this.#state = 'done'
    return true
  }
}

function answer(actions: readonly VoiceAction[]): Farewell {
  return { actions, asks: false, accepted: false }
}

/**
 * Returns words and a hang-up. The document never contains a second stream, because the carrier rejects a second
 * stream.
 */
function farewell({ failedSay }: DocumentOptions): readonly VoiceAction[] {
  return [failedSay, ...HANG_UP]
}
