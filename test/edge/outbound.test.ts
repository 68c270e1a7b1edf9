import t from 'tap'
import type { Test } from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { GatewayError } from '../../src/core/errors.js'
import { CarrierApiError } from '../../src/sautikit-api/http.js'
import type { OutboundCallsOptions } from '../../src/workers/main/outbound-calls.js'
import { outboundCalls } from '../support/outbound-calls.js'
import { get, newSid, post, startGateway } from './gateway.js'

const ORDER = { agent: 'order-status', to: '+254700000001', from: '+254700000000' }

/** A gateway that places calls with a carrier that the test plays. */
async function placing(
  t: Test,
  changes: Partial<OutboundCallsOptions> = {},
  isDoNotCall = (): Promise<boolean> => Promise.resolve(false),
) {
  const sid = newSid()
  const labels: string[] = []
  const records: CallRecord[] = []
  const recorded: string[] = []
  const outbound = outboundCalls(
    {
      createCall: ({ clientRequestId }) => {
        labels.push(clientRequestId)
        return Promise.resolve({ callSid: sid, callId: null, status: 'ringing' })
      },
    },
    { onUnreached: (record) => (records.push(record), Promise.resolve('ok')), ...changes },
  )
  const gateway = await startGateway(t, {
    outbound,
    isDoNotCall,
    onRecordingReady: (callSid) => {
      recorded.push(callSid)
    },
  })
  const edgeOf = (state: string, more: Record<string, string> = {}) => ({
    sessionId: sid,
    callerNumber: ORDER.from,
    destinationNumber: ORDER.to,
    callSessionState: state,
    isActive: '1',
    direction: 'outbound',
    ...more,
  })
  return {
    gateway,
    outbound,
    sid,
    labels,
    records,
    recorded,
    edgeOf,
    voice: `${gateway.url}/voice/order-status`,
    api: `${gateway.opsUrl}/api/calls`,
  }
}

t.test('a placed call opens its stream when answered', async (t) => {
  const { gateway, outbound, sid, edgeOf, voice, api } = await placing(t)
  const placed = await post(api, { json: ORDER })
  t.equal(placed.status, 201)
  t.match(JSON.parse(placed.text), { callSid: sid, status: 'ringing' })
  t.match(
    gateway.logged().filter(({ component }) => component === 'audit'),
    [{ command: 'call', call_sid: sid, outcome: 'done', status: 201, token_kind: 'none' }],
  )
  t.notMatch((await post(voice, { form: edgeOf('Ringing') })).text, /Stream/)
  t.same(gateway.calls.started, [], 'no slot and no model while it rings')
  t.match((await post(voice, { form: edgeOf('Answered') })).text, /<Stream /)
  t.match(gateway.calls.started, [
    { callSid: sid, direction: 'outbound', from: ORDER.from, to: ORDER.to, placed: { agent: 'order-status' } },
  ])
  t.equal(outbound.waiting, 0)
  t.notMatch((await post(voice, { form: edgeOf('StreamStarted') })).text, /Stream/, 'and only one')
})

t.test('clientRequestId in the URL identifies the order without SID', async (t) => {
  const { gateway, labels, edgeOf, voice, api } = await placing(t)
  await post(api, { json: ORDER })
  const other = newSid()
  await post(`${voice}?clientRequestId=${labels[0] ?? ''}`, { form: { ...edgeOf('Answered'), sessionId: other } })
  t.match(gateway.calls.started, [{ callSid: other, placed: { clientRequestId: labels[0] } }])
})

t.test('a call placed by another process opens its stream too', async (t) => {
  const { gateway, edgeOf, voice, records } = await placing(t)
  t.notMatch((await post(voice, { form: edgeOf('Ringing') })).text, /Stream/)
  t.match((await post(voice, { form: edgeOf('Answered') })).text, /<Stream /)
  t.match(gateway.calls.started, [{ direction: 'outbound' }])
  const other = { ...edgeOf('Completed', { isActive: '0' }), sessionId: newSid() }
  t.notMatch((await post(voice, { form: other })).text, /Stream/, 'an end at another process opens nothing here')
  t.same(records, [])
})

