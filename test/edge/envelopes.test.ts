import t from 'tap'
import { attribute, newSid, post, redirectUrl, ring, ringing, startGateway } from './gateway.js'

const EMPTY = '<Response></Response>'

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

t.test('a first webhook in any envelope opens the call at the voice URL', async (t) => {
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

t.test(
  "a call that an event has opened gives its document to the PBX's own post too, whichever comes first",
  async (t) => {
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
  },
)

t.test('events at the voice URL do what they do at the events URL, once for both', async (t) => {
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

t.test('an event opens no call that is over, asks for no Dial, and needs no call', async (t) => {
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
    'a call that goes out rings somebody else',
  )
  const rest = { kind: 'call.started', data: { call_id: '3f0f7a52-5b0e-4b8e-9d0c-2f1d3a4b5c6d', status: 'ringing' } }
  t.match(
    await post(url, { json: rest }),
    { status: 200, text: EMPTY },
    "a REST id: the PBX's own post names the same call otherwise",
  )
  t.equal(gateway.calls.started.length, 0)
  const { sid } = await ring(gateway)
  gateway.calls.get(sid).state = 'after'
  gateway.calls.get(sid).next = [{ verb: 'dial', numbers: ['+254700000009'] }]
  t.equal(
    (await post(url, { json: { kind: 'call.answered', event_id: 'e', data: { call_id: sid } } })).text,
    EMPTY,
    'the Dial is kept for who reads answers',
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

t.test('stream status and continuation are read in an envelope as well', async (t) => {
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
