import type { CallCore } from '../call-core.js'
import { PRIVATE_TAIL_MS } from '../tools/digit-collection.js'
import { NO_DIGIT, YES_DIGIT } from '../escalation-rules.js'
import { KEYS_PRIVATE_MS } from '../tools/private-keys.js'
import { Grants } from './grants.js'
import type { ReasonOf } from './grants.js'

/** Time for which an echo of our tones may return after the caller heard the tones, in milliseconds. */
const ECHO_MS = 1000

/** Questions of the gateway, each with the DTMF digits that answer it. */
const QUESTIONS: readonly { readonly reason: ReasonOf<'keypad'>; readonly keys: readonly string[] }[] = [
  { reason: 'consent', keys: [YES_DIGIT, NO_DIGIT] },
  { reason: 'call-back', keys: [YES_DIGIT] },
  { reason: 'ring-back', keys: [YES_DIGIT] },
]

/**
 * The keypad: the feature that takes the caller's DTMF digits, and the privacy of the digits.
 *
 *     open    --a secret number is asked for-->  guarded   digits are private, the caller's voice is heard
 *     guarded --a digit-->                       private   the caller is not heard, until the tail after the last digit
 */
export class Keypad {
  /** Features that take digits before the backend. */
  readonly grants = new Grants('keypad')
  #private = false
  #guarded: boolean
  #dialogue: 'open' | 'secret' | null = null
  /** Digits that the gateway sent, as long as their echo may still return. Each digit occurs once. */
  #echoing = ''
  #tonesSounding = false
  #tonesOverAtMs = -Infinity
  readonly #core: CallCore

  constructor(core: CallCore) {
    this.#core = core
    const { privateKeys, callBack } = core.resume ?? {}
    // Digits stay private even if this agent does not use secret digits, because the previous agent asked for the
    // digits. In a call back the digits are not private, because the person is asked again.
    this.#guarded = privateKeys !== undefined && !(callBack === 'asks' && core.newStream !== null)
    // The caller may still be entering digits, so the line is private.
    if (this.#guarded && privateKeys === 'pressed') this.makePrivate(true)
  }

  /** True while the caller enters digits that only a tool may receive. The caller's sound is then silenced. */
  get private(): boolean {
    return this.#private
  }

  /** True if digits are private while the caller's words are heard. */
  get guarded(): boolean {
    return this.#guarded
  }

  /**
   * Use of the digits by a dialogue without a model. Null if a model has the call: private digits are then withheld
   * from this model.
   */
  get dialogue(): 'open' | 'secret' | null {
    return this.#dialogue
  }

  dialogueTakes(keys: 'open' | 'secret' | null): void {
    this.#dialogue = keys
  }

  /**
   * True for a digit that only a tool may receive. An answer to a newer question is not private.
   * @param digit  if absent: true while digits are private
   */
  isPrivate(digit?: string): boolean {
    if (this.#private || !this.#guarded || digit === undefined) return this.#private || this.#guarded
    return !QUESTIONS.some(({ reason, keys }) => keys.includes(digit) && this.grants.isNewer(reason))
  }

  /** Makes digits private for KEYS_PRIVATE_MS, or public. */
  guard(on: boolean): void {
    if (on && this.#dialogue === 'open') return
    if (on) this.grants.mark()
    if (on) this.#core.in('private-keys', KEYS_PRIVATE_MS)
    else this.#core.clear('private-keys')
    if (this.#guarded === on) return
    this.#guarded = on
    this.#core.mark('private-keys', on ? 'on' : 'off')
    this.#core.changed()
  }

  makePrivate(on: boolean): void {
    this.#core.clear('private')
    if (this.#private === on) return
    this.#private = on
    this.#core.mark('private', on ? 'on' : 'off')
    this.#core.out({ type: 'private', on })
    this.#core.changed()
  }

  /** Ends the privacy of the line after this time. */
  privateFor(ms: number = PRIVATE_TAIL_MS): void {
    this.#core.in('private', ms)
  }

  /** Notes that a digit was pressed. A private line with a deadline then stays private for longer. */
  pressed(): void {
    if (this.#core.deadlines.isSet('private')) this.privateFor()
  }

  /** True if the digit may be the echo of a tone that the gateway sent. */
  isEcho(digit: string): boolean {
    return this.#echoes && this.#echoing.includes(digit)
  }

  /** Notes that the gateway's tones begin or end. @param keys  digits that the gateway sends now */
  tones(sounding: boolean, keys = ''): void {
    if (keys !== '') this.#echoing = [...new Set(this.#echoes ? this.#echoing + keys : keys)].join('')
    else this.#tonesOverAtMs = this.#core.nowMs
    this.#tonesSounding = sounding
  }

  get #echoes(): boolean {
    return this.#tonesSounding || this.#core.nowMs - this.#tonesOverAtMs < ECHO_MS
  }
}
