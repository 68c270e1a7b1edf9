import { hasFields, valueAt } from '../core/json.js'
import { asSaid } from './call-log.js'
import type { CallLogRecords } from './documents/log-entry.js'
import type { EscalationPacket } from './documents/handoff.js'
import type { FactRecord, StageRecord, TranscriptEntry } from './documents/record.js'
import { isFailure } from './escalation-rules.js'
import { COLLECT_TOOL, SPEECH_RATE_TOOL, STAGE_TOOL, VERIFY_TOOL } from './tools/gateway-tools.js'
import type { GatewayTool } from './tools/gateway-tools.js'
import { VERIFIED_FACT } from './stage-definition.js'
import { valueFault } from './tools/value-fault.js'
import type { Stage, StageOptions } from './stage-definition.js'

/** Maximum number of stage moves in one call. Further moves are refused. */
const STAGE_MOVES_MAX = 100
const FACT_CHANGES_MAX = 200
/** Maximum length of a fact, and of a stage's summary, in characters. */
const FACT_CHARS_MAX = 200
const SUMMARY_CHARS_MAX = 300
/** Maximum length of a stage's name, in characters; a model may have invented the name. */
const STAGE_NAME_CHARS_MAX = 40

type MoveCause = StageRecord['why']

/** Fields of a tool's result that stages use. */
interface StageResult {
  readonly tool: string
  readonly ok: boolean
  readonly value: unknown
  readonly error?: string
}

/** The call's log, as the stages see it. */
interface LogView {
  /** Log of this call alone, without the earlier call of a call back. */
  readonly logSince: StageLog
  /** Log without the entries that the person on the line may not hear. */
  readonly told: StageLog
}
type StageLog = Pick<CallLogRecords, 'stages' | 'facts' | 'toolCalls' | 'handovers'>

/** An entry of the call's log. */
type StageEntry =
  { readonly kind: 'stage'; readonly record: StageRecord } | { readonly kind: 'fact'; readonly record: FactRecord }

/**
 * Stage of a call, its known facts, and its exits. This class does not use a clock or I/O. The call log contains all
 * moves, so that another worker or node can continue.
 *
 *     stage --the model's go_to_stage, to an exit whose facts are known--> next
 *     stage --any other go_to_stage--> no move; the model gets the missing facts, or the exits
 *     stage --the gateway: facts are known, a tool has succeeded, tools have failed, time--> next
 */
export class Stages {
  readonly #options: StageOptions
  readonly #of: LogView
  readonly #emit: (entry: StageEntry) => void
  readonly #facts = new Map<string, FactRecord['value']>()
  #now: string
  #sinceMs = 0
  #failures = 0
  /** False until `begin` is called. */
  #begun = false
  readonly #digitTools: readonly string[]
  #moved = false
  #changed = false

