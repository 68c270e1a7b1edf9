import t from 'tap'
import { PRIVATE_TAIL_MS } from '../../src/call/tools/digit-collection.js'
import type { Collection } from '../../src/call/tools/digit-collection.js'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { KEYS_PRIVATE_MS, SecretNumbers } from '../../src/call/tools/private-keys.js'
import { stagesSchema } from '../../src/call/stage-definition.js'
import { escalation, Rig } from './rig.js'

const order: Collection = {
  name: 'order',
  say: 'Your order number, please.',
  again: 'That was not all.',
  confirm: null,
  min: 4,
  max: 4,
  terminator: '#',
  firstMs: 10_000,
  betweenMs: 4000,
  retries: 1,
  speech: true,
  maskAllBut: null,
  secretFor: null,
}
const pin: Collection = {
  ...order,
  name: 'pin',
  say: 'Your PIN, please.',
  speech: false,
  secretFor: { tool: 'refund', argument: 'pin' },
}

function asked(spec: Partial<Collection> = {}, base = order): Rig {
  const rig = Rig.talking({ collections: [{ ...base, ...spec }] })
  rig.toolCall('t1', 'collect_digits', { name: base.name })
  rig.run(1300)
  return rig
}
const press = (rig: Rig, keys: string): void => {
  for (const digit of keys) {
    rig.in({ type: 'dtmf', digit })
    rig.run(200)
  }
}
const result = (rig: Rig): unknown => rig.all('backend-tool-result').at(-1)

t.test('pressed digits reach the model only as the tool result', async (t) => {
  const rig = asked()
  t.same(rig.texts(), ['Your order number, please.'])
  press(rig, '4127#')
  t.match(result(rig), { callId: 't1', ok: true, value: { digits: '4127', by: 'keypad' } })
  t.same(rig.all('backend-dtmf'), [], 'the # is one of habit')
  t.match(rig.toolCalls, [{ name: 'collect_digits', ok: true }])
  rig.answer(2, 'a2', 500, 'Order 4127 is on its way.')
  rig.run(1000)
  t.equal(rig.session.log.transcript.at(-1)?.text, 'Order 4127 is on its way.')
})

t.test('keys after a complete entry never enter the next entry', (t) => {
  const rig = Rig.talking({ collections: [order, pin] })
  rig.toolCall('t1', 'collect_digits', { name: 'order' })
  rig.run(1300)
  press(rig, '412')
  rig.in({ type: 'dtmf', digit: '7' })
  rig.toolCall('t2', 'collect_digits', { name: 'pin' })
  for (const digit of '99') rig.in({ type: 'dtmf', digit })
  t.match(result(rig), { callId: 't1', value: { digits: '4127' } })
  rig.run(1500)
  press(rig, 'xxxx')
  t.match(rig.all('run-tool'), [{ name: 'refund', secret: { digits: 4 } }])
  t.same(rig.all('backend-dtmf'), [])
  t.end()
})

t.test('an extra key after an entry is dropped', (t) => {
  const rig = asked()
  press(rig, '41278')
  t.match(result(rig), { value: { digits: '4127' } })
  t.same(rig.all('backend-dtmf'), [])
  rig.answer(2, 'a2', 500, 'Press 1 to go on.')
  rig.run(700)
  press(rig, '1')
  t.match(rig.all('backend-dtmf'), [{ digit: '1' }], 'the agent was heard since')
  t.end()
})

t.test('a key counts once the next question is audible', (t) => {
  const rig = Rig.talking({ collections: [order, pin] })
  rig.toolCall('t1', 'collect_digits', { name: 'order' })
  rig.run(1300)
  press(rig, '4127')
  rig.toolCall('t2', 'collect_digits', { name: 'pin' })
  rig.run(200)
  press(rig, 'xxxx')
  t.match(rig.all('run-tool'), [{ name: 'refund', secret: { digits: 4 } }])
  t.end()
})

t.test('the first question waits for the greeting of its response', (t) => {
  const rig = new Rig({ collections: [order] })
  rig.open()
  rig.ready()
  rig.backend({ type: 'turn-start', generation: 1 })
  rig.toolCall('t1', 'collect_digits', { name: 'order' })
  rig.run(600)
  t.same(rig.texts(), [])
  rig.audio(1, 'greeting', 1000)
  rig.run(40)
  rig.backend({ type: 'turn-done', generation: 1, status: 'completed' })
  rig.run(200)
  t.same(rig.texts(), ['Your order number, please.'])
  t.end()
})

