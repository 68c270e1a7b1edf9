import t from 'tap'
import { TOOL_ROUNDS_MAX } from '../../src/call/tool-ledger.js'
import { Rig } from '../call/rig.js'

// Models that call tools again and again while the caller hears nothing.

function answered(rig: Rig, callId: string, value: unknown = { status: 'sent' }): void {
  rig.in({ type: 'tool-result', callId, ok: true, value })
}

t.test('the same call again in a turn is answered from the first one, whatever its id', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('a', 'find_order', { order: 5, with: { parcels: true } })
  answered(rig, 'a')
  for (const id of ['b', 'c']) rig.toolCall(id, 'find_order', { with: { parcels: true }, order: 5 })
  t.equal(rig.all('run-tool').length, 1)
  t.match(rig.all('backend-tool-result').at(-1), {
    callId: 'c',
    ok: true,
    value: { remark: /already/, answer: { status: 'sent' } },
  })
  rig.toolCall('d', 'find_order', { order: 6, with: { parcels: true } })
  rig.toolCall('e', 'refund', { order: 5 })
  t.equal(rig.all('run-tool').length, 3, 'another call runs')
})

t.test('a call that failed may be made again', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('a', 'find_order', { order: 5 })
  rig.in({ type: 'tool-result', callId: 'a', ok: false, value: { error: 'no connection' }, error: 'network' })
  rig.toolCall('b', 'find_order', { order: 5 })
  t.equal(rig.all('run-tool').length, 2)
})

for (const [name, args] of [
  ['another argument each time', (i: number) => ({ order: i })],
  ['the same argument', () => ({ order: 5 })],
  ['no argument', () => ({})],
  ['an argument that grows', (i: number) => ({ query: 'x'.repeat(i) })],
  ['two in turn', (i: number) => ({ order: i % 2 })],
] as const) {
  t.test(`after ${TOOL_ROUNDS_MAX} rounds the model answers without tools: ${name}`, async (t) => {
    const rig = Rig.talking()
    for (let i = 0; i < 40; i++) {
      rig.toolCall(`t${i}`, 'find_order', args(i))
      answered(rig, `t${i}`)
    }
    t.ok(rig.all('run-tool').length <= TOOL_ROUNDS_MAX)
    t.equal(rig.all('backend-tool-result').length, 40, 'each call is answered')
    t.match(rig.all('backend-tool-result').at(-1), { ok: false, value: { error: /Call no more: tell the caller/ } })
    t.same(
      rig.all('backend-tools').map(({ offered }) => offered),
      [false],
      'once',
    )
    rig.speak(600)
    rig.run(2000)
    t.same(
      rig.all('backend-tools').map(({ offered }) => offered),
      [false, true],
      'until the caller has said something',
    )
    rig.toolCall('next', 'find_order', { order: 99 }, 2)
    t.equal(rig.all('run-tool').at(-1)?.callId, 'next')
  })
}

t.test('several calls at once are one round', async (t) => {
  const rig = Rig.talking()
  for (let round = 0; round < TOOL_ROUNDS_MAX; round++) {
    for (const part of ['a', 'b', 'c']) rig.toolCall(`${round}${part}`, 'find_order', { order: `${round}${part}` })
    for (const part of ['a', 'b', 'c']) answered(rig, `${round}${part}`)
  }
  t.equal(rig.all('run-tool').length, 3 * TOOL_ROUNDS_MAX)
  t.same(rig.all('backend-tools'), [])
})
