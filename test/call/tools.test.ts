import fc from 'fast-check'
import t from 'tap'
import { CallLog } from '../../src/call/call-log.js'
import { type LoggedToolCall } from '../../src/call/documents/log-entry.js'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import { sessionTools } from '../../src/call/tools/gateway-tools.js'
import { OFFER } from '../support/tool-offer.js'
import { sameJson, TOOL_ROUNDS_MAX, ToolLedger, TOOLS_RUNNING_MAX } from '../../src/call/tools/tool-ledger.js'
import { TOOL_CALLS_MAX } from '../../src/core/limits.js'
import { escalation, Rig } from './rig.js'

t.test('a tool runs once and returns one result', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order', { order: 5 })
  t.same(rig.only('run-tool'), {
    type: 'run-tool',
    callId: 't1',
    name: 'find_order',
    args: { order: 5 },
    occurrence: 0,
  })
  rig.toolCall('t1', 'find_order', { order: 5 })
  t.equal(rig.all('run-tool').length, 1, 'not run twice while it runs')
  rig.run(200)
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: { status: 'sent' } })
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: { status: 'again' } })
  t.same(rig.only('backend-tool-result'), {
    type: 'backend-tool-result',
    callId: 't1',
    ok: true,
    value: { status: 'sent' },
  })
  t.equal(rig.session.counters.toolResultsLate, 1)
  t.match(rig.toolCalls, [{ name: 'find_order', args: { order: 5 }, ms: 200, ok: true }])
})

t.test('a repeated call is answered with its earlier result', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'refund', { order: 5 })
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: 'done' })
  rig.toolCall('t1', 'refund', { order: 5 })
  t.equal(rig.all('run-tool').length, 1)
  t.same(
    rig.all('backend-tool-result').map(({ value }) => value),
    ['done', 'done'],
  )
})

t.test('a reused id with other arguments is a new call', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'refund', { order: 5 })
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: 'done' })
  rig.toolCall('t1', 'refund', { order: 6 })
  t.same(
    rig.all('run-tool').map(({ args, occurrence }) => [args, occurrence]),
    [
      [{ order: 5 }, 0],
      [{ order: 6 }, 0],
    ],
  )
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: 'done' })
  rig.toolCall('t2', 'refund', { order: 5 })
  t.equal(rig.all('run-tool').at(-1)?.occurrence, 1)
})

t.test('a tool that an unavailable store prevented keeps its key', async (t) => {
  const rig = Rig.talking()
  for (const callId of ['t1', 't2']) {
    rig.toolCall(callId, 'refund', { order: 5 })
    rig.in({ type: 'tool-result', callId, ok: false, value: null, error: 'STORE_DOWN' })
  }
  rig.toolCall('t3', 'refund', { order: 5 })
  rig.in({ type: 'tool-result', callId: 't3', ok: false, value: null, error: 'declined' })
  rig.toolCall('t4', 'refund', { order: 5 })
  t.same(
    rig.all('run-tool').map(({ occurrence }) => occurrence),
    [0, 0, 0, 1],
    'another node, which has not seen the first two, gives the third the same',
  )
})

t.test('unknown tools and bad arguments are answered with an error', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'launch_rocket')
  rig.backend({ type: 'tool-call', callId: 't2', name: 'refund', args: {}, generation: 1, invalid: 'order is missing' })
  t.same(rig.all('run-tool'), [])
  t.match(rig.all('backend-tool-result'), [
    { callId: 't1', ok: false, value: { error: /no tool named launch_rocket/ } },
    { callId: 't2', ok: false, value: { error: 'order is missing' } },
  ])
  t.equal(rig.session.counters.toolCallsRefused, 2)
})

t.test('too many tools at once are refused', async (t) => {
  const rig = Rig.talking()
  for (let i = 0; i <= TOOLS_RUNNING_MAX; i++) rig.toolCall(`t${i}`, 'find_order', { order: i })
  t.equal(rig.all('run-tool').length, TOOLS_RUNNING_MAX)
  t.match(rig.only('backend-tool-result'), { callId: `t${TOOLS_RUNNING_MAX}`, ok: false })
})

t.test('a failed tool is answered with its error [7]', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.in({ type: 'tool-result', callId: 't1', ok: false, value: undefined, error: 'HTTP 500' })
  t.match(rig.only('backend-tool-result'), { ok: false, value: { error: 'HTTP 500' } })
  t.match(rig.toolCalls, [{ ok: false, error: 'HTTP 500' }])
})

