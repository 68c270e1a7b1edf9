import fc from 'fast-check'
import t from 'tap'
import { CallSeries, escapeLabel } from '../../src/telemetry/call-series.js'
import { FRAME_HISTOGRAM_BYTES, FrameHistogram } from '../../src/telemetry/frame-histogram.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { anyText } from '../support/any-text.js'

const metricsOf = () => new Metrics({ version: '1.2.3', processMetrics: false })

/** Value of one line, by name with labels. */
const valueOf = (page: string, line: string): number => {
  const found = page.split('\n').find((candidate) => candidate.startsWith(`${line} `))
  return found === undefined ? NaN : Number(found.slice(line.length + 1).split(' ')[0])
}

t.test('the page lists every metric in complete OpenMetrics', async (t) => {
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

t.test('frames counted by several workers reach the page', async (t) => {
  const metrics = metricsOf()
  const first = new FrameHistogram()
  const second = new FrameHistogram()
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

t.test('counters continue after a worker was replaced', async (t) => {
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

t.test('gauges add up their sources', async (t) => {
  const metrics = metricsOf()
  metrics.callsLive.from(() => 3)
  const leave = metrics.callsLive.from(() => 4)
  t.equal(valueOf(await metrics.render(), 'mkondo_calls_live'), 7)
  leave()
  t.equal(valueOf(await metrics.render(), 'mkondo_calls_live'), 3)
})

t.test('labels beyond the limit are counted as other', async (t) => {
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

t.test('a component defines each own metric once', async (t) => {
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

function seriesOf(callsMax: number) {
  let nowMs = 0
  const series = new CallSeries({ clock: () => nowMs, callsMax })
  return {
    series,
    pass: (ms: number) => {
      nowMs += ms
    },
    sids: () =>
      [...series.render().matchAll(/turn_response_last_seconds\{call_sid="([^"]+)"/g)].map((found) => found[1]),
  }
}

t.test('a live call has only gauges with values', (t) => {
  const { series } = seriesOf(10)
  const call = series.open('HD_1', 'support', 'openai')
  t.notMatch(series.render(), 'HD_1')
  call.turnResponseLastMs = 812
  call.frameLatencyP99Ms = 4.2
  call.backend = 'gemini'
  t.equal(
    series.render(),
    `# HELP mkondo_call_turn_response_last_seconds Last turn of a live call: caller stopped to first agent sound sent
# TYPE mkondo_call_turn_response_last_seconds gauge
# UNIT mkondo_call_turn_response_last_seconds seconds
mkondo_call_turn_response_last_seconds{call_sid="HD_1",agent="support",backend="gemini"} 0.812
# HELP mkondo_call_frame_latency_p99_seconds 99th percentile of the time added to a frame of a live call
# TYPE mkondo_call_frame_latency_p99_seconds gauge
# UNIT mkondo_call_frame_latency_p99_seconds seconds
mkondo_call_frame_latency_p99_seconds{call_sid="HD_1",agent="support",backend="gemini"} 0.0042
# HELP mkondo_call_barge_in_stop_last_seconds Last committed barge-in of a live call: caller spoke to agent silent
# TYPE mkondo_call_barge_in_stop_last_seconds gauge
# UNIT mkondo_call_barge_in_stop_last_seconds seconds
# EOF
`,
  )
  t.end()
})

t.test('an ended call is removed after sixty seconds [1]', (t) => {
  const { series, pass, sids } = seriesOf(10)
  const call = series.open('HD_1', 'support', 'openai')
  call.turnResponseLastMs = 1
  series.end(call)
  pass(59_999)
  series.end(call)
  t.same(sids(), ['HD_1'], 'two scrapes still see it')
  pass(1)
  t.same(sids(), [])
  t.equal(series.size, 0)
  t.end()
})

t.test('beyond the limit only the slowest calls are shown', (t) => {
  const { series, sids } = seriesOf(3)
  for (const [i, ms] of [500, 900, NaN, 700, 100].entries())
    series.open(`HD_${i}`, 'support', 'openai').turnResponseLastMs = ms
  t.same(sids(), ['HD_1', 'HD_3', 'HD_0'])
  t.equal(series.dropped, 2)
  for (let i = 5; i < 100; i++) series.open(`HD_${i}`, 'support', 'openai')
  t.equal(series.size, 24, 'and what is kept is bounded too')
  t.end()
})

t.test('a limit of 0 shows no calls', (t) => {
  const { series, sids } = seriesOf(0)
  series.open('HD_1', 'support', 'openai').turnResponseLastMs = 1
  t.same(sids(), [])
  t.end()
})

t.test('labels are escaped', (t) => {
  t.equal(escapeLabel('a"b\\c\nd'), 'a\\"b\\\\c\\nd')
  t.end()
})

t.test('five thousand calls are rendered without delaying audio', (t) => {
  const { series } = seriesOf(5000)
  for (let i = 0; i < 5000; i++) {
    const call = series.open(`HD_${i.toString(16).padStart(12, '0')}`, 'order-status', 'openai')
    call.turnResponseLastMs = i
    call.frameLatencyP99Ms = 3
    call.bargeInStopLastMs = 80
  }
  series.render()
  const startedMs = performance.now()
  const page = series.render()
  t.comment(`5,000 calls: ${(performance.now() - startedMs).toFixed(1)} ms, ${Math.round(page.length / 1024)} KiB`)
  t.equal(page.split('\n').length, 15_000 + 9 + 2)
  t.end()
})

t.test('no hostile label breaks the page [2]', async (t) => {
  const anything = fc.oneof(
    anyText(60),
    fc.constantFrom('"', '\\', '\n', '"} 1\nmkondo_calls_live 999', '\\"', 'a\\\nb', '# EOF\n', 'x'.repeat(10_000)),
  )
  fc.assert(
    fc.property(anything, anything, anything, (sid, agent, backend) => {
      const series = new CallSeries({ clock: () => 0 })
      series.open(sid, agent, backend).turnResponseLastMs = 250
      const lines = series.render().split('\n')
      const samples = lines.filter((line) => line !== '' && !line.startsWith('# '))
      if (samples.length !== 1) throw new Error(`${samples.length} samples of one`)
      const found =
        /^mkondo_call_turn_response_last_seconds\{call_sid="([^\n]*)",agent="([^\n]*)",backend="([^\n]*)"\} 0\.25$/.exec(
          samples[0] ?? '',
        )
      const unescaped = found
        ?.slice(1)
        .map((value) => value.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c)))
      if (JSON.stringify(unescaped) !== JSON.stringify([sid, agent, backend]))
        throw new Error('another value came back')
      if (lines.at(-2) !== '# EOF' || lines.at(-1) !== '') throw new Error('the page has another end')
    }),
  )
  t.pass('for 100 random and hostile names')
})

t.test('an invalid SID never becomes an exemplar [3]', async (t) => {
  const metrics = new Metrics({ version: '0', processMetrics: false })
  for (const hostile of ['"} 1\n# EOF', 'x'.repeat(10_000), '', 'a b'])
    metrics.bargeInStop({ agent: 'a', backend: 'b' }).observe(0.05, hostile)
  metrics.calls({ agent: 'a', backend: 'b', outcome: 'failed' }).inc(1, 'y'.repeat(200))
  const page = await metrics.render()
  t.notMatch(page, /# \{/)
  t.match(page, /mkondo_barge_in_stop_seconds_count\{agent="a",backend="b"\} 4\n/, 'and the value counts all the same')
})

t.test('a quantile is at most a sixteenth too high', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 16_000, noNaN: true }), { minLength: 1, maxLength: 300 }),
      fc.constantFrom(0.5, 0.9, 0.99, 1),
      (values, q) => {
        const histogram = new FrameHistogram()
        for (const value of values) histogram.observeMs(value)
        const exact = values.toSorted((a, b) => a - b)[Math.max(1, Math.ceil(q * values.length)) - 1] as number
        const found = histogram.quantileMs(q)
        t.ok(found >= exact - 0.001 && found <= exact * 1.0625 + 0.002, `${found} for ${exact}`)
      },
    ),
    { numRuns: 300 },
  )
  t.end()
})

t.test('unusual values are counted without harm', (t) => {
  const histogram = new FrameHistogram()
  for (const value of [0, -5, 1e9, Infinity, -Infinity, NaN, 16_777.215, 3_000_000, 2_147_484])
    histogram.observeMs(value)
  let count = 0
  histogram.reader().take((_, added) => (count += added))
  t.equal(count, 9)
  t.equal(histogram.quantileMs(1), 16_777.215)
  t.ok(Number.isNaN(new FrameHistogram().quantileMs(0.5)))
  t.end()
})

t.test('readers get only new counts despite wraparound', (t) => {
  const memory = new SharedArrayBuffer(FRAME_HISTOGRAM_BYTES)
  const histogram = new FrameHistogram(memory)
  const main = new FrameHistogram(memory).reader()
  const news = () => {
    let count = 0
    const us = main.take((_, added) => {
      count += added
    })
    return { count, us }
  }
  t.same(news(), { count: 0, us: 0 })
  histogram.observeMs(0.01)
  histogram.observeMs(2)
  t.same(news(), { count: 2, us: 2010 })
  t.same(news(), { count: 0, us: 0 })
  // Bucket of 10 µs and the sum, both about to wrap: as after 4 billion frames.
  const words = new Uint32Array(memory)
  words[10] = 0xffff_ffff
  words[words.length - 1] = 0xffff_fffa
  news()
  histogram.observeMs(0.01)
  t.same(news(), { count: 1, us: 10 })
  t.end()
})
