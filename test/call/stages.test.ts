import t from 'tap'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { factsSchema, stagesSchema } from '../../src/call/stage-definition.js'
import type { StageOptions } from '../../src/call/stage-definition.js'
import { remembered } from '../../src/call/stages.js'
import { escalation, Rig } from './rig.js'

const STAGES: StageOptions = {
  facts: factsSchema.parse({
    order: { from: 'find_order.order.number' },
    refunded: { from: 'refund' },
    wish: { ask: 'What the caller wants.' },
  }),
  stages: stagesSchema.parse({
    ask: {
      instructions: 'Ask for the order.',
      tools: ['find_order'],
      needs: ['order', 'wish'],
      next: {
        refund: 'the caller wants money back',
        done: { when: 'the caller is content', needs: [] },
        human: { when: 'the caller asks for a person', needs: [], on: { failures: 2, afterS: 60 } },
      },
    },
    refund: {
      instructions: 'Give the money back.',
      tools: ['refund'],
      next: { done: { on: { tool: 'refund', result: { paid: true } } }, human: { on: { failures: 1 } } },
    },
    done: { instructions: 'Say goodbye.', tools: [], language: 'sw', final: true },
    human: { instructions: 'Hand over.', tools: [], escalate: 'The caller could not be helped.' },
  }),
}
const WITH = { stages: STAGES, languages: ['en', 'sw'] }

const moves = (rig: Rig): string[] => rig.session.log.stages.map(({ stage, why }) => `${stage} by ${why}`)
const answerOf = (rig: Rig, callId: string) => rig.all('backend-tool-result').find((one) => one.callId === callId)
const answer = (rig: Rig, callId: string, value: unknown, ok = true): void =>
  rig.in({ type: 'tool-result', callId, ok, value })

t.test('the model changes the stage once all needs are known', (t) => {
  const rig = Rig.talking(WITH)
  t.same(moves(rig), ['ask by begin'])
  rig.toolCall('t1', 'go_to_stage', { stage: 'refund' })
  t.match(answerOf(rig, 't1'), {
    ok: false,
    value: {
      error:
        'Before refund this must be known: order (find_order gives it); wish (pass it as wish: What the caller wants.).',
    },
  })
  rig.toolCall('t2', 'find_order')
  answer(rig, 't2', { order: { number: 4127 } })
  t.match(rig.session.stages?.text, /Known so far: order = 4127\./)
  t.ok(
    rig.types().lastIndexOf('stage') < rig.types().lastIndexOf('backend-tool-result'),
    'instructions and tools come before the result, so that the answer to it is under the new ones',
  )
  rig.toolCall('t3', 'go_to_stage', { stage: 'refund', wish: 'the money', summary: 'The shoes are too small.' })
  t.match(answerOf(rig, 't3'), { ok: true, value: { stage: 'refund' } })
  t.same(moves(rig), ['ask by begin', 'refund by model'])
  t.match(rig.session.stages?.text, /Give the money back\.[^]*wish = the money[^]*- ask: The shoes are too small\./)
  t.notMatch(rig.session.stages?.text, /Ask for the order/, 'the instructions of the stage before are gone')
  t.same(
    rig.all('stage').map(({ forget = false }) => forget),
    [false, true],
    'and the words, once it has left a line',
  )
  t.same(
    rig.session.log.facts.map(({ name, value, from }) => [name, value, from]),
    [
      ['order', 4127, 'find_order'],
      ['wish', 'the money', 'go_to_stage'],
    ],
  )
  t.end()
})

t.test('a resumed model gets the transcript since the last stage', (t) => {
  const said = (role: 'caller' | 'agent', text: string, startMs: number) => ({ role, text, startMs, endMs: startMs })
  const transcript = [said('caller', 'Hello', 0), said('agent', 'Yes?', 1), said('caller', '4127', 2)]
  const moved = { atMs: 3, from: 'ask', stage: 'refund', why: 'model' } as const
  const texts = (log: Parameters<typeof remembered>[0]): string[] => remembered(log).map(({ text }) => text)
  const log = { transcript, stages: [{ ...moved, summary: 'Asked.' }], handovers: [] }
  t.same(texts(log), ['4127'])
  t.same(texts({ ...log, stages: [moved] }), ['Hello', 'Yes?', '4127'], 'without a line the words stay')
  const handovers = [{ atMs: 3, from: 'shop', to: 'support', summary: '' }]
  t.same(texts({ ...log, handovers }), ['Hello', 'Yes?', '4127'])
  t.end()
})

