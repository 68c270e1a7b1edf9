import { z } from 'zod'
import type { DocumentOf } from './documents/document.js'
import type { SessionResume } from './documents/checkpoint.js'
import type { CallLogRecords } from './documents/log-entry.js'
import type { CallInput } from './events.js'

/** DTMF digit that means yes to a question of the gateway, such as the offer of a call back. */
export const YES_DIGIT = '1'
/** DTMF digit that means no to a question of the gateway. */
export const NO_DIGIT = '2'

/** Maximum number of phrases that identify an angry caller. */
const RULE_PHRASES_MAX = 100

/**
 * Errors that the model made in a tool call; the tool itself did not fail. They do not show that the agent cannot help
 * the caller.
 */
const NOT_FAILURES: readonly string[] = [
  'TOOL_ARGUMENTS',
  'TOOL_UNKNOWN',
  'TOOL_UNVERIFIED',
  'TOOL_CANCELLED',
  'TOOL_NOT_OWNER',
]

/**
 * The agent's rules for an escalation that the backend did not request. The rules receive the session's inputs. Each
 * rule is reported at most once.
 */
export class EscalationRules {
  readonly #options: RuleOptions
  readonly #phrases: readonly string[]
  readonly #applied = new Set<'words' | 'vip' | 'failures'>()
  readonly #log: Pick<CallLogRecords, 'transcript' | 'dropped'>
  #angry = 0
  /** Number of the log's transcript entries that were read. */
  #linesRead = 0
  #failures = 0

  /**
   * @param resume  state from the call's previous worker. With this state counts continue, and a reported rule is not
   * reported again
   */
  constructor(
    options: RuleOptions,
    log: Pick<CallLogRecords, 'transcript' | 'dropped'>,
    resume?: Pick<SessionResume, 'checkpoint' | 'log'>,
  ) {
    const { words, vip, failures } = options
    this.#options = options
    this.#log = log
    this.#phrases = (words?.phrases ?? []).map(padded)
    if (resume === undefined) return
    const { checkpoint } = resume
    this.#read()
    this.#failures = resume.log.toolCalls.filter(
      ({ end, record, result }) => end === 'answered' && isFailure({ ...record, value: result }),
    ).length
    if (words !== null && this.#angry >= words.times) this.#applied.add('words')
    if (vip !== null && checkpoint.identity?.[vip] === true) this.#applied.add('vip')
    if (failures !== null && this.#failures >= failures) this.#applied.add('failures')
  }

  /** @returns the reason for an escalation now; null if no rule applies */
  applies(input: CallInput, identity: Readonly<Record<string, unknown>> | null): string | null {
    const { words, vip, failures } = this.#options
    this.#read()
    if (words !== null && this.#angry >= words.times) {
      const upset = this.#once('words', 'The caller is upset.')
      if (upset !== null) return upset
    }
    if (input.type !== 'tool-result') return null
    if (isFailure(input)) this.#failures++
    // The tool that verified the caller returned this identity.
    if (vip !== null && identity?.[vip] === true)
      return this.#once('vip', 'The caller is to be connected at once (VIP).')
    if (failures !== null && this.#failures >= failures) {
      return this.#once('failures', `${this.#failures} attempts to help have failed.`)
    }
    return null
  }

  /** Counts the sentences that the transcript has got since the last call. So repeated words of a service count once. */
  #read(): void {
    const { transcript, dropped } = this.#log
    for (; this.#linesRead < dropped.transcript + transcript.length; this.#linesRead++) {
      const line = transcript[this.#linesRead - dropped.transcript]
      if (line?.role === 'caller' && this.#isAngry(line.text)) this.#angry++
    }
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

/** True if the result shows that the agent could not help, because a tool failed or a fix did not help. */
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
  // A fix that the caller tried without success (`note_fix`).
  return typeof value === 'object' && value !== null && 'helped' in value && value.helped === false
}

/**
 * Returns words in lower case with one space before and after each word. Because of the spaces, a phrase never matches
 * a part of a word.
 */
function padded(text: string): string {
  return ` ${text
    .toLowerCase()
    .replace(/[\u2019']/g, '')
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '')
    .join(' ')} `
}

/** `rules:` of an agent's file: conditions on which the gateway itself escalates a call, regardless of the model. */
export const rulesSchema = z.strictObject({
  words: z
    .strictObject({
      phrases: z
        .array(z.string().trim().min(1).max(100))
        .min(1)
        .max(RULE_PHRASES_MAX)
        .describe(
          'Words of an angry caller, in all languages that callers speak. They are compared as whole words, without case and punctuation.',
        ),
      times: z
        .int()
        .min(1)
        .max(10)
        .default(1)
        .describe("Number of the caller's sentences that must contain one of the phrases."),
    })
    .nullable()
    .default(null)
    .describe('Escalates the call after certain words of the caller. null: words do not escalate the call.'),
  vip: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, { error: 'must be a name of verification.identity' })
    .nullable()
    .default(null)
    .describe(
      'Field of verification.identity. The call escalates as soon as the field is known to be true. null: no field.',
    ),
  failures: z
    .int()
    .min(1)
    .max(20)
    .nullable()
    .default(null)
    .describe(
      'Number of failed tools and unsuccessful fixes (note_fix), together, at which the call escalates. null: failures do not escalate the call.',
    ),
})
type RuleOptions = DocumentOf<typeof rulesSchema>
