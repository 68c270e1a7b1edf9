import t from 'tap'
import { parseResume } from '../../src/call/checkpoint.js'
import { resumedTools } from '../../src/call/tool-ledger.js'
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

t.test('a call that was taken over goes on and does not greet again', async (t) => {
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

t.test('a caller who waits for an answer, or for the rest of one, is answered by the new worker', async (t) => {
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
  t.ok(heard !== null && heard.heardMs > 0 && heard.heardMs < 200)
})

t.test('a call whose greeting was never heard is greeted by the new worker', async (t) => {
  const before = new Rig()
  before.open()
  before.ready()
  const rig = taken(before)
  rig.open()
  rig.ready()
  t.equal(rig.only('backend-text').text, 'greet')
})

t.test('a tool that ran when its worker died is never run again: the model is told that nobody knows', async (t) => {
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

t.test('a taken-over escalation asks for its step again without telling the caller twice', async (t) => {
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

t.test('a call that was being ended is ended, for the same reason', async (t) => {
  const before = Rig.talking()
  before.in({ type: 'hangup-requested', reason: 'drain-limit', detail: 'deploy', speak: true })
  const rig = taken(before)
  rig.open()
  t.match(rig.only('end-stream'), { reason: 'drain-limit', detail: 'deploy' })
})

t.test('a call that had no stream yet starts as if new', async (t) => {
  const rig = taken(new Rig())
  rig.open()
  rig.ready()
  t.equal(rig.only('backend-text').text, 'greet')
})

t.test('a checkpoint is due whenever a takeover must know more, and stays small', async (t) => {
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

t.test('a checkpoint of another version, or of nothing, is refused', async (t) => {
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
