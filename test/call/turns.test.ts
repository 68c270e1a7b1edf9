import fc from 'fast-check'
import t from 'tap'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { CallerSpeech } from '../../src/call/turns/caller-speech.js'
import type { CallerFrame } from '../../src/call/turns/frame-figures.js'
import { BARGE_IN, escalation, Rig } from './rig.js'

t.test('a backend without VAD gets start and end of speech', async (t) => {
  const rig = Rig.talking()
  const startMs = rig.nowMs
  rig.speak(40)
  t.same(
    rig.only('backend-speech-start'),
    { type: 'backend-speech-start', atMs: startMs },
    'from the first voiced sample',
  )
  rig.speak(460)
  rig.run(580)
  t.same(rig.all('backend-speech-end'), [])
  rig.run(20)
  t.same(
    rig.only('backend-speech-end'),
    { type: 'backend-speech-end', atMs: startMs + 500 },
    'at the last voiced sample',
  )
})

t.test('a single voiced frame is a click, not speech', async (t) => {
  const rig = Rig.talking()
  for (let i = 0; i < 10; i++) {
    rig.speak(20)
    rig.run(40)
  }
  t.same(rig.all('backend-speech-start'), [])
})

t.test('speech ends although the carrier stops sending frames', async (t) => {
  const rig = Rig.talking()
  rig.speak(500)
  rig.stall(1000)
  t.same(rig.all('backend-speech-end'), [], 'a stall of the line is not the end of a sentence')
  rig.stall(200)
  t.equal(rig.all('backend-speech-end').length, 1)
})

t.test('a filler sets `firstSoundMs`, and the answer `answerMs`', async (t) => {
  const rig = Rig.talking()
  rig.speak(500)
  const stoppedMs = rig.nowMs
  rig.run(620)
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.toolCall('t1', 'find_order', { order: 5 }, 2)
  rig.backend({ type: 'turn-done', generation: 2, status: 'completed' })
  rig.run(760)
  t.equal(rig.only('announce').kind, 'filler')
  t.same(rig.logged('turn'), [])
  rig.run(1300)
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: { status: 'sent' } })
  rig.answer(3, 'a3', 1000)
  rig.run(40)
  const turn = rig.onlyLogged('turn')
  const fillerMs = rig.atMs('announce') - stoppedMs
  t.ok(
    turn.firstSoundMs !== null && turn.firstSoundMs >= fillerMs && turn.firstSoundMs <= fillerMs + 40,
    `first sound ${turn.firstSoundMs}`,
  )
  t.ok(turn.answerMs !== null && turn.answerMs > 2600 && turn.answerMs < 2800, `answer ${turn.answerMs}`)
  t.equal(rig.session.log.turns.length, 1)
})

t.test('without a filler `firstSoundMs` and `answerMs` are equal', async (t) => {
  const rig = Rig.talking()
  rig.speak(500)
  rig.run(620)
  rig.answer(2, 'a2', 1000)
  rig.run(40)
  t.match(rig.onlyLogged('turn'), { firstSoundMs: 640, answerMs: 640 })
})

t.test('speech before the answer extends the turn', async (t) => {
  const rig = Rig.talking()
  rig.speak(500)
  rig.run(640)
  rig.speak(500)
  rig.run(640)
  rig.answer(2, 'a2', 500)
  rig.run(40)
  t.same(
    rig.logged('turn').map(({ answerMs }) => answerMs),
    [660],
  )
})

t.test('an unanswered turn is recorded, a click is not', async (t) => {
  const rig = Rig.talking()
  rig.speak(500)
  rig.run(700)
  rig.in({ type: 'stream-closed', code: 1006 })
  t.match(rig.onlyLogged('turn'), { firstSoundMs: null, answerMs: null })

  const click = Rig.talking()
  click.speak(60)
  click.run(700)
  click.in({ type: 'stream-closed', code: 1006 })
  t.same(click.logged('turn'), [])
})

