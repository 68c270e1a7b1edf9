import t from 'tap'
import type { CallState } from '../../src/call/call-deadlines.js'
import { isClosing } from '../../src/call/spoken/closing-cues.js'
import type { Collection } from '../../src/call/tools/digit-collection.js'
import { outcomeOf } from '../../src/call/outcome.js'
import { escalation, Rig } from './rig.js'

const ORDER: Collection = {
  ...{ name: 'order', say: 'Your order number, please.', again: 'That was not all.', confirm: null },
  ...{ min: 4, max: 4, terminator: '#', firstMs: 10_000, betweenMs: 4000, retries: 1, speech: true },
  ...{ maskAllBut: null, secretFor: null },
}

/** A call in each state that it can be in. */
const inState: Readonly<Record<Exclude<CallState, 'ended'>, () => Rig>> = {
  waiting: () => new Rig(),
  connecting: () => {
    const rig = new Rig()
    rig.open()
    return rig
  },
  live: () => Rig.talking(),
  escalating: () => {
    const rig = Rig.talking({ escalation })
    rig.toolCall('e1', 'escalate_to_human', { reason: 'asked' })
    return rig
  },
  holding: () => {
    const rig = inState.escalating()
    rig.in({ type: 'escalation', step: { type: 'hold' } })
    return rig
  },
  bridged: () => {
    const rig = inState.holding()
    rig.in({ type: 'escalation', step: { type: 'bridged', strategy: 'supervision' } })
    return rig
  },
  closing: () => {
    const rig = Rig.talking()
    rig.in({ type: 'hangup-requested', reason: 'drain-limit', detail: 'deploy', speak: true })
    return rig
  },
  closed: () => {
    const rig = Rig.talking()
    rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: false })
    return rig
  },
}

for (const [state, make] of Object.entries(inState)) {
  t.test(`a hang-up while ${state} ends the call once [4]`, async (t) => {
    for (const how of ['socket', 'carrier'] as const) {
      const rig = make()
      t.equal(rig.session.state, state)
      if (how === 'socket') rig.in({ type: 'stream-closed', code: 1006 })
      else rig.in({ type: 'carrier-state', state: 'completed' })
      if (state === 'waiting' && how === 'socket') {
        t.equal(rig.session.state, 'waiting', 'there was no socket')
        continue
      }
      rig.run(2100)
      t.equal(rig.session.state, 'ended', how)
      t.equal(rig.all('ended').length, 1)
      t.equal(rig.all('backend-close').length, 1)
      t.equal(rig.session.nextWake(), null)
      const before = rig.log.length
      rig.in({ type: 'stream-closed', code: 1000 })
      rig.speak(400)
      rig.toolCall('x', 'refund')
      t.notOk(rig.audio(99, 'x', 100))
      t.equal(rig.log.length, before, 'nothing comes after the end')
    }
  })

  t.test(`an operator's hang-up while ${state} ends the call [7]`, async (t) => {
    for (const speak of [false, true]) {
      const rig = make()
      rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: 'by hand', speak })
      rig.run(25_000)
      t.equal(rig.session.state, 'ended')
      t.equal(rig.all('ended').length, 1)
      t.equal(rig.all('end-stream').filter(({ hangup }) => !hangup).length, 0, 'the carrier is asked to end the call')
    }
  })
}

t.test('each end reason has its close code and outcome [8]', async (t) => {
  for (const [reason, code, outcome] of [
    ['drain-limit', 1001, 'abandoned'],
    ['carrier-silent', 1000, 'abandoned'],
    ['carrier-abuse', 1008, 'failed'],
    ['operator-hangup', 1000, 'abandoned'],
    ['call-fault', 1011, 'failed'],
  ] as const) {
    const rig = Rig.talking()
    rig.in({ type: 'hangup-requested', reason, detail: 'd', speak: false })
    t.match(rig.only('end-stream'), { code, reason, detail: 'd', hangup: true })
    rig.in({ type: 'stream-closed', code })
    t.match(rig.only('ended'), { reason, outcome })
  }
})

