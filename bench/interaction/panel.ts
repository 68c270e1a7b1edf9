/**
 * The interaction figures of τ-voice (sierra-research/tau2-bench, docs/interaction-metrics.md), by its definitions.
 * Time is divided into ticks of 200 ms. These functions are pure, and are used both for our calls and for published
 * conversations.
 */

export const TICK_MS = 200

/** Windows in ticks: 2.0 s and 1.0 s. */
const YIELD_TICKS = 10
const SELECTIVE_YIELD_TICKS = 5
const SELECTIVE_RESPONSE_TICKS = 10

/** A sound that is not meant for the agent: a vocal tic ("um", a cough), or speech to somebody else. */
export interface TickEffect {
  readonly kind: 'tic' | 'others'
  /** Successive ticks with the same kind and text are one effect. */
  readonly text: string
}

/** One tick: 200 ms of a conversation. */
export interface Tick {
  /** True if the caller is in an utterance. Pauses within the utterance are included. */
  readonly caller: boolean
  /** True if the caller hears the agent. */
  readonly agent: boolean
  /** True if a backchannel begins in this tick. It counts only if this is the first tick of the caller's segment. */
  readonly backchannel: boolean
  readonly effects: readonly TickEffect[]
}

export type EventKind = 'response' | 'yield' | 'backchannel' | 'tic' | 'others' | 'agent-interrupts'

/** One event that the figures count. */
export interface InteractionEvent {
  readonly kind: EventKind
  /** True if the agent did the right thing. Always false for `agent-interrupts`. */
  readonly right: boolean
  /**
   * Tick in which the caller's segment or effect begins. For `agent-interrupts`, tick in which the agent's segment
   * begins.
   */
  readonly tick: number
  /** Time in s to the response or to the stop; null for other kinds, or if there was no response or stop. */
  readonly latencyS: number | null
}

/**
 * Figures of some conversations. Rates are 0 to 1, latencies are in s. A figure is null if nothing was counted for it.
 */
export interface Panel {
  readonly yieldRate: number | null
  readonly yieldLatencyS: number | null
  readonly responseRate: number | null
  readonly responseLatencyS: number | null
  /** Number of agent segments per turn that begin while the caller speaks. It may be greater than 1. */
  readonly agentInterrupts: number | null
  readonly backchannels: number | null
  readonly tics: number | null
  readonly others: number | null
  readonly counts: {
    readonly conversations: number
    readonly responses: number
    readonly yields: number
    readonly backchannels: number
    readonly tics: number
    readonly others: number
    readonly agentInterrupts: number
  }
}

interface Segment {
  readonly from: number
  /** First tick after the segment. */
  readonly to: number
}

interface CallerSegment extends Segment {
  readonly backchannel: boolean
  readonly tic: boolean
  readonly others: boolean
  readonly agentAtStart: boolean
  readonly agentAfterEnd: boolean
}

/** Events of one conversation, in any order. */
export function eventsOf(conversation: readonly Tick[]): readonly InteractionEvent[] {
  const ticks = withoutLastWord(conversation)
  const callers = segments(ticks, ({ caller }) => caller).map((segment) => callerSegment(ticks, segment))
  const agents = segments(ticks, ({ agent }) => agent)
  return [
    ...responses(callers, agents),
    ...callers.filter(({ agentAtStart }) => agentAtStart).map((segment) => overAgent(ticks, segment)),
    ...callers
      .filter(({ agentAtStart, tic, others }) => !agentAtStart && (tic || others))
      .map((segment) => inSilence(segment.tic ? 'tic' : 'others', segment, agents)),
    ...effectsOutOfTurn(ticks).flatMap((effect) => outOfTurn(effect, agents)),
    ...agents
      .filter(({ from }) => ticks[from]?.caller === true)
      .map(({ from }) => ({ kind: 'agent-interrupts', right: false, tick: from, latencyS: null }) as const),
  ]
}

/** @param conversations events of each conversation */
export function panelOf(conversations: readonly (readonly InteractionEvent[])[]): Panel {
  const all = conversations.flat()
  const of = (kind: EventKind): readonly InteractionEvent[] => all.filter((event) => event.kind === kind)
  const [responded, yields, agentInterrupts] = [of('response'), of('yield'), of('agent-interrupts')]
  const [backchannels, tics, others] = [of('backchannel'), of('tic'), of('others')]
  return {
    yieldRate: rightRate(yields),
    yieldLatencyS: meanLatency(yields),
    responseRate: rightRate(responded),
    responseLatencyS: meanLatency(responded),
    agentInterrupts: responded.length === 0 ? null : agentInterrupts.length / responded.length,
    backchannels: rightRate(backchannels),
    tics: rightRate(tics),
    others: rightRate(others),
    counts: {
      conversations: conversations.length,
      responses: responded.length,
      yields: yields.length,
      backchannels: backchannels.length,
      tics: tics.length,
      others: others.length,
      agentInterrupts: agentInterrupts.length,
    },
  }
}

