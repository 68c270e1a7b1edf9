import t, { type Test } from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import { type Handoff, handoffSchema } from '../../src/call/documents/handoff.js'
import { CALL_REFUSALS, type CallRecord, callRecordSchema } from '../../src/call/documents/record.js'
import { GatewayError } from '../../src/core/errors.js'
import { ENDED_CALLS_KEPT, SOCKET_WAIT_MS, STREAM_OFFERING_MS } from '../../src/core/limits.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { FrameHistogram } from '../../src/telemetry/frame-histogram.js'
import { createLog } from '../../src/telemetry/log.js'
import { ASKS_WITHIN_MS } from '../../src/workers/main/after-stream-behaviour.js'
import type { CallRegistryOptions } from '../../src/workers/main/call-registry.js'
import type { RefusedCall } from '../../src/workers/main/live-call.js'
import { LOAD_ADMIT_SAMPLES, LOAD_REFUSE_SAMPLES, LoadGate, type LoadSample } from '../../src/workers/main/load-gate.js'
import { LoadWatch } from '../../src/workers/main/load-watch.js'
import { inbound, orderStatusAgent, pass, settled, sid, startHost, TestLine, time, until } from '../support/host.js'
import { keptCall, keptState } from '../support/kept-call.js'
import { endedCall } from '../support/record.js'
import { SILENT_WORDS } from './silent-backend.js'

const codeOf = (work: () => unknown): string => {
  try {
    work()
  } catch (thrown) {
    return thrown instanceof GatewayError ? thrown.code : String(thrown)
  }
  return 'accepted'
}

t.test('calls are accepted up to capacity and free slots', async (t) => {
  const test = await startHost({ maxCalls: 2 })
  t.teardown(() => test.close())
  const first = test.host.prepare(inbound('HD_slots0000001'))
  t.equal(test.host.free, 1)
  t.equal(
    codeOf(() => test.host.prepare(inbound('HD_slots0000001'))),
    'DUPLICATE_CALL',
  )
  t.equal(
    codeOf(() => test.host.prepare(inbound('HD_slots0000009', { agent: 'nobody' }))),
    'AGENT_UNKNOWN',
  )
  test.host.prepare(inbound('HD_slots0000002'))
  t.equal(
    codeOf(() => test.host.prepare(inbound('HD_slots0000003'))),
    'CAPACITY',
  )
  const line = new TestLine(first)
  t.equal(
    codeOf(() => first.attach(line)),
    'DUPLICATE_CALL',
    'never a second socket',
  )
  line.start()
  await until(() => line.frames.length > 0, 10_000, 'the greeting')
  line.stop()
  first.detach(1006)
  const record = await test.recordOf(first.callSid)
  t.equal(record.endReason, 'caller-hung-up')
  t.equal(test.host.free, 1)
  t.equal(
    codeOf(() => test.host.prepare(inbound('HD_slots0000001'))),
    'DUPLICATE_CALL',
    'an ended call is not opened again',
  )
  t.equal(record.from, '+2547…01', 'numbers are masked in the record')
  t.notMatch(JSON.stringify(record), /254700000001/)
})

t.test('usage reported at the end of a call is recorded', async (t) => {
  const backend = `module:${new URL('./usage-backend.js', import.meta.url).href}`
  const definition = await orderStatusAgent()
  const agent = { definition, facts: agentFacts(definition), shares: allCallsOn(backend) }
  const test = await startHost({ agents: new Map([['order-status', agent]]) })
  t.teardown(() => test.close())
  const call = test.host.prepare(inbound('HD_lastusage001'))
  const line = new TestLine(call)
  line.start()
  await pass(500)
  line.stop()
  call.detach(1000)
  t.match((await test.recordOf(call.callSid)).cost, { models: [{ usage: { inputTokens: 60, outputTokens: 10 } }] })
})

