import t from 'tap'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { RESUME_TOOL } from '../../src/call/tools/gateway-tools.js'
import { escalation, Rig } from './rig.js'

function escalating(): Rig {
  const rig = Rig.talking({ escalation })
  rig.session.setIdentity({ accountId: 'A-1', verified: true })
  rig.toolCall('t1', 'find_order', { order: 5 })
  rig.in({ type: 'tool-result', callId: 't1', ok: false, value: null, error: 'not found' })
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked for a human', summary: 'order five is lost' })
  return rig
}

t.test('the handoff packet is sent before the stream is closed', async (t) => {
  const rig = escalating()
  const { packet } = rig.only('escalate')
  t.match(packet, {
    version: 1,
    callSid: 'HD_test',
    agent: 'order-status',
    reason: 'asked for a human',
    summary: 'order five is lost',
    identity: { accountId: 'A-1', verified: true },
    tried: [{ name: 'find_order', ok: false, args: { order: 5 } }],
    transcript: [{ role: 'agent', text: 'Hello.' }],
  })
  t.match(packet.at, /^2023-11-14T22:13:2\d\.\d{3}Z$/)
  t.same(rig.all('end-stream'), [])
  t.same(rig.all('announce'), [], 'nothing is promised before it is known that there is somebody to try')
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  t.match(rig.only('announce'), { kind: 'escalation', text: 'Connecting you.' })
})

t.test('the stream closes after the announcement without a hang-up [3]', async (t) => {
  const rig = escalating()
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  rig.run(900)
  t.same(rig.all('end-stream'), [])
  rig.run(400)
  t.match(rig.only('end-stream'), { code: 1000, reason: 'escalated', hangup: false })
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'escalated', reason: 'escalated' })
  t.match(rig.toolCalls.at(-1), { name: 'escalate_to_human', ok: true })
})

t.test('a failed announcement does not delay the escalation', async (t) => {
  const rig = Rig.talking({ escalation })
  rig.announceMs = null
  rig.in({ type: 'escalate-requested', reason: 'operator' })
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  rig.run(5000)
  t.equal(rig.all('end-stream').length, 1)

  const failed = Rig.talking({ escalation })
  failed.announceMs = null
  failed.in({ type: 'escalate-requested', reason: 'operator' })
  failed.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  failed.in({ type: 'announce-failed', itemId: failed.only('announce').itemId })
  t.equal(failed.all('end-stream').length, 1)
})

t.test('the waiting sound plays during long tools and holds [13]', async (t) => {
  const rig = Rig.talking({ escalation, waitingSoundAfterMs: 2000 })
  const sounds = (): boolean[] => rig.all('waiting-sound').map(({ on }) => on)
  rig.toolCall('t0', 'find_order', { order: 4 })
  rig.run(1900)
  rig.in({ type: 'tool-result', callId: 't0', ok: true, value: {} })
  rig.run(3000)
  t.same(sounds(), [], 'a short wait is silent')
  rig.toolCall('t1', 'find_order', { order: 5 })
  rig.run(2100)
  t.same(sounds(), [true])
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  t.same(sounds(), [true, false])
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked for a human', summary: '' })
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  rig.run(2100)
  t.same(sounds(), [true, false, true])
  rig.in({ type: 'escalation', step: { type: 'bridged', strategy: 'supervision' } })
  t.same(sounds(), [true, false, true, false], 'nobody hears it under the human')
  rig.run(10_000)
  t.equal(sounds().length, 4)
})

t.test('a held caller hears neither prompts nor the agent', async (t) => {
  const rig = escalating()
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  rig.run(30_000)
  t.same(rig.texts(), ['Connecting you.'])
  t.notOk(rig.audio(9, 'late', 100))
  rig.in({ type: 'escalation', step: { type: 'bridged', strategy: 'supervision' } })
  t.equal(rig.all('backend-close').length, 1)
  rig.run(120_000)
  t.same(rig.texts(), ['Connecting you.'])
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'escalated', reason: 'escalated' })
  t.match(rig.session.escalation, { strategy: 'supervision', outcome: 'answered' })
})

