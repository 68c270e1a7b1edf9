import { FRAME_MS } from '../../src/core/units.js'
import {
  type HeardCall,
  type SaidClip,
  type SaidKind,
  agentSpans,
  answerMs,
  stopTimes,
  tickOf,
  ticksOf,
} from './heard-call.js'
import type { Row } from './main.js'
import { type EventKind, type InteractionEvent, type Panel, eventsOf, panelOf } from './panel.js'
import type { PublishedRow } from './published.js'

/**
 * Minimum number of events for a rate. A rate of fewer events is not shown; the public leaderboard has the same rule.
 */
const EVENTS_MIN = 10

/** Times over all events of a row in ms. They are more exact than the ticks. */
interface Times {
  readonly interruptions: number
  readonly duckedMs: number | null
  readonly stoppedMs: number | null
  readonly stoppedP95Ms: number | null
  /**
   * Time for which a sound over the agent silenced the agent: for each backchannel, and for each tic and each speech to
   * others.
   */
  readonly backchannelMutedMs: number | null
  readonly otherMutedMs: number | null
  readonly answerP50Ms: number | null
}

/** One event, with the sound that caused it. */
interface NamedEvent {
  readonly kind: EventKind
  readonly name: string
  readonly right: boolean
}

export interface RowResult {
  readonly row: Row
  readonly panel: Panel
  readonly times: Times
  readonly named: readonly NamedEvent[]
  /** For each call, the caller's sounds and the periods in which the agent was audible, in ms. */
  readonly timelines: readonly object[]
  /** Number of planned sounds for which there was no opportunity. */
  readonly notSaid: number
  readonly faults: readonly string[]
}

export function resultOf(row: Row, calls: readonly HeardCall[], notSaid: number, faults: readonly string[]): RowResult {
  const events = calls.map((call) => eventsOf(ticksOf(call)))
  return {
    row,
    panel: panelOf(events),
    times: timesOf(calls),
    named: calls.flatMap((call, i) => namedEvents(call, events[i] ?? [])),
    timelines: calls.map((call) => ({
      said: call.said.map(
        ({ kind, name, fromFrame, toFrame }) => `${FRAME_MS * fromFrame} to ${FRAME_MS * toFrame}: ${kind} ${name}`,
      ),
      agent: agentSpans(call).map(([fromMs, toMs]) => `${fromMs} to ${toMs}`),
    })),
    notSaid,
    faults,
  }
}

function timesOf(calls: readonly HeardCall[]): Times {
  const stops = (kinds: readonly SaidKind[]) =>
    calls.flatMap((call) =>
      call.said.filter(({ kind, over }) => over && kinds.includes(kind)).flatMap((said) => stopTimes(call, said) ?? []),
    )
  const interruptions = stops(['interruption'])
  const stopped = interruptions.flatMap(({ stoppedMs }) => stoppedMs ?? [])
  const answers = calls.flatMap((call) =>
    call.said.filter(({ kind }) => kind === 'turn').flatMap((turn) => answerMs(call, turn) ?? []),
  )
  return {
    interruptions: interruptions.length,
    duckedMs: mean(interruptions.flatMap(({ duckedMs }) => duckedMs ?? [])),
    stoppedMs: mean(stopped),
    stoppedP95Ms: quantile(stopped, 0.95),
    backchannelMutedMs: mean(stops(['backchannel']).map(({ mutedMs }) => mutedMs)),
    otherMutedMs: mean(stops(['tic', 'others']).map(({ mutedMs }) => mutedMs)),
    answerP50Ms: quantile(answers, 0.5),
  }
}

const KIND_OF = {
  interruption: 'yield',
  backchannel: 'backchannel',
  tic: 'tic',
  others: 'others',
  turn: 'response',
} as const

/** Events whose sound is known. If sounds run into each other, their events are left out. */
function namedEvents({ said }: HeardCall, events: readonly InteractionEvent[]): readonly NamedEvent[] {
  const nameOf = ({ name, kind, over }: SaidClip): string =>
    over || kind === 'turn' || kind === 'interruption' || kind === 'backchannel' ? name : `${name} (in silence)`
  return said.flatMap((one) => {
    const event = events.find(({ kind, tick }) => kind === KIND_OF[one.kind] && tick === tickOf(one))
    return event === undefined ? [] : [{ kind: event.kind, name: nameOf(one), right: event.right }]
  })
}

const HEAD = ['yield', 'L yield', 'response', 'L resp.', 'agent int.', 'backch.', 'tics', 'others']
const OWN_HEAD = ['ducked', 'stopped', 'p95', '"mm" mutes', 'answer p50']

