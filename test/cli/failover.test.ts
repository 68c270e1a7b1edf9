import t from 'tap'
import { loadFlite } from '../../src/backends/embedded/flite.js'
import { spokenForm } from '../../src/backends/embedded/spoken-text.js'
import { GeminiDouble } from '../../src/simulator/vendors/gemini-live-double.js'
import { OpenAiDouble } from '../../src/simulator/vendors/openai-realtime-double.js'
import type { Speaker } from '../../src/simulator/vendors/spoken.js'
import { Script } from '../../src/simulator/vendors/spoken.js'
import { whole } from '../support/gateway.js'
import { until } from '../support/host.js'
import { simulateOneCall } from '../support/simulated.js'

// Calls are spoken in real time.
t.setTimeout(120_000)
t.jobs = 3

const STATUS = 'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?'
const flite = await loadFlite()
const speaker: Speaker = (text) => flite.speak(spokenForm(text), 'slt')

t.test('a model that dies in mid-sentence costs the caller a pause and not the answer', { buffered: true }, async (t) => {
  const first = await OpenAiDouble.start({ key: 'sk-test-openai', speaker, script: new Script([
    { say: 'Hello, this is the order line. You can ask where your order is, or tell me your order number.' },
    { calls: [{ callId: 'call_1', name: 'lookup_order', args: { orderNumber: '4127' } }] },
    // A tenth faster than speech (pieces of 100 ms), so that it is in the middle of it when it dies.
    { say: STATUS, paceMs: 90 },
  ], ['4127']) })
  const second = await GeminiDouble.start({ key: 'test-gemini-key', speaker, script: new Script([
    { say: STATUS },
    { say: 'Thank you for calling. Goodbye.', calls: [{ callId: 'call_9', name: 'end_call', args: { reason: 'answered' } }] },
  ], ['no thank you']) })
  t.teardown(() => Promise.all([first.close(), second.close()]))
  const { at, gateway, close } = await whole({
    OPENAI_API_KEY: 'sk-test-openai', OPENAI_BASE_URL: first.baseUrl,
    GEMINI_API_KEY: 'test-gemini-key', GEMINI_BASE_URL: second.baseUrl, GEMINI_MODEL: 'gemini-live-test',
  }, (yaml) => yaml.replace(/^backend: .*$/m, 'backend: [openai, gemini]'))
  t.teardown(close)

  const call = simulateOneCall({ ...at, args: ['--from', '+254700000009', '--order', '4127'] })
  await until(() => first.script.answers === 3, 40_000, 'the status to begin')
  await new Promise((resolve) => setTimeout(resolve, 1500))
  first.breakOff()
  const run = await call
  const [report] = run.calls
  t.equal(report?.heard.status, 'out_for_delivery', report?.goal.why ?? run.output)
  t.equal(report?.backend, 'gemini')
  t.equal(report?.outcome, 'deflected')
  t.equal(report?.toolCalls.filter((tool) => tool.name === 'lookup_order').length, 1, 'no tool ran twice')
  t.same(report?.complaints, [])
  const record = gateway.calls.record(report?.callSid ?? '')
  t.match(record?.timeline.find((mark) => mark.name === 'backend-failover')?.detail, /openai to gemini in \d+ ms/)
  const metrics = await (await fetch(`http://127.0.0.1:${at.opsPort}/metrics`)).text()
  t.match(metrics, /mkondo_backend_failovers_total\{from="openai",to="gemini"\} 1/)
  t.comment(record?.timeline.find((mark) => mark.name === 'backend-failover')?.detail)
})

t.test('a wrong key is one error and the next backend answers the call', { buffered: true }, async (t) => {
  const first = await OpenAiDouble.start({ key: 'sk-the-right-key', speaker })
  t.teardown(() => first.close())
  const { at, close } = await whole({ OPENAI_API_KEY: 'sk-the-wrong-key', OPENAI_BASE_URL: first.baseUrl },
    (yaml) => yaml.replace(/^backend: .*$/m, 'backend: [openai, embedded]'))
  t.teardown(close)
  const run = await simulateOneCall({ ...at, args: ['--from', '+254700000001'] })
  t.equal(run.code, 0, run.calls[0]?.goal.why ?? run.output)
  t.equal(run.calls[0]?.backend, 'embedded')
  t.equal(first.connections, 1, 'no retry')
})

t.test('a shadow hears the call, runs no tool, is heard by nobody, and its report is in the record', { buffered: true }, async (t) => {
  const shadow = await OpenAiDouble.start({ key: 'sk-test-openai', speaker, script: new Script([
    { say: 'Hello from the shadow.' },
    { calls: [{ callId: 'call_1', name: 'lookup_order', args: { callerNumber: '+254700000001' } }] },
    { say: 'The shadow would say so.' },
  ], ['where is my order']) })
  t.teardown(() => shadow.close())
  const { at, gateway, close } = await whole({ OPENAI_API_KEY: 'sk-test-openai', OPENAI_BASE_URL: shadow.baseUrl },
    (yaml) => yaml.replace(/^backend: .*$/m, 'backend: embedded\nshadow: openai\nbudget: { maxMinutes: 10 }'))
  t.teardown(close)
  const run = await simulateOneCall({ ...at, args: ['--from', '+254700000001'] })
  t.equal(run.code, 0, run.calls[0]?.goal.why ?? run.output)
  const record = gateway.calls.record(run.calls[0]?.callSid ?? '')
  t.match(record?.shadow, { primary: 'embedded', second: 'openai', turns: Array })
  t.ok((record?.shadow?.['turns'] as unknown[]).length >= 2, 'turn by turn')
  t.match(record?.budget, { spent: null, endedBy: null })
  const said = record?.transcript.map((entry) => entry.text).join(' ') ?? ''
  t.notMatch(said, /shadow/i, 'it was never heard')
  t.equal(record?.toolCalls.filter((tool) => tool.name === 'lookup_order').every((tool) => tool.ok), true)
})