/** Removes a segment of one tick at the very end: it is the word with which τ-voice's caller hangs up. */
function withoutLastWord(ticks: readonly Tick[]): readonly Tick[] {
  return ticks.at(-1)?.caller === true && ticks.at(-2)?.caller === false ? ticks.slice(0, -1) : ticks
}

function segments(ticks: readonly Tick[], has: (tick: Tick) => boolean): readonly Segment[] {
  const found: Segment[] = []
  let from: number | null = null
  for (const [i, tick] of ticks.entries()) {
    if (has(tick)) from ??= i
    else if (from !== null) {
      found.push({ from, to: i })
      from = null
    }
  }
  return from === null ? found : [...found, { from, to: ticks.length }]
}

function callerSegment(ticks: readonly Tick[], { from, to }: Segment): CallerSegment {
  const effects = ticks.slice(from, to).flatMap((tick) => tick.effects)
  return {
    from,
    to,
    backchannel: ticks[from]?.backchannel === true,
    tic: effects.some(({ kind }) => kind === 'tic'),
    others: effects.some(({ kind }) => kind === 'others'),
    agentAtStart: ticks[from]?.agent === true,
    agentAfterEnd: ticks[to]?.agent === true,
  }
}

/**
 * Turns that end while the agent is silent. A turn at the end of the conversation, after which nobody speaks, is not
 * counted.
 */
function responses(callers: readonly CallerSegment[], agents: readonly Segment[]): readonly InteractionEvent[] {
  const turns = callers.filter(({ backchannel, agentAfterEnd }) => !backchannel && !agentAfterEnd)
  return turns.flatMap(({ from, to }, i) => {
    const agentFrom = agents.find((segment) => segment.from >= to)?.from ?? Infinity
    const nextFrom = turns[i + 1]?.from ?? Infinity
    if (agentFrom === Infinity && nextFrom === Infinity) return []
    const right = agentFrom <= nextFrom
    return [{ kind: 'response', right, tick: from, latencyS: right ? seconds(agentFrom - to) : null } as const]
  })
}

function overAgent(ticks: readonly Tick[], { from, backchannel, tic, others }: CallerSegment): InteractionEvent {
  const kind = backchannel ? 'backchannel' : tic ? 'tic' : others ? 'others' : 'yield'
  const window = ticks.slice(from, from + (kind === 'yield' ? YIELD_TICKS : SELECTIVE_YIELD_TICKS))
  const stops = window.findIndex(({ agent }) => !agent)
  return kind === 'yield'
    ? { kind, right: stops >= 0, tick: from, latencyS: stops < 0 ? null : seconds(stops) }
    : { kind, right: stops < 0, tick: from, latencyS: null }
}

function inSilence(kind: TickEffect['kind'], { from, to }: Segment, agents: readonly Segment[]): InteractionEvent {
  const answered = agents.some((agent) => agent.from >= from && agent.from <= to + SELECTIVE_RESPONSE_TICKS)
  return { kind, right: !answered, tick: from, latencyS: null }
}

interface Effect extends Segment {
  readonly kind: TickEffect['kind']
}

/** While the agent speaks, only errors are counted, as in the published figures. Correct reactions are not events. */
function outOfTurn(effect: Effect, agents: readonly Segment[]): readonly InteractionEvent[] {
  const speaking = agents.find(({ from, to }) => from <= effect.from && effect.from < to)
  if (speaking === undefined) return [inSilence(effect.kind, effect, agents)]
  if (speaking.to - effect.from > SELECTIVE_YIELD_TICKS) return []
  return [{ kind: effect.kind, right: false, tick: effect.from, latencyS: null }]
}

/** Effects in ticks in which the caller is not in an utterance. */
function effectsOutOfTurn(ticks: readonly Tick[]): readonly Effect[] {
  const effects: (Effect & { readonly text: string })[] = []
  for (const [i, { caller, effects: now }] of ticks.entries()) {
    if (caller) continue
    for (const { kind, text } of now) {
      const open = effects.findIndex((effect) => effect.to === i && effect.kind === kind && effect.text === text)
      const before = effects[open]
      if (before === undefined) effects.push({ kind, text, from: i, to: i + 1 })
      else effects[open] = { ...before, to: i + 1 }
    }
  }
  return effects
}

function rightRate(events: readonly InteractionEvent[]): number | null {
  return events.length === 0 ? null : events.filter(({ right }) => right).length / events.length
}

function meanLatency(events: readonly InteractionEvent[]): number | null {
  const known = events.flatMap(({ latencyS }) => (latencyS === null ? [] : [latencyS]))
  return known.length === 0 ? null : known.reduce((sum, one) => sum + one, 0) / known.length
}

const seconds = (ticks: number): number => (ticks * TICK_MS) / 1000