t.test('a strategy may close a held stream after failing', async (t) => {
  const rig = escalating()
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  rig.run(5000)
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  t.same(rig.texts(), ['Connecting you.'], 'announced once')
  t.match(rig.only('end-stream'), { reason: 'escalated', hangup: false })
})

t.test('a failed escalation is announced, then the call continues [12]', async (t) => {
  const rig = escalating()
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  rig.run(1500)
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'no-answer', detail: 'rang out', closed: false } })
  t.same(rig.texts(), ['Connecting you.', 'Nobody is free.'])
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'e1', ok: false, value: { outcome: 'no-answer' } })
  t.equal(rig.all('backend-tool-result').filter(({ callId }) => callId === 'e1').length, 1)
  t.equal(rig.session.state, 'live')
  t.ok(rig.audio(9, 'a9', 100), 'the agent is heard again')
  t.match(rig.session.escalation, { outcome: 'no-answer' })
})

t.test("an operator's escalation informs the model by system text", async (t) => {
  const rig = Rig.talking({ escalation })
  rig.answer(2, 'long', 20_000)
  rig.run(500)
  rig.in({ type: 'escalate-requested', reason: 'vip' })
  t.equal(rig.all('playout-clear').length, 1, 'the operator does not wait for the agent')
  rig.in({ type: 'escalate-requested', reason: 'vip' })
  t.equal(rig.all('escalate').length, 1)
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: '', closed: false } })
  t.match(rig.only('backend-text'), { role: 'system', respond: false, text: /No human/ })
})

t.test("a handover waits until an operator's escalation has failed", (t) => {
  const rig = Rig.talking({ escalation, handoverTo: { sales: 'they want to buy' } })
  rig.toolCall('h1', 'hand_over', { agent: 'sales' })
  rig.in({ type: 'escalate-requested', reason: 'vip' })
  rig.run(1000)
  t.same(rig.all('handover'), [])
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: '', closed: false } })
  rig.run(500)
  t.same(rig.all('handover'), [], 'the words are heard')
  rig.toolCall('v1', 'find_order', {}, 9)
  t.same(rig.all('run-tool'), [], 'and the first agent does nothing more')
  rig.run(2000)
  t.match(rig.only('handover').record, { to: 'sales' })
  t.end()
})

t.test('a handover survives a failed escalation and a dead backend', (t) => {
  const callback = {
    offerText: 'Shall we call back?',
    confirmedText: 'Noted.',
    refusedText: 'We cannot.',
    numberKnown: true,
  }
  for (const type of ['failed', 'offer'] as const)
    for (const afterFailure of ['continue', 'goodbye'] as const) {
      const rig = Rig.talking({
        escalation: { ...escalation, callback, afterFailure },
        handoverTo: { sales: 'they want to buy' },
      })
      rig.toolCall('h1', 'hand_over', { agent: 'sales' })
      rig.in({ type: 'escalate-requested', reason: 'vip' })
      rig.run(200)
      rig.backend({ type: 'error', code: 'network', message: '', fatal: true, retryable: false })
      rig.in({ type: 'escalation', step: { type, outcome: 'busy', detail: '', closed: false } })
      rig.run(3000)
      t.match(rig.only('handover').record, { to: 'sales' })
      t.same(rig.texts(), ['Nobody is free.'], 'no call back is offered: somebody goes on')
      t.same(
        rig.all('callback').map(({ wish }) => wish),
        type === 'offer' ? [null] : [],
        'and the escalation waits for no answer to it',
      )
    }
  t.end()
})

t.test('a failed escalation may end the call instead', async (t) => {
  const rig = Rig.talking({ escalation: { ...escalation, afterFailure: 'goodbye' } })
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked' })
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: 'all busy', closed: false } })
  rig.run(3000)
  t.match(rig.only('end-stream'), { reason: 'agent-goodbye', hangup: true })
  rig.in({ type: 'stream-closed', code: 1000 })
  t.equal(rig.only('ended').outcome, 'abandoned')
})