t.test('a record has the claimed and heard speech [2]', async (t) => {
  const backend = `module:${new URL('./silent-backend.js', import.meta.url).href}`
  const definition = await orderStatusAgent()
  const agent = { definition, facts: agentFacts(definition), shares: allCallsOn(backend) }
  const test = await startHost({ agents: new Map([['order-status', agent]]) })
  t.teardown(() => test.close())
  const calls = ['11', '12', '13', '14', '15', '16', '17'].map((last) => {
    const line = new TestLine(test.host.prepare(inbound(`HD_heardturn${last}`, { from: `+2547000000${last}` })))
    line.start()
    return { last, line }
  })
  await pass(3000)
  const talker = calls.at(-1)
  if (talker !== undefined) await test.say(talker.line, 'I want to ask you about something else')
  await pass(4000)
  const heard = new Map<string, { claimedMs: number; heardMs: number; marked: boolean }>()
  for (const { last, line } of calls) {
    line.stop()
    line.call.detach(1000)
    const { speech, timeline } = await test.recordOf(line.call.callSid)
    const turn = speech.find(({ by }) => by === 'silent')
    const marked = timeline.some(
      ({ name, detail }) => name === 'agent-silent' && detail?.startsWith('silent:') === true,
    )
    heard.set(last, { claimedMs: turn?.claimedMs ?? 0, heardMs: turn?.heardMs ?? 0, marked })
  }
  t.same(heard.get('11'), { claimedMs: SILENT_WORDS.length * 40, heardMs: 0, marked: true }, 'words alone')
  for (const last of ['12', '13', '14']) {
    const { claimedMs = 0, heardMs = 0, marked } = heard.get(last) ?? {}
    t.ok(claimedMs >= 2900 && claimedMs < 3200 && heardMs < 100 && marked, `${last}: ${heardMs} of ${claimedMs} ms`)
  }
  for (const [last, least, most] of [
    ['15', 0.45, 0.65],
    ['16', 0.95, 1],
    ['17', 0.95, 1],
  ] as const) {
    const { claimedMs = 0, heardMs = 0, marked } = heard.get(last) ?? {}
    const share = heardMs / claimedMs
    t.ok(
      claimedMs > 1000 && share >= least && share <= most && marked === false,
      `${last}: ${heardMs} of ${claimedMs} ms`,
    )
  }
  t.ok((heard.get('17')?.claimedMs ?? 0) < 10_000, 'what the caller cut off is not claimed')
  const page = await test.metrics.render()
  t.match(page, /mkondo_agent_turns_total\{agent="order-status",backend="silent",heard="no"\} 4 /)
  t.match(page, /mkondo_agent_turns_total\{agent="order-status",backend="silent",heard="yes"\} 3 /)
  t.match(page, /mkondo_agent_speech_heard_seconds_total\{agent="order-status",backend="silent"\} \d/)
})

t.test('a lost call that nobody resumes gets one record [6]', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const lost = keptCall({ callSid: 'HD_lostnode0001', node: 'gw-9' })
  const kept = { ...lost, session: lost.session === null ? null : { ...lost.session, language: 'sw' } }
  const entry = { role: 'caller' as const, text: 'where is it', startMs: 900, endMs: 1700 }
  for (let i = 0; i < 2; i++) test.host.addLostCall(keptState(kept, { transcript: [entry] }))
  t.match(test.records, [{ endReason: 'process-died', outcome: 'failed', durationMs: 19_600, transcript: [entry] }])
  t.equal(test.records.length, 1)
  t.equal(test.records[0]?.resumed.length, 0)
  t.equal(test.records[0]?.language, 'sw', 'in which the fallback is said')
  t.notMatch(JSON.stringify(test.records), /254700000001/)
  t.match(test.records[0]?.endDetail, /gw-9/)
})

