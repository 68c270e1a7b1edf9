import { forgetOldest } from '../../core/forget-oldest.js'
import { hasFields } from '../../core/json.js'
import { CLAIMS_MAX } from '../../core/limits.js'
import { localTime } from '../../core/local-time.js'
import type { CallLogRecords, LoggedToolCall } from '../documents/log-entry.js'
import type { ClaimOptions } from './claim-definition.js'
import { PhraseMatcher } from './claim-phrases.js'
import type { OpenClaim } from '../documents/checkpoint.js'
import type { ClaimRecord, ClaimVerdict, TranscriptEntry } from '../documents/record.js'
import { factsIn } from '../spoken/spoken-facts.js'
import { KnownFacts } from '../tools/known-facts.js'
import { UNCERTAIN } from '../tools/tool-ledger.js'

type ClaimRule = ClaimOptions['rules'][number]

/** Reading time of a character: 14 a second, people and voices alike (150 words a minute). */
const HEARD_MS_PER_CHAR = 70

/** Language of a fact: the words of all are read at once (BCP 47: undetermined). */
const ANY_LANGUAGE = 'und'
/** Facts of one call that are judged. */
const FACTS_MAX = 50
/** Characters of what the agent was given that one judgement reads (2 ms); the rest is read with the next one. */
const LEARNT_CHARS_MAX = 16_384

/** Phrases of one language, with the rule of each. */
interface Language {
  readonly name: string
  readonly matcher: PhraseMatcher
  readonly phrases: readonly { readonly rule: ClaimRule; readonly phrase: string }[]
}

/** The newest rules that were read: calls of one agent on one thread share them. */
const read = new Map<string, readonly Language[]>()
const READ_MAX = 20

/**
 * Matches what the agent claims to have done with the call's tool calls.
 *
 *     said     --heard, a phrase of a rule--> open
 *     open     --a call of one of its tools succeeded, before or since--> judged `done`
 *     open     --the turn is over, and none of its tools runs--> judged: what became of the newest such call
 *
 * Numbers, prices and weekdays are claims too, of the fact that the agent was given them: by its file, a tool, the caller or
 * the gateway. Only those that nothing supports are recorded.
 *
 * A claim that a running tool makes true a moment later is no false one: the caller ends up with the truth. A call counts
 * for every claim of its tool: which of two orders was cancelled is not compared.
 */