t.test('fillers bridge a slow tool while nobody speaks [5]', async (t) => {
  const rig = Rig.talking()
  rig.answer(2, 'a2', 1000, 'Your order, yes.')
  rig.toolCall('t1', 'find_order', {}, 2)
  rig.run(1100)
  t.same(rig.texts(), [], 'the agent is still heard')
  rig.run(700)
  t.same(rig.texts(), ['One moment, please.'])
  rig.run(6900)
  t.equal(rig.texts().length, 1)
  rig.run(300)
  t.same(rig.texts(), ['One moment, please.', 'I am still looking, thank you for waiting.'])
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  rig.run(3000)
  t.equal(rig.texts().length, 2)
})

t.test("a turn gets one filler, including the model's own", async (t) => {
  const own = Rig.talking()
  own.answer(2, 'a2', 1000, 'Sawa, ngoja niangalie.')
  own.toolCall('t1', 'find_order', {}, 2)
  own.run(6900)
  t.same(own.texts(), [])
  own.run(300)
  t.equal(own.texts().length, 1, 'the silence is too long then')

  const tools = Rig.talking()
  tools.speak(500)
  tools.run(640)
  tools.toolCall('t1', 'find_order', { order: 1 })
  tools.run(1500)
  tools.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  tools.toolCall('t2', 'find_order', { order: 2 })
  tools.run(3000)
  tools.backend({ type: 'holding' })
  tools.run(100)
  t.same(tools.texts(), ['One moment, please.'])
})

t.test('only a late answer to a question gets a filler', async (t) => {
  const afterWords = (words: string | null): Rig => {
    const rig = Rig.talking()
    rig.speak(500)
    rig.run(640)
    if (words !== null) rig.heardWords(words)
    rig.run(1840)
    t.same(rig.texts(), [])
    rig.run(200)
    return rig
  }
  const late = afterWords('Where is my order?')
  t.same(late.texts(), ['One moment, please.'])
  late.run(8000)
  t.equal(late.texts().length, 1)
  t.same(afterWords('Habari yako?').texts(), [])
  t.same(afterWords(null).texts(), [])
})

t.test('an answer cancels a filler that has not begun', async (t) => {
  const rig = Rig.talking()
  rig.announceMs = null
  rig.toolCall('t1', 'find_order')
  rig.run(800)
  const { itemId } = rig.only('announce')
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  rig.backend({ type: 'turn-start', generation: 2 })
  t.ok(rig.audio(2, 'a2', 1000))
  t.same(rig.only('announce-cancel'), { type: 'announce-cancel', itemId })
  rig.in({ type: 'announce-failed', itemId })
  rig.run(500)
  t.same(rig.all('backend-interrupt'), [])
  t.ok(rig.audio(2, 'a2', 500), 'more of the answer is taken')
  t.same(rig.all('backend-text'), [], 'the model learns of no filler')

  const sounding = Rig.talking()
  sounding.toolCall('t1', 'find_order')
  sounding.run(900)
  sounding.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  sounding.answer(2, 'a2', 1000)
  t.same(sounding.all('announce-cancel'), [], 'what the caller hears is said to its end')
})

t.test('a filler waits while the caller speaks', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.speak(1000)
  t.same(rig.texts(), [])
  rig.run(720)
  t.equal(rig.texts().length, 1)
})

t.test('a call that the backend cancels returns no result', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.backend({ type: 'tool-cancel', callIds: ['t1', 'unknown'] })
  t.same(rig.only('cancel-tools').callIds, ['t1'])
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  t.same(rig.all('backend-tool-result'), [])
  t.match(rig.toolCalls, [{ ok: false, error: 'cancelled' }])
})

t.test('a quiet tool needs an answer only if it fails', async (t) => {
  const rig = Rig.talking({ responseFailedText: 'Sorry.' })
  const quiet = (callId: string): void =>
    rig.backend({ type: 'tool-call', callId, name: 'find_order', args: { callId }, generation: 1, quiet: true })
  quiet('t1')
  rig.run(3000)
  t.same(rig.texts(), [], 'no filler')
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  t.match(rig.all('backend-tool-result'), [{ callId: 't1', ok: true }])
  rig.run(13_000)
  t.notOk(rig.texts().includes('Sorry.'), 'no apology for an answer that nobody owes')
  quiet('t2')
  rig.in({ type: 'tool-result', callId: 't2', ok: false, value: {}, error: 'failed' })
  rig.run(13_000)
  t.ok(rig.texts().includes('Sorry.'), 'a failure must be told')
})

