import fc from 'fast-check'
import t from 'tap'
import type { CallRecord, TimelineMark } from '../../src/call/documents/record.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { createLog } from '../../src/telemetry/log.js'
import type { ToolCallLog } from '../../src/telemetry/call-spans.js'
import { SPANS_QUEUED_MAX, TraceExport } from '../../src/telemetry/trace-export.js'
import { callSummary } from '../../src/workers/main/call/call-record.js'
import { CallMarks, CallTimeline } from '../../src/workers/shared/call-timeline.js'
import { CallerLatency, EAR_WAIT_MS } from '../../src/workers/worker/caller-latency.js'
import { startCollector } from '../support/collector.js'
import { loadVads } from '../support/media-modules.js'
import { endedCall } from '../support/record.js'
import { toolSpanKey, traceparentOf } from '../../src/telemetry/trace-id.js'

t.test('the first and the newest marks are kept [4]', async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 4, max: 40 }), fc.integer({ min: 0, max: 200 }), (max, count) => {
      const timeline = new CallTimeline(1000, max)
      for (let i = 0; i < count; i++) timeline.mark(`m${i}`, 1000 + i)
      const names = timeline.marks.map((mark) => mark.name)
      const first = Math.min(count, Math.floor(max / 4))
      const expected = Array.from({ length: count }, (_, i) => `m${i}`)
      const kept = count <= max ? expected : [...expected.slice(0, first), ...expected.slice(count - (max - first))]
      if (JSON.stringify(names) !== JSON.stringify(kept)) throw new Error(`${names.join()} in place of ${kept.join()}`)
      if (timeline.dropped !== count - kept.length) throw new Error('miscounted')
    }),
  )
  t.pass('for 100 random timelines')
})

t.test('marks of worker and main thread are sorted by time', async (t) => {
  const timeline = new CallTimeline(1000)
  timeline.mark('webhook', 1000)
  timeline.mark('socket', 1100)
  timeline.take([
    { name: 'stream-opened', atMs: 50 },
    { name: 'goodbye', atMs: 700, detail: 'said to +254700000001' },
  ])
  t.same(
    timeline.marks.map((mark) => mark.name),
    ['webhook', 'stream-opened', 'socket', 'goodbye'],
  )
  t.notMatch(JSON.stringify([timeline.marks, timeline.stops]), /254700000001/)
})

t.test('each silence of the agent has a reason', async (t) => {
  const timeline = new CallTimeline(0)
  timeline.mark('caller-speech', 4)
  timeline.mark('tool-refused', 5, 'transfer_money: there is no such tool')
  for (let i = 0; i < 500; i++)
    timeline.mark('barge-in', 10 + i, `${200 + i} ms of voice, 200 needed; 900 ms of it heard`)
  timeline.mark(
    'ended',
    1000,
    'silence-limit: 8000 ms of quiet after 2 prompts; 1000 ms of stream, 3 of 4 turns answered',
  )
  const { stops } = timeline
  t.same(stops[0], { kind: 'refusal', atMs: 5, mark: 'tool-refused', why: 'transfer_money: there is no such tool' })
  t.equal(stops.filter((stop) => stop.kind === 'interruption').length, 50, 'bounded')
  t.match(stops.at(-2), { kind: 'interruption', why: /^699 ms/ }, 'the newest')
  t.match(stops.at(-1), { kind: 'hang-up', why: /8000 ms of quiet/ })
})