t.test('the record of a lost call lists its pending tools', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const [startedWallMs, waitUntilWallMs, untilWallMs] = [1_790_000_000_000, 1_790_000_090_000, 1_790_000_150_000]
  const wait = {
    ...{ id: 'one', key: 'one', tool: 'pay', callId: 'c1', args: {}, pendingId: 'ws_CO_1', result: { receipt: 'QX1' } },
    ...{ startedWallMs, waitUntilWallMs, untilWallMs, told: true, sent: true },
  }
  const kept = keptCall({
    callSid: 'HD_lostwait0001',
    node: 'gw-9',
    waits: [
      { ...wait, phase: 'settled', status: 'succeeded', settledWallMs: startedWallMs + 7000 },
      { ...wait, id: 'two', phase: 'pending', status: null, settledWallMs: null, told: false, sent: false },
      { ...wait, id: 'three', phase: 'asked', status: null, settledWallMs: null, told: false, sent: false },
    ],
  })
  test.host.addLostCall(keptState(kept))
  t.match(test.records, [
    {
      waits: [
        { tool: 'pay', status: 'succeeded', ms: 7000, late: false, told: true },
        { tool: 'pay', status: 'pending', ms: null, told: false },
      ],
    },
  ])
  t.equal(test.records[0]?.waits.length, 2)
  t.notMatch(JSON.stringify(test.records), /QX1|ws_CO/)
})

t.test('a call whose socket never opens frees its slot [3]', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const waiting = test.host.prepare(inbound('HD_waits0000001'))
  await pass(SOCKET_WAIT_MS)
  t.equal(waiting.state, 'waiting')
  await pass(100)
  t.equal(waiting.state, 'ended')
  const record = await test.recordOf(waiting.callSid)
  t.equal(record.endReason, 'socket-never-came')
  t.equal(record.outcome, 'failed')
  t.equal(test.host.free, test.host.capacity)
})

t.test('a stream that failed to open is offered again [4]', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const [asked, silent] = [test.host.prepare(inbound('HD_offer0000001')), test.host.prepare(inbound('HD_offer0000002'))]
  for (const one of [asked, silent]) {
    one.document = '<Response/>'
    one.carrierState('stream-error')
  }
  asked.document = '<Response/>'
  await pass(ASKS_WITHIN_MS)
  t.equal(silent.state, 'waiting')
  await pass(100)
  t.match(await test.recordOf(silent.callSid), { endReason: 'stream-error', outcome: 'failed' })
  t.match(asked, { state: 'waiting', streamOffers: 2 })
  const marks = asked.timeline().timeline.map(({ name }) => name)
  t.ok(marks.includes('stream-offered-again'))
})

t.test('a call taken over is offered streams for 15 s', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const kept = keptCall({ callSid: 'HD_offer0000003', node: 'gw-9' })
  const taken = test.host.prepare(inbound('HD_offer0000003'), keptState({ ...kept, elapsedMs: STREAM_OFFERING_MS }))
  for (let offers = 1; offers <= 2; offers++) taken.document = '<Response/>'
  await pass(STREAM_OFFERING_MS - 100)
  t.ok(taken.isOfferedAgain)
  await pass(100)
  t.notOk(taken.isOfferedAgain)
})

t.test('a silent carrier has 10 s after stream loss [5]', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const [unheard, told, asked] = [
    test.host.prepare(inbound('HD_breaks000001')),
    test.host.prepare(inbound('HD_breaks000002')),
    test.host.prepare(inbound('HD_breaks000004')),
  ]
  const lines = [unheard, told, asked].map((one) => new TestLine(one))
  for (const line of lines) line.start()
  await until(() => lines.every(({ frames }) => frames.length > 0), 10_000, 'the greetings')
  for (const line of lines) {
    line.stop()
    line.call.detach(1006, { reason: 'socket-lost', detail: 'no close frame' })
  }
  told.carrierState('stream-stopped')
  asked.carrierState('stream-stopped')
  await pass(ASKS_WITHIN_MS)
  t.equal(told.state, 'cut')
  test.host.afterStream(asked.callSid, 'asked')
  await pass(100)
  t.match(test.host.record(told.callSid), { endReason: 'socket-lost' })
  await pass(10_000 - ASKS_WITHIN_MS - 100)
  t.equal(unheard.state, 'cut', 'its balancer may be away')
  await pass(100)
  t.match(test.host.record(unheard.callSid), { endReason: 'socket-lost' })
  t.equal(asked.state, 'cut', 'its caller was asked to wait')
})

t.test('a carrier known to hold callers gets no extra time', async (t) => {
  const test = await startHost({ afterStream: 'holds' })
  t.teardown(() => test.close())
  const held = test.host.prepare(inbound('HD_breaks000003'))
  const line = new TestLine(held)
  line.start()
  await until(() => line.frames.length > 0, 10_000, 'the greeting')
  line.stop()
  held.detach(1006, { reason: 'socket-lost', detail: 'no close frame' })
  await pass(ASKS_WITHIN_MS + 100)
  t.match(test.host.record(held.callSid), { endReason: 'socket-lost' })
})

