import t from 'tap'
import { loadFlite } from '../../../src/backends/embedded/flite.js'
import { SpeechPool } from '../../../src/backends/embedded/speech-pool.js'
import { openCall, speakInto } from './order-line.js'

const pool = new SpeechPool({ decodersPerThread: 1 })
t.teardown(() => pool.close())
const flite = await loadFlite()

t.test('a caller who asks before the agent was asked to greet gets the answer, without a greeting', async (t) => {
  const { line, backend, end } = await openCall(pool, flite, {}, false)
  speakInto(backend, line, flite, 'where is my order', 'rms')
  await line.says(/4127 is out/)
  t.match(line.heard, [/^where('s| is) my order$/])
  t.notOk(line.said.some((text) => text.includes('this is the order line')))
  await end()
})

t.test('a noise before the agent was asked to greet is answered with the greeting', async (t) => {
  const { line, backend, end } = await openCall(pool, flite, {}, false)
  backend.speechStart(performance.now())
  const noise = new Int16Array(160).fill(4000)
  for (let ms = 0; ms < 600; ms += 20) backend.pushAudio(noise)
  backend.speechEnd(performance.now())
  await line.says(/this is the order line/)
  t.same(line.heard, [])
  await end()
})

t.test('the first of all inputs may be a key', async (t) => {
  const { line, backend, end } = await openCall(pool, flite, {}, false)
  backend.dtmf('0')
  await line.when(() => line.calls.some(({ name }) => name === 'escalate_to_human'))
  t.same(line.heard, ['0'])
  await end()
})
