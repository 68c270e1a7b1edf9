import type { FleetRow } from '../call/documents/call-view.js'
import type { JSX } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { callPath, post, useJson, messageOf } from './api.js'
import { clockOf, tookOf, whenOf } from './format.js'
import type { LiveCalls, LiveRow } from './live-calls.js'
import { Chip, Notice, OutcomeChip, Pending, SureButton, Table } from './parts.js'
import { T } from './strings.js'

type Column = 'callSid' | 'state' | 'agent' | 'from' | 'backend' | 'durationMs' | 'lastResponseMs' | 'node'

interface Head<Name> {
  readonly name: Name
  /** True if the column is hidden on a narrow screen. */
  readonly wide?: true
  readonly number?: true
}

const COLUMNS: readonly Head<Column>[] = [
  { name: 'callSid', wide: true },
  { name: 'state' },
  { name: 'agent' },
  { name: 'from' },
  { name: 'backend', wide: true },
  { name: 'durationMs', wide: true, number: true },
  { name: 'lastResponseMs', number: true },
  { name: 'node', wide: true },
]
/** Columns of ended calls. `about` is shown if one of the calls has fields. */
const ENDED_COLUMNS: readonly Head<keyof typeof T.calls.columns>[] = [
  { name: 'startedAt' },
  { name: 'callSid', wide: true },
  { name: 'outcome' },
  { name: 'served', wide: true },
  { name: 'endReason', wide: true },
  { name: 'about' },
  { name: 'agent' },
  { name: 'from', wide: true },
  { name: 'backend', wide: true },
  { name: 'durationMs', wide: true, number: true },
  { name: 'turns', wide: true, number: true },
  { name: 'node', wide: true },
]

function headClass({ wide, number }: Omit<Head<unknown>, 'name'>): string {
  return `${wide === true ? 'wide' : ''} ${number === true ? 'number' : ''}`
}

/** Height of a row in px, equal to the height in the style sheet. It is needed because only visible rows are drawn. */
const ROW_PX = 40
/** Number of rows that are drawn above the visible part and below it. */
const BEYOND = 12
/** Duration in ms from which a response is marked as slow. */
const SLOW_MS = 1500

export function CallsPage({ live, act }: { readonly live: LiveCalls; readonly act: boolean }): JSX.Element {
  return (
    <>
      <LiveTable live={live} act={act} />
      <Recent leftCount={live.leftCount} />
    </>
  )
}

interface Sorting {
  readonly by: Column | 'startedAt'
  readonly up: boolean
}

function LiveTable({ live, act }: { readonly live: LiveCalls; readonly act: boolean }): JSX.Element {
  const [filter, setFilter] = useState('')
  const [state, setState] = useState('')
  const [sorting, setSorting] = useState<Sorting>({ by: 'startedAt', up: false })
  const [fault, setFault] = useState<string | null>(null)
  const { shown, matches, fresh, hold, scroller, range, onScroll } = useRows(live, filter, state, sorting)
  const sortBy = (by: Column): void => setSorting({ by, up: sorting.by === by ? !sorting.up : true })
  const command = (sid: string, name: 'hangup' | 'escalate'): void => {
    post(callPath(sid, `/${name}`)).then(
      () => setFault(null),
      (thrown: unknown) => setFault(T.failed(messageOf(thrown))),
    )
  }
  const rows = shown.slice(range.from, range.to)
  return (
    <section aria-labelledby="live-title">
      <div class="bar">
        <h1 id="live-title">{T.calls.title}</h1>
        <span class="muted" data-count={live.rows.size}>
          {T.calls.count(matches, live.rows.size)}
        </span>
        {fresh > 0 && <span class="warn">{T.calls.fresh(fresh)}</span>}
        <span class="gap" />
        <input
          type="search"
          aria-label={T.calls.filter}
          placeholder={T.calls.filterHint}
          value={filter}
          onInput={(event) => setFilter(event.currentTarget.value)}
        />
        <select aria-label={T.calls.state} value={state} onChange={(event) => setState(event.currentTarget.value)}>
          <option value="">{T.calls.anyState}</option>
          {Object.entries(T.calls.states).map(([name, words]) =>
            name === 'ended' ? null : (
              <option key={name} value={name}>
                {words}
              </option>
            ),
          )}
        </select>
      </div>
      {fault !== null && <Notice kind="fault">{fault}</Notice>}
      <div
        class="scroller"
        ref={scroller}
        tabIndex={0}
        role="region"
        aria-labelledby="live-title"
        onScroll={onScroll}
        onPointerEnter={() => hold(true)}
        onPointerLeave={() => hold(false)}
        onFocusIn={() => hold(true)}
        onFocusOut={() => hold(false)}
      >
        <table class="calls" aria-rowcount={shown.length + 1}>
          <thead>
            <tr>
              {COLUMNS.map(({ name, ...head }) => (
                <th
                  key={name}
                  scope="col"
                  class={headClass(head)}
                  aria-sort={sorting.by === name ? (sorting.up ? 'ascending' : 'descending') : undefined}
                >
                  <button type="button" class="sort" onClick={() => sortBy(name)}>
                    {T.calls.columns[name]}
                  </button>
                </th>
              ))}
              <th scope="col" class="wide number">
                <span class="hidden">{T.calls.actions}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            <Spacer rows={range.from} />
            {rows.map((row, index) => (
              <Row
                key={row.callSid}
                row={row}
                index={range.from + index + 2}
                act={act}
                command={(name) => command(row.callSid, name)}
              />
            ))}
            <Spacer rows={shown.length - range.to} />
          </tbody>
        </table>
        {shown.length === 0 && live.connected !== null && (
          <p class="empty">
            {live.rows.size > 0 ? T.calls.noneFiltered : T.calls.none}
            {live.rows.size === 0 && <span class="muted"> {T.calls.noneHint}</span>}
          </p>
        )}
      </div>
    </section>
  )
}

