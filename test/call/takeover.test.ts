import t from 'tap'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { resumedTools } from '../../src/call/tools/tool-ledger.js'
import { escalation, Rig } from './rig.js'

/** As in another process, which has another monotonic clock. */
function taken(rig: Rig, overrides: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const resume = parseResume(JSON.parse(JSON.stringify(rig.resume)))
  const elsewhere = new Rig(
    { preparedAtMs: 500_000, wallOffsetMs: 1_700_000_000_000 + rig.nowMs - 500_000, ...overrides },
    resume,
  )
  elsewhere.nowMs = 500_000
  return elsewhere
}

t.test('a taken-over call continues without a second greeting', async (t) => {
  const before = Rig.talking()
  before.speak(500)
  before.run(620)
  before.heardWords('Where is order five?')
  before.answer(2, 'a2', 500, 'It was sent.')
  before.run(1000)
  const rig = taken(before, { greeting: 'Welcome.' })
  rig.open()
  rig.ready()
  t.same(rig.texts(), [])
  t.same(rig.all('backend-text'), [], 'nothing is owed')
  t.same(rig.session.log.transcript, before.session.log.transcript)
  t.same(rig.session.log.turns, before.session.log.turns)
  t.equal(rig.session.streamMs(rig.nowMs), before.nowMs - 1000, 'the stream is as old as it was')
  t.ok(rig.audio(1, 'new', 200), 'the new backend counts its responses from one again')
})

t.test('a taken-over call answers a caller who waits', async (t) => {
  const waiting = Rig.talking()
  waiting.speak(500)
  waiting.run(620)
  waiting.heardWords('Where is order five?')
  t.equal(waiting.session.checkpoint().owed, 'answer')
  const answered = taken(waiting, { resumeText: 'go on' })
  answered.open()
  t.same(answered.all('backend-text'), [])
  answered.ready()
  t.same(answered.only('backend-text'), { type: 'backend-text', text: 'go on', role: 'system', respond: true })

  const cutOff = Rig.talking()
  cutOff.backend({ type: 'turn-start', generation: 2 })
  cutOff.audio(2, 'a2', 1000)
  cutOff.run(200)
  const { owed, heard } = cutOff.session.checkpoint()
  t.equal(owed, 'rest-of-answer')
  t.equal(heard?.itemId, 'a2')
  t.ok(heard !== null && heard.playedMs > 0 && heard.playedMs < 200)
})

t.test('a taken-over call greets a caller not yet greeted', async (t) => {
  const before = new Rig()
  before.open()
  before.ready()
  const rig = taken(before)
  rig.open()
  rig.ready()
  t.equal(rig.only('backend-text').text, 'greet')
})

t.test('a tool lost with its worker is not run again', async (t) => {
  const before = Rig.talking()
  before.toolCall('t1', 'find_order', { order: 5 })
  before.in({ type: 'tool-result', callId: 't1', ok: true, value: { status: 'sent' } })
  before.toolCall('t2', 'refund', { order: 5 })
  t.match(resumedTools(before.resume), [
    { callId: 't1', ok: true, result: { status: 'sent' } },
    { callId: 't2', ok: false, result: { error: /unknown/ } },
  ])
  const rig = taken(before)
  rig.open()
  rig.ready()
  t.match(rig.only('backend-tool-result'), { callId: 't2', ok: false, value: { error: /unknown/ } })
  rig.toolCall('t2', 'refund', { order: 5 })
  rig.toolCall('t1', 'find_order', { order: 5 })
  t.same(rig.all('run-tool'), [], 'both are answered from the ledger')
  rig.toolCall('t1', 'refund', { order: 7 })
  t.match(rig.only('run-tool'), { args: { order: 7 }, occurrence: 0 }, 'another call under an old id is another call')
  rig.toolCall('t3', 'refund', { order: 5 })
  t.match(rig.all('run-tool').at(-1), { args: { order: 5 }, occurrence: 0 }, 'the lost call again: it has its old key')
})

