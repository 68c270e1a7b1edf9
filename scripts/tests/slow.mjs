// The slow tests, each file in a process: long calculations, and calls in real time.
import t from 'tap'
import { spawn, testFiles } from './lane.mjs'

/** Most wait for timers and programs more than they compute. */
const JOBS = 4
/**
 * Calls in real time, most of them spoken, which have to be carried, heard and recognised in time, or whose gateway starts
 * again while the carrier waits for 10 s: two cores keep up with two files.
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
  'fleet/alone',
  'fleet/called-back',
  'workers/echo-lines',
  'workers/number-in-parts-recorded',
  'workers/openai-calls',
]
/** They judge how late sound or an answer is, and mostly wait: together they keep one core busy. */
const TIMED_JOBS = 3
const TIMED = ['backends/reconnects', 'bench/production', 'cli/doctor']
/** They judge that too, and keep two cores busy by themselves. */
const ALONE = ['cli/doubles', 'fleet/fleet', 'fleet/late-store']

/** They take longest and begin first, so that the last to end is a short one. */
const FIRST = [
  'fleet/called-back',
  'console/pages',
  'bench/measures',
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
  // tap counts a test without asserts as one that passed.
  if (its.length === 0) return
  void t.test(name, { jobs, timeout: 0 }, async (t) => {
    for (const file of its) void spawn(t, file, [file])
  })
}

group('beside each other', JOBS, (file) => !among([...SPOKEN, ...TIMED, ...ALONE])(file))
group('spoken', SPOKEN_JOBS, among(SPOKEN))
group('timed', TIMED_JOBS, among(TIMED))
group('alone', 1, among(ALONE))