t.test('a background tool gets a filler only after a question', async (t) => {
  for (const ok of [true, false]) {
    const rig = Rig.talking({ responseFailedText: 'Sorry.' })
    rig.backend({ type: 'tool-call', callId: 't1', name: 'find_order', args: {}, generation: 1, background: true })
    rig.run(3000)
    t.same(rig.texts(), [], 'no filler')
    rig.speak(600)
    rig.run(3000)
    t.ok(rig.texts().length > 0, 'a filler, now that the caller has asked')
    rig.answer(2, 'known', 500, 'It is on its way.')
    rig.in({ type: 'tool-result', callId: 't1', ok, value: {}, ...(ok ? {} : { error: 'failed' }) })
    rig.run(13_000)
    t.notOk(rig.texts().includes('Sorry.'), 'no apology')
  }
})

t.test('a tool call during speech cuts off no audio', async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'turn-start', generation: 1 })
  rig.audio(1, 'word', 1500)
  rig.toolCall('t1', 'find_order')
  rig.backend({ type: 'audio-done', generation: 1, itemId: 'word' })
  rig.backend({ type: 'turn-done', generation: 1, status: 'completed' })
  rig.run(200)
  // The rest of the word, and then the answer: both come while the beginning is still played.
  t.ok(rig.audio(2, 'rest', 500))
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  t.ok(rig.audio(3, 'found', 800))
  rig.run(4000)
  for (const [itemId, ms] of Object.entries({ word: 1500, rest: 500, found: 800 }))
    t.equal(rig.ledger.playedMs(itemId, rig.nowMs), ms, itemId)
})

t.test('a tool without an answer is cancelled in time [6]', async (t) => {
  const rig = Rig.talking({ toolLimitMs: 5000 })
  rig.toolCall('t1', 'find_order')
  rig.run(2000)
  rig.toolCall('t2', 'refund')
  rig.run(3020)
  t.match(rig.all('backend-tool-result'), [{ callId: 't1', ok: false }])
  rig.run(2000)
  t.match(rig.all('backend-tool-result'), [{ callId: 't1' }, { callId: 't2', ok: false }])
  t.same(
    rig.all('cancel-tools').map(({ callIds }) => callIds),
    [['t1'], ['t2']],
  )
})

t.test('tools are cancelled when the caller hangs up [1]', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.in({ type: 'stream-closed', code: 1000 })
  t.same(rig.only('cancel-tools').callIds, ['t1'])
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  t.same(rig.all('backend-tool-result'), [])
})

t.test('`end_call` lets the agent finish, then ends the call [2]', async (t) => {
  const rig = Rig.talking()
  rig.answer(2, 'bye', 2000, 'Goodbye then.')
  rig.toolCall('e1', 'end_call', { reason: 'served' }, 2)
  rig.run(2000)
  t.same(rig.all('end-stream'), [], 'still heard')
  rig.run(800)
  t.match(rig.only('end-stream'), { code: 1000, reason: 'agent-goodbye', detail: 'served', hangup: true })
  t.same(rig.texts(), [], 'the agent said goodbye itself')
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'contained', reason: 'agent-goodbye' })
  t.match(rig.toolCalls, [{ name: 'end_call', ok: true }])
})

t.test("`end_call` without speech gets the gateway's goodbye", async (t) => {
  const rig = Rig.talking()
  rig.speak(400)
  rig.run(700)
  rig.toolCall('e1', 'end_call', {}, 2)
  t.same(rig.texts(), ['Thank you for calling. Goodbye.'])
  rig.run(900)
  t.same(rig.all('end-stream'), [])
  rig.run(1000)
  t.equal(rig.all('end-stream').length, 1)
})

t.test('a goodbye before the end of turn answers that turn', async (t) => {
  const rig = Rig.talking()
  const before = rig.session.log.turns.length
  rig.speak(400)
  rig.run(300)
  rig.backend({ type: 'transcript', role: 'caller', text: 'no thank you', final: true, itemId: 'c9', generation: 2 })
  rig.toolCall('e1', 'end_call', {}, 2)
  rig.run(3000)
  t.equal(rig.all('end-stream').length, 1)
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'contained', reason: 'agent-goodbye' }, 'nobody was waiting')
  t.match(rig.session.log.turns.slice(before), [{ answerMs: Number }])
})

t.test('an escalation announcement answers the open turn', async (t) => {
  const rig = Rig.talking({ escalation })
  const before = rig.session.log.turns.length
  rig.speak(400)
  rig.run(300)
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked', summary: 's' }, 2)
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  rig.run(3000)
  t.match(rig.all('announce'), [{ text: 'Connecting you.' }])
  t.match(rig.session.log.turns.slice(before), [{ answerMs: Number }])
})

