import t from 'tap'
import { Grants, PRECEDENCE } from '../../src/call/resources/grants.js'

t.test('several grants of a resource are held together', async (t) => {
  const grants = new Grants('floor')
  t.equal(grants.take('greeting'), true)
  t.equal(grants.take('line'), true)
  t.equal(grants.take('line'), false, 'it is held already')
  t.ok(grants.has('greeting') && grants.has('line'))
  t.equal(grants.giveBack('line'), true)
  t.equal(grants.giveBack('line'), false)
  t.equal(grants.holder, 'greeting')
})

t.test('the first of the held reasons has the resource', async (t) => {
  const keypad = new Grants('keypad')
  // Consent comes before digits, and digits before offers.
  for (const reason of ['ring-back', 'call-back', 'digits', 'consent'] as const) {
    keypad.take(reason)
    t.equal(keypad.holder, reason)
  }
  for (const reason of PRECEDENCE.keypad) {
    t.equal(keypad.holder, reason)
    keypad.giveBack(reason)
  }
  t.equal(keypad.holder, null)
})

t.test('a grant that is taken again after the mark is newer', async (t) => {
  const keypad = new Grants('keypad')
  keypad.take('consent')
  keypad.mark()
  t.equal(keypad.isNewer('consent'), false)
  keypad.giveBack('consent')
  t.equal(keypad.isNewer('consent'), false, 'it is not held')
  keypad.take('consent')
  t.equal(keypad.isNewer('consent'), true)
})
