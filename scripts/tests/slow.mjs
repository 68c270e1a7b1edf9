// Runs the slow tests, each file in its own process: long calculations, and calls in real time.
import t from 'tap'
import { spawn, testFiles } from './lane.mjs'

/**
 * Number of other files at the same time. They start programs that mostly wait for timers and each other, so two cores
 * are enough for three files.
 */
const JOBS = 3
/**
 * Files that compute all the time, or use a browser. They run separately, because on slow cores they delayed the other
 * tests too much.
 */
const COMPUTING_JOBS = 2
const COMPUTING = [
  'backends/conformance',
  'backends/embedded/order-calls',
  'bench/measures',
  'call/pairs',
  'cli/simulate-command',
  'console/editor',
  'console/pages',
  'fleet/gateway-simulation',
  'fleet/ownership-simulation',
  'gateway/agent-inspector',
  'gateway/sequential-test',
  'media/dtmf-tones',
  'media/echo',
  'media/recorded-voices',
  'simulator/after-stream-keyed',
  'simulator/after-stream-keyless',
  'simulator/models',
  'simulator/recogniser',
  'simulator/spoken-doubles',
  'simulator/telephones',
  'speech/recorded-level',
  'speech/shared-worker',
]
/**
 * Files with calls in real time, mostly spoken. The audio must be carried and recognised in time, or a gateway must
 * restart while the carrier waits for 10 s. Two cores are enough for two files.
 */
const SPOKEN_JOBS = 2
const SPOKEN = [
  'backends/embedded/number-in-parts',
  'cli/end-to-end',
  'cli/failover',
  'cli/processes',
  'cli/roll',
  'cli/simulate',
  'cli/spoken-callers',
  'console/softphone',
  'examples/examples',
  'fleet/alone',
  'fleet/called-back',
  'simulator/call-command',
  'workers/echo-lines',
  'workers/number-in-parts-recorded',
]
/** Files that measure the delay of sound or of an answer. They mostly wait: three files use one core. */
const TIMED_JOBS = 3
const TIMED = ['backends/reconnects', 'bench/production', 'cli/doctor']
/** Files that also measure delays, or that recognise twenty callers at the same time. One file uses two cores. */
const ALONE = ['cli/doubles', 'examples/vendors', 'fleet/balancers', 'fleet/fleet', 'fleet/late-store']

/** The longest files. They start first, so that no long file is still running at the end. */
const FIRST = [
  'call/pairs',
  'backends/embedded/order-calls',
  'fleet/called-back',
  'console/pages',
  'campaigns/fleet',
  'console/editor',
  'grafana/proof',
  'workers/guilty-calls',
  'cli/end-to-end',
  'cli/spoken-callers',
  'cli/simulate',
]

t.setTimeout(0)

const fileOf = (name) => `test/${name}.slow.test.ts`
const slow = testFiles().filter((file) => file.endsWith('.slow.test.ts'))
const first = FIRST.map(fileOf).filter((file) => slow.includes(file))
const files = [...first, ...slow.filter((file) => !first.includes(file))]
const among = (names) => (file) => names.map(fileOf).includes(file)
function group(name, jobs, isOf) {
  const its = files.filter(isOf)
  // tap would count an empty test as passed.
  if (its.length === 0) return
  void t.test(name, { jobs, timeout: 0 }, async (t) => {
    for (const file of its) void spawn(t, file)
  })
}

group('computing', COMPUTING_JOBS, among(COMPUTING))
group('beside each other', JOBS, (file) => !among([...COMPUTING, ...SPOKEN, ...TIMED, ...ALONE])(file))
group('spoken', SPOKEN_JOBS, among(SPOKEN))
group('timed', TIMED_JOBS, among(TIMED))
group('alone', 1, among(ALONE))
