import t from 'tap'
import fc from 'fast-check'
import { GatewayError } from '../../src/core/errors.js'
import { parseCallSid } from '../../src/core/ids.js'
import { WEBHOOK_BODY_BYTES_MAX } from '../../src/core/limits.js'
import { normaliseParties, parseVoicePost, parseWebhook } from '../../src/sautikit/webhook.js'
import type { Webhook } from '../../src/sautikit/webhook.js'
import { anyText } from '../support/any-text.js'

const FORM = 'application/x-www-form-urlencoded'
const JSON_TYPE = 'application/json'
const SID = parseCallSid('HD_0a8d5911d055')

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

function form(fields: Record<string, string>): Webhook {
  return parseWebhook(FORM, bytes(new URLSearchParams(fields).toString()))
}

function json(value: unknown): Webhook {
  return parseWebhook(JSON_TYPE, bytes(JSON.stringify(value)))
}

/** The error that `run` is refused with. */
function refusal(run: () => unknown): GatewayError {
  try {
    run()
  } catch (thrown) {
    if (thrown instanceof GatewayError) return thrown
    throw thrown
  }
  throw new Error('it was not refused')
}

t.test('the first webhook is parsed as form and as JSON', (t) => {
  const fields = {
    sessionId: SID,
    callerNumber: '+254700000001',
    destinationNumber: '+254700000002',
    callSessionState: 'Ringing',
    isActive: '1',
    direction: 'inbound',
    durationInSeconds: '0',
  }
  for (const webhook of [form(fields), json({ ...fields, isActive: true, durationInSeconds: 0 })]) {
    t.strictSame(webhook, {
      callSid: SID,
      sidGiven: true,
      sidOfPbx: true,
      from: '+254700000001',
      to: '+254700000002',
      state: 'ringing',
      stateText: 'Ringing',
      kind: null,
      eventId: null,
      streamSid: null,
      direction: 'inbound',
      durationS: 0,
      digits: null,
      clientRequestId: null,
      dedupeKey: `${SID}||Ringing|||`,
    })
  }
  t.end()
})

t.test('every alias of every field is accepted', (t) => {
  const cases: readonly (readonly [Record<string, string>, Partial<Webhook>])[] = [
    ...['sessionId', 'CallId', 'CallSid', 'call_sid', 'call_id', 'callSid', 'SESSIONID', 'session_id', 'call-sid'].map(
      (name) => [{ [name]: SID }, { callSid: SID }] as const,
    ),
    ...['callerNumber', 'From', 'from', 'caller_number', 'CALLERNUMBER'].map(
      (name) => [{ [name]: '+254700000001' }, { from: '+254700000001' }] as const,
    ),
    ...['destinationNumber', 'To', 'to', 'destination_number', 'clientDialedNumber', 'client_dialed_number'].map(
      (name) => [{ [name]: '+254700000002' }, { to: '+254700000002' }] as const,
    ),
    ...['callSessionState', 'CallStatus', 'status'].map(
      (name) => [{ [name]: 'Completed' }, { state: 'completed' }] as const,
    ),
    ...['streamEvent', 'streamStatus', 'StreamEvent'].map(
      (name) => [{ [name]: 'stream-stopped' }, { state: 'stream-stopped' }] as const,
    ),
    ...['streamSid', 'StreamSid', 'stream_sid'].map((name) => [{ [name]: 'ST_01' }, { streamSid: 'ST_01' }] as const),
    ...['Digits', 'digits', 'dtmfDigits'].map((name) => [{ [name]: '12#' }, { digits: '12#' }] as const),
    ...['clientRequestId', 'client_request_id'].map(
      (name) => [{ [name]: 'order-8842' }, { clientRequestId: 'order-8842' }] as const,
    ),
    ...['durationInSeconds', 'duration_seconds'].map((name) => [{ [name]: '76' }, { durationS: 76 }] as const),
    [{ direction: 'OUTBOUND' }, { direction: 'outbound' }],
    [{ direction: 'sideways' }, { direction: null }],
    [{ durationInSeconds: '-3' }, { durationS: null }],
    [{ Digits: '12x' }, { digits: null }],
  ]
  for (const [fields, expected] of cases) {
    t.match(form({ sessionId: SID, ...fields }), expected, JSON.stringify(fields))
    t.match(json({ sessionId: SID, ...fields }), expected, `${JSON.stringify(fields)} as JSON`)
  }
  t.end()
})