t.test("a socket fault is not a caller's hang-up [9]", async (t) => {
  for (const [reason, outcome, hangup] of [
    ['carrier-protocol', 'failed', true],
    ['carrier-error', 'failed', true],
    ['carrier-silent', 'abandoned', true],
    ['drain-limit', 'abandoned', true],
    ['socket-lost', 'abandoned', false],
  ] as const) {
    const rig = Rig.talking()
    rig.in({ type: 'stream-closed', code: 1002, fault: { reason, detail: 'd' } })
    t.match(rig.only('ended'), { reason, outcome, detail: 'd' })
    t.match(rig.all('end-stream'), hangup ? [{ reason, detail: 'd', hangup: true }] : [], reason)
  }
  const served = Rig.talking()
  served.speak(500)
  served.run(620)
  served.answer(2, 'a2', 500)
  served.run(1000)
  served.in({ type: 'stream-closed', code: 1006, fault: { reason: 'socket-lost', detail: 'd' } })
  t.match(
    served.only('ended'),
    { reason: 'socket-lost', outcome: 'contained' },
    'whose line breaks off after the answer is served',
  )

  const ours = Rig.talking()
  ours.in({ type: 'hangup-requested', reason: 'carrier-abuse', detail: 'too much', speak: false })
  ours.in({ type: 'stream-closed', code: 1006, fault: { reason: 'socket-lost', detail: 'd' } })
  t.match(ours.only('ended'), { reason: 'carrier-abuse' }, 'what was decided before stays')
})

t.test('a socket that never opens ends the call at once', async (t) => {
  const rig = new Rig()
  rig.in({ type: 'hangup-requested', reason: 'socket-never-came', detail: '10 s', speak: true })
  t.match(rig.only('ended'), { reason: 'socket-never-came', outcome: 'failed' })
})

t.test('a requested goodbye interrupts the agent and is heard [12]', async (t) => {
  const rig = Rig.talking()
  rig.answer(2, 'long', 60_000)
  rig.run(1000)
  rig.in({ type: 'hangup-requested', reason: 'drain-limit', detail: 'deploy', speak: true })
  t.equal(rig.all('playout-clear').length, 1)
  t.equal(rig.only('announce').kind, 'goodbye')
  rig.run(1000)
  t.same(rig.all('end-stream'), [])
  rig.run(500)
  t.match(rig.only('end-stream'), { code: 1001, reason: 'drain-limit' })
})

t.test('a caller who speaks does not cancel an end that was not agreed', async (t) => {
  const rig = inState.closing()
  rig.speak(600)
  rig.run(400)
  t.same(
    [rig.all('backend-speech-start'), rig.all('playout-clear')],
    [[], []],
    'nobody listens, and the goodbye goes on',
  )
  t.equal(rig.session.state, 'closing')
  rig.run(25_000)
  t.match(rig.only('end-stream'), { reason: 'drain-limit' })
})

t.test('a failed goodbye does not hold the call', async (t) => {
  const failed = Rig.talking()
  failed.announceMs = null
  failed.in({ type: 'hangup-requested', reason: 'drain-limit', detail: '', speak: true })
  failed.in({ type: 'announce-failed', itemId: failed.only('announce').itemId })
  t.equal(failed.all('end-stream').length, 1)

  const lost = Rig.talking()
  lost.announceMs = null
  lost.in({ type: 'hangup-requested', reason: 'drain-limit', detail: '', speak: true })
  lost.run(7000)
  t.equal(lost.all('end-stream').length, 1)
})

t.test('an unclosed socket counts as closed after 2 s', async (t) => {
  const rig = Rig.talking()
  rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: false })
  rig.run(1900)
  t.same(rig.all('ended'), [])
  rig.run(200)
  t.equal(rig.only('ended').reason, 'operator-hangup')
})

t.test("the carrier's `completed` state stops the agent", async (t) => {
  const rig = Rig.talking()
  rig.answer(2, 'a2', 5000)
  rig.run(500)
  rig.in({ type: 'carrier-state', state: 'completed' })
  t.equal(rig.all('playout-clear').length, 1)
  t.match(rig.only('end-stream'), { reason: 'caller-hung-up', hangup: false })
})

