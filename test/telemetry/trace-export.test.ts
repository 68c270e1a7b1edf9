import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { createLog } from '../../src/telemetry/log.js'
import { SPANS_QUEUED_MAX, TraceExport } from '../../src/telemetry/trace-export.js'
import { startCollector } from '../support/collector.js'
import { endedCall } from '../support/record.js'

const quiet = createLog({ level: 'silent' })

function record(): CallRecord {
  return endedCall({
    callSid: 'HD_00000000cafe',
    greetingMs: null,
    startedAt: '2026-11-20T10:00:00.000Z',
    durationMs: 9000,
    timeline: [
      { name: 'webhook', atMs: 0, detail: 'inbound to order-status' },
      { name: 'backend-connect', atMs: 2 },
      { name: 'backend-ready', atMs: 82 },
      { name: 'stream-opened', atMs: 200 },
      { name: 'first-frame', atMs: 220 },
      { name: 'tool-refused', atMs: 500, detail: 'lookup_order: the caller said my name is Wanjiru' },
      { name: 'ended', atMs: 9200, detail: 'agent-goodbye: said that all was well' },
    ],
    turns: [{ callerStoppedMs: 3000, firstSoundMs: 400, answerMs: 900, ear: { firstSoundMs: 480, answerMs: 990 } }],
    toolCalls: [
      {
        name: 'lookup_order',
        args: { orderNumber: '4127', note: 'Wanjiru' },
        startMs: 3100,
        ms: 120,
        ok: false,
        error: 'http',
      },
    ],
    bargeIns: [{ atMs: 5000, stopMs: 60, committed: true, why: '200 ms of voice' }],
    transcript: [{ role: 'caller', text: 'My name is Wanjiru', startMs: 1000, endMs: 3000 }],
  })
}

t.test('an ended call reaches the collector as one trace, which its SID leads to', async (t) => {
  const { url, spans, bodies, close } = await startCollector()
  t.teardown(close)
  const traces = new TraceExport({ endpoint: `${url}/`, version: '0.1.0', log: quiet })
  traces.add(record())
  await traces.close()
  t.equal(traces.exported, spans.length)
  t.ok(
    spans.every((span) => span.traceId === traces.traceId('HD_00000000cafe')),
    'every span is of the trace that logs and exemplars name',
  )
  t.equal(new Set(spans.map((span) => span.spanId)).size, spans.length, 'no two spans have one id')
  const root = spans.find((span) => span.name === 'call')
  t.same(
    spans.filter((span) => span.parentSpanId === undefined || span.parentSpanId === '').map((span) => span.name),
    ['call'],
  )
  t.ok(spans.every((span) => span === root || span.parentSpanId === root?.spanId))
  t.same(
    spans.map((span) => span.name).sort(),
    ['backend connect', 'barge-in', 'call', 'set-up', 'tool lookup_order', 'turn'].sort(),
  )
  const turn = spans.find((span) => span.name === 'turn')
  const zeroNs = BigInt(Date.parse('2026-11-20T10:00:00.000Z')) * 1_000_000n
  t.equal(BigInt(turn?.startTimeUnixNano ?? 0) - zeroNs, 3_200_000_000n, 'a turn begins when the caller stopped')
  t.equal(BigInt(turn?.endTimeUnixNano ?? 0) - zeroNs, 4_190_000_000n, 'and ends when the answer was at the ear')
  t.equal(root?.events.length, 7, 'every mark is an event')
  t.notMatch(bodies.join(''), /Wanjiru|4127|all was well/, "and nobody's words")
})

t.test('a collector that is gone costs spans and nothing else', async (t) => {
  const traces = new TraceExport({ endpoint: 'http://127.0.0.1:9', version: '0.1.0', log: quiet })
  traces.add(record())
  const beganMs = performance.now()
  await traces.close()
  t.ok(performance.now() - beganMs < 8000, 'the end does not wait for it')
  t.equal(traces.exported, 0)
  t.ok(traces.failed + traces.dropped >= 6, 'all are counted')
})

t.test('a storm of calls fills the queue to its bound and is counted', async (t) => {
  const { url, close } = await startCollector(() => 400)
  t.teardown(close)
  const traces = new TraceExport({ endpoint: url, version: '0.1.0', log: quiet })
  const one = record()
  for (let calls = 0; calls < 2000; calls++) traces.add(one)
  t.equal(traces.queued, SPANS_QUEUED_MAX)
  t.equal(traces.dropped, 2000 * 6 - SPANS_QUEUED_MAX)
  await traces.close()
  t.equal(traces.queued, 0)
  t.equal(traces.exported + traces.failed + traces.dropped, 2000 * 6, 'no span is lost without a count')
})

t.test('every process names the trace of a call alike', async (t) => {
  const a = new TraceExport({ endpoint: 'http://127.0.0.1:9', version: '1', log: quiet })
  const b = new TraceExport({ endpoint: 'http://127.0.0.1:9', version: '2', log: quiet })
  t.equal(a.traceId('HD_1'), b.traceId('HD_1'))
  t.match(a.traceId('HD_1'), /^[0-9a-f]{32}$/)
  t.not(a.traceId('HD_1'), a.traceId('HD_2'))
  await Promise.all([a.close(), b.close()])
})
