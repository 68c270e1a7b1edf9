import { createServer } from 'node:http'
import t, { type Test } from 'tap'
import type { RateLimit } from '../../src/backends/backend.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import { speech } from '../../src/backends/cascade/speech-requests.js'
import { whisper } from '../../src/vendors/self-hosted/whisper-requests.js'
import { conformanceSession, Recorder } from '../../src/backends/conformance.js'
import { CircuitBreaker, type CircuitReport, Circuits } from '../../src/backends/failover/circuit-breaker.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { rateLimitsOf } from '../../src/vendors/self-hosted/realtime/wire.js'
import { clockTimers } from '../../src/backends/timers.js'
import { retryAfterOf } from '../../src/backends/transport/vendor-fault.js'
import { type BackendFaultNews, type SessionOpened, UNWATCHED } from '../../src/backends/watch.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { ScriptedService } from './failover/scripted.js'
import { portOf } from '../support/port-of.js'

const KEY = 'key-of-a-test-0123456789'

/** Two services, and a worker whose calls share what they find out. Time stands still but for `clock.nowMs`. */
async function worker(t: Test, services: number) {
  const doubles = await Promise.all(Array.from({ length: services }, () => OpenAiDouble.start({ key: KEY })))
  const circuits = new Circuits()
  const clock = { nowMs: 0 }
  const seen = { limits: [] as (readonly [string, readonly RateLimit[]])[], sessions: [] as SessionOpened[] }
  const call = () => {
    const recorder = new Recorder()
    const backend = new CallBackend(recorder, {
      candidates: doubles.map(({ baseUrl }, i) => ({
        create: (sink) =>
          new OpenAiRealtimeBackend(sink, { apiKey: KEY, model: 'gpt-realtime-2.1', baseUrl, name: `key-${i}` }),
      })),
      timers: clockTimers(() => clock.nowMs),
      circuits,
      watch: {
        ...UNWATCHED,
        session: (opened) => seen.sessions.push(opened),
        limits: (backend, limits) => seen.limits.push([backend, limits]),
      },
    })
    t.teardown(() => backend.close('the test is over'))
    return { backend, recorder, connected: backend.connect(conformanceSession(), new AbortController().signal) }
  }
  t.teardown(() => Promise.all(doubles.map((double) => double.close())))
  return { doubles, clock, seen, call }
}

const USED_UP = [
  { name: 'requests' as const, limit: 1000, remaining: 999, reset_seconds: 0.06 },
  { name: 'tokens' as const, limit: 50_000, remaining: 120, reset_seconds: 30 },
]

t.test('an exhausted key gets no new call until its reset', async (t) => {
  const { doubles, clock, seen, call } = await worker(t, 2)
  const [first, second] = doubles
  if (first === undefined || second === undefined) throw new Error('two services')
  first.limits = USED_UP
  const before = call()
  await before.connected
  before.backend.sendText('Hello', { role: 'caller', respond: true })
  await before.recorder.next('turn-done')
  t.same(seen.limits, [
    [
      'key-0',
      [
        { name: 'requests', limit: 1000, remaining: 999, resetMs: 60 },
        { name: 'tokens', limit: 50_000, remaining: 120, resetMs: 30_000 },
      ],
    ],
  ])
  await call().connected
  t.equal(second.connections, 1, 'the next call goes to the other key')
  first.limits = null
  before.backend.sendText('Hello again', { role: 'caller', respond: true })
  await before.recorder.next('turn-done', 2)
  t.equal(before.recorder.all('failover').length, 0, 'the call that runs goes on')
  clock.nowMs = 30_000
  await call().connected
  t.equal(first.connections, 2, 'after the reset the first key is asked again')
})

t.test('without another key an exhausted key refuses new calls', async (t) => {
  const { doubles, clock, seen, call } = await worker(t, 1)
  const [double] = doubles
  if (double === undefined) throw new Error('one service')
  double.limits = USED_UP
  const before = call()
  await before.connected
  before.backend.sendText('Hello', { role: 'caller', respond: true })
  await before.recorder.next('turn-done')
  await t.rejects(call().connected, {
    code: 'BACKEND_RATE_LIMIT',
    message: /key-0: a limit of its key is used up; retry after 30 s/,
  })
  t.equal(double.connections, 1)
  t.match(seen.sessions.at(-1), { backend: 'key-0', connectMs: null, fault: 'rate_limit' })
  // A caller who is being served is better off with a key that is nearly used up than with nobody.
  double.session.closeWith(1001, '')
  await before.recorder.next('failover')
  t.equal(double.connections, 2)
  clock.nowMs = 31_000
  await call().connected
})

t.test('a reported limit blocks a key for two minutes maximum', async (t) => {
  const breaker = new CircuitBreaker('a')
  const tokens = (remaining: number, resetMs: number): RateLimit[] => [
    { name: 'tokens', limit: 40_000, remaining, resetMs },
  ]
  breaker.limits(tokens(400, 1000), 0)
  t.equal(breaker.allows(0), true, 'a hundredth is left')
  breaker.limits(tokens(399, 3_600_000), 0)
  t.equal(breaker.allows(119_999), false)
  t.equal(breaker.exhaustedForMs(100_000), 20_000)
  t.equal(breaker.allows(120_000), true)
  breaker.limits(tokens(0, 60_000), 0)
  breaker.limits(tokens(20_000, 10), 1)
  t.equal(breaker.allows(1), true)
  breaker.limits([], 1)
  t.equal(breaker.allows(1), true)
})

