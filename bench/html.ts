import { speeds, spread } from './checks.js'
import { decode } from './kit/histogram.js'
import { machineLines } from './kit/machine.js'
import { sizeWords } from './plan.js'
import type { BenchResults, CaseResult } from './results.js'
import { terminalReport } from './terminal.js'

/** The whole report in one file. It contains no scripts, and loads nothing else. */
export function htmlReport(results: BenchResults): string {
  const { provenance } = results
  const plots = [latencyPlot(results), cpuPlot(results), memoryPlot(results), bargeInPlot(results)].filter(
    (plot) => plot !== '',
  )
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>mkondo bench ${escape(provenance.commit)}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1c2733;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}pre{overflow-x:auto;background:#f4f6f8;padding:1rem;font-size:12px;line-height:1.4}
table{border-collapse:collapse}td,th{padding:.25rem .75rem;border-bottom:1px solid #dde3e8;text-align:left}
.yes{color:#1a7f37}.no{color:#b42318}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:1.5rem}svg{max-width:100%;height:auto}
</style></head><body>
<h1>mkondo bench</h1>
<table>${row('commit', provenance.commit)}${row('when', provenance.at)}${row('command', provenance.command)}
${row('machine', machineLines(provenance).join('; '))}
${row(
  'versions',
  Object.entries(provenance.versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', '),
)}</table>
<h2>Against the design</h2>
<table><tr><th>what</th><th>wanted</th><th>measured</th></tr>${results.checks
    .map(
      (one) =>
        `<tr><td>${escape(one.name)}</td><td>${escape(one.wanted)}</td><td class="${one.ok === null ? '' : one.ok ? 'yes' : 'no'}">${escape(one.measured)}</td></tr>`,
    )
    .join('')}</table>
<h2>Plots</h2><div class="plots">${plots.join('\n')}</div>
<h2>Tables</h2><pre>${escape(terminalReport(results))}</pre>
</body></html>
`
}

function row(name: string, value: string): string {
  return `<tr><th>${escape(name)}</th><td>${escape(value)}</td></tr>`
}

/** All runs that held, including runs of ramps. */
function heldRuns(results: BenchResults): readonly CaseResult[] {
  const ramps = [...results.capacities, ...results.scale].flatMap((capacity) => [
    ...capacity.steps,
    ...(capacity.at80 === null ? [] : [capacity.at80]),
  ])
  return [...results.cases, ...ramps].filter((one) => one.speed !== null)
}

function latencyPlot(results: BenchResults): string {
  const series: Series[] = []
  const runs = heldRuns(results).filter((one) => one.speed?.addedMs != null)
  const keyOf = (one: CaseResult): string =>
    `${one.options.subject} ${one.options.level}${one.options.workers * one.options.processes > 1 ? `, ${sizeWords(one.options)}` : ''}`
  for (const key of new Set(runs.map(keyOf))) {
    const here = runs.filter((one) => keyOf(one) === key).toSorted((a, b) => a.options.calls - b.options.calls)
    for (const percentile of ['p50', 'p99'] as const) {
      series.push({
        name: `${key} ${percentile}`,
        dashed: percentile === 'p50',
        points: here.map((one) => [one.options.calls, one.speed?.addedMs?.[percentile] ?? 0]),
      })
    }
  }
  return lineChart({ title: 'Added latency against calls', x: 'calls', y: 'ms', series, limitY: 20 })
}

function cpuPlot(results: BenchResults): string {
  const bars = [...new Set(results.cases.map((one) => `${one.options.level} ${one.options.subject}`))]
    .toSorted()
    .flatMap((key) => {
      const [level = '', subject = ''] = key.split(' ')
      const cpu = spread(speeds(results.cases, subject, level).map((speed) => speed.cpuMsPerCallSecond))
      return cpu === null ? [] : [{ name: key, value: cpu.median, min: cpu.min, max: cpu.max }]
    })
  return barChart({ title: 'CPU of the server per call and second, all threads', unit: 'ms', bars })
}

function memoryPlot(results: BenchResults): string {
  const series = results.cases.flatMap((one): Series[] =>
    one.memory === null
      ? []
      : [
          {
            name: `${one.options.subject} ${one.options.level}`,
            dashed: false,
            points: one.memory.points.map((point) => [point.calls, point.rssBytes / 1e6]),
          },
        ],
  )
  return lineChart({ title: 'Memory of the server against calls', x: 'calls', y: 'MB of RSS', series, limitY: null })
}

function bargeInPlot(results: BenchResults): string {
  const series = heldRuns(results).flatMap(({ speed, options }): Series[] => {
    if (speed?.stopMs == null) return []
    const histogram = decode(speed.stopHdr)
    const percents = [1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9]
    return [
      {
        name: `${options.subject} with ${options.calls} calls`,
        dashed: false,
        points: percents.map((percent) => [percent, histogram.getValueAtPercentile(percent) / 1000]),
      },
    ]
  })
  return lineChart({
    title: 'Barge-in: first voiced sample to the last of the agent',
    x: 'percent of interruptions',
    y: 'ms',
    series,
    limitY: 120,
  })
}

/** Small SVG charts, written as text. They are enough for a report, and need no package. */

interface Series {
  readonly name: string
  readonly dashed: boolean
  readonly points: readonly (readonly [x: number, y: number])[]
}

interface LineChart {
  readonly title: string
  readonly x: string
  readonly y: string
  readonly series: readonly Series[]
  /** Value of a horizontal line; null for no line. */
  readonly limitY: number | null
}

const WIDTH = 520
const HEIGHT = 320
const LEFT = 56
const TOP = 32
const RIGHT = 12
const BOTTOM = 44
const LEGEND_LINE = 16
const COLOURS = ['#0b6bcb', '#c4320a', '#1a7f37', '#7a5af8', '#b54708', '#0e7090', '#c11574', '#475467']
const GRID = '#e4e9ee'

/** Values for the ticks of an axis from 0 to at least `max`, in steps of round numbers. */
export function ticksTo(max: number): readonly number[] {
  const rough = Math.max(max, 1e-9) / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power
  const count = Math.max(1, Math.ceil(Math.max(max, 1e-9) / step - 1e-9))
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12)))
}

function lineChart(chart: LineChart): string {
  const series = chart.series.filter(({ points }) => points.length > 0)
  if (series.length === 0) return ''
  const all = series.flatMap(({ points }) => points)
  const xTicks = ticksTo(Math.max(...all.map(([x]) => x)))
  const yTicks = ticksTo(Math.max(...all.map(([, y]) => y), chart.limitY ?? 0))
  const px = (x: number): number => LEFT + (x / (xTicks.at(-1) ?? 1)) * (WIDTH - LEFT - RIGHT)
  const py = (y: number): number => HEIGHT - BOTTOM - (y / (yTicks.at(-1) ?? 1)) * (HEIGHT - TOP - BOTTOM)
  const grid = [
    ...yTicks.map(
      (y) =>
        `<path d="M${LEFT} ${f(py(y))}H${WIDTH - RIGHT}" stroke="${GRID}"/>${text(LEFT - 6, py(y) + 4, String(y), 'end')}`,
    ),
    ...xTicks.map((x) => text(px(x), HEIGHT - BOTTOM + 16, String(x), 'middle')),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, chart.x, 'middle'),
    text(LEFT, TOP - 6, chart.y, 'middle'),
  ]
  const limit =
    chart.limitY === null
      ? ''
      : `<path d="M${LEFT} ${f(py(chart.limitY))}H${WIDTH - RIGHT}" stroke="#b42318" stroke-dasharray="2 4"/>`
  const lines = series.map(({ points, dashed }, i) => {
    const colour = COLOURS[i % COLOURS.length]
    const path = points.map(([x, y], at) => `${at === 0 ? 'M' : 'L'}${f(px(x))} ${f(py(y))}`).join('')
    const dots = points.map(([x, y]) => `<circle cx="${f(px(x))}" cy="${f(py(y))}" r="2.5" fill="${colour}"/>`).join('')
    return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.5"${dashed ? ' stroke-dasharray="5 3"' : ''}/>${dots}`
  })
  const legend = series.map(
    ({ name }, i) =>
      `<rect x="${LEFT}" y="${HEIGHT + i * LEGEND_LINE}" width="10" height="10" fill="${COLOURS[i % COLOURS.length]}"/>${text(LEFT + 16, HEIGHT + 9 + i * LEGEND_LINE, name, 'start')}`,
  )
  return svg(chart.title, HEIGHT + series.length * LEGEND_LINE + 8, [...grid, limit, ...lines, ...legend])
}

