import fc from 'fast-check'
import t from 'tap'
import { CallSeries, escapeLabel } from '../../src/telemetry/call-series.js'
import { Metrics } from '../../src/telemetry/metrics.js'

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

t.test('a live call has its three gauges, and none for what it has not yet had', (t) => {
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

t.test('an ended call is gone after sixty seconds', (t) => {
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

t.test('beyond the cap the slowest are shown and the rest counted', (t) => {
  const { series, sids } = seriesOf(3)
  for (const [i, ms] of [500, 900, NaN, 700, 100].entries())
    series.open(`HD_${i}`, 'support', 'openai').turnResponseLastMs = ms
  t.same(sids(), ['HD_1', 'HD_3', 'HD_0'])
  t.equal(series.dropped, 2)
  for (let i = 5; i < 100; i++) series.open(`HD_${i}`, 'support', 'openai')
  t.equal(series.size, 24, 'and what is kept is bounded too')
  t.end()
})

t.test('a cap of none shows none', (t) => {
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

t.test('whatever a SID, an agent or a backend is called, the page stays a page', async (t) => {
  const anything = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
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

t.test('what is no SID never becomes an exemplar', async (t) => {
  const metrics = new Metrics({ version: '0', processMetrics: false })
  for (const hostile of ['"} 1\n# EOF', 'x'.repeat(10_000), '', 'a b'])
    metrics.bargeInStop({ agent: 'a', backend: 'b' }).observe(0.05, hostile)
  metrics.calls({ agent: 'a', backend: 'b', outcome: 'failed' }).inc(1, 'y'.repeat(200))
  const page = await metrics.render()
  t.notMatch(page, /# \{/)
  t.match(page, /mkondo_barge_in_stop_seconds_count\{agent="a",backend="b"\} 4\n/, 'and the value counts all the same')
})
