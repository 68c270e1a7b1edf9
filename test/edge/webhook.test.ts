import t from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { editorDouble } from '../support/editor-double.js'
import { endedCall } from '../support/record.js'
import {
  attribute,
  get,
  newSid,
  post,
  rawRequest,
  redirectUrl,
  ring,
  ringing,
  SECRET,
  startGateway,
} from './gateway.js'
import type { Gateway } from './gateway.js'
import { ORDER_STATUS } from './scripted-calls.js'

const EMPTY = '<Response></Response>'

t.test('a ringing call is answered with Say, Stream and Redirect', async (t) => {
  const gateway = await startGateway(t)
  const sid = newSid()
  const answer = await post(`${gateway.url}/voice`, { form: ringing(sid) })
  t.equal(answer.status, 200)
  t.equal(await gateway.metric('mkondo_webhook_seconds_count{route="voice"}'), 1, 'and its time is measured')
  t.match(answer.headers.get('content-type'), /^application\/xml/)
  t.match(answer.text, /<Say>One moment &amp; hello\.<\/Say><Stream /)
  t.equal(attribute(answer.text, 'connect'), 'true')
  t.equal(attribute(answer.text, 'outputSamplingRate'), '16000')
  t.equal(attribute(answer.text, 'bidirectionalSamplingRate'), '16000')
  t.match(attribute(answer.text, 'url'), new RegExp(`^ws://127\\.0\\.0\\.1:${gateway.edge.publicPort}/audio\\?t=`))
  t.match(attribute(answer.text, 'statusCallback'), /^http:\/\/127\.0\.0\.1:\d+\/stream-status\?t=/)
  t.match(redirectUrl(answer.text), /^http:\/\/127\.0\.0\.1:\d+\/after-stream\?t=.*&agent=order-status$/)
  t.match(gateway.calls.started, [
    { callSid: sid, agent: 'order-status', from: '+254700000001', to: '+254700000002', direction: 'inbound' },
  ])
  t.equal(gateway.calls.get(sid).afterStreamUrl, redirectUrl(answer.text))
})

t.test('the path chooses the agent; unknown ones are recorded [7]', async (t) => {
  const gateway = await startGateway(t, { webhookSecrets: [SECRET], publicUrl: 'https://gw.example.com' })
  const sign = { secret: SECRET }
  const say = (sid: string, path: string, state = 'Ringing'): ReturnType<typeof post> =>
    post(`${gateway.url}${path}`, { form: { ...ringing(sid), callSessionState: state }, sign })
  t.match((await say(newSid(), '/voice/support')).text, /<Stream/)
  t.equal(gateway.calls.started[0]?.agent, 'support')

  const sid = newSid()
  t.match(await say(sid, '/voice/nobody'), { status: 200, text: /<Say>Nobody can answer\.<\/Say><Hangup\/>/ })
  t.match((await say(sid, '/voice/nobody')).text, /<Say>Nobody/, 'a repeated webhook gets them again')
  t.equal((await say(sid, '/voice/nobody', 'Completed')).text, EMPTY)
  gateway.calls.defaultAgent = null
  t.match((await say(newSid(), '/voice')).text, /<Say>Nobody/)
  const parties = { from: '+254700000001', to: '+254700000002', reason: 'agent-unknown' }
  t.match(gateway.calls.refusedCalls, [
    { ...parties, callSid: sid, agent: 'nobody', why: 'there is no agent of that name' },
    { ...parties, agent: null, why: /names no agent, and there is no default/ },
  ])
  t.equal(gateway.calls.refusedCalls.length, 2, 'one record per call')
  t.equal(await gateway.metric('mkondo_calls_refused_total{reason="agent-unknown"}'), 2)

  const unsigned = await post(`${gateway.url}/voice/nobody`, { form: ringing(newSid()) })
  t.equal(unsigned.status, 401)
  t.equal((await say(newSid(), '/voice/NOT%20A%20NAME')).status, 404)
  t.match((await say(newSid(), '/voice/nobody', 'Completed')).status, 200)
  t.equal(gateway.calls.refusedCalls.length, 3, 'unsigned webhooks leave no record')
})

