import t from 'tap'
import type { LegRateHz } from '../../src/core/units.js'
import { callOver, nameOf } from '../support/echo-calls.js'
import { whole } from '../support/gateway.js'

// Calls are spoken in real time, those of one rate side by side.
t.setTimeout(240_000)

const LINES = [10, 20, 30].flatMap((softerDb) => [80, 300].map((delayMs) => ({ softerDb, delayMs })))

for (const rateHz of [8000, 16000] as const satisfies readonly LegRateHz[]) {
  t.test(`${rateHz} Hz: the agent comes back 10 to 30 dB softer, 80 and 300 ms later, and does not interrupt itself`, async (t) => {
    const { at, close } = await whole()
    t.teardown(close)
    const lines = LINES.map((line) => ({ rateHz, ...line }))
    const runs = await Promise.all(lines.map((line) => callOver(line, at)))
    for (const [i, line] of lines.entries()) {
      const run = runs[i]
      const [call] = run?.calls ?? []
      t.equal(run?.code, 0, `${nameOf(line)}: ${call?.goal.why ?? run?.output}`)
      t.same(call?.bargeIns.filter((bargeIn) => bargeIn.committed !== false), [], `${nameOf(line)}: nobody interrupted the agent`)
    }
  })
}

t.test('a caller who talks over the agent is heard over its echo', async (t) => {
  const { at, close } = await whole()
  t.teardown(close)
  const lines = LINES.map((line, i) => ({ rateHz: i % 2 === 0 ? 8000 as const : 16000 as const, ...line }))
  const runs = await Promise.all(lines.map((line) => callOver(line, at, true)))
  for (const [i, line] of lines.entries()) {
    const run = runs[i]
    const [call] = run?.calls ?? []
    t.equal(run?.code, 0, `${nameOf(line)}: ${call?.goal.why ?? run?.output}`)
    t.equal(call?.bargeIns.filter((bargeIn) => bargeIn.committed === true).length, 1, `${nameOf(line)}: one interruption, the caller's`)
  }
})
