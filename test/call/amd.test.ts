import t from 'tap'
import { Rig } from './rig.js'

const SCREENED = { amd: { message: 'We will call again.', onSilence: 'speak' } } as const

t.test('a called line is not spoken to, and not heard by the model, until it is known who took it', async (t) => {
  const rig = new Rig(SCREENED)
  rig.open()
  rig.ready()
  rig.speak(1000)
  rig.run(3000)
  t.same(rig.all('backend-text'), [])
  t.same(rig.all('backend-speech-start'), [])
  rig.in({ type: 'screened', who: 'human', why: 'a short hello' })
  t.equal(rig.only('backend-text').text, 'greet')
  t.equal(rig.session.state, 'live')
  t.match(
    rig.all('mark').find(({ name }) => name === 'answered-by'),
    { detail: 'human: a short hello' },
  )
})

t.test('an answering machine gets the message, then the call ends', async (t) => {
  const rig = new Rig(SCREENED)
  rig.open()
  rig.ready()
  rig.in({ type: 'screened', who: 'machine', why: 'a beep' })
  t.equal(rig.only('announce').text, 'We will call again.')
  t.same(rig.all('backend-text'), [], 'and the model says nothing')
  rig.run(3000)
  t.match(rig.only('end-stream'), { reason: 'answering-machine', hangup: true })
})

t.test('without a message the call to an answering machine ends', async (t) => {
  const rig = new Rig({ amd: { message: null, onSilence: 'speak' } })
  rig.open()
  rig.in({ type: 'screened', who: 'machine', why: 'a beep' })
  t.match(rig.only('end-stream'), { reason: 'answering-machine', hangup: true })
})

t.test("where nobody speaks the agent speaks, or the call ends, as the agent's file says", async (t) => {
  const brave = new Rig(SCREENED)
  brave.open()
  brave.ready()
  brave.in({ type: 'screened', who: 'silence', why: 'no voice' })
  t.equal(brave.only('backend-text').text, 'greet')
  const shy = new Rig({ amd: { message: null, onSilence: 'hang-up' } })
  shy.open()
  shy.ready()
  shy.in({ type: 'screened', who: 'silence', why: 'no voice' })
  t.match(shy.only('end-stream'), { reason: 'nobody-there', hangup: true })
})

t.test('a backend that dies meanwhile is apologised for when a person is there, and not before', async (t) => {
  const rig = new Rig(SCREENED)
  rig.open()
  rig.ready()
  rig.backend({ type: 'error', code: 'internal', message: 'gone', fatal: true, retryable: false })
  rig.run(1000)
  t.same(rig.all('announce'), [])
  rig.in({ type: 'screened', who: 'human', why: 'hello' })
  t.equal(rig.only('announce').kind, 'apology')
})

t.test('an operator can end a call that is screened, and a late verdict changes nothing', async (t) => {
  const rig = new Rig(SCREENED)
  rig.open()
  rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: false })
  t.match(rig.only('end-stream'), { reason: 'operator-hangup' })
  rig.in({ type: 'screened', who: 'human', why: 'hello' })
  t.same(rig.all('backend-text'), [])
})