t.test('a drain waits for calls up to its limit [7]', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_drain0000001'))
  const line = new TestLine(live)
  line.start()
  await until(() => line.frames.length > 0, 10_000, 'the greeting')
  const drained = test.host.drain(200)
  t.equal(
    codeOf(() => test.host.prepare(inbound('HD_drain0000002'))),
    'DRAINING',
  )
  await settled(drained)
  t.equal((await test.recordOf(live.callSid)).endReason, 'drain-limit')
  t.equal(line.closedWith, 1001)
})

t.test('at the drain limit calls move to another node [8]', async (t) => {
  const gone: string[] = []
  const test = await startHost({
    elsewhere: () => 'now',
    onGoneElsewhere: (callSid) => void gone.push(callSid),
  })
  t.teardown(() => test.close())
  const calls = ['HD_moves0000001', 'HD_moves0000002', 'HD_moves0000003'].map((sid) => test.host.prepare(inbound(sid)))
  const lines = calls.map((one) => new TestLine(one))
  for (const line of lines) line.start()
  await until(() => lines.every(({ frames }) => frames.length > 0), 10_000, 'the greetings')
  const drained = test.host.drain(200)
  await until(() => calls[0]?.state === 'cut', 5000, 'the first call to be closed')
  t.same(
    lines.map(({ closedWith }) => closedWith),
    [1001, null, null],
    'one call shows what the carrier does',
  )
  test.host.afterStream(calls[0]?.callSid ?? '', 'asked')
  await until(() => calls.every(({ state }) => state === 'cut'), 5000, 'the others to be closed')
  t.equal(
    codeOf(() => test.host.prepare(inbound('HD_moves0000001'), calls[0]?.lostStream ?? null)),
    'DRAINING',
    'this node goes on with none of them',
  )
  for (const { callSid } of calls) test.host.giveUp(callSid, 'lost')
  await settled(drained)
  t.equal(test.records.length, 0, 'their records are made elsewhere')
  t.equal(gone.length, 3)
})

t.test('calls at the drain limit await a restarting node [9]', async (t) => {
  let elsewhere: 'now' | 'soon' | 'never' = 'soon'
  const test = await startHost({ elsewhere: () => elsewhere, afterStream: 'continues' })
  t.teardown(() => test.close())
  const calls = ['HD_later0000001', 'HD_later0000002'].map((sid) => test.host.prepare(inbound(sid)))
  const lines = calls.map((one) => new TestLine(one))
  for (const line of lines) line.start()
  await until(() => lines.every(({ frames }) => frames.length > 0), 10_000, 'the greetings')
  const drained = test.host.drain(200)
  await pass(10_000)
  const states = (): unknown => calls.map(({ state }) => state)
  t.same(states(), ['streaming', 'streaming'], 'their callers still talk')
  elsewhere = 'now'
  await until(() => calls.every(({ state }) => state === 'cut'), 5000, 'the calls to be closed')
  for (const { callSid } of calls) test.host.giveUp(callSid, 'lost')
  await settled(drained)
  t.same(
    lines.map(({ closedWith }) => closedWith),
    [1001, 1001],
  )
  t.equal(test.records.length, 0, 'their records are made elsewhere')
})

t.test('calls move one after another at the drain limit [10]', async (t) => {
  const test = await startHost({ elsewhere: () => 'now', afterStream: 'continues' })
  t.teardown(() => test.close())
  const closedMs: number[] = []
  class ClosedLine extends TestLine {
    override close(code: number): void {
      closedMs.push(time.nowMs())
      super.close(code)
    }
  }
  const calls = Array.from({ length: 5 }, (_, i) => test.host.prepare(inbound(`HD_inturn000${i}`)))
  const lines = calls.map((one) => new ClosedLine(one))
  for (const line of lines) line.start()
  await until(() => lines.every(({ frames }) => frames.length > 0), 10_000, 'the greetings')
  const drained = test.host.drain(200)
  await until(() => calls.every(({ state }) => state === 'cut'), 5000, 'the calls to be closed')
  const gapsMs = closedMs.slice(1).map((atMs, i) => atMs - (closedMs[i] ?? 0))
  t.ok(Math.min(...gapsMs) >= 40, gapsMs.join())
  for (const { callSid } of calls) test.host.giveUp(callSid, 'lost')
  await settled(drained)
})

