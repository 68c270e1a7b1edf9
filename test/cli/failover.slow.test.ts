import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { loadFlite } from '../../src/speech/flite.js'
import { spokenForm } from '../../src/speech/spoken/spoken-form.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import type { Speaker } from '../../src/simulator/vendors/tone-speaker.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { heardBy, wasAnswered } from '../../src/cli/demo/demo-failover.js'
import { whole } from '../support/gateway.js'
import { until } from '../support/until.js'
import { carrierComplaints, simulateOneCall } from '../support/simulated.js'

t.jobs = 2

const STATUS =
  'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?'
const folder = await mkdtemp(join(tmpdir(), 'mkondo-failover-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const flite = await loadFlite()
const speaker: Speaker = (text) => flite.speak(spokenForm(text), 'slt')

t.test('the second model answers if the first dies mid-sentence', { buffered: true }, async (t) => {
  const first = await OpenAiDouble.start({
    key: 'sk-test-openai',
    speaker,
    script: new Script(
      [
        { say: 'Hello, this is the order line. You can ask where your order is, or tell me your order number.' },
        { calls: [{ callId: 'call_1', name: 'lookup_order', args: { orderNumber: '4127' } }] },
        // A tenth faster than speech (pieces of 100 ms), so that it is in the middle of it when it dies.
        { say: STATUS, paceMs: 90 },
      ],
      ['4127'],
    ),
  })
  const second = await GeminiDouble.start({
    key: 'test-gemini-key',
    speaker,
    script: new Script(
      [
        { say: STATUS },
        {
          say: 'Thank you for calling. Goodbye.',
          calls: [{ callId: 'call_9', name: 'end_call', args: { reason: 'answered' } }],
        },
      ],
      ['no thank you'],
      { againWithinMs: 1500 },
    ),
  })
  t.teardown(() => Promise.all([first.close(), second.close()]))
  const { at, gateway, close } = await whole(
    {
      OPENAI_API_KEY: 'sk-test-openai',
      OPENAI_BASE_URL: first.baseUrl,
      GEMINI_API_KEY: 'test-gemini-key',
      GEMINI_BASE_URL: second.baseUrl,
      GEMINI_MODEL: 'gemini-live-test',
    },
    (yaml) => yaml.replace(/^backend: .*$/m, 'backend: [openai, gemini]'),
  )
  t.teardown(close)

  const recording = join(folder, 'takeover.wav')
  const call = simulateOneCall({ ...at, args: ['--from', '+254700000009', '--order', '4127', '--record', recording] })
  await until(() => first.script.answers === 3, 40_000, 'the status to begin')
  await new Promise((resolve) => setTimeout(resolve, 1500))
  first.breakOff()
  const run = await call
  const [report] = run.calls
  const record = gateway.calls.record(report?.callSid ?? '')
  const atMs = (name: string): number => record?.timeline.find((mark) => mark.name === name)?.atMs ?? Infinity
  const failedOverMs = atMs('backend-failover') - atMs('stream-opened')
  t.ok(
    wasAnswered(report?.transcript ?? [], failedOverMs, heardBy(await readFile(recording))),
    `after ${failedOverMs} ms the answer was sent and played whole; ${report?.goal.why}`,
  )
  t.equal(report?.backend, 'gemini')
  const answers = report?.transcript.filter((entry) => entry.role === 'agent' && entry.text.includes('4127')) ?? []
  t.ok(answers.length >= 2, 'both models named the order')
  t.match(answers.at(-1)?.text, /^Order 4127 is out for delivery\./, 'the second model gave the complete answer')
  // A caller who misheard it asks again.
  if (report?.goal.reached) t.equal(report.outcome, 'contained')
  else t.comment(`the caller misheard it: ${report?.goal.why}`)
  t.equal(report?.toolCalls.filter((tool) => tool.name === 'lookup_order').length, 1, 'no tool ran twice')
  t.same(carrierComplaints(report), [])
  t.match(record?.timeline.find((mark) => mark.name === 'backend-failover')?.detail, /openai to gemini in \d+ ms/)
  const metrics = await (await fetch(`http://127.0.0.1:${at.opsPort}/metrics`)).text()
  t.match(metrics, /mkondo_backend_failovers_total\{from="openai",to="gemini"\} 1/)
  t.match(metrics, /mkondo_backend_failover_gap_seconds_count\{to="gemini"\} 1/)
  t.match(metrics, /mkondo_backend_errors_total\{backend="openai",code="network"\} 1/)
  t.match(metrics, /mkondo_backend_connect_seconds_count\{backend="gemini",role="takeover"\} 1/)
  t.match(metrics, /mkondo_greeting_seconds_count\{agent="order-status",backend="openai"\} 1/)
  t.match(record?.backends, {
    sessions: [
      { backend: 'openai', role: 'first', fault: null },
      { backend: 'gemini', role: 'takeover', fault: null },
    ],
    failover: { failovers: 1, lostMs: 0 },
  })
  t.ok(
    (record?.backends.sessions ?? []).every(({ connectMs }) => connectMs !== null && connectMs >= 0),
    'how long each took to connect',
  )
  t.type(record?.greetingMs, 'number', 'from the socket to the greeting')
  const { backends } = (await (await fetch(`http://127.0.0.1:${at.opsPort}/api/backends`)).json()) as {
    backends: { backend: string }[]
  }
  t.match(
    backends.find(({ backend }) => backend === 'openai'),
    {
      agents: [{ agent: 'order-status', place: 1 }],
      sessions: 1,
      faults: { network: 1 },
      lostTo: 1,
      lastFault: { code: 'network' },
    },
  )
  t.match(
    backends.find(({ backend }) => backend === 'gemini'),
    { agents: [{ place: 2 }], sessions: 1, tookOver: 1, faults: {} },
  )
  t.comment(record?.timeline.find((mark) => mark.name === 'backend-failover')?.detail)
})

t.test('after a wrong key the next backend answers the call', { buffered: true }, async (t) => {
  const first = await OpenAiDouble.start({ key: 'sk-the-right-key', speaker })
  t.teardown(() => first.close())
  const lines: string[] = []
  const { at, close } = await whole(
    { OPENAI_API_KEY: 'sk-the-wrong-key', OPENAI_BASE_URL: first.baseUrl, MEDIA_WORKERS: '1' },
    (yaml) => yaml.replace(/^backend: .*$/m, 'backend: [openai, embedded]'),
    { write: (line) => lines.push(line) },
  )
  t.teardown(close)
  const run = await simulateOneCall({ ...at, args: ['--from', '+254700000001'] })
  t.match(
    run.calls[0]?.transcript.map((entry) => entry.text).join(' '),
    /is out for delivery/,
    run.calls[0]?.goal.why ?? run.output,
  )
  t.equal(run.calls[0]?.backend, 'embedded')
  t.equal(first.connections, 1, 'no retry')
  const said = lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line['backend'] === 'openai' && line['code'] !== undefined)
  t.match(
    said,
    [{ level: 'error', code: 'auth', msg: 'a backend refuses its key', detail: /HTTP 401/ }],
    'one clear line',
  )
  t.equal(said.length, 1)
  t.notMatch(lines.join(''), /sk-the-wrong-key/, 'the key is not logged')
  t.notMatch(lines.join(''), /254700000001|out for delivery/i, 'neither numbers nor what was said are in the log')
  const { backends } = (await (await fetch(`http://127.0.0.1:${at.opsPort}/api/backends`)).json()) as {
    backends: { backend: string }[]
  }
  t.match(
    backends.find(({ backend }) => backend === 'openai'),
    {
      sessions: 0,
      sessionsRefused: 1,
      faults: { auth: 1 },
      circuits: [{ state: 'open', opened: 1 }],
    },
    'new calls do not try it',
  )
})