t.test('without a greeting the first question waits 2 s', (t) => {
  const rig = new Rig({ collections: [order] })
  rig.open()
  rig.ready()
  rig.backend({ type: 'turn-start', generation: 1 })
  rig.toolCall('t1', 'collect_digits', { name: 'order' })
  rig.run(1900)
  t.same(rig.texts(), [])
  rig.run(200)
  t.same(rig.texts(), ['Your order number, please.'])
  t.end()
})

t.test('after a handover by PIN the old agent stays silent', (t) => {
  const stages = {
    stages: stagesSchema.parse({
      ask: { instructions: 'Ask.', tools: ['refund'], next: { bank: { on: { tool: 'refund' } } } },
      bank: { instructions: 'Bank.', handoverTo: 'bank' },
    }),
    facts: {},
  }
  const rig = Rig.talking({ collections: [pin], stages })
  rig.toolCall('t1', 'collect_digits', { name: 'pin' })
  rig.run(1300)
  press(rig, 'xxxx')
  rig.in({ type: 'tool-result', callId: rig.only('run-tool').callId, ok: true, value: { right: true } })
  t.match(rig.toolCalls, [
    { name: 'refund', ok: true },
    { name: 'collect_digits', ok: true },
  ])
  t.notOk(rig.audio(9, 'a9', 500), 'the model that gets the result is not heard any more')
  rig.run(300)
  t.match(rig.only('handover').record, { to: 'bank' })
  t.equal(rig.session.checkpoint().privateKeys, 'pressed', 'its last keys may still come')
  t.end()
})

t.test('digits may be spoken, keyed, or both', async (t) => {
  const spoken = asked()
  spoken.speak(600)
  spoken.heardWords('nne moja')
  spoken.run(1500)
  spoken.speak(600)
  spoken.heardWords('mbili saba', 'c2')
  t.match(result(spoken), { ok: true, value: { digits: '4127', by: 'speech' } })
  const mixed = asked()
  mixed.speak(600)
  mixed.heardWords('four one')
  mixed.run(1000)
  press(mixed, '27')
  t.match(result(mixed), { ok: true, value: { digits: '4127', by: 'keypad' } })
})

t.test('words without digits are returned to the model [2]', async (t) => {
  const rig = asked()
  rig.speak(600)
  rig.heardWords('Subiri kidogo.')
  rig.run(14_000)
  t.equal(result(rig), undefined, 'the caller looks the number up')
  rig.speak(600)
  rig.heardWords('I want to talk to a human', 'c2')
  t.match(result(rig), { ok: false, value: { said: 'I want to talk to a human' } })
})

t.test('a response during an entry is interrupted at once', async (t) => {
  const rig = asked()
  rig.backend({ type: 'turn-start', generation: 2 })
  t.equal(rig.all('backend-interrupt').length, 1)
  t.notOk(rig.audio(2, 'a2', 400))
})

t.test('`#` or a pause ends an entry, `*` clears it', async (t) => {
  const rig = asked({ min: 3, max: 6 })
  press(rig, '99*4127#')
  t.match(result(rig), { value: { digits: '4127' } })
  const paused = asked({ min: 3, max: 6 })
  press(paused, '412')
  paused.run(4200)
  t.match(result(paused), { value: { digits: '412' } })
})

t.test('an incomplete entry is repeated once, then given up [1]', async (t) => {
  const rig = asked()
  press(rig, '41#')
  t.same(rig.texts().at(-1), 'That was not all. Your order number, please.')
  rig.run(12_000)
  t.match(result(rig), { ok: false, value: { error: /did not give the digits/ } })
  t.equal(rig.session.counters.silencePrompts, 0)
})

t.test('digits are read back and confirmed by the caller', async (t) => {
  const rig = asked({ confirm: 'I have {{digits}}.' })
  press(rig, '4128')
  t.equal(rig.texts().at(-1), 'I have 4, 1, 2, 8.')
  press(rig, '2')
  press(rig, '4127')
  rig.speak(400)
  rig.heardWords('Ndiyo')
  t.match(result(rig), { ok: true, value: { digits: '4127' } })
})

t.test('a masked number is whole for the model only', async (t) => {
  const rig = asked({ maskAllBut: 2 })
  press(rig, '4127')
  t.match(result(rig), { value: { digits: '4127' } })
  t.match(rig.session.log.toolCalls, [{ result: { digits: '••27' } }])
})

