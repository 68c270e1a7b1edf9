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

/** Tool calls whose secret keys wait for their tones: these are made as soon as the session has the call. */
const SENT_KEYS_MAX = 8

/** Keys of one call that only a tool or the line may get: they are here, and nowhere else. */
export class SecretKeys {
  /** Digits that only a tool may get, the newest COLLECTED_DIGITS_MAX. */
  #secret = ''
  /** Those that a dialogue on this worker was given, and the tool call by which it passes them on. */
  #keyed = ''
  #keyedArgument: { readonly callId: string; readonly argument: string; readonly digits: string } | null = null
  /** Keys of tool calls that nobody is to read, by the call, until their tones are made. */
  readonly #sent = new Map<string, string>()

  /** The caller has pressed this one. */
  pressed(digit: string): void {
    this.#secret = `${this.#secret}${digit}`.slice(-COLLECTED_DIGITS_MAX)
  }

  /** The line is open again. */
  forget(): void {
    this.#secret = ''
  }

  /** The newest key of a private line, for a dialogue that has asked for it and is no model. */
  dialogueKey(): string {
    const key = this.#secret.slice(-1)
    this.#keyed = `${this.#keyed}${key}`.slice(-COLLECTED_DIGITS_MAX)
    return key
  }

  /** Session, journal and records get SECRET_DIGIT for each key that nobody is to read, and dots for what was keyed in. */
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

  /** A dialogue has a tool get what was keyed in. */
  #withoutKeyed(event: ToolCallEvent): ToolCallEvent {
    for (const [argument, value] of Object.entries(event.args)) {
      if (typeof value !== 'string' || value.length < REPEATED_DIGITS_MIN || !this.#keyed.includes(value)) continue
      this.#keyedArgument = { callId: event.callId, argument, digits: value }
      this.#keyed = ''
      return { ...event, args: { ...event.args, [argument]: maskedDigits(value) } }
    }
    return event
  }

  /** @returns the keys of that tool call for the line, once */
  takeSent(callId: string): string {
    const keys = this.#sent.get(callId) ?? ''
    this.#sent.delete(callId)
    return keys
  }

  /** @returns the run as its tool gets it, and the value of its secret argument, which is then forgotten; empty: it has none */
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
