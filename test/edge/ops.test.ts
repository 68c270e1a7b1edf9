import { request } from 'node:http'
import t from 'tap'
import type { CallRecord } from '../../src/call/record.js'
import { get, newSid, post, rawRequest, ring, ringing, startGateway, upgradeStatus } from './gateway.js'

const SID = 'HD_00000000beef'

function record(): CallRecord {
  return {
    version: 1,
    callSid: SID,
    agent: 'order-status',
    backend: 'embedded',
    direction: 'inbound',
    from: '+2547…01',
    to: '+2547…02',
    outcome: 'deflected',
    endReason: 'caller-hung-up',
    endDetail: '',
    startedAt: '2026-11-20T00:00:00.000Z',
    durationMs: 1000,
    greetingMs: 120,
    transcript: [{ role: 'agent', text: 'Hello.', startMs: 0, endMs: 500 }],
    toolCalls: [],
    turns: [],
    bargeIns: [],
    claims: [],
    escalation: null,
    timeline: [{ name: 'answered', atMs: 3 }],
    timelineDropped: 0,
    stops: [],
    usage: { inputTokens: 0, outputTokens: 0, audioInMs: 0, audioOutMs: 0 },
    audio: { framesIn: 50, framesConcealed: 0, framesDropped: 0, underruns: 0, dtmf: 0 },
    rehomes: 0,
    resumed: [],
    recoveredFrom: null,
    rootSid: 'HD_testcall0001',
    backends: { sessions: [], failover: null, irregular: {} },
    cost: null,
    budget: null,
    shadow: null,
    recording: null,
    carrier: null,
    outbound: null,
  }
}

const json = (text: string): unknown => JSON.parse(text)

t.test('health and readiness answer GET and HEAD, and readiness says why not', async (t) => {
  const gateway = await startGateway(t)
  t.match(await get(`${gateway.opsUrl}/healthz`), { status: 200, text: 'ok\n' })
  t.match(json((await get(`${gateway.opsUrl}/readyz`)).text), { ready: true, free: 1000, capacity: 1000 })
  t.match(await get(`${gateway.opsUrl}/readyz`, { method: 'HEAD' }), { status: 200, text: '' })
  gateway.calls.fill()
  const full = await get(`${gateway.opsUrl}/readyz`)
  t.match(full, { status: 503 })
  t.match(json(full.text), { ready: false, reason: 'full' })
  gateway.calls.draining = true
  t.match(json((await get(`${gateway.opsUrl}/readyz`)).text), { ready: false, reason: 'draining' })
  t.equal((await get(`${gateway.opsUrl}/readyz`, { method: 'HEAD' })).status, 503)
  t.equal((await get(`${gateway.opsUrl}/healthz`)).status, 200, 'alive all the same')
})

t.test('with a token a load balancer may ask by any Host', async (t) => {
  const gateway = await startGateway(t, { opsToken: 's3cret-token' })
  const raw = rawRequest(gateway.edge.opsPort, 'GET /readyz HTTP/1.1\r\nHost: gw\r\n\r\n')
  setTimeout(() => raw.socket.end(), 200)
  t.match(await raw.answer, /^HTTP\/1\.1 200 OK/)
})

t.test("the metrics pages are OpenMetrics with the contract's names", async (t) => {
  const gateway = await startGateway(t)
  const page = await get(`${gateway.opsUrl}/metrics`)
  t.match(page.headers.get('content-type'), /^application\/openmetrics-text/)
  t.ok(page.text.endsWith('# EOF\n'))
  const numbers = gateway.callSeries.open(SID, 'order-status', 'embedded')
  numbers.turnResponseLastMs = 640
  const calls = await get(`${gateway.opsUrl}/metrics/calls`)
  t.match(
    calls.text,
    `mkondo_call_turn_response_last_seconds{call_sid="${SID}",agent="order-status",backend="embedded"} 0.64\n`,
  )
})

