import t from 'tap'
import type { Test } from 'tap'
import { SimulatedFleet, Tally } from './simulated-fleet.js'

/**
 * One seed, with all that happens in it:
 *
 *     OWNERSHIP_SEED=17 npm run test:one test/fleet/ownership-simulation.test.ts
 *
 * More of them: OWNERSHIP_SEEDS=100000.
 */
const REPLAY = process.env['OWNERSHIP_SEED']
const SEEDS = Number(process.env['OWNERSHIP_SEEDS'] ?? 2000)
const TRACE_LINES = 250
/** Events that must occur among the seeds, or they prove nothing. */
const MUST_HAPPEN = [
  'act: hangup',
  'act: tool',
  'alert: many-suspects',
  'balancer killed',
  'crash',
  'cut: isolated',
  'cut: lost',
  'exit: name taken',
  'host crash',
  'may act: confirm-first',
  'partition',
  'pause 10000',
  'pause 25000',
  'pause 3000',
  'claimed again',
  'store down',
  'store stands still',
  'store: answer lost',
  'store: answered late',
  'store: carried out late',
  'store: carried out twice',
  'store lost its data',
  'taken: new-incarnation',
  'taken: refused',
  'taken: silent',
  'taken: stream-over',
  'yielded',
]

async function violationOf(seed: number, tally: Tally, trace: string[] | null): Promise<string | null> {
  try {
    await new SimulatedFleet(seed, tally, trace).run()
    return null
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error)
  }
}

async function replay(t: Test, seed: number, lines: number): Promise<void> {
  const trace: string[] = []
  const violation = await violationOf(seed, new Tally(), trace)
  for (const line of trace.slice(-lines)) t.comment(line)
  t.equal(violation, null, `OWNERSHIP_SEED=${seed}`)
}

t.test('through all faults no two owners act, no call is forgotten, and no healthy node loses one', async (t) => {
  if (REPLAY !== undefined) return replay(t, Number(REPLAY), Infinity)
  const tally = new Tally()
  for (let seed = 1; seed <= SEEDS; seed++)
    if ((await violationOf(seed, tally, null)) !== null) return replay(t, seed, TRACE_LINES)
  t.strictSame(
    MUST_HAPPEN.filter((what) => !tally.counts.has(what)),
    [],
  )
  return undefined
})
