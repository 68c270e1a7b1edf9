import t from 'tap'
import { HumanCalls } from '../../src/escalation/human-calls.js'
import { fleet } from '../fleet/nodes.js'
import { newSid, post, ringing, startGateway } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'

const LIMITS = { calls: 3, perMinute: 10, withheldPercent: 50, exempt: [] }

/** One more call from a number. @returns what its caller gets */
async function call(
  gateway: Gateway,
  from: string,
  change: Readonly<Record<string, string>> = {},
): Promise<'stream' | 'busy' | 'human'> {
  const form = { ...ringing(newSid()), callerNumber: from, ...change }
  const { text } = await post(`${gateway.url}/voice/order-status`, { form })
  return text.includes('<Dial') ? 'human' : text.includes('<Stream') ? 'stream' : 'busy'
}

const refusedFor = (gateway: Gateway, reason: string): Promise<number> =>
  gateway.metric(`mkondo_calls_refused_total{reason="${reason}"}`)

t.test('200 calls of one number take only 3 slots [1]', async (t) => {
  const gateway = await startGateway(t, { callerLimits: LIMITS })
  const got = await Promise.all(Array.from({ length: 200 }, () => call(gateway, '+254700000001')))
  t.equal(got.filter((what) => what === 'stream').length, 3)
  t.equal(got.filter((what) => what === 'busy').length, 197, 'the others hear the words for it')
  t.equal(gateway.calls.started.length, 3, 'no slot and no backend for them')
  t.equal(await refusedFor(gateway, 'caller-calls'), 197)
  t.equal(gateway.calls.refusedCalls.length, 197)
  t.match(gateway.calls.refusedCalls[0], { reason: 'caller-calls', from: '+254700000001', agent: 'order-status' })
  t.equal(await call(gateway, '00254700000001'), 'busy', 'numbers are compared by their digits')
  t.equal(await call(gateway, '+254700000002'), 'stream')
  t.notOk(JSON.stringify(gateway.logged()).includes('254700000001'), 'no number in the log')
})

t.test('a limited caller is not sent to the human either [2]', async (t) => {
  const gateway = await startGateway(t, { callerLimits: LIMITS })
  for (let i = 0; i < 3; i++) await call(gateway, '+254700000001')
  gateway.calls.fill()
  t.equal(await call(gateway, '+254700000001'), 'busy')
  t.equal(await call(gateway, '+254700000002'), 'human', 'a caller with no call yet is')
  const calls = await Promise.all(Array.from({ length: 20 }, () => call(gateway, '+254700000002')))
  t.equal(calls.filter((what) => what === 'human').length, 9, 'ten times in a minute')
})

t.test('a repeat caller is refused until the rate allows it [3]', async (t) => {
  let nowMs = 1000
  const gateway = await startGateway(t, { callerLimits: { ...LIMITS, calls: 1000 }, clock: () => nowMs })
  for (let i = 0; i < 10; i++) t.equal(await call(gateway, '+254700000001'), 'stream')
  t.equal(await call(gateway, '+254700000001'), 'busy')
  t.equal(await refusedFor(gateway, 'caller-rate'), 1)
  t.match(gateway.calls.refusedCalls, [{ reason: 'caller-rate', from: '+254700000001' }])
  nowMs += 6001
  t.equal(await call(gateway, '+254700000001'), 'stream')
})

t.test('withheld numbers share a part of the slots [4]', async (t) => {
  const gateway = await startGateway(t, { callerLimits: LIMITS })
  gateway.calls.capacity = 8
  for (const from of ['anonymous', '', 'Withheld', 'sip:anonymous@anonymous.invalid'])
    t.equal(await call(gateway, from), 'stream')
  t.equal(await call(gateway, 'restricted'), 'busy')
  t.equal(await refusedFor(gateway, 'withheld-calls'), 1)
  t.equal(await call(gateway, '+254700000001'), 'stream')
})

t.test('exempt numbers and outbound calls have no limit', async (t) => {
  const gateway = await startGateway(t, { callerLimits: { ...LIMITS, exempt: ['254200000000'] } })
  for (let i = 0; i < 12; i++) t.equal(await call(gateway, '+254200000000'), 'stream')
  for (let i = 0; i < 12; i++) {
    t.equal(await call(gateway, '+254700000001', { direction: 'outbound', callSessionState: 'Answered' }), 'stream')
  }
  t.equal(await call(gateway, '+254700000001'), 'stream', 'the person who is called may still call')
})

t.test('fallbacks are limited per minute and per number [5]', async (t) => {
  const gateway = await startGateway(t, {
    humanCalls: new HumanCalls({ perNumberPerMinute: 100, fallbacksPerMinute: 5 }),
  })
  gateway.calls.fill()
  const got = await Promise.all(Array.from({ length: 60 }, (_, i) => call(gateway, `+2547000001${10 + i}`)))
  t.equal(got.filter((what) => what === 'human').length, 5)
  t.equal(got.filter((what) => what === 'busy').length, 55)

  const human = new HumanCalls({ perNumberPerMinute: 2, fallbacksPerMinute: 100 })
  t.same(human.fallback(['+254700000009', '+254700000008'], 0), ['+254700000009', '+254700000008'])
  t.ok(human.escalation('+254700000009', 0))
  t.notOk(human.escalation('254700000009', 0), 'an escalation and a fallback count for the same number')
  t.same(human.fallback(['+254700000009', '+254700000008'], 0), ['+254700000008'])
  t.same(human.fallback(['+254700000009', '+254700000008'], 0), [])
  t.same(human.refused, { escalation: 1, fallback: 1 })
  t.same(new HumanCalls({ perNumberPerMinute: 2, fallbacksPerMinute: 0 }).fallback(['+254700000009'], 0), [])
})

t.test("a number's live calls are counted across nodes", async (t) => {
  const it = await fleet(t, 2, { callerLimits: LIMITS })
  const [a, b] = it.gateways as [Gateway, Gateway]
  for (let i = 0; i < 200; i++) await call(i % 2 === 0 ? a : b, '+254700000001')
  const before = a.calls.started.length + b.calls.started.length
  t.ok(before <= 6, `at once no node takes more than its own ${before}`)
  await it.look()
  t.equal(await call(a, '+254700000001'), 'busy')
  t.equal(await call(b, '+254700000001'), 'busy')
  t.notOk(JSON.stringify(it.nodes.map(({ record }) => record)).includes('254700000001'), 'no number in a heartbeat')
})
