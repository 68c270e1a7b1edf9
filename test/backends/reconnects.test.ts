import t from 'tap'
import type { Test } from 'tap'
import { Circuits } from '../../src/backends/failover/circuit-breaker.js'
import { seededRandom } from '../../src/carrier/random.js'
import { Line } from './failover/line.js'
import { FakeTimers, ScriptedService } from './failover/scripted.js'

// A vendor's view of an outage: 60 calls of one worker, 25 reconnects a second. reconnects.slow.test.ts has sockets.

const CALLS = 60
const WINDOW_MS = 100

/**
 * 60 calls with a session each, all cut at once.
 * @param outageMs  how long the vendor answers 503 after that
 * @returns the connects of each window of 100 ms, until `doneMs`, and the time after which all calls were connected
 */
async function cut(t: Test, doneMs: number, outageMs: number, seed: number) {
  const vendor = new ScriptedService('vendor')
  const timers = new FakeTimers()
  const circuits = new Circuits({ reconnectsPerSecond: 25, random: seededRandom(seed) })
  const lines = Array.from({ length: CALLS }, () => new Line(t, [vendor], { circuits, timers }))
  for (const line of lines) await line.connect()
  // A session that is refused with 503 ends with this code.
  if (outageMs > 0) vendor.connects.splice(0, 1, 'internal')
  const back = (): number => lines.filter(({ failovers }) => failovers.length === 1).length
  const windows: number[] = []
  let backMs: number | null = null
  let seen = vendor.sessions.length
  for (const session of [...vendor.sessions]) session.die('network')
  for (let passedMs = 0; passedMs < doneMs; passedMs += WINDOW_MS) {
    if (passedMs >= outageMs) vendor.connects.splice(0, 1, 'ready')
    await timers.pass(WINDOW_MS)
    windows.push(vendor.sessions.length - seen)
    seen = vendor.sessions.length
    if (backMs === null && back() === CALLS) backMs = passedMs + WINDOW_MS
  }
  const lost = lines.filter(({ recorder }) => recorder.all('error').some(({ fatal }) => fatal)).length
  return { windows, connects: windows.reduce((sum, count) => sum + count, 0), lost, back: back(), backMs }
}

for (const seed of [1, 2, 3]) {
  t.test(`60 sessions cut at once reconnect at a limited rate, seed ${seed}`, async (t) => {
    const { windows, connects, back, lost, backMs } = await cut(t, 4000, 0, seed)
    t.equal(connects, CALLS)
    t.same([back, lost], [CALLS, 0])
    t.ok(Math.max(...windows) <= 5, 'two at once, then one every 40 ms')
    t.ok((windows[0] ?? 0) > 0, 'the first of them at once')
    t.ok((backMs ?? Infinity) <= 2400, `all after ${backMs} ms`)
  })

  t.test(`during 503 answers only a few calls try the vendor, seed ${seed}`, async (t) => {
    const { windows, connects, lost } = await cut(t, 10_000, Infinity, seed)
    t.ok(connects <= 15, `${connects} connects`)
    t.ok(Math.max(...windows) <= 5)
    t.equal(lost, CALLS, 'each call knows it within 10 s')
  })

  t.test(`after an outage of three seconds every call is served, seed ${seed}`, async (t) => {
    const { windows, connects, back, lost, backMs } = await cut(t, 11_000, 3000, seed)
    t.same([back, lost], [CALLS, 0])
    t.ok(connects <= CALLS + 15, `${connects} connects`)
    t.ok(Math.max(...windows) <= 5)
    t.ok((backMs ?? Infinity) <= 7500, `all after ${backMs} ms`)
  })
}
