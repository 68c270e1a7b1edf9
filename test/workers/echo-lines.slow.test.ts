import t from 'tap'
import type { LegRateHz } from '../../src/core/units.js'
import { callOver, nameOf } from '../support/echo-calls.js'
import { whole } from '../support/gateway.js'

// Calls are spoken in real time. What is tested needs frames that keep their time, on either side: no more at once than
// two cores speak and hear without being late.
t.setTimeout(500_000)
const CALLS_AT_ONCE = 3

interface Leg {
  readonly legRateHz: LegRateHz
  /** 8000 is a telephone, also at the far end of a leg of 16 kHz. */
  readonly rateHz: LegRateHz
  /** At which level a caller talks over the greeting. */
  readonly interruptedDb: number
}

const LEGS: readonly Leg[] = [
  { legRateHz: 8000, rateHz: 8000, interruptedDb: 20 },
  { legRateHz: 16000, rateHz: 8000, interruptedDb: 10 },
  { legRateHz: 16000, rateHz: 16000, interruptedDb: 30 },
]
/** The loudest echo, which comes soonest. The bench of the echo has softer and later ones. */
const ECHO = { softerDb: 10, delayMs: 80 }
t.jobs = LEGS.length

/** Runs `place` when fewer than CALLS_AT_ONCE calls do. */
let free = CALLS_AT_ONCE
const waiting: (() => void)[] = []
async function inTurn<Result>(place: () => Promise<Result>): Promise<Result> {
  if (free > 0) free--
  else await new Promise<void>((resolve) => waiting.push(resolve))
  try {
    return await place()
  } finally {
    const next = waiting.shift()
    if (next === undefined) free++
    else next()
  }
}

for (const { legRateHz, rateHz, interruptedDb } of LEGS) {
  t.test(
    `a leg of ${legRateHz} Hz, a caller's line of ${rateHz}: an echo interrupts nobody, and a caller who talks over it does`,
    { buffered: true },
    async (t) => {
      const { at, close } = await whole({}, (yaml) =>
        yaml.replace(/outputSamplingRate: \d+/, `outputSamplingRate: ${legRateHz}`),
      )
      t.teardown(close)
      const quiet = { rateHz, ...ECHO }
      const interrupted = { ...quiet, softerDb: interruptedDb }
      const runs = await Promise.all([inTurn(() => callOver(quiet, at)), inTurn(() => callOver(interrupted, at, true))])
      for (const [commits, { code, calls, output }] of runs.entries()) {
        const [call] = calls
        const name = commits === 0 ? nameOf(quiet) : `${nameOf(interrupted)}, interrupted`
        t.equal(code, 0, `${name}: ${call?.goal.why ?? output}`)
        t.equal(call?.bargeIns.filter(({ committed }) => committed !== false).length, commits, name)
      }
    },
  )
}
