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

/**
 * Time to say one character, in milliseconds. People and synthesised voices say 14 characters a second (150 words a
 * minute).
 */
const HEARD_MS_PER_CHAR = 70

/**
 * Language tag in the record of a fact: undetermined (BCP 47). Facts are recognised with the words of all languages.
 */
const ANY_LANGUAGE = 'und'
/** Maximum number of facts that the audit takes from one phone call. */
const FACTS_MAX = 50
/**
 * Maximum number of characters that one judgement reads from the agent's input; this takes about 2 ms. The next
 * judgement reads the following characters.
 */
const LEARNT_CHARS_MAX = 16_384

/** Phrases of one language, with the rule of each phrase. */
interface Language {
  readonly name: string
  readonly matcher: PhraseMatcher
  readonly phrases: readonly { readonly rule: ClaimRule; readonly phrase: string }[]
}

/** Cache of parsed rules. All calls of one agent on one thread share the parsed rules. */
const read = new Map<string, readonly Language[]>()
const READ_MAX = 20

/**
 * Compares the agent's claims with the tool calls of the phone call.
 *
 *     said     --heard, a phrase of a rule--> open
 *     open     --a call of one of its tools succeeded, before or since--> judged `done`
 *     open     --the turn is over, and none of its tools runs--> judged by the end of the newest such call
 *
 * Numbers, prices and weekdays are claims too: they must come from the agent's file, a tool, the caller or the gateway.
 * Only unsupported claims of these kinds are recorded.
 *
 * A claim is also accepted if it becomes true a moment later, when a running tool succeeds: the caller was informed
 * correctly. A tool call supports every claim about its tool: if one of two orders was cancelled, the audit does not
 * check which order.
 */
export class ClaimAudit {
  readonly #log: Pick<CallLogRecords, 'transcript' | 'toolCalls' | 'dropped'>
  readonly #facts: ClaimOptions['facts']
  readonly #known = new KnownFacts()
  /** True once the agent's file was read. */
  #fileRead = false
  /** Number of the log's transcript entries that were read. */
  #linesRead = 0
  /** Number of the log's tool calls that were read. */
  #callsRead = 0
  /** Facts that the agent has said, without duplicates. */
  readonly #said: Set<string>
  readonly #languages: readonly Language[]
  /** Tools that the agent need not call any more, because the session itself has done their work. */
  readonly #arranged = new Set<string>()
  #open: OpenClaim[]
  #judged: number

  /**
   * @param log  the call's log
   * @param open  claims that the previous worker has not judged
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

  /**
   * Takes a text that the model received, or words of the gateway that the caller heard. The agent may repeat facts of
   * this text.
   */
  given(text: string, caller: boolean): void {
    if (this.#facts !== null) this.#known.learn(text, caller)
  }

  /**
   * Takes words of the agent.
   * @param playedMs  played duration, in milliseconds; null if the caller heard all words
   * @param wallMs  calendar time
   */
  said({ text, startMs }: TranscriptEntry, playedMs: number | null, wallMs: number): void {
    const heardChars = playedMs === null ? Infinity : playedMs / HEARD_MS_PER_CHAR
    const claimed = new Set<ClaimRule>()
    for (const { name, matcher, phrases } of this.#languages)
      for (const { phrase: index, endChar } of matcher.find(text)) {
        const found = phrases[index]
        // Two phrases of one rule make only one claim.
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

  /** Notes that the session itself did the tool's work, because of a digit, a rule or an operator. */
  arranged(tool: string): void {
    this.#arranged.add(tool)
  }

  /**
   * Judges the open claims.
   * @param over  true if the turn is over: later support is impossible
   * @param running  names of the running tools
   * @returns the judged claims, each once
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

  /** Reads the agent's new input. @returns true if the whole input was read */
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
    // The log was full and has dropped tool calls. One of the dropped tool calls may support the claim.
    if (newest === undefined) return this.#log.dropped.toolCalls > 0 ? 'done' : 'not-called'
    return verdictOf(newest)
  }
}

/** Errors of a tool that did not run. */
const NOT_RUN: readonly string[] = ['TOOL_UNVERIFIED', 'TOOL_UNBOUND', 'TOOL_ARGUMENTS', 'TOOL_NOT_OWNER', 'STORE_DOWN']

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