t.test('marks reach the main thread a few times per second [3]', async (t) => {
  const messages: (readonly TimelineMark[])[] = []
  const marks = new CallMarks(1000, (batch) => messages.push(batch))
  const echo = { framesOfEcho: 0, echoDelayMs: null, echoGainDb: null, framesOfNoise: 0, noiseDbfs: -96 }
  const line = { stalls: 0, framesConcealed: 0, framesDropped: 0, ...echo }
  marks.pass(1000)
  marks.add('caller-speech', 1010)
  t.notOk(marks.due(1100))
  t.same(messages, [], 'they wait')
  t.ok(marks.due(1250))
  marks.watch({ ...line, stalls: 1 }, 0, 1250)
  marks.watch({ ...line, stalls: 2 }, 0, 1300)
  marks.watch({ ...echo, stalls: 3, framesConcealed: 2, framesDropped: 4 }, 160, 1350)
  marks.pass(1350)
  t.same(
    messages.flat().map(({ name, atMs }) => [name, atMs]),
    [
      ['caller-speech', 10],
      ['carrier-stall', 250],
      ['carrier-stall', 350],
      ['audio-dropped', 350],
      ['audio-dropped', 350],
    ],
  )
  t.match(messages.flat()[2]?.detail, /2 stalls.*2 frames made up/)
  for (let i = 0; i < 130; i++) marks.add('x', 2000)
  t.ok(messages.length >= 3, 'a flood is passed on before its time')
  t.equal(messages.slice(1).flat().length, 128)
})

t.test('echo is marked at most every five seconds', async (t) => {
  const all: TimelineMark[] = []
  const marks = new CallMarks(0, (batch) => all.push(...batch))
  const line = {
    stalls: 0,
    framesConcealed: 0,
    framesDropped: 0,
    framesOfEcho: 10,
    echoDelayMs: null,
    echoGainDb: null,
    framesOfNoise: 0,
    noiseDbfs: -96,
  }
  marks.watch({ ...line, framesOfEcho: 0 }, 0, 1000)
  marks.watch(line, 0, 2000)
  for (let nowMs = 2250; nowMs <= 7500; nowMs += 250)
    marks.watch({ ...line, framesOfEcho: 60, echoDelayMs: 132.5, echoGainDb: -18.4 }, 0, nowMs)
  marks.pass(8000)
  t.same(
    all.map(({ name, atMs, detail }) => [name, atMs, detail]),
    [
      ['echo', 2000, '200 ms of sound was classified as the echo of our own speech: its delay is not known yet'],
      ['echo', 7000, '1000 ms of sound was classified as the echo of our own speech: 133 ms late, -18 dB'],
    ],
  )
})

t.test('noise is marked at most every five seconds', async (t) => {
  const all: TimelineMark[] = []
  const marks = new CallMarks(0, (batch) => all.push(...batch))
  const line = { stalls: 0, framesConcealed: 0, framesDropped: 0, framesOfEcho: 0, echoDelayMs: null, echoGainDb: null }
  marks.watch({ ...line, framesOfNoise: 0, noiseDbfs: -96 }, 0, 1000)
  for (let nowMs = 2000; nowMs <= 7500; nowMs += 250)
    marks.watch({ ...line, framesOfNoise: nowMs < 3000 ? 12 : 40, noiseDbfs: -31.6 }, 0, nowMs)
  marks.pass(8000)
  t.same(
    all.map(({ name, atMs, detail }) => [name, atMs, detail]),
    [
      ['noise', 2000, '240 ms of sound without a voice in it, -32 dBFS'],
      ['noise', 7000, '560 ms of sound without a voice in it, -32 dBFS'],
    ],
  )
})

/** Attributes of a span or a resource by name. */
function attributesOf(
  of:
    | { readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[] }
    | undefined,
): Readonly<Record<string, unknown>> {
  return Object.fromEntries((of?.attributes ?? []).map(({ key, value }) => [key, Object.values(value)[0]]))
}

const quiet = createLog({ level: 'silent' })
/** Of its one tool call. */
const LOG: ToolCallLog = [{ callId: 'call_0', end: 'answered' }]

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

