import t from 'tap'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { Rig } from './rig.js'

const FIRST_MS = DEFAULT_CALL_OPTIONS.silence.firstAfterMs ?? 0

/** The gateway's lines that the backend got as the agent's own. */
const told = (rig: Rig) => rig.all('backend-text').flatMap(({ role, text }) => (role === 'agent' ? [text] : []))

t.test('the backend learns each line of the gateway when the caller has heard it, in order', async (t) => {
  const rig = Rig.talking()
  rig.run(FIRST_MS + 100)
  const [prompt] = rig.texts()
  t.same(told(rig), [], 'it is being said')
  rig.run(1500)
  t.same(told(rig), [prompt])

  const slow = Rig.talking()
  slow.answer(2, 'a2', 500, 'Yes, your order.')
  slow.toolCall('c1', 'find_order', {}, 2)
  slow.run(10_500)
  t.equal(slow.texts().length, 2, 'two fillers')
  t.same(told(slow), slow.texts())
  t.match(
    rig.log.filter(({ output }) => output.type === 'backend-text').map(({ output }) => output),
    [{ respond: false }],
    'nothing is to be answered',
  )
})

t.test('a line that the caller cut off is told as such, one that nobody heard is not told', async (t) => {
  const cut = Rig.talking()
  cut.run(FIRST_MS + 400)
  cut.speak(800)
  t.same(told(cut), [`${cut.texts()[0] ?? ''} [the caller interrupted]`])

  const mute = Rig.talking()
  mute.announceMs = null
  mute.run(FIRST_MS + 100)
  const announced = mute.all('announce').at(-1)
  mute.in({ type: 'announce-failed', itemId: announced?.itemId ?? '' })
  mute.run(100)
  t.same(told(mute), [])
  t.match(
    mute.session.log.transcript.at(-1),
    { text: announced?.text, interrupted: true, playedMs: 0 },
    'nor does the record say that it was heard',
  )
})

t.test('a backend that is dead, and one whose caller has left, are told nothing', async (t) => {
  const dead = Rig.talking({ onBackendFailure: 'hangup' })
  dead.backend({ type: 'error', code: 'internal', message: 'gone', fatal: true, retryable: false })
  dead.run(3000)
  t.ok(dead.texts().length > 0, 'the apology')
  t.same(told(dead), [])

  const left = Rig.talking()
  left.run(FIRST_MS + 100)
  left.in({ type: 'stream-closed', code: 1000 })
  t.same(told(left), [])
})
