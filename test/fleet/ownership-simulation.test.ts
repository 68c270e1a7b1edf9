import t from 'tap'
import { SimulatedFleet, Tally } from './simulated-fleet.js'

/** OWNERSHIP_SEED=17 npm run test:one test/fleet/ownership-simulation.test.ts: one seed, with all that happens in it. */
const REPLAY = process.env['OWNERSHIP_SEED']
const SEEDS = Number(process.env['OWNERSHIP_SEEDS'] ?? 2000)
const TRACE_LINES = 250

async function violationOf(seed: number, tally: Tally, trace: string[] | null): Promise<string | null> {
  try {
    await new SimulatedFleet(seed, tally, trace).run()
    return null
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error)
  }
}

t.test('through all faults no two owners act, no call is forgotten, and no healthy node loses one', async (t) => {
  const tally = new Tally()
  const failed: number[] = []
  for (let seed = 1; seed <= SEEDS && REPLAY === undefined && failed.length < 20; seed++)
    if ((await violationOf(seed, tally, null)) !== null) failed.push(seed)
  const seed = REPLAY === undefined ? failed[0] : Number(REPLAY)
  if (seed !== undefined) {
    const trace: string[] = []
    const violation = await violationOf(seed, new Tally(), trace)
    for (const line of REPLAY === undefined ? trace.slice(-TRACE_LINES) : trace) console.log(`# ${line}`)
    t.equal(violation, null, `OWNERSHIP_SEED=${seed}`)
  }
  t.strictSame(failed, [], 'seeds')
  console.log(
    [...tally.counts]
      .sort()
      .map(([what, count]) => `# ${what}: ${count}`)
      .join('\n'),
  )
})