t.test('an ended call is exported as one trace', async (t) => {
  const { url, spans, bodies, close } = await startCollector()
  t.teardown(close)
  const traces = new TraceExport({ endpoint: `${url}/`, version: '0.1.0', instance: 'a', log: quiet })
  traces.add(record(), LOG)
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
  const parents = Object.fromEntries(
    spans.map(({ name, parentSpanId }) => [name, spans.find(({ spanId }) => spanId === parentSpanId)?.name]),
  )
  t.strictSame(
    parents,
    {
      ...{ call: undefined, 'set-up': 'call', 'backend connect': 'call', turn: 'call' },
      ...{ 'execute_tool lookup_order': 'turn', 'barge-in': 'turn' },
    },
    'tools and barge-ins are parts of the turn that they came in',
  )
  t.same(
    spans.map((span) => span.name).sort(),
    ['backend connect', 'barge-in', 'call', 'set-up', 'execute_tool lookup_order', 'turn'].sort(),
  )
  const turn = spans.find((span) => span.name === 'turn')
  const zeroNs = BigInt(Date.parse('2026-11-20T10:00:00.000Z')) * 1_000_000n
  t.equal(BigInt(turn?.startTimeUnixNano ?? 0) - zeroNs, 3_200_000_000n, 'a turn begins when the caller stopped')
  t.equal(BigInt(turn?.endTimeUnixNano ?? 0) - zeroNs, 4_190_000_000n, 'and ends when the answer was at the ear')
  t.equal(root?.events.length, 7, 'every mark is an event')
  t.notMatch(bodies.join(''), /Wanjiru|4127|all was well/, "and nobody's words")
  t.match(attributesOf(root), { 'gen_ai.operation.name': 'invoke_agent', 'gen_ai.conversation.id': record().callSid })
  t.match(attributesOf(spans.find(({ name }) => name.startsWith('execute_tool'))), {
    'gen_ai.operation.name': 'execute_tool',
    'gen_ai.tool.name': 'lookup_order',
    'error.type': 'http',
  })
  t.equal(root?.spanId, traceparentOf(record().callSid).split('-')[2], 'whom a tool asks is a part of the call')
})

t.test('OTEL_* settings name the service and the process', async (t) => {
  const { url, bodies, close } = await startCollector()
  t.teardown(close)
  const exported = async (): Promise<unknown> => {
    const traces = new TraceExport({ endpoint: url, version: '0.1.0', instance: 'node-7', log: quiet })
    traces.add(record(), LOG)
    await traces.close()
    const body = JSON.parse(bodies.at(-1) ?? '') as {
      resourceSpans: { resource: Parameters<typeof attributesOf>[0] }[]
    }
    return attributesOf(body.resourceSpans[0]?.resource)
  }
  t.match(await exported(), { 'service.name': 'mkondo', 'service.version': '0.1.0', 'service.instance.id': 'node-7' })
  const set = {
    OTEL_SERVICE_NAME: 'order-line',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=staging,service.instance.id=desk%201',
  }
  Object.assign(process.env, set)
  t.teardown(() => {
    for (const name of Object.keys(set)) Reflect.deleteProperty(process.env, name)
  })
  t.match(await exported(), {
    'service.name': 'order-line',
    'deployment.environment.name': 'staging',
    'service.instance.id': 'desk 1',
  })
})

t.test('tool calls with repeated ids have separate spans', async (t) => {
  const { url, spans, close } = await startCollector()
  t.teardown(close)
  const traces = new TraceExport({ endpoint: url, version: '0.1.0', instance: 'a', log: quiet })
  const [call] = record().toolCalls
  const toolCalls = ['first', 'refused', 'second', 'other'].map((name) => ({ ...call, name }) as typeof call & object)
  traces.add({ ...record(), toolCalls }, [
    { callId: 'call_0', end: 'answered' },
    { callId: 'call_0', end: 'refused' },
    { callId: 'call_0', end: 'answered' },
    { callId: 'call_1', end: 'answered' },
  ])
  await traces.close()
  t.equal(new Set(spans.map((span) => span.spanId)).size, spans.length, 'no two spans have one id')
  for (const [name, callId, use] of [
    ['first', 'call_0', 0],
    ['second', 'call_0', 1],
    ['other', 'call_1', 0],
  ] as const)
    t.equal(
      spans.find((span) => span.name === `execute_tool ${name}`)?.spanId,
      traceparentOf(record().callSid, toolSpanKey(callId, use)).split('-')[2],
    )
})

