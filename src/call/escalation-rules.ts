import { z } from 'zod'
import type { DocumentOf } from './documents/document.js'
import type { SessionResume } from './documents/checkpoint.js'
import type { CallInput } from './events.js'

/** The DTMF digit that accepts what a caller was asked, such as the offer of a call back. */
export const YES_DIGIT = '1'
/** And the one that refuses it. */
export const NO_DIGIT = '2'

/** Phrases of the words of an angry caller. */
const RULE_PHRASES_MAX = 100

/** Errors of the model's tool call, not of the tool: they do not show that the caller cannot be helped. */
const NOT_FAILURES: readonly string[] = [
  'TOOL_ARGUMENTS',
  'TOOL_UNKNOWN',
  'TOOL_UNVERIFIED',
  'TOOL_CANCELLED',
  'TOOL_NOT_OWNER',
]

/**
 * The agent's rules for escalating without the backend. It sees the session's inputs and reports each rule at most
 * once.
 */
export class EscalationRules {
  readonly #options: RuleOptions
  readonly #phrases: readonly string[]
  readonly #applied = new Set<'words' | 'vip' | 'failures'>()
  #angry = 0
  #failures = 0

  /** @param resume  from the call's previous worker: what it counted goes on, and no rule is reported again */
  constructor(options: RuleOptions, resume?: SessionResume) {
    const { words, vip, failures } = options
    this.#options = options
    this.#phrases = (words?.phrases ?? []).map(padded)
    if (resume === undefined) return
    const { checkpoint, log } = resume
    this.#angry = log.transcript.filter(({ role, text }) => role === 'caller' && this.#isAngry(text)).length
    this.#failures = log.toolCalls.filter(
      ({ end, record, result }) => end === 'answered' && isFailure({ ...record, value: result }),
    ).length
    if (words !== null && this.#angry >= words.times) this.#applied.add('words')
    if (vip !== null && checkpoint.identity?.[vip] === true) this.#applied.add('vip')
    if (failures !== null && this.#failures >= failures) this.#applied.add('failures')
  }

  /** @returns the reason to escalate now; null when no rule applies */
  applies(input: CallInput, identity: Readonly<Record<string, unknown>> | null): string | null {
    const { words, vip, failures } = this.#options
    if (
      input.type === 'backend' &&
      input.event.type === 'transcript' &&
      input.event.role === 'caller' &&
      input.event.final
    ) {
      if (this.#isAngry(input.event.text)) this.#angry++
      if (words !== null && this.#angry >= words.times) return this.#once('words', 'The caller is upset.')
    }
    if (input.type !== 'tool-result') return null
    if (isFailure(input)) this.#failures++
    // The identity comes from the tool that verified the caller.
    if (vip !== null && identity?.[vip] === true)
      return this.#once('vip', 'The caller is to be connected at once (VIP).')
    if (failures !== null && this.#failures >= failures) {
      return this.#once('failures', `${this.#failures} attempts to help have failed.`)
    }
    return null
  }

  #isAngry(text: string): boolean {
    const said = padded(text)
    return this.#phrases.some((phrase) => said.includes(phrase))
  }

  #once(rule: 'words' | 'vip' | 'failures', reason: string): string | null {
    if (this.#applied.has(rule)) return null
    this.#applied.add(rule)
    return reason
  }
}

/** True if a tool's result, or a fix that did not help, shows that the caller could not be helped. */
export function isFailure({
  ok,
  value,
  error,
}: {
  readonly ok: boolean
  readonly value: unknown
  readonly error?: string
}): boolean {
  if (!ok) return error === undefined || !NOT_FAILURES.includes(error)
  // A fix that the caller tried and that did not help (`note_fix`).
  return typeof value === 'object' && value !== null && 'helped' in value && value.helped === false
}

/** Lower-case words with one space around each, so that a phrase never matches inside a word. */
function padded(text: string): string {
  return ` ${text
    .toLowerCase()
    .replace(/[\u2019']/g, '')
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '')
    .join(' ')} `
}

/** `rules:` of an agent's file: when the gateway itself escalates a call to a human, whatever the model decides. */
export const rulesSchema = z.strictObject({
  words: z
    .strictObject({
      phrases: z
        .array(z.string().trim().min(1).max(100))
        .min(1)
        .max(RULE_PHRASES_MAX)
        .describe(
          'Words of an angry caller, in all languages that callers speak; compared word by word, without case and punctuation.',
        ),
      times: z.int().min(1).max(10).default(1).describe("How many of the caller's sentences must contain one of them."),
    })
    .nullable()
    .default(null)
    .describe('Words of the caller after which the call escalates to a human.'),
  vip: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, { error: 'must be a name of verification.identity' })
    .nullable()
    .default(null)
    .describe('Field of the verified identity: when it is true, the call escalates to a human.'),
  failures: z
    .int()
    .min(1)
    .max(20)
    .nullable()
    .default(null)
    .describe(
      'Failed tools and fixes that did not help (note_fix), together, after which the call escalates to a human.',
    ),
})
type RuleOptions = DocumentOf<typeof rulesSchema>