interface BarChart {
  readonly title: string
  readonly unit: string
  readonly bars: readonly {
    readonly name: string
    readonly value: number
    readonly min: number
    readonly max: number
  }[]
}

const BAR_LINE = 26
const BAR_LEFT = 150

function barChart({ title, unit, bars }: BarChart): string {
  if (bars.length === 0) return ''
  const most = ticksTo(Math.max(...bars.map(({ max }) => max))).at(-1) ?? 1
  const px = (value: number): number => BAR_LEFT + (value / most) * (WIDTH - BAR_LEFT - 70)
  const rows = bars.map(({ name, value, min, max }, i) => {
    const y = TOP + i * BAR_LINE
    return (
      `${text(BAR_LEFT - 6, y + 14, name, 'end')}<rect x="${BAR_LEFT}" y="${y + 3}" width="${f(px(value) - BAR_LEFT)}" height="15" fill="${COLOURS[0]}"/>` +
      `<path d="M${f(px(min))} ${y + 10.5}H${f(px(max))}" stroke="#1c2733"/>${text(px(max) + 6, y + 14, `${value.toFixed(2)} ${unit}`, 'start')}`
    )
  })
  return svg(title, TOP + bars.length * BAR_LINE + 12, rows)
}

function svg(title: string, height: number, parts: readonly string[]): string {
  return (
    `<svg viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escape(title)}" font-family="system-ui,sans-serif" font-size="11" fill="#344054">` +
    `<text x="${WIDTH / 2}" y="14" text-anchor="middle" font-size="13" font-weight="600">${escape(title)}</text>${parts.join('')}</svg>`
  )
}

function text(x: number, y: number, value: string, anchor: 'start' | 'middle' | 'end'): string {
  return `<text x="${f(x)}" y="${f(y)}" text-anchor="${anchor}">${escape(value)}</text>`
}

function f(value: number): string {
  return value.toFixed(1)
}

/** Text for the content and the attributes of HTML and SVG. */
function escape(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}