t.test('an escalation without a step fails after its time limit', async (t) => {
  const rig = escalating()
  rig.run(4900)
  t.equal(rig.session.state, 'escalating')
  rig.run(200)
  t.equal(rig.session.state, 'live')
  t.same(rig.texts(), ['Nobody is free.'])
})

t.test('a failed socket does not hang up an escalation [2]', async (t) => {
  const fault = { reason: 'carrier-error', detail: 'the carrier closed with code 1011' } as const
  const pending = escalating()
  pending.in({ type: 'escalation', step: { type: 'hold' } })
  pending.in({ type: 'stream-closed', code: 1011, fault })
  t.match(pending.only('ended'), fault)
  t.same(pending.all('end-stream'), [])

  const bridged = escalating()
  bridged.in({ type: 'escalation', step: { type: 'hold' } })
  bridged.in({ type: 'escalation', step: { type: 'bridged', strategy: 'supervision' } })
  bridged.in({ type: 'stream-closed', code: 1011, fault })
  t.match(bridged.only('ended'), { reason: 'escalated', outcome: 'escalated' })
  t.same(bridged.all('end-stream'), [])

  const failed = escalating()
  failed.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: '', closed: false } })
  failed.in({ type: 'stream-closed', code: 1011, fault })
  t.match(failed.only('end-stream'), { ...fault, hangup: true }, 'nobody comes any more')
})

t.test('a hold without a human ends after a minute [11]', async (t) => {
  const rig = escalating()
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  rig.run(60_100)
  t.equal(rig.session.state, 'live')
  t.equal(rig.texts().at(-1), 'Nobody is free.')
})

t.test("without an escalation an operator's request is refused", async (t) => {
  const rig = Rig.talking()
  rig.in({ type: 'escalate-requested', reason: 'vip' })
  t.same(rig.types(), [])
  t.match(rig.all('mark'), [{ name: 'escalation-refused' }])
})

t.test('a hang-up during an escalation counts as abandoned [10]', async (t) => {
  const rig = escalating()
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'abandoned', reason: 'caller-hung-up' })
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
const offerStep = { type: 'offer', outcome: 'busy', detail: '', closed: false } as const

function offered(changes: object = {}): Rig {
  const rig = Rig.talking({ escalation: { ...callsBack, ...changes } })
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked for a human', summary: 'order five is lost' })
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  rig.run(3000)
  rig.in({ type: 'escalation', step: offerStep })
  rig.run(2000)
  return rig
}

t.test('a failed escalation offers a callback by digit 1 [5]', async (t) => {
  const rig = offered()
  t.same(rig.texts(), ['Connecting you.', 'Nobody is free. Press 1 for a call back.'])
  t.equal(rig.session.state, 'live', 'they may answer in words too')
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'e1', value: { error: /call request_callback/ } })
  rig.in({ type: 'dtmf', digit: '1' })
  t.match(rig.only('callback').wish, {
    asked: 'key',
    number: null,
    packet: { reason: 'asked for a human', summary: 'order five is lost', callSid: 'HD_test' },
  })
  t.same(rig.all('backend-dtmf'), [], 'the key was for the gateway')
  t.equal(rig.texts().at(-1), 'We will call you.')
  t.match(rig.session.escalation, { strategy: 'callback', outcome: 'answered' })
  rig.run(20_000)
  t.equal(rig.all('callback').length, 1)
  rig.in({ type: 'dtmf', digit: '1' })
  t.equal(rig.all('backend-dtmf').length, 1, "later keys are the agent's again")
})