t.test("with the backend's VAD our last voiced frame counts", async (t) => {
  const rig = Rig.talking({ serverVad: true })
  rig.speak(100)
  rig.backend({ type: 'speech-started' })
  rig.speak(400)
  rig.run(500)
  rig.backend({ type: 'speech-stopped' })
  rig.answer(2, 'a2', 500)
  rig.run(40)
  t.same(rig.all('backend-speech-start'), [])
  t.match(rig.onlyLogged('turn'), { firstSoundMs: 520, answerMs: 520 })
})

t.test("a response begun before the turn's end does not answer", async (t) => {
  const rig = Rig.talking({
    bargeIn: { ...BARGE_IN, protectGreeting: true },
  })
  const fresh = new Rig({
    bargeIn: { ...BARGE_IN, protectGreeting: true },
  })
  fresh.open()
  fresh.ready()
  fresh.backend({ type: 'turn-start', generation: 1 })
  fresh.audio(1, 'g1', 2000)
  fresh.run(200)
  fresh.speak(400)
  fresh.run(700)
  fresh.audio(1, 'g2', 500)
  fresh.run(1500)
  t.same(fresh.logged('turn'), [], 'the rest of the greeting is not an answer')
  t.equal(rig.session.log.turns.length, 0)
})

t.test('the transcript has roles, texts and times in order', async (t) => {
  const rig = Rig.talking()
  rig.speak(500)
  rig.run(620)
  rig.heardWords('Where is order five?')
  rig.answer(2, 'a2', 1000, 'It was sent.')
  rig.run(1500)
  t.same(
    rig.session.log.transcript.map(({ role, text }) => `${role}: ${text}`),
    ['agent: Hello.', 'caller: Where is order five?', 'agent: It was sent.'],
  )
  const [, caller, agent] = rig.session.log.transcript
  t.equal(caller && caller.endMs - caller.startMs, 500)
  t.ok(agent && agent.endMs - agent.startMs >= 1000 && agent.endMs - agent.startMs < 1200)
})

t.test('words without audio are recorded when their response ends', async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.backend({ type: 'transcript', role: 'agent', text: 'Silent words.', final: true, itemId: 'a2', generation: 2 })
  t.same(rig.logged('transcript'), [])
  rig.backend({ type: 'turn-done', generation: 2, status: 'completed' })
  t.equal(rig.onlyLogged('transcript').text, 'Silent words.')
})

t.test('a digit reaches the backend and begins a turn', async (t) => {
  const rig = Rig.talking()
  rig.in({ type: 'dtmf', digit: '5' })
  t.same(rig.only('backend-dtmf'), { type: 'backend-dtmf', digit: '5' })
  rig.run(200)
  rig.answer(2, 'a2', 500)
  rig.run(40)
  t.match(rig.onlyLogged('turn'), { answerMs: 220 })
})

t.test('an early answer counts from the last voiced frame', async (t) => {
  const rig = Rig.talking()
  const before = rig.session.log.turns.length
  rig.speak(600)
  // 300 ms of quiet: our own clock wants 600.
  rig.run(300)
  rig.answer(2, 'early', 500)
  rig.run(1500)
  const turns = rig.session.log.turns.slice(before)
  t.equal(turns.length, 1, JSON.stringify(turns))
  const [turn] = turns
  t.ok(
    turn !== undefined && turn.firstSoundMs !== null && turn.firstSoundMs >= 300 && turn.firstSoundMs < 400,
    JSON.stringify(turn),
  )
  t.equal(turn?.answerMs, turn?.firstSoundMs)
})

t.test('speech before the answer cancels the response, not its tools', async (t) => {
  const rig = Rig.talking()
  rig.speak(500)
  rig.run(640)
  rig.heardWords('I want a room and', 'c2')
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.toolCall('t1', 'find_order', {}, 2)
  rig.run(300)
  rig.speak(400)
  t.match(rig.only('backend-interrupt'), { itemId: null, playedMs: 0 })
  t.equal(rig.all('backend-speech-start').length, 2)
  t.notOk(rig.audio(2, 'stale', 500))
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: { free: true } })
  t.match(rig.only('backend-tool-result'), { callId: 't1', ok: true, value: { free: true } })
  t.same(rig.all('cancel-tools'), [])
  rig.run(640)
  rig.heardWords('a view of the lake', 'c3')
  rig.answer(3, 'a3', 500)
  rig.run(100)
  t.equal(rig.logged('turn').length, 1)
})

