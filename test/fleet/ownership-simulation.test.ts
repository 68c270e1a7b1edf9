import t from 'tap'
import { FAR_OWNERSHIP as FAR, FIRST_OWNERSHIP, testSeeds } from './seeds.js'
import { SimulatedFleet } from './simulated-fleet.js'

/**
 * One seed, with all that happens in it:
 *
 *     OWNERSHIP_SEED=17 npm run test:one test/fleet/ownership-simulation.test.ts
 *
 * More of them: OWNERSHIP_SEEDS=100000. In 2613 and 19082 a node dies again before a survivor that has just started has seen
 * which of its runs has which call; in the last ones two nodes have a call, and the stream was at the one that the store does not name.
 */
testSeeds(t, 'no fault loses calls or lets two owners act', {
  name: 'OWNERSHIP',
  seeds: [...FIRST_OWNERSHIP, 2613, 19_082, ...FAR],
  twice: 1,
  mustHappen: [
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
  ],
  run: (seed, tally, trace) => new SimulatedFleet(seed, tally, trace).run(),
})
