import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Circuits } from '../../src/backends/failover/circuit-breaker.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { line } from './failover/vendors-line.js'

// A vendor's view of an outage: real sockets and clients, 60 calls of one worker, 25 reconnects a second.
// reconnects.test.ts has longer outages, on the virtual clock.

const CALLS = 60
const WINDOW_MS = 100
/** Time in ms in which all calls are connected again. */
const DONE_MS = 4000

t.test('60 sessions cut at once reconnect at a limited rate', async (t) => {
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
  vendor.breakOff()
  const fromMs = performance.now()
  while (performance.now() - fromMs < DONE_MS) {
    await sleep(WINDOW_MS)
    windows.push(vendor.connections - seen)
    seen = vendor.connections
  }
  t.comment(`connects in each 100 ms: ${windows.join(' ')}`)
  const lost = lines.filter(({ recorder }) => recorder.all('error').some(({ fatal }) => fatal)).length
  const back = lines.filter(({ recorder }) => recorder.all('failover').length === 1).length
  t.equal(
    windows.reduce((sum, count) => sum + count, 0),
    CALLS,
  )
  t.same([back, lost], [CALLS, 0])
  t.ok(Math.max(...windows) <= 10, 'never more than 10 in 100 ms')
  // A connection takes longer than a window on a busy machine.
  t.ok(
    windows.slice(0, 3).some((count) => count > 0),
    'the first of them at once',
  )
})
