import t from 'tap'
import type { Collection } from '../../src/call/tools/digit-collection.js'
import { recordedArguments } from '../../src/call/tools/gateway-tools.js'
import { escalation, Rig } from './rig.js'

const PLACED = { sendsDigits: true }
const PIN: Collection = {
  ...{ name: 'pin', say: 'Your PIN, please.', again: 'That was not all.', confirm: null, min: 4, max: 4 },
  ...{ terminator: '#', firstMs: 10_000, betweenMs: 4000, retries: 1, speech: false, maskAllBut: null },
  secretFor: { tool: 'refund', argument: 'pin' },
}

t.test('digits are sent after the speech, then the model learns', async (t) => {
  const rig = Rig.talking(PLACED)
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.audio(2, 'a2', 400)
  rig.toolCall('t1', 'send_digits', { digits: '104#' }, 2)
  rig.backend({ type: 'turn-done', generation: 2, status: 'completed' })
  t.match(rig.only('tones'), { digits: '104#' })
  t.same(rig.all('backend-tool-result'), [])
  rig.run(1000)
  t.same(rig.all('backend-tool-result'), [], 'the tones take 800 ms behind 400 ms of speech')
  rig.run(600)
  t.match(rig.only('backend-tool-result'), { callId: 't1', ok: true, value: { sent: true } })
  t.match(rig.toolCalls, [{ name: 'send_digits', ok: true, args: { digits: '104#' } }])
})

t.test('a menu that speaks does not stop the tones', async (t) => {
  const rig = Rig.talking({ ...PLACED, serverVad: true, serverInterrupts: true })
  rig.toolCall('t1', 'send_digits', { digits: '1234567890' }, 1)
  rig.run(200)
  rig.backend({ type: 'speech-started' })
  rig.speak(1000)
  t.same(rig.all('playout-pause'), [])
  t.same(rig.all('playout-clear'), [])
  rig.run(1500)
  t.match(rig.only('backend-tool-result'), { ok: true })
})

t.test('the echo of sent digits is ignored for a while', async (t) => {
  const rig = Rig.talking(PLACED)
  rig.toolCall('t1', 'send_digits', { digits: '12' }, 1)
  rig.run(200)
  rig.in({ type: 'dtmf', digit: '1' })
  rig.run(700)
  rig.in({ type: 'dtmf', digit: '2' })
  t.same(rig.all('backend-dtmf'), [], 'also shortly after the last tone')
  rig.in({ type: 'dtmf', digit: '9' })
  t.match(rig.only('backend-dtmf'), { digit: '9' })
  rig.run(1500)
  rig.in({ type: 'dtmf', digit: '2' })
  t.equal(rig.all('backend-dtmf').length, 2)
})

t.test('the echo of two consecutive sends is ignored', async (t) => {
  const rig = Rig.talking(PLACED)
  rig.toolCall('t1', 'send_digits', { digits: '12' }, 1)
  rig.toolCall('t2', 'send_digits', { digits: '34' }, 1)
  rig.run(200)
  rig.in({ type: 'dtmf', digit: '1' })
  rig.in({ type: 'dtmf', digit: '3' })
  t.same(rig.all('backend-dtmf'), [])
})

t.test('the echo of sent digits is not entered as PIN', async (t) => {
  const rig = Rig.talking({ ...PLACED, collections: [PIN] })
  const comes = (digit: string): void => {
    const key = rig.session.keyOf(digit)
    if (key !== null) rig.in({ type: 'dtmf', digit: key })
  }
  rig.toolCall('t1', 'send_digits', { digits: '12' }, 1)
  rig.run(700)
  t.match(rig.only('backend-tool-result'), { callId: 't1', ok: true })
  rig.toolCall('t2', 'collect_digits', { name: 'pin' }, 1)
  for (const digit of '122735') comes(digit)
  t.same(rig.all('run-tool'), [], 'three of four keys')
  rig.run(2000)
  comes('1')
  t.match(rig.only('run-tool'), { secret: { digits: 4 } }, 'and a key that we have sent, once its echo is over')
})

t.test('invalid digits and inbound calls are refused', async (t) => {
  const rig = Rig.talking(PLACED)
  for (const digits of ['', 'ww', '12 34', '+254', 'x', '1'.repeat(41), 5])
    rig.toolCall(`t-${String(digits)}`, 'send_digits', { digits }, 1)
  t.same(rig.all('tones'), [])
  for (const { ok, value } of rig.all('backend-tool-result')) {
    t.notOk(ok)
    t.match(value, { error: /digits must be 1 to 40 of 0-9, \*, #, A-D, and w/ })
  }
  const inbound = Rig.talking()
  inbound.toolCall('t1', 'send_digits', { digits: '1' }, 1)
  t.match(inbound.only('backend-tool-result'), { ok: false, value: { error: /There is no tool named send_digits/ } })
})

t.test('discarded tones do not count as sent', async (t) => {
  const rig = Rig.talking(PLACED)
  rig.toolCall('t1', 'send_digits', { digits: '12345' }, 1)
  rig.run(100)
  rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: false })
  t.notOk(rig.all('backend-tool-result').some(({ ok }) => ok))
})

t.test('sensitive digits are masked in the record', (t) => {
  t.same(recordedArguments('send_digits', { digits: '7386', sensitive: true }), { digits: '…', sensitive: true })
  t.same(recordedArguments('send_digits', { digits: '104' }), { digits: '104' })
  t.end()
})

t.test('tones cut off by an operator count as not sent', async (t) => {
  const rig = Rig.talking({ ...PLACED, escalation })
  rig.toolCall('t1', 'send_digits', { digits: '1234567890' }, 1)
  rig.run(300)
  rig.in({ type: 'escalate-requested', reason: 'vip' })
  t.match(
    rig.toolCalls.filter(({ name }) => name === 'send_digits'),
    [{ ok: false, error: /not sent/ }],
  )
})

t.test('a secret entry survives a takeover, but not a callback', async (t) => {
  const before = Rig.talking({ collections: [PIN] })
  before.toolCall('t1', 'collect_digits', { name: 'pin' })
  before.run(500)
  const { checkpoint, log } = before.resume
  const resume = { checkpoint: { ...checkpoint, callBack: 'asks' as const }, log }
  const same = new Rig({ collections: [PIN], preparedAtMs: 500_000 }, resume)
  t.equal(same.session.keyOf('7') === '7', false, 'the same person is still entering it')
  const newStream = { streamMs: 1000, consented: true }
  const anew = new Rig({ collections: [PIN], preparedAtMs: 500_000 }, { ...resume, newStream })
  t.equal(anew.session.keyOf('7'), '7', 'who is rung back is asked anew')
})