t.test('live and ended calls can be listed and looked at', async (t) => {
  const gateway = await startGateway(t)
  const { sid } = await ring(gateway)
  gateway.calls.records.set(SID, record())
  gateway.calls.packets.set(SID, {
    version: 1,
    callSid: SID,
    agent: 'support',
    reason: 'asked for a human',
    summary: '',
    identity: null,
    tried: [],
    transcript: [],
    at: '2026-11-20T00:00:00Z',
    from: '+254700000001',
    to: '+254709000000',
    escalation: null,
  })
  const api = `${gateway.opsUrl}/api/calls`
  t.match(json((await get(api)).text), {
    live: [{ callSid: sid, state: 'waiting' }],
    ended: [{ callSid: SID, outcome: 'deflected' }],
  })
  t.match(json((await get(`${api}/${sid}`)).text), { callSid: sid, state: 'waiting' })
  t.match(json((await get(`${api}/${SID}`)).text), { outcome: 'deflected' })
  t.match(json((await get(`${api}/${SID}/transcript`)).text), { transcript: [{ role: 'agent', text: 'Hello.' }] })
  t.match(json((await get(`${api}/${sid}/transcript`)).text), { transcript: [] })
  t.match(json((await get(`${api}/${SID}/timeline`)).text), { timeline: [{ name: 'answered', atMs: 3 }] })
  t.match(json((await get(`${api}/${sid}/timeline`)).text), { version: 1, live: true, timeline: [{ name: 'webhook' }] })
  t.match(json((await get(`${api}/${SID}/handoff`)).text), { reason: 'asked for a human' })
  t.equal((await get(`${api}/${sid}/handoff`)).status, 404)
  t.equal((await get(`${api}/${SID}/recording.wav`)).status, 404)
  t.match(await get(`${api}/${newSid()}`), { status: 404, code: 'CALL_UNKNOWN' })
  t.match(await get(`${api}/..%2f..%2fetc`), { status: 404 })
})

t.test('a recording comes as WAV, and one that cannot be read is a 500 without its reason', async (t) => {
  let broken = false
  const gateway = await startGateway(t, {
    recording: () =>
      broken ? Promise.reject(new Error('/data/x.wav is gone')) : Promise.resolve(new Uint8Array([82, 73, 70, 70])),
  })
  const wav = await get(`${gateway.opsUrl}/api/calls/${SID}/recording.wav`)
  t.equal(wav.headers.get('content-type'), 'audio/wav')
  t.equal(wav.text, 'RIFF')
  broken = true
  t.match(await get(`${gateway.opsUrl}/api/calls/${SID}/recording.wav`), {
    status: 500,
    code: 'INTERNAL',
    text: /^((?!gone).)*$/s,
  })
})

t.test('an operator can hang up, escalate and drain', async (t) => {
  let drains = 0
  const gateway = await startGateway(t, {
    onDrain: () => {
      drains++
    },
  })
  const { sid } = await ring(gateway)
  const api = `${gateway.opsUrl}/api/calls/${sid}`
  t.equal((await post(`${api}/hangup`, { json: { reason: 'test is over', speak: true } })).status, 202)
  t.match(gateway.calls.get(sid).hangups, [{ reason: 'operator-hangup', detail: 'test is over', speak: true }])
  t.equal((await post(`${api}/escalate`, { body: '', headers: { 'content-type': 'application/json' } })).status, 202)
  t.equal(gateway.calls.get(sid).escalations.length, 1)
  t.match(await post(`${api}/hangup`, { json: { speak: 'yes' } }), { status: 400, code: 'BAD_REQUEST' })
  t.match(await post(`${api}/hangup`, { json: [1] }), { status: 400 })
  t.match(await post(`${gateway.opsUrl}/api/calls/${newSid()}/hangup`, { json: {} }), { status: 404 })
  t.equal((await post(`${gateway.opsUrl}/api/drain`, { json: {} })).status, 202)
  t.equal((await get(`${gateway.opsUrl}/api/drain`, { method: 'POST' })).status, 202, 'also without a body')
  t.equal(drains, 1, 'once')
})

t.test('with a token everything but health and the page asks for it', async (t) => {
  const gateway = await startGateway(t, {
    opsToken: 's3cret-token',
    console: new Map([['/', { contentType: 'text/html', body: '<!doctype html>' }]]),
  })
  const { sid } = await ring(gateway)
  for (const path of [
    '/metrics',
    '/metrics/calls',
    '/api/calls',
    `/api/calls/${sid}`,
    `/api/calls/${sid}/transcript`,
  ]) {
    t.match(await get(gateway.opsUrl + path), { status: 401, code: 'UNAUTHORIZED' }, path)
    t.equal((await get(gateway.opsUrl + path, { headers: { authorization: 'Bearer wrong' } })).status, 401)
    t.equal((await get(gateway.opsUrl + path, { headers: { authorization: 'Bearer s3cret-token' } })).status, 200)
  }
  t.equal((await post(`${gateway.opsUrl}/api/drain`, { json: {} })).status, 401)
  t.equal(gateway.calls.draining, false)
  t.equal((await get(`${gateway.opsUrl}/healthz`)).status, 200)
  const page = await get(`${gateway.opsUrl}/`)
  t.equal(page.text, '<!doctype html>')
  t.match(page.headers.get('content-security-policy'), /frame-ancestors 'none'/)
})

