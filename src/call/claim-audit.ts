import { forgetOldest } from '../core/forget-oldest.js'
import { CLAIMS_MAX } from '../core/limits.js'
import type { CallLogRecords, LoggedToolCall } from './call-log.js'
import { PhraseMatcher } from './claim-phrases.js'
import type { ClaimLanguage } from './claim-phrases.js'
import type { ClaimRecord, ClaimVerdict, TranscriptEntry } from './record.js'

/** What an agent may claim to have done, and which tool calls make it true. */
interface ClaimRule {
  /** One of them must have succeeded in this call; empty: the agent has no tool for it, so that the claim is never true. */
  readonly tools: readonly string[]
  /** Fields that the result must have somewhere, with these values; null: any result will do. */
  readonly result: Readonly<Record<string, string | number | boolean>> | null
  /** Phrases by language. */
  readonly phrases: Readonly<Record<string, readonly string[]>>
}

export interface ClaimOptions {
  /** The model is told of a claim that nothing supports, so that it corrects itself. */
  readonly correct: boolean
  readonly rules: readonly ClaimRule[]
  /** Lists of words by name, for the phrases. */
  readonly words: Readonly<Record<string, string>>
  readonly languages: Readonly<Record<string, ClaimLanguage>>
}

/** A claim that the caller heard and that is not judged yet. Plain JSON: it is part of the checkpoint. */
export interface OpenClaim extends Pick<ClaimRule, 'tools' | 'result'> {
  /** Begin of the entry, in milliseconds since the stream opened. */
  readonly atMs: number
  readonly language: string
  readonly phrase: string
}

/** Reading time of a character: 14 a second, people and voices alike (150 words a minute). */
const HEARD_MS_PER_CHAR = 70

/** Phrases of one language, with the rule of each. */
interface Language {
  readonly name: string
  readonly matcher: PhraseMatcher
  readonly phrases: readonly { readonly rule: ClaimRule; readonly phrase: string }[]
}

/** The newest rules that were read: calls of one agent on one thread share them. */
const read = new Map<string, readonly Language[]>()
const READ_MAX = 20

function languagesOf({ rules, words, languages }: ClaimOptions): readonly Language[] {
  const key = JSON.stringify([rules, words, languages])
  const known = read.get(key)
  if (known !== undefined) return known
  const made = Object.entries(languages).flatMap(([name, language]) => {
    const phrases = rules.flatMap((rule) => (rule.phrases[name] ?? []).map((phrase) => ({ rule, phrase })))
    if (phrases.length === 0) return []
    const matcher = new PhraseMatcher(
      phrases.map(({ phrase }) => phrase),
      language,
      words,
    )
    return [{ name, matcher, phrases }]
  })
  read.set(key, made)
  forgetOldest(read, READ_MAX)
  return made
}

/**
 * Matches what the agent claims to have done with the call's tool calls.
 *
 *     said     --heard, a phrase of a rule--> open
 *     open     --a call of one of its tools succeeded, before or since--> judged `done`
 *     open     --the turn is over, and none of its tools runs--> judged: what became of the newest such call
 *
 * A claim that a running tool makes true a moment later is no false one: the caller ends up with the truth. A call counts
 * for every claim of its tool: which of two orders was cancelled is not compared.
 */
export class ClaimAudit {
  readonly #log: Pick<CallLogRecords, 'toolCalls' | 'dropped'>
  readonly #languages: readonly Language[]
  /** Tools that the session did without a tool call. */
  readonly #arranged = new Set<string>()
  #open: OpenClaim[]
  #judged: number

  /**
   * @param log  the call's log
   * @param open  not judged by the previous worker
   */
  constructor(
    options: ClaimOptions,
    log: Pick<CallLogRecords, 'toolCalls' | 'claims' | 'dropped'>,
    open: readonly OpenClaim[] = [],
  ) {
    this.#log = log
    this.#open = [...open]
    this.#judged = log.claims.length + log.dropped.claims
    this.#languages = languagesOf(options)
  }

  get open(): readonly OpenClaim[] {
    return this.#open
  }

