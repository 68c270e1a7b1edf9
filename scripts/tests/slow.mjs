// The slow tests, each file in a process: long calculations, and calls in real time.
import t from 'tap'
import { spawn, testFiles } from './lane.mjs'

/** Most wait for timers and programs more than they compute. */
const JOBS = 3
/** Calls are spoken, and have to be heard and recognised in time: two cores keep up with two files. */
const SPOKEN_JOBS = 2
const SPOKEN = [
  'backends/embedded/number-in-parts',
  'cli/end-to-end',
  'cli/failover',
  'cli/init',
  'cli/opening-burst',
  'cli/recorded-caller',
  'cli/serve',
  'cli/simulate',
  'simulator/order-call',
  'workers/hold-music',
  'workers/mixed-tracks',
  'workers/openai-calls',
]
/** They keep two cores busy by themselves, and judge how late sound or an answer is. */
const ALONE = [
  'backends/reconnects',
  'bench/production',
  'cli/doctor',
  'cli/doubles',
  'cli/eight-callers',
  'cli/processes',
  'cli/roll',
  'console/softphone',
  'fleet/fleet',
  'fleet/late-store',
  'workers/echo-lines',
  'workers/number-in-parts-recorded',
]

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

group('beside each other', JOBS, (file) => !among([...SPOKEN, ...ALONE])(file))
group('spoken', SPOKEN_JOBS, among(SPOKEN))
group('alone', 1, among(ALONE))
