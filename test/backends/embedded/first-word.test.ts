import t from 'tap'
import { loadFlite } from '../../../src/speech/flite.js'
import { SpeechPool } from '../../../src/speech/speech-pool.js'
import { openCall, speakInto } from './order-line.js'
import { framesOf, overThePhone } from './phone-line.js'

const pool = new SpeechPool({ decodersPerThread: 1 })
t.teardown(() => pool.close())
const flite = await loadFlite()

t.test('a caller who asks before the greeting was requested gets the answer without it', async (t) => {
  const { line, backend, end } = await openCall(pool, flite, {}, false)
  speakInto(backend, line, flite, 'where is my order', 'rms')
  await line.says(/4127 is out/)
  t.match(line.heard, [/^where('s| is) my order$/])
  t.notOk(line.said.some((text) => text.includes('this is the order line')))
  await end()
})

t.test('a noise before the greeting was requested is answered with the greeting', async (t) => {
  const { line, backend, end } = await openCall(pool, flite, {}, false)
  backend.speechStart(performance.now())
  const noise = new Int16Array(160).fill(4000)
  for (let ms = 0; ms < 600; ms += 20) backend.pushAudio(noise)
  backend.speechEnd(performance.now())
  await line.says(/this is the order line/)
  t.same(line.heard, [])
  await end()
})

t.test('the first input may be a key', async (t) => {
  const { line, backend, end } = await openCall(pool, flite, {}, false)
  backend.dtmf('0')
  await line.when(() => line.calls.some(({ name }) => name === 'escalate_to_human'))
  t.same(line.heard, ['0'])
  await end()
})

t.test('speech with words is reported as understood while it lasts, and a sound without words is not', async (t) => {
  const { line, backend, end } = await openCall(pool, flite)
  const understood = (): number => line.events.filter(({ type }) => type === 'understood').length
  const words = framesOf(overThePhone(flite, 'i want to speak to a human', 'rms'))
  backend.speechStart(performance.now())
  for (const frame of words) backend.pushAudio(frame)
  await line.when(() => understood() > 0)
  t.same(line.heard, [], 'before the speech has ended')
  backend.speechEnd(performance.now())
  await line.when(() => line.heard.length > 0)
  const before = understood()
  backend.speechStart(performance.now())
  const answers = line.said.length
  for (const frame of framesOf(
    overThePhone(flite, 'lovely weather we are having in the garden with all the purple elephants', 'rms'),
  ))
    backend.pushAudio(frame)
  backend.speechEnd(performance.now())
  await line.when(() => line.said.length > answers || line.calls.some(({ name }) => name === 'escalate_to_human'))
  t.equal(understood(), before)
  await end()
})