t.test('irrelevant carrier states change nothing [11]', async (t) => {
  const rig = Rig.talking()
  const states = [
    'busy',
    'no-answer',
    'dial-completed',
    'stream-started',
    'stream-stopped',
    'stream-error',
    'unknown',
    'ringing',
    'answered',
  ] as const
  for (const state of states) {
    rig.in({ type: 'carrier-state', state })
  }
  t.equal(rig.session.state, 'live')
  t.same(rig.types(), [])
})

t.test('a stream error before opening fails the call [10]', async (t) => {
  const rig = new Rig()
  rig.in({ type: 'carrier-state', state: 'stream-error' })
  t.match(rig.only('ended'), { reason: 'stream-error', outcome: 'failed' })
})

t.test('the time limit is announced, and ignored while bridged [6]', async (t) => {
  const rig = Rig.talking({
    duration: { maxMs: 20_000, text: 'Time is up.' },
    silence: { afterMs: 60_000, prompts: [] },
  })
  rig.run(18_600)
  t.same(rig.texts(), ['Time is up.'])
  rig.run(1500)
  t.match(rig.only('end-stream'), { reason: 'duration-limit' })

  const held = Rig.talking({ duration: { maxMs: 20_000, text: 'Time is up.' }, escalation })
  held.in({ type: 'escalate-requested', reason: 'vip' })
  held.in({ type: 'escalation', step: { type: 'hold' } })
  held.in({ type: 'escalation', step: { type: 'bridged', strategy: 'supervision' } })
  held.run(60_000)
  t.equal(held.session.state, 'bridged')
})

t.test('a spent budget ends the call with a delayed goodbye', async (t) => {
  const spent = { type: 'tool-call', callId: 'budget-end-1', name: 'end_call', args: {}, generation: 9 } as const
  const ends = (rig: Rig): void => rig.backend({ ...spent, spent: true })
  const options = { escalation, collections: [ORDER], goodbyeText: 'Bye.', silence: { afterMs: 60_000, prompts: [] } }

  const tried = Rig.talking(options)
  tried.in({ type: 'escalate-requested', reason: 'vip' })
  tried.in({ type: 'escalation', step: { type: 'hold' } })
  ends(tried)
  tried.run(20_000)
  t.equal(tried.session.state, 'holding', 'whoever waits for a human is not hung up on')
  tried.in({ type: 'escalation', step: { type: 'failed', outcome: 'no-answer', detail: 'nobody', closed: false } })
  tried.run(4000)
  t.same(tried.texts(), ['Connecting you.', 'Nobody is free.', 'Bye.'])
  t.match(tried.only('end-stream'), { reason: 'agent-goodbye' })

  const bridged = Rig.talking(options)
  bridged.in({ type: 'escalate-requested', reason: 'vip' })
  ends(bridged)
  bridged.in({ type: 'escalation', step: { type: 'bridged', strategy: 'supervision' } })
  bridged.run(20_000)
  t.equal(bridged.session.state, 'bridged', 'nor who talks to one')

  const waits = Rig.talking(options)
  waits.speak(500)
  waits.run(620)
  waits.heardWords('Hold on a moment.')
  ends(waits)
  waits.run(3000)
  t.match([waits.texts(), waits.all('end-stream')], [['Bye.'], [{ reason: 'agent-goodbye' }]])

  const keys = Rig.talking(options)
  keys.toolCall('k1', 'collect_digits', { name: 'order' })
  ends(keys)
  keys.run(2000)
  t.same(keys.all('end-stream'), [], 'who keys in a number is heard first')
  for (const digit of '1234#') keys.in({ type: 'dtmf', digit })
  keys.answer(2, 'a2', 500, 'Thank you.')
  keys.run(4000)
  t.same([keys.texts().at(-1), keys.all('end-stream').length], ['Bye.', 1])

  const runs = Rig.talking(options)
  runs.toolCall('t1', 'find_order', { order: 5 })
  ends(runs)
  runs.run(3000)
  t.same([runs.all('cancel-tools'), runs.all('end-stream')], [[], []], 'nor who waits for an outcome')
  runs.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  runs.answer(2, 'a2', 500, 'It was sent.')
  runs.run(4000)
  t.same([runs.texts().at(-1), runs.all('end-stream').length], ['Bye.', 1])

  const usual = Rig.talking(options)
  usual.answer(2, 'a2', 500, 'Your time is up. Goodbye.')
  ends(usual)
  usual.run(2000)
  t.same([usual.texts(), usual.all('end-stream').length], [[], 1], "the model's own goodbye is enough")
})

