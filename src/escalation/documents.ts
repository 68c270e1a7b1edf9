import type { SayAction, VoiceAction } from '../sautikit/actions.js'

/** A carrier that continues with a call asks for a document within this time after the stream closes; else it holds the leg in silence. */
export const CONTINUATION_MS = 3000
/** A second request of the same asker within this time repeats one whose answer was lost. */
const REPEAT_MS = 1000

/** The DTMF digit that means yes; the session asks for the same one while the stream is open. */
const YES_DIGIT = '1'

export const NO_ACTIONS: readonly VoiceAction[] = []
export const HANG_UP: readonly VoiceAction[] = [{ verb: 'hangup' }]

/** The carrier's requests that can ask for a document after the stream. The same list as the edge's routes. */
export type ContinuationAsker = 'after-stream' | 'voice' | 'stream-status' | 'events'

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
  /** Where the carrier asks again after a `<Dial>`; null: the document itself ends with words and a hang-up. */
  readonly redirectUrl: string | null
  /** The words after the last failed dial. */
  readonly failedSay: SayAction
  /** Null: no call back can be offered after the stream. */
  readonly offer: SpokenOffer | null
}

/**
 * A Dial document that was served, and to whom. With a Redirect the carrier asks again when the dial is over, and the answer
 * depends on how it went.
 */
export class DialDocument {
  readonly actions: readonly VoiceAction[]
  readonly servedAtMs: number
  /** The asker's answers are known to be obeyed, or the carrier was seen dialling. */
  sure = false
  readonly #asker: ContinuationAsker
  #repeated = false

  constructor(options: DocumentOptions, number: string, asker: ContinuationAsker, nowMs: number) {
    const { callerId, ringTimeoutMs, redirectUrl } = options
    this.#asker = asker
    this.servedAtMs = nowMs
    this.actions = [
      { verb: 'dial', numbers: [number], timeoutS: Math.ceil(ringTimeoutMs / 1000), ...(callerId === null ? {} : { callerId }) },
      ...(redirectUrl === null ? farewell(options) : [{ verb: 'redirect', url: redirectUrl, method: 'POST' } as const]),
    ]
  }

  /**
   * What another request means while this document is out.
   * @returns `repeat`: the answer was lost, the same document is due. `serve-again`: the first asker may not have read it, and
   *   this one surely does. `dial-is-over`: the request is the document's own Redirect
   */
  askedAgain(asker: ContinuationAsker, nowMs: number): 'repeat' | 'serve-again' | 'dial-is-over' | 'nothing' {
    const sinceMs = nowMs - this.servedAtMs
    if (asker === this.#asker && sinceMs < REPEAT_MS && !this.#repeated) {
      this.#repeated = true
      return 'repeat'
    }
    // The answer to a status callback may not be read: the first sure asker gets the document again.
    if (!this.sure && asker !== 'stream-status') return 'serve-again'
    const overMs = asker === this.#asker ? REPEAT_MS : CONTINUATION_MS
    return asker === 'after-stream' && sinceMs >= overMs ? 'dial-is-over' : 'nothing'
  }
}

/** What the carrier gets for a caller whom nobody reached, and what follows from it. */
interface Farewell {
  readonly actions: readonly VoiceAction[]
  /** A digit may come back. */
  readonly asks: boolean
  /** The caller wants to be called back; true once. */
  readonly accepted: boolean
}

/**
 * The document for a caller whom nobody reached and whose stream is closed: words and a hang-up, or, where a call back can be
 * offered, the question first. The digit comes back with another request.
 *
 *     none  --a request--> asked             the same document for a repeated request
 *     asked --digit 1--> done                accepted and confirmed
 *     asked --another digit, none--> asked   the line is hung up
 *     none  --no request comes--> done       the caller is called back all the same
 */
export class FarewellDocument {
  readonly #options: DocumentOptions
  #state: 'none' | 'asked' | 'done' = 'none'
  #askedAtMs = Infinity

  constructor(options: DocumentOptions) {
    this.#options = options
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
    // Later lifecycle events of a leg that hears the question do not ask for a document.
    if (this.#state === 'done' || nowMs - this.#askedAtMs > REPEAT_MS) return answer(NO_ACTIONS)
    const question: readonly VoiceAction[] = [
      { verb: 'get-digits', numDigits: 1, timeoutS: offer.waitS, nested: [failedSay, offer.ask] }, ...HANG_UP,
    ]
    // The answer to a status callback is seldom read: the question stays to be asked.
    if (asker === 'stream-status') return answer(question)
    this.#state = 'asked'
    this.#askedAtMs = Math.min(this.#askedAtMs, nowMs)
    return { ...answer(question), asks: true }
  }

  /** No request has come. @returns true when the caller is to be called back without having been asked */
  notAsked(): boolean {
    if (this.#options.offer === null || this.#state !== 'none') return false
    this.#state = 'done'
    return true
  }
}

function answer(actions: readonly VoiceAction[]): Farewell {
  return { actions, asks: false, accepted: false }
}

/** Words and a hang-up. Never a second stream: the carrier fails on it. */
function farewell({ failedSay }: DocumentOptions): readonly VoiceAction[] {
  return [failedSay, ...HANG_UP]
}
