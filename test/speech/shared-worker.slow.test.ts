import t from 'tap'
import type { BackendSession } from '../../src/backends/backend.js'
import { EmbeddedBackend } from '../../src/backends/embedded/embedded-backend.js'
import { loadFlite } from '../../src/speech/flite.js'
import { SpeechClient } from '../../src/speech/speech-client.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { useCountry } from '../../src/sautikit/phone.js'
import { captureWorkers } from '../backends/embedded/capture-workers.js'
import { Line, ONE_ORDER, openCall, type OpenCall, session, TWO_ORDERS } from '../backends/embedded/order-line.js'

const speechThreads = captureWorkers()
const pool = new SpeechPool({ decodersPerThread: 2 })
t.teardown(() => pool.close())
await pool.ready()
const flite = await loadFlite()
const open = (overrides: Partial<BackendSession> = {}, kickOff = true): Promise<OpenCall> =>
  openCall(pool, flite, overrides, kickOff)

t.test('a caller whose speech worker dies is asked again [1]', async (t) => {
  const { line, backend, says, end } = await open()
  backend.interrupt({ itemId: line.lastItem, playedMs: 1e6 })
  backend.speechStart(0)
  backend.pushAudio(new Int16Array(160))
  await speechThreads.at(-1)?.terminate()
  backend.speechEnd(0)
  await line.says(/^Sorry, I did not catch that\./)
  await says('where is my order', /4127 is out for delivery/)
  t.equal(line.calls.length, 1, 'no tool ran twice')
  t.notOk(line.events.some(({ type }) => type === 'error'))
  await end()
})

t.test("the next speech worker speaks a dead worker's answer [2]", async (t) => {
  const { line, backend, end } = await open({}, false)
  await speechThreads.at(-1)?.terminate()
  backend.sendText('', { role: 'system', respond: true })
  await line.says(/^Hello, this is the order line\. You can ask/)
  t.notOk(line.events.some(({ type }) => type === 'error'))
  await end()
})

t.test('without another speech worker the session gets a network error [3]', async (t) => {
  const speech = new SpeechClient({ port: pool.openSession() })
  const line = new Line()
  const backend = new EmbeddedBackend(line, { speech })
  await backend.connect(session(), new AbortController().signal)
  // The thread that died last is replaced.
  await pool.inspect()
  await speechThreads.at(-1)?.terminate()
  backend.sendText('', { role: 'system', respond: true })
  await line.when(() => line.events.some(({ type }) => type === 'error'))
  t.match(
    line.events.find(({ type }) => type === 'error'),
    { code: 'network', fatal: true, retryable: true },
  )
  t.match(line.events.at(-1), { type: 'closed', clean: false })
  t.match(
    line.events.findLast(({ type }) => type === 'turn-done'),
    { status: 'failed' },
  )
  await backend.close('lost')
})

t.test('the speech thread speaks home numbers as dialled', async (t) => {
  useCountry('UG')
  t.teardown(() => useCountry('KE'))
  const ugandan = new SpeechPool({})
  t.teardown(() => ugandan.close())
  const said = async (text: string): Promise<readonly number[]> => {
    const speech = new SpeechClient({ port: ugandan.openSession() })
    const samples: number[] = []
    await speech.speak(text, 'slt', ({ pcm }) => samples.push(pcm.length)).done
    speech.close()
    return samples
  }
  t.same(await said('Call +256772123456.'), await said('Call 0772123456.'))
  t.not(
    (await said('Call +254712123456.'))[0],
    (await said('Call 0712123456.'))[0],
    'one of another country has its code',
  )
})

t.test('five callers share one speech worker with two decoders', async (t) => {
  const callers = await Promise.all(
    Array.from({ length: 5 }, (_, i) => open({ from: i % 2 === 0 ? ONE_ORDER : TWO_ORDERS })),
  )
  await Promise.all(
    callers.map(({ says }, i) =>
      says('where is my order', i % 2 === 0 ? /4127 is out/ : /3056 and 8214/, i % 3 === 0 ? 'awb' : 'rms'),
    ),
  )
  await Promise.all(callers.map(({ end }) => end()))
  for (;;) {
    const stats = await pool.inspect()
    if (stats?.sessions !== 0) continue
    t.equal(stats.decodersLeased, 0)
    t.equal(stats.utterancesWaiting, 0)
    break
  }
})