t.test('after a backend failure the agent apologises or escalates [1]', async (t) => {
  for (const event of [
    { type: 'error', code: 'quota', message: 'm', fatal: true, retryable: false },
    { type: 'closed', code: 1006, reason: '', clean: false },
  ] as const) {
    const rig = Rig.talking()
    rig.toolCall('t1', 'find_order')
    rig.backend(event)
    rig.backend({ type: 'closed', code: 1006, reason: '', clean: false })
    t.same(rig.texts(), ['I am sorry, I have a technical problem.'])
    t.same(rig.only('cancel-tools').callIds, ['t1'])
    rig.run(2000)
    t.match(rig.only('end-stream'), { reason: 'backend-failed' })

    const helped = Rig.talking({ escalation })
    helped.backend(event)
    t.equal(helped.all('escalate').length, 1)
    helped.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: 'all busy', closed: false } })
    t.match(helped.all('announce').at(-1), { kind: 'apology', text: 'Nobody is free. Thank you for calling. Goodbye.' })
    helped.run(3000)
    t.match(helped.only('end-stream'), { reason: 'backend-failed', hangup: true })
  }
})

t.test('a non-fatal backend error does not end the call', async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'error', code: 'rate_limit', message: 'm', fatal: false, retryable: true })
  t.equal(rig.session.state, 'live')
})

t.test('the third failed response counts as a backend failure [3]', async (t) => {
  const rig = Rig.talking()
  for (let generation = 2; generation <= 4; generation++) {
    rig.backend({ type: 'turn-start', generation })
    rig.backend({ type: 'turn-done', generation, status: 'failed', reason: 'overloaded' })
    rig.run(1500)
  }
  t.same(rig.texts(), [
    'Sorry, could you say that again?',
    'Sorry, could you say that again?',
    'I am sorry, I have a technical problem.',
  ])
})

t.test('a silent backend gets a second chance, then fails [2]', async (t) => {
  const rig = Rig.talking()
  rig.speak(500)
  rig.run(700)
  rig.heardWords('Hello?')
  rig.run(12_020)
  t.same(rig.texts(), ['Sorry, could you say that again?'])
  rig.run(12_000)
  t.same(rig.texts(), ['Sorry, could you say that again?', 'I am sorry, I have a technical problem.'])
})

t.test('the outcome follows from the end reason and the facts', async (t) => {
  const served = { escalated: false, answered: true, waiting: false }
  t.equal(outcomeOf('caller-hung-up', served), 'contained')
  t.equal(outcomeOf('caller-hung-up', { ...served, waiting: true }), 'abandoned')
  t.equal(outcomeOf('caller-hung-up', { ...served, answered: false }), 'abandoned')
  t.equal(outcomeOf('caller-hung-up', { ...served, escalated: true }), 'escalated')
  t.equal(outcomeOf('agent-goodbye', { ...served, answered: false }), 'contained')
  t.equal(outcomeOf('agent-goodbye', { ...served, waiting: true }), 'abandoned')
  t.equal(outcomeOf('escalated', served), 'escalated')
  t.equal(outcomeOf('backend-failed', served), 'failed')
})

t.test('a served caller is contained, a waiting caller abandoned [5]', async (t) => {
  const rig = Rig.talking()
  rig.speak(500)
  rig.run(620)
  rig.answer(2, 'a2', 500)
  rig.run(1000)
  rig.in({ type: 'stream-closed', code: 1000 })
  t.equal(rig.only('ended').outcome, 'contained')

  const waiting = Rig.talking()
  waiting.speak(500)
  waiting.run(700)
  waiting.in({ type: 'stream-closed', code: 1000 })
  t.equal(waiting.only('ended').outcome, 'abandoned')
})

