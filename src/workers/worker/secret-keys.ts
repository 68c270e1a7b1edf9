import {
  COLLECTED_DIGITS_MAX,
  REPEATED_DIGITS_MIN,
  maskedDigits,
  secretKeys,
} from '../../call/tools/digit-collection.js'
import type { CallOutput } from '../../call/events.js'
import { isSecretSend } from '../../call/tools/gateway-tools.js'
import { forgetOldest } from '../../core/forget-oldest.js'
import { TONES } from '../../media/dtmf-tones.js'
import type { ToolCallEvent } from './worker-door.js'

type ToolRun = Extract<CallOutput, { type: 'run-tool' }>

/**
 * Maximum number of tool calls whose secret digits are stored until their tones are made. A tone is made as soon as the
 * session handles the tool call.
 */
const SENT_KEYS_MAX = 8

/** DTMF digits of one call that only a tool or the line may get. They are stored only here. */
export class SecretKeys {
  /** The newest COLLECTED_DIGITS_MAX digits that only a tool may get. */
  #secret = ''
  /**
   * Secret digits that this worker gave to a dialogue. `#keyedArgument`: the tool call and the argument in which the
   * dialogue passes the digits to a tool.
   */
  #keyed = ''
  #keyedArgument: { readonly callId: string; readonly argument: string; readonly digits: string } | null = null
  /** Secret digits of tool calls, by id of the tool call, until their tones are made. */
  readonly #sent = new Map<string, string>()

  /** Notes a digit that the caller has pressed. */
  pressed(digit: string): void {
    this.#secret = `${this.#secret}${digit}`.slice(-COLLECTED_DIGITS_MAX)
  }

  /** Forgets the secret digits, because the line is no longer private. */
  forget(): void {
    this.#secret = ''
  }

  /** Returns the newest digit of a private line, for a dialogue that has asked for it. A model never gets it. */
  dialogueKey(): string {
    const key = this.#secret.slice(-1)
    this.#keyed = `${this.#keyed}${key}`.slice(-COLLECTED_DIGITS_MAX)
    return key
  }

  /**
   * Hides digits from session, journal and records. A digit to be sent as a tone becomes SECRET_DIGIT; digits from the
   * caller become dots.
   */
  hidden(event: ToolCallEvent): ToolCallEvent {
    return this.#withoutKeyed(this.#withoutSent(event))
  }

  #withoutSent(event: ToolCallEvent): ToolCallEvent {
    const { callId, name, args } = event
    const { digits } = args
    if (!isSecretSend(name, args) || typeof digits !== 'string') return event
    if (!TONES.test(digits)) return { ...event, args: { ...args, digits: '' } }
    this.#sent.set(callId, digits)
    forgetOldest(this.#sent, SENT_KEYS_MAX)
    return { ...event, args: { ...args, digits: secretKeys(digits) } }
  }

  /** Hides digits that a dialogue passes on to a tool. */
  #withoutKeyed(event: ToolCallEvent): ToolCallEvent {
    for (const [argument, value] of Object.entries(event.args)) {
      if (typeof value !== 'string' || value.length < REPEATED_DIGITS_MIN || !this.#keyed.includes(value)) continue
      this.#keyedArgument = { callId: event.callId, argument, digits: value }
      this.#keyed = ''
      return { ...event, args: { ...event.args, [argument]: maskedDigits(value) } }
    }
    return event
  }

  /** @returns the secret digits that this tool call sends to the line. A second request returns '' */
  takeSent(callId: string): string {
    const keys = this.#sent.get(callId) ?? ''
    this.#sent.delete(callId)
    return keys
  }

  /**
   * @returns the tool call with the value of its secret argument, in the form that the tool gets. The value is then
   * forgotten; it is '' if the tool has no secret argument
   */
  ofRun(run: ToolRun): { readonly run: ToolRun; readonly digits: string } {
    const keyed = this.#keyedArgument
    if (keyed?.callId !== run.callId) return { run, digits: this.#take(run.secret?.digits ?? 0) }
    const { argument, digits } = keyed
    this.#keyedArgument = null
    return { run: { ...run, secret: { argument, digits: digits.length } }, digits }
  }

  /** The newest digits of a private line. */
  #take(digits: number): string {
    if (digits === 0) return ''
    const secret = this.#secret.slice(-digits)
    this.#secret = ''
    return secret
  }
}