t.test('a callback may be requested in words, for any number', async (t) => {
  const rig = offered()
  rig.toolCall('c1', 'request_callback', { note: 'after five', number: '0700 000 002' }, 9)
  t.match(rig.only('callback').wish, {
    asked: 'words',
    number: '0700000002',
    note: 'after five',
    packet: { reason: 'asked for a human' },
  })
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'c1', ok: true, value: { noted: true } })

  const own = Rig.talking({ escalation: callsBack })
  own.toolCall('c1', 'request_callback', { note: 'wants a call' })
  t.match(own.only('callback').wish, { asked: 'words', number: null, packet: { summary: 'wants a call' } })

  for (const [args, offered, why] of [
    [{ number: 'tomorrow' }, callsBack, /number is one that is none; allowed: such as .*; ask the caller for it again/],
    [{ number: '07000000020' }, callsBack, /does not exist in its country.*ask the caller for it again/],
    [{}, { ...callsBack, callback: { ...callsBack.callback, numberKnown: false } }, /withheld/],
    [{}, escalation, /does not call back/],
    [{}, null, /No human/],
    [{ number: 5 }, callsBack, /must be a text/],
  ] as const) {
    const refused = Rig.talking({ escalation: offered })
    refused.toolCall('c1', 'request_callback', args)
    t.match(refused.only('backend-tool-result'), { ok: false, value: { error: why } })
    t.same(refused.all('callback'), [])
  }
})

const REFUSED = { why: 'number', text: 'number is one that is never rung.' } as const

t.test('a refused callback is not confirmed to the caller', (t) => {
  const words = Rig.talking({ escalation: callsBack })
  words.callBackRefusal = REFUSED
  words.toolCall('c1', 'request_callback', { number: '+254900223344' })
  t.match(words.only('backend-tool-result'), { callId: 'c1', ok: false, value: { error: REFUSED.text } })
  t.equal(words.session.escalation, null)

  const key = offered()
  key.callBackRefusal = REFUSED
  key.in({ type: 'dtmf', digit: '1' })
  t.equal(key.texts().at(-1), 'We cannot.')
  t.match(key.all('backend-text').at(-1)?.text, /nobody will call back.*never rung/)

  const again = offered()
  again.callBackRefusal = { why: 'open', text: 'It is noted already.' }
  again.in({ type: 'dtmf', digit: '1' })
  t.equal(again.texts().at(-1), 'We will call you.', 'the one that waits is theirs')
  t.end()
})

t.test('a callback is not confirmed before its answer', (t) => {
  const rig = offered()
  rig.callBackRefusal = undefined
  rig.in({ type: 'dtmf', digit: '1' })
  const before = rig.texts().length
  rig.toolCall('c1', 'request_callback', {}, 9)
  rig.run(2000)
  t.equal(rig.texts().length, before)
  rig.toolCall('c2', 'request_callback', { number: '0700 000 002' }, 9)
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'c2', ok: false, value: { error: /wait for its answer/ } })
  rig.run(2500)
  t.equal(rig.texts().at(-1), 'We cannot.', 'none came in time')
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'c1', ok: false, value: { error: /could not be noted/ } })
  t.end()
})

t.test('an unknown number is asked for instead of a key', (t) => {
  const rig = Rig.talking({ escalation: { ...callsBack, callback: { ...callsBack.callback, numberKnown: false } } })
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked for a human', summary: 'order five is lost' })
  rig.in({ type: 'escalation', step: { ...offerStep, type: 'failed' } })
  t.notMatch(rig.texts().join(), /Press 1/)
  t.match(rig.all('backend-tool-result').at(-1), {
    callId: 'e1',
    value: { error: /at which number.*request_callback/ },
  })
  rig.in({ type: 'dtmf', digit: '1' })
  t.same(rig.all('callback'), [])
  rig.toolCall('c1', 'request_callback', { number: '0700 000 002' }, 9)
  t.match(rig.only('callback').wish, { number: '0700000002' })
  t.end()
})

