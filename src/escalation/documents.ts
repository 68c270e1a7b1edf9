import { YES_DIGIT } from '../call/escalation-rules.js'
import type { EscalationSnapshot } from '../call/documents/kept-call.js'
import type { SayAction, VoiceAction } from '../sautikit/actions.js'

/**
 * A carrier that continues a call asks for a document within this time after the stream closes; otherwise it holds the
 * leg.
 */
export const CONTINUATION_MS = 3000
/** A second request of the same asker within this time is a retry of one whose answer was lost. */
const REPEAT_MS = 1000

export const NO_ACTIONS: readonly VoiceAction[] = []
export const HANG_UP: readonly VoiceAction[] = [{ verb: 'hangup' }]

/** The carrier's requests that may ask for a document after the stream. The same list as the edge's routes. */
export type ContinuationAsker = 'after-stream' | 'voice' | 'stream-status' | 'events'

/**
 * Rings humans. @param timeoutS  how long each number rings
 * @param callerId  the number that the human sees; null: the carrier decides
 */
export function dialTo(numbers: readonly string[], timeoutS: number, callerId: string | null): VoiceAction {
  return { verb: 'dial', numbers, timeoutS, ...(callerId === null ? {} : { callerId }) }
}

/** The offer of a call back in the carrier's voice, for a caller whose stream is closed. */
interface SpokenOffer {
  readonly ask: SayAction
  readonly confirmed: SayAction
  /** How long the carrier waits for a digit. */
  readonly waitS: number
}

export interface DocumentOptions {
  /** The number that the human sees; null: the carrier decides. */
  readonly callerId: string | null
  /** How long one number rings. */
  readonly ringTimeoutMs: number
  /** URL that the carrier requests after a `<Dial>`; null: the document itself ends with words and a hang-up. */
  readonly redirectUrl: string | null
  /** The words after the last failed dial. */
  readonly failedSay: SayAction
  /** Null: no call back can be offered after the stream. */
  readonly offer: SpokenOffer | null
}

type ServedDial = NonNullable<EscalationSnapshot['dial']>
type FarewellState = EscalationSnapshot['farewell']

/**
 * A Dial document that was served, with its asker. With a Redirect the carrier asks again when the dial is over; the
 * next answer depends on the outcome of the dial.
 */
export class DialDocument {
  readonly actions: readonly VoiceAction[]
  readonly servedAtMs: number
  /** The carrier surely read it: it obeys answers to this asker, or it was seen dialling. */
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
   * @returns `repeat`: the answer was lost, serve the same document. `serve-again`: the first asker may not have read
   * it, but
   *   this one surely does. `dial-is-over`: the request is the document's own Redirect
   */
  askedAgain(asker: ContinuationAsker, nowMs: number): 'repeat' | 'serve-again' | 'dial-is-over' | 'nothing' {
    const sinceMs = nowMs - this.servedAtMs
    if (asker === this.#asker && sinceMs < REPEAT_MS && !this.#repeated) {
      this.#repeated = true
      return 'repeat'
    }
    // The carrier may not read the answer to a status callback, so the next other asker gets the document again.
    if (!this.sure && asker !== 'stream-status') return 'serve-again'
    const overMs = asker === this.#asker ? REPEAT_MS : CONTINUATION_MS
    return asker === 'after-stream' && sinceMs >= overMs ? 'dial-is-over' : 'nothing'
  }
}

/** Answer to the carrier for a caller who could not be connected. */
interface Farewell {
  readonly actions: readonly VoiceAction[]
  /** The document asks for a digit. */
  readonly asks: boolean
  /** The caller accepted the call back; true only once. */
  readonly accepted: boolean
}

/**
 * The document for a caller who could not be connected and whose stream is closed: words and a hang-up. When a call
 * back can be offered, the question comes first; the digit comes back with another request.
 *
 *     none  --a request--> asked             the same document for a repeated request
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
    // Later requests about the leg that hears the question do not ask for a document.
    if (this.#state === 'done' || nowMs - this.#askedAtMs > REPEAT_MS) return answer(NO_ACTIONS)
    const question: readonly VoiceAction[] = [
      { verb: 'get-digits', numDigits: 1, timeoutS: offer.waitS, nested: [failedSay, offer.ask] },
      ...HANG_UP,
    ]
    // The carrier seldom reads the answer to a status callback: the question still has to be asked.
    if (asker === 'stream-status') return answer(question)
    this.#state = 'asked'
    this.#askedAtMs = Math.min(this.#askedAtMs, nowMs)
    return { ...answer(question), asks: true }
  }

  /** No request came. @returns true when the caller must be called back without having been asked */
  notAsked(): boolean {
    if (this.#options.offer === null || this.#state !== 'none') return false
    this.#state = 'done'
    return true
  }
}

function answer(actions: readonly VoiceAction[]): Farewell {
  return { actions, asks: false, accepted: false }
}

/** Words and a hang-up. Never a second stream: the carrier rejects it. */
function farewell({ failedSay }: DocumentOptions): readonly VoiceAction[] {
  return [failedSay, ...HANG_UP]
}
