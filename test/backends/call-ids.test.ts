import t from 'tap'
import { WrittenCalls } from '../../src/backends/cascade/written-calls.js'
import { CallIds } from '../../src/backends/transport/call-ids.js'
import { Line } from './failover/line.js'
import { ScriptedService } from './failover/scripted.js'

t.test('an id identifies a tool call within its response', (t) => {
  const ids = new CallIds()
  t.equal(ids.take('call_0', 1), 'call_0')
  t.equal(ids.take('call_0', 1), null, 'a repetition')
  t.equal(ids.take('call_1', 1), 'call_1')
  t.equal(ids.take('call_0', 2), 'call_0~2')
  t.equal(ids.take('call_0', 3), 'call_0~3')
  t.equal(ids.newest('call_0'), 'call_0~3')
  for (const id of ['call_0', 'call_0~2', 'call_0~3']) t.equal(ids.serviceId(id), 'call_0')
  t.equal(ids.serviceId('other~2'), 'other~2', 'an id that only looks so')
  t.end()
})

t.test('a cascade renames ids that earlier answers or calls have', (t) => {
  const written = new WrittenCalls('call-7', (id) => id === 'lookup:0')
  const piece = (index: number, id: string, name: string, args: string) => ({
    index,
    id,
    function: { name, arguments: args },
  })
  written.collect([piece(0, 'lookup:0', 'lookup', '{"n":1}'), piece(1, 'call_0', 'lookup', '{"n":2}')])
  written.collect([piece(2, 'call_0', 'book', '{"n":3}')])
  t.same(
    written.entries().map(({ callId, argumentsText }) => [callId, argumentsText]),
    [
      ['call-7-0', '{"n":1}'],
      ['call_0', '{"n":2}'],
      ['call-7-2', '{"n":3}'],
    ],
  )
  t.end()
})

t.test('a backend that uses one id in each answer gets each result', async (t) => {
  const service = new ScriptedService('a')
  const line = await Line.greeted(t, service, [service])
  const backend = service.now
  const ask = async (generation: number, order: number): Promise<string> => {
    await line.speech(800)
    backend.call(generation, 'call_0', 'lookup_order', { order })
    const { callId, args } = line.recorder.all('tool-call').at(-1) ?? { callId: '', args: {} }
    t.same(args, { order })
    return callId
  }
  const first = await ask(2, 1)
  const second = await ask(3, 1)
  t.not(second, first, 'the first still runs')
  const resultOf = (callId: string, value: string): void => line.backend.toolResult(callId, { ok: true, value })
  resultOf(second, 'second')
  t.match(backend.fed.at(-1), { type: 'tool-result', callId: 'call_0', reply: { value: 'second' } })
  resultOf(first, 'first')
  t.match(backend.fed.at(-1), { type: 'tool-result', callId: 'call_0', reply: { value: 'first' } })
  const third = await ask(4, 2)
  t.equal(new Set([first, second, third]).size, 3)
  backend.emit({ type: 'tool-cancel', callIds: ['call_0'] })
  t.same(line.recorder.all('tool-cancel').at(-1)?.callIds, [third], 'the newest is cancelled')
})
