import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { Circuits } from '../../src/backends/failover/circuit-breaker.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { line } from './failover/vendors-line.js'

// A vendor's view of an outage: real sockets and clients, 60 calls of one worker, 25 reconnects a second.

const CALLS = 60
const WINDOW_MS = 100

/**
 * 60 calls with a session each, all cut at once.
 * @param outageMs  how long the vendor answers 503 after that
 * @returns the connects of each window of 100 ms, until `doneMs`
 */
async function cut(t: Test, doneMs: number, outageMs: number) {
  const vendor = await OpenAiDouble.start()
  t.teardown(() => vendor.close())
  const circuits = new Circuits({ reconnectsPerSecond: 25 })
  const lines = await Promise.all(
    Array.from({ length: CALLS }, () =>
      line(t, [(sink) => new OpenAiRealtimeBackend(sink, { apiKey: 'sk-test', model: 'm', baseUrl: vendor.baseUrl })], {
        circuits,
      }),
    ),
  )
  const windows: number[] = []
  let seen = vendor.connections
  if (outageMs > 0) vendor.refuse = { status: 503, body: '' }
  vendor.breakOff()
  const fromMs = performance.now()
  while (performance.now() - fromMs < doneMs) {
    if (performance.now() - fromMs >= outageMs) vendor.refuse = null
    await sleep(WINDOW_MS)
    windows.push(vendor.connections - seen)
    seen = vendor.connections
  }
  t.comment(`connects in each 100 ms: ${windows.join(' ')}`)
  const lost = lines.filter(({ recorder }) => recorder.all('error').some(({ fatal }) => fatal)).length
  const back = lines.filter(({ recorder }) => recorder.all('failover').length === 1).length
  return { windows, connects: windows.reduce((sum, count) => sum + count, 0), lost, back }
}

t.test('60 sessions cut at once reconnect at a limited rate', async (t) => {
  const { windows, connects, back, lost } = await cut(t, 4000, 0)
  t.equal(connects, CALLS)
  t.same([back, lost], [CALLS, 0])
  t.ok(Math.max(...windows) <= 10, 'never more than 10 in 100 ms')
  // A connection takes longer than a window on a busy machine.
  t.ok(
    windows.slice(0, 3).some((count) => count > 0),
    'the first of them at once',
  )
})

t.test('during 503 answers only a few calls try the vendor', async (t) => {
  const { windows, connects, lost } = await cut(t, 10_000, Infinity)
  t.ok(connects <= 15, `${connects} connects`)
  t.ok(Math.max(...windows) <= 10)
  t.equal(lost, CALLS, 'each call knows it within 10 s')
})

t.test('after an outage of three seconds every call is served', async (t) => {
  const { windows, connects, back, lost } = await cut(t, 11_000, 3000)
  t.same([back, lost], [CALLS, 0])
  t.ok(connects <= CALLS + 15, `${connects} connects`)
  t.ok(Math.max(...windows) <= 10)
})
