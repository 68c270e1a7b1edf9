import t from 'tap'
import { LOOP_STOPS_BYTES, LoopStops, stopCounts, stopReason } from '../../src/telemetry/loop-stops.js'
import { Metrics } from '../../src/telemetry/metrics.js'

const stop = { fromMs: 100, toMs: 120 }

t.test('a pause gets the reason of its largest part', async (t) => {
  const minor = { reason: 'garbage-minor', fromMs: 90, toMs: 108 } as const
  const external = { reason: 'garbage-external', fromMs: 108, toMs: 119 } as const
  t.equal(stopReason(stop, [], 0), 'other')
  t.equal(stopReason(stop, [minor], 0), 'other')
  t.equal(stopReason(stop, [minor, external], 0), 'garbage-external')
  t.equal(stopReason(stop, [external], 20), 'garbage-external', 'a collection within a tick')
  t.equal(stopReason(stop, [minor], 20), 'tick')
  t.equal(stopReason(stop, [{ ...external, fromMs: 10, toMs: 90 }], 11), 'tick')
})

t.test('late ticks are counted after they are classified', async (t) => {
  const memory = new SharedArrayBuffer(LOOP_STOPS_BYTES)
  const stops = new LoopStops(() => 0, memory)
  t.teardown(() => stops.close())
  const metrics = new Metrics({ version: '1', processMetrics: false })
  metrics.loopStopsFrom(3, memory)
  stops.ticked(1000, 4, 12)
  stops.ticked(1013, 8, 1)
  stops.ticked(1018, 0, 1)
  t.equal(
    stopCounts(memory).reduce((sum, count) => sum + count.stops(), 0),
    0,
  )
  stops.ticked(1068, 0, 1)
  const page = await metrics.render()
  t.match(page, /^mkondo_loop_stops_total\{worker="3",reason="tick"\} 1$/m)
  t.match(page, /^mkondo_loop_stopped_seconds_total\{worker="3",reason="tick"\} 0\.008$/m)
  t.match(page, /^mkondo_loop_stops_total\{worker="3",reason="other"\} 0$/m)
})

t.test('pauses beyond the queue are counted too', async (t) => {
  const memory = new ArrayBuffer(LOOP_STOPS_BYTES)
  const stops = new LoopStops(() => 0, memory)
  t.teardown(() => stops.close())
  for (let i = 0; i < 40; i++) stops.ticked(i, 6, 0)
  t.equal(
    stopCounts(memory).reduce((sum, count) => sum + count.stops(), 0),
    40 - 16,
  )
})
