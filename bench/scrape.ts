import { CallSeries } from '../src/telemetry/call-series.js'
import { FrameHistogram } from '../src/telemetry/frame-histogram.js'
import { Metrics } from '../src/telemetry/metrics.js'

/**
 * Measures how long a scrape blocks the main thread. The pages are `/metrics` of a gateway with several agents and
 * backends, and `/metrics/calls` of N live calls (default 1,000). After `npm run build`: node dist/bench/scrape.js [N]
 */
const liveCalls = Number(process.argv[2] ?? 1000)
const ROUNDS = 60
const AGENTS = ['order-status', 'support', 'bookings', 'returns']
const BACKENDS = ['openai', 'gemini', 'cascade', 'embedded']
const MEDIA_WORKERS = 8

function busyMetrics(): Metrics {
  const metrics = new Metrics({ version: 'bench' })
  for (let worker = 0; worker < MEDIA_WORKERS; worker++) {
    const frames = new FrameHistogram()
    for (let i = 0; i < 1000; i++) frames.observeMs(i / 50)
    metrics.tickLatenessFrom(worker, frames)
    metrics.tickBusyFrom(worker, frames)
    metrics.frameLatencyFrom('in', frames, () => ({ callSid: 'HD_0123456789ab', ms: 12 }))
  }
  for (const agent of AGENTS) {
    for (const backend of BACKENDS) {
      for (const outcome of ['contained', 'escalated', 'abandoned', 'failed'])
        metrics.calls({ agent, backend, outcome }).inc(1, 'HD_0123456789ab')
      for (let i = 0; i < 20; i++) {
        metrics.turnResponse({ agent, backend }).observe(i / 5, `HD_${String(i).padStart(12, '0')}`)
        metrics.turnAnswer({ agent, backend }).observe(i / 5, `HD_${String(i).padStart(12, '0')}`)
      }
    }
  }
  for (const tool of ['lookup_order', 'lookup_account', 'reset_router', 'open_ticket']) {
    for (const backend of BACKENDS)
      for (const outcome of ['ok', 'error'])
        metrics.toolSeconds({ backend, tool, outcome }).observe(0.2, 'HD_0123456789ab')
  }
  return metrics
}

function liveSeries(): CallSeries {
  const series = new CallSeries({ clock: () => performance.now(), callsMax: Math.max(2000, liveCalls) })
  for (let i = 0; i < liveCalls; i++) {
    const numbers = series.open(
      `HD_${i.toString(16).padStart(12, '0')}`,
      AGENTS[i % AGENTS.length] ?? '',
      BACKENDS[i % BACKENDS.length] ?? '',
    )
    numbers.turnResponseLastMs = 300 + i / 3
    numbers.frameLatencyP99Ms = 8 + i / 1000
    numbers.bargeInStopLastMs = 50 + i / 10
  }
  return series
}

/**
 * Measures the longest time for which no other code ran on this thread, from now until the returned function is called.
 */
function watchHolds(): () => number {
  let longest = 0
  let atMs = performance.now()
  let watching = true
  const look = (): void => {
    const nowMs = performance.now()
    longest = Math.max(longest, nowMs - atMs)
    atMs = nowMs
    if (watching) setImmediate(look)
  }
  setImmediate(look)
  return () => {
    watching = false
    return Math.max(longest, performance.now() - atMs)
  }
}

/** Median and maximum of the second half of the rounds. The first half is warm-up. */
async function timed(name: string, page: () => Promise<string>): Promise<number> {
  const took: number[] = []
  const held: number[] = []
  let bytes = 0
  let cpu = process.cpuUsage()
  for (let round = 0; round < ROUNDS; round++) {
    const beganMs = performance.now()
    const watch = watchHolds()
    bytes = (await page()).length
    took.push(performance.now() - beganMs)
    held.push(watch())
    await new Promise((resolve) => setImmediate(resolve))
    if (round === ROUNDS / 2 - 1) cpu = process.cpuUsage()
  }
  const { user, system } = process.cpuUsage(cpu)
  const warm = took.slice(ROUNDS / 2).sort((a, b) => a - b)
  const median = warm[Math.floor(warm.length / 2)] ?? NaN
  const holds = held.slice(ROUNDS / 2).sort((a, b) => a - b)
  const hold = holds[Math.floor(holds.length / 2)] ?? NaN
  console.log(
    `${name.padEnd(24)} held up ${hold.toFixed(2)} ms; in all median ${median.toFixed(2)} ms, worst ${(warm.at(-1) ?? NaN).toFixed(2)} ms, first ${(took[0] ?? NaN).toFixed(2)} ms, processor ${((user + system) / 1000 / (ROUNDS / 2)).toFixed(2)} ms, ${Math.round(bytes / 1024)} KiB`,
  )
  return hold
}

const metrics = busyMetrics()
const series = liveSeries()
const both =
  (await timed('/metrics', () => metrics.render())) +
  (await timed(`/metrics/calls, ${liveCalls}`, () => series.renderInSlices()))
console.log(`longest holds together   ${both.toFixed(2)} ms`)
metrics.close()
