import t from 'tap'
import { EmbeddedBackend } from '../../src/backends/embedded/embedded-backend.js'
import { loadFlite } from '../../src/speech/flite.js'
import { SpeechClient } from '../../src/speech/speech-client.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { Recorder } from '../../src/backends/conformance.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { lookUp, session } from './embedded/order-line.js'
import { framesOf, overThePhone } from './embedded/phone-line.js'
import { ScriptedService } from './failover/scripted.js'

const pool = new SpeechPool({ decodersPerThread: 1 })
t.teardown(() => pool.close())
await pool.ready()
const flite = await loadFlite()

t.test('when the cloud service fails, the offline dialogue answers the open question', async (t) => {
  const cloud = new ScriptedService('cloud', ['ready', 'network'], { inputRateHz: 8000 })
  const speech = new SpeechClient({ port: pool.openSession(), reopen: async () => pool.openSession() })
  const clock = (): number => performance.now()
  const recorder = new Recorder()
  const backend = new CallBackend(recorder, {
    candidates: [
      { create: cloud.create },
      { create: (sink) => new EmbeddedBackend(sink, { speech, nowMs: clock }), scripted: true, voice: 'slt' },
    ],
    timers: clockTimers(clock),
  })
  t.teardown(async () => {
    await backend.close('the test is over')
    speech.close()
  })
  recorder.onEvent = (event) => {
    if (event.type !== 'tool-call') return
    setImmediate(() => backend.toolResult(event.callId, { ok: true, value: lookUp(event.args) }))
  }
  await backend.connect(session({ voice: 'marin' }), new AbortController().signal)
  t.equal(backend.capabilities.inputRateHz, 8000)
  backend.sendText('', { role: 'system', respond: true })
  cloud.now.answer(1, 'Hello, this is the order line.', 900)
  for (const [i, frame] of framesOf(overThePhone(flite, 'where is my order', 'rms')).entries()) {
    // 200 ms late, as a VAD is.
    if (i === 20) backend.speechStart(clock() - 200)
    backend.pushAudio(frame)
    if (i === 40) cloud.now.die()
  }
  backend.speechEnd(clock())
  const said = (): readonly string[] =>
    recorder.all('transcript').flatMap((event) => (event.role === 'agent' ? [event.text] : []))
  await recorder.until('the answer', () => said().some((text) => /Order 4127 is out for delivery/.test(text)), 20_000)
  t.match(recorder.all('failover'), [{ from: 'cloud', to: 'embedded' }])
  t.ok(
    said().some((text) => text.startsWith('Sorry, the line had a problem.')),
    'it begins with the words for a takeover',
  )
  t.ok(
    recorder.all('transcript').some((event) => event.role === 'caller' && /where('s| is) my order/.test(event.text)),
    'it got the speech from before the takeover',
  )
  t.equal(recorder.all('error').filter((error) => error.fatal).length, 0)
})