t.test('the number dialled in a browser is preferred', (t) => {
  t.equal(
    form({ sessionId: SID, destinationNumber: '+254700000009', clientDialedNumber: '+254700000002' }).to,
    '+254700000002',
  )
  t.end()
})

t.test('numbers are normalised, and withheld numbers are empty', (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['+254700000001', '+254700000001'],
    ['254700000001', '+254700000001'],
    ['00254700000001', '+254700000001'],
    ['+254 700-000 001', '+254700000001'],
    ['sip:+254700000001@pbx.example;user=phone', '+254700000001'],
    ['"Asha" <sip:254700000001@pbx.example>', '+254700000001'],
    ['0700000001', '+254700000001'],
    ['40404', '40404'],
    ['anonymous', ''],
    ['Withheld', ''],
    ['', ''],
    ['agent.asha', 'agent.asha'],
  ]
  for (const [given, expected] of cases) t.equal(form({ sessionId: SID, callerNumber: given }).from, expected, given)
  t.end()
})

t.test('an unescaped plus is restored', (t) => {
  t.equal(parseWebhook(FORM, bytes(`sessionId=${SID}&callerNumber=+254700000001`)).from, '+254700000001')
  t.equal(
    parseWebhook(FORM, bytes(`sessionId=${SID}&callerNumber=+40404`)).from,
    '40404',
    'but none is invented for a short code',
  )
  t.end()
})

t.test('loose and missing content types are accepted', (t) => {
  const asForm = bytes(`sessionId=${SID}`)
  const asJson = bytes(`{"sessionId":"${SID}"}`)
  for (const type of [
    FORM,
    'Application/X-WWW-Form-UrlEncoded; charset=UTF-8',
    `${FORM};charset="utf-8"`,
    undefined,
    '',
  ]) {
    t.equal(parseWebhook(type, asForm).callSid, SID, String(type))
  }
  for (const type of [
    JSON_TYPE,
    'APPLICATION/JSON; Charset=utf8',
    'text/json',
    'application/vnd.sautikit+json',
    undefined,
  ]) {
    t.equal(parseWebhook(type, asJson).callSid, SID, String(type))
  }
  t.equal(parseWebhook(JSON_TYPE, bytes(`\ufeff{"sessionId":"${SID}"}`)).callSid, SID, 'a byte order mark is skipped')
  t.end()
})

t.test('an unreadable body is refused with code and advice', (t) => {
  const deep = `{"sessionId":"${SID}","a":${'['.repeat(2000)}${']'.repeat(2000)}}`
  const cases: readonly (readonly [string, string | undefined, Uint8Array, string, RegExp])[] = [
    ['another type', 'multipart/form-data; boundary=x', bytes('x'), 'CONTENT_TYPE', /application\/json/],
    ['text', 'text/plain', bytes(`sessionId=${SID}`), 'CONTENT_TYPE', /x-www-form-urlencoded/],
    ['another charset', `${FORM}; charset=utf-16`, bytes(`sessionId=${SID}`), 'CONTENT_TYPE', /utf-8/],
    ['too large', FORM, new Uint8Array(WEBHOOK_BODY_BYTES_MAX + 1), 'BODY_TOO_LARGE', /at most 16384/],
    ['empty', FORM, new Uint8Array(0), 'WEBHOOK_MALFORMED', /empty/],
    ['bad UTF-8', FORM, Uint8Array.from([0x73, 0x3d, 0xff, 0xfe]), 'WEBHOOK_MALFORMED', /UTF-8/],
    ['bad UTF-8 in an escape', FORM, bytes('sessionId=%ff%fe'), 'WEBHOOK_MALFORMED', /UTF-8/],
    ['half an escape', FORM, bytes('sessionId=%4'), 'WEBHOOK_MALFORMED', /escape/],
    ['no fields', FORM, bytes('hello'), 'WEBHOOK_MALFORMED', /no fields/],
    ['a list', JSON_TYPE, bytes('[]'), 'WEBHOOK_MALFORMED', /not a JSON object/],
    ['half an object', JSON_TYPE, bytes('{"sessionId":'), 'WEBHOOK_MALFORMED', /not valid JSON/],
    ['two objects', JSON_TYPE, bytes('{}{}'), 'WEBHOOK_MALFORMED', /not valid JSON/],
    ['too deep', JSON_TYPE, bytes(deep), 'WEBHOOK_MALFORMED', /deeper than 8/],
    [
      'too many fields',
      FORM,
      bytes(Array.from({ length: 257 }, (_, i) => `a${i}=1`).join('&')),
      'WEBHOOK_MALFORMED',
      /256 fields/,
    ],
    [
      'too many fields in nests',
      JSON_TYPE,
      bytes(
        JSON.stringify({
          a: Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`a${i}`, 1])),
          b: Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`b${i}`, 1])),
        }),
      ),
      'WEBHOOK_MALFORMED',
      /256 fields/,
    ],
    ['no call', FORM, bytes('callerNumber=%2B254700000001'), 'WEBHOOK_MALFORMED', /sessionId, CallSid/],
    ['an unusable call SID', FORM, bytes('sessionId=a%20b'), 'WEBHOOK_MALFORMED', /64 characters/],
    ['a call SID that is a path', JSON_TYPE, bytes('{"sessionId":"../../etc"}'), 'WEBHOOK_MALFORMED', /64 characters/],
  ]
  for (const [name, type, body, code, message] of cases) {
    const error = refusal(() => parseWebhook(type, body))
    t.equal(error.code, code, name)
    t.match(error.message, message, `${name}: message`)
    t.notMatch(error.message, /2547/, `${name}: nothing of the body`)
  }
  t.end()
})