t.test('limits without a name or number are ignored', async (t) => {
  t.same(rateLimitsOf([{ name: 'tokens', limit: 10, remaining: 0, reset_seconds: 1.5 }]), [
    { name: 'tokens', limit: 10, remaining: 0, resetMs: 1500 },
  ])
  t.same(
    rateLimitsOf([
      null,
      7,
      { name: 'tokens' },
      { limit: 10, remaining: 1, reset_seconds: 1 },
      { name: 'tokens', limit: 0, remaining: 1, reset_seconds: 1 },
      { name: 'tokens', limit: 10, remaining: -1, reset_seconds: 1 },
      { name: 'tokens', limit: 10, remaining: 1, reset_seconds: 'soon' },
    ]),
    [],
  )
  t.same(rateLimitsOf({ tokens: 1 }), [])
  const many = Array.from({ length: 100 }, () => ({ name: 'tokens', limit: 10, remaining: 1, reset_seconds: 1 }))
  t.equal(rateLimitsOf(many).length, 8)
})

t.test("the metric shows each limit's last reported remainder", async (t) => {
  const metrics = new Metrics({ version: '1.2.3', processMetrics: false })
  metrics.backendRateLimit('openai', 'tokens', 0.5)
  metrics.backendRateLimit('openai', 'tokens', 0.25)
  metrics.backendRateLimit('openai', 'requests', 1)
  const page = await metrics.render()
  t.match(page, 'mkondo_backend_rate_limit_left_ratio{backend="openai",limit="tokens"} 0.25')
  t.match(page, 'mkondo_backend_rate_limit_left_ratio{backend="openai",limit="requests"} 1')
})

/** A service that answers every request, also an upgrade, with 429 and these headers. */
async function rateLimiting(t: Test, headers: Readonly<Record<string, string>>): Promise<string> {
  const body = '{"error":{"message":"Slow down."}}'
  const server = createServer((_request, response) => response.writeHead(429, headers).end(body))
  server.on('upgrade', (_request, socket) => {
    const lines = Object.entries(headers)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('')
    socket.end(
      `HTTP/1.1 429 Too Many Requests\r\n${lines}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    )
  })
  return `http://127.0.0.1:${await portOf(t, server)}/v1`
}

t.test('no call tries a service before its Retry-After has passed', async (t) => {
  const baseUrl = await rateLimiting(t, { 'Retry-After': '77' })
  const circuits = new Circuits()
  const seen: { sessions: SessionOpened[]; faults: BackendFaultNews[]; circuits: CircuitReport[] } = {
    sessions: [],
    faults: [],
    circuits: [],
  }
  const standby = new ScriptedService('standby', ['ready'], { inputRateHz: 24_000 })
  const list = (): CallBackend =>
    new CallBackend(new Recorder(), {
      candidates: [
        { create: (sink) => new OpenAiRealtimeBackend(sink, { apiKey: 'key-of-a-test', model: 'm', baseUrl }) },
        { create: standby.create },
      ],
      timers: clockTimers(() => 0),
      circuits,
      inputRateHz: 24_000,
      watch: {
        session: (opened) => seen.sessions.push(opened),
        fault: (fault) => seen.faults.push(fault),
        circuit: (circuit) => seen.circuits.push(circuit),
        limits: () => undefined,
      },
    })
  const backend = list()
  await backend.connect(conformanceSession(), new AbortController().signal)
  t.match(seen.faults, [
    { backend: 'openai', code: 'rate_limit', message: /429: Slow down\.; retry after 77 s$/, sessionLost: true },
  ])
  t.match(seen.sessions, [
    { backend: 'openai', role: 'first', connectMs: null, fault: 'rate_limit' },
    { backend: 'standby', role: 'first', fault: null },
  ])
  t.match(seen.circuits, [{ name: 'openai', state: 'open', opened: 1, openForMs: 77_000 }])
  await backend.close('done')
})

t.test("a cascade's service reports its Retry-After", async (t) => {
  const baseUrl = await rateLimiting(t, { 'retry-after': '5' })
  const service = { baseUrl, model: 'm' }
  const recorder = new Recorder()
  const backend = new CascadeBackend(recorder, {
    stt: [whisper(service)],
    llm: [chat(service)],
    tts: [speech(service)],
  })
  await t.rejects(backend.connect(conformanceSession(), new AbortController().signal), {
    code: 'BACKEND_RATE_LIMIT',
    message: /retry after 5 s$/,
  })
})

t.test('Retry-After is parsed in seconds, milliseconds or as a date', async (t) => {
  const wallMs = Date.parse('2026-01-05T10:00:00Z')
  const of = (headers: Record<string, string>): number | null => retryAfterOf((name) => headers[name], wallMs)
  t.equal(of({ 'retry-after': '30' }), 30_000)
  t.equal(of({ 'retry-after': 'Mon, 05 Jan 2026 10:02:00 GMT' }), 120_000)
  t.equal(of({ 'retry-after': 'Mon, 05 Jan 2026 09:00:00 GMT' }), 0, 'a date in the past')
  t.equal(of({ 'retry-after-ms': '820', 'retry-after': '1' }), 820)
  t.equal(of({ 'retry-after': 'soon' }), null)
  t.equal(of({}), null)
  t.equal(of({ 'retry-after': '999999999' }), 24 * 3_600_000, 'at most a day')
})
