import { speeds, spread } from './checks.js'
import { escape } from './kit/escape.js'
import { decode } from './kit/histogram.js'
import { machineLines } from './kit/machine.js'
import { barChart, lineChart } from './plots.js'
import type { Series } from './plots.js'
import { sizeWords } from './plan.js'
import type { BenchResults, CaseResult } from './results.js'
import { terminalReport } from './terminal.js'

/** The whole report in one file: no scripts, nothing that is loaded from elsewhere. */
export function htmlReport(results: BenchResults): string {
  const { provenance } = results
  const plots = [latencyPlot(results), cpuPlot(results), memoryPlot(results), bargeInPlot(results)].filter((plot) => plot !== '')
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
${row('versions', Object.entries(provenance.versions).map(([name, version]) => `${name} ${version}`).join(', '))}</table>
<h2>Against the design</h2>
<table><tr><th>what</th><th>wanted</th><th>measured</th></tr>${results.checks.map((one) =>
    `<tr><td>${escape(one.name)}</td><td>${escape(one.wanted)}</td><td class="${one.ok === null ? '' : one.ok ? 'yes' : 'no'}">${escape(one.measured)}</td></tr>`).join('')}</table>
<h2>Plots</h2><div class="plots">${plots.join('\n')}</div>
<h2>Tables</h2><pre>${escape(terminalReport(results))}</pre>
</body></html>
`
}

function row(name: string, value: string): string {
  return `<tr><th>${escape(name)}</th><td>${escape(value)}</td></tr>`
}

/** Every run that held, also those of ramps. */
function heldRuns(results: BenchResults): readonly CaseResult[] {
  const ramps = [...results.capacities, ...results.scale].flatMap((capacity) => [...capacity.steps, ...(capacity.at80 === null ? [] : [capacity.at80])])
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
        name: `${key} ${percentile}`, dashed: percentile === 'p50',
        points: here.map((one) => [one.options.calls, one.speed?.addedMs?.[percentile] ?? 0]),
      })
    }
  }
  return lineChart({ title: 'Added latency against calls', x: 'calls', y: 'ms', series, limitY: 20 })
}

function cpuPlot(results: BenchResults): string {
  const bars = [...new Set(results.cases.map((one) => `${one.options.level} ${one.options.subject}`))].toSorted().flatMap((key) => {
    const [level = '', subject = ''] = key.split(' ')
    const cpu = spread(speeds(results.cases, subject, level).map((speed) => speed.cpuMsPerCallSecond))
    return cpu === null ? [] : [{ name: key, value: cpu.median, min: cpu.min, max: cpu.max }]
  })
  return barChart({ title: 'CPU of the server per call and second, all threads', unit: 'ms', bars })
}

function memoryPlot(results: BenchResults): string {
  const series = results.cases.flatMap((one): Series[] => (one.memory === null ? [] : [{
    name: `${one.options.subject} ${one.options.level}`, dashed: false,
    points: one.memory.points.map((point) => [point.calls, point.rssBytes / 1e6]),
  }]))
  return lineChart({ title: 'Memory of the server against calls', x: 'calls', y: 'MB of RSS', series, limitY: null })
}

function bargeInPlot(results: BenchResults): string {
  const series = heldRuns(results).flatMap(({ speed, options }): Series[] => {
    if (speed?.stopMs == null) return []
    const histogram = decode(speed.stopHdr)
    const percents = [1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9]
    return [{ name: `${options.subject} with ${options.calls} calls`, dashed: false, points: percents.map((percent) => [percent, histogram.getValueAtPercentile(percent) / 1000]) }]
  })
  return lineChart({ title: 'Barge-in: first voiced sample to the last of the agent', x: 'percent of interruptions', y: 'ms', series, limitY: 120 })
}
