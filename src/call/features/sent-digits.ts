import { TONES } from '../../media/dtmf-tones.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import { SECRET_DIGIT } from '../tools/digit-collection.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'
import { SEND_DIGITS_TOOL, isSecretSend } from '../tools/gateway-tools.js'

/** Maximum number of DTMF digits in one tool call; phone menus do not ask for longer numbers. */
const KEYS_MAX = 40

const HEARS = ['agent-cut'] as const

/**
 * DTMF digits that the agent sends in a call that the gateway placed. After the agent's current words, tones replace
 * its voice.
 *
 *     waiting --all tones sent and heard--> the tool call is answered
 *     waiting --the agent's speech is discarded--> the tool call has failed
 *
 * The other side cannot interrupt the tones, because a menu speaks while its digits are pressed.
 */
export class SentDigits extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['sendDigits', 'sendDigitsFault'] as const
  /** Tool calls that wait until their tones were heard, by the item of the tones. */
  readonly #waiting = new Map<string, { readonly callId: string; readonly keys: string }>()

  get busy(): boolean {
    return this.#waiting.size > 0
  }

  /** @returns the reason why the digits cannot be sent; null if they can be sent */
  sendDigitsFault(args: Readonly<Record<string, unknown>>): string | null {
    const { digits } = args
    const usable = typeof digits === 'string' && usableKeys(args).test(digits) && /[^w]/.test(digits)
    if (!usable || digits.length > KEYS_MAX)
      return `digits must be 1 to ${KEYS_MAX} of 0-9, *, #, A-D, and w for a pause of half a second.`
    return null
  }

  sendDigits(callId: string, keys: string): void {
    this.call.keypad.tones(true, keys)
    this.call.floor.sound.take('tones')
    this.#waiting.set(this.call.talk.tones(keys, keys.includes(SECRET_DIGIT) ? callId : null), { callId, keys })
    this.call.mark('digits-sent', `${keys.replaceAll('w', '').length} keys`)
  }

  input(input: CallInput): boolean {
    if (input.type !== 'dtmf' || !this.call.keypad.isEcho(input.digit)) return false
    this.call.mark('own-digit')
    return true
  }

  hear(fact: FactOf<typeof HEARS>): void {
    if (fact.type !== 'agent-cut') return
    for (const itemId of [...this.#waiting.keys()])
      if (this.call.agentSpeech.isCut(itemId)) this.itemOver(itemId, 'cut')
  }

  itemOver(itemId: string, over: 'heard' | 'cut'): void {
    const sent = this.#waiting.get(itemId)
    if (sent === undefined) return
    this.#waiting.delete(itemId)
    this.call.keypad.tones(this.busy)
    this.call.floor.sound.set('tones', this.busy)
    if (over === 'heard') return this.call.ask('answerTool', sent.callId, true, { sent: true }, undefined)
    const error = 'The keys were not sent, or not all of them.'
    this.call.ask('answerTool', sent.callId, false, { error }, error)
  }
}

/** Secret digits as the session sees them: SECRET_DIGIT for each digit. */
const SECRET_TONES = new RegExp(`^[${SECRET_DIGIT}w]+$`)

function usableKeys(args: Readonly<Record<string, unknown>>): RegExp {
  return isSecretSend(SEND_DIGITS_TOOL, args) && String(args['digits']).includes(SECRET_DIGIT) ? SECRET_TONES : TONES
}