t.test('tools and stages outside the current stage are refused', (t) => {
  const rig = Rig.talking(WITH)
  rig.toolCall('t1', 'refund')
  t.match(answerOf(rig, 't1')?.value, {
    error: /^refund cannot be called in the stage ask\. It can be called in: refund\./,
  })
  t.same(rig.all('run-tool'), [], 'and it does not run')
  rig.toolCall('t2', 'go_to_stage', { stage: 'constructor' })
  t.match(answerOf(rig, 't2')?.value, {
    error:
      /^There is no way from ask to constructor\. From here go_to_stage leads to: refund \(the caller wants money back\); done/,
  })
  t.same(rig.session.stages?.tool(false)?.parameters, {
    type: 'object',
    additionalProperties: false,
    required: ['stage'],
    properties: {
      stage: { type: 'string', enum: ['done', 'human'] },
      summary: { type: 'string', description: 'What was said and done in this stage, in one sentence.' },
      wish: { type: 'string', description: 'What the caller wants.' },
    },
  })
  t.same(moves(rig), ['ask by begin'])
  t.end()
})

t.test('results, failures and time change the stage', (t) => {
  const refunding = (): Rig => {
    const rig = Rig.talking({ ...WITH, escalation })
    rig.toolCall('t1', 'find_order')
    answer(rig, 't1', { order: { number: 1 } })
    rig.toolCall('t2', 'go_to_stage', { stage: 'refund', wish: 'x' })
    rig.toolCall('t3', 'refund')
    return rig
  }
  const paid = refunding()
  answer(paid, 't3', { paid: true })
  t.equal(moves(paid).at(-1), 'done by tool')
  t.equal(paid.session.language, 'sw', 'the stage has a language of its own')
  const unpaid = refunding()
  answer(unpaid, 't3', { paid: false })
  t.equal(moves(unpaid).at(-1), 'refund by model', 'the result says something else')
  const failed = refunding()
  answer(failed, 't3', null, false)
  t.equal(moves(failed).at(-1), 'human by failures')
  t.equal(failed.only('escalate').packet.reason, 'The caller could not be helped.')

  const slow = Rig.talking({ ...WITH, escalation, silence: { afterMs: 300_000, prompts: [] } })
  slow.run(50_000)
  t.same(moves(slow), ['ask by begin'])
  slow.run(12_000)
  t.equal(moves(slow).at(-1), 'human by time')
  t.equal(slow.all('escalate').length, 1)
  t.end()
})

t.test('a stage that escalates answers the model only on failure', (t) => {
  const rig = Rig.talking({ ...WITH, escalation })
  rig.toolCall('t1', 'go_to_stage', { stage: 'human', summary: 'Wants a person.' })
  t.match(rig.only('escalate').packet, {
    reason: 'The caller could not be helped.',
    summary: 'Wants a person.',
    stages: [{ stage: 'ask', summary: 'Wants a person.' }, { stage: 'human' }],
    facts: {},
  })
  t.equal(answerOf(rig, 't1'), undefined)
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: 'busy', closed: false } })
  t.match(answerOf(rig, 't1'), { ok: false })
  t.same(moves(rig), ['ask by begin', 'human by model'])
  t.end()
})