  /**
   * @param of  the call's log, to which `emit` appends
   * @param emit  gets each move and each fact as an entry of the log
   * @param verified  true if the caller has proved their identity
   * @param digitTools  tools that receive secret digits: a stage that offers one of them also offers `collect_digits`
   */
  constructor(
    options: StageOptions,
    of: LogView,
    emit: (entry: StageEntry) => void,
    verified: boolean,
    digitTools: readonly string[],
  ) {
    this.#options = options
    this.#of = of
    this.#emit = emit
    this.#digitTools = digitTools
    // The stages of an earlier call do not count, because another person may be on the line.
    const log = of.logSince
    const beganAtMs = log.stages.findLast(({ why }) => why === 'begin')?.atMs ?? -Infinity
    for (const { name, value, atMs } of log.facts) if (atMs >= beganAtMs) this.#facts.set(name, value)
    if (!verified) this.#facts.delete(VERIFIED_FACT)
    // Moves before a handover are moves between stages of another agent.
    const handedAtMs = log.handovers.at(-1)?.atMs ?? -Infinity
    const last = log.stages.findLast(({ atMs }) => atMs > handedAtMs)
    // The agent's file may have changed. If the call's stage was removed, the stages begin again.
    this.#now = last !== undefined && Object.hasOwn(options.stages, last.stage) ? last.stage : firstStage(options)
    if (last === undefined) return
    this.#begun = true
    this.#sinceMs = last.atMs
    this.#failures = log.toolCalls.filter(
      ({ end, record, result }) =>
        (end === 'answered' || end === 'overdue') &&
        record.startMs + record.ms >= last.atMs &&
        isFailure({ ...record, value: result }),
    ).length
  }

  /** Returns the change since the last call of this method. */
  takeChange(): 'moved' | 'known' | null {
    const change = this.#moved ? 'moved' : this.#changed ? 'known' : null
    this.#moved = this.#changed = false
    return change
  }

  get name(): string {
    return this.#now
  }

  get stage(): Stage {
    return this.#options.stages[this.#now] as Stage // `#now` is always the name of a stage
  }

  /**
   * Time at which the gateway leaves the stage, in milliseconds since the stream opened; null if the stage does not
   * have a time limit.
   */
  get dueMs(): number | null {
    const seconds = Object.values(this.stage.next).flatMap(({ on }) => on?.afterS ?? [])
    return seconds.length === 0 ? null : this.#sinceMs + Math.min(...seconds) * 1000
  }

  /** Begins the stages of the call. */
  begin(atMs: number): void {
    if (this.#begun) return
    this.#begun = this.#moved = true
    this.#sinceMs = atMs
    const why = this.#of.logSince.handovers.length > 0 ? 'handover' : 'begin'
    this.#emit({ kind: 'stage', record: { atMs, from: null, stage: this.#now, why } })
  }

  /** @returns the reason why the model must not call this tool now; null if the model may call it */
  refusal(tool: string): string | null {
    if (this.offers(tool)) return null
    const where = Object.entries(this.#options.stages).flatMap(([name, stage]) =>
      offersTool(stage, tool, this.#digitTools) ? [name] : [],
    )
    return `${tool} cannot be called in the stage ${this.#now}. It can be called in: ${where.join(', ') || 'none'}. ${this.#ways()}`
  }

  /** True if the model may call this tool of the agent now. */
  offers(tool: string): boolean {
    return offersTool(this.stage, tool, this.#digitTools)
  }

  /** Stores a fact. An empty value (null, false, an empty text) is ignored. */
  know(name: string, value: unknown, atMs: number, from: string): void {
    const kept = factOf(value)
    if (kept === null || this.#facts.get(name) === kept || this.#of.logSince.facts.length >= FACT_CHANGES_MAX) return
    this.#facts.set(name, kept)
    this.#changed = true
    this.#emit({ kind: 'fact', record: { atMs, name, value: kept, from } })
  }

  /**
   * Handles the model's request for another stage, with the facts that the model states.
   * @returns the reason of a refusal; null if the call has moved
   */
  ask(args: Readonly<Record<string, unknown>>, atMs: number): string | null {
    for (const [name, { ask }] of Object.entries(this.#options.facts))
      if (ask !== undefined && args[name] !== undefined) this.know(name, args[name], atMs, STAGE_TOOL)
    const to = String(args['stage'])
    if (to === this.#now) return null
    const next = Object.hasOwn(this.stage.next, to) ? this.stage.next[to] : undefined
    if (next?.when === undefined)
      return `There is no way from ${this.#now} to ${to.slice(0, STAGE_NAME_CHARS_MAX)}. ${this.#ways()}`
    const missing = this.#missing(next.needs ?? this.stage.needs)
    if (missing.length > 0)
      return `Before ${to} this must be known: ${missing.map((name) => this.#howToKnow(name)).join('; ')}.`
    const { summary } = args
    const said = typeof summary === 'string' ? summary.trim().slice(0, SUMMARY_CHARS_MAX) : ''
    if (!this.#move(to, 'model', atMs, said))
      return `The call has changed its stage ${STAGE_MOVES_MAX} times; go on in this one.`
    this.settle(atMs)
    return null
  }

  /** Takes the result of one of the agent's tools. */
  result({ tool, ok, value, error }: StageResult, atMs: number): void {
    if (isFailure({ ok, value, ...(error === undefined ? {} : { error }) })) this.#failures++
    if (ok) {
      for (const [name, { from = [] }] of Object.entries(this.#options.facts)) {
        for (const one of from) {
          const [named, ...path] = one.split('.')
          if (named !== tool) continue
          const known = path.length === 0 ? true : valueAt(value, path)
          if (valueFault(known, { field: path.at(-1) ?? '' }) === null) this.know(name, known, atMs, tool)
        }
      }
    }
    this.settle(atMs, ok ? { tool, value } : null)
  }

  /**
   * Makes every move that is due without a request of the model.
   * @param succeeded  tool that has just answered
   */
  settle(atMs: number, succeeded: { readonly tool: string; readonly value: unknown } | null = null): void {
    if (!this.#begun) return
    let result = succeeded
    // Each stage is entered at most once, because conditions may form a circle.
    const been = new Set<string>()
    while (!been.has(this.#now)) {
      been.add(this.#now)
      const way = this.#due(atMs, result)
      if (way === null || been.has(way.to) || !this.#move(way.to, way.why, atMs, '')) return
      result = null
    }
  }

  #due(
    atMs: number,
    result: { readonly tool: string; readonly value: unknown } | null,
  ): { to: string; why: MoveCause } | null {
    for (const [to, { on }] of Object.entries(this.stage.next)) {
      if (on === undefined) continue
      const { facts, tool, failures, afterS } = on
      if (facts?.every((name) => this.#facts.has(name)) === true) return { to, why: 'facts' }
      if (tool !== undefined && result?.tool === tool && hasFields(result.value, on.result ?? {}))
        return { to, why: 'tool' }
      if (failures !== undefined && this.#failures >= failures) return { to, why: 'failures' }
      // Tolerance for rounding, because times are differences of floating-point clock values.
      if (afterS !== undefined && atMs - this.#sinceMs + 1 >= afterS * 1000) return { to, why: 'time' }
    }
    return null
  }

  /** @returns false if the call has reached the limit of moves */
  #move(to: string, why: MoveCause, atMs: number, summary: string): boolean {
    if (this.#of.logSince.stages.length >= STAGE_MOVES_MAX) return false
    const from = this.#now
    this.#moved = true
    this.#now = to
    this.#sinceMs = atMs
    this.#failures = 0
    this.#emit({ kind: 'stage', record: { atMs, from, stage: to, why, ...(summary === '' ? {} : { summary }) } })
    return true
  }

  #missing(needs: readonly string[]): readonly string[] {
    return needs.filter((name) => !this.#facts.has(name))
  }

  #howToKnow(name: string): string {
    const { from = [], ask } = this.#options.facts[name] ?? {}
    const tools = name === VERIFIED_FACT ? [VERIFY_TOOL] : [...new Set(from.map((one) => one.split('.')[0] ?? ''))]
    const ways = [
      ...(tools.length === 0 ? [] : [`${tools.join(' or ')} gives it`]),
      ...(ask === undefined ? [] : [`pass it as ${name}: ${ask}`]),
    ]
    return `${name} (${ways.join(', or ')})`
  }

  #ways(): string {
    const ways = Object.entries(this.stage.next).flatMap(([to, { when }]) =>
      when === undefined ? [] : [`${to} (${when})`],
    )
    return ways.length === 0 ? 'No stage follows this one.' : `From here ${STAGE_TOOL} leads to: ${ways.join('; ')}.`
  }

  /** Results of the stages, for the human who takes over. */
  get left(): Pick<EscalationPacket, 'stages' | 'facts'> {
    const been = this.#of.told.stages
    const stages = been.map(({ stage }, index) => {
      const summary = been[index + 1]?.summary
      return { stage, ...(summary === undefined ? {} : { summary }) }
    })
    return { stages, facts: Object.fromEntries(this.#facts) }
  }

  /** Instructions of the stage for the model; they follow the agent's instructions. */
  get text(): string {
    const { instructions, next, needs } = this.stage
    const known = [...this.#facts].map(([name, value]) => `${name} = ${String(value)}`)
    const before = this.#of.told.stages.flatMap(({ from, summary }) =>
      from === null || summary === undefined ? [] : [`- ${from}: ${summary}`],
    )
    const ways = Object.entries(next).flatMap(([to, way]) => {
      if (way.when === undefined) return []
      const missing = this.#missing(way.needs ?? needs)
      return [
        `- ${to}: ${way.when}${missing.length === 0 ? '' : ` Known before that: ${missing.map((name) => this.#howToKnow(name)).join('; ')}.`}`,
      ]
    })
    return [
      `Stage of this call: ${this.#now}. Do only what this stage asks for.`,
      instructions,
      ...(known.length === 0 ? [] : [`Known so far: ${known.join('; ')}.`]),
      ...(before.length === 0 ? [] : ['What happened in earlier stages:', ...before]),
      ...(ways.length === 0 ? [] : [`When to call ${STAGE_TOOL}, and with which stage:`, ...ways]),
    ].join('\n')
  }

  /**
   * Returns the tool by which the model changes the stage; null if every exit is closed.
   * @param all  true to include every stage, for services whose tools cannot change
   */
  tool(all: boolean): GatewayTool | null {
    const open = Object.entries(this.stage.next).filter(
      ([, { when, needs }]) =>
        when !== undefined &&
        this.#missing(needs ?? this.stage.needs).every((name) => this.#options.facts[name]?.ask !== undefined),
    )
    const stages = all ? Object.keys(this.#options.stages) : open.map(([to]) => to)
    if (stages.length === 0) return null
    const told = Object.entries(this.#options.facts).flatMap(([name, { ask }]) =>
      ask === undefined ? [] : [[name, ask] as const],
    )
    return {
      name: STAGE_TOOL,
      description:
        'Goes to another stage of the call, with other instructions and tools. Call it as soon as the condition of that ' +
        'stage is met, without announcing it.',
      parameters: {
        type: 'object',
        additionalProperties: false,
        required: ['stage'],
        properties: {
          stage: { type: 'string', enum: stages },
          summary: { type: 'string', description: 'What was said and done in this stage, in one sentence.' },
          ...Object.fromEntries(told.map(([name, ask]) => [name, { type: 'string', description: ask }])),
        },
      },
    }
  }
}

/**
 * Returns the part of the conversation that a model still needs. This part begins with the caller's last words before a
 * change of stage: the newest change for which the previous stage left a summary. After a handover the new agent gets
 * the whole conversation.
 */
export function remembered({
  transcript,
  stages,
  handovers,
}: Pick<CallLogRecords, 'transcript' | 'stages' | 'handovers'>): readonly TranscriptEntry[] {
  const handedAtMs = handovers.at(-1)?.atMs ?? -Infinity
  const movedAtMs = stages.findLast(({ atMs, summary }) => atMs > handedAtMs && summary !== undefined)?.atMs
  const conversation = asSaid(transcript)
  if (movedAtMs === undefined) return conversation
  return conversation.slice(
    Math.max(
      0,
      conversation.findLastIndex(({ role, startMs }) => role === 'caller' && startMs <= movedAtMs),
    ),
  )
}

/**
 * True if the model may call a tool of the agent in a stage.
 * @param digitTools  tools that receive secret digits, through `collect_digits`
 */
export function offersTool({ tools }: Pick<Stage, 'tools'>, tool: string, digitTools: readonly string[]): boolean {
  if (tools === undefined || tool === SPEECH_RATE_TOOL || tools.includes(tool)) return true
  return tool === COLLECT_TOOL && digitTools.some((one) => tools.includes(one))
}

function firstStage({ stages }: StageOptions): string {
  return Object.keys(stages)[0] ?? ''
}

/** Returns the value as a fact; null for an empty value: null, false, an empty text, a list, an object. */
function factOf(value: unknown): FactRecord['value'] | null {
  if (typeof value === 'string') return value.trim().slice(0, FACT_CHARS_MAX) || null
  return typeof value === 'number' || value === true ? value : null
}