  /** Words of the agent. @param heardMs  how long they were heard; null when they were heard to their end */
  said({ text, startMs }: TranscriptEntry, heardMs: number | null): void {
    const heardChars = heardMs === null ? Infinity : heardMs / HEARD_MS_PER_CHAR
    for (const { rule, ...claim } of claimsIn(this.#languages, text)) {
      if (claim.endChar > heardChars || this.#judged + this.#open.length >= CLAIMS_MAX) continue
      const { tools, result } = rule
      this.#open.push({ atMs: startMs, tools, result, language: claim.language, phrase: claim.phrase })
    }
  }

  /** The session itself did what that tool does, because of a key, a rule or an operator. */
  arranged(tool: string): void {
    this.#arranged.add(tool)
  }

  /**
   * @param over  the turn is over: what nothing supports now is not going to be
   * @param running  names of the tools that run
   * @returns the claims that are judged, each once
   */
  judge(over: boolean, running: readonly string[]): ClaimRecord[] {
    const judged: ClaimRecord[] = []
    this.#open = this.#open.filter((claim) => {
      const verdict = this.#verdict(claim)
      if (verdict !== 'done' && (!over || claim.tools.some((tool) => running.includes(tool)))) return true
      const { atMs, tools, language, phrase } = claim
      judged.push({ atMs, tool: tools[0] ?? null, language, phrase, verdict })
      return false
    })
    this.#judged += judged.length
    return judged
  }

  #verdict({ tools, result }: OpenClaim): ClaimVerdict {
    if (tools.length === 0) return 'no-tool'
    if (tools.some((tool) => this.#arranged.has(tool))) return 'done'
    const calls = this.#log.toolCalls.filter(({ record }) => tools.includes(record.name))
    if (calls.some((call) => call.record.ok && (result === null || hasFields(call.result, result)))) return 'done'
    const newest = calls.at(-1)
    // The call that made it true may be one that the full log has dropped.
    if (newest === undefined) return this.#log.dropped.toolCalls > 0 ? 'done' : 'not-called'
    return verdictOf(newest)
  }
}

function* claimsIn(
  languages: readonly Language[],
  text: string,
): Generator<{ rule: ClaimRule; language: string; phrase: string; endChar: number }> {
  const claimed = new Set<ClaimRule>()
  for (const { name, matcher, phrases } of languages) {
    for (const { phrase: index, endChar } of matcher.find(text)) {
      const found = phrases[index]
      // One claim of a rule: two phrases say the same.
      if (found === undefined || claimed.has(found.rule)) continue
      claimed.add(found.rule)
      yield { ...found, language: name, endChar }
    }
  }
}

/** Errors of a tool that did not run, and that of one of which nobody knows whether it did. */
const NOT_RUN: readonly string[] = ['TOOL_UNVERIFIED', 'TOOL_UNBOUND', 'TOOL_ARGUMENTS', 'TOOL_NOT_OWNER']
const UNCERTAIN = 'TOOL_UNCERTAIN'

function verdictOf({ end, record }: LoggedToolCall): ClaimVerdict {
  if (record.ok) return 'other-result'
  if (end === 'lost' || record.error === UNCERTAIN) return 'uncertain'
  if (end === 'refused' || end === 'cancelled' || end === 'overdue') return end
  return record.error !== undefined && NOT_RUN.includes(record.error) ? 'refused' : 'failed'
}

/** Whether each field is somewhere in `value` with its value. A tool's result has 16 KiB at most. */
function hasFields(value: unknown, fields: Readonly<Record<string, string | number | boolean>>): boolean {
  return Object.entries(fields).every(([name, wanted]) => hasField(value, name, wanted))
}

function hasField(value: unknown, name: string, wanted: string | number | boolean): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return value.some((one) => hasField(one, name, wanted))
  return Object.entries(value).some(
    ([key, inner]) => (key === name && inner === wanted) || hasField(inner, name, wanted),
  )
}

/** What the model is told of claims that nothing supports. */
export function correctionOf(claims: readonly ClaimRecord[]): string {
  const facts = claims.map(({ tool, phrase, verdict }) => `"${phrase}": ${FACTS[verdict](tool ?? '')}`)
  return (
    `Correct yourself. What you told the caller is not so (the words are a pattern): ${facts.join('; ')}. Tell the caller in one ` +
    'short sentence that you were wrong and what is the case. Then offer what you can do.'
  )
}

const FACTS: Readonly<Record<ClaimVerdict, (tool: string) => string>> = {
  done: (tool) => `${tool} did that`,
  'no-tool': () => 'you have no tool for that, so it was not done and you cannot do it',
  'not-called': (tool) => `${tool} was never called, so it was not done`,
  'other-result': (tool) => `${tool} answered something else`,
  failed: (tool) => `${tool} failed, so it was not done`,
  refused: (tool) => `${tool} was refused, so it was not done`,
  cancelled: (tool) => `${tool} was cancelled before it answered; nobody knows whether it took effect`,
  overdue: (tool) => `${tool} did not answer in time; nobody knows whether it took effect`,
  uncertain: (tool) => `nobody knows whether ${tool} took effect: say neither that it did nor that it did not`,
}