t.test("documents use the node's URL, or else the public URL", async (t) => {
  const shared = { publicUrl: 'https://gw.example.com', webhookSecrets: [SECRET] }
  const one = await startGateway(t, shared)
  const answer = await post(`${one.url}/voice`, { form: ringing(newSid()), sign: { secret: SECRET } })
  t.match(attribute(answer.text, 'url'), /^wss:\/\/gw\.example\.com\/audio\?t=/)
  const fleet = await startGateway(t, { ...shared, nodeUrl: 'https://gw-3.example.com/' })
  const ofNode = await post(`${fleet.url}/voice`, { form: ringing(newSid()), sign: { secret: SECRET } })
  t.match(attribute(ofNode.text, 'url'), /^wss:\/\/gw-3\.example\.com\/audio\?t=/)
  t.match(redirectUrl(ofNode.text), /^https:\/\/gw\.example\.com\/after-stream/)
})

t.test('a repeated first webhook opens no second call [12]', async (t) => {
  const gateway = await startGateway(t)
  const { sid, document } = await ring(gateway)
  const again = await post(`${gateway.url}/voice/order-status`, { form: ringing(sid) })
  t.equal(again.text, document)
  t.equal(gateway.calls.started.length, 1)
})

t.test('lifecycle re-posts get an empty document', async (t) => {
  const gateway = await startGateway(t)
  const { sid } = await ring(gateway)
  gateway.calls.get(sid).state = 'streaming'
  for (const state of ['StreamStarted', 'Answered', 'ringing', 'COMPLETED']) {
    const answer = await post(`${gateway.url}/voice/order-status`, {
      json: { ...ringing(sid), callSessionState: state },
    })
    t.equal(answer.text, EMPTY, state)
  }
  t.same(gateway.calls.get(sid).states, ['stream-started', 'answered', 'ringing', 'completed'])
  t.equal(gateway.calls.started.length, 1)
})

t.test("a pending escalation's Dial is answered on the voice URL", async (t) => {
  const gateway = await startGateway(t)
  const { sid } = await ring(gateway)
  const call = gateway.calls.get(sid)
  call.state = 'after'
  call.next = [{ verb: 'dial', numbers: ['+254700000009'] }]
  const dial = await post(`${gateway.url}/voice`, { form: { ...ringing(sid), callSessionState: 'StreamStopped' } })
  t.match(dial.text, /<Dial><Number>\+254700000009<\/Number><\/Dial>/)
  call.next = [{ verb: 'say', text: 'Nobody is free.' }, { verb: 'hangup' }]
  const busy = await post(`${gateway.url}/voice`, { form: { ...ringing(sid), callSessionState: 'Busy' } })
  t.match(busy.text, /<Say>Nobody is free\.<\/Say><Hangup\/>/)
  call.next = [{ verb: 'dial', numbers: ['+254700000009'] }]
  const over = await post(`${gateway.url}/voice`, { form: { ...ringing(sid), callSessionState: 'Completed' } })
  t.equal(over.text, EMPTY, 'an ended call dials nobody')
})

t.test('a full or draining gateway answers with the fallback [8]', async (t) => {
  const gateway = await startGateway(t)
  gateway.calls.fill()
  const full = await post(`${gateway.url}/voice`, { form: ringing(newSid()) })
  t.equal(full.status, 200)
  t.match(full.text, /<Say>All lines are busy\.<\/Say><Dial><Number>\+254700000009/)
  gateway.calls.draining = true
  await post(`${gateway.url}/voice`, { form: ringing(newSid()) })
  t.equal(await gateway.metric('mkondo_calls_refused_total{reason="capacity"}'), 1)
  t.equal(await gateway.metric('mkondo_calls_refused_total{reason="draining"}'), 1)
  t.match(gateway.calls.refusedCalls, [
    { agent: 'order-status', reason: 'capacity', from: '+254700000001' },
    { agent: 'order-status', reason: 'draining', from: '+254700000001' },
  ])
  t.equal(gateway.calls.started.length, 0)
})