t.test('a taken-over escalation requests its step without a second announcement', async (t) => {
  const before = Rig.talking({ escalation })
  before.toolCall('e1', 'escalate_to_human', { reason: 'asked', summary: 's' })
  const rig = taken(before, { escalation })
  rig.open()
  t.match(rig.only('escalate').packet, { reason: 'asked', summary: 's' })
  t.same(rig.texts(), [])
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  t.match(rig.only('end-stream'), { reason: 'escalated', hangup: false })

  before.in({ type: 'escalation', step: { type: 'hold' } })
  const holding = taken(before, { escalation })
  holding.open()
  t.equal(holding.session.state, 'holding')
  before.in({ type: 'escalation', step: { type: 'bridged', strategy: 'supervision' } })
  const bridged = taken(before, { escalation })
  bridged.open()
  t.equal(bridged.session.state, 'bridged')
  t.equal(bridged.all('backend-close').length, 1)
})

t.test('a taken-over call reports failed escalation and expired tool', async (t) => {
  const waits = { find_order: { still: 'We are waiting.', everyMs: 60_000, onTimeout: 'Nothing has come.' } }
  const options = { escalation, waits, silence: { afterMs: 5000, prompts: ['Are you there?'] } }
  const before = Rig.talking(options)
  before.toolCall('p1', 'find_order', { order: 5 })
  before.in({ type: 'tool-pending', callId: 'p1', waitMs: 15_000 })
  before.in({ type: 'escalate-requested', reason: 'vip' })
  before.in({ type: 'escalation', step: { type: 'hold' } })
  before.run(1000)
  const rig = taken(before, options)
  rig.open()
  rig.ready()
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'no-answer', detail: 'nobody', closed: false } })
  rig.run(15_000)
  t.same(rig.texts(), ['Nobody is free.', 'Nothing has come.'])
  rig.run(7000)
  t.same(rig.texts().slice(2), ['Are you there?'], 'and the silence counts from then on')
})

t.test('a taken-over call that was ending ends with its reason', async (t) => {
  const before = Rig.talking()
  before.in({ type: 'hangup-requested', reason: 'drain-limit', detail: 'deploy', speak: true })
  const rig = taken(before)
  rig.open()
  t.match(rig.only('end-stream'), { reason: 'drain-limit', detail: 'deploy' })
})

t.test('a taken-over escalation closes the stream without a hang-up', (t) => {
  const before = Rig.talking({ escalation })
  before.toolCall('e1', 'escalate_to_human', { reason: 'asked' })
  before.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  before.run(1200)
  t.match(before.only('end-stream'), { reason: 'escalated', hangup: false })
  const rig = taken(before, { escalation })
  rig.open()
  t.match(rig.only('end-stream'), { reason: 'escalated', hangup: false })
  t.end()
})

t.test('a taken-over call without a stream starts as new', async (t) => {
  const rig = taken(new Rig())
  rig.open()
  rig.ready()
  t.equal(rig.only('backend-text').text, 'greet')
})

t.test('each new fact makes a small checkpoint due', async (t) => {
  const rig = Rig.talking()
  rig.run(3000)
  t.same(rig.all('checkpoint-due'), [], 'nothing happened')
  for (const act of [
    () => rig.toolCall('t1', 'find_order'),
    () => rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} }),
    () => rig.heardWords('hello'),
  ]) {
    rig.log.length = 0
    act()
    t.equal(rig.all('checkpoint-due').length, 1)
  }
  for (let i = 0; i < 500; i++) rig.in({ type: 'stream-metadata', matches: true })
  t.ok(JSON.stringify(rig.session.checkpoint()).length < 16_000)
})

t.test('an invalid checkpoint or another version is refused', async (t) => {
  const { checkpoint, log } = new Rig().resume
  t.same(parseResume({ checkpoint, log }), { checkpoint, log })
  const bad = [
    null,
    5,
    {},
    { checkpoint },
    { checkpoint: { ...checkpoint, version: 1 }, log },
    { checkpoint: { ...checkpoint, toolsRunning: undefined }, log },
    { checkpoint, log: { ...log, turns: {} } },
    { checkpoint, log: { ...log, dropped: null } },
  ]
  for (const value of bad) t.throws(() => parseResume(value), { code: 'CALL_FAULT' }, JSON.stringify(value))
})