t.test('a resumed call keeps its stage, facts and failures', (t) => {
  const before = Rig.talking(WITH)
  before.toolCall('t1', 'find_order')
  answer(before, 't1', { order: { number: 4127 } })
  before.toolCall('t2', 'find_order', { again: true })
  answer(before, 't2', null, false)
  const resume = parseResume(JSON.parse(JSON.stringify(before.resume)))
  const rig = new Rig(
    { ...WITH, preparedAtMs: 500_000, wallOffsetMs: 1_700_000_000_000 + before.nowMs - 500_000 },
    resume,
  )
  rig.nowMs = 500_000
  rig.open()
  rig.ready()
  t.match(rig.session.stages?.text, /Stage of this call: ask[^]*order = 4127/)
  t.same(moves(rig), ['ask by begin'], 'it does not begin again')
  rig.toolCall('t3', 'find_order', { once: 'more' }, 1)
  answer(rig, 't3', null, false)
  t.equal(moves(rig).at(-1), 'human by failures', 'the failure before the move counts')

  const back = new Rig(WITH, { ...resume, checkpoint: { ...resume.checkpoint, callBack: 'asks' } })
  t.notMatch(
    back.session.stages?.text,
    /Known so far/,
    'who is rung back is not known, and neither is anything of the call',
  )
  t.end()
})

t.test('a verified identity is a fact, and a replay agrees', (t) => {
  const stages: StageOptions = {
    facts: {},
    stages: stagesSchema.parse({
      verify: { instructions: 'x', next: { help: { on: { facts: ['verified'] } } } },
      help: { instructions: 'y', next: { verify: { on: { facts: ['verified'] } } } },
    }),
  }
  const rig = Rig.talking({ stages })
  rig.toolCall('t1', 'find_order')
  rig.identity({ accountId: 'A-1' })
  answer(rig, 't1', {})
  t.same(moves(rig), ['verify by begin', 'help by facts'], 'stages whose conditions hold in a circle do not go round')
  const { outputs, recorded } = replayJournal(rig.journal)
  t.same(outputs, recorded)
  t.end()
})

t.test('a promised handover survives a dead worker or backend', (t) => {
  const options = { handoverTo: { sales: 'they want to buy' }, agent: 'front', escalation }
  const promised = (): Rig => {
    const rig = Rig.talking(options)
    rig.backend({ type: 'turn-start', generation: 2 })
    rig.audio(2, 'a2', 3000)
    rig.toolCall('t1', 'hand_over', { agent: 'sales', summary: 'Wants two routers.' }, 2)
    rig.run(200)
    return rig
  }
  const alone = promised()
  alone.in({ type: 'backend', event: { type: 'error', code: 'network', message: '', fatal: true, retryable: false } })
  alone.run(4000)
  t.match(alone.only('handover').record, { to: 'sales' })
  t.same([...alone.all('announce'), ...alone.all('escalate')], [], 'nobody apologises')

  for (const newStream of [undefined, { streamMs: 1000, consented: true }]) {
    const rig = promised()
    t.same(rig.session.log.handovers, [], 'the record has it once it takes place')
    const next = new Rig(options, { ...rig.resume, ...(newStream === undefined ? {} : { newStream }) })
    next.nowMs = rig.nowMs
    next.run(500)
    t.same(next.all('handover'), [], 'not before there is a stream')
    next.open()
    next.run(5000)
    t.match(next.only('handover').record, { from: 'front', to: 'sales', summary: 'Wants two routers.' })
    t.same(
      next.all('backend-text').filter(({ respond }) => respond),
      [],
      'the agent that has handed over is asked for nothing more',
    )
    t.same(next.all('announce').length, newStream === undefined ? 0 : 1)
    t.equal(next.session.checkpoint().owed, 'answer')
    const { outputs, recorded } = replayJournal(next.journal)
    t.same(outputs, recorded)
  }

  const human = promised()
  human.in({ type: 'escalate-requested', reason: 'vip' })
  const tried = new Rig(options, human.resume)
  tried.nowMs = human.nowMs
  tried.open()
  tried.ready()
  tried.run(1000)
  t.same([tried.session.state, tried.all('handover')], ['escalating', []])
  tried.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: '', closed: false } })
  tried.run(5000)
  t.match(tried.only('handover').record, { to: 'sales' })
  t.end()
})