t.test('a refused caller hears the language of their last call', async (t) => {
  const gateway = await startGateway(t, {
    callerLimits: { calls: 1, perMinute: 1000, withheldPercent: 100, exempt: [] },
  })
  const { calls } = gateway
  const words = async (sid = newSid()): Promise<string> =>
    (await post(`${gateway.url}/voice`, { form: ringing(sid) })).text
  const { sid, document } = await ring(gateway)
  t.match(await words(), /Too many calls/, "the caller's language is unknown")
  calls.languages.set('+254700000001', 'sw')
  const second = newSid()
  t.match(await words(second), /<Say>Simu nyingi\./, 'a second call at once')
  t.match(await words(second), /<Say>Simu nyingi\./, 'a repeated webhook gets the same words')
  calls.started.length = 0
  calls.fill()
  t.match(await words(), /<Say>Laini zote zina simu\./, 'a full gateway')
  calls.calls.delete(sid)
  calls.records.set(sid, endedCall({ callSid: sid, endReason: 'process-died', language: 'en' }))
  t.match((await post(redirectUrl(document))).text, /All lines are busy/, "the call's own language takes precedence")
})

t.test('a call that cannot be opened gets a spoken answer', async (t) => {
  const gateway = await startGateway(t)
  gateway.calls.failWith = new Error('the pool is gone, +254700000001')
  const answer = await post(`${gateway.url}/voice`, { form: ringing(newSid()) })
  t.match(answer, { status: 200, text: /All lines are busy/ })
  gateway.calls.failWith = new GatewayError('CAPACITY', 'full since a moment ago')
  t.match(await post(`${gateway.url}/voice`, { form: ringing(newSid()) }), { status: 200, text: /All lines are busy/ })
  gateway.calls.failWith = null
  // A definition that cannot be written as XML: the call that was prepared for it does not stay.
  gateway.calls.agents.set('support', {
    ...ORDER_STATUS,
    name: 'support',
    say: { verb: 'say', text: ' ' },
    fallback: () => [],
  })
  const sid = newSid()
  t.match(await post(`${gateway.url}/voice/support`, { form: ringing(sid) }), {
    status: 200,
    text: /<Say>Nobody can answer\.<\/Say><Hangup\/>/,
  })
  t.match(gateway.calls.get(sid).hangups, [{ reason: 'call-fault' }])
  t.notOk(JSON.stringify(gateway.logged()).includes('254700000001'), 'no number in the log')
})

t.test('after the stream comes the Dial or the goodbye [3]', async (t) => {
  const gateway = await startGateway(t)
  const { sid, document } = await ring(gateway)
  const url = redirectUrl(document)
  const call = gateway.calls.get(sid)
  call.state = 'after'
  call.next = [{ verb: 'dial', numbers: ['+254700000009'] }]
  t.match((await post(url)).text, /<Dial>/)
  t.same(call.askers, ['after-stream'])
  t.match(
    (await post(url, { form: { ...ringing(sid), callSessionState: 'DialCompleted' } })).text,
    /<Say>Goodbye\.<\/Say><Hangup\/>/,
  )
  t.same(call.states, ['dial-completed'])
  gateway.calls.calls.delete(sid)
  gateway.calls.records.set(sid, endedCall({ callSid: sid }))
  t.match((await post(url)).text, /Goodbye/, 'also when the call is long gone')
})

t.test('after-stream and stream-status need a token or signature', async (t) => {
  const gateway = await startGateway(t, { webhookSecrets: [SECRET], publicUrl: null })
  const sid = newSid()
  const sign = { secret: SECRET }
  const document = (await post(`${gateway.url}/voice`, { form: ringing(sid), sign })).text
  const after = redirectUrl(document)
  const status = attribute(document, 'statusCallback')
  const form = { sessionId: sid, streamEvent: 'stream-stopped', streamSid: 'ST1' }
  t.equal((await post(after)).status, 200)
  t.equal((await post(status, { form })).status, 204)
  t.match(await post(`${gateway.url}/after-stream`, { form }), { status: 401, code: 'WEBHOOK_UNSIGNED' })
  t.equal((await post(`${gateway.url}/after-stream`, { form, sign })).status, 200)
  t.equal((await post(`${gateway.url}/stream-status`, { form, sign })).status, 204)
  const token = new URL(status).searchParams.get('t') ?? ''
  t.match(
    await post(`${gateway.url}/after-stream?t=${token}`),
    { status: 403, code: 'TOKEN_INVALID' },
    'a token of another purpose',
  )
  t.equal((await post(`${gateway.url}/after-stream?t=${token}`, { form, sign })).status, 200, 'signed all the same')
  t.match(await post(`${gateway.url}/after-stream?t=forged`), { status: 403, code: 'TOKEN_INVALID' })
})

