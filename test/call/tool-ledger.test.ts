import t from 'tap'
import fc from 'fast-check'
import { CallLog } from '../../src/call/call-log.js'
import type { LoggedToolCall } from '../../src/call/call-log.js'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import { sameJson, ToolLedger } from '../../src/call/tool-ledger.js'
import { TOOL_CALLS_MAX } from '../../src/core/limits.js'
import { Rig } from './rig.js'

t.test('the ledger is bounded: what was answered long ago is forgotten, what runs is not', async (t) => {
  const logged: LoggedToolCall[] = []
  const ledger = new ToolLedger(new CallLog(), (call) => logged.push(call))
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

const TOOLS = ['refund', 'cancel_order'] as const
const ARGS = [{ order: 5 }, { order: 5, amount: { kes: 10, cents: [1] } }, {}] as const
const anyCall = fc.record({ tool: fc.constantFrom(...TOOLS), args: fc.constantFrom(...ARGS) })
type AnyCall = Readonly<{ tool: string; args: Readonly<Record<string, unknown>> }>

/** What happens to a call: its answer, an answer without a known outcome, or its node dies before any. */
const step = fc.record({
  call: anyCall,
  end: fc.constantFrom('answered', 'answered', 'uncertain', 'died', 'died-before-checkpoint'),
})

/** One root call on one node after another, each from what the node before had stored. */
class Nodes {
  log = new CallLog()
  ledger = this.#ledger()
  #ids = 0

  #ledger(running: readonly (AnyCall & { readonly callId: string })[] = []): ToolLedger {
    const before = new Rig().resume.checkpoint
    const resume = parseResume(
      JSON.parse(
        JSON.stringify({
          checkpoint: {
            ...before,
            toolsRunning: running.map(({ callId, tool, args }) => ({ callId, name: tool, args, startMs: 0 })),
          },
          log: this.log.records(),
        }),
      ),
    )
    this.log = new CallLog(resume.log)
    return new ToolLedger(this.log, (call) => this.log.append({ kind: 'tool-call', ...call }), resume)
  }

  /** Another node goes on. @param running  what the dead one had in its checkpoint as running */
  die(running: readonly (AnyCall & { readonly callId: string })[] = []): void {
    this.ledger = this.#ledger(running)
  }

  /** @returns the call's id, and its key without the root SID */
  call({ tool, args }: AnyCall): { readonly callId: string; readonly key: string } {
    const callId = `t${++this.#ids}`
    // Within a turn the same call is not made twice.
    this.ledger.turn()
    const decision = this.ledger.call(callId, tool, args, 0)
    if (decision.type !== 'run') throw new Error(`${tool} is not run: ${decision.type}`)
    return { callId, key: `${tool} ${JSON.stringify(args)} ${decision.occurrence}` }
  }

  answer(callId: string, ok: boolean): void {
    this.ledger.result(callId, { ok, value: {}, error: ok ? undefined : 'TOOL_UNCERTAIN' }, 1, 0)
  }
}

t.test(
  'a call whose outcome is known never has its key again, and one whose outcome is not known has it again',
  async () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const nodes = new Nodes()
        const known = new Set<string>()
        const open = new Map<string, string>()
        for (const { call, end } of steps) {
          const { callId, key } = nodes.call(call)
          if (known.has(key)) throw new Error(`${key} ran twice`)
          const name = JSON.stringify(call)
          if ((open.get(name) ?? key) !== key) throw new Error(`${key} is not ${String(open.get(name))}, which is open`)
          if (end === 'answered') known.add(key)
          if (end === 'answered') open.delete(name)
          else open.set(name, key)
          if (end === 'died') nodes.die([{ callId, ...call }])
          else if (end === 'died-before-checkpoint') nodes.die()
          else nodes.answer(callId, end === 'answered')
        }
      }),
      { numRuns: 300 },
    )
  },
)

t.test('the same call has the same key on the node that had it and on one that goes on from its state', async () => {
  fc.assert(
    fc.property(fc.array(anyCall, { maxLength: TOOL_CALLS_MAX + 20 }), anyCall, (before, next) => {
      const [here, elsewhere] = [new Nodes(), new Nodes()]
      for (const call of before) {
        here.answer(here.call(call).callId, true)
        elsewhere.answer(elsewhere.call(call).callId, true)
      }
      elsewhere.die()
      const [one, other] = [here.call(next).key, elsewhere.call(next).key]
      if (one !== other) throw new Error(`${one} is ${other} elsewhere`)
    }),
    { numRuns: 60 },
  )
})

t.test('a full log forgets calls, and none of their keys comes again', async (t) => {
  const nodes = new Nodes()
  const keys: string[] = []
  for (let i = 0; i < 3 * TOOL_CALLS_MAX; i++) {
    const { callId, key } = nodes.call({ tool: 'refund', args: { order: i % 3 === 0 ? 5 : i } })
    keys.push(key)
    nodes.answer(callId, true)
    if (i % 50 === 0) nodes.die()
  }
  t.equal(new Set(keys).size, keys.length)
})

t.test('while a call runs, the same call under another id is refused', async (t) => {
  const nodes = new Nodes()
  nodes.call({ tool: 'refund', args: { order: 5 } })
  t.match(nodes.ledger.call('other', 'refund', { order: 5 }, 0), { type: 'refuse', error: /still runs/ })
  t.equal(nodes.ledger.call('another', 'refund', { order: 6 }, 0).type, 'run')
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
