import t from 'tap'
import type { Test } from 'tap'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import type { Backend, BackendSink } from '../../src/backends/backend.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import { OpenAiLiveBackend } from '../../src/vendors/openai/live/backend.js'
import { MINUTE_REQUESTS_MAX, RequestBound, TURN_REQUESTS_MAX } from '../../src/backends/request-bound.js'
import { clockTimers } from '../../src/backends/timers.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { OpenAiLiveDouble } from '../../src/vendors/openai/live-double.js'
import { cascadeOptions, CASCADE_TEST_KEY } from './cascade-harness.js'
import { geminiHarness } from './gemini-harness.js'
import { openAiHarness } from './openai-harness.js'
import { Line, settled } from './failover/line.js'
import { ScriptedService } from './failover/scripted.js'

const failedTurns = (recorder: Recorder) => recorder.all('turn-done').filter(({ status }) => status === 'failed')

async function twoServices(t: Test) {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = await Line.greeted(t, a, [a, b])
  await line.speech(800)
  /** The model calls a tool in answer to each result that it gets. @returns results that it got */
  let calls = 0
  const loops = async (times: number): Promise<number> => {
    const first = a.now
    for (let n = 0; n < times && first.closedWith === null; n++) {
      const i = calls++
      first.call(i + 2, `call_${i}`, 'lookup_order', { order: i })
      const last = line.recorder.all('tool-call').at(-1)
      if (last !== undefined) line.backend.toolResult(last.callId, { ok: false, value: { error: 'Call no more.' } })
      await settled()
    }
    return first.fed.filter(({ type }) => type === 'tool-result').length
  }
  return { a, b, line, loops }
}

t.test('requests of a turn are limited', async (t) => {
  const bound = new RequestBound()
  for (let i = 0; i < TURN_REQUESTS_MAX; i++) t.equal(bound.ask(i), null)
  t.equal(bound.ask(100), 'turn')
  bound.turn()
  t.equal(bound.ask(101), null)
})

t.test('requests of a minute are limited', async (t) => {
  const bound = new RequestBound()
  for (let i = 0; i < MINUTE_REQUESTS_MAX; i++) {
    bound.turn()
    t.equal(bound.ask(i), null)
  }
  bound.turn()
  t.equal(bound.ask(59_999), 'minute')
  t.equal(bound.ask(60_001), null)
})

t.test('a second call of withheld tools fails the answer', async (t) => {
  const bound = new RequestBound()
  bound.tools(false, 3)
  t.equal(bound.called(3), null, 'an answer that knew the tools')
  t.equal(bound.called(4), null, 'the first')
  t.equal(bound.called(5), 'withheld')
  bound.tools(true, 5)
  t.equal(bound.called(6), null)
})

t.test('a model that only calls tools is replaced', async (t) => {
  const { a, b, line, loops } = await twoServices(t)
  const results = await loops(100)
  t.equal(results, TURN_REQUESTS_MAX - 1, 'the caller asked first')
  t.equal(a.now.closedWith, 'failed')
  t.match(failedTurns(line.recorder), [{ reason: 'bounded-turn' }])
  t.match(line.failovers, [{ from: 'a', to: 'b' }])
  t.same(b.now.fed, [], 'nobody is asked about the same turn')
  t.match(line.backend.report().irregular, { a: { answersBoundedByTurn: 1 } })
  await line.speech(800)
  t.match(b.now.fed.at(-1), { type: 'speech-end' })
})

t.test('a model that calls withheld tools twice is replaced', async (t) => {
  const { b, line, loops } = await twoServices(t)
  await loops(2)
  line.backend.updateSession({ tools: [] })
  const results = await loops(100)
  t.equal(results, 3, 'the first call of them is answered')
  t.equal(line.recorder.all('tool-call').length, 3)
  t.match(failedTurns(line.recorder), [{ reason: 'bounded-withheld' }])
  t.same(b.now.fed, [])
  t.match(line.backend.report().irregular, { a: { answersBoundedByWithheldTools: 1 } })
})