t.test('a stream status reaches its call once [2]', async (t) => {
  const gateway = await startGateway(t)
  const { sid, document } = await ring(gateway)
  const url = attribute(document, 'statusCallback')
  const call = gateway.calls.get(sid)
  t.equal((await post(url, { form: { streamEvent: 'stream-started', streamSid: 'ST1' } })).status, 204)
  call.next = [{ verb: 'dial', numbers: ['+254700000009'] }]
  t.equal((await post(url, { json: { event: 'stopped', streamSid: 'ST1' } })).status, 204)
  t.equal((await post(url, { json: { event: 'stopped', streamSid: 'ST1' } })).status, 204, 'a repetition')
  t.same(call.states, ['stream-started', 'stream-stopped'])
  t.same(call.askers, [], 'the Dial is kept for the Redirect')
})

t.test('events of all formats reach their call once', async (t) => {
  const gateway = await startGateway(t)
  const { sid } = await ring(gateway)
  const url = `${gateway.url}/events`
  t.equal((await post(url, { json: { kind: 'call.answered', event_id: 'evt_1', data: { call_id: sid } } })).status, 204)
  await post(url, { json: { kind: 'call.answered', event_id: 'evt_1', data: { call_id: sid } } })
  await post(url, { json: { event_kind: 'call.completed', event_id: 'evt_2', payload: { call_id: sid } } })
  await post(url, { form: { sessionId: sid, callSessionState: 'StreamStopped' } })
  t.same(gateway.calls.get(sid).states, ['answered', 'completed', 'stream-stopped'])
  t.equal((await post(url, { json: { kind: 'wallet.low', event_id: 'evt_3', data: {} } })).status, 204)
})

t.test('an account event is reported once', async (t) => {
  const events: unknown[] = []
  const gateway = await startGateway(t, { onAccountEvent: (event) => void events.push(event) })
  const low = { kind: 'wallet.low_balance', event_id: 'evt_w', data: { balance_minor: 4800 } }
  for (const json of [low, low]) t.equal((await post(`${gateway.url}/events`, { json })).status, 204)
  t.same(events, [{ kind: 'wallet.low_balance', balanceMinor: 4800 }])
})

t.test('a call for a missing draft is refused [1]', async (t) => {
  const [tries, other, without] = [newSid(), newSid(), newSid()]
  const { editor } = editorDouble({ tries: (sid) => sid === tries })
  const holds = await startGateway(t, { editor })
  const off = await startGateway(t)
  const answerTo = async (gateway: Gateway, sid: string): Promise<string> =>
    (await post(`${gateway.url}/voice/order-status?draft=1`, { form: ringing(sid) })).text
  t.match(await answerTo(holds, tries), /<Stream /)
  for (const [gateway, sid] of [
    [holds, other],
    [off, without],
  ] as const) {
    const document = await answerTo(gateway, sid)
    t.match(document, /<Say>[^<]+<\/Say>/)
    t.notMatch(document, /<Stream /)
    t.match(gateway.calls.refusedCalls, [
      { callSid: sid, reason: 'agent-unknown', why: /draft .* is not at this node/ },
    ])
  }
  t.match(holds.calls.started, [{ callSid: tries }])
  t.same(off.calls.started, [])
})

t.test('unsigned, forged and old webhooks are refused and counted [9]', async (t) => {
  const gateway = await startGateway(t, {
    webhookSecrets: ['whsec_other', SECRET],
    publicUrl: 'https://gw.example.com',
  })
  const url = `${gateway.url}/voice`
  t.match(await post(url, { form: ringing(newSid()) }), { status: 401, code: 'WEBHOOK_UNSIGNED' })
  t.match(await post(url, { form: ringing(newSid()), sign: { secret: 'wrong' } }), {
    status: 403,
    code: 'WEBHOOK_UNSIGNED',
  })
  t.match(await post(url, { form: ringing(newSid()), sign: { secret: SECRET, ageS: 301 } }), {
    status: 403,
    code: 'WEBHOOK_STALE',
  })
  t.match(await post(url, { form: ringing(newSid()), headers: { 'x-sautikit-signature': 'nonsense' } }), {
    status: 403,
  })
  t.match(await post(`${gateway.url}/events`, { json: { kind: 'call.started' } }), { status: 401 })
  t.equal((await post(url, { form: ringing(newSid()), sign: { secret: SECRET } })).status, 200)
  t.equal(gateway.calls.started.length, 1)
  t.equal(await gateway.metric('mkondo_webhook_rejected_total{reason="unsigned"}'), 2)
  t.equal(await gateway.metric('mkondo_webhook_rejected_total{reason="signature"}'), 2)
  t.equal(await gateway.metric('mkondo_webhook_rejected_total{reason="stale"}'), 1)
})