export class ClaimAudit {
  readonly #log: Pick<CallLogRecords, 'transcript' | 'toolCalls' | 'dropped'>
  readonly #facts: ClaimOptions['facts']
  readonly #known = new KnownFacts()
  /** How much of the log the audit has learnt from, and whether from the agent's file. */
  #fileRead = false
  #linesRead = 0
  #callsRead = 0
  /** Facts that were said, each once. */
  readonly #said: Set<string>
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
    log: Pick<CallLogRecords, 'transcript' | 'toolCalls' | 'claims' | 'dropped'>,
    open: readonly OpenClaim[] = [],
  ) {
    this.#facts = options.facts
    this.#said = new Set([...log.claims, ...open].map(({ phrase }) => phrase))
    this.#log = log
    this.#open = [...open]
    this.#judged = log.claims.length + log.dropped.claims
    this.#languages = languagesOf(options)
  }

  get open(): readonly OpenClaim[] {
    return this.#open
  }

  /** A text that the model got, or that the caller heard from the gateway: the agent may repeat it. */
  given(text: string, caller: boolean): void {
    if (this.#facts !== null) this.#known.learn(text, caller)
  }

  /**
   * Words of the agent.
   * @param playedMs  how long they were heard; null when they were heard to their end
   * @param wallMs  calendar time
   */
  said({ text, startMs }: TranscriptEntry, playedMs: number | null, wallMs: number): void {
    const heardChars = playedMs === null ? Infinity : playedMs / HEARD_MS_PER_CHAR
    const claimed = new Set<ClaimRule>()
    for (const { name, matcher, phrases } of this.#languages)
      for (const { phrase: index, endChar } of matcher.find(text)) {
        const found = phrases[index]
        // One claim of a rule: two phrases say the same.
        if (found === undefined || claimed.has(found.rule)) continue
        claimed.add(found.rule)
        if (endChar > heardChars || this.#judged + this.#open.length >= CLAIMS_MAX) continue
        const { rule, phrase } = found
        this.#open.push({ atMs: startMs, tools: rule.tools, result: rule.result, language: name, phrase })
      }
    if (this.#facts === null) return
    const { timeZone } = this.#facts
    const today = timeZone === null ? null : localTime(timeZone, wallMs).weekday
    for (const { phrase, endChar, key } of factsIn(text, today)) {
      if (endChar > heardChars || this.#said.size >= FACTS_MAX || this.#said.has(phrase)) continue
      this.#said.add(phrase)
      this.#open.push({ atMs: startMs, tools: [], result: null, language: ANY_LANGUAGE, phrase, fact: key })
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
    const read = this.#open.every(({ fact }) => fact === undefined) || this.#learn()
    this.#open = this.#open.filter((claim) => {
      if (claim.fact !== undefined) {
        if (this.#known.knows(claim.fact)) return false
        if (!over || running.length > 0 || !read) return true
        const { atMs, language, phrase } = claim
        if (this.#log.dropped.toolCalls + this.#log.dropped.transcript === 0)
          judged.push({ atMs, tool: null, language, phrase, verdict: 'no-source' })
        return false
      }
      const verdict = this.#verdict(claim)
      if (verdict !== 'done' && (!over || claim.tools.some((tool) => running.includes(tool)))) return true
      const { atMs, tools, language, phrase } = claim
      judged.push({ atMs, tool: tools[0] ?? null, language, phrase, verdict })
      return false
    })
    this.#judged += judged.length
    return judged
  }

  /** Reads what the agent was given since the last time. @returns whether all of it was read */
  #learn(): boolean {
    const { transcript, toolCalls, dropped } = this.#log
    let left = LEARNT_CHARS_MAX
    const learn = (text: string, caller = false): void => {
      left -= text.length
      this.#known.learn(text, caller)
    }
    if (!this.#fileRead) learn(this.#facts?.given ?? '')
    this.#fileRead = true
    for (; left > 0 && this.#linesRead < dropped.transcript + transcript.length; this.#linesRead++) {
      const line = transcript[this.#linesRead - dropped.transcript]
      if (line?.role === 'caller') learn(line.text, true)
    }
    for (; left > 0 && this.#callsRead < dropped.toolCalls + toolCalls.length; this.#callsRead++) {
      const call = toolCalls[this.#callsRead - dropped.toolCalls]
      if (call !== undefined) learn(JSON.stringify([call.args, call.result]))
    }
    return left > 0
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

/** Errors of a tool that did not run. */
const NOT_RUN: readonly string[] = ['TOOL_UNVERIFIED', 'TOOL_UNBOUND', 'TOOL_ARGUMENTS', 'TOOL_NOT_OWNER']

function verdictOf({ end, record }: LoggedToolCall): ClaimVerdict {
  if (record.ok) return 'other-result'
  if (end === 'lost' || end === 'expired' || end === 'abandoned' || record.error === UNCERTAIN) return 'uncertain'
  if (end === 'refused' || end === 'cancelled' || end === 'overdue') return end
  return record.error !== undefined && NOT_RUN.includes(record.error) ? 'refused' : 'failed'
}

/** Correction for the model after claims that nothing supports. */
export function correctionOf(claims: readonly ClaimRecord[]): string {
  const facts = claims.map(({ tool, phrase, verdict }) => `"${phrase}": ${FACTS[verdict](tool ?? '')}`)
  return (
    `Correct yourself. What you told the caller is wrong (the words are a pattern): ${facts.join('; ')}. Tell the caller in one ` +
    'short sentence that you were wrong and what is the case. Then offer what you can do.'
  )
}

const FACTS: Readonly<Record<ClaimVerdict, (tool: string) => string>> = {
  done: (tool) => `${tool} did that`,
  'no-source': () => 'nothing that you were given says so: no tool, not your instructions, not the caller',
  'no-tool': () => 'you have no tool for that, so it was not done and you cannot do it',
  'not-called': (tool) => `${tool} was never called, so it was not done`,
  'other-result': (tool) => `${tool} answered something else`,
  failed: (tool) => `${tool} failed, so it was not done`,
  refused: (tool) => `${tool} was refused, so it was not done`,
  cancelled: (tool) => `${tool} was cancelled before it answered; nobody knows whether it took effect`,
  overdue: (tool) => `${tool} did not answer in time; nobody knows whether it took effect`,
  uncertain: (tool) => `nobody knows whether ${tool} took effect: say neither that it did nor that it did not`,
}

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
