import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { parseCallSid } from '../../src/core/ids.js'
import { CarrierApiError } from '../../src/sautikit-api/http.js'
import type { OutboundCallsOptions } from '../../src/workers/main/outbound-calls.js'
import { callRecordSchema } from '../../src/call/documents/record.js'
import { createLog } from '../../src/telemetry/log.js'
import type { MainThings } from '../../src/workers/main/call/main-part.js'
import { CallParty } from '../../src/workers/main/call/parts/party.js'
import { keptState } from '../support/kept-call.js'
import { outboundCalls } from '../support/outbound-calls.js'

const SID = parseCallSid('HD_0a8d5911d055')
const ORDER = { agent: 'order-status', to: '+254700000001', from: '+254700000000' }

const notTaken = () => Promise.resolve({ status: 'ringing', answeredAt: null })
const soon = () =>
  new Promise((resolve) => {
    setImmediate(resolve)
  })

/** Calls out of a gateway whose time and carrier are the test's. */
function desk(changes: Partial<OutboundCallsOptions> = {}) {
  const records: CallRecord[] = []
  const created: { from: string; to: string; voiceCallbackUrl: string; clientRequestId: string }[] = []
  const hungUp: string[] = []
  const logged: string[] = []
  const due: { readonly atMs: number; readonly work: () => void }[] = []
  const time = { nowMs: 0 }
  const outbound = outboundCalls(
    {
      createCall: (call) => {
        created.push(call)
        return Promise.resolve({ callSid: SID, callId: 'c-1', status: 'ringing' })
      },
      hangup: (callSid) => {
        hungUp.push(callSid)
        return Promise.resolve()
      },
    },
    {
      free: () => 5,
      clock: () => time.nowMs,
      wallClock: () => 0,
      log: createLog({ level: 'debug', destination: { write: (line) => void logged.push(line) } }),
      onUnreached: (record) => {
        records.push(record)
        return Promise.resolve('ok')
      },
      schedule: (ms, work) => {
        const entry = { atMs: time.nowMs + ms, work }
        due.push(entry)
        return () => {
          due.splice(due.indexOf(entry), 1)
        }
      },
      ...changes,
    },
  )
  return {
    outbound,
    records,
    created,
    hungUp,
    logged,
    time,
    pass: (ms: number): void => {
      time.nowMs += ms
      for (const entry of due.filter(({ atMs }) => atMs <= time.nowMs)) {
        due.splice(due.indexOf(entry), 1)
        entry.work()
      }
    },
  }
}

t.test('a placed call is recognised by its label or SID', async (t) => {
  const { outbound, created } = desk()
  const placed = await outbound.place(ORDER)
  t.match(created, [{ from: ORDER.from, to: ORDER.to, voiceCallbackUrl: 'https://gw.example/voice/order-status' }])
  t.equal(placed.callSid, SID)
  t.match(outbound.find(SID, null), { agent: 'order-status', to: ORDER.to })
  const found = outbound.find(parseCallSid('HD_other'), placed.clientRequestId)
  t.match(found, { clientRequestId: placed.clientRequestId })
  t.equal(outbound.find(parseCallSid('HD_stranger'), null), undefined)
  if (found !== undefined) outbound.taken(found)
  t.equal(outbound.waiting, 0)
})

t.test("the first webhook may arrive before the carrier's response", async (t) => {
  let seen: unknown = null
  const { outbound } = desk({
    carrier: {
      createCall: ({ clientRequestId }) => {
        const call = outbound.find(SID, clientRequestId)
        seen = call
        if (call !== undefined) outbound.taken(call)
        return Promise.resolve({ callSid: SID, callId: null, status: 'ringing' })
      },
      hangup: () => Promise.resolve(),
      getCall: notTaken,
    },
  })
  await outbound.place(ORDER)
  t.match(seen, { agent: 'order-status' })
  t.equal(outbound.waiting, 0)
})

for (const [state, result] of [
  ['busy', 'busy'],
  ['no-answer', 'no-answer'],
  ['failed', 'failed'],
  ['refused', 'refused'],
  ['completed', 'no-answer'],
] as const) {
  t.test(`a call that ends ${state} is recorded as ${result} [1]`, async (t) => {
    const { outbound, records, logged, pass } = desk()
    await outbound.place(ORDER)
    pass(4000)
    t.notOk(outbound.state(SID, null, 'ringing'))
    t.ok(outbound.state(SID, null, state))
    t.match(records, [
      {
        callSid: SID,
        direction: 'outbound',
        outcome: 'unreached',
        endReason: 'not-taken',
        outbound: { result, ringMs: 4000 },
      },
    ])
    t.ok(callRecordSchema.safeParse(records[0]).success, 'as the schema says')
    t.notMatch(JSON.stringify(records) + logged.join(''), '254700000001', 'without the number')
    pass(60_000)
    t.equal(records.length, 1)
  })
}

