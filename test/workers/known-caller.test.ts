import { createServer } from 'node:http'
import t from 'tap'
import { agentSchema, type AgentDefinition } from '../../src/agents/definition.js'
import { allCallsOn } from '../../src/backends/split.js'
import { agentFacts } from '../../src/gateway/hosted-agents.js'
import { portOf } from '../support/port-of.js'
import { TestLine, inbound, orderStatusAgent, startHost, until } from '../support/host.js'

t.test('a caller is looked up once an hour, whichever worker has the call, and forgotten when erased', async (t) => {
  let asked = 0
  const api = createServer((_request, response) => {
    asked++
    response.end(JSON.stringify({ name: 'Amina' }))
  })
  const port = await portOf(t, api)
  const order = await orderStatusAgent()
  const definition: AgentDefinition = {
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
            http: { url: `http://127.0.0.1:${port}/customers`, query: { phone: '{{call.from}}' }, allowPrivate: true },
          },
        ],
      }).tools,
    ],
    caller: { tool: 'lookup_customer', key: 'phone', withinMs: 2000, personal: [] },
  }
  // The API is a service behind a socket.
  const test = await startHost({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn('embedded') }]]),
    paced: true,
  })
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
  const withheld = await call('HD_known00004', { from: '' })
  t.match(withheld.said, /^Hi\./)
  t.match(withheld.record.caller, { state: 'withheld', fields: [] })
  t.equal(asked, 2, 'no number, no request')
})