t.test("a handover waits for the agent's words and keeps facts", (t) => {
  const options = { handoverTo: { sales: 'they want to buy' }, agent: 'front' }
  const rig = Rig.talking(options)
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.audio(2, 'a2', 1000)
  rig.backend({ type: 'transcript', role: 'agent', text: 'I connect you.', final: true, itemId: 'a2', generation: 2 })
  rig.backend({ type: 'turn-done', generation: 2, status: 'completed' })
  rig.toolCall('t1', 'hand_over', { agent: 'sales', summary: 'Wants two routers.' }, 2)
  rig.run(500)
  t.same(rig.all('handover'), [], 'not while the agent speaks')
  rig.run(1000)
  const { record } = rig.only('handover')
  t.match(record, { from: 'front', to: 'sales', summary: 'Wants two routers.' })
  t.equal(answerOf(rig, 't1'), undefined, 'the model that has handed over is asked for nothing more')
  t.equal(rig.session.checkpoint().owed, 'answer')
  t.match(rig.toolCalls, [{ name: 'hand_over', ok: true }])

  const verified = { stages: stagesSchema.parse({ sell: { instructions: 'Sell.', final: true } }), facts: {} }
  const { log } = rig.resume
  const { handover: _, ...checkpoint } = rig.resume.checkpoint
  const known = {
    ...log,
    handovers: [record],
    facts: ['wish', 'verified'].map((name) => ({ atMs: 5, name, value: true, from: 'x' })),
  }
  const next = new Rig({ stages: verified, agent: 'sales', resumeText: 'Go on.' }, { checkpoint, log: known })
  next.nowMs = rig.nowMs
  next.open()
  next.ready()
  t.match(next.only('backend-text'), { text: 'Go on.', respond: true })
  t.match(next.session.log.stages, [{ stage: 'sell', why: 'handover' }])
  t.match(
    next.session.stages?.text,
    /Known so far: wish = true\./,
    'but not an identity that was not proved to this agent',
  )

  const entry = { atMs: 1, from: 'a', to: 'b', summary: '' }
  const loop = new Rig(options, { checkpoint, log: { ...log, handovers: [entry, entry, entry, entry] } })
  loop.nowMs = rig.nowMs
  loop.open()
  loop.ready()
  loop.toolCall('t9', 'hand_over', { agent: 'sales' })
  t.match(answerOf(loop, 't9')?.value, { error: /^This caller was handed over 4 times already/ })
  loop.toolCall('t10', 'hand_over', { agent: 'nobody' })
  t.match(answerOf(loop, 't10')?.value, { error: 'agent must be one of sales.' })
  t.end()
})

t.test("a stage's handover waits for a running escalation to fail", (t) => {
  const next = { sell: { on: { tool: 'find_order' as const } } }
  const stages = {
    stages: stagesSchema.parse({
      ask: { instructions: 'Ask.', tools: ['find_order'], next },
      sell: { instructions: 'Sell.', handoverTo: 'sales' },
    }),
    facts: {},
  }
  const rig = Rig.talking({ escalation, stages, agent: 'front' })
  rig.toolCall('t1', 'find_order')
  rig.in({ type: 'escalate-requested', reason: 'vip' })
  answer(rig, 't1', {})
  t.equal(moves(rig).at(-1), 'sell by tool')
  rig.run(5200)
  t.same([rig.texts(), rig.all('handover')], [['Nobody is free.'], []], 'the human is given up in time all the same')
  rig.run(1000)
  t.match(rig.only('handover').record, { from: 'front', to: 'sales' })

  const entry = { atMs: 1, from: 'a', to: 'front', summary: '' }
  const { checkpoint, log } = Rig.talking({ stages, agent: 'front' }).resume
  const loop = new Rig({ stages, agent: 'front' }, { checkpoint, log: { ...log, handovers: Array(4).fill(entry) } })
  loop.open()
  loop.ready()
  loop.toolCall('t2', 'find_order')
  answer(loop, 't2', {})
  t.match(loop.all('backend-text').at(-1)?.text, /^This caller was handed over 4 times already: go on yourself/)
  t.end()
})