t.test('unsigned webhooks pass only without secrets and public URL', async (t) => {
  const open = await startGateway(t)
  await ring(open)
  await ring(open)
  t.equal(open.logged().filter((line) => line['level'] === 'warn').length, 1)
  const closed = await startGateway(t, { publicUrl: 'https://gw.example.com' })
  t.match(await post(`${closed.url}/voice`, { form: ringing(newSid()) }), { status: 401, code: 'WEBHOOK_UNSIGNED' })
})

t.test('oversized, mistyped and unreadable bodies are refused [10]', async (t) => {
  const gateway = await startGateway(t)
  const url = `${gateway.url}/voice`
  t.match(await post(url, { body: 'a'.repeat(16 * 1024 + 1) }), { status: 413, code: 'BODY_TOO_LARGE' })
  t.match(await post(url, { body: '<x/>', headers: { 'content-type': 'text/xml' } }), {
    status: 415,
    code: 'CONTENT_TYPE',
  })
  t.match(await post(url, { body: '{"a":', headers: { 'content-type': 'application/json' } }), {
    status: 400,
    code: 'WEBHOOK_MALFORMED',
  })
  t.match(await post(url, { form: { callSessionState: 'Ringing' } }), { status: 400, code: 'WEBHOOK_MALFORMED' })
  t.match(await post(url, { form: ringing('../../etc/passwd') }), { status: 400, code: 'WEBHOOK_MALFORMED' })
  t.match(await post(url, { body: new Uint8Array([0xff, 0xfe, 0x00]) }), { status: 400 })
  // Chunked: the length is not announced, and the bound holds all the same.
  const raw = rawRequest(
    gateway.edge.publicPort,
    'POST /voice HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n' +
      `5000\r\n${'x'.repeat(0x5000)}\r\n0\r\n\r\n`,
  )
  t.match(await raw.answer, /^HTTP\/1\.1 413 /)
  t.equal(gateway.calls.started.length, 0)
})

t.test('other methods are 405 and other paths 404', async (t) => {
  const gateway = await startGateway(t)
  for (const path of ['/voice', '/voice/support', '/events', '/stream-status', '/after-stream', '/human']) {
    const answer = await get(gateway.url + path)
    t.match(answer, { status: 405, code: 'METHOD_NOT_ALLOWED' }, path)
    t.equal(answer.headers.get('allow'), 'POST')
  }
  t.match(await get(`${gateway.url}/audio`), { status: 426, code: 'UPGRADE_REQUIRED' })
  t.match(await post(`${gateway.url}/audio`), { status: 405 })
  t.match(await get(`${gateway.url}/voice/a/b`), { status: 404, code: 'NOT_FOUND' })
  t.match(await get(`${gateway.url}/`), { status: 404, code: 'NOT_FOUND' })
})

t.test('headers of 12,000 bytes are accepted', async (t) => {
  const gateway = await startGateway(t)
  const answer = await post(`${gateway.url}/voice`, {
    form: ringing(newSid()),
    headers: { 'x-metadata': 'm'.repeat(12_000) },
  })
  t.equal(answer.status, 200)
})

t.test('an oversized header block is refused', async (t) => {
  const gateway = await startGateway(t)
  const answer = await get(`${gateway.url}/voice`, { headers: { 'x-metadata': 'm'.repeat(20_000) } })
  t.equal(answer.status, 431)
  await ring(gateway)
})

t.test('the goodbye is spoken although the socket seems open', async (t) => {
  const gateway = await startGateway(t)
  const { sid, document } = await ring(gateway)
  gateway.calls.get(sid).state = 'streaming'
  t.match((await post(redirectUrl(document))).text, /<Say>Goodbye\.<\/Say><Hangup\/>/)
  t.equal((await post(redirectUrl(document), { form: { ...ringing(sid), callSessionState: 'Completed' } })).text, EMPTY)
})

