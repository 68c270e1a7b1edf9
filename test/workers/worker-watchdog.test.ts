import { createRequire } from 'node:module'
import t from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import { WORKER_WATCH_MS } from '../../src/core/limits.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import {
  partsOf,
  WORKER_GROWTH_SILENT_MS,
  WORKER_SILENT_MS,
  type WorkerVerdict,
  WorkerWatchdog,
} from '../../src/workers/main/worker-watchdog.js'
import { ownSystemThread, processorWaitMs } from '../../src/workers/shared/processor-wait.js'
import { inbound, orderStatusAgent, TestLine } from '../support/host.js'
import { REAL_TIME, startThreads } from '../support/threads.js'
import { until } from '../support/until.js'

const MIB = 1024 * 1024
const MEMORY = 100 * MIB

/** Two workers and a clock. Worker 1 beats at each look unless it is stuck. */
function machine() {
  const state = {
    nowMs: 1000,
    rss: 500 * MIB,
    rssReads: 0,
    stuck: new Set<number>(),
    buffers: 0,
    running: 0,
    waitedMs: 0,
  }
  const watchdog = new WorkerWatchdog(MEMORY, {
    rssBytes: () => {
      state.rssReads++
      return state.rss
    },
    waitedMs: () => state.waitedMs,
  })
  const beats = new Map([
    [1, 1000],
    [2, 1000],
  ])
  const look = (aheadMs: number): WorkerVerdict[] => {
    state.nowMs += aheadMs
    const workers = [...beats].map(([thread, beatAtMs]) => ({
      thread,
      pulse: { beatAtMs, bufferBytes: state.buffers, running: state.running, systemThread: thread },
    }))
    // After the look: a worker that was paused with the main thread beats only once that has looked.
    for (const thread of beats.keys()) if (!state.stuck.has(thread)) beats.set(thread, state.nowMs)
    return watchdog.look(state.nowMs, workers)
  }
  const looks = (ms: number, everyMs = WORKER_WATCH_MS): WorkerVerdict[] => {
    const verdicts: WorkerVerdict[] = []
    for (let passed = 0; passed < ms; passed += everyMs) verdicts.push(...look(everyMs))
    return verdicts
  }
  return { ...state, state, look, looks }
}

t.test('a worker silent for 2 s is reported once', (t) => {
  const { state, looks } = machine()
  t.same(looks(5000), [])
  state.stuck.add(1)
  t.same(looks(WORKER_SILENT_MS - WORKER_WATCH_MS), [], 'not yet')
  t.match(looks(2 * WORKER_WATCH_MS), [{ thread: 1, cause: 'silent' }])
  t.same(looks(60_000), [], 'a thread that takes long to end is not named again')
  t.end()
})

t.test('the call seen running most often is suspected', (t) => {
  const { state, look, looks } = machine()
  state.running = 5
  looks(1000)
  state.stuck.add(1)
  state.running = 6
  const verdicts = look(WORKER_WATCH_MS)
  for (let i = 1; verdicts.length === 0; i++) {
    state.running = i % 2 === 0 ? 0 : 8
    verdicts.push(...look(WORKER_WATCH_MS))
  }
  t.match(verdicts, [{ thread: 1, ran: 8 }])
  t.end()
})

t.test('a worker waiting for a processor is not silent', (t) => {
  const { state, look, looks } = machine()
  looks(1000)
  state.stuck.add(1)
  for (let passed = 0; passed < 30_000; passed += WORKER_WATCH_MS) {
    t.same(look(WORKER_WATCH_MS), [])
    state.waitedMs += 0.95 * WORKER_WATCH_MS
  }
  t.match(looks(WORKER_SILENT_MS), [{ thread: 1, cause: 'silent' }], 'it has the processor and says nothing')
  t.end()
})

t.test("Linux reports a thread's wait for a processor", { skip: process.platform !== 'linux' }, async (t) => {
  const thread = ownSystemThread()
  t.ok(thread > 0)
  const beforeMs = processorWaitMs(thread)
  await until(() => processorWaitMs(thread) > beforeMs, 10_000, 'the thread to wait')
  t.equal(processorWaitMs(0), 0)
  t.equal(processorWaitMs(2 ** 30), 0, 'a thread that does not exist')
})

t.test('a pause of the process ends no worker [1]', (t) => {
  const { look, looks } = machine()
  looks(1000)
  for (const pauseMs of [3000, 60_000, 3_600_000]) {
    t.same(look(pauseMs), [], `a pause of ${pauseMs} ms`)
    t.same(looks(1000), [])
  }
  t.end()
})

t.test('a slow machine ends only a constantly silent worker [2]', (t) => {
  const { state, looks } = machine()
  t.same(looks(60_000, 1500), [], 'late, and late beats')
  state.stuck.add(2)
  t.same(looks(9000, 1500), [], 'seven late looks are not yet two seconds of evidence')
  t.match(looks(6000, 1500), [{ thread: 2, cause: 'silent' }])
  t.end()
})

t.test('a worker that is not running is not watched', (t) => {
  const unread = (): number => {
    t.fail('the process was read for no worker')
    return 0
  }
  const watchdog = new WorkerWatchdog(MEMORY, { rssBytes: unread, waitedMs: unread })
  const notStarted = { thread: 7, pulse: { beatAtMs: 0, bufferBytes: 0, running: 0, systemThread: 0 } }
  for (let nowMs = 0; nowMs < 10_000; nowMs += WORKER_WATCH_MS) {
    t.same(watchdog.look(nowMs, nowMs < 5000 ? [notStarted] : []), [])
  }
  t.end()
})