t.test('the first non-empty value of a repeated field counts', (t) => {
  t.equal(parseWebhook(FORM, bytes(`sessionId=&sessionId=${SID}&sessionId=HD_other`)).callSid, SID)
  t.equal(parseWebhook(FORM, bytes(`to[]=&To=%2B254700000002&sessionId=${SID}`)).to, '+254700000002')
  t.equal(json({ sessionId: [SID, 'HD_other'], to: ['+254700000002'] }).callSid, SID)
  t.equal(json({ sessionId: null, CallSid: SID }).callSid, SID)
  t.end()
})

t.test('a hostile key reaches no prototype', (t) => {
  const hostile =
    `{"sessionId":"${SID}","__proto__":{"direction":"outbound","polluted":1},` +
    '"constructor":{"prototype":{"polluted":1}}}'
  const webhook = parseWebhook(JSON_TYPE, bytes(hostile))
  t.equal(webhook.direction, null)
  t.equal(({} as Record<string, unknown>)['polluted'], undefined)
  t.equal(parseWebhook(FORM, bytes(`sessionId=${SID}&__proto__[polluted]=1&__proto__=1`)).callSid, SID)
  t.equal(({} as Record<string, unknown>)['polluted'], undefined)
  t.end()
})

t.test('a stream event overrides the state unless the leg ended', (t) => {
  t.equal(form({ sessionId: SID, callSessionState: 'Answered', streamEvent: 'stream-stopped' }).state, 'stream-stopped')
  t.equal(form({ sessionId: SID, callSessionState: 'Answered', streamStatus: 'started' }).state, 'stream-started')
  t.equal(form({ sessionId: SID, callSessionState: 'Completed', streamEvent: 'stream-stopped' }).state, 'completed')
  t.end()
})

t.test('an event at the voice URL is recognised', (t) => {
  const webhook = json({
    kind: 'call.completed',
    event_id: 'evt_1',
    data: { call_id: SID, from: '254700000001', status: 'completed' },
  })
  t.match(webhook, {
    kind: 'call.completed',
    eventId: 'evt_1',
    callSid: SID,
    from: '+254700000001',
    state: 'completed',
  })
  t.end()
})

t.test("a call's id comes only from its `call` object", (t) => {
  t.match(json({ call: { id: SID } }), { callSid: SID, sidOfPbx: true })
  t.match(json({ kind: 'call.started', data: { id: 'evt_1', call: { sid: SID } } }), { callSid: SID })
  t.match(json({ call: { id: 'a-rest-id', session_id: SID } }), { callSid: SID }, "the PBX's own name is preferred")
  t.match(json({ data: { call_id: 'a-rest-id' } }), { callSid: 'a-rest-id', sidOfPbx: false })
  for (const value of [{ id: SID }, { data: { id: SID } }, { data: { number: { id: SID } } }, { call: SID }]) {
    t.throws(() => json(value), { code: 'WEBHOOK_MALFORMED', message: /names no call/ })
  }
  t.end()
})