t.test("speech over the agent's goodbye cancels the end [3]", async (t) => {
  const rig = Rig.talking()
  rig.answer(2, 'bye', 2000, 'Goodbye then.')
  rig.toolCall('e1', 'end_call', {}, 2)
  rig.run(500)
  rig.speak(400)
  t.equal(rig.session.state, 'live')
  t.match(rig.only('backend-tool-result'), { callId: 'e1', ok: false, value: { error: /call goes on/ } })
  rig.run(3000)
  t.same(rig.all('end-stream'), [])
  t.ok(rig.audio(3, 'a3', 500), 'the agent is heard again')
})

t.test("arguments of the gateway's tools are checked", async (t) => {
  t.same(
    sessionTools(OFFER).map(({ name }) => name),
    ['escalate_to_human', 'request_callback', 'end_call'],
  )
  const rig = Rig.talking({ escalation })
  rig.toolCall('e1', 'escalate_to_human', {})
  rig.toolCall('e2', 'escalate_to_human', { reason: 5 })
  rig.toolCall('e3', 'end_call', { reason: [] })
  t.match(rig.all('backend-tool-result'), [
    { callId: 'e1', ok: false },
    { callId: 'e2', ok: false },
    { callId: 'e3', ok: false },
  ])
  t.equal(rig.session.state, 'live')

  const alone = Rig.talking()
  alone.toolCall('e1', 'escalate_to_human', { reason: 'asked' })
  t.match(alone.only('backend-tool-result'), { ok: false, value: { error: /No human/ } })
})

t.test('cancelled calls and calls after the bridge do not run', async (t) => {
  const rig = Rig.talking({ escalation })
  rig.toolCall('t1', 'find_order', { order: 5 }, 2)
  rig.backend({ type: 'tool-cancel', callIds: ['t1'] })
  rig.toolCall('t1', 'find_order', { order: 5 }, 2)
  t.equal(rig.all('run-tool').length, 1)
  t.match(rig.all('backend-tool-result').at(-1), { callId: 't1', ok: false, value: { error: /cancelled/ } })
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked' }, 3)
  rig.in({ type: 'escalation', step: { type: 'bridged', strategy: 'supervision' } })
  rig.toolCall('t2', 'find_order', { order: 6 }, 4)
  t.equal(rig.all('run-tool').length, 1)
})

t.test('the ledger forgets old answers but keeps running calls', async (t) => {
  const logged: LoggedToolCall[] = []
  const at = { nowMs: 0, zeroMs: 0 }
  const ledger = new ToolLedger(
    new CallLog(),
    (call) => logged.push(call),
    () => at,
  )
  t.equal(ledger.call('first', 'refund', {}).type, 'run')
  for (let i = 0; i < TOOL_CALLS_MAX + 50; i++) {
    at.nowMs = i
    ledger.call(`t${i}`, 'find_order', { i })
    ledger.result(`t${i}`, { ok: true, value: {}, error: undefined })
  }
  t.equal(logged.length, TOOL_CALLS_MAX + 50, 'each once')
  at.nowMs = 999
  t.equal(ledger.call('t0', 'find_order', { i: 0 }).type, 'run')
  t.equal(ledger.call(`t${TOOL_CALLS_MAX}`, 'find_order', { i: TOOL_CALLS_MAX }).type, 'answer')
  at.zeroMs = 500
  t.same(
    ledger.unanswered().map(({ callId, startMs }) => [callId, startMs]),
    [
      ['first', -500],
      ['t0', 499],
    ],
  )
  t.same(ledger.runningIds(), ['first', 't0'])
  t.equal(ledger.call('first', 'refund', {}).type, 'ignore')
  t.equal(ledger.call('first', 'refund', { other: true }).type, 'refuse', 'an id in use is not another call')
})

const TOOLS = ['refund', 'cancel_order'] as const
const ARGS = [{ order: 5 }, { order: 5, amount: { kes: 10, cents: [1] } }, {}] as const
const anyCall = fc.record({ tool: fc.constantFrom(...TOOLS), args: fc.constantFrom(...ARGS) })
type AnyCall = Readonly<{ tool: string; args: Readonly<Record<string, unknown>> }>

/** Fate of a call: its answer, an answer without a known outcome, or its node dies before any. */
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
    const log = (call: LoggedToolCall): void => this.log.append({ kind: 'tool-call', ...call })
    return new ToolLedger(this.log, log, () => ({ nowMs: 1, zeroMs: 0 }), resume)
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
    const decision = this.ledger.call(callId, tool, args)
    if (decision.type !== 'run') throw new Error(`${tool} is not run: ${decision.type}`)
    return { callId, key: `${tool} ${JSON.stringify(args)} ${decision.occurrence}` }
  }

  answer(callId: string, ok: boolean): void {
    this.ledger.result(callId, { ok, value: {}, error: ok ? undefined : 'TOOL_UNCERTAIN' })
  }
}