function Spacer({ rows }: { readonly rows: number }): JSX.Element | null {
  return rows <= 0 ? null : (
    <tr aria-hidden="true" style={{ height: `${rows * ROW_PX}px` }}>
      <td colSpan={COLUMNS.length + 1} />
    </tr>
  )
}

function Row(props: {
  readonly row: LiveRow
  readonly index: number
  readonly act: boolean
  readonly command: (name: 'hangup' | 'escalate') => void
}): JSX.Element {
  const { row, index, act, command } = props
  const { callSid, state, agent, from, backend, lastResponseMs, node } = row
  const over = state === 'ended'
  return (
    <tr aria-rowindex={index} class={over ? 'over' : ''}>
      <td class="wide mono">
        <a href={`#/calls/${callSid}`}>{callSid}</a>
      </td>
      <td>
        <Chip kind={state}>{T.calls.states[state] ?? state}</Chip>
      </td>
      <td>
        <a href={`#/calls/${callSid}`}>{agent}</a>
      </td>
      <td class="mono">{from}</td>
      <td class="wide">{backend}</td>
      <td class="wide number">
        <Seconds sinceMs={row.sinceMs} stopped={over} />
      </td>
      <td class={`number ${(lastResponseMs ?? 0) > SLOW_MS ? 'slow' : ''}`}>{tookOf(lastResponseMs)}</td>
      <td class="wide">{node ?? '–'}</td>
      <td class="wide number actions">
        {act && !over && (
          <>
            <SureButton class="small" label={T.calls.escalate} onSure={() => command('escalate')} />
            <SureButton class="small" label={T.calls.hangUp} onSure={() => command('hangup')} />
          </>
        )}
        <a class="button small" href={`#/calls/${callSid}`} aria-label={`${T.calls.open} ${callSid}`}>
          {T.calls.open}
        </a>
      </td>
    </tr>
  )
}

/** Seconds since the stream of a call opened. The component updates itself each second. */
function Seconds({ sinceMs, stopped }: { readonly sinceMs: number | null; readonly stopped: boolean }): JSX.Element {
  const [nowMs, setNowMs] = useState(performance.now())
  useEffect(() => {
    if (sinceMs === null || stopped) return undefined
    const timer = setInterval(() => setNowMs(performance.now()), 1000)
    return () => clearInterval(timer)
  }, [sinceMs, stopped])
  return <>{sinceMs === null ? '–' : clockOf(nowMs - sinceMs)}</>
}

/**
 * Rows in their order, and the range of visible rows. While the pointer or the focus is in the table, no row moves: new
 * calls are only counted (`fresh`), and ended calls stay in their row and are marked as ended.
 */
function useRows(live: LiveCalls, filter: string, state: string, sorting: Sorting) {
  const order = useRef<readonly string[]>([])
  const asked = useRef('')
  const held = useRef(false)
  const scroller = useRef<HTMLDivElement>(null)
  const [, draw] = useState(0)
  const [range, setRange] = useState({ from: 0, to: 60 })
  const view = `${filter}\n${state}\n${sorting.by}\n${sorting.up}`

  const matching = useMemo(() => {
    const words = filter.trim().toLowerCase().split(/\s+/).filter(Boolean)
    return [...live.rows.values()].filter(
      (row) => (state === '' || row.state === state) && words.every((word) => textOf(row).includes(word)),
    )
  }, [live.version, filter, state])

  const renew = (): void => {
    order.current = [...matching].sort(comparing(sorting)).map(({ callSid }) => callSid)
  }
  if (!held.current || asked.current !== view) renew()
  asked.current = view

  const placed = new Set(order.current)
  const shown = order.current.flatMap((sid) => live.rows.get(sid) ?? live.left.get(sid) ?? [])
  const fresh = matching.reduce((count, { callSid }) => count + (placed.has(callSid) ? 0 : 1), 0)

  const onScroll = (): void => {
    const box = scroller.current
    if (box === null) return
    const first = Math.floor(box.scrollTop / ROW_PX)
    const from = Math.max(0, first - BEYOND)
    const to = first + Math.ceil(box.clientHeight / ROW_PX) + BEYOND
    if (from !== range.from || to !== range.to) setRange({ from, to })
  }
  useEffect(onScroll, [shown.length])

  return {
    shown,
    /** Number of live calls that match the filter. `shown` may also contain ended calls. */
    matches: matching.length,
    fresh,
    scroller,
    onScroll,
    range: { from: Math.min(range.from, Math.max(0, shown.length - 1)), to: Math.min(range.to, shown.length) },
    hold: (hold: boolean) => {
      held.current = hold
      if (!hold) draw((n) => n + 1)
    },
  }
}

