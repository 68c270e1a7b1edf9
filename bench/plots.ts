import { escape } from './kit/escape.js'

/** Small SVG charts, written as text: enough for a report, and nothing to install. */

export interface Series {
  readonly name: string
  readonly dashed: boolean
  readonly points: readonly (readonly [x: number, y: number])[]
}

interface LineChart {
  readonly title: string
  readonly x: string
  readonly y: string
  readonly series: readonly Series[]
  /** A line across at this value; null for none. */
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

/** Round steps for an axis from 0 to at least `max`. */
export function ticksTo(max: number): readonly number[] {
  const rough = Math.max(max, 1e-9) / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power
  const count = Math.max(1, Math.ceil(Math.max(max, 1e-9) / step - 1e-9))
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12)))
}

export function lineChart(chart: LineChart): string {
  const series = chart.series.filter(({ points }) => points.length > 0)
  if (series.length === 0) return ''
  const all = series.flatMap(({ points }) => points)
  const xTicks = ticksTo(Math.max(...all.map(([x]) => x)))
  const yTicks = ticksTo(Math.max(...all.map(([, y]) => y), chart.limitY ?? 0))
  const px = (x: number): number => LEFT + (x / (xTicks.at(-1) ?? 1)) * (WIDTH - LEFT - RIGHT)
  const py = (y: number): number => HEIGHT - BOTTOM - (y / (yTicks.at(-1) ?? 1)) * (HEIGHT - TOP - BOTTOM)
  const grid = [
    ...yTicks.map((y) => `<path d="M${LEFT} ${f(py(y))}H${WIDTH - RIGHT}" stroke="${GRID}"/>${text(LEFT - 6, py(y) + 4, String(y), 'end')}`),
    ...xTicks.map((x) => text(px(x), HEIGHT - BOTTOM + 16, String(x), 'middle')),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, chart.x, 'middle'), text(LEFT, TOP - 6, chart.y, 'middle'),
  ]
  const limit = chart.limitY === null ? '' : `<path d="M${LEFT} ${f(py(chart.limitY))}H${WIDTH - RIGHT}" stroke="#b42318" stroke-dasharray="2 4"/>`
  const lines = series.map(({ points, dashed }, i) => {
    const colour = COLOURS[i % COLOURS.length]
    const path = points.map(([x, y], at) => `${at === 0 ? 'M' : 'L'}${f(px(x))} ${f(py(y))}`).join('')
    const dots = points.map(([x, y]) => `<circle cx="${f(px(x))}" cy="${f(py(y))}" r="2.5" fill="${colour}"/>`).join('')
    return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.5"${dashed ? ' stroke-dasharray="5 3"' : ''}/>${dots}`
  })
  const legend = series.map(({ name }, i) =>
    `<rect x="${LEFT}" y="${HEIGHT + i * LEGEND_LINE}" width="10" height="10" fill="${COLOURS[i % COLOURS.length]}"/>${text(LEFT + 16, HEIGHT + 9 + i * LEGEND_LINE, name, 'start')}`)
  return svg(chart.title, HEIGHT + series.length * LEGEND_LINE + 8, [...grid, limit, ...lines, ...legend])
}

interface BarChart {
  readonly title: string
  readonly unit: string
  readonly bars: readonly { readonly name: string; readonly value: number; readonly min: number; readonly max: number }[]
}

const BAR_LINE = 26
const BAR_LEFT = 150

export function barChart({ title, unit, bars }: BarChart): string {
  if (bars.length === 0) return ''
  const most = ticksTo(Math.max(...bars.map(({ max }) => max))).at(-1) ?? 1
  const px = (value: number): number => BAR_LEFT + (value / most) * (WIDTH - BAR_LEFT - 70)
  const rows = bars.map(({ name, value, min, max }, i) => {
    const y = TOP + i * BAR_LINE
    return `${text(BAR_LEFT - 6, y + 14, name, 'end')}<rect x="${BAR_LEFT}" y="${y + 3}" width="${f(px(value) - BAR_LEFT)}" height="15" fill="${COLOURS[0]}"/>`
      + `<path d="M${f(px(min))} ${y + 10.5}H${f(px(max))}" stroke="#1c2733"/>${text(px(max) + 6, y + 14, `${value.toFixed(2)} ${unit}`, 'start')}`
  })
  return svg(title, TOP + bars.length * BAR_LINE + 12, rows)
}

function svg(title: string, height: number, parts: readonly string[]): string {
  return `<svg viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escape(title)}" font-family="system-ui,sans-serif" font-size="11" fill="#344054">`
    + `<text x="${WIDTH / 2}" y="14" text-anchor="middle" font-size="13" font-weight="600">${escape(title)}</text>${parts.join('')}</svg>`
}

function text(x: number, y: number, value: string, anchor: 'start' | 'middle' | 'end'): string {
  return `<text x="${f(x)}" y="${f(y)}" text-anchor="${anchor}">${escape(value)}</text>`
}

function f(value: number): string {
  return value.toFixed(1)
}
