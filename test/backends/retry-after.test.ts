import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { Circuits } from '../../src/backends/failover/circuit-breaker.js'
import type { CircuitReport } from '../../src/backends/failover/circuit-breaker.js'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import { speech } from '../../src/backends/cascade/speech-requests.js'
import { whisper } from '../../src/backends/cascade/whisper-requests.js'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { OpenAiRealtimeBackend } from '../../src/backends/openai-realtime/openai-backend.js'
import { retryAfterOf } from '../../src/backends/transport/vendor-fault.js'
import type { BackendFaultNews, SessionOpened } from '../../src/backends/watch.js'
import { ScriptedService } from './failover/scripted.js'

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
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise<void>((resolve) => server.close(() => resolve())))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
}

t.test('no call of a worker tries a service before its Retry-After has passed', async (t) => {
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

t.test('a stage of the cascade reports it too', async (t) => {
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

t.test('Retry-After in seconds, in milliseconds or as a date is parsed; other values are not', async (t) => {
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