t.test('closing words are recognised in English and Swahili', async (t) => {
  for (const words of [
    "That's all, thank you.",
    'No, that is all. Thanks a lot, bye!',
    'Okay thank you, goodbye.',
    'Hayo tu.',
    'Hapana, hayo tu, asante sana.',
    'Asante, kwaheri.',
    'Sawa, hakuna kingine. Thank you, bye bye.',
    'Nothing else, have a nice day',
  ])
    t.ok(isClosing(words), words)
  for (const words of [
    '',
    'Bye.',
    'Kwaheri.',
    'Thank you very much.',
    'Asante sana.',
    'No, thank you.',
    'Sawa sawa.',
    "That's all wrong, I want the other one.",
    'Is that all?  And my refund?',
    'Hayo tu yamefika, mengine yako wapi?',
    'I said bye to the courier.',
  ])
    t.notOk(isClosing(words), words)
})

/** A caller who was answered says `words`; the agent answers with `answer`. */
function saidAndAnswered(words: string, answer: string, overrides: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = Rig.talking({ goodbyeText: 'Thank you for calling. Goodbye.', ...overrides })
  rig.speak(600)
  rig.run(700)
  rig.heardWords(words)
  rig.answer(2, 'a2', 800, answer)
  rig.run(900)
  return rig
}

t.test('closing words are answered once, then the call ends', async (t) => {
  const rig = saidAndAnswered("That's all, thank you.", 'You are welcome.')
  rig.run(2500)
  t.same(rig.texts(), [])
  rig.run(700)
  t.same(rig.texts(), ['Thank you for calling. Goodbye.'])
  rig.run(2000)
  t.match(rig.only('end-stream'), { reason: 'agent-goodbye', hangup: true })
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'contained' })
})

t.test("the agent's goodbye is not repeated, its question is awaited", async (t) => {
  const said = saidAndAnswered('Asante, kwaheri.', 'Asante kwa kupiga, kwaheri.')
  said.run(5000)
  t.same(said.texts(), [])
  t.match(said.only('end-stream'), { reason: 'agent-goodbye' })

  const asks = saidAndAnswered("That's all, thanks.", 'Is there anything else?')
  asks.run(6000)
  t.same(asks.all('end-stream'), [])
})

t.test('a caller who speaks before the end keeps the call', async (t) => {
  const before = saidAndAnswered("That's all, thank you.", 'You are welcome.')
  before.run(1000)
  before.speak(600)
  before.run(700)
  before.heardWords('Oh, and the other order?', 'c2')
  before.answer(3, 'a3', 500)
  before.run(5000)
  t.same(before.all('end-stream'), [])

  const over = saidAndAnswered("That's all, thank you.", 'You are welcome.')
  over.run(3400)
  t.equal(over.texts().length, 1)
  over.speak(800)
  over.run(3000)
  t.same(over.all('end-stream'), [])
  t.equal(over.session.state, 'live')
})

t.test('without the setting or an answer, closing words are ignored', async (t) => {
  const off = saidAndAnswered("That's all, thank you.", 'You are welcome.', { closing: null })
  off.run(5000)
  t.same(off.all('end-stream'), [])

  const waiting = Rig.talking()
  waiting.speak(600)
  waiting.run(700)
  waiting.heardWords("That's all, thank you.")
  waiting.run(6000)
  t.same(waiting.all('end-stream'), [])
})

t.test('a handover restarts the time limit for the new agent', (t) => {
  const before = Rig.talking()
  const { checkpoint, log } = before.resume
  const nowMs = before.nowMs + 60_000
  const handovers = [{ atMs: nowMs - 1000, from: 'front', to: 'sales', summary: '' }]
  const duration = { maxMs: 8000, text: 'Time is up.' }
  const rig = new Rig({ duration, agent: 'sales' }, { checkpoint, log: { ...log, handovers } })
  rig.nowMs = nowMs
  rig.open()
  rig.ready()
  rig.run(7900)
  t.same(rig.texts(), [])
  rig.run(200)
  t.same(rig.texts(), ['Time is up.'])
  t.end()
})
