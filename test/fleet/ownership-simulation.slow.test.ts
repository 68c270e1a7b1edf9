import t from 'tap'
import { FAR_OWNERSHIP, neighboursOf, testSeeds } from './seeds.js'
import { SimulatedFleet } from './simulated-fleet.js'

t.setTimeout(600_000)

testSeeds(t, 'around the seeds that were once wrong no call is lost either', {
  name: 'OWNERSHIP',
  seeds: neighboursOf(FAR_OWNERSHIP),
  twice: 4347,
  mustHappen: ['act: hangup', 'yielded', 'claimed again'],
  run: (seed, tally, trace) => new SimulatedFleet(seed, tally, trace).run(),
})