t.test('an unreachable collector only loses spans [1]', async (t) => {
  const traces = new TraceExport({ endpoint: 'http://127.0.0.1:9', version: '0.1.0', instance: 'a', log: quiet })
  traces.add(record(), LOG)
  const beganMs = performance.now()
  await traces.close()
  t.ok(performance.now() - beganMs < 8000, 'the end does not wait for it')
  t.equal(traces.exported, 0)
  t.ok(traces.failed + traces.dropped >= 6, 'all are counted')
})

t.test('excess spans are dropped and counted [2]', async (t) => {
  const { url, close } = await startCollector(() => 400)
  t.teardown(close)
  const traces = new TraceExport({ endpoint: url, version: '0.1.0', instance: 'a', log: quiet })
  const one = record()
  for (let calls = 0; calls < 2000; calls++) traces.add(one, LOG)
  t.equal(traces.queued, SPANS_QUEUED_MAX)
  t.equal(traces.dropped, 2000 * 6 - SPANS_QUEUED_MAX)
  await traces.close()
  t.equal(traces.queued, 0)
  t.equal(traces.exported + traces.failed + traces.dropped, 2000 * 6, 'no span is lost without a count')
})

t.test('every process derives the same trace id', async (t) => {
  const a = new TraceExport({ endpoint: 'http://127.0.0.1:9', version: '1', instance: 'a', log: quiet })
  const b = new TraceExport({ endpoint: 'http://127.0.0.1:9', version: '2', instance: 'b', log: quiet })
  t.equal(a.traceId('HD_1'), b.traceId('HD_1'))
  t.match(a.traceId('HD_1'), /^[0-9a-f]{32}$/)
  t.not(a.traceId('HD_1'), a.traceId('HD_2'))
  await Promise.all([a.close(), b.close()])
})

t.test('the summary line has figures but no words', async (t) => {
  const summary = callSummary(
    endedCall({
      endReason: 'agent-goodbye',
      endDetail: 'the caller Wanjiru was happy',
      turns: [
        { callerStoppedMs: 0, firstSoundMs: 300, answerMs: 300 },
        { callerStoppedMs: 1, firstSoundMs: 200, answerMs: 2400 },
        { callerStoppedMs: 2, firstSoundMs: null, answerMs: null },
      ],
      bargeIns: [
        { atMs: 1, stopMs: 40, committed: true, why: 'x' },
        { atMs: 2, stopMs: 900, committed: false, why: 'y' },
      ],
      stops: [
        { kind: 'interruption', atMs: 1, mark: 'barge-in', why: 'x' },
        { kind: 'hang-up', atMs: 2, mark: 'ended', why: 'y' },
      ],
    }),
  )
  t.match(summary, {
    outcome: 'contained',
    turns: 3,
    turns_unanswered: 1,
    first_sound_p50_ms: 200,
    first_sound_max_ms: 300,
    answer_p50_ms: 300,
    answer_max_ms: 2400,
    barge_ins: 1,
    barge_in_stop_max_ms: 40,
    stops: { interruption: 1, 'hang-up': 1 },
  })
  t.notMatch(JSON.stringify(summary), /Wanjiru/)
})

t.test('the summary line covers setup, transport and end', async (t) => {
  const summary = callSummary(
    endedCall({
      direction: 'outbound',
      timeline: [
        { name: 'webhook', atMs: 0 },
        { name: 'stream-opened', atMs: 412.4 },
        { name: 'backend-failover', atMs: 900 },
        { name: 'socket-closed', atMs: 9000, detail: 'code 1006, socket-lost: no pong' },
      ],
      backends: {
        sessions: [
          { backend: 'a', role: 'first', connectMs: 90, fault: null },
          { backend: 'b', role: 'takeover', connectMs: null, fault: 'refused' },
        ],
        failover: null,
        irregular: {},
      },
      escalation: {
        reason: 'Wanjiru wants a human',
        strategy: 'conference',
        outcome: 'no-answer',
        attempts: [{ strategy: 'conference', human: 1, outcome: 'no-answer', detail: '', ms: 20_000 }],
        callback: { asked: 'key', number: '+254700000001', note: 'about Wanjiru', at: '2026-11-20T12:00:00.000Z' },
      },
      outbound: { result: 'person', ringMs: 4000, clientRequestId: 'x', externalId: null },
      recording: 'recordings/HD_record000001.wav',
    }),
  )
  t.match(summary, {
    direction: 'outbound',
    started_at: '2026-11-20T12:00:00.000Z',
    setup_ms: 412,
    socket_closed: 'code 1006, socket-lost: no pong',
    backend_sessions: 2,
    backend_faults: 1,
    backend_changes: 1,
    escalation: 'no-answer',
    escalation_strategy: 'conference',
    escalation_attempts: 1,
    callback: 'key',
    placed: 'person',
    ring_ms: 4000,
    recorded: true,
  })
  t.notMatch(JSON.stringify(summary), /Wanjiru|254700000001/)
})

