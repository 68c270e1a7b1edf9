import t from 'tap'
import fc from 'fast-check'
import { GatewayError } from '../../src/core/errors.js'
import { parseCallSid } from '../../src/core/ids.js'
import { parseEvent, parseStreamStatus } from '../../src/sautikit/webhook.js'
import type { CarrierEvent, StreamStatus } from '../../src/sautikit/webhook.js'
import { anyText } from '../support/any-text.js'

const JSON_TYPE = 'application/json'
const FORM = 'application/x-www-form-urlencoded'
const SID = parseCallSid('HD_0a8d5911d055')

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

function event(value: unknown): CarrierEvent {
  return parseEvent(JSON_TYPE, bytes(JSON.stringify(value)))
}

function status(fields: Record<string, string>, callSid?: string): StreamStatus {
  return parseStreamStatus(FORM, bytes(new URLSearchParams(fields).toString()), callSid)
}

const DATA = {
  call_id: SID,
  direction: 'inbound',
  from: '+254700000001',
  to: '+254700000002',
  number_id: 'num_1',
  status: 'completed',
  duration_seconds: 76,
  hangup_cause: 'normal_clearing',
}

t.test('an event is parsed in all three shapes', (t) => {
  const expected = {
    callSid: SID,
    from: '+254700000001',
    to: '+254700000002',
    direction: 'inbound',
    durationS: 76,
    state: 'completed',
  }
  const envelope = event({
    kind: 'call.completed',
    event_id: 'evt_1',
    workspace_id: 'ws_1',
    occurred_at: '2026-11-20T08:00:00Z',
    data: DATA,
  })
  t.match(envelope, {
    ...expected,
    kind: 'call.completed',
    eventId: 'evt_1',
    dedupeKey: 'id:evt_1',
  })
  t.match(event({ event_kind: 'call.completed', event_id: 'evt_1', payload: DATA }), {
    ...expected,
    kind: 'call.completed',
    dedupeKey: 'id:evt_1',
  })
  const flat = parseEvent(
    FORM,
    bytes(
      new URLSearchParams({
        sessionId: SID,
        callerNumber: '+254700000001',
        destinationNumber: '+254700000002',
        callSessionState: 'Completed',
        direction: 'inbound',
        durationInSeconds: '76',
        isActive: '0',
      }).toString(),
    ),
  )
  t.match(flat, { ...expected, kind: null, eventId: null })
  t.end()
})

t.test("a call's outcome follows from kind, status and cause", (t) => {
  const cases: readonly (readonly [string, Record<string, string>, CarrierEvent['state']])[] = [
    ['call.started', {}, 'ringing'],
    ['call.answered', {}, 'answered'],
    ['call.completed', {}, 'completed'],
    ['call.failed', {}, 'failed'],
    ['call.failed', { failure_reason: 'no_answer' }, 'no-answer'],
    ['call.failed', { status: 'failed', failure_reason: 'USER_BUSY' }, 'busy'],
    ['call.failed', { status: 'canceled' }, 'failed'],
    ['call.recording.ready', { status: 'completed' }, 'unknown'],
    ['call.supervision.ended', { status: 'ended' }, 'unknown'],
    ['wallet.low_balance', {}, 'unknown'],
  ]
  for (const [kind, data, state] of cases) {
    t.equal(
      event({ kind, event_id: 'e', data: { call_id: SID, ...data } }).state,
      state,
      `${kind} ${JSON.stringify(data)}`,
    )
  }
  t.end()
})

t.test('the session id is preferred to the REST id', (t) => {
  t.equal(
    event({ kind: 'call.answered', data: { call_id: '2f9c1c5e-0000-4000-8000-000000000000', session_id: SID } })
      .callSid,
    SID,
  )
  t.end()
})

t.test('equal events share a key, and different events differ', (t) => {
  const flat = (more: Record<string, string>): string => event({ sessionId: SID, ...more }).dedupeKey
  t.equal(flat({ callSessionState: 'Completed' }), flat({ callSessionState: 'Completed' }))
  const keys = [
    flat({ callSessionState: 'Completed' }),
    flat({ callSessionState: 'StreamStopped', streamSid: 'ST_1' }),
    flat({ callSessionState: 'StreamStopped', streamSid: 'ST_2' }),
    flat({ callSessionState: 'Ringing', sessionId: 'HD_2' }),
    event({ kind: 'call.completed', data: DATA }).dedupeKey,
    event({ kind: 'call.completed', event_id: 'e1', data: DATA }).dedupeKey,
    event({ kind: 'call.completed', event_id: 'e2', data: DATA }).dedupeKey,
  ]
  t.equal(new Set(keys).size, keys.length)
  t.notOk(
    event({ kind: 'call.completed', event_id: 'x'.repeat(10_000), data: DATA }).dedupeKey.length > 500,
    'a key is bounded',
  )
  t.end()
})