t.test("a web page in the operator's browser cannot use the port", async (t) => {
  const gateway = await startGateway(t)
  const { sid } = await ring(gateway)
  const hangup = `${gateway.opsUrl}/api/calls/${sid}/hangup`
  t.match(await post(hangup, { form: {} }), { status: 415 }, 'a form')
  t.match(
    await post(hangup, { body: '{}', headers: { 'content-type': 'text/plain' } }),
    { status: 415 },
    'a simple request',
  )
  t.match(await post(hangup, { json: {}, headers: { 'sec-fetch-site': 'cross-site' } }), { status: 403 })
  t.equal((await get(hangup, { method: 'OPTIONS' })).status, 405, 'and a preflight gets no leave')
  const drain = `${gateway.opsUrl}/api/drain`
  for (const headers of [
    { origin: 'http://attacker.example' },
    { origin: 'null' },
    { 'sec-fetch-site': 'same-origin' },
    { 'sec-fetch-site': 'none' },
  ])
    t.match(await get(drain, { method: 'POST', headers }), { status: 415 }, 'without a body')
  t.match(await get(drain, { method: 'POST', headers: { 'sec-fetch-site': 'cross-site' } }), { status: 403 })
  t.match(await post(drain, { body: '{}', headers: { 'content-type': '' } }), { status: 415 }, 'a body of no type')
  t.equal(gateway.calls.draining, false)
  const rebound = await new Promise<number>((resolve) => {
    request(
      { port: gateway.edge.opsPort, path: '/api/calls', headers: { host: 'attacker.example:80' } },
      (response) => {
        response.resume()
        resolve(response.statusCode ?? 0)
      },
    ).end()
  })
  t.equal(rebound, 403, 'a name that was pointed at this machine')
  t.same(gateway.calls.get(sid).hangups, [])
})

t.test('nothing of the ops port is reachable through the public one', async (t) => {
  const gateway = await startGateway(t)
  const { sid } = await ring(gateway)
  for (const path of opsPaths(sid)) {
    t.equal((await get(gateway.url + path)).status, 404, path)
    t.equal((await post(gateway.url + path, { json: {} })).status, 404, path)
  }
  t.equal(gateway.calls.draining, false)
  t.same(gateway.calls.get(sid).hangups, [])
})

function opsPaths(sid: string): string[] {
  return [
    '/',
    '/healthz',
    '/readyz',
    '/metrics',
    '/metrics/calls',
    '/api/calls',
    `/api/calls/${sid}`,
    `/api/calls/${sid}/transcript`,
    `/api/calls/${sid}/timeline`,
    `/api/calls/${sid}/handoff`,
    `/api/calls/${sid}/recording.wav`,
    `/api/calls/${sid}/journal.jsonl`,
    '/api/settings',
    '/api/erase',
    `/api/calls/${sid}/hangup`,
    `/api/calls/${sid}/escalate`,
    '/api/drain',
    '//api/calls',
    '/voice/../api/calls',
  ]
}

t.test('other paths are 404 and other methods 405, in JSON', async (t) => {
  const gateway = await startGateway(t)
  t.match(await get(`${gateway.opsUrl}/nothing`), { status: 404, code: 'NOT_FOUND' })
  t.match(await get(`${gateway.opsUrl}/voice`), { status: 404 })
  t.match(await get(`${gateway.opsUrl}/api/drain`), { status: 405, code: 'METHOD_NOT_ALLOWED' })
  t.match(await post(`${gateway.opsUrl}/metrics`, { json: {} }), { status: 405 })
})

t.test('refusals are listed, with the figures that decided them', async (t) => {
  const gateway = await startGateway(t)
  t.same(json((await get(`${gateway.opsUrl}/api/refusals`)).text), { refusals: [], dropped: 0 })
  gateway.calls.fill()
  const sid = newSid()
  await post(`${gateway.url}/voice/order-status`, { form: ringing(sid) })
  await upgradeStatus(`${gateway.url.replace('http', 'ws')}/audio?t=wrong`)
  const { refusals } = json((await get(`${gateway.opsUrl}/api/refusals`)).text) as {
    refusals: Record<string, unknown>[]
  }
  t.match(refusals, [
    { reason: 'token-invalid', callSid: null },
    { reason: 'capacity', callSid: sid, agent: 'order-status', why: '1000 of 1000 slots are taken' },
  ])
  t.match(
    gateway.logged().find((line) => line['msg'] === 'A call was refused; its caller hears the fallback'),
    { call_sid: sid, why: '1000 of 1000 slots are taken' },
  )
})

t.test('a storm of scrapes is answered by one page', async (t) => {
  const gateway = await startGateway(t)
  const answers = await Promise.all(Array.from({ length: 200 }, () => get(`${gateway.opsUrl}/metrics`)))
  t.ok(answers.every((answer) => answer.status === 200))
  const made = await gateway.metric('mkondo_scrapes_total{page="fleet",served="made"}')
  const reused = await gateway.metric('mkondo_scrapes_total{page="fleet",served="reused"}')
  t.equal(made + reused, 200)
  t.ok(made < 50, `${made} pages were made`)
})