function textOf({ callSid, agent, from, backend, node, state }: LiveRow): string {
  return `${callSid} ${agent} ${from} ${backend} ${node ?? ''} ${T.calls.states[state] ?? ''}`.toLowerCase()
}

function comparing({ by, up }: Sorting): (a: LiveRow, b: LiveRow) => number {
  const sign = up ? 1 : -1
  const key = (row: LiveRow): string | number =>
    by === 'durationMs'
      ? -(row.sinceMs ?? Infinity)
      : by === 'lastResponseMs'
        ? (row.lastResponseMs ?? -1)
        : (row[by] ?? '')
  return (a, b) => {
    const [x, y] = [key(a), key(b)]
    if (x === y) return a.callSid < b.callSid ? -1 : 1
    return sign * (x < y ? -1 : 1)
  }
}

/** Maximum number of ended calls that the page lists. */
const RECENT_MAX = 100
/** Time in ms between the end of a call and its record. */
const RECORD_MS = 700

function Recent({ leftCount }: { readonly leftCount: number }): JSX.Element {
  const [outcome, setOutcome] = useState('')
  const [search, setSearch] = useState('')
  const query = `outcome=${outcome}&search=${encodeURIComponent(search)}`
  const { value, fault, again } = useJson<{ ended: readonly FleetRow[] }>(
    `/api/fleet/calls?limit=${RECENT_MAX}&${query}`,
  )
  useEffect(() => {
    if (leftCount === 0) return undefined
    const timer = setTimeout(again, RECORD_MS)
    return () => clearTimeout(timer)
  }, [leftCount])
  return (
    <section aria-labelledby="recent-title">
      <div class="bar">
        <h2 id="recent-title">{T.calls.recent}</h2>
        <span class="gap" />
        <input
          type="search"
          aria-label={T.calls.search}
          placeholder={T.calls.searchHint}
          maxLength={200}
          value={search}
          onChange={(event) => setSearch(event.currentTarget.value)}
        />
        <a href={`/api/fleet/calls?limit=500&format=csv&${query}`} download="calls.csv">
          {T.calls.csv}
        </a>
        <select
          aria-label={T.calls.outcome}
          value={outcome}
          onChange={(event) => setOutcome(event.currentTarget.value)}
        >
          <option value="">{T.calls.anyOutcome}</option>
          {Object.entries(T.calls.outcomes).map(([name, words]) => (
            <option key={name} value={name}>
              {words}
            </option>
          ))}
        </select>
      </div>
      <Pending value={value} fault={fault} />
      {value !== null && value.ended.length === 0 && (
        <p class="empty">
          {search !== '' ? T.calls.noneFound : outcome === '' ? T.calls.noRecent : T.calls.noneOfOutcome}
        </p>
      )}
      {value !== null && value.ended.length > 0 && <EndedTable calls={value.ended} labelledBy="recent-title" />}
    </section>
  )
}

export function EndedTable({
  calls,
  labelledBy,
}: {
  readonly calls: readonly FleetRow[]
  readonly labelledBy: string
}): JSX.Element {
  const isAbout = calls.some(({ fields }) => fields !== undefined)
  return (
    <Table
      class="calls"
      labelledBy={labelledBy}
      heads={ENDED_COLUMNS.filter(({ name }) => name !== 'about' || isAbout).map((column) => ({
        name: T.calls.columns[column.name],
        class: headClass(column),
      }))}
    >
      {calls.map((call) => (
        <tr key={call.callSid}>
          <td>
            <a href={`#/calls/${call.callSid}`}>{whenOf(call.startedAt)}</a>
          </td>
          <td class="wide mono">
            <a href={`#/calls/${call.callSid}`}>{call.callSid}</a>
          </td>
          <td>
            <OutcomeChip outcome={call.outcome} served={call.served} />
          </td>
          <td class="wide">{T.calls.served[call.served ?? ''] ?? '–'}</td>
          <td class="wide">{call.endReason ?? '–'}</td>
          {isAbout && <td title={call.summary ?? ''}>{aboutText(call)}</td>}
          <td>{call.agent}</td>
          <td class="wide mono">{call.from}</td>
          <td class="wide">{call.backend}</td>
          <td class="wide number">{clockOf(call.durationMs)}</td>
          <td class="wide number">{call.turns ?? '–'}</td>
          <td class="wide">{call.node ?? '–'}</td>
        </tr>
      ))}
    </Table>
  )
}

/** Values of a call's fields, in the order of the agent's file: `refund · yes`. */
function aboutText({ fields = {} }: FleetRow): string {
  const known = Object.entries(fields).filter(([, value]) => value !== null && value !== '')
  return known
    .map(([name, value]) => (typeof value === 'boolean' ? `${value ? '' : 'not '}${name}` : value))
    .join(' · ')
}