/** @param published rows to be shown below */
export function tableOf(results: readonly RowResult[], published: readonly PublishedRow[]): string[] {
  const width =
    Math.max(...results.map(({ row }) => nameOf(row).length), ...published.map(({ name }) => name.length)) + 2
  const line = (name: string, cells: readonly string[]): string =>
    name.padEnd(width) + cells.map((cell) => cell.padStart(13)).join('')
  return [
    '',
    line('rates with their events; latencies in s; our own times in ms', [...HEAD, ...OWN_HEAD]),
    ...results.map(({ row, panel, times }) => line(nameOf(row), [...panelCells(panel), ...timeCells(times)])),
    ...(published.length > 0
      ? [
          '',
          'published by τ-voice, with its own callers:',
          ...published.map((row) =>
            line(row.name, [
              row.yieldRate,
              row.yieldLatencyS,
              '',
              row.responseLatencyS,
              row.agentInterrupts,
              row.backchannelEvents < EVENTS_MIN ? '-' : `${row.backchannels} /${row.backchannelEvents}`,
              row.tics,
              row.others,
            ]),
          ),
        ]
      : []),
  ]
}

function panelCells({ counts, ...panel }: Panel): string[] {
  const rate = (value: number | null, count: number): string =>
    value === null || count < EVENTS_MIN ? `- /${count}` : `${value.toFixed(2)} /${count}`
  return [
    rate(panel.yieldRate, counts.yields),
    panel.yieldLatencyS?.toFixed(2) ?? '-',
    rate(panel.responseRate, counts.responses),
    panel.responseLatencyS?.toFixed(2) ?? '-',
    rate(panel.agentInterrupts, counts.responses),
    rate(panel.backchannels, counts.backchannels),
    rate(panel.tics, counts.tics),
    rate(panel.others, counts.others),
  ]
}

function timeCells(times: Times): string[] {
  return [times.duckedMs, times.stoppedMs, times.stoppedP95Ms, times.backchannelMutedMs, times.answerP50Ms].map(
    (ms) => ms?.toFixed(0) ?? '-',
  )
}

/** Number of correct events and of all events for each sound. It shows which sounds cause errors. */
export function wordTable(results: readonly RowResult[]): string[] {
  const sums = new Map<string, { right: number; all: number }>()
  for (const { named } of results)
    for (const { kind, name, right } of named) {
      if (kind === 'response') continue
      const key = `${kind} ${/^[a-z -]{1,22}( \(in silence\))?$/.test(name) && !name.includes('conf') ? name : 'sentences'}`
      const sum = sums.get(key) ?? { right: 0, all: 0 }
      sum.all++
      if (right) sum.right++
      sums.set(key, sum)
    }
  return [
    '',
    'right of all, by sound:',
    ...[...sums].toSorted().map(([key, { right, all }]) => `  ${key.padEnd(44)}${`${right} / ${all}`.padStart(9)}`),
  ]
}

const TARGETS: readonly {
  readonly what: string
  /** Kind of the events by which the target is judged; null for turns of the caller, which every call has. */
  readonly kind: 'interruptions' | 'backchannels' | 'tics' | 'others' | null
  readonly of: (result: RowResult) => number | null
  readonly met: (value: number) => boolean
}[] = [
  {
    kind: 'interruptions',
    what: 'yield rate at least 0.98',
    of: ({ panel }) => panel.yieldRate,
    met: (value) => value >= 0.98,
  },
  {
    kind: 'backchannels',
    what: 'backchannels at least 0.95',
    of: ({ panel }) => panel.backchannels,
    met: (value) => value >= 0.95,
  },
  { kind: 'tics', what: 'tics at least 0.90', of: ({ panel }) => panel.tics, met: (value) => value >= 0.9 },
  {
    kind: 'others',
    what: 'speech to others at least 0.80',
    of: ({ panel }) => panel.others,
    met: (value) => value >= 0.8,
  },
  {
    kind: 'interruptions',
    what: 'stopped after 300 ms at most, on average',
    of: ({ times }) => times.stoppedMs,
    met: (value) => value <= 300,
  },
  {
    kind: null,
    what: 'agent interrupts 0.05 a turn at most',
    of: ({ panel }) => panel.agentInterrupts,
    met: (value) => value <= 0.05,
  },
]

/**
 * The targets, each with its worst row.
 * @param kinds  kinds of events that the run requested. If there is no event of a requested kind, its target is not met,
 * because the agent was silent
 */
export function targetsOf(
  results: readonly RowResult[],
  kinds: readonly string[],
): { what: string; got: string; met: boolean }[] {
  return TARGETS.flatMap(({ kind, what, of, met }) => {
    const rows = results.flatMap((result) => {
      const value = of(result)
      return value === null ? [] : [{ name: nameOf(result.row), value, met: met(value) }]
    })
    if (kind !== null && !kinds.includes(kind)) return []
    if (rows.length === 0) return [{ what, got: 'no event', met: false }]
    const missed = rows.filter((row) => !row.met)
    const shown = missed.length > 0 ? missed : rows
    return [
      { what, met: missed.length === 0, got: shown.map(({ name, value }) => `${value.toFixed(2)} ${name}`).join('; ') },
    ]
  })
}

function nameOf({ condition, line, subject }: Row): string {
  return `${condition}, ${LINE_NAMES[line]}${subject === 'realtime' ? ', no words' : ''}`
}

const LINE_NAMES = { g711: '8 kHz G.711', wide: '16 kHz', gsm: '8 kHz GSM', amr: '8 kHz AMR' } as const

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
}

function quantile(values: readonly number[], share: number): number | null {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))] ?? null
}