t.test('secret digits reach only their tool on a private line', async (t) => {
  const rig = asked({}, pin)
  t.ok(rig.session.private)
  t.same(rig.all('private'), [{ type: 'private', on: true }])
  t.equal(rig.types().indexOf('private') < rig.types().indexOf('announce'), true, 'before the question')
  rig.speak(900)
  press(rig, 'xxxx')
  t.match(rig.only('run-tool'), { name: 'refund', args: { pin: '••••' }, secret: { argument: 'pin', digits: 4 } })
  rig.in({ type: 'tool-result', callId: rig.only('run-tool').callId, ok: true, value: { verified: true } })
  t.match(result(rig), { callId: 't1', ok: true, value: { verified: true } })
  t.match(
    rig.toolCalls.map(({ name, args }) => ({ name, args })),
    [
      { name: 'refund', args: { pin: '••••' } },
      { name: 'collect_digits', args: { name: 'pin' } },
    ],
  )
  rig.run(PRIVATE_TAIL_MS + 100)
  t.notOk(rig.session.private)
  t.same(rig.all('backend-speech-start'), [], 'and nobody heard the caller speak')
  const { outputs, recorded } = replayJournal(rig.journal)
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 50 }), [], 'its journal is replayed to the same outputs')
})

t.test('a cancelled entry is answered and the line reopened', async (t) => {
  const rig = asked({}, pin)
  rig.backend({ type: 'tool-cancel', callIds: ['t1'] })
  t.match(rig.toolCalls, [{ name: 'collect_digits', ok: false }])
  rig.run(PRIVATE_TAIL_MS + 100)
  t.notOk(rig.session.private)
  rig.toolCall('t2', 'collect_digits', { name: 'address' })
  t.match(result(rig), { ok: false, value: { error: 'name must be one of pin.' } })
})

t.test('a secret entry stays private after a takeover [3]', async (t) => {
  const before = asked({}, pin)
  press(before, 'xx')
  const rig = new Rig({ collections: [pin] }, parseResume(JSON.parse(JSON.stringify(before.resume))))
  t.ok(rig.session.private)
  rig.open()
  rig.in({ type: 'dtmf', digit: 'x' })
  rig.ready()
  t.match(rig.only('backend-tool-result'), { callId: 't1', ok: false, value: { error: /Call collect_digits again/ } })
  t.same(rig.all('backend-dtmf'), [])
  rig.toolCall('t2', 'collect_digits', { name: 'pin' })
  rig.run(1300)
  press(rig, 'xxxx')
  t.equal(rig.only('run-tool').name, 'refund')
})

const says = (rig: Rig, text: string, generation = 2): void => {
  rig.answer(generation, `a${generation}`, 1500, text)
  rig.run(1700)
}

t.test("a stage's secret tool allows `collect_digits` without listing it", async (t) => {
  const stages = stagesSchema.parse({
    pay: { instructions: 'Take the PIN.', tools: ['refund'], next: { rest: 'paid' } },
    rest: { instructions: 'Say goodbye.', tools: [], final: true },
  })
  const rig = Rig.talking({ collections: [pin], stages: { stages, facts: {} } })
  rig.toolCall('t1', 'collect_digits', { name: 'pin' })
  t.ok(rig.session.private)
  rig.run(1300)
  press(rig, 'xxxx')
  rig.in({ type: 'tool-result', callId: rig.only('run-tool').callId, ok: true, value: { right: true } })
  t.match(result(rig), { callId: 't1', ok: true, value: { right: true } })
  rig.toolCall('t2', 'go_to_stage', { stage: 'rest' })
  rig.toolCall('t3', 'collect_digits', { name: 'pin' })
  t.match(result(rig), {
    ok: false,
    value: { error: /cannot be called in the stage rest. It can be called in: pay\./ },
  })
  t.ok(rig.session.privateKeys, 'and what the model asks for in words is private all the same')
})

t.test('keys are private after a PIN question in words [5]', async (t) => {
  const rig = Rig.talking({ collections: [order, pin] })
  t.notOk(rig.session.privateKeys)
  says(rig, 'Right. Please key in your PIN.')
  t.ok(rig.session.privateKeys, 'before the first key')
  t.notOk(rig.session.private, 'and the caller is heard')
  rig.speak(600)
  rig.heardWords('Which one?')
  press(rig, 'xxx')
  t.ok(rig.session.private, 'from the first key on the line is private')
  press(rig, 'x')
  rig.run(PRIVATE_TAIL_MS + 100)
  t.notOk(rig.session.private)
  t.same(rig.all('backend-dtmf'), [])
  const told = rig.all('backend-text').filter(({ text }) => text.includes('keyed in digits that are secret'))
  t.match(told, [{ role: 'system', text: /call collect_digits/ }])
  press(rig, 'x')
  t.same(rig.all('backend-dtmf'), [], 'a key that comes late is private too')
  const { outputs, recorded } = replayJournal(rig.journal)
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 50 }), [], 'its journal is replayed to the same outputs')
})

