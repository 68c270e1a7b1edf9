import t from 'tap'
import { FAR_GATEWAYS, testSeeds } from './seeds.js'
import { SimulatedGateways } from './simulated-gateways.js'

/**
 * Seeds far from those of `gateway-simulation.test.ts` that were once wrong: a call with two records after nodes have started
 * together (245), or one while the store was late (544); a live call that was hung up after a failover (801). And those where something is lost for good: the state of a call whose node
 * died, with a Redis that comes back empty (203); how the call of a row went, with its node (342, 696). Any change of the fleet's
 * traffic makes other histories of them: in 290 a host, its Redis and its data are lost.
 */
testSeeds(t, 'a call has one record even if nodes start together', {
  name: 'GATEWAYS',
  seeds: [203, 245, 290, 342, 544, 696, 801, ...FAR_GATEWAYS],
  twice: 245,
  mustHappen: ['died', 'failover', 'host died', 'redis lost its data'],
  run: (seed, tally, trace) => new SimulatedGateways(seed, tally, trace).run(),
})
