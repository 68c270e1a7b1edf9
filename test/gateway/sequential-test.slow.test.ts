import t from 'tap'
import { worseFigure, countsSchema } from '../../src/gateway/canary-watch.js'
import type { Counts } from '../../src/gateway/canary-watch.js'

/** How calls end: shares of those that go to a human, are abandoned or not understood; the others are contained. */
interface Rates {
  readonly escalated: number
  readonly left: number
  readonly misunderstood: number
  readonly dear: number
}
const AGENT: Rates = { escalated: 0.08, left: 0.04, misunderstood: 0.04, dear: 0.5 }

/** Numbers from 0 to 1, the same in each run (mulberry32). */
function randoms(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Calls one after the other, each with the test after it.
 * @param canaryCalls  calls of the canary, at most
 * @returns if the canary was stopped
 */
function isStopped(canary: Rates, share: number, canaryCalls: number, random: () => number): boolean {
  const sums: Record<'agent' | 'canary', Counts> = { agent: countsSchema.parse({}), canary: countsSchema.parse({}) }
  while (sums.canary.calls < canaryCalls) {
    const arm = random() < share ? 'canary' : 'agent'
    const [rates, counts] = [arm === 'canary' ? canary : AGENT, sums[arm]]
    counts.calls++
    counts.costed++
    let at = random()
    for (const figure of ['escalated', 'left', 'misunderstood'] as const) {
      if (at >= 0 && at < rates[figure]) {
        counts[figure]++
        // A call that is not understood ends in some other way too: here it is abandoned.
        if (figure === 'misunderstood') counts.left++
        counts.lost++
      }
      at -= rates[figure]
    }
    if (random() < rates.dear) counts.dear++
    if (worseFigure(sums, share) !== null) return true
  }
  return false
}

const RUNS = 1000

function stoppedShare(canary: Rates, share: number, canaryCalls: number): number {
  const random = randoms(20_261_129)
  let stopped = 0
  for (let run = 0; run < RUNS; run++) if (isStopped(canary, share, canaryCalls, random)) stopped++
  return stopped / RUNS
}

for (const share of [0.5, 0.1])
  t.test(`few equal canaries at ${share * 100} % are stopped`, (t) => {
    const stopped = stoppedShare(AGENT, share, share === 0.5 ? 1000 : 300)
    t.comment(`${(stopped * 100).toFixed(1)} % stopped`)
    t.ok(stopped <= 0.05, String(stopped))
    t.end()
  })

const WORSE: Readonly<Record<string, Partial<Rates>>> = {
  'sent to a human': { escalated: 0.18 },
  abandoned: { left: 0.14 },
  'not understood': { misunderstood: 0.14 },
}

for (const [how, worse] of Object.entries(WORSE))
  t.test(`most canaries with 10 points more calls ${how} are stopped`, (t) => {
    const stopped = stoppedShare({ ...AGENT, ...worse }, 0.5, 400)
    t.comment(`${(stopped * 100).toFixed(1)} % stopped within 400 calls`)
    t.ok(stopped >= 0.8, String(stopped))
    t.end()
  })