/** The node was lost, and the stream with it: another node goes on `gapMs` later. */
function resumed(rig: Rig, gapMs: number, overrides: ConstructorParameters<typeof Rig>[0] = {}, consented = true): Rig {
  const { checkpoint, log } = rig.resume
  const resume = parseResume(
    JSON.parse(
      JSON.stringify({ checkpoint, log, newStream: { streamMs: rig.session.streamMs(rig.nowMs), consented } }),
    ),
  )
  const elsewhere = new Rig(
    { preparedAtMs: 500_000, wallOffsetMs: rig.wallOffsetMs + rig.nowMs + gapMs - 500_000, ...overrides },
    resume,
  )
  elsewhere.nowMs = 500_000
  return elsewhere
}

t.test('a caller hears once that the connection was lost [1]', async (t) => {
  const before = Rig.talking()
  before.speak(500)
  before.run(620)
  before.heardWords('Where is order five?')
  const rig = resumed(before, 4000, { greeting: 'Welcome.', cutOffText: 'We were cut off.', resumeText: 'go on' })
  rig.open()
  t.equal(rig.only('announce').text, 'We were cut off.')
  rig.ready()
  t.same(rig.all('backend-text'), [], 'an answer must not come before these words')
  rig.run(40)
  t.same(rig.only('backend-text'), { type: 'backend-text', text: 'go on', role: 'system', respond: true }, 'it is owed')
  t.equal(rig.all('mark').filter(({ name }) => name === 'stream-opened').length, 0)
  t.equal(rig.all('mark').filter(({ name }) => name === 'resumed').length, 1)
  rig.run(1500)
  rig.answer(1, 'a1', 400, 'It was sent.')
  rig.run(1000)
  const said = rig.session.log.transcript.map(({ text }) => text)
  t.same(said, ['Hello.', 'Where is order five?', 'We were cut off.', 'It was sent.'])
  const times = rig.session.log.transcript.map(({ startMs }) => startMs)
  t.same(
    times,
    [...times].sort((a, b) => a - b),
    'and one clock for all of it',
  )
})

t.test('speech lost with the stream is repeated by the agent', async (t) => {
  const before = Rig.talking()
  before.backend({ type: 'turn-start', generation: 2 })
  before.audio(2, 'a2', 1500)
  before.backend({
    type: 'transcript',
    role: 'agent',
    text: 'It is on its way.',
    final: true,
    itemId: 'a2',
    generation: 2,
  })
  before.backend({ type: 'turn-done', generation: 2, status: 'completed' })
  before.run(200)
  t.equal(before.session.checkpoint().owed, 'nothing', 'the ring still has it')
  const lost = resumed(before, 1000, { resumeText: 'go on' })
  lost.open()
  lost.ready()
  lost.in({ type: 'announce-failed', itemId: lost.only('announce').itemId })
  t.equal(lost.only('backend-text').text, 'go on')

  const heard = resumed(Rig.talking(), 1000)
  heard.open()
  heard.ready()
  t.same(heard.all('backend-text'), [])
})

t.test('a resumed call without a heard greeting is greeted', async (t) => {
  const before = new Rig()
  before.open()
  before.ready()
  const rig = resumed(before, 1000)
  rig.open()
  rig.ready()
  t.same(rig.texts(), [])
  t.equal(rig.only('backend-text').text, 'greet')
})

t.test('time without a stream does not count towards `maxMs`', async (t) => {
  const limit = { duration: { maxMs: 10_000, text: 'Time is up.' } }
  const first = Rig.talking(limit)
  first.run(2500)
  t.equal(first.session.streamMs(first.nowMs), 4000)
  const second = resumed(first, 60_000, limit)
  second.open()
  second.ready()
  second.run(3000)
  t.equal(second.session.streamMs(second.nowMs), 7000)
  // Its worker dies, and then the node: neither begins the count again.
  const rehomed = taken(second, { ...limit, preparedAtMs: 500_000, wallOffsetMs: second.wallOffsetMs })
  rehomed.nowMs = second.nowMs
  rehomed.open()
  t.equal(rehomed.session.streamMs(rehomed.nowMs), 7000)
  const third = resumed(second, 60_000, limit)
  third.open()
  third.ready()
  third.run(2900)
  t.notOk(third.texts().includes('Time is up.'))
  third.run(200)
  t.ok(third.texts().includes('Time is up.'))
})

t.test('a missing consent text is spoken after a lost stream', async (t) => {
  for (const consented of [false, true]) {
    const rig = resumed(Rig.talking(), 1000, { consentText: 'This call is recorded.' }, consented)
    rig.open()
    t.equal(rig.texts().includes('This call is recorded.'), !consented)
  }
})

