import t from 'tap'
import { GATEWAY_TOOLS } from '../../src/call/gateway-tools.js'
import { TOOLS_RUNNING_MAX } from '../../src/call/tool-ledger.js'
import { escalation, Rig } from './rig.js'

t.test('a tool runs once, and its result reaches the model once', async (t) => {
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

t.test('a call that comes again after its result is answered from the ledger', async (t) => {
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

t.test('an id that is used again is another call, and the same call again another occurrence', async (t) => {
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

t.test('unknown tools and bad arguments are answers for the model, not faults', async (t) => {
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

t.test('a tool that fails is an answer for the model', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.in({ type: 'tool-result', callId: 't1', ok: false, value: undefined, error: 'HTTP 500' })
  t.match(rig.only('backend-tool-result'), { ok: false, value: { error: 'HTTP 500' } })
  t.match(rig.toolCalls, [{ ok: false, error: 'HTTP 500' }])
})

t.test('a slow tool is bridged with fillers, only while nobody speaks, and not too often', async (t) => {
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

t.test("a turn has one filler: the model's own counts, and a second tool gets none of its own", async (t) => {
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

t.test('a late answer has a filler, small talk and a turn without words have none', async (t) => {
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

t.test('a filler that has not begun is taken back when the answer is there, and the answer is untouched', async (t) => {
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

t.test('no filler over a caller who speaks', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.speak(1000)
  t.same(rig.texts(), [])
  rig.run(720)
  t.equal(rig.texts().length, 1)
})

t.test('a call that the backend takes back is cancelled, and its result is late', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.backend({ type: 'tool-cancel', callIds: ['t1', 'unknown'] })
  t.same(rig.only('cancel-tools').callIds, ['t1'])
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  t.same(rig.all('backend-tool-result'), [])
  t.match(rig.toolCalls, [{ ok: false, error: 'cancelled' }])
})

t.test('nobody waits for a tool whose result the model says nothing about, unless it fails', async (t) => {
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

t.test('nobody waits for a tool that is asked in advance, until the caller wants to know', async (t) => {
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

t.test('a tool call in mid-word, and the answer to it, cut nothing of what the agent is saying', async (t) => {
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

t.test('a tool that never answers is given up, and the model is told', async (t) => {
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

t.test('tools are cancelled when the caller hangs up', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.in({ type: 'stream-closed', code: 1000 })
  t.same(rig.only('cancel-tools').callIds, ['t1'])
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  t.same(rig.all('backend-tool-result'), [])
})

t.test('end_call lets the agent finish, then ends the call', async (t) => {
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

t.test("end_call without agent speech gets the gateway's goodbye", async (t) => {
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

t.test('a goodbye that comes before our own clock has ended the turn has answered that turn', async (t) => {
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

t.test('and so has the announcement of a colleague', async (t) => {
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

t.test("a caller who speaks up during the agent's goodbye takes the end back", async (t) => {
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

t.test("the gateway's tools are described for a model, and their arguments are checked", async (t) => {
  t.same(
    GATEWAY_TOOLS.map(({ name }) => name),
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

t.test('a tool call that was cancelled is not run again, and none runs once a human has the caller', async (t) => {
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