t.test('digits in the transcript have the time they were pressed', async (t) => {
  const rig = Rig.talking()
  rig.speak(600)
  rig.run(1000)
  rig.heardWords('my account please', 'c1')
  const spokeMs = rig.session.log.transcript.at(-1)?.startMs ?? NaN
  rig.answer(2, 'a2', 500)
  rig.run(3000)
  rig.heardWords('7386', 'c2')
  const [spoken, keyed] = rig.session.log.transcript.filter(({ role }) => role === 'caller')
  t.match(spoken, { text: 'my account please', startMs: spokeMs })
  t.ok((keyed?.startMs ?? 0) > (spoken?.endMs ?? Infinity) + 2500, `${keyed?.startMs ?? 0} after ${spoken?.endMs ?? 0}`)
})

const OPTIONS = { ...DEFAULT_CALL_OPTIONS.speech, endOfSpeechMs: 600, adaptive: false }
const frameOf = (voiced: boolean, doubtful = false): CallerFrame => ({
  voiced,
  doubtful,
  levelDbfs: voiced ? -20 : -70,
  pitchHz: 0,
  early: false,
})

t.test('clock jitter does not move the end of a turn', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: -4, max: 4, noNaN: true }), { minLength: 60, maxLength: 60 }), (jitterMs) => {
      const speech = new CallerSpeech(OPTIONS)
      const at = (frame: number): number => 1000 + frame * 20 + (jitterMs[frame] ?? 0)
      for (let frame = 0; frame < 10; frame++) speech.frame(frameOf(true), at(frame))
      let ended = -1
      for (let frame = 10; frame < 60 && ended < 0; frame++)
        if (speech.frame(frameOf(false), at(frame)) === 'end') ended = frame
      return ended === 39 // the 30th frame of silence: 600 ms
    }),
  )
  t.pass('never a frame late, never one early')
})

t.test('voice within the pause continues the segment', async (t) => {
  const speech = new CallerSpeech(OPTIONS)
  let nowMs = 0
  const frames = (voiced: boolean, count: number): string[] =>
    Array.from({ length: count }, () => speech.frame(frameOf(voiced), (nowMs += 20))).filter((edge) => edge !== 'none')
  frames(true, 10)
  t.same(frames(false, 29), [], '580 ms of quiet are a pause')
  frames(true, 1)
  t.same(frames(false, 29), [])
  t.same(frames(false, 1), ['end'])
})

t.test('doubtful voice over the agent has a later onset', async (t) => {
  const onsetAt = (doubtful: readonly boolean[], overAgent: boolean): readonly [number, number] => {
    const speech = new CallerSpeech({ ...OPTIONS, onsetMs: 40, doubtfulOnsetMs: 100 })
    for (let i = 0; i < 20; i++)
      if (speech.frame(frameOf(true, doubtful[i % doubtful.length]), 1020 + i * 20, true, overAgent) === 'onset')
        return [i + 1, speech.firstVoicedMs]
    return [0, NaN]
  }
  t.same(onsetAt([true], true), [5, 1000])
  t.same(onsetAt([true], false), [2, 1000], 'an onset that stops nobody is cheap')
  t.same(onsetAt([false], true), [2, 1000])
  t.same(onsetAt([true, false], true), [2, 1000], 'half of it may be')
  const speech = new CallerSpeech({ ...OPTIONS, onsetMs: 40, doubtfulOnsetMs: 0 })
  speech.frame(frameOf(true, true), 20, true, true)
  t.notOk(speech.speaking, 'never before onsetMs')
})