t.test('counters of the escalation rules survive a takeover', async (t) => {
  const rules = { words: { phrases: ['nonsense'], times: 2 }, vip: null, failures: 2 }
  const before = Rig.talking({ escalation, rules })
  before.heardWords('What nonsense.')
  before.toolCall('t1', 'find_order', { order: 5 })
  before.in({ type: 'tool-result', callId: 't1', ok: false, value: { error: 'no' }, error: 'TOOL_HTTP' })
  t.same(before.all('escalate'), [])
  const words = resumed(before, 1000, { escalation, rules })
  words.open()
  words.ready()
  words.heardWords('Nonsense again.', 'c9')
  t.equal(words.only('escalate').packet.reason, 'The caller is upset.')
  const failures = resumed(before, 1000, { escalation, rules })
  failures.open()
  failures.ready()
  failures.toolCall('t2', 'refund', { order: 5 })
  failures.in({ type: 'tool-result', callId: 't2', ok: false, value: { error: 'no' }, error: 'TOOL_HTTP' })
  t.match(failures.only('escalate').packet.reason, /2 attempts/)

  const again = resumed(words, 1000, { escalation, rules })
  again.open()
  again.ready()
  again.heardWords('More nonsense.', 'c10')
  t.same(again.all('escalate'), [], 'it was reported before')
})

t.test('usage and silence prompts continue after a takeover', async (t) => {
  const before = Rig.talking({ silence: { afterMs: 2000, prompts: ['Hello?', 'Still there?'] } })
  before.backend({ type: 'usage', usage: { inputTokens: 10, outputTokens: 5, audioInMs: 100, audioOutMs: 50 } })
  before.run(3500)
  t.same(before.texts(), ['Hello?'])
  const rig = resumed(before, 1000, {
    silence: { afterMs: 2000, prompts: ['Hello?', 'Still there?'] },
    cutOffText: 'Back.',
  })
  rig.open()
  rig.ready()
  rig.backend({ type: 'usage', usage: { inputTokens: 1, outputTokens: 1, audioInMs: 1, audioOutMs: 1 } })
  t.same(rig.session.usage, { inputTokens: 11, outputTokens: 6, audioInMs: 101, audioOutMs: 51 })
  rig.run(4500)
  t.same(rig.texts(), ['Back.', 'Still there?'])
})

t.test("a caller's reply to silence counts after a takeover", async (t) => {
  const options = { silence: { afterMs: 5000, afterWaitMs: 20_000, prompts: ['Are you there?'] } }
  const before = Rig.talking(options)
  before.run(7000)
  t.same(before.texts(), ['Are you there?'])
  const asked = taken(before, options)
  asked.open()
  asked.ready()
  asked.run(5500)
  t.match(asked.texts(), [/Goodbye/], 'one who has not answered is let go')

  before.speak(500)
  before.run(620)
  before.heardWords('Yes, I am.')
  before.answer(2, 'a2', 500, 'Fine.')
  before.run(600)
  const answered = taken(before, options)
  answered.open()
  answered.ready()
  answered.run(9500)
  t.same(answered.texts(), [], 'one who has answered has as long as all questions take')

  const waits = Rig.talking(options)
  waits.speak(500)
  waits.run(620)
  waits.heardWords('Hold on a moment.')
  waits.run(500)
  const waited = taken(waits, options)
  waited.open()
  waited.ready()
  waited.run(19_500)
  t.same(waited.texts(), [], 'and one who has asked for a moment has it')
  waited.run(1500)
  t.same(waited.texts(), ['Are you there?'])
})

t.test('a resumed call replays to the same outputs', async (t) => {
  const before = Rig.talking()
  before.speak(500)
  before.run(620)
  before.heardWords('Where is order five?')
  const rig = resumed(before, 4000)
  rig.open()
  rig.ready()
  rig.run(1500)
  rig.answer(1, 'a1', 400, 'It was sent.')
  rig.run(2000)
  rig.writer.flush()
  const { outputs, recorded } = replayJournal(rig.journal)
  t.ok(outputs.some(({ output }) => output.type === 'announce'))
  t.same(outputs, recorded)
})