t.test('a call without turns has no turn figures', async (t) => {
  const summary = callSummary(
    endedCall({ endReason: 'socket-never-came', endDetail: 'no socket within 10000 ms', outcome: 'failed' }),
  )
  t.notOk('answer_p50_ms' in summary)
  t.equal(summary['detail'], 'no socket within 10000 ms')
})

const turn = { callerStoppedMs: 4000, firstSoundMs: 300, answerMs: 900 }
/** The stream opened here. */
const ZERO_MS = 10_000

t.test('a turn is timed when its sound reaches the caller', async (t) => {
  const clock = new CallerLatency()
  clock.onset(12_000) // the greeting, long before
  clock.onset(14_380) // the filler: sent at 14,300
  clock.turn(turn, ZERO_MS)
  t.equal(clock.take(14_910), null, 'the answer is on its way')
  clock.onset(14_985)
  t.same(clock.take(15_000), { callerStoppedMs: 4000, ear: { firstSoundMs: 380, answerMs: 985 } })
  t.equal(clock.take(15_100), null, 'once')
})

t.test('an answer directly after its filler has no separate start', async (t) => {
  const clock = new CallerLatency()
  clock.onset(14_380)
  clock.turn(turn, ZERO_MS)
  t.equal(clock.take(14_900 + EAR_WAIT_MS - 1), null)
  t.same(clock.take(14_900 + EAR_WAIT_MS), { callerStoppedMs: 4000, ear: { firstSoundMs: 380, answerMs: null } })
})

t.test('a carrier that forks one track gives no latency', async (t) => {
  const clock = new CallerLatency()
  clock.turn(turn, ZERO_MS)
  t.equal(clock.take(20_000), null)
  clock.turn({ callerStoppedMs: 9000, firstSoundMs: 100, answerMs: null }, ZERO_MS)
  t.equal(clock.take(40_000), null, 'nor does a turn without an answer wait')
})

t.test("the agent's voice is timed again after a gap", async (t) => {
  const vadBank = await loadVads()
  const path = new CallerPath({ sampleRateHz: 16000, track: 'both_tracks', vadBank })
  const onsets: number[] = []
  // 20 ms of stereo a packet: silence of the caller, and what is played.
  for (let frame = 0; frame < 200; frame++) {
    const played = (frame >= 60 && frame < 100) || (frame >= 102 && frame < 110) || frame >= 150
    const samples = new Int16Array(640)
    if (played) for (let i = 0; i < 320; i++) samples[2 * i + 1] = 8000 * Math.sin(i / 5)
    path.push(new Uint8Array(samples.buffer), 1000 + frame * 20)
    while (path.pull(1000 + frame * 20)) {
      /* taken */
    }
    if (path.agentHeardAtMs !== onsets.at(-1) && Number.isFinite(path.agentHeardAtMs)) onsets.push(path.agentHeardAtMs)
  }
  t.equal(onsets.length, 2, 'a pause of 40 ms is part of the words')
  t.ok(Math.abs((onsets[0] ?? 0) - (1000 + 60 * 20)) <= 40, `about ${1000 + 60 * 20}: ${onsets[0] ?? 'never'}`)
  t.ok(Math.abs((onsets[1] ?? 0) - (1000 + 150 * 20)) <= 40)
  path.release()
})
