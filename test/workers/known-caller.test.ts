import { createServer } from 'node:http'
import t from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import { amdSchema } from '../../src/call/turns/answering-machine-detector.js'
import type { EarlierCall } from '../../src/call/caller-data.js'
import { CallerMemory } from '../../src/fleet/store/caller-memory.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { createLog } from '../../src/telemetry/log.js'
import { callerNews } from '../../src/workers/worker/call-setup.js'
import { httpTool } from './http-tool.js'
import { keptCall, keptState } from '../support/kept-call.js'
import { portOf } from '../support/port-of.js'
import { TestLine, inbound, sid, startHost, time, until } from '../support/host.js'

t.test('each line looks a caller up once an hour', async (t) => {
  let asked = 0
  const api = createServer((_request, response) => {
    asked++
    response.end(JSON.stringify({ name: 'Amina' }))
  })
  const port = await portOf(t, api)
  // The API is a service behind a socket.
  const test = await startHost({ paced: true }, (order) => ({
    ...order,
    greeting: 'Hi {{caller.name}}.',
    tools: [
      ...order.tools,
      ...agentSchema.parse({
        version: 1,
        name: 'a',
        instructions: 'Be brief.',
        tools: [
          {
            name: 'lookup_customer',
            description: 'The customer.',
            http: {
              url: `http://127.0.0.1:${port}/customers`,
              query: { phone: '{{call.from}}' },
              allowPrivate: true,
            },
          },
        ],
      }).tools,
    ],
    caller: { tool: 'lookup_customer', key: 'phone', withinMs: 2000, personal: [], memory: false },
  }))
  t.teardown(() => test.close())
  const call = async (callSid: string, changes: Parameters<typeof inbound>[1] = {}) => {
    const live = test.host.prepare(inbound(callSid, changes))
    const line = new TestLine(live)
    line.start()
    const said = (): string => live.view().transcript[0]?.text ?? ''
    await until(() => said() !== '', 20_000, 'the greeting')
    line.stop()
    live.detach(1000)
    const record = await test.recordOf(callSid)
    return { record, said: record.transcript[0]?.text ?? '' }
  }
  const first = await call('HD_known00001')
  t.match(first.said, /^Hi Amina/)
  t.match(first.record.caller, { source: 'lookup_customer', from: 'tool', state: 'found', fields: ['name'] })
  t.notMatch(JSON.stringify(first.record.caller), /Amina/, 'the values are not kept')
  const second = await call('HD_known00002')
  t.match(second.said, /^Hi Amina/)
  t.match(second.record.caller, { from: 'cache', state: 'found' })
  t.equal(asked, 1)
  test.host.forgetLine('+254700000001')
  t.match((await call('HD_known00003')).record.caller, { from: 'tool' })
  t.equal(asked, 2)
  t.match((await call('HD_known00005', { to: '+254709000009' })).record.caller, { from: 'tool' }, 'another business')
  t.match((await call('HD_known00006', { to: '+254709000009' })).record.caller, { from: 'cache' })
  t.equal(asked, 3)
  const withheld = await call('HD_known00004', { from: '' })
  t.match(withheld.said, /^Hi\./)
  t.match(withheld.record.caller, { state: 'withheld', fields: [] })
  t.equal(asked, 3, 'no number, no request')
})

const GREETINGS = { en: 'Hi {{caller.name}}.', sw: 'Habari {{caller.name}}.' }

t.test('a caller is greeted in the known language', async (t) => {
  const api = createServer((_request, response) => response.end(JSON.stringify({ name: 'Amina', language: 'sw' })))
  const env = { API: `http://127.0.0.1:${await portOf(t, api)}` }
  const test = await startHost({ paced: true, env }, (order) => ({
    ...order,
    greeting: GREETINGS,
    tools: [...order.tools, httpTool('who', {})],
    caller: { tool: 'who', key: 'phone', withinMs: 2000, personal: [], memory: false, language: 'language' },
  }))
  t.teardown(() => test.close())
  for (const [callSid, from] of [
    ['HD_language001', 'tool'],
    ['HD_language002', 'cache'],
  ] as const) {
    const live = test.host.prepare(inbound(callSid))
    const line = new TestLine(live)
    line.start()
    const said = (): string => live.view().transcript[0]?.text ?? ''
    await until(() => said() !== '', 20_000, 'the greeting')
    t.match(said(), /^Habari Amina/, from)
    line.stop()
    live.detach(1000)
    t.match(await test.recordOf(callSid), { caller: { from }, language: 'sw' })
  }
})

t.test("an agent without the call's language begins in its own", async (t) => {
  const test = await startHost({}, (order) => ({ ...order, languages: ['en'], greeting: GREETINGS }))
  t.teardown(() => test.close())
  const call = inbound('HD_language003')
  const { session } = keptCall()
  const kept = keptCall({
    ...{ callSid: call.callSid, from: call.from },
    session: session === null ? null : { ...session, callSid: call.callSid, language: 'sw', greeted: false },
  })
  const live = test.host.prepare(call, keptState(kept))
  const line = new TestLine(live)
  line.start()
  await until(() => live.view().transcript.length > 0, 20_000, 'the greeting')
  t.match(live.view().transcript[0]?.text, /^Hi/)
  line.stop()
  live.detach(1000)
  await test.recordOf(call.callSid)
})