t.test('a body that arrives too slowly is refused [11]', async (t) => {
  let nowMs = 1000
  const gateway = await startGateway(t, { clock: () => nowMs })
  const slow = rawRequest(
    gateway.edge.publicPort,
    'POST /voice HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"session',
  )
  await ring(gateway)
  nowMs += 5001
  t.match(await slow.answer, /^HTTP\/1\.1 408 [^]*BODY_TOO_SLOW/)
  t.equal(await gateway.metric('mkondo_webhook_rejected_total{reason="too-slow"}'), 1)
})

t.test('only the call that posts too often is rate-limited', async (t) => {
  const gateway = await startGateway(t, { clock: () => 1000 })
  const { sid } = await ring(gateway)
  const statuses = []
  for (let i = 0; i < 70; i++) statuses.push((await post(`${gateway.url}/voice`, { form: ringing(sid) })).status)
  t.equal(statuses.filter((status) => status === 200).length, 59, 'the burst, less the first')
  t.equal(statuses.at(-1), 429)
  await ring(gateway)
})

t.test('an invalid Host header is refused', async (t) => {
  const gateway = await startGateway(t)
  const body = new URLSearchParams(ringing(newSid())).toString()
  const raw = rawRequest(
    gateway.edge.publicPort,
    `POST /voice HTTP/1.1\r\nHost: evil"><Dial>\r\nConnection: close\r\n` +
      `Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  raw.socket.once('data', () => raw.socket.end())
  t.match(await raw.answer, /^HTTP\/1\.1 400 /)
  t.equal(gateway.calls.started.length, 0)
})

t.test('after the process died the caller hears the fallback [6]', async (t) => {
  const gateway = await startGateway(t)
  for (const [endReason, words] of [
    [null, /All lines are busy/],
    ['process-died', /All lines are busy/],
    ['agent-goodbye', /^((?!All lines).)*<Hangup\/>/s],
  ] as const) {
    const { sid, document } = await ring(gateway)
    gateway.calls.calls.delete(sid)
    if (endReason !== null) gateway.calls.records.set(sid, endedCall({ callSid: sid, endReason }))
    t.match((await post(redirectUrl(document))).text, words, endReason ?? 'nothing is known')
  }
})

t.test('during an escalation after-stream gets no goodbye', async (t) => {
  const gateway = await startGateway(t)
  const { sid, document } = await ring(gateway)
  const url = /<Redirect[^>]*>([^<]+)</.exec(document)?.[1]?.replaceAll('&amp;', '&') ?? ''
  const call = gateway.calls.get(sid)
  call.state = 'after'
  call.escalating = true
  t.equal((await post(url)).text, '<Response></Response>')
  t.same(gateway.calls.afterStreams, [[sid, 'asked']], 'the request is recorded')
})

t.test('a DTMF digit after the stream reaches its call [4]', async (t) => {
  const gateway = await startGateway(t)
  const { sid } = await ring(gateway)
  const call = gateway.calls.get(sid)
  call.state = 'after'
  for (const digits of ['1', '']) {
    call.next = [{ verb: 'hangup' }]
    const { text } = await post(`${gateway.url}/voice`, {
      form: { ...ringing(sid), callSessionState: 'Answered', Digits: digits },
    })
    t.match(text, /<Hangup\/>/)
  }
  t.same(call.keys, ['1', ''])
})

t.test('with a conference, caller and human join one room [5]', async (t) => {
  const gateway = await startGateway(t)
  gateway.calls.agents.set('order-status', { ...ORDER_STATUS, conference: true })
  const { sid, document } = await ring(gateway)
  t.match(document, /<Stream[^>]* connect="false"/)
  t.match(document, new RegExp(`<Conference[^>]* endOnExit="false"[^>]*>mkondo-${sid}</Conference><Redirect`))
  const call = gateway.calls.get(sid)
  const url = call.humanUrl ?? ''
  t.match(url, /\/human\?t=h\./)
  call.forHuman = [
    { verb: 'say', text: 'A caller for you.' },
    { verb: 'conference', name: `mkondo-${sid}`, endOnExit: true },
  ]
  const leg = { ...ringing('HD_human0000001'), direction: 'outbound' }
  t.match(
    (await post(url, { form: { ...leg, callSessionState: 'Answered' } })).text,
    /<Say>A caller for you\.<\/Say><Conference/,
  )
  t.same(call.humans, ['joined'])
  t.equal((await post(url, { form: { ...leg, callSessionState: 'Answered' } })).text, '<Response></Response>', 'once')
  t.equal((await post(url, { form: { ...leg, callSessionState: 'Completed' } })).text, '<Response></Response>')
  t.same(call.humans, ['joined', 'joined', 'left'])
  t.equal((await post(url.replace('t=h', 't=c'), { form: leg })).status, 403)
  gateway.calls.calls.delete(sid)
  t.match(
    (await post(url, { form: { ...leg, sessionId: 'HD_human0000002', callSessionState: 'Answered' } })).text,
    /<Hangup\/>/,
    'the caller has gone',
  )
})

/** A first webhook in each envelope that the carrier's pages show, around the PBX's fields or the documented ones. */
function envelopes(sid: string): Readonly<Record<string, unknown>> {
  const flat = ringing(sid)
  const documented = {
    call_id: sid,
    from: '+254700000001',
    to: '+254700000002',
    direction: 'inbound',
    status: 'ringing',
  }
  return {
    'kind and data': { kind: 'call.started', event_id: `evt_${sid}`, data: documented },
    'kind and data of the PBX': { kind: 'call.started', event_id: `evt_${sid}`, data: flat },
    'event_kind and payload': { event_kind: 'call.ringing', event_id: `evt_${sid}`, payload: documented },
    'event_kind and payload of the PBX': { event_kind: 'call.initiated', payload: flat },
    'data alone': { data: documented },
    'payload alone': { payload: flat },
    call: { call: flat },
    'call with an id': { call: { id: sid, from: '+254700000001', to: '+254700000002', status: 'ringing' } },
    'call with a sid': { call: { sid, caller: '+254700000001', called: '+254700000002', status: 'ringing' } },
    'kind and call': { kind: 'call.ringing', call: { id: sid, from: '+254700000001', to: '+254700000002' } },
    'kind, data and call': {
      kind: 'call.ringing',
      event_id: `evt_${sid}`,
      data: { call: { id: sid, from: '+254700000001', to: '+254700000002' } },
    },
  }
}

t.test('a first webhook in any envelope opens the call', async (t) => {
  const gateway = await startGateway(t)
  for (const name of Object.keys(envelopes(''))) {
    const sid = newSid()
    const answer = await post(`${gateway.url}/voice/order-status`, { json: envelopes(sid)[name] })
    t.equal(answer.status, 200, name)
    t.match(answer.text, /<Stream /, name)
    t.match(
      gateway.calls.started.at(-1),
      { callSid: sid, from: '+254700000001', to: '+254700000002', direction: 'inbound' },
      name,
    )
    const again = await post(`${gateway.url}/voice/order-status`, { json: envelopes(sid)[name] })
    t.equal(again.text, answer.text, `${name}: the same document again`)
  }
  t.equal(gateway.calls.started.length, Object.keys(envelopes('')).length)
})

t.test('an event and the first webhook get the same document', async (t) => {
  const gateway = await startGateway(t)
  for (const state of ['Ringing', 'Answered']) {
    const sid = newSid()
    const url = `${gateway.url}/voice/order-status`
    const told = await post(url, { json: { kind: 'call.started', event_id: `evt_${sid}`, data: { call_id: sid } } })
    const asked = await post(url, { form: { ...ringing(sid), callSessionState: state } })
    t.equal(asked.text, told.text, state)
    t.equal(
      (await post(url, { form: { ...ringing(sid), callSessionState: 'Answered' } })).text,
      EMPTY,
      'once: another Stream would fork the call',
    )
  }
  t.equal(gateway.calls.started.length, 2)
})

t.test('events are counted once across voice and events URLs', async (t) => {
  const recordings: string[] = []
  const gateway = await startGateway(t, { onRecordingReady: (sid) => recordings.push(sid) })
  const { sid } = await ring(gateway)
  const call = gateway.calls.get(sid)
  call.state = 'streaming'
  const url = `${gateway.url}/voice/order-status`
  const events = [
    { kind: 'call.answered', event_id: 'evt_1', data: { call_id: sid } },
    { event_kind: 'call.supervision.joined', event_id: 'evt_2', payload: { call_id: sid } },
    { kind: 'call.recording.ready', event_id: 'evt_3', data: { call_id: sid, recording_id: 'r1' } },
    { kind: 'call.completed', event_id: 'evt_4', data: { call: { id: sid } } },
  ]
  for (const json of events) {
    const answer = await post(url, { json })
    t.match(answer, { status: 200, text: EMPTY }, String(json.kind ?? json.event_kind))
    t.equal((await post(`${gateway.url}/events`, { json })).status, 204, 'the same event at the other URL')
  }
  t.same(call.states, ['answered', 'completed'])
  t.same(call.humans, ['joined'])
  t.same(recordings, [sid])
})

t.test('late and account events open no call', async (t) => {
  const gateway = await startGateway(t)
  const url = `${gateway.url}/voice/order-status`
  for (const kind of [
    'call.completed',
    'call.failed',
    'call.answered',
    'call.recording.ready',
    'call.supervision.started',
  ]) {
    t.match(
      await post(url, { json: { kind, event_id: `late ${kind}`, data: { call_id: newSid() } } }),
      { status: 200, text: EMPTY },
      kind,
    )
  }
  t.match(
    await post(url, { json: { kind: 'wallet.low_balance', event_id: 'evt_w', data: { balance_minor: 12 } } }),
    { status: 200, text: EMPTY },
    'no call at all',
  )
  t.match(
    await post(url, { json: { kind: 'call.started', data: { call_id: newSid(), direction: 'outbound' } } }),
    { status: 200, text: EMPTY },
    'an outbound call is not answered here',
  )
  const rest = { kind: 'call.started', data: { call_id: '3f0f7a52-5b0e-4b8e-9d0c-2f1d3a4b5c6d', status: 'ringing' } }
  t.match(
    await post(url, { json: rest }),
    { status: 200, text: EMPTY },
    "a REST id differs from the SID of the PBX's webhook",
  )
  t.equal(gateway.calls.started.length, 0)
  const { sid } = await ring(gateway)
  gateway.calls.get(sid).state = 'after'
  gateway.calls.get(sid).next = [{ verb: 'dial', numbers: ['+254700000009'] }]
  t.equal(
    (await post(url, { json: { kind: 'call.answered', event_id: 'e', data: { call_id: sid } } })).text,
    EMPTY,
    'the Dial is kept for the Redirect',
  )
  t.match(await post(url, { json: { data: { call_id: '../../etc/passwd' } } }), {
    status: 400,
    code: 'WEBHOOK_MALFORMED',
  })
  t.match(await post(url, { json: { kind: 'call.started', data: { call_id: '../../etc/passwd' } } }), {
    status: 400,
    code: 'WEBHOOK_MALFORMED',
  })
  t.match(await post(url, { json: { data: { balance: 1 } } }), {
    status: 400,
    code: 'WEBHOOK_MALFORMED',
    text: /names no call/,
  })
})

t.test('stream status and continuation are read in any envelope', async (t) => {
  const gateway = await startGateway(t)
  for (const wrap of [
    (data: object) => ({ event_kind: 'stream.stopped', payload: data }),
    (data: object) => ({ kind: 'stream.stopped', data }),
    (data: object) => ({ call: { ...data, event: 'stream-stopped' } }),
    (data: object) => ({ data: { ...data, streamEvent: 'stopped' } }),
  ]) {
    const { sid, document } = await ring(gateway)
    const call = gateway.calls.get(sid)
    t.equal(
      (await post(attribute(document, 'statusCallback'), { json: wrap({ sid, session_id: sid, streamSid: 'ST1' }) }))
        .status,
      204,
    )
    t.same(call.states, ['stream-stopped'])
    call.state = 'after'
    call.next = [{ verb: 'hangup' }]
    const url = new URL(redirectUrl(document))
    t.match(
      (await post(url.href, { json: { call: { id: sid, callSessionState: 'DialCompleted', Digits: '1' } } })).text,
      /<Hangup\/>/,
    )
    t.same(call.states, ['stream-stopped', 'dial-completed'])
  }
})