t.test('keys reopen after the tool, another number or a minute', async (t) => {
  const paid = asked({}, pin)
  press(paid, 'xxxx')
  paid.in({ type: 'tool-result', callId: paid.only('run-tool').callId, ok: true, value: {} })
  paid.run(PRIVATE_TAIL_MS + 100)
  t.notOk(paid.session.privateKeys)
  const other = Rig.talking({ collections: [order, pin] })
  says(other, 'What is your PIN?')
  says(other, 'Then key in your order number.', 3)
  t.notOk(other.session.privateKeys)
  const waited = Rig.talking({ collections: [pin] })
  says(waited, 'Please enter your PIN.')
  says(waited, 'It is only for this payment. Is that okay?', 3)
  t.ok(waited.session.privateKeys, 'not by a question of another kind')
  for (let at = 0; at < KEYS_PRIVATE_MS; at += 5000) {
    waited.run(5000)
    waited.speak(300)
    waited.heardWords('I look for it', `c${at + 10}`)
  }
  t.notOk(waited.session.privateKeys)
})

t.test('keys are private after a failed or skipped PIN entry', async (t) => {
  const late = asked({ retries: 0 }, pin)
  late.run(15_000)
  t.match(late.toolCalls, [{ name: 'collect_digits', ok: false }])
  t.ok(late.session.privateKeys, 'a caller who was too slow')
  const direct = Rig.talking({ collections: [pin], toolNames: ['find_order'] })
  direct.toolCall('t1', 'refund', { pin: '1234' })
  t.ok(direct.session.privateKeys, 'a model that calls the tool itself')
  const busy = Rig.talking({ collections: [order, pin] })
  busy.toolCall('t1', 'collect_digits', { name: 'order' })
  busy.toolCall('t2', 'collect_digits', { name: 'pin' })
  t.notOk(busy.session.private, 'the order number is being asked for')
})

t.test('private keys stay private for the next agent [4]', async (t) => {
  const before = Rig.talking({ collections: [pin] })
  says(before, 'Please key in your PIN.')
  const resume = parseResume(JSON.parse(JSON.stringify(before.resume)))
  const next = new Rig({ collections: [] }, resume)
  next.open()
  next.ready()
  t.ok(next.session.privateKeys)
  t.notOk(next.session.private)
  press(next, 'xxxx')
  t.same(next.all('backend-dtmf'), [])
  const keying = parseResume(JSON.parse(JSON.stringify(next.resume)))
  const last = new Rig({ collections: [] }, keying)
  t.ok(last.session.private, 'and in the middle of it the whole line')
})

t.test('keys are private while an offline dialogue expects a secret', async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'expects', what: 'digits', keys: 'secret' })
  says(rig, 'Your code.')
  t.ok(rig.session.privateKeys)
  for (let at = 0; at <= KEYS_PRIVATE_MS; at += 5000) {
    rig.run(5000)
    rig.speak(300)
    rig.heardWords('I look for it', `c${at + 10}`)
  }
  t.ok(rig.session.privateKeys, 'also for who looks for it for more than a minute')
  rig.backend({ type: 'expects', what: 'open', keys: 'open' })
  t.notOk(rig.session.privateKeys)
})

t.test("an offline dialogue's next question reopens private keys", async (t) => {
  const before = Rig.talking({ collections: [pin] })
  says(before, 'Please key in your PIN.')
  const next = new Rig({ collections: [] }, parseResume(JSON.parse(JSON.stringify(before.resume))))
  next.open()
  next.ready()
  next.backend({ type: 'expects', what: 'open', keys: 'open' })
  t.ok(next.session.privateKeys, 'the PIN may still be keyed in')
  says(next, 'Press 1 to hear it again.')
  t.notOk(next.session.privateKeys)
  press(next, '1')
  t.equal(next.all('backend-dtmf').length, 1, 'and the dialogue gets the key')
})

