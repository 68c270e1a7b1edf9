import type { CallCore } from '../call-core.js'
import { PRIVATE_TAIL_MS } from '../tools/digit-collection.js'
import { NO_DIGIT, YES_DIGIT } from '../escalation-rules.js'
import { KEYS_PRIVATE_MS } from '../tools/private-keys.js'
import { Grants } from './grants.js'
import type { ReasonOf } from './grants.js'

/** Our tones come back over a line with an echo for this long after they were heard. */
const ECHO_MS = 1000

/** The gateway's own questions by key, and the keys that answer them. */
const QUESTIONS: readonly { readonly reason: ReasonOf<'keypad'>; readonly keys: readonly string[] }[] = [
  { reason: 'consent', keys: [YES_DIGIT, NO_DIGIT] },
  { reason: 'call-back', keys: [YES_DIGIT] },
  { reason: 'ring-back', keys: [YES_DIGIT] },
]

/**
 * The keypad: who takes the caller's keys, and who may know of them.
 *
 *     open    --a secret number is asked for-->  guarded   keys are private, the caller's voice is not
 *     guarded --a key-->                         private   nothing of the caller is heard, until the tail after the last key
 */
export class Keypad {
  /** Takers of keys before the backend. */
  readonly grants = new Grants('keypad')
  #private = false
  #guarded: boolean
  #dialogue: 'open' | 'secret' | null = null
  /** Keys of ours whose echo may still come, each once. */
  #echoing = ''
  #tonesSounding = false
  #tonesOverAtMs = -Infinity
  readonly #core: CallCore

  constructor(core: CallCore) {
    this.#core = core
    const { privateKeys, callBack } = core.resume ?? {}
    // Also with an agent that takes no such digits: the one before it has asked. Who is rung back is asked anew.
    this.#guarded = privateKeys !== undefined && !(callBack === 'asks' && core.newStream !== null)
    // The caller may be entering them at this moment.
    if (this.#guarded && privateKeys === 'pressed') this.makePrivate(true)
  }

  /** Digits that only a tool may get are being entered: nothing of the caller is heard. */
  get private(): boolean {
    return this.#private
  }

  /** Keys are private, and the caller's words are heard. */
  get guarded(): boolean {
    return this.#guarded
  }

  /** How a dialogue without a model takes keys; null: a model has the call, and gets none that are private. */
  get dialogue(): 'open' | 'secret' | null {
    return this.#dialogue
  }

  dialogueTakes(keys: 'open' | 'secret' | null): void {
    this.#dialogue = keys
  }

  /**
   * True for a key that nobody but a tool may have. The answer to a question of ours that is newer than the secret is none.
   * @param digit  absent: true where there are such keys now
   */
  isPrivate(digit?: string): boolean {
    if (this.#private || !this.#guarded || digit === undefined) return this.#private || this.#guarded
    return !QUESTIONS.some(({ reason, keys }) => keys.includes(digit) && this.grants.isNewer(reason))
  }

  /** Keys are private from now on, for KEYS_PRIVATE_MS, or are not. */
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

  /** The line is private for this much longer. */
  privateFor(ms: number = PRIVATE_TAIL_MS): void {
    this.#core.in('private', ms)
  }

  /** A key was pressed: a line that becomes public by itself stays private for longer. */
  pressed(): void {
    if (this.#core.deadlines.isSet('private')) this.privateFor()
  }

  /** The echo of a tone of ours. */
  isEcho(digit: string): boolean {
    return this.#echoes && this.#echoing.includes(digit)
  }

  /** Tones of ours sound, or do not any more. @param keys  that are sent now */
  tones(sounding: boolean, keys = ''): void {
    if (keys !== '') this.#echoing = [...new Set(this.#echoes ? this.#echoing + keys : keys)].join('')
    else this.#tonesOverAtMs = this.#core.nowMs
    this.#tonesSounding = sounding
  }

  get #echoes(): boolean {
    return this.#tonesSounding || this.#core.nowMs - this.#tonesOverAtMs < ECHO_MS
  }
}