t.test('only a call without known outcome reuses its key [8]', async () => {
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
})

t.test('another node gives the same call the same key', async () => {
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

t.test('calls dropped from a full log keep their keys used', async (t) => {
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

t.test('a running call under another id is refused', async (t) => {
  const nodes = new Nodes()
  nodes.call({ tool: 'refund', args: { order: 5 } })
  t.match(nodes.ledger.call('other', 'refund', { order: 5 }), { type: 'refuse', error: /still runs/ })
  t.equal(nodes.ledger.call('another', 'refund', { order: 6 }).type, 'run')
})

t.test('arguments are compared without their order', async (t) => {
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

t.test("the model's usage is added up", async (t) => {
  const rig = Rig.talking()
  const usage = { inputTokens: 10, outputTokens: 5, audioInMs: 2000, audioOutMs: 1000 }
  rig.backend({ type: 'usage', usage })
  rig.backend({ type: 'usage', usage })
  rig.backend({ type: 'expiring', inMs: 60_000 })
  t.same(rig.session.usage, { inputTokens: 20, outputTokens: 10, audioInMs: 4000, audioOutMs: 2000 })
})

// Models that call tools again and again while the caller hears nothing.

function answered(rig: Rig, callId: string, value: unknown = { status: 'sent' }): void {
  rig.in({ type: 'tool-result', callId, ok: true, value })
}

t.test('an identical call in a turn returns the first result', async (t) => {
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

t.test('a failed call may run again', async (t) => {
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
  t.test(`after ${TOOL_ROUNDS_MAX} rounds tools are withdrawn: ${name}`, async (t) => {
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

t.test('several calls at once count as one round', async (t) => {
  const rig = Rig.talking()
  for (let round = 0; round < TOOL_ROUNDS_MAX; round++) {
    for (const part of ['a', 'b', 'c']) rig.toolCall(`${round}${part}`, 'find_order', { order: `${round}${part}` })
    for (const part of ['a', 'b', 'c']) answered(rig, `${round}${part}`)
  }
  t.equal(rig.all('run-tool').length, 3 * TOOL_ROUNDS_MAX)
  t.same(rig.all('backend-tools'), [])
})

for (const name of ['do_not_call', 'send_digits'])
  t.test(`${name} without confirmation fails when the call ends`, async (t) => {
    for (const end of ['agent-goodbye', 'caller-hung-up'] as const) {
      const rig = Rig.talking({ sendsDigits: true, placed: true })
      rig.toolCall('n1', name, name === 'send_digits' ? { digits: '1'.repeat(60) } : {}, 1)
      if (end === 'agent-goodbye') {
        rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: false })
        rig.run(500)
      }
      rig.in({ type: 'stream-closed', code: 1000 })
      t.equal(rig.all('ended').length, 1)
      const [made] = rig.toolCalls.filter((call) => call.name === name)
      t.match(made, { ok: false }, end)
      if (name === 'do_not_call') t.equal(made?.error, 'TOOL_UNCERTAIN')
    }
  })

t.test('a requested end succeeds when the call ends', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('e1', 'end_call', { reason: 'done' }, 1)
  rig.toolCall('n1', 'do_not_call', {}, 1)
  rig.run(4000)
  rig.in({ type: 'stream-closed', code: 1000 })
  const ends = rig.toolCalls.map(({ name, ok }) => [name, ok])
  t.ok(ends.some(([name, ok]) => name === 'end_call' && ok))
  t.notOk(ends.some(([name, ok]) => name === 'do_not_call' && ok))
})

t.test('a do-not-call request succeeds only once written [4]', (t) => {
  const rig = Rig.talking()
  rig.toolCall('n1', 'do_not_call', {})
  t.match(rig.all('do-not-call'), [{ callId: 'n1' }])
  t.same(rig.all('backend-tool-result'), [], 'nothing is noted yet')
  rig.in({ type: 'tool-result', callId: 'n1', ok: false, value: { error: 'not written' }, error: 'STORE_DOWN' })
  t.match(rig.only('backend-tool-result'), { callId: 'n1', ok: false, value: { error: 'not written' } })
  rig.toolCall('n2', 'do_not_call', {})
  rig.in({ type: 'tool-result', callId: 'n2', ok: true, value: { noted: true } })
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'n2', ok: true, value: { noted: true } })
  t.end()
})