t.test('events of the account are accepted, empty events refused', (t) => {
  const account = (kind: string, data: object) => event({ kind, event_id: 'e', data })
  t.match(account('wallet.low_balance', { balance_minor: 12 }), {
    kind: 'wallet.low_balance',
    callSid: null,
    account: { kind: 'wallet.low_balance', balanceMinor: 12 },
  })
  t.match(account('wallet.top_up', {}), { account: { kind: 'wallet.top_up', balanceMinor: null } })
  t.match(account('storage.tier_changed', { previous_tier_gb: 25, new_tier_gb: 5 }), {
    account: { kind: 'storage.tier_changed', tierGb: 5, previousTierGb: 25 },
  })
  t.equal(account('number.released', {}).account, undefined)
  t.throws(() => event({ hello: 1 }), { code: 'WEBHOOK_MALFORMED', message: /neither a kind/ })
  t.throws(() => event({ kind: 'nodots' }), { code: 'WEBHOOK_MALFORMED' })
  t.end()
})

t.test('a stream status is parsed in any spelling', (t) => {
  const cases: readonly (readonly [Record<string, string>, Partial<StreamStatus>])[] = [
    [{ streamEvent: 'stream-started' }, { event: 'stream-started' }],
    [{ StreamEvent: 'Stream-Stopped' }, { event: 'stream-stopped' }],
    [{ streamStatus: 'stream_error' }, { event: 'stream-error' }],
    [{ event: 'stopped' }, { event: 'stream-stopped' }],
    [{ status: 'started' }, { event: 'stream-started' }],
    [{ status: 'in-progress', event: 'stream-stopped' }, { event: 'stream-stopped' }],
    [{ callSessionState: 'StreamStopped' }, { event: 'stream-stopped' }],
    [{ event: 'weather' }, { event: 'unknown' }],
    [{ a: 'b' }, { event: 'unknown', callSid: null, streamSid: null, error: null }],
    [
      { event: 'stream-started', StreamSid: 'ST_1', CallSid: SID, StreamName: 'order-status' },
      { streamSid: 'ST_1', callSid: SID },
    ],
    [
      { event: 'stream-error', name: 'n', StreamError: 'connect failed to +254700000001: 403' },
      { error: 'connect failed to +2547…01: 403' },
    ],
    [{ event: 'stream-error', error: 'x'.repeat(999) }, { error: 'x'.repeat(200) }],
    [{ event: 'stream-started', error: 'none' }, { error: null }],
  ]
  for (const [fields, expected] of cases) t.match(status(fields), expected, JSON.stringify(fields))
  t.equal(parseStreamStatus(JSON_TYPE, bytes('{"data":{"event":"stream-stopped","sessionId":"HD_1"}}')).callSid, 'HD_1')
  t.end()
})

t.test("a stream status without a call uses its URL's call", (t) => {
  t.equal(status({ event: 'stopped' }, SID).callSid, SID)
  t.equal(
    status({ event: 'stopped', sessionId: 'HD_2' }, SID).callSid,
    'HD_2',
    'so that the edge can see that they differ',
  )
  t.equal(
    status({ event: 'stopped' }, SID).dedupeKey,
    status({ streamEvent: 'stream-stopped', sessionId: SID }).dedupeKey,
  )
  t.not(status({ event: 'stopped' }, SID).dedupeKey, status({ event: 'started' }, SID).dedupeKey)
  t.end()
})

t.test('the parsers throw only typed refusals', (t) => {
  const key = fc.constantFrom(
    'kind',
    'event_kind',
    'data',
    'payload',
    'event',
    'sessionId',
    'name',
    'error',
    'status',
    '__proto__',
  )
  const value = fc.oneof(
    anyText(),
    fc.constantFrom('call.failed', SID, 'stream-error'),
    fc.json().map((text) => JSON.parse(text) as unknown),
  )
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.dictionary(key, value).map((object) => bytes(JSON.stringify(object))),
  )
  fc.assert(
    fc.property(body, fc.constantFrom(JSON_TYPE, FORM, undefined), (raw, type) => {
      for (const read of [() => parseEvent(type, raw), () => parseStreamStatus(type, raw, SID)]) {
        try {
          if (read().dedupeKey.length > 600) return false
        } catch (thrown) {
          if (!(thrown instanceof GatewayError)) return false
        }
      }
      return true
    }),
    { numRuns: 300 },
  )
  t.pass('300 bodies')
  t.end()
})
