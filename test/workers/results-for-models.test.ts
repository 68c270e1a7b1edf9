import t from 'tap'
import type { CallToolRunner } from '../../src/workers/worker/call-tools.js'
import { CallTools } from '../../src/workers/worker/call-tools.js'
import type { CallStart } from '../../src/workers/shared/call-messages.js'

t.test('a model gets null, the session the raw value', async (t) => {
  const value = { status: 'N/A', eta: '#REF!', plan: 'Home' }
  const start = { rootSid: 'HD_1', callSid: 'HD_1', from: '+254700000001', agent: { tools: [] }, resume: null }
  const runner = { run: () => Promise.resolve({ ok: true, value }) }
  const answered: unknown[] = []
  let settle = (): void => undefined
  const over = new Promise<void>((resolve) => (settle = resolve))
  const door = {
    post: () => undefined,
    guard: (work: () => void) => work(),
    handle: (result: unknown) => {
      answered.push(result)
      settle()
    },
  }
  const tools = new CallTools(door, {
    start: start as unknown as CallStart,
    context: { clock: () => 0, wallClock: () => 0 },
    session: { language: 'en', setIdentity: () => undefined },
    journal: null,
    tools: runner as unknown as CallToolRunner,
  })
  tools.run({ type: 'run-tool', callId: 'c1', name: 'find', args: {}, occurrence: 0 })
  await over
  t.match(answered, [{ callId: 'c1', ok: true, value }])
  t.same(tools.forModel('c1', value), { status: null, eta: null, plan: 'Home' })
  t.match(tools.forModel('c1', { orders: [] }), { status: 'no_results', retryable: false, orders: [] })
  t.same(tools.forModel('own', { text: 'hakuna' }), { text: 'hakuna' }, "answers of the gateway's own tools stay")
})