t.test('an offer answered by key reopens the keys', async (t) => {
  const rig = Rig.talking({ collections: [pin] })
  says(rig, 'Please enter your PIN.')
  says(rig, 'Or press 1 to speak to a colleague.', 3)
  t.notOk(rig.session.privateKeys)
})

const callsBack = {
  ...escalation,
  callback: {
    offerText: 'Press 1 for a call back.',
    confirmedText: 'We will call you.',
    refusedText: 'We cannot.',
    numberKnown: true,
  },
}
/** As the worker does: the session has secret keys masked. */
const pressed = (rig: Rig, keys: string): void => {
  for (const digit of keys) {
    rig.in({ type: 'dtmf', digit: rig.session.keyOf(digit) ?? '' })
    rig.run(200)
  }
}
const offer = (rig: Rig): void => {
  rig.in({ type: 'escalate-requested', reason: 'test' })
  rig.in({ type: 'escalation', step: { type: 'offer', outcome: 'no-answer', detail: '', closed: false } })
  rig.run(2500)
}
const seenOf = (rig: Rig): unknown => rig.all('backend-dtmf').map(({ digit }) => digit)

t.test('a PIN keyed during an offer never reaches the model', async (t) => {
  const older = Rig.talking({ collections: [pin], escalation: callsBack })
  says(older, 'Please key in your PIN.')
  offer(older)
  pressed(older, '4')
  t.ok(older.session.private, 'a key that is no answer')
  pressed(older, '212')
  t.same([seenOf(older), older.all('callback')], [[], []])

  const accepted = Rig.talking({ collections: [pin], escalation: callsBack })
  says(accepted, 'Please key in your PIN.')
  offer(accepted)
  pressed(accepted, '1')
  t.equal(accepted.all('callback').length, 1, 'the offer is newer: 1 is its answer')
  t.same(seenOf(accepted), [])

  const newer = Rig.talking({ collections: [pin], escalation: callsBack })
  offer(newer)
  says(newer, 'Please key in your PIN.')
  pressed(newer, '1234')
  t.same([seenOf(newer), newer.all('callback')], [[], []], 'the PIN is newer: 1 is its first key')
})

t.test('a PIN keyed in a callback never reaches the model', async (t) => {
  const before = Rig.talking({ collections: [pin] })
  before.heardWords('Where is my order?')
  before.run(500)
  const { checkpoint, log } = parseResume(JSON.parse(JSON.stringify(before.resume)))
  const asks = { greeted: false, greetingMs: null, owed: 'nothing', callBack: 'asks' } as const
  const rig = new Rig(
    { collections: [pin] },
    { log, checkpoint: { ...checkpoint, ...asks }, newStream: { streamMs: 0, consented: true } },
  )
  rig.open()
  rig.ready()
  says(rig, 'Please key in your PIN.', 1)
  pressed(rig, '1234')
  t.same(seenOf(rig), [])
  t.equal(rig.session.checkpoint().callBack, 'asks', 'its first key is no yes')
})

t.test('a key that answers the consent text is not private', async (t) => {
  const rig = new Rig({
    ...{ collections: [pin], consentText: 'We record. Press 2 if you mind.' },
    refusal: { text: 'It is not recorded.', waitMs: 3000 },
  })
  rig.open()
  rig.run(1200)
  pressed(rig, '2')
  t.equal(rig.all('recording-refused').length, 1, 'no PIN was asked for')
})

t.test('questions for secret numbers are recognised in both languages', async (t) => {
  const idNumber = { ...pin, name: 'id-number', say: 'Please key in the last four digits of your ID number.' }
  const secret = { ...pin, name: 'code', say: { en: 'Key in your code.', sw: 'Bonyeza namba yako ya siri.' } }
  const numbers = new SecretNumbers([order, idNumber, secret])
  for (const text of [
    'Could you give me the last digits of your ID?',
    'Tafadhali ingiza namba yako ya siri.',
    'Nipe PIN yako.',
    'Thank you. Your code, please. I wait.',
    'Now enter it.',
  ])
    t.equal(numbers.asked(text), 'secret', text)
  for (const text of [
    'What is your order number?',
    'Press 2 to hear it again.',
    'Key in your ticket number.',
    'Bonyeza moja.',
  ])
    t.equal(numbers.asked(text), 'other', text)
  for (const text of ['Your ID was found.', 'Anything else?', 'I have sent it.', 'Is that right?'])
    t.equal(numbers.asked(text), 'nothing', text)
})