t.test('large buffers or growth during silence end a worker', (t) => {
  const buffers = machine()
  buffers.looks(1000)
  buffers.state.buffers = MEMORY
  t.same(buffers.looks(1000), [], 'the bound itself is allowed')
  buffers.state.buffers = MEMORY + MIB
  t.match(buffers.look(WORKER_WATCH_MS)[0], {
    cause: 'buffers',
    why: 'holds 101 MB outside of its heap; at most 100 are allowed',
  })

  const grows = machine()
  grows.looks(1000)
  grows.state.rss += 10 * MEMORY
  t.same(grows.looks(1000), [], 'a process that grows while all beat')
  grows.state.stuck.add(1)
  grows.looks(WORKER_WATCH_MS)
  grows.state.rss += MEMORY + MIB
  t.match(grows.looks(WORKER_GROWTH_SILENT_MS), [{ thread: 1, cause: 'silent', why: /grew by 101 MB/ }])
  t.same(grows.looks(10_000), [])
  t.end()
})

t.test('process memory is read once a second while workers answer', (t) => {
  const { state, looks } = machine()
  looks(60_000)
  t.ok(state.rssReads <= 60, `${state.rssReads} readings in a minute`)
  state.rssReads = 0
  state.stuck.add(1)
  looks(WORKER_WATCH_MS)
  state.rss += MEMORY + MIB
  t.match(looks(WORKER_GROWTH_SILENT_MS), [{ thread: 1, why: /grew by 101 MB/ }])
  t.ok(state.rssReads >= WORKER_GROWTH_SILENT_MS / WORKER_WATCH_MS, 'growth is seen in half a second')
  t.end()
})

t.test('the running call is suspected, else earlier suspects, else all', (t) => {
  const call = (ordinal: number, suspicions = 0) => ({ ordinal, callSid: `HD_${ordinal}`, suspicions })
  const parts = (calls: ReturnType<typeof call>[], running: number) => [...partsOf(calls, running).values()]
  t.same(parts([call(1), call(2), call(3)], 2), ['bystander', 'suspect', 'bystander'])
  t.same(
    parts([call(1), call(2, 1), call(3)], 3),
    ['bystander', 'bystander', 'suspect'],
    'what is seen counts for more than what was',
  )
  t.same(parts([call(1), call(2), call(3)], 0), ['one-of-many', 'one-of-many', 'one-of-many'])
  t.same(
    parts([call(1), call(2), call(3)], 9),
    ['one-of-many', 'one-of-many', 'one-of-many'],
    'the call whose code ran is over',
  )
  t.same(parts([call(1), call(2, 1), call(3)], 0), ['bystander', 'suspect', 'bystander'], 'the same call in two deaths')
  t.same(parts([call(1), call(2, 1), call(3, 1)], 0), ['bystander', 'one-of-many', 'one-of-many'])
  t.same(parts([call(1)], 0), ['suspect'], 'alone')
  t.same(parts([], 4), [])
  t.end()
})

t.test('a call whose code throws fails alone', async (t) => {
  const definition = await orderStatusAgent()
  const backend = `module:${new URL('./poison-backend.js', import.meta.url).href}`
  const test = await startThreads({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn(backend) }]]),
    speech: null,
  })
  t.teardown(() => test.close())
  const lineOf = (callSid: string): TestLine => {
    const line = new TestLine(test.host.prepare(inbound(callSid)), REAL_TIME)
    line.start()
    return line
  }
  const fine = lineOf('HD_fine')
  await until(() => fine.frames.length > 20, 10_000, 'the bystander to hear its agent')
  const [before] = test.host.threads
  const poisonous = ['tick', 'timer', 'promise', 'refuse'].map((mistake) => lineOf(`HD_${mistake}`))
  await until(() => poisonous.every((line) => line.closedWith !== null), 20_000, 'the poisonous calls to end')

  for (const line of poisonous) {
    const record = await test.recordOf(line.call.callSid)
    t.match(
      record,
      { outcome: 'failed', endReason: 'call-fault', rehomes: 1 },
      `${line.call.callSid} was tried once more and then ended`,
    )
    t.equal(line.closedWith, 1011)
  }
  t.equal(test.host.threads[0], before, 'the worker lives')
  t.equal(fine.closedWith, null)
  t.equal(fine.call.view().rehomes, 0)
  const gaps = fine.frames.slice(10).map((frame, i) => frame.atMs - (fine.frames[i + 9]?.atMs ?? frame.atMs))
  t.ok(
    // A call that moves has a gap of seconds; this thread, which notes the times, may be late too.
    Math.max(...gaps) < 1000,
    `the bystander heard no gap (longest between two frames ${Math.round(Math.max(...gaps))} ms)`,
  )
  fine.call.hangup('operator-hangup', 'the test is over', false)
  t.equal((await test.recordOf(fine.call.callSid)).endReason, 'operator-hangup')

  const unwilling = lineOf('HD_close')
  await until(() => unwilling.frames.length > 5, 10_000, 'the call to begin whose backend will not close')
  unwilling.call.hangup('operator-hangup', 'the test is over', false)
  t.match(
    await test.recordOf(unwilling.call.callSid),
    { endReason: 'operator-hangup', rehomes: 0 },
    'a backend that does not close in order holds no call up',
  )
})

t.test('require() of a worker entry throws before loading modules', (t) => {
  const require = createRequire(import.meta.url)
  for (const entry of ['workers/worker/start-call-worker.js', 'speech/start-speech-worker.js'])
    t.throws(() => void require(`../../src/${entry}`), { code: /ERR_REQUIRE_(ASYNC_MODULE|ESM)/ })
  t.end()
})
