import type { TimelineMark, TurnRecord } from '../call/record.js'
import type { CallTimelineView } from '../workers/live-call.js'

const BAR = '█'
const WAIT = '░'
const POINT = '●'
const NAME_COLUMNS = 24
const TIME_COLUMNS = 9
const BAR_COLUMNS_MIN = 20
const BAR_COLUMNS_MAX = 60
const DETAIL_COLUMNS_MAX = 100

/** A stretch of time below one heading; bars of all its lines have one scale. */
interface Section {
  readonly heading: string
  readonly fromMs: number
  readonly toMs: number
  readonly spans: readonly Span[]
}

/** A bar: what took from one moment to another. */
interface Span {
  readonly name: string
  readonly fromMs: number
  readonly toMs: number
}

/**
 * A call as a waterfall for a terminal: set-up, then each turn from the moment at which the caller stopped, with bars for
 * what took time and a point for each mark. Times are of the webhook's clock.
 * @param columns  width of the terminal
 */
export function waterfall(view: CallTimelineView, columns: number): string {
  const barColumns = Math.max(BAR_COLUMNS_MIN, Math.min(BAR_COLUMNS_MAX, columns - TIME_COLUMNS - NAME_COLUMNS - 16))
  const lines = [heading(view)]
  if (view.timelineDropped > 0) lines.push(`${view.timelineDropped} marks between the first and the newest were let go.`)
  for (const section of sectionsOf(view)) {
    const marks = view.timeline.filter((mark) => mark.atMs >= section.fromMs && mark.atMs < section.toMs)
    const scale = scaleOf(section, marks, barColumns)
    lines.push('', section.heading)
    for (const span of section.spans) lines.push(spanLine(span, scale))
    for (const mark of marks) lines.push(markLine(mark, scale))
  }
  return `${lines.join('\n')}\n`
}

function heading(view: CallTimelineView): string {
  const { callSid, agent, backend, live, startedAt, traceId } = view
  const trace = traceId === null ? '' : `, trace ${traceId}`
  return plain(`${callSid}  ${agent} on ${backend}, ${live ? 'live' : 'ended'}, webhook at ${startedAt}${trace}`)
}

function sectionsOf(view: CallTimelineView): Section[] {
  const zeroMs = view.streamOpenedMs ?? 0
  const stops = view.turns.map((turn) => zeroMs + turn.callerStoppedMs)
  const firstFrame = view.timeline.find((mark) => mark.name === 'first-frame')
  const connect = view.timeline.find((mark) => mark.name === 'backend-connect')
  const ready = view.timeline.find((mark) => mark.name === 'backend-ready')
  const setUp: Section = {
    heading: 'set-up and greeting',
    fromMs: -Infinity,
    toMs: stops[0] ?? Infinity,
    spans: [
      ...(firstFrame === undefined ? [] : [{ name: 'to the first frame', fromMs: 0, toMs: firstFrame.atMs }]),
      ...(connect === undefined || ready === undefined ? [] : [{ name: 'backend connects', fromMs: connect.atMs, toMs: ready.atMs }]),
      ...toolsWithin(view, zeroMs, -Infinity, stops[0] ?? Infinity),
    ],
  }
  const turns = view.turns.map((turn, index): Section => {
    const fromMs = stops[index] as number // as many stops as turns
    const toMs = stops[index + 1] ?? Infinity
    return { heading: turnHeading(turn, index, fromMs), fromMs, toMs, spans: [...clocksOf(turn, fromMs), ...toolsWithin(view, zeroMs, fromMs, toMs)] }
  })
  return [setUp, ...turns]
}

function turnHeading(turn: TurnRecord, index: number, fromMs: number): string {
  const ear = turn.ear === undefined ? '' : `, at the caller's ear ${took(turn.ear.answerMs ?? turn.ear.firstSoundMs)}`
  return `turn ${index + 1}: the caller stopped at ${clock(fromMs).trim()}, first sound ${took(turn.firstSoundMs)}, answer ${took(turn.answerMs)}${ear}`
}

function clocksOf(turn: TurnRecord, fromMs: number): Span[] {
  const span = (name: string, ms: number | null | undefined): Span[] => (
    ms === null || ms === undefined ? [] : [{ name, fromMs, toMs: fromMs + ms }])
  return [
    ...span('first sound', turn.firstSoundMs), ...span('first sound, ear', turn.ear?.firstSoundMs),
    ...span('answer', turn.answerMs), ...span('answer, ear', turn.ear?.answerMs),
  ]
}

function toolsWithin(view: CallTimelineView, zeroMs: number, fromMs: number, toMs: number): Span[] {
  return view.tools
    .map((tool) => ({ name: `${tool.name}${tool.ok ? '' : ' (failed)'}`, fromMs: zeroMs + tool.startMs, toMs: zeroMs + tool.startMs + tool.ms }))
    .filter((span) => span.fromMs >= fromMs && span.fromMs < toMs)
}

interface Scale {
  readonly fromMs: number
  readonly msPerColumn: number
  readonly columns: number
}

/** From the section's beginning to the end of its bars, or of its marks where it has no bars. */
function scaleOf(section: Section, marks: readonly TimelineMark[], columns: number): Scale {
  const fromMs = Number.isFinite(section.fromMs) ? section.fromMs : 0
  const ends = section.spans.length > 0 ? section.spans.map((span) => span.toMs) : marks.map((mark) => mark.atMs)
  const toMs = Math.max(fromMs + 1, ...ends)
  return { fromMs, msPerColumn: (toMs - fromMs) / columns, columns }
}

function spanLine(span: Span, scale: Scale): string {
  const from = column(span.fromMs, scale)
  const to = Math.max(from + 1, Math.min(scale.columns, Math.ceil((span.toMs - scale.fromMs) / scale.msPerColumn)))
  const bar = `${WAIT.repeat(from)}${BAR.repeat(to - from)}`.padEnd(scale.columns)
  return `${clock(span.fromMs)}  ${fit(span.name)}  ${bar}  ${took(span.toMs - span.fromMs)}`
}

function markLine(mark: TimelineMark, scale: Scale): string {
  const at = column(mark.atMs, scale)
  const beyond = mark.atMs > scale.fromMs + scale.msPerColumn * scale.columns
  const bar = `${' '.repeat(at)}${beyond ? '›' : POINT}`.padEnd(scale.columns)
  const detail = mark.detail === undefined ? '' : plain(mark.detail).slice(0, DETAIL_COLUMNS_MAX)
  return `${clock(mark.atMs)}  ${fit(mark.name)}  ${bar}  ${detail}`.trimEnd()
}

function column(atMs: number, scale: Scale): number {
  return Math.max(0, Math.min(scale.columns - 1, Math.floor((atMs - scale.fromMs) / scale.msPerColumn)))
}

function clock(ms: number): string {
  return `${(ms / 1000).toFixed(3)} s`.padStart(TIME_COLUMNS)
}

function took(ms: number | null): string {
  return ms === null ? 'never' : `${Math.round(ms)} ms`
}

function fit(name: string): string {
  return plain(name).slice(0, NAME_COLUMNS).padEnd(NAME_COLUMNS)
}

/** What a terminal would take as a command (escapes, new lines) is shown as a dot. */
function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '·')
}