t.test('a backend that takes messages reports the failure itself [1]', (t) => {
  for (const step of [offerStep, { ...offerStep, type: 'failed' } as const]) {
    const rig = Rig.talking({ escalation: { ...callsBack, afterFailure: 'goodbye' } })
    rig.toolCall('e1', 'escalate_to_human', { reason: 'technical problem', takesMessage: true })
    rig.in({ type: 'escalation', step })
    t.same(rig.texts(), [], 'it says so itself, in one breath with its question')
    t.equal(rig.session.state, 'live', 'the caller can still say what it is about')
    t.match(rig.all('backend-tool-result').at(-1), { callId: 'e1', ok: false, value: { say: 'Nobody is free.' } })
  }
  t.end()
})

t.test('a hang-up during a message leaves a callback request', (t) => {
  for (const [said, numberKnown, note] of [
    [['Otieno'], true, 'Otieno'],
    [[], true, null],
    [['Hapana.'], true, null],
    [['Otieno'], false, null],
  ] as const) {
    const rig = Rig.talking({ escalation: { ...callsBack, callback: { ...callsBack.callback, numberKnown } } })
    rig.run(1000)
    rig.heardWords('Where is my order?')
    rig.run(1000)
    rig.toolCall('e1', 'escalate_to_human', { reason: 'technical problem', takesMessage: true })
    rig.in({ type: 'escalation', step: offerStep })
    rig.run(3000)
    for (const text of said) rig.heardWords(text, 'c2')
    rig.in({ type: 'stream-closed', code: 1000 })
    t.same(
      rig.all('callback').map(({ wish }) => wish?.note),
      note === null ? [] : [note],
      `${said.join()} ${numberKnown}`,
    )
    t.equal(rig.all('ended').length, 1)
  }
  t.end()
})

t.test('an unanswered callback offer expires [6]', async (t) => {
  const rig = offered()
  rig.run(25_000)
  t.equal(rig.only('callback').wish, null)
  t.equal(rig.session.state, 'live')
  const again = offered()
  again.in({ type: 'escalate-requested', reason: 'vip' })
  again.run(30_000)
  t.same(
    again.all('callback').filter(({ wish }) => wish === null),
    [],
    'another try withdraws the question',
  )
})

t.test("a dead backend's callback offer accepts only a digit [7]", async (t) => {
  const dead = (): Rig => {
    const rig = Rig.talking({
      escalation: callsBack,
      onBackendFailure: 'escalate',
      apologyText: 'Sorry, a fault.',
      goodbyeText: 'Goodbye.',
    })
    rig.backend({ type: 'error', code: 'network', message: 'gone', fatal: true, retryable: false })
    t.same(rig.texts(), ['Sorry, a fault.'], 'at once, whoever may be reached')
    rig.in({ type: 'escalation', step: offerStep })
    rig.run(4000)
    return rig
  }
  const yes = dead()
  yes.in({ type: 'dtmf', digit: '1' })
  yes.run(4000)
  t.same(yes.texts().slice(1), ['Nobody is free. Press 1 for a call back.', 'We will call you. Goodbye.'])
  t.match(yes.only('end-stream'), { reason: 'backend-failed', hangup: true })
  yes.in({ type: 'stream-closed', code: 1000 })
  t.equal(yes.only('ended').outcome, 'failed')

  const no = dead()
  no.in({ type: 'dtmf', digit: '2' })
  no.run(4000)
  t.equal(no.texts().at(-1), 'Goodbye.')
  t.equal(no.only('callback').wish, null)
})

t.test('outside opening hours the caller hears the closed text [4]', async (t) => {
  const rig = escalating()
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'failed', detail: '', closed: true } })
  t.same(rig.texts(), [escalation.closedText])
  t.match(rig.all('backend-tool-result').at(-1), { value: { error: /at this hour/ } })
})

t.test('a caller hears what to do on a silent line', async (t) => {
  const rig = escalating()
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: true } })
  t.same(rig.texts(), [`Connecting you. ${escalation.silentLineText}`])
  rig.run(2000)
  t.equal(rig.all('end-stream').length, 1)
})