t.test("a handover waits for the caller's words over the announcement", (t) => {
  const handing = (): Rig => {
    const rig = Rig.talking({ handoverTo: { sales: 'they want to buy' }, agent: 'front' })
    rig.backend({ type: 'turn-start', generation: 2 })
    rig.audio(2, 'a2', 5000)
    rig.backend({
      type: 'transcript',
      role: 'agent',
      text: 'I connect you.',
      final: true,
      itemId: 'a2',
      generation: 2,
    })
    rig.toolCall('t1', 'hand_over', { agent: 'sales' }, 2)
    rig.backend({ type: 'turn-done', generation: 2, status: 'completed' })
    rig.run(1000)
    rig.speak(2000)
    rig.run(700)
    return rig
  }
  const rig = handing()
  t.same(rig.all('handover'), [], 'the recogniser needs its time')
  rig.heardWords('No, the other desk')
  t.notOk(rig.audio(3, 'a3', 100), 'the first agent answers no more')
  rig.run(200)
  t.match(rig.only('handover').record, { to: 'sales' })
  t.match(rig.session.log.transcript.at(-1), { role: 'caller', text: 'No, the other desk' })

  const noise = handing()
  noise.run(1500)
  t.match(noise.only('handover').record, { to: 'sales' }, 'where no words come, it takes place without')
  t.end()
})

t.test('a handover waits for the consent text', (t) => {
  const refusal = { text: 'Nothing is kept.', waitMs: 1500 }
  for (const refuses of [false, true]) {
    const rig = new Rig({ consentText: 'This is recorded.', refusal, handoverTo: { sales: 'they want to buy' } })
    rig.open()
    rig.ready()
    rig.toolCall('h1', 'hand_over', { agent: 'sales' })
    rig.run(1200)
    t.same([rig.texts(), rig.all('handover')], [['This is recorded.'], []])
    if (refuses) rig.in({ type: 'dtmf', digit: '2' })
    rig.run(3000)
    t.match(rig.only('handover').record, { to: 'sales' })
    t.same(rig.all('recording-refused').length, refuses ? 1 : 0)
    t.match(rig.session.log.transcript.at(-1), { text: refuses ? 'Nothing is kept.' : 'This is recorded.' })
  }
  t.end()
})

t.test("a pending tool's outcome changes the stage", (t) => {
  const rig = Rig.talking({ ...WITH, waits: { refund: { say: 'Wait.', still: 'Still.', everyMs: 20_000 } } })
  rig.toolCall('t1', 'find_order')
  answer(rig, 't1', { order: { number: 1 } })
  rig.toolCall('t2', 'go_to_stage', { stage: 'refund', wish: 'x' })
  rig.toolCall('t3', 'refund')
  rig.in({ type: 'tool-pending', callId: 't3', waitMs: 60_000 })
  t.equal(moves(rig).at(-1), 'refund by model')
  rig.in({ type: 'tool-outcome', callId: 't3', status: 'succeeded', value: { paid: true } })
  t.equal(moves(rig).at(-1), 'done by tool')
  t.end()
})

t.test('a tool’s empty value makes no fact [1]', (t) => {
  const rig = Rig.talking(WITH)
  for (const [index, number] of ['N/A', '#REF!', 'null', '########'].entries()) {
    rig.toolCall(`n${index}`, 'find_order', { index })
    answer(rig, `n${index}`, { order: { number } })
    t.notMatch(rig.session.stages?.text, /Known so far/, number)
  }
  rig.toolCall('known', 'find_order', { index: 9 })
  answer(rig, 'known', { order: { number: 4127 } })
  t.match(rig.session.stages?.text, /Known so far: order = 4127\./)
  t.end()
})

t.test("the time limit of a stage ends when the next agent has the caller's word", (t) => {
  const rig = Rig.talking({
    ...WITH,
    handoverTo: { sales: 'for new orders' },
    silence: { afterMs: 90_000, prompts: [] },
  })
  rig.run(58_000)
  rig.answer(2, 'a2', 6000, 'I pass you on to sales, where they know more of this.')
  rig.toolCall('h1', 'hand_over', { agent: 'sales' }, 2)
  rig.run(10_000)
  t.same(moves(rig), ['ask by begin'], 'its 60 s passed during the last words')
  t.match(rig.only('handover').record, { to: 'sales' })
  t.end()
})
