import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { clockFaultText, notedClockFault, RetentionClock } from '../../src/telemetry/archive/retention-clock.js'
import { DAY_MS } from '../../src/core/units.js'

const NOW_MS = Date.UTC(2026, 11, 1, 9)

/** A clock whose machine and monotonic time the test sets. */
function clockOf(t: Test, { folder = t.testdir(), wallMs = NOW_MS, newestMs = null as number | null } = {}) {
  const time = { wallMs, steadyMs: 5000 }
  const open = () => new RetentionClock({ folder, newestMs, wallMs: () => time.wallMs, steadyMs: () => time.steadyMs })
  const pass = (ms: number): void => {
    time.wallMs += ms
    time.steadyMs += ms
  }
  return { folder, time, open, pass }
}

t.test('a clock that goes on is used', (t) => {
  const { time, open, pass } = clockOf(t)
  const clock = open()
  for (let hour = 0; hour < 24 * 400; hour++) {
    // The clock of a machine drifts, and is set again.
    pass(3_600_000)
    time.wallMs += hour % 2 === 0 ? 20_000 : -20_000
    clock.look()
    const { fault, ageMs, dateMs } = clock
    if (fault !== null || ageMs !== time.wallMs || dateMs !== time.wallMs) t.fail(`hour ${hour}`)
  }
  t.end()
})

t.test('a jump changes no age, until the clock returns', (t) => {
  const { time, open, pass } = clockOf(t)
  const clock = open()
  pass(10_000)
  clock.look()
  for (const days of [100, -9000]) {
    time.wallMs += days * DAY_MS
    const byMs = Math.abs(days) * DAY_MS
    t.same(clock.fault, { kind: days > 0 ? 'ahead' : 'behind', byMs })
    t.equal(clock.ageMs, NOW_MS + 10_000)
    t.equal(clock.dateMs, days > 0 ? NOW_MS + 10_000 + byMs : NOW_MS + 10_000, 'new data does not expire too soon')
    time.wallMs -= days * DAY_MS
    t.equal(clock.fault, null)
    t.equal(clock.ageMs, time.wallMs)
  }
  t.end()
})

t.test('a wrong clock at the start is found by the mark or by the files', (t) => {
  const { folder, time, open, pass } = clockOf(t)
  const before = open()
  pass(60_000)
  before.look()
  before.mark()
  time.wallMs += 100 * DAY_MS
  const after = open()
  t.match(after.fault, { kind: 'ahead' })
  t.equal(after.ageMs, NOW_MS + 60_000)
  t.match(notedClockFault(folder), null, 'noted with the next look')
  after.look()
  t.match(notedClockFault(folder), { kind: 'ahead' })
  t.match(clockFaultText({ kind: 'ahead', byMs: 100 * DAY_MS }, folder), /100 days ahead of .*touch .*clock-is-right/)
  pass(3_600_000)
  t.equal(after.ageMs, NOW_MS + 3_660_000, 'the time goes on')
  const unmarked = clockOf(t, { folder: t.testdir(), wallMs: NOW_MS + 100 * DAY_MS, newestMs: NOW_MS }).open()
  t.match(unmarked.fault, { kind: 'ahead', byMs: 100 * DAY_MS })
  t.equal(clockOf(t, { folder: join(t.testdirName, 'new') }).open().fault, null, 'a new folder')
  t.match(clockOf(t, { folder: join(t.testdirName, 'unset'), wallMs: 86_400_000 }).open().fault, { kind: 'behind' })
  t.end()
})

t.test('a person or the fleet may agree with the clock', (t) => {
  for (const kind of ['ahead', 'behind'] as const) {
    const { folder, time, open } = clockOf(t)
    const clock = open()
    time.wallMs += (kind === 'ahead' ? 1 : -1) * 30 * DAY_MS
    clock.look()
    t.match(clock.fault, { kind })
    writeFileSync(join(folder, 'clock-is-right'), '')
    clock.look()
    t.equal(clock.fault, null)
    t.equal(clock.ageMs, time.wallMs)
    t.notOk(existsSync(join(folder, 'clock-is-right')))
    t.equal(notedClockFault(folder), null)
    time.wallMs += 30 * DAY_MS
    clock.trust()
    t.equal(clock.fault, null)
    t.match(JSON.parse(readFileSync(join(folder, 'clock.json'), 'utf8')), { atMs: time.wallMs })
  }
  t.end()
})

t.test('a damaged mark is no mark', (t) => {
  const folder = t.testdir({ 'clock.json': '{"atMs":"x"' })
  t.equal(clockOf(t, { folder }).open().fault, null)
  t.equal(notedClockFault(folder), null)
  t.end()
})
