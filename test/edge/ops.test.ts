import { spawnSync } from 'node:child_process'
import { rmSync, truncateSync } from 'node:fs'
import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { get, newSid, post, rawRequest, ring, ringing, startGateway, upgradeStatus } from './gateway.js'
import { installed } from '../grafana/prometheus.js'
import { endedCall } from '../support/record.js'
import { until } from '../support/until.js'
import { storedFile } from '../support/stored-file.js'

const SID = 'HD_00000000beef'

const record = (): CallRecord =>
  endedCall({
    callSid: SID,
    to: '+2547…02',
    endReason: 'caller-hung-up',
    startedAt: '2026-11-20T00:00:00.000Z',
    durationMs: 1000,
    greetingMs: 120,
    transcript: [{ role: 'agent', text: 'Hello.', startMs: 0, endMs: 500 }],
    timeline: [{ name: 'answered', atMs: 3 }],
    audio: { framesIn: 50, framesConcealed: 0, framesDropped: 0, underruns: 0, dtmf: 0 },
  })

const json = (text: string): unknown => JSON.parse(text)

t.test('health and readiness answer GET and HEAD', async (t) => {
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

t.test('with a token, readiness answers any Host', async (t) => {
  const gateway = await startGateway(t, { opsToken: 's3cret-token' })
  const raw = rawRequest(gateway.edge.opsPort, 'GET /readyz HTTP/1.1\r\nHost: gw\r\n\r\n')
  raw.socket.once('data', () => raw.socket.end())
  t.match(await raw.answer, /^HTTP\/1\.1 200 OK/)
})

t.test('metrics pages are OpenMetrics', async (t) => {
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

t.test('a scraper may get the text format instead', async (t) => {
  const gateway = await startGateway(t)
  const { metrics } = gateway
  metrics.calls({ agent: 'support', backend: 'openai', outcome: 'failed' }).inc(1, 'HD_3')
  metrics.turnResponse({ agent: 'support', backend: 'openai' }).observe(0.7, 'HD_1')
  const page = (accept: string) => get(`${gateway.opsUrl}/metrics`, { headers: { accept } })
  const open = await page('application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1')
  t.match(open.headers.get('content-type'), /^application\/openmetrics-text/)
  t.match(open.text, ' # {call_sid="HD_3"} 1 ')
  const text = await page('text/plain;version=0.0.4')
  t.equal(text.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
  t.match(text.text, '# TYPE mkondo_calls_total counter\n')
  t.match(text.text, 'mkondo_calls_total{agent="support",backend="openai",outcome="failed"} 1\n')
  t.notMatch(text.text, / # \{|^# (EOF|UNIT)/m, 'without exemplars, units and EOF')
  const series = (body: string): string[] =>
    [...body.matchAll(/^[a-z]\S* \S+/gm)].map(([line]) => line.split(' ')[0] ?? '')
  t.strictSame(series(text.text), series(open.text))
  for (const accept of [
    'application/openmetrics-text;q=0.5, text/plain',
    'text/plain, application/openmetrics-text;q=0',
  ])
    t.match((await page(accept)).headers.get('content-type'), /^text\/plain/, accept)
  for (const accept of ['', '*/*', 'application/openmetrics-text, text/plain'])
    t.match((await page(accept)).headers.get('content-type'), /^application\/openmetrics-text/, accept)
  const numbers = gateway.callSeries.open(SID, 'order-status', 'embedded')
  numbers.turnResponseLastMs = 640
  const calls = await get(`${gateway.opsUrl}/metrics/calls`, { headers: { accept: 'text/plain' } })
  for (const body of [text.text, calls.text]) {
    if (!installed('promtool')) {
      t.comment("NOT CHECKED: Debian's package prometheus is not installed")
      continue
    }
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: body, encoding: 'utf8' })
    // 3: it would name a metric otherwise; 1: it cannot read the page.
    t.ok(status === 0 || status === 3, `promtool ended with ${status}: ${stdout}${stderr.slice(0, 2000)}`)
  }
})

t.test('live and ended calls are listed and shown', async (t) => {
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
    ended: [{ callSid: SID, outcome: 'contained' }],
  })
  t.match(json((await get(`${api}/${sid}`)).text), { callSid: sid, state: 'waiting' })
  t.match(json((await get(`${api}/${SID}`)).text), { outcome: 'contained' })
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

t.test('a recording is WAV; read errors give 500 without details', async (t) => {
  let broken = false
  const gateway = await startGateway(t, {
    recording: () =>
      broken
        ? Promise.reject(new Error('/data/x.wav is gone'))
        : Promise.resolve(storedFile(t, new Uint8Array([82, 73, 70, 70]))),
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

t.test('a recording answers range requests [2]', async (t) => {
  const bytes = Uint8Array.from({ length: 200_000 }, (_, index) => index % 251)
  const file = storedFile(t, bytes)
  const gateway = await startGateway(t, { recording: () => Promise.resolve(file) })
  const part = async (range: string, more: Readonly<Record<string, string>> = {}) => {
    const answer = await fetch(`${gateway.opsUrl}/api/calls/${SID}/recording.wav`, { headers: { range, ...more } })
    return { answer, body: new Uint8Array(await answer.arrayBuffer()) }
  }
  for (const [range, from, to] of [
    ['bytes=0-0', 0, 0],
    ['bytes=100-99999', 100, 99_999],
    ['bytes=199990-', 199_990, 199_999],
    ['bytes=-70000', 130_000, 199_999],
    ['bytes=5-900000', 5, 199_999],
    ['bytes=-900000', 0, 199_999],
  ] as const) {
    const { answer, body } = await part(range)
    t.equal(answer.status, 206, range)
    t.equal(answer.headers.get('content-range'), `bytes ${from}-${to}/200000`)
    t.equal(answer.headers.get('content-type'), 'audio/wav')
    t.equal(Buffer.compare(body, bytes.subarray(from, to + 1)), 0, range)
  }
  for (const range of ['bytes=200000-', 'bytes=-0']) {
    const { answer } = await part(range)
    t.equal(answer.status, 416, range)
    t.equal(answer.headers.get('content-range'), 'bytes */200000')
  }
  for (const range of ['bytes=0-1,4-5', 'bytes=9-3', 'lines=1-2', 'bytes=-', 'bytes=x-y']) {
    const { answer, body } = await part(range)
    t.equal(answer.status, 200, range)
    t.equal(Buffer.compare(body, bytes), 0, 'all of it')
  }
  t.equal((await part('bytes=0-0', { 'if-range': '"another"' })).answer.status, 200, 'a range of another version')
  const whole = await get(`${gateway.opsUrl}/api/calls/${SID}/recording.wav`)
  t.equal(whole.headers.get('accept-ranges'), 'bytes')
})

t.test('a recording truncated while being sent is cut off [3]', async (t) => {
  const file = storedFile(t, new Uint8Array(40 * 1024 * 1024))
  const gateway = await startGateway(t, { recording: () => Promise.resolve(file) })
  const path = `${gateway.opsUrl}/api/calls/${SID}/recording.wav`
  const begun = await fetch(path)
  truncateSync(file.path, 1000)
  await t.rejects(begun.arrayBuffer(), 'the connection is cut')
  t.equal(await gateway.metric('mkondo_replies_cut_total{why="disk"}'), 1)
  t.match(await get(path), { status: 500, code: 'INTERNAL' }, "the file's length changed")
  rmSync(file.path)
  t.match(await get(path), { status: 500, code: 'INTERNAL' })
  t.equal((await get(`${gateway.opsUrl}/healthz`)).status, 200)
})

t.test('a limited number of files is sent at once [4]', async (t) => {
  const file = storedFile(t, new Uint8Array(20 * 1024 * 1024))
  const gateway = await startGateway(t, { recording: () => Promise.resolve(file) })
  const path = `${gateway.opsUrl}/api/calls/${SID}/recording.wav`
  const readers = await Promise.all(Array.from({ length: 16 }, () => fetch(path)))
  t.match(await get(path), { status: 503, code: 'BUSY' })
  t.equal(await gateway.metric('mkondo_replies_cut_total{why="busy"}'), 1)
  await readers[0]?.body?.cancel()
  await until(async () => (await get(path)).status === 200, 5000, 'room')
  for (const reader of readers.slice(1)) await reader.body?.cancel()
})

t.test("HEAD has GET's head and no body [5]", async (t) => {
  const file = storedFile(t, new Uint8Array(100_000))
  const page = { contentType: 'text/html', body: '<!doctype html>ä' }
  const gateway = await startGateway(t, {
    console: new Map([['/', page]]),
    recording: () => Promise.resolve(file),
  })
  const ended = newSid()
  gateway.calls.records.set(ended, record())
  const { opsPort, publicPort } = gateway.edge
  /** Status and length of an answer, and how many bytes come behind its head. */
  const ask = async (port: number, method: string, path: string, headers = '') => {
    const request = `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${headers}\r\n`
    const { answer } = rawRequest(port, request)
    const [head = '', ...body] = (await answer).split('\r\n\r\n')
    const [, status] = /^HTTP\/1.1 (\d+)/.exec(head) ?? []
    const [, length] = /^content-length: (\d+)$/im.exec(head) ?? []
    return { status, length: Number(length), body: body.join('\r\n\r\n').length }
  }
  for (const [port, path, status, headers] of [
    [opsPort, '/', '200'],
    [opsPort, '/healthz', '200'],
    [opsPort, '/api/calls', '200'],
    [opsPort, `/api/calls/${ended}`, '200'],
    [opsPort, `/api/calls/${ended}/recording.wav`, '200'],
    [opsPort, '/api/calls', '403', 'Sec-Fetch-Site: cross-site\r\n'],
    [opsPort, '/api/drain', '405'],
    [opsPort, '/nothing', '404'],
    [publicPort, '/voice', '405'],
    [publicPort, '/nothing', '404'],
  ] as const) {
    const got = await ask(port, 'GET', path, headers)
    t.equal(got.body, got.length, `GET ${path}`)
    t.same(await ask(port, 'HEAD', path, headers), { status, length: got.length, body: 0 }, `HEAD ${path}`)
  }
  const ambiguous = await ask(publicPort, 'HEAD', '/voice', 'Host: b\r\n')
  // The native module for Node 24 refuses two Hosts by itself, with a body of its own; the connection closes.
  t.match(ambiguous, { status: '400' })
})

t.test('an operator can hang up, escalate and drain [1]', async (t) => {
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

t.test('a supervisor whispers to the model of a streaming call', async (t) => {
  const gateway = await startGateway(t)
  const { sid } = await ring(gateway)
  const api = `${gateway.opsUrl}/api/calls/${sid}/whisper`
  t.match(await post(api, { json: { text: 'too early' } }), { status: 409, code: 'CALL_REFUSED' })
  gateway.calls.get(sid).state = 'streaming'
  t.equal((await post(api, { json: { text: ' Offer her free delivery. ' } })).status, 202)
  t.same(gateway.calls.get(sid).whispers, ['Offer her free delivery.'])
  for (const json of [{}, { text: '' }, { text: 'x'.repeat(501) }, { text: 'x', speak: true }])
    t.match(await post(api, { json }), { status: 400, code: 'BAD_REQUEST' })
  const audited = gateway.logged().filter(({ component }) => component === 'audit')
  t.match(audited.at(1), { command: 'whisper', call_sid: sid, outcome: 'done' })
  t.notMatch(JSON.stringify(audited), /free delivery/)
})

t.test('with OPS_TOKEN only health and the page are open', async (t) => {
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

t.test('a foreign web page cannot use the ops port', async (t) => {
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
  for (const origin of ['http://attacker.example', 'null', `${gateway.opsUrl}.attacker.example`])
    t.match(await post(hangup, { json: {}, headers: { origin } }), { status: 403, code: 'FORBIDDEN' }, origin)
  t.equal((await get(hangup, { method: 'OPTIONS' })).status, 405, 'a preflight is refused')
  const drain = `${gateway.opsUrl}/api/drain`
  for (const headers of [{ origin: gateway.opsUrl }, { 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }])
    t.match(await get(drain, { method: 'POST', headers }), { status: 415 }, 'without a body')
  t.match(await get(drain, { method: 'POST', headers: { 'sec-fetch-site': 'cross-site' } }), { status: 403 })
  t.match(
    await post(drain, { body: '{}', headers: { 'content-type': '' } }),
    { status: 415 },
    'a body without a content type',
  )
  t.equal(gateway.calls.draining, false)
  t.same(gateway.calls.get(sid).hangups, [])
})

t.test('ops paths are not reachable through the public port', async (t) => {
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
    '/api/export',
    `/api/calls/${sid}/hangup`,
    `/api/calls/${sid}/escalate`,
    '/api/drain',
    '//api/calls',
    '/voice/../api/calls',
  ]
}

t.test('unknown paths are 404 and wrong methods 405', async (t) => {
  const gateway = await startGateway(t)
  t.match(await get(`${gateway.opsUrl}/nothing`), { status: 404, code: 'NOT_FOUND' })
  t.match(await get(`${gateway.opsUrl}/voice`), { status: 404 })
  t.match(await get(`${gateway.opsUrl}/api/drain`), { status: 405, code: 'METHOD_NOT_ALLOWED' })
  t.match(await post(`${gateway.opsUrl}/metrics`, { json: {} }), { status: 405 })
})

t.test("refused calls are listed with the reason's figures", async (t) => {
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
    gateway.logged().find((line) => line['msg'] === 'a call was refused'),
    { call_sid: sid, why: '1000 of 1000 slots are taken' },
  )
})

t.test('concurrent scrapes share a page [6]', async (t) => {
  const gateway = await startGateway(t)
  const answers = await Promise.all(Array.from({ length: 200 }, () => get(`${gateway.opsUrl}/metrics`)))
  t.ok(answers.every((answer) => answer.status === 200))
  const made = await gateway.metric('mkondo_scrapes_total{page="fleet",served="made"}')
  const reused = await gateway.metric('mkondo_scrapes_total{page="fleet",served="reused"}')
  t.equal(made + reused, 200)
  t.ok(made < 50, `${made} pages were made`)
})

t.test('ended calls are searched and exported without spreadsheet formulas', async (t) => {
  const gateway = await startGateway(t)
  const about = (intent: string | null, summary: string | null): CallRecord['analysis'] => ({
    model: 'm',
    language: 'en',
    summary,
    fields: { intent: { value: intent, quote: 'words' }, resolved: { value: true, quote: 'words' } },
    fault: null,
    cost: null,
  })
  const kept = [
    endedCall({ callSid: 'HD_about00001', analysis: about('refund', '=HYPERLINK("x"), said the caller') }),
    endedCall({ callSid: 'HD_about00002', analysis: about('order', 'A late parcel.') }),
    endedCall({ callSid: 'HD_about00003', analysis: about(null, null) }),
    endedCall({ callSid: 'HD_about00004' }),
  ]
  for (const each of kept) gateway.calls.records.set(each.callSid, each)
  const list = (query: string) => get(`${gateway.opsUrl}/api/fleet/calls?${query}`)
  const found = async (search: string): Promise<string[]> => {
    const { text } = await list(`search=${encodeURIComponent(search)}`)
    return (json(text) as { ended: { callSid: string }[] }).ended.map(({ callSid }) => callSid.slice(-1))
  }
  t.same(await found('intent:Refund'), ['1'])
  t.same(await found('late PARCEL'), ['2'])
  t.same((await found('resolved:true')).sort(), ['1', '2', '3'])
  t.same(await found('intent:lost'), [])
  t.equal((await found('')).length, 4)
  const csv = await list('format=csv&search=resolved:true')
  t.match(csv.headers.get('content-type'), /^text\/csv/)
  const [head, ...rows] = csv.text.trimEnd().split('\r\n')
  t.equal(head, 'startedAt,callSid,agent,number,direction,outcome,endReason,durationMs,summary,intent,resolved')
  t.equal(rows.length, 3)
  t.ok(
    rows.some((row) => row.endsWith(`,"'=HYPERLINK(""x""), said the caller",refund,true`)),
    csv.text,
  )
  t.match(await list('format=xml'), { status: 400, text: /format: .*json.*csv/ })
  t.match(await list(`search=${'x'.repeat(201)}`), { status: 400, text: /search: allowed: at most 200 characters/ })
})
