import t from 'tap'
import type { LegRateHz } from '../../src/core/units.js'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

// Calls are spoken in real time. What is tested needs frames that keep their time, on either side: no more at once than
// two cores speak and hear without being late.
t.jobs = 2

/** The echo that comes soonest. Louder, softer and later ones, and callers who stay silent: test/media/echo.slow.test.ts. */
const DELAY_MS = 80

interface Leg {
  readonly legRateHz: LegRateHz
  /** 8000 is a telephone, also at the far end of a leg of 16 kHz. */
  readonly lines: readonly { readonly rateHz: LegRateHz; readonly softerDb: number }[]
}

const LEGS: readonly Leg[] = [
  { legRateHz: 8000, lines: [{ rateHz: 8000, softerDb: 20 }] },
  {
    legRateHz: 16000,
    lines: [
      { rateHz: 8000, softerDb: 10 },
      { rateHz: 16000, softerDb: 30 },
    ],
  },
]

for (const { legRateHz, lines } of LEGS) {
  t.test(`only callers interrupt the agent, never echo, at ${legRateHz} Hz`, { buffered: true }, async (t) => {
    const { at, close } = await whole({}, (yaml) =>
      yaml.replace(/outputSamplingRate: \d+/, `outputSamplingRate: ${legRateHz}`),
    )
    t.teardown(close)
    const runs = await Promise.all(
      lines.map(({ rateHz, softerDb }) => {
        const echo = ['--rate', `${rateHz}`, '--echo', `${softerDb}`, '--echo-delay', `${DELAY_MS}`]
        return simulateOneCall({
          ...at,
          args: ['--from', '+254700000009', '--order', '4127', ...echo, '--interrupt'],
        })
      }),
    )
    for (const [i, { code, calls, output }] of runs.entries()) {
      const [call] = calls
      const name = `${lines[i]?.rateHz} Hz, -${lines[i]?.softerDb} dB`
      t.equal(code, 0, `${name}: ${call?.goal.why ?? output}`)
      t.equal(call?.bargeIns.filter(({ committed }) => committed !== false).length, 1, `${name}: one, the caller's`)
    }
  })
}