t.test('a joined conference ends our stream [9]', async (t) => {
  const rig = escalating()
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  rig.run(3000)
  rig.in({ type: 'escalation', step: { type: 'bridged', strategy: 'conference' } })
  t.match(rig.only('end-stream'), { reason: 'escalated', hangup: false })
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'escalated' })
})

t.test('a step after a failed escalation changes nothing [8]', async (t) => {
  const rig = escalating()
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: 'all busy', closed: false } })
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  rig.run(3000)
  t.same([rig.session.state, rig.all('end-stream'), rig.texts()], ['live', [], ['Nobody is free.']])
  t.equal(rig.all('mark').filter(({ name }) => name === 'escalation-step-late').length, 2)
})

/** A caller who asked something is rung back by another node. */
function rungBack(overrides: ConstructorParameters<typeof Rig>[0] = {}): { readonly before: Rig; readonly rig: Rig } {
  const before = Rig.talking()
  before.speak(500)
  before.run(620)
  before.heardWords('Where is order five?')
  before.answer(2, 'a2', 500, 'It was sent.')
  before.run(1000)
  const { checkpoint, log } = before.resume
  const resume = parseResume({
    checkpoint: {
      ...checkpoint,
      state: 'live',
      greeted: false,
      greetingMs: null,
      owed: 'nothing',
      identity: null,
      callBack: 'asks',
    },
    log: { ...log, facts: [{ atMs: 900, name: 'order', value: '5', from: 'find_order' }] },
    newStream: { streamMs: 3000, consented: true },
  })
  const rig = new Rig(overrides, resume)
  rig.nowMs = before.nowMs + 20_000
  rig.open()
  rig.ready()
  return { before, rig }
}

const words = (records: CallRecord['transcript']): string[] => records.map(({ text }) => text)

t.test('a called-back caller confirms before the conversation is given', (t) => {
  const { before, rig } = rungBack()
  t.same(rig.texts(), [], 'the gateway says nothing of it')
  t.match(rig.only('backend-text'), { respond: true }, 'the backend greets')
  t.notMatch(JSON.stringify(rig.all('backend-text')), /order five/)
  t.same(
    words(rig.session.log.transcript).slice(0, 2),
    words(before.session.log.transcript).slice(0, 2),
    'the log goes on',
  )
  rig.backend({ type: 'turn-start', generation: 1 })
  rig.backend({ type: 'tool-call', callId: 'r0', name: RESUME_TOOL, args: {}, generation: 1 })
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'r0', ok: false, value: { error: /has said nothing yet/ } })
  t.notMatch(JSON.stringify(rig.all('backend-tool-result')), /order five/, 'nobody has spoken')
  t.equal(rig.session.checkpoint().callBack, 'asks')
  rig.heardWords('Yes, go on.')
  rig.backend({ type: 'tool-call', callId: 'r1', name: RESUME_TOOL, args: {}, generation: 1 })
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'r1', ok: true })
  t.match(JSON.stringify(rig.all('backend-tool-result').at(-1)), /Where is order five\?.*It was sent\./)
  t.match(rig.all('backend-tool-result').at(-1)?.value, { known: { order: '5' } }, 'with what became known')
  t.equal(rig.session.checkpoint().callBack, 'confirmed')
  rig.backend({ type: 'tool-call', callId: 'r2', name: RESUME_TOOL, args: {}, generation: 1 })
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'r2', ok: false }, 'once')
  t.end()
})

t.test('words after the model’s call confirm the callback', (t) => {
  const { rig } = rungBack()
  rig.speak(600)
  rig.run(700)
  rig.backend({ type: 'turn-start', generation: 1 })
  rig.backend({ type: 'tool-call', callId: 'r1', name: RESUME_TOOL, args: {}, generation: 1 })
  t.same(rig.all('backend-tool-result'), [], 'they are awaited')
  rig.run(500)
  rig.heardWords('Ndiyo.')
  rig.run(200)
  t.match(rig.all('backend-tool-result'), [{ callId: 'r1', ok: true }])

  const noise = rungBack().rig
  noise.speak(600)
  noise.run(700)
  noise.backend({ type: 'turn-start', generation: 1 })
  noise.backend({ type: 'tool-call', callId: 'r1', name: RESUME_TOOL, args: {}, generation: 1 })
  noise.run(3200)
  t.match(noise.all('backend-tool-result'), [{ callId: 'r1', ok: false }])
  t.equal(noise.session.checkpoint().callBack, 'asks')
  t.end()
})