t.test('an unanswered outbound call leaves a record [1]', async (t) => {
  for (const path of ['/voice/order-status', '/events']) {
    const { gateway, records, edgeOf, api } = await placing(t)
    await post(api, { json: ORDER })
    const answer = await post(`${gateway.url}${path}`, { form: edgeOf('Busy', { isActive: '0' }) })
    t.ok(answer.status < 300, path)
    t.notMatch(answer.text, /Stream/)
    t.match(records, [{ outcome: 'unreached', outbound: { result: 'busy' } }])
    t.same(gateway.calls.started, [])
  }
})

t.test('a refused order has a status and error code', async (t) => {
  const { api } = await placing(t)
  const refused = async (json: unknown, to = api): Promise<string> => {
    const answer = await post(to, { json })
    return `${answer.status} ${answer.code ?? ''}`
  }
  t.equal(await refused([]), '400 BAD_REQUEST')
  t.equal(await refused({ agent: 'order-status' }), '400 BAD_REQUEST')
  t.equal(await refused({ ...ORDER, agent: 'nobody' }), '404 AGENT_UNKNOWN')
  for (const to of ['1', '+2547000000010', '+25470000001', '0700000001', '254700000001.0'])
    t.equal(await refused({ ...ORDER, to }), '409 CALL_REFUSED', to)
  t.equal(await refused(ORDER, (await placing(t, { draining: () => true })).api), '503 DRAINING')
  t.equal(await refused(ORDER, (await placing(t, { free: () => 0 })).api), '503 CAPACITY')
  const limited = await placing(t, { perMinute: 1 })
  await post(limited.api, { json: ORDER })
  t.equal(await refused(ORDER, limited.api), '429 RATE_LIMITED')
  const poor = await placing(t, {
    carrier: {
      createCall: () =>
        Promise.reject(
          new CarrierApiError('POST /v1/calls: refused with status 402 (wallet.insufficient_funds)', { status: 402 }),
        ),
      hangup: () => Promise.resolve(),
      getCall: () => Promise.reject(new Error('not asked')),
    },
  })
  t.match(await post(poor.api, { json: ORDER }), {
    status: 502,
    code: 'CARRIER_API',
    text: /wallet\.insufficient_funds/,
  })
  const without = await startGateway(t)
  t.equal(await refused(ORDER, `${without.opsUrl}/api/calls`), '409 CALL_REFUSED')
})

t.test('a do-not-call number rings only with ignoreDoNotCall', async (t) => {
  const list: { is: boolean | null } = { is: true }
  const { api, labels, gateway } = await placing(t, { perMinute: 3 }, () =>
    list.is === null
      ? Promise.reject(new GatewayError('STORE_DOWN', 'Redis does not answer', { retryable: true }))
      : Promise.resolve(list.is),
  )
  const place = (more: object) => post(api, { json: { ...ORDER, ...more } })
  for (const more of [{}, {}, {}, { ignoreDoNotCall: false }, { idempotencyKey: 'k' }]) {
    const refused = await place(more)
    t.match(refused, { status: 409 })
    t.match(JSON.parse(refused.text), {
      error: { code: 'DO_NOT_CALL', message: /on the do-not-call list; allowed: .*ignoreDoNotCall/ },
    })
  }
  t.same(labels, [], 'no call was placed or counted')
  list.is = null
  t.match(await place({}), { status: 503 }, 'an unreadable list allows no call')
  t.match(await place({ ignoreDoNotCall: true }), { status: 201 })
  list.is = false
  const rang = await place({ idempotencyKey: 'k' })
  t.match(rang, { status: 201 })
  list.is = true
  t.equal((await place({ idempotencyKey: 'k' })).text, rang.text)
  t.equal(labels.length, 2)
  t.match(await place({ ignoreDoNotCall: 'yes' }), { status: 400 })
  t.notMatch(JSON.stringify(gateway.logged()), ORDER.to.slice(1))
})

t.test('GET lists calls and other methods are refused', async (t) => {
  const { api } = await placing(t)
  t.equal((await get(api)).status, 200)
  const other = await get(api, { method: 'DELETE' })
  t.equal(other.status, 405)
  t.equal(other.headers.get('allow'), 'GET, HEAD, POST')
})

t.test('a recording event starts the download', async (t) => {
  const { gateway, recorded, sid } = await placing(t)
  await post(`${gateway.url}/events`, {
    json: { kind: 'call.recording.ready', event_id: 'e1', data: { call_id: sid, recording_id: 'r1' } },
  })
  t.same(recorded, [sid])
})