t.test('the last call is remembered unless its caller refused', async (t) => {
  const log = createLog({ level: 'silent' })
  const store = new MemoryStore(time.wallClock)
  const callerMemory = new CallerMemory({
    store,
    secrets: ['a secret of more than 32 characters'],
    wallClock: time.wallClock,
    log,
  })
  const test = await startHost({ callerMemory, recordsKeepMs: () => 86_400_000 }, (order) => ({
    ...order,
    greeting: 'Hi.',
    caller: { key: 'phone', withinMs: 800, personal: [], memory: true },
    outbound: { ...order.outbound, amd: { ...amdSchema.parse({}), onSilence: 'hang-up' } },
    recording: {
      enabled: false,
      consent: null,
      notice: 'This is written down. Press 2 if you do not want that.',
      refusal: { waitMs: 1000, text: 'Nothing is kept.' },
    },
  }))
  t.teardown(() => test.close())
  const call = async (callSid: string, from: string, refuses = false) => {
    const live = test.host.prepare(inbound(callSid, { from }))
    const line = new TestLine(live)
    line.start()
    const heard = (text: string) => () => live.view().transcript.some((entry) => entry.text.startsWith(text))
    await until(heard('This is written'), 20_000, 'the notice')
    if (refuses) live.text([{ type: 'dtmf', digit: '2' }])
    await until(heard('Hi.'), 20_000, 'the greeting')
    line.stop()
    live.detach(1000)
    return test.recordOf(callSid)
  }
  const [keeps, refuses] = ['+254700000001', '+254700000002']
  const verified = async (callSid: string, from: string, refused = false) => {
    const { session, recording } = keptCall()
    const kept = keptCall({
      ...{ callSid: sid(callSid), from, recording: { ...recording, refused } },
      session: session === null ? null : { ...session, callSid: sid(callSid), identity: { account: 'A-1' } },
    })
    const live = test.host.prepare(inbound(callSid, { from }), keptState(kept))
    const line = new TestLine(live)
    line.start()
    await until(() => line.frames.length > 3, 20_000, 'the conversation')
    line.stop()
    live.detach(1000)
    return test.recordOf(callSid)
  }
  const remembered = () => callerMemory.recall(keeps, '+254709000000 order-status')
  t.match((await call('HD_earlier0000', keeps)).caller, { source: 'memory', state: 'unknown', fields: [] })
  t.equal(await remembered(), null, 'a caller who proves nothing leaves nothing')
  await verified('HD_earlier0001', keeps)
  t.match((await call('HD_earlier0002', keeps)).caller, {
    from: 'memory',
    state: 'found',
    fields: ['last_outcome', 'last_days'],
  })
  t.match(await remembered(), { callSid: 'HD_earlier0001' }, 'and does not overwrite what the owner left')
  t.equal((await call('HD_earlier0003', refuses, true)).consent, 'refused')
  await verified('HD_earlier0007', refuses, true)
  t.match((await call('HD_earlier0004', refuses)).caller, { state: 'unknown' })
  const placed = { agent: 'order-status', from: '+254709000000', to: keeps }
  const ringing = test.host.prepare({
    ...{ ...placed, callSid: sid('HD_earlier0006'), direction: 'outbound' },
    placed: {
      ...{ ...placed, clientRequestId: 'p1', orderedAtMs: time.nowMs(), ringMs: 0, variables: {}, externalId: null },
      ...{ leaveMessage: true, promised: false, joins: null },
    },
  })
  new TestLine(ringing).start()
  t.match((await test.recordOf('HD_earlier0006')).outbound, { result: 'silence' })
  t.match(await remembered(), { callSid: 'HD_earlier0001' }, 'nobody was there: the last conversation stays')
  await callerMemory.forget(keeps)
  t.match((await call('HD_earlier0005', keeps)).caller, { state: 'unknown' }, 'its owner was erased')
})

for (const { transcript, left } of [
  { transcript: 'full', left: { order: 'order 4127', paid: true } },
  { transcript: 'masked', left: { order: 'order ####', paid: true } },
  { transcript: 'none', left: {} },
] as const)
  t.test(`caller memory keeps no more than records keep: ${transcript}`, async (t) => {
    const kept: EarlierCall[] = []
    const callerMemory = {
      recall: () => Promise.resolve(null),
      remember: (_caller: string, _line: string, call: EarlierCall) => Promise.resolve(void kept.push(call)),
    }
    const test = await startHost(
      { callerMemory, recordsKeepMs: () => 86_400_000, privacy: { maskNumbers: true, transcript } },
      (order) => ({ ...order, caller: { key: 'phone', withinMs: 800, personal: [], memory: true } }),
    )
    t.teardown(() => test.close())
    const facts = [
      { atMs: 1, name: 'order', value: 'order 4127', from: 'track_order' },
      { atMs: 1, name: 'paid', value: true, from: 'track_order' },
    ]
    const call = inbound('HD_factskept01')
    const { session } = keptCall({ callSid: call.callSid })
    const identity = { account: 'A-1' }
    const owners = keptCall({
      ...{ callSid: call.callSid, from: call.from },
      session: session === null ? null : { ...session, identity },
    })
    const live = test.host.prepare(call, keptState(owners, { facts }))
    const line = new TestLine(live)
    line.start()
    await until(() => line.frames.length > 3, 20_000, 'the words')
    line.stop()
    live.detach(1000)
    await test.recordOf(call.callSid)
    t.match(kept, [{ callSid: call.callSid, outcome: /./ }])
    t.same(kept[0]?.facts, left)
  })

t.test('instructions mention an earlier call only for a verified caller', (t) => {
  const agent = agentSchema.parse({ version: 1, name: 'a', instructions: 'Be brief.' })
  const learns = (earlier: Readonly<Record<string, string>>): string =>
    callerNews({ agent }, { values: {}, earlier }, '').news ?? ''
  t.match(learns({ last_outcome: 'escalated' }), /From the last call of this number: last_outcome = escalated/)
  t.equal(learns({}), '')
  t.end()
})
