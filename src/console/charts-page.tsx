import type { ChartsView } from '../call/documents/call-charts.js'
import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { useJson } from './api.js'
import { Panel } from './call-page.js'
import { bucketOf, chartEnd, moneyOf, tookOf } from './format.js'
import { fieldOf, MissingCalls, Pending, submits } from './parts.js'
import { T } from './strings.js'

type ChartSeries = ChartsView['all']
type ChartPoint = ChartSeries['whole']

const SPAN_DAYS = { day: 1, week: 7, month: 30 } as const
type Span = keyof typeof SPAN_DAYS
/** Outcomes in the order in which a bar shows them, from the bottom. */
const OUTCOMES = ['contained', 'escalated', 'abandoned', 'failed', 'unreached', 'refused'] as const
/** Width and height of a drawing in its own units. The drawing is stretched to the available width. */
const [WIDTH, HEIGHT] = [300, 80]

interface Asked {
  readonly over: Span
  readonly by: 'agent' | 'agentVersion'
  /** Number of spans by which the shown span is earlier than the current one. */
  readonly back: number
  readonly agent: string
  readonly number: string
}

function pathOf({ over, by, back, agent, number }: Asked): string {
  const query = Object.entries({ over, by, to: chartEnd(SPAN_DAYS[over], back, Date.now()), agent, number })
  return `/api/charts?${query.flatMap(([name, value]) => (value === '' ? [] : `${name}=${encodeURIComponent(value)}`)).join('&')}`
}

/** Results of ended calls over time: for all calls, and by agent or version. */
export function ChartsPage(): JSX.Element {
  const [asked, setAsked] = useState<Asked>({ over: 'day', by: 'agent', back: 0, agent: '', number: '' })
  // Path of the last request. It is not calculated at each drawing, because it contains the current time.
  const [path, setPath] = useState(() => pathOf(asked))
  const ask = (changes: Partial<Asked>): void => {
    const next = { ...asked, ...changes }
    setAsked(next)
    setPath(pathOf(next))
  }
  const { value, fault, code } = useJson<ChartsView>(path)
  return (
    <section aria-labelledby="charts-title">
      <div class="bar">
        <h1 id="charts-title">{T.charts.title}</h1>
        {value !== null && fault === null && (
          <span class="muted" role="status">
            {T.charts.calls(value.all.whole.calls)}
          </span>
        )}
      </div>
      <form
        class="find"
        onSubmit={submits((form) => ask({ agent: fieldOf(form, 'agent'), number: fieldOf(form, 'number') }))}
      >
        <Choice
          label={T.charts.over}
          value={asked.over}
          choices={T.charts.spans}
          onChoice={(over) => ask({ over, back: 0 })}
        />
        <Choice label={T.charts.by} value={asked.by} choices={T.charts.groups} onChoice={(by) => ask({ by })} />
        <label>
          {T.find.fields.agent}
          <input key={asked.agent} name="agent" defaultValue={asked.agent} maxLength={200} autocomplete="off" />
        </label>
        <label>
          {T.find.fields.number}
          <input name="number" type="tel" defaultValue={asked.number} maxLength={40} autocomplete="off" />
        </label>
        <div class="bar">
          <button type="submit">{T.charts.show}</button>
          <button type="button" onClick={() => ask({ back: asked.back + 1 })}>
            {T.charts.earlier}
          </button>
          <button type="button" disabled={asked.back === 0} onClick={() => ask({ back: asked.back - 1 })}>
            {T.charts.later}
          </button>
        </div>
      </form>
      <MissingCalls nodes={value?.nodes ?? []} />
      {value === null || fault !== null ? (
        <Pending value={value} fault={code === 'NOT_FOUND' ? T.find.noKept : fault} />
      ) : value.all.whole.calls === 0 ? (
        <p class="empty">{T.charts.none}</p>
      ) : (
        <Charts charts={value} onName={asked.by === 'agent' ? (agent) => ask({ agent, by: 'agentVersion' }) : null} />
      )}
    </section>
  )
}

function Choice<Name extends string>(props: {
  readonly label: string
  readonly value: Name
  readonly choices: Readonly<Record<Name, string>>
  readonly onChoice: (name: Name) => void
}): JSX.Element {
  return (
    <label>
      {props.label}
      <select value={props.value} onChange={(event) => props.onChoice(event.currentTarget.value as Name)}>
        {(Object.entries(props.choices) as [Name, string][]).map(([name, words]) => (
          <option key={name} value={name}>
            {words}
          </option>
        ))}
      </select>
    </label>
  )
}

