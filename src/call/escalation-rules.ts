import type { RuleOptions } from './call-options.js'
import type { CallInput } from './events.js'

/** What went wrong in the words for the model, not in what it asked of: no sign that the caller cannot be helped. */
const NOT_FAILURES: readonly string[] = ['TOOL_ARGUMENTS', 'TOOL_UNKNOWN', 'TOOL_UNVERIFIED', 'TOOL_CANCELLED']

/**
 * The agent's rules for when a caller is handed to a human, whatever the backend thinks of it. It watches what happens to
 * the session and says once, for each rule, that it applies.
 */
export class EscalationRules {
  readonly #options: RuleOptions
  readonly #phrases: readonly string[]
  readonly #applied = new Set<'words' | 'vip' | 'failures'>()
  #angry = 0
  #failures = 0

  constructor(options: RuleOptions) {
    this.#options = options
    this.#phrases = (options.words?.phrases ?? []).map(padded)
  }

  /** @returns why the caller is to be handed over now; null when no rule applies */
  applies(input: CallInput, identity: Readonly<Record<string, unknown>> | null): string | null {
    const { words, vip, failures } = this.#options
    if (input.type === 'backend' && input.event.type === 'transcript' && input.event.role === 'caller' && input.event.final) {
      const said = padded(input.event.text)
      if (this.#phrases.some((phrase) => said.includes(phrase))) this.#angry++
      if (words !== null && this.#angry >= words.times) return this.#once('words', 'The caller is upset.')
    }
    if (input.type !== 'tool-result') return null
    if (isFailure(input)) this.#failures++
    // Known from the tool that verified the caller.
    if (vip !== null && identity?.[vip] === true) return this.#once('vip', 'The caller is to be connected at once (VIP).')
    if (failures !== null && this.#failures >= failures) {
      return this.#once('failures', `${this.#failures} attempts to help have failed.`)
    }
    return null
  }

  #once(rule: 'words' | 'vip' | 'failures', reason: string): string | null {
    if (this.#applied.has(rule)) return null
    this.#applied.add(rule)
    return reason
  }
}

function isFailure(input: Extract<CallInput, { type: 'tool-result' }>): boolean {
  if (!input.ok) return input.error === undefined || !NOT_FAILURES.includes(input.error)
  // A fix that the caller tried and that did not help (`note_fix`).
  return typeof input.value === 'object' && input.value !== null && 'helped' in input.value && input.value.helped === false
}

/** Words in small letters with one gap around each, so that no phrase is found within a word. */
function padded(text: string): string {
  return ` ${text.toLowerCase().replace(/[\u2019']/g, '').split(/[^\p{L}\p{N}]+/u).filter((word) => word !== '').join(' ')} `
}