t.test('callers hear the goodbye if no other node returns [11]', async (t) => {
  const test = await startHost({ elsewhere: () => 'soon', afterStream: 'continues' })
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_later0000003'))
  const line = new TestLine(live)
  line.start()
  await until(() => line.frames.length > 0, 10_000, 'the greeting')
  await settled(test.host.drain(200))
  t.equal((await test.recordOf(live.callSid)).endReason, 'drain-limit')
})

t.test('callers hear the goodbye if the carrier never asks [12]', async (t) => {
  const test = await startHost({ elsewhere: () => 'now' })
  t.teardown(() => test.close())
  const calls = ['HD_stays0000001', 'HD_stays0000002'].map((sid) => test.host.prepare(inbound(sid)))
  const lines = calls.map((one) => new TestLine(one))
  for (const line of lines) line.start()
  await until(() => lines.every(({ frames }) => frames.length > 0), 10_000, 'the greetings')
  const drained = test.host.drain(200)
  await pass(300)
  t.same(
    calls.map(({ state }) => state),
    ['cut', 'streaming'],
  )
  await settled(drained)
  t.same(test.records.map(({ endReason }) => endReason).sort(), ['drain-limit', 'socket-lost'])
})

t.test('twenty calls leave no slot, task or ring behind', async (t) => {
  const test = await startHost({ maxCalls: 20 })
  t.teardown(() => test.close())
  const lines = Array.from(
    { length: 20 },
    (_, i) => new TestLine(test.host.prepare(inbound(`HD_many000000${String(i).padStart(2, '0')}`))),
  )
  for (const line of lines) line.start()
  await until(() => lines.every((line) => line.frames.length > 0), 20_000, 'all greetings')
  for (const line of lines) {
    line.stop()
    line.call.detach(1000)
  }
  await Promise.all(lines.map((line) => test.recordOf(line.call.callSid)))
  t.equal(test.host.free, 20)
  t.equal([...test.host.live()].length, 0)
})

const IDLE: LoadSample = { tickSlack: null, ticksLate: null, memoryUsed: null, throttled: null }

function handle(gate: LoadGate, samples: number, sample: Partial<LoadSample>): void {
  for (let i = 0; i < samples; i++) gate.handle({ ...IDLE, ...sample })
}

t.test('each kind of overload refuses calls under its own name', async (t) => {
  for (const [sample, overload] of [
    [{ tickSlack: 0.05 }, 'tick-slack'],
    [{ ticksLate: 0.5 }, 'tick-slack'],
    [{ memoryUsed: 0.95 }, 'memory'],
    [{ throttled: 0.5 }, 'cpu-throttling'],
  ] as const) {
    const gate = new LoadGate()
    handle(gate, LOAD_REFUSE_SAMPLES - 1, sample)
    t.equal(gate.overload, null, `${overload}: not yet`)
    handle(gate, 1, sample)
    t.equal(gate.overload, overload)
  }
})

t.test('a short burst of load refuses no call', async (t) => {
  const gate = new LoadGate()
  for (let i = 0; i < 10; i++) {
    handle(gate, LOAD_REFUSE_SAMPLES - 1, { tickSlack: 0 })
    handle(gate, 1, { tickSlack: 0.5 })
  }
  t.equal(gate.overload, null)
})

t.test('calls are accepted again only well below the bound', async (t) => {
  const gate = new LoadGate()
  handle(gate, LOAD_REFUSE_SAMPLES, { memoryUsed: 0.91 })
  handle(gate, 100, { memoryUsed: 0.88 })
  t.equal(gate.overload, 'memory', 'below the bound that refuses, above the one that admits')
  handle(gate, LOAD_ADMIT_SAMPLES - 1, { memoryUsed: 0.8 })
  handle(gate, 1, { memoryUsed: 0.88 })
  t.equal(gate.overload, 'memory', 'the relief was too short')
  handle(gate, LOAD_ADMIT_SAMPLES, { memoryUsed: 0.8 })
  t.equal(gate.overload, null)
})

