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
  'cli/init',
  'cli/processes',
  'cli/roll',
  'cli/serve',
  'cli/simulate',
  'cli/spoken-callers',
  'console/softphone',
  'fleet/alone',
  'workers/echo-lines',
  'workers/mixed-tracks',
  'workers/number-in-parts-recorded',
  'workers/openai-calls',
]
/** They judge how late sound or an answer is, and mostly wait: together they keep one core busy. */
const TIMED_JOBS = 3
const TIMED = ['backends/reconnects', 'bench/production', 'cli/doctor']
/** They judge that too, and keep two cores busy by themselves. */
const ALONE = ['cli/doubles', 'fleet/fleet', 'fleet/late-store']

t.setTimeout(0)

const files = testFiles().filter((file) => file.endsWith('.slow.test.ts'))
const among = (names) => (file) => names.some((name) => file === `test/${name}.slow.test.ts`)
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