t.test('the voice URL accepts events without a call', (t) => {
  const read = (value: unknown): Webhook | null => parseVoicePost(JSON_TYPE, bytes(JSON.stringify(value)))
  t.equal(read({ kind: 'wallet.low_balance', data: { balance_minor: 12 } }), null)
  t.match(read({ kind: 'call.started', data: { call_id: SID } }), { callSid: SID, kind: 'call.started' })
  t.throws(() => read({ data: { balance_minor: 12 } }), { code: 'WEBHOOK_MALFORMED', message: /names no call/ })
  t.throws(() => read({ kind: 'call.started', data: { call_id: 'no id' } }), { code: 'WEBHOOK_MALFORMED' })
  t.end()
})

t.test("a state's text is short, printable and without numbers", (t) => {
  t.equal(
    form({ sessionId: SID, callSessionState: 'Failed\n\u0000to +254700000001 x'.padEnd(300, 'y') }).stateText?.includes(
      '2547000',
    ),
    false,
  )
  t.equal(form({ sessionId: SID, callSessionState: 'Ring\u0007ing' }).stateText, 'Ringing')
  t.end()
})

t.test('an inbound call from our own number swaps the parties', (t) => {
  const owned = ['+254 700 000 002']
  const flipped = form({ sessionId: SID, callerNumber: '254700000002', destinationNumber: '+254700000001' })
  t.match(normaliseParties(flipped, owned), { from: '+254700000001', to: '+254700000002' })
  const right = form({ sessionId: SID, callerNumber: '+254700000001', destinationNumber: '+254700000002' })
  t.match(normaliseParties(right, owned), { from: '+254700000001', to: '+254700000002' })
  const outbound = form({
    sessionId: SID,
    direction: 'outbound',
    callerNumber: '+254700000002',
    destinationNumber: '+254700000001',
  })
  t.match(
    normaliseParties(outbound, owned),
    { from: '+254700000002' },
    'an outbound call has our number as caller by right',
  )
  const both = form({ sessionId: SID, callerNumber: '+254700000002', destinationNumber: '+254700000002' })
  t.match(normaliseParties(both, owned), { from: '+254700000002', to: '+254700000002' })
  t.equal(normaliseParties(flipped, []), flipped, 'nothing is changed while no number is known')
  const withheld = form({ sessionId: SID, destinationNumber: '+254700000002' })
  t.match(normaliseParties(withheld, ['', ...owned]), { from: '', to: '+254700000002' })
  t.end()
})

t.test('any bytes give a webhook or a typed refusal', (t) => {
  const word = fc.oneof(anyText(20), fc.constantFrom('sessionId', 'data', '__proto__', 'From', SID, '+254700000001'))
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 6 },
      word,
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('any'), { maxLength: 4 }),
      fc.dictionary(word, tie('any'), { maxKeys: 5 }),
    ),
  })).any
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 400 }),
    value.map((v) => bytes(JSON.stringify(v))),
    fc.array(fc.tuple(word, word)).map((pairs) => bytes(pairs.map(([k, v]) => `${k}=${v}`).join('&'))),
  )
  fc.assert(
    fc.property(fc.constantFrom(FORM, JSON_TYPE, undefined), body, (type, raw) => {
      try {
        return /^[A-Za-z0-9_-]{1,64}$/.test(parseWebhook(type, raw).callSid)
      } catch (thrown) {
        return (
          thrown instanceof GatewayError &&
          ['WEBHOOK_MALFORMED', 'BODY_TOO_LARGE', 'CONTENT_TYPE'].includes(thrown.code)
        )
      }
    }),
    { numRuns: 1000 },
  )
  t.pass('1,000 bodies')
  t.end()
})

t.test('form fields survive a form encoder', (t) => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', maxLength: 60 }).filter((s) => s.trim() !== ''),
      (label) => {
        const webhook = form({ sessionId: SID, clientRequestId: label })
        return webhook.clientRequestId === label
      },
    ),
    { numRuns: 1000 },
  )
  t.pass('labels come back verbatim')
  t.end()
})
