import t from 'tap'
import type { LoggedToolCall } from '../../src/call/call-log.js'
import { sameJson, ToolLedger } from '../../src/call/tool-ledger.js'
import { TOOL_CALLS_MAX } from '../../src/core/limits.js'
import { Rig } from './rig.js'

t.test('the ledger is bounded: what was answered long ago is forgotten, what runs is not', async (t) => {
  const logged: LoggedToolCall[] = []
  const ledger = new ToolLedger('HD_test', (call) => logged.push(call))
  t.equal(ledger.call('first', 'refund', {}, 0).type, 'run')
  for (let i = 0; i < TOOL_CALLS_MAX + 50; i++) {
    ledger.call(`t${i}`, 'find_order', { i }, i)
    ledger.result(`t${i}`, { ok: true, value: {}, error: undefined }, i + 1, 0)
  }
  t.equal(logged.length, TOOL_CALLS_MAX + 50, 'each once')
  t.equal(ledger.call('t0', 'find_order', { i: 0 }, 999).type, 'run')
  t.equal(ledger.call(`t${TOOL_CALLS_MAX}`, 'find_order', { i: TOOL_CALLS_MAX }, 999).type, 'answer')
  t.same(
    ledger.unanswered(500).map(({ callId, startMs }) => [callId, startMs]),
    [
      ['first', -500],
      ['t0', 499],
    ],
  )
  t.same(ledger.runningIds(), ['first', 't0'])
  t.equal(ledger.call('first', 'refund', {}, 999).type, 'ignore')
  t.equal(ledger.call('first', 'refund', { other: true }, 999).type, 'refuse', 'an id in use is not another call')
})

t.test('arguments are the same whatever their order', async (t) => {
  t.ok(sameJson({ a: 1, b: [1, { c: null }] }, { b: [1, { c: null }], a: 1 }))
  const different = [
    [{ a: 1 }, { a: 2 }],
    [{ a: 1 }, { a: 1, b: 1 }],
    [[1], { 0: 1 }],
    [null, {}],
    [1, '1'],
    [{ a: undefined }, { b: undefined }],
  ]
  for (const [a, b] of different) {
    t.notOk(sameJson(a, b), JSON.stringify([a, b]))
  }
})

t.test('what the model used is added up', async (t) => {
  const rig = Rig.talking()
  const usage = { inputTokens: 10, outputTokens: 5, audioInMs: 2000, audioOutMs: 1000 }
  rig.backend({ type: 'usage', usage })
  rig.backend({ type: 'usage', usage })
  rig.backend({ type: 'expiring', inMs: 60_000 })
  t.same(rig.session.usage, { inputTokens: 20, outputTokens: 10, audioInMs: 4000, audioOutMs: 2000 })
})
