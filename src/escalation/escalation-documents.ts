import type { VoiceAction } from '../sautikit/actions.js'
import type { EscalationAsker, EscalationOptions } from './escalation-events.js'

/** A carrier that goes on with a call asks within this of the socket's close; else it holds the leg in silence. */
export const CONTINUATION_MS = 3000
/** A webhook that comes again this soon from the same asker is a repeat of one whose answer was lost. */
export const REPEAT_MS = 1000

export const NO_ACTIONS: readonly VoiceAction[] = []
export const HANG_UP: readonly VoiceAction[] = [{ verb: 'hangup' }]

/** What another request for the way on means while a Dial is out. */
export type AskedAgain =
  /** The answer was lost: the same again. */
  | 'repeat'
  /** Who has the document may not have read it, and this asker surely does. */
  | 'hand-over'
  /** The document's own Redirect: nothing more comes of this dial. */
  | 'dial-is-over'
  | 'nothing'

/** The one Dial document that may be out, and who has it. */
export class DialDocument {
  readonly actions: readonly VoiceAction[]
  readonly servedAtMs: number
  /** The asker's answers are known to be obeyed, or the carrier was seen dialling. */
  sure = false
  readonly #asker: EscalationAsker
  #repeated = false

  constructor(asker: EscalationAsker, actions: readonly VoiceAction[], servedAtMs: number) {
    this.#asker = asker
    this.actions = actions
    this.servedAtMs = servedAtMs
  }

  askedAgain(asker: EscalationAsker, nowMs: number): AskedAgain {
    const sinceMs = nowMs - this.servedAtMs
    if (asker === this.#asker && sinceMs < REPEAT_MS && !this.#repeated) {
      this.#repeated = true
      return 'repeat'
    }
    // Status callbacks may not be read: the first sure asker takes the document over.
    if (!this.sure && asker !== 'stream-status') return 'hand-over'
    const overMs = asker === this.#asker ? REPEAT_MS : CONTINUATION_MS
    return asker === 'after-stream' && sinceMs >= overMs ? 'dial-is-over' : 'nothing'
  }
}

/** Rings one human. With a Redirect the carrier asks again when the dial is over, and what it gets depends on how it went. */
export function dialActions(options: EscalationOptions, number: string): readonly VoiceAction[] {
  const { callerId, ringTimeoutMs, redirectUrl } = options
  const dial: VoiceAction = {
    verb: 'dial', numbers: [number], timeoutS: Math.ceil(ringTimeoutMs / 1000), ...(callerId === null ? {} : { callerId }),
  }
  return [dial, ...(redirectUrl === null ? farewell(options) : [{ verb: 'redirect', url: redirectUrl, method: 'POST' } as const])]
}

/** What follows a failed dial: words and a hang-up. Never a second stream: the carrier fails on it. */
export function farewell(options: EscalationOptions): readonly VoiceAction[] {
  return [options.failedSay, ...HANG_UP]
}

/** The same words, and the question whether to call back: the key that is pressed comes as another webhook. */
export function offerActions(options: EscalationOptions): readonly VoiceAction[] {
  const { offer, failedSay } = options
  if (offer === null) return farewell(options)
  return [{ verb: 'get-digits', numDigits: 1, timeoutS: offer.waitS, nested: [failedSay, offer.ask] }, ...HANG_UP]
}
