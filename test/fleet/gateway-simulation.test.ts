import t from 'tap'
import { seedsFrom, testSeeds } from './seeds.js'
import { SimulatedGateways } from './simulated-gateways.js'

/**
 * One seed, with all that happens in it:
 *
 *     GATEWAYS_SEED=17 npm run test:one test/fleet/gateway-simulation.test.ts
 *
 * More of them: GATEWAYS_SEEDS=10000. These are enough for what was once wrong: messages that stay at a node that lives (21, 24, 32),
 * callers who are let go while Redis and a node are lost together (22, 27), calls that end at a planned move (34, 37 to 40).
 */
testSeeds(t, 'no fault loses data, repeats effects or drops callers early', {
  name: 'GATEWAYS',
  seeds: seedsFrom(17, 24),
  twice: 18,
  mustHappen: [
    'answer lost',
    'answered late',
    'charged',
    'died',
    'failover',
    'host died',
    'node stands still',
    'redis and a node died together',
    'redis lost its data',
    'redis stands still',
    'row rung',
    'row untold',
    'slots moved',
    'stopped in order',
  ],
  run: (seed, tally, trace) => new SimulatedGateways(seed, tally, trace).run(),
})