function Charts({
  charts,
  onName,
}: {
  readonly charts: ChartsView
  readonly onName: ((name: string) => void) | null
}): JSX.Element {
  const { from, bucketHours, all, groups } = charts
  const when: RowProps['when'] = (at, isShort) => bucketOf(from, bucketHours, at, isShort)
  // All charts have the same scale, so that they can be compared.
  const tops = topsOf(groups)
  const shown = OUTCOMES.filter((outcome) => all.whole.outcomes[outcome] !== undefined)
  return (
    <>
      <Panel
        title={T.charts.all}
        aside={
          <span class="legend">
            {shown.map((outcome) => (
              <span key={outcome}>
                <i class={`outcome outcome-${outcome}`} /> {T.calls.outcomes[outcome]}
              </span>
            ))}
          </span>
        }
      >
        <Row name={T.charts.all} series={all} tops={topsOf([all])} when={when} />
      </Panel>
      <div class="multiples">
        {groups.map((series) => {
          const { name } = series
          const title = name === null ? T.charts.others : name === '' ? T.charts.noName : name
          return (
            <Panel
              key={name}
              title={title}
              aside={
                onName !== null &&
                name !== null &&
                name !== '' && (
                  <button
                    type="button"
                    class="small"
                    aria-label={T.charts.versionsOf(name)}
                    onClick={() => onName(name)}
                  >
                    {T.charts.versions}
                  </button>
                )
              }
            >
              <Row name={title} series={series} tops={tops} when={when} />
            </Panel>
          )
        })}
      </div>
    </>
  )
}

interface Tops {
  readonly calls: number
  readonly ms: number
  readonly cost: Readonly<Record<string, number>>
}

function topsOf(series: readonly ChartSeries[]): Tops {
  const points = series.flatMap(({ buckets }) => buckets)
  const currencies = new Set(points.flatMap(({ cost }) => Object.keys(cost)))
  return {
    calls: Math.max(0, ...points.map(({ calls }) => calls)),
    ms: Math.max(0, ...points.map(({ answerP95Ms }) => answerP95Ms ?? 0)),
    cost: Object.fromEntries(
      [...currencies].map((name) => [name, Math.max(...points.map(({ cost }) => cost[name] ?? 0))]),
    ),
  }
}

interface RowProps {
  readonly name: string
  readonly series: ChartSeries
  readonly tops: Tops
  /** Start of a bucket as text. `isShort`: for the axis, without the parts that are equal in nearly all buckets. */
  readonly when: (bucket: number, isShort?: boolean) => string
}

/**
 * Row of small charts of one agent or version. Each chart also has its result in words, because a screen reader cannot
 * read a drawing.
 */