t.test('digit 1 confirms a callback, other digits do not', (t) => {
  const { rig } = rungBack()
  rig.in({ type: 'dtmf', digit: '2' })
  t.equal(rig.session.checkpoint().callBack, 'asks')
  rig.in({ type: 'dtmf', digit: '1' })
  t.equal(rig.session.checkpoint().callBack, 'confirmed')
  t.match(rig.all('backend-text').slice(-2), [
    { text: /Where is order five/, role: 'system', respond: false },
    { text: '1', role: 'caller', respond: true },
  ])
  t.end()
})

t.test('an escalation before confirmation omits the earlier call', (t) => {
  const { rig } = rungBack({ escalation })
  rig.backend({ type: 'turn-start', generation: 1 })
  rig.backend({
    type: 'tool-call',
    callId: 'e1',
    name: 'escalate_to_human',
    args: { reason: 'asked for' },
    generation: 1,
  })
  const packet = JSON.stringify(rig.all('escalate'))
  t.match(packet, /asked for/)
  t.notMatch(packet, /order five/)
  t.end()
})

t.test('an answering machine hears nothing about the earlier call', (t) => {
  const { rig } = rungBack({ amd: { message: null, onSilence: 'speak' } })
  t.same(rig.all('backend-text'), [], 'not before it is known who answers')
  rig.in({ type: 'amd-result', who: 'machine', why: 'a beep' })
  t.match(rig.all('end-stream').at(-1), { reason: 'answering-machine' })
  t.end()
})

t.test("a supervisor's whisper reaches only the model and timeline", async (t) => {
  const rig = Rig.talking()
  rig.in({ type: 'whisper', text: 'Offer her free delivery.' })
  t.match(rig.only('backend-text'), {
    role: 'system',
    respond: false,
    text: /not the caller.*Offer her free delivery\.$/,
  })
  t.same(rig.texts(), [], 'the caller hears nothing of it')
  t.match(
    rig.all('mark').find(({ name }) => name === 'whisper'),
    { detail: 'Offer her free delivery.' },
  )
  rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  rig.in({ type: 'whisper', text: 'too late' })
  t.equal(rig.all('backend-text').length, 1)
})

t.test('a callback offer does not interrupt the agent', async (t) => {
  const callback = { offerText: 'Press 1.', confirmedText: 'Noted.', refusedText: 'No.', numberKnown: true }
  const rig = Rig.talking({ escalation: { ...escalation, announceText: null, callback } })
  rig.answer(2, 'long', 6000, 'A long sentence of the agent.')
  rig.run(500)
  rig.toolCall('t1', 'escalate_to_human', { reason: 'asked for' }, 2)
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  rig.run(500)
  rig.in({ type: 'escalation', step: { type: 'offer', outcome: 'busy', detail: '', closed: false } })
  t.same(rig.all('playout-clear'), [])
  rig.run(5200)
  t.same(rig.logged('transcript').at(-1)?.text, 'A long sentence of the agent.')
  t.equal(rig.logged('transcript').at(-1)?.playedMs, undefined, 'heard to its end')
  rig.run(1500)
  rig.answer(3, 'next', 4600, 'Something else.')
  rig.run(300)
  rig.in({ type: 'dtmf', digit: '1' })
  t.same(rig.all('playout-clear'), [], 'the question was heard, and these are other words')
  rig.run(6000)
  t.same(rig.texts(), ['Nobody is free. Press 1.', 'Noted.'])
})
