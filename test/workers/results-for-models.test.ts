import t from 'tap'
import { recapText, recentTools } from '../../src/backends/prompts.js'
import type { CallToolRunner } from '../../src/workers/worker/call-tools.js'
import { CallTools } from '../../src/workers/worker/call-tools.js'
import { Rig } from '../call/rig.js'
import type { CallStart } from '../../src/workers/shared/call-messages.js'

t.test('the model gets null in place of placeholder values', async (t) => {
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

const FAULTY = { status: 'N/A', eta: '#REF!', plan: 'Home' }
const READ = { status: null, eta: null, plan: 'Home' }

t.test('the next model gets null for placeholder values too', (t) => {
  const entry = { callId: 'c1', name: 'find', args: {}, ok: true, result: FAULTY }
  t.match(recentTools([entry]), [{ callId: 'c1', result: READ }])
  t.notMatch(recapText([], [entry]), /REF|N\/A/)
  t.end()
})

t.test('a repeated tool call gets null for placeholder values', (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order', { order: 5 })
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: FAULTY })
  rig.toolCall('t2', 'find_order', { order: 5 })
  const [first, repeated] = rig.all('backend-tool-result')
  t.match(first, { callId: 't1', value: FAULTY }, 'the session has it as it came')
  t.match(repeated, { callId: 't2', value: { answer: READ } })
  t.end()
})

t.test('the recap of a call back omits placeholder values', (t) => {
  const before = Rig.talking()
  before.toolCall('t1', 'find_order', { order: 5 })
  before.in({ type: 'tool-result', callId: 't1', ok: true, value: FAULTY })
  before.run(500)
  const { checkpoint, log } = before.resume
  const asks = { greeted: false, greetingMs: null, owed: 'nothing', callBack: 'asks' } as const
  const rig = new Rig({}, { checkpoint: { ...checkpoint, ...asks }, log, newStream: { streamMs: 0, consented: true } })
  rig.open()
  rig.ready()
  rig.in({ type: 'dtmf', digit: '1' })
  const told = JSON.stringify(rig.all('backend-text'))
  t.match(told, /Home/)
  t.notMatch(told, /REF|N\/A/)
  t.end()
})