t.test('a call that rings too long is hung up [2]', async (t) => {
  const { outbound, records, hungUp, pass } = desk()
  await outbound.place(ORDER)
  pass(34_000)
  t.same(hungUp, [])
  pass(1000)
  await soon()
  t.same(hungUp, [SID])
  t.match(records, [{ outbound: { result: 'no-answer' }, endDetail: 'it rang long enough' }])
})

t.test("another node's ringing call is not hung up [3]", async (t) => {
  const keys: unknown[] = []
  const carrier = {
    createCall: () => Promise.resolve({ callSid: SID, callId: null, status: 'ringing' }),
    hangup: (_: string, options?: { readonly idempotencyKey: string }) => Promise.resolve(void keys.push(options)),
    getCall: notTaken,
  }
  for (const told of ['lost', 'in-doubt'] as const) {
    const lost = desk({ carrier, onUnreached: () => Promise.resolve(told) })
    await lost.outbound.place(ORDER)
    lost.pass(35_000)
    await soon()
    t.same(keys, [], told)
    t.equal(lost.outbound.counters.elsewhere, 1)
    t.match(lost.logged.at(-1), /no longer owns it/)
  }

  const ours = desk({ carrier, onUnreached: () => Promise.resolve('unknown') })
  const placed = await ours.outbound.place(ORDER)
  ours.pass(35_000)
  await soon()
  t.same(keys, [{ idempotencyKey: `${placed.clientRequestId}:hangup` }])
})

t.test('a call taken by another process is left alone', async (t) => {
  const { outbound, records, pass } = desk({
    carrier: {
      createCall: () => Promise.resolve({ callSid: SID, callId: null, status: 'ringing' }),
      hangup: () => Promise.reject(new Error('nobody may hang up')),
      getCall: () => Promise.resolve({ status: 'answered', answeredAt: '2026-11-20T10:00:00Z' }),
    },
  })
  await outbound.place(ORDER)
  pass(35_000)
  await soon()
  t.same(records, [])
  t.match([outbound.waiting, outbound.counters.elsewhere], [0, 1])
})

t.test('an order rings only fixed lines and mobiles', async (t) => {
  const { outbound, created } = desk({ prefixes: ['+254', '+33'] })
  for (const to of ['+33836123456', '+254900223344', '+254800723253'])
    for (const change of [{ to }, { to: '+254700000002', joins: to }])
      await t.rejects(outbound.place({ ...ORDER, ...change }), { code: 'CALL_REFUSED' })
  await outbound.place({ ...ORDER, to: '+447640123456', joins: ORDER.to })
  t.same(
    created.map(({ to }) => to),
    ['+447640123456'],
    'the operator chose the number of a human',
  )
})

t.test('a forbidden call is refused before the carrier is asked', async (t) => {
  const { outbound, created } = desk({ prefixes: ['+254'] })
  const refused: [object, object][] = [
    [{ to: '0700000001' }, { code: 'CALL_REFUSED' }],
    [{ to: '+2547000000010' }, { code: 'CALL_REFUSED', message: /a number that does not exist in its country/ }],
    [{ from: 'me' }, { code: 'CALL_REFUSED' }],
    [{ from: undefined }, { code: 'CALL_REFUSED' }],
    [{ to: '+12025550143' }, { code: 'CALL_REFUSED', message: /allowed: \+254/ }],
    [{ agent: 'nobody' }, { code: 'AGENT_UNKNOWN', message: /order-status/ }],
  ]
  for (const [change, error] of refused)
    t.match(await outbound.place({ ...ORDER, ...change }).catch((thrown: unknown) => thrown), error)
  await t.rejects(desk({ carrier: null }).outbound.place(ORDER), { message: /SAUTIKIT_API_KEY/ })
  await t.rejects(desk({ voiceUrl: () => null }).outbound.place(ORDER), { message: /PUBLIC_URL/ })
  await t.rejects(desk({ draining: () => true }).outbound.place(ORDER), { code: 'DRAINING' })
  t.same(created, [])
  const desks = desk({ agent: (_, from) => (from === ORDER.from ? undefined : { from: null, ringMs: 1 }) })
  await t.rejects(desks.outbound.place(ORDER), {
    code: 'CALL_REFUSED',
    message: /lacks facts that the agent reads/,
  })
  t.same(desks.created, [], 'nobody is rung who would hear that there is no agent')
})

t.test('calls are limited by slots and per minute', async (t) => {
  const full = desk({ free: () => 2 })
  await full.outbound.place(ORDER)
  await full.outbound.place(ORDER)
  await t.rejects(full.outbound.place(ORDER), { code: 'CAPACITY' })
  const slow = desk({ perMinute: 2 })
  await slow.outbound.place(ORDER)
  await slow.outbound.place(ORDER)
  await t.rejects(slow.outbound.place(ORDER), { code: 'RATE_LIMITED' })
  slow.pass(30_000)
  await t.resolves(slow.outbound.place(ORDER))
  // Who is rung back has a setting of its own, so that orders do not use it up.
  const lost = desk({ perMinute: 0, recoveryPerMinute: 1 })
  const recovers = keptState()
  await lost.outbound.place({ ...ORDER, recovers })
  await t.rejects(lost.outbound.place({ ...ORDER, recovers }), {
    code: 'RATE_LIMITED',
    message: /RECOVERY_PER_MINUTE/,
  })
})