t.test('an unmeasured value does not count as load', async (t) => {
  const gate = new LoadGate()
  handle(gate, LOAD_REFUSE_SAMPLES, { tickSlack: 0, ticksLate: 1 })
  t.equal(gate.overload, 'tick-slack')
  handle(gate, LOAD_ADMIT_SAMPLES, IDLE)
  t.equal(gate.overload, null)
})

t.test('the watch measures threads, memory and throttling between samples', async (t) => {
  let nowMs = 0
  const threads = [0, 1].map(() => ({ lateness: new FrameHistogram(), busy: new FrameHistogram() }))
  const cgroup = {
    cpu: { periods: 0, throttledPeriods: 0, throttledSeconds: 0 },
    memory: { usedBytes: 0, limitBytes: 2 ** 40 },
    look: async () => undefined,
  }
  const lines: Record<string, unknown>[] = []
  const watch = new LoadWatch({
    ticks: threads,
    clock: () => nowMs,
    log: createLog({
      destination: { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
    }),
    cgroup,
  })
  t.teardown(() => watch.close())
  const second = async (busyMs: readonly [number, number], throttled: number): Promise<void> => {
    nowMs += 1000
    cgroup.cpu = {
      ...cgroup.cpu,
      periods: cgroup.cpu.periods + 10,
      throttledPeriods: cgroup.cpu.throttledPeriods + throttled,
    }
    for (const [index, thread] of threads.entries()) {
      for (let tick = 0; tick < 200; tick++) {
        thread.lateness.observeMs(0.1)
        thread.busy.observeMs((busyMs[index] as number) / 200)
      }
    }
    await watch.sample()
  }
  for (let i = 0; i < LOAD_REFUSE_SAMPLES; i++) await second([100, 800], 2)
  t.equal(watch.overload, null)
  for (let i = 0; i < LOAD_REFUSE_SAMPLES; i++) await second([100, 950], 2)
  t.equal(watch.overload, 'tick-slack', 'one thread without slack is enough')
  t.match(lines, [{ level: 'warn', overload: 'tick-slack', throttled: 0.2 }])
  for (let i = 0; i < LOAD_ADMIT_SAMPLES; i++) await second([100, 100], 8)
  t.equal(watch.overload, 'cpu-throttling', 'one reason after the other')
  for (let i = 0; i < LOAD_ADMIT_SAMPLES; i++) await second([100, 100], 0)
  t.equal(watch.overload, null)
  cgroup.memory = { usedBytes: 1, limitBytes: process.memoryUsage.rss() }
  for (let i = 0; i < LOAD_REFUSE_SAMPLES; i++) await second([100, 100], 0)
  t.equal(watch.overload, 'memory', 'the memory of the process counts where the figure of its group is smaller')
})

t.test('a full disk refuses calls another node can take [1]', async (t) => {
  const disk = { full: true, elsewhere: false }
  const test = await startHost({ disk: { isFull: () => disk.full, isElsewhere: () => disk.elsewhere } })
  t.teardown(() => test.close())
  t.equal(test.host.overload, null, 'a caller without a record is better than none')
  t.equal(test.host.diskFull, true)
  disk.elsewhere = true
  t.equal(test.host.overload, 'disk-full')
  t.equal(test.host.free, 0)
  disk.full = false
  t.equal(test.host.overload, null)
})

let made = 0
const refusal = (changes: Partial<RefusedCall> = {}): RefusedCall => ({
  callSid: sid(`HD_refused${String(made++).padStart(6, '0')}`),
  agent: 'order-status',
  from: '+254700000001',
  to: '+254709000000',
  reason: 'agent-capacity',
  why: 'all 3 calls of the agent are live',
  ...changes,
})
const from = (caller: number): string => `+2547${String(caller).padStart(8, '0')}`

/** A registry whose clock can be moved, and what it has kept. */
async function registry(t: Test, changes: Partial<CallRegistryOptions> = {}) {
  const kept: (readonly [CallRecord, Handoff | null])[] = []
  const later = { ms: 0 }
  const test = await startHost({
    clock: () => time.nowMs() + later.ms,
    onRefused: (record, handoff) => kept.push([record, handoff]),
    ...changes,
  })
  t.teardown(() => test.close())
  const { host, metrics, records } = test
  const metric = async (name: string): Promise<string[]> =>
    (await metrics.render()).split('\n').filter((line) => line.startsWith(`mkondo_${name}`))
  return { host, kept, records, later, metric }
}

t.test('a refused call leaves one record with its reason [13]', async (t) => {
  const { host, kept, records, metric } = await registry(t)
  for (const [index, reason] of CALL_REFUSALS.entries()) {
    const call = refusal({ reason, from: from(index), why: `because of ${reason}` })
    host.refused(call)
    host.refused(call)
    const record = host.record(call.callSid)
    t.match(
      callRecordSchema.parse(record),
      {
        outcome: 'refused',
        endReason: reason,
        endDetail: `because of ${reason}`,
        direction: 'inbound',
        durationMs: 0,
      },
      reason,
    )
    t.match(record?.from, /^\+2547…\d\d$/, 'masked as in every record')
    t.match(handoffSchema.parse(host.handoff(call.callSid)), { from: from(index), reason: `refused: ${reason}` })
  }
  t.same(
    kept.map(([record]) => record),
    host.ended(),
    'each is stored once',
  )
  t.equal(records.length, 0, 'none of them is an ended call')
  t.notMatch(await metric('calls_total'), [/refused/])
  t.notMatch(await metric('call_ends_total'), [/agent-capacity/])

  const withheld = refusal({ from: '', agent: null, reason: 'agent-unknown' })
  host.refused(withheld)
  t.match(host.record(withheld.callSid), { from: '', agent: 'none' })
  t.equal(host.handoff(withheld.callSid), undefined, 'nobody can be called back')

  t.ok(host.forget(kept[0]?.[0].callSid as never))
  t.equal(host.handoff(String(kept[0]?.[0].callSid)), undefined)
})

t.test('a live or ended call is not recorded as refused', async (t) => {
  const { host, kept } = await registry(t, { privacy: { maskNumbers: false, transcript: 'full' } })
  const { callSid } = host.prepare({ ...refusal(), agent: 'order-status', direction: 'inbound' })
  host.refused(refusal({ callSid }))
  t.equal(kept.length, 0)
  host.refused(refusal({ from: from(2) }))
  t.match(kept, [[{ from: from(2) }]])
})

t.test('the number of records of refused calls is limited [14]', async (t) => {
  const { host, kept, later, metric } = await registry(t)
  for (let index = 0; index < 1000; index++)
    host.refused(refusal({ from: index % 2 === 0 ? '+254700000001' : '00254700000001' }))
  t.equal(kept.length, 3)
  t.same(await metric('refused_records_dropped_total'), ['mkondo_refused_records_dropped_total 997'])
  later.ms += 20 * 60_000
  host.refused(refusal())
  t.equal(kept.length, 4, 'another one after 20 minutes')

  for (let caller = 100; caller < 1000; caller++) host.refused(refusal({ from: from(caller) }))
  t.ok(kept.length >= 120 && kept.length < 300, `${kept.length}: those of a minute, and what came back meanwhile`)
})

t.test('refused calls do not displace other records in memory [15]', async (t) => {
  const { host, later } = await registry(t)
  host.addRecoveredCall(endedCall({ callSid: 'HD_ended00000001' }))
  const first = refusal({ from: '+254700999999' })
  host.refused(first)
  for (let caller = 0; caller < ENDED_CALLS_KEPT; caller++) {
    later.ms += 500
    host.refused(refusal({ from: from(caller) }))
  }
  t.equal(host.ended().length, 1 + ENDED_CALLS_KEPT / 2)
  t.ok(host.record('HD_ended00000001'))
  t.equal(host.record(first.callSid), undefined, 'the oldest refused ones leave first')
  t.equal(host.handoff(first.callSid), undefined)
})
