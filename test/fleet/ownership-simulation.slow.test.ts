import t from 'tap'
import { FAR_OWNERSHIP, MORE_OWNERSHIP, neighboursOf, testSeeds } from './seeds.js'
import { SimulatedFleet } from './simulated-fleet.js'

testSeeds(t, 'no call is lost for seeds near earlier failures', {
  name: 'OWNERSHIP',
  seeds: [...MORE_OWNERSHIP, ...neighboursOf(FAR_OWNERSHIP)],
  twice: 4347,
  mustHappen: ['act: hangup', 'yielded', 'claimed again'],
  run: (seed, tally, trace) => new SimulatedFleet(seed, tally, trace).run(),
})