const rules = { words: { phrases: ['fed up', 'ridiculous'], times: 2 }, vip: 'vip', failures: 2 }

function callerSays(rig: Rig, text: string, itemId: string): void {
  rig.heardWords(text, itemId)
}

function toolEnds(
  rig: Rig,
  callId: string,
  result: { readonly ok: boolean; readonly value: unknown; readonly error?: string },
): void {
  rig.toolCall(callId, 'find_order', {}, 2)
  rig.in({ type: 'tool-result', callId, ...result })
}

t.test('an upset caller is escalated by the gateway [2]', async (t) => {
  const rig = Rig.talking({ rules, escalation })
  callerSays(rig, 'I am FED UP, really.', 'c1')
  callerSays(rig, 'That fedora is up there.', 'c2')
  t.same(rig.all('escalate'), [], 'once is not twice, and words count as wholes')
  callerSays(rig, 'This is ridiculous!', 'c3')
  t.match(rig.only('escalate').packet, {
    reason: 'The caller is upset.',
    transcript: [{ text: 'Hello.' }, { text: 'I am FED UP, really.' }, {}, {}],
  })
  t.equal(rig.session.state, 'escalating')
})

t.test('a VIP is escalated once the identity is known', async (t) => {
  const rig = Rig.talking({ rules, escalation })
  rig.identity({ accountId: 'AC-1', vip: true })
  toolEnds(rig, 't1', { ok: true, value: { verified: true } })
  t.match(rig.only('escalate').packet, { reason: /VIP/, identity: { accountId: 'AC-1', vip: true } })
})

t.test('failed help leads to an escalation, model errors do not', async (t) => {
  const rig = Rig.talking({ rules, escalation })
  toolEnds(rig, 't1', { ok: false, value: { error: 'bad' }, error: 'TOOL_ARGUMENTS' })
  toolEnds(rig, 't2', { ok: false, value: { error: 'who are you' }, error: 'TOOL_UNVERIFIED' })
  toolEnds(rig, 't3', { ok: true, value: { noted: true, helped: true } })
  toolEnds(rig, 't4', { ok: false, value: { error: 'down' }, error: 'TOOL_HTTP' })
  t.same(rig.all('escalate'), [])
  toolEnds(rig, 't5', { ok: true, value: { noted: true, helped: false } })
  t.match(rig.only('escalate').packet, { reason: '2 attempts to help have failed.' })
})

t.test('a rule whose escalation failed is not applied again', async (t) => {
  const rig = Rig.talking({ rules, escalation })
  callerSays(rig, 'ridiculous', 'c1')
  callerSays(rig, 'ridiculous', 'c2')
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'no-answer', detail: 'nobody', closed: false } })
  callerSays(rig, 'still ridiculous', 'c3')
  t.equal(rig.all('escalate').length, 1)
})

t.test('without rules the gateway does not escalate by itself', async (t) => {
  const rig = Rig.talking({ escalation })
  callerSays(rig, 'this is ridiculous and I am fed up', 'c1')
  t.same(rig.all('escalate'), [])
})

t.test('proofs of identity are masked in record and packet [1]', async (t) => {
  const rig = Rig.talking({ escalation, toolNames: ['verify_caller'] })
  rig.toolCall('t1', 'verify_caller', { question: 'id-number', answer: '7386' }, 2)
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: { verified: false } })
  rig.toolCall('t2', 'verify_caller', { question: 'birth-year', answer: '1988' }, 2)
  rig.identity({ accountId: 'AC-1' })
  rig.in({ type: 'tool-result', callId: 't2', ok: true, value: { verified: true } })
  rig.in({ type: 'escalate-requested', reason: 'test' })
  const { packet } = rig.only('escalate')
  t.match(packet, {
    identity: { accountId: 'AC-1' },
    tried: [{ name: 'verify_caller', args: { question: 'id-number', answer: '…' } }, {}],
  })
  t.notMatch(JSON.stringify([packet, rig.toolCalls]), /7386|1988/)
})