function Row({ name, series: { whole, buckets }, tops, when }: RowProps): JSX.Element {
  const { p50, p95 } = { p50: tookOf(whole.answerP50Ms), p95: tookOf(whole.answerP95Ms) }
  const outcomes = OUTCOMES.flatMap((outcome) => {
    const calls = whole.outcomes[outcome]
    return calls === undefined ? [] : `${calls} ${T.calls.outcomes[outcome]}`
  }).join(', ')
  const served = Object.entries(whole.served).map(([name, calls]) => `${calls} ${T.calls.served[name] ?? name}`)
  const step = WIDTH / buckets.length
  const bar = (at: number, from: number, amount: number, top: number, kind: string): JSX.Element => (
    <rect
      key={kind}
      class={kind}
      x={at * step + step * 0.1}
      width={step * 0.8}
      y={HEIGHT - ((from + amount) / top) * HEIGHT}
      height={(amount / top) * HEIGHT}
    />
  )
  const stack = (point: ChartPoint, at: number): JSX.Element[] => {
    let from = 0
    return OUTCOMES.flatMap((outcome) => {
      const calls = point.outcomes[outcome] ?? 0
      if (calls === 0) return []
      from += calls
      return bar(at, from - calls, calls, tops.calls, `outcome outcome-${outcome}`)
    })
  }
  const line = (of: (point: ChartPoint) => number | null, kind: string): JSX.Element => {
    const places = buckets.map((point, at) => {
      const ms = of(point)
      return ms === null ? null : `${(at + 0.5) * step} ${HEIGHT - (ms / tops.ms) * HEIGHT}`
    })
    // True if both neighbours of a bucket are empty. Such a bucket is drawn as a dot, because no line leads to it.
    const isAlone = (at: number): boolean => (places[at - 1] ?? null) === null && (places[at + 1] ?? null) === null
    const lines = places.map((place, at) => {
      if (place === null || isAlone(at)) return ''
      return `${(places[at - 1] ?? null) === null ? 'M' : 'L'}${place}`
    })
    const dots = places.map((place, at) => (place === null || !isAlone(at) ? '' : `M${place} L${place}`))
    return (
      <g key={kind} class={`line-of ${kind}`}>
        <path d={lines.join(' ')} />
        <path class="dots-of" d={dots.join(' ')} />
      </g>
    )
  }
  const ends = (
    <span class="ends muted">
      <span>{when(0, true)}</span>
      <span>{when(buckets.length - 1, true)}</span>
    </span>
  )
  return (
    <div class="charts">
      <figure>
        <figcaption>
          <b>{T.charts.calls(whole.calls)}</b> <span class="muted">{outcomes}</span>
          <br />
          <span class="muted">{[T.charts.contained(whole.contained, whole.calls), ...served].join('; ')}</span>
        </figcaption>
        <Drawing
          label={T.charts.ofCalls(name, whole.calls, outcomes)}
          top={String(tops.calls)}
          titles={buckets.map(
            (point, at) =>
              `${when(at)}: ${T.charts.calls(point.calls)}${OUTCOMES.map((outcome) => (point.outcomes[outcome] === undefined ? '' : `, ${point.outcomes[outcome]} ${T.calls.outcomes[outcome]}`)).join('')}`,
          )}
        >
          {buckets.flatMap(stack)}
        </Drawing>
        {ends}
      </figure>
      <figure>
        <figcaption>
          <b title={T.call.measured}>{T.charts.answer}</b>{' '}
          <span class="muted">
            {T.charts.p50} <i class="key p50" /> {p50}, {T.charts.p95} <i class="key p95" /> {p95}
          </span>
        </figcaption>
        <Drawing
          label={T.charts.ofAnswers(name, p50, p95)}
          top={tops.ms === 0 ? '–' : tookOf(tops.ms)}
          titles={buckets.map(
            ({ answers, answerP50Ms, answerP95Ms }, at) =>
              `${when(at)}: ${T.charts.answers(answers)}, ${tookOf(answerP50Ms)}, ${tookOf(answerP95Ms)}`,
          )}
        >
          {tops.ms > 0 && [line((point) => point.answerP95Ms, 'p95'), line((point) => point.answerP50Ms, 'p50')]}
        </Drawing>
        {ends}
      </figure>
      {Object.entries(tops.cost).map(([currency, top]) => (
        <figure key={currency}>
          <figcaption>
            <b>{T.charts.cost}</b> <span class="muted">{moneyOf(whole.cost[currency] ?? 0, currency)}</span>
          </figcaption>
          <Drawing
            label={T.charts.ofCost(name, moneyOf(whole.cost[currency] ?? 0, currency))}
            top={moneyOf(top, currency)}
            titles={buckets.map(({ cost }, at) => `${when(at)}: ${moneyOf(cost[currency] ?? 0, currency)}`)}
          >
            {buckets.map(({ cost }, at) => bar(at, 0, cost[currency] ?? 0, top, 'cost-bar'))}
          </Drawing>
          {ends}
        </figure>
      ))}
    </div>
  )
}

/** @param titles titles of the buckets, shown at the pointer */
function Drawing(props: {
  readonly label: string
  readonly top: string
  readonly titles: readonly string[]
  readonly children: JSX.Element[] | false
}): JSX.Element {
  const step = WIDTH / props.titles.length
  return (
    <div class="drawing">
      <span class="highest muted" aria-hidden="true">
        {props.top}
      </span>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={props.label}>
        {props.children}
        {props.titles.map((title, at) => (
          <rect key={title} class="spot" x={at * step} width={step} y={0} height={HEIGHT}>
            <title>{title}</title>
          </rect>
        ))}
      </svg>
    </div>
  )
}