t.test("the carrier's refusal is returned and leaves no order", async (t) => {
  const { outbound, records } = desk({
    carrier: {
      createCall: () =>
        Promise.reject(
          new CarrierApiError('POST /v1/calls: refused', { status: 402, carrierCode: 'wallet.insufficient_funds' }),
        ),
      hangup: () => Promise.resolve(),
      getCall: notTaken,
    },
  })
  await t.rejects(outbound.place(ORDER), { code: 'CARRIER_API' })
  t.equal(outbound.waiting, 0)
  t.match(outbound.counters, { placed: 0, refused: 1 })
  t.same(records, [])
})

t.test('ringing calls are hung up when the gateway stops [4]', async (t) => {
  const { outbound, hungUp, records } = desk()
  await outbound.place(ORDER)
  outbound.close()
  await soon()
  t.same(hungUp, [SID])
  t.match(records, [{ outbound: { result: 'failed' } }])
})

t.test('an order repeated with its key rings once', async (t) => {
  const { outbound, created, time } = desk()
  time.nowMs = 1000
  const order = { ...ORDER, idempotencyKey: 'reminder 7', variables: { name: 'Wanjiru' } }
  const placed = await outbound.place(order)
  t.same(await outbound.place({ ...order }), placed, 'it gets the same answer')
  t.equal(created.length, 1)
  await t.rejects(outbound.place({ ...order, variables: { name: 'Otieno' } }), {
    code: 'CALL_REFUSED',
    message: /idempotencyKey; allowed: a different key/,
  })
  await outbound.place(ORDER)
  t.equal(created.length, 2, 'without a key each order rings')
  const label = created[0]?.clientRequestId
  time.nowMs += 25 * 3_600_000
  outbound.close()
  await outbound.place(order)
  t.equal(created[2]?.clientRequestId, label, 'where the key is forgotten, the carrier knows the label')
})

t.test('a refused order may be repeated with its key', async (t) => {
  let down = true
  const { outbound } = desk({
    carrier: {
      createCall: () =>
        down
          ? Promise.reject(new CarrierApiError('down', { status: 503 }))
          : Promise.resolve({ callSid: SID, callId: null, status: 'ringing' }),
      hangup: () => Promise.resolve(),
      getCall: notTaken,
    },
  })
  const order = { ...ORDER, idempotencyKey: 'k' }
  await t.rejects(outbound.place(order), { code: 'CARRIER_API' })
  down = false
  t.match(await outbound.place(order), { callSid: SID })
})

t.test('a call without required variables is not placed', async (t) => {
  const { outbound, records } = desk({
    agent: () => ({ from: null, ringMs: 30_000, variables: new Set(['name', 'time']) }),
    isOurs: (number) => number === ORDER.from,
  })
  await t.rejects(outbound.place({ ...ORDER, variables: { name: 'Wanjiru' } }), {
    message: /^variables lacks time, which the agent reads/,
  })
  await t.rejects(outbound.place({ ...ORDER, variables: { name: '#REF!', time: 'N/A' } }), {
    message: /^variables lacks name, time, which the agent reads; a word for no value/,
  })
  const variables = { name: 'Wanjiru', time: '09:30' }
  await outbound.place({ ...ORDER, variables, externalId: 'row-7' })
  t.match(outbound.find(SID, null), { variables, externalId: 'row-7' })
  outbound.state(SID, null, 'busy')
  t.match(records, [{ number: ORDER.from, outbound: { result: 'busy', externalId: 'row-7' } }])
  t.notMatch(JSON.stringify(records), /Wanjiru/, 'a record has no variables')
})

t.test('a do-not-call wish spoken by a mailbox is withdrawn', async (t) => {
  const asked: (readonly [number, boolean])[] = []
  let nowMs = 1000
  let written = (_kept: boolean): void => undefined
  const context = {
    wallClock: () => nowMs++,
    onDoNotCall: (_number: string, sinceMs: number, wanted: boolean) => {
      asked.push([sinceMs, wanted])
      return wanted ? new Promise<boolean>((resolve) => (written = resolve)) : Promise.resolve(true)
    },
  }
  const of = { origin: { number: '+254700000001' }, context } as unknown as MainThings
  const party = new CallParty({ mark: () => undefined, send: () => undefined }, of)
  t.equal(await party.isMailbox(), false)
  t.same(asked, [])
  const [kept, off] = [party.wantsNoCalls(), party.isMailbox()]
  t.same(asked, [[1000, true]], 'it is not written yet')
  written(true)
  t.same([await kept, await off], [true, true])
  t.same(asked.slice(1), [[1000, false]], 'what was written at that time')
  t.equal(await party.isMailbox(), false)
})