t.test('the turns of a minute are limited', async (t) => {
  const { a, line } = await twoServices(t)
  for (let i = 0; i < MINUTE_REQUESTS_MAX; i++) line.backend.sendText(`${i}`, { role: 'caller', respond: true })
  await settled()
  t.ok(a.now.fed.filter(({ type }) => type === 'text').length <= MINUTE_REQUESTS_MAX)
  t.match(failedTurns(line.recorder), [{ reason: 'bounded-minute' }])
})

const TOOL_CALLS = Array.from({ length: 60 }, (_, i) => ({
  calls: [{ callId: `c${i}`, name: 'lookup_order', args: { order: i } }],
}))

/** Real backends, each with a model that answers with nothing but tool calls. */
const LOOPS: readonly (readonly [
  name: string,
  start: (t: Test, script: Script) => Promise<{ create: (sink: BackendSink) => Backend; requests: () => number }>,
])[] = [
  [
    'cascade',
    async (t, script) => {
      const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY, script })
      t.teardown(() => double.close())
      return {
        create: (sink) => new CascadeBackend(sink, cascadeOptions(double)),
        requests: () => double.requests.llm,
      }
    },
  ],
  ...(['client', 'responses'] as const).map(
    (by) =>
      [
        `openai-live, delegate by ${by}`,
        async (t: Test, script: Script) => {
          const [double, llm] = await Promise.all([
            OpenAiLiveDouble.start({ key: CASCADE_TEST_KEY, script }),
            CascadeDouble.start({ key: CASCADE_TEST_KEY, script }),
          ])
          t.teardown(() => Promise.all([double.close(), llm.close()]))
          const delegate =
            by === 'responses'
              ? ({ by, model: 'gpt-5.4-mini' } as const)
              : ({ by, llm: { baseUrl: llm.baseUrl, apiKey: CASCADE_TEST_KEY, model: 'chat' } } as const)
          const options = { apiKey: CASCADE_TEST_KEY, model: 'gpt-live-1.1', baseUrl: double.baseUrl, delegate }
          return {
            create: (sink: BackendSink) => new OpenAiLiveBackend(sink, options),
            requests: () => script.answers,
          }
        },
      ] as const,
  ),
  ...[openAiHarness('openai'), geminiHarness('gemini')].map(
    (harness) =>
      [
        harness.name,
        async (t: Test) => {
          const stage = await harness.setup()
          const { backend, vendor } = stage
          t.teardown(() => stage.close())
          vendor.reply(...TOOL_CALLS)
          return { create: backend, requests: () => vendor.answers }
        },
      ] as const,
  ),
]

for (const [name, start] of LOOPS)
  t.test(`${name}: endless tool calls are limited`, async (t) => {
    const script = new Script(
      Array.from({ length: 60 }, (_, i) => ({
        calls: [{ callId: `c${i}`, name: 'lookup_order', args: { order: i } }],
      })),
    )
    const { create, requests } = await start(t, script)
    const recorder = new Recorder()
    const backend = new CallBackend(recorder, {
      candidates: [{ create }],
      timers: clockTimers(() => performance.now()),
    })
    t.teardown(() => backend.close('the test is over'))
    await backend.connect(conformanceSession(), new AbortController().signal)
    const answered = new Set<string>()
    const answers = setInterval(() => {
      for (const { callId } of recorder.all('tool-call')) {
        if (answered.has(callId)) continue
        answered.add(callId)
        backend.toolResult(callId, { ok: false, value: { error: 'Call no more.' } })
      }
    }, 5)
    t.teardown(() => clearInterval(answers))
    backend.sendText('Where is my order?', { role: 'caller', respond: true })
    const over = (): boolean => failedTurns(recorder).length > 0 || recorder.all('error').some(({ fatal }) => fatal)
    await recorder.until('the failed answer', over)
    t.ok(requests() > 4 && requests() <= TURN_REQUESTS_MAX, `${requests()} requests`)
  })
