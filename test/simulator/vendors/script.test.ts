import t from 'tap'
import { Script } from '../../../src/simulator/vendors/double.js'

const GOODBYE = { say: 'Goodbye.', calls: [{ callId: 'c1', name: 'end_call', args: {} }] }

t.test("answers come in order, each once, and the caller's words with them", (t) => {
  const script = new Script([{ say: 'one' }], ['first'])
  script.reply({ say: 'two' })
  script.callerSays('second')
  t.same(
    [script.nextReply(), script.nextReply(), script.nextReply()],
    [{ say: 'one' }, { say: 'two' }, { say: 'Yes.' }],
  )
  t.same([script.nextCallerText(), script.nextCallerText(), script.nextCallerText()], ['first', 'second', 'hello'])
  t.equal(script.answers, 3)
  t.end()
})

t.test('an answer that the rest of a sentence has cut off is given again, with calls of its own', (t) => {
  let nowMs = 0
  const script = new Script([{ calls: [{ callId: 'c0', name: 'lookup', args: {} }] }, { say: 'Found.' }, GOODBYE], [], {
    againWithinMs: 1500,
    nowMs: () => nowMs,
  })
  t.match(script.nextReply(), { calls: [{ callId: 'c0' }] })
  t.match(script.nextReply(), { say: 'Found.' }, 'what follows a look-up follows at once, and nothing was cut')
  nowMs += 1500
  t.same(script.nextReply(), GOODBYE)
  nowMs += 1499
  t.same(script.nextReply(), { ...GOODBYE, calls: [{ callId: 'c1_again', name: 'end_call', args: {} }] })
  nowMs += 100
  t.match(script.nextReply(), { say: 'Goodbye.', calls: [{ callId: 'c1_again_again' }] }, 'as often as it is cut')
  nowMs += 1500
  t.same(script.nextReply(), { say: 'Yes.' })
  t.end()
})
