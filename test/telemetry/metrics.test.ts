import t from 'tap'
import { FrameHistogram } from '../../src/telemetry/frame-histogram.js'
import { Metrics } from '../../src/telemetry/metrics.js'

const metricsOf = () => new Metrics({ version: '1.2.3', processMetrics: false })

/** Value of one line, by name with labels. */
const valueOf = (page: string, line: string): number => {
  const found = page.split('\n').find((candidate) => candidate.startsWith(`${line} `))
  return found === undefined ? NaN : Number(found.slice(line.length + 1).split(' ')[0])
}

t.test('the page has every metric of the contract, and ends as OpenMetrics must', async (t) => {
  const metrics = new Metrics({ version: '1.2.3' })
  const page = await metrics.render()
  for (const name of [
    'calls_live',
    'calls',
    'calls_refused',
    'call_capacity_remaining',
    'frame_latency_seconds',
    'turn_response_seconds',
    'turn_answer_seconds',
    'barge_in_stop_seconds',
    'tick_lateness_seconds',
    'backend_connect_seconds',
    'backend_errors',
    'backend_failovers',
    'tool_seconds',
    'escalations',
    'playout_underruns',
    'frames_dropped',
    'webhook_seconds',
    'webhook_rejected',
  ])
    t.match(page, new RegExp(`^# TYPE mkondo_${name} (counter|gauge|histogram)$`, 'm'), name)
  t.match(page, `mkondo_build_info{version="1.2.3",node_version="${process.version}"} 1`)
  t.match(page, /^process_resident_memory_bytes \d+/m)
  t.ok(page.endsWith('# EOF\n'))
  t.match(metrics.contentType, /^application\/openmetrics-text; version=1\.0\.0/)
})

t.test('latency histograms name the call in an exemplar', async (t) => {
  const metrics = metricsOf()
  metrics.turnResponse({ agent: 'support', backend: 'openai' }).observe(0.7, 'HD_1')
  metrics.bargeInStop({ agent: 'a', backend: 'b' }).observe(0.05, 'HD_2')
  metrics.bargeInStop({ agent: 'a', backend: 'b' }).observe(NaN)
  metrics.calls({ agent: 'support', backend: 'openai', outcome: 'failed' }).inc(1, 'HD_3')
  const page = await metrics.render()
  t.match(
    page,
    /mkondo_turn_response_seconds_bucket\{le="0\.8",agent="support",backend="openai"\} 1 # \{call_sid="HD_1"\} 0\.7 /,
  )
  t.match(
    page,
    /mkondo_barge_in_stop_seconds_bucket\{le="0\.06",agent="a",backend="b"\} 1 # \{call_sid="HD_2"\} 0\.05 /,
  )
  t.match(page, /mkondo_calls_total\{agent="support",backend="openai",outcome="failed"\} 1 # \{call_sid="HD_3"\} 1 /)
  t.equal(
    valueOf(page, 'mkondo_barge_in_stop_seconds_count{agent="a",backend="b"}'),
    1,
    'what is no number is no measurement',
  )
})

t.test('frames counted by workers reach the page, from several sources and after one is gone', async (t) => {
  const metrics = metricsOf()
  const first = FrameHistogram.shared().histogram
  const second = FrameHistogram.shared().histogram
  let slowest: { callSid: string; ms: number } | null = { callSid: 'HD_9', ms: 30 }
  const stop = metrics.frameLatencyFrom('in', first, () => slowest)
  metrics.frameLatencyFrom('in', second)
  metrics.frameLatencyFrom('out', new FrameHistogram())
  first.observeMs(0.08)
  first.observeMs(30)
  second.observeMs(1.5)
  let page = await metrics.render()
  t.equal(valueOf(page, 'mkondo_frame_latency_seconds_bucket{direction="in",le="0.0001"}'), 1)
  t.equal(valueOf(page, 'mkondo_frame_latency_seconds_bucket{direction="in",le="0.002"}'), 2)
  t.equal(valueOf(page, 'mkondo_frame_latency_seconds_bucket{direction="in",le="+Inf"}'), 3)
  t.equal(valueOf(page, 'mkondo_frame_latency_seconds_sum{direction="in"}'), 0.03158)
  t.equal(valueOf(page, 'mkondo_frame_latency_seconds_count{direction="out"}'), 0)
  t.match(page, /le="0\.04"\} 3 # \{call_sid="HD_9"\} 0\.03 /)
  slowest = null
  first.observeMs(1)
  stop()
  first.observeMs(1)
  page = await metrics.render()
  t.equal(
    valueOf(page, 'mkondo_frame_latency_seconds_count{direction="in"}'),
    4,
    'the last look is taken, nothing after it',
  )
})

t.test('plain numbers become counters, also after a worker was replaced', async (t) => {
  const metrics = metricsOf()
  let dropped = 5
  const stop = metrics.countFrom(metrics.framesDropped({ where: 'caller' }), () => dropped)
  const read = async () => valueOf(await metrics.render(), 'mkondo_frames_dropped_total{where="caller"}')
  t.equal(await read(), 5)
  t.equal(await read(), 5)
  dropped = 8
  t.equal(await read(), 8)
  dropped = 2
  t.equal(await read(), 10)
  dropped = 3
  stop()
  dropped = 100
  t.equal(await read(), 11)
})

t.test('gauges are the sum of their sources', async (t) => {
  const metrics = metricsOf()
  metrics.callsLive.from(() => 3)
  const leave = metrics.callsLive.from(() => 4)
  t.equal(valueOf(await metrics.render(), 'mkondo_calls_live'), 7)
  leave()
  t.equal(valueOf(await metrics.render(), 'mkondo_calls_live'), 3)
})

t.test('labels without end are counted as other', async (t) => {
  const metrics = metricsOf()
  for (let i = 0; i < 600; i++)
    metrics.toolSeconds({ backend: 'openai', tool: `tool-${i}`, outcome: 'ok' }).observe(0.1)
  const page = await metrics.render()
  t.equal(valueOf(page, 'mkondo_tool_seconds_count{backend="other",tool="other",outcome="other"}'), 100)
  t.equal(valueOf(page, 'mkondo_label_overflow_total'), 100)
  t.equal(
    metrics.toolSeconds({ backend: 'openai', tool: 'tool-1', outcome: 'ok' }),
    metrics.toolSeconds({ backend: 'openai', tool: 'tool-1', outcome: 'ok' }),
    'handles are kept',
  )
})

t.test('a component may define its own, once', async (t) => {
  const metrics = metricsOf()
  metrics.defineCounter('store_errors', 'Errors of the store', ['op'])({ op: 'get' }).inc(2)
  metrics.defineHistogram('store_seconds', 'The store', [], [0.001, 0.01])({}).observe(0.005)
  metrics.defineGauge('store_up', 'The store answers').from(() => 1)
  const page = await metrics.render()
  t.equal(valueOf(page, 'mkondo_store_errors_total{op="get"}'), 2)
  t.equal(valueOf(page, 'mkondo_store_seconds_bucket{le="0.01"}'), 1)
  t.equal(valueOf(page, 'mkondo_store_up'), 1)
  t.throws(() => metrics.defineCounter('store_errors', 'again', []))
})
