// Runs all tests except the slow tests and the tests of .ci/more. Several test files run in one process, because loading
// the sources takes 2 to 4 s of CPU time per process, more than most files need. Each process runs the next file that no
// other process has claimed, so that all processes end at about the same time. The files in ALONE inspect or change the
// state of the whole process, so each runs in its own process.
import t from 'tap'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawn, spawnSharing, testFiles } from './lane.mjs'

/**
 * Number of processes at the same time. Most tests wait for sockets and clocks more than they compute: four processes
 * use two cores.
 */
const JOBS = 4
/** Files that each run in their own process, the longest first. */
const ALONE = [
  'cli/serve',
  'console/console',
  'security/secrets',
  'security/floods',
  'workers/call-registry',
  'cli/check-offline',
  'cli/demo',
].map((name) => `test/${name}.test.ts`)
/** The longest of the other files. They start first, so that no long file is still running at the end. */
const FIRST = [
  'gateway/numbers',
  'fleet/gateway-simulation',
  'call/pairs',
  'cli/check',
  'fleet/supervisor',
  'cli/doctor',
].map((name) => `test/${name}.test.ts`)

t.jobs = JOBS
t.setTimeout(0)

/** `TEST_FOLDERS=edge,fleet npm test` runs only these folders. */
const folders = process.env.TEST_FOLDERS?.split(',')
const fast = testFiles().filter(
  (file) => !/\.(slow|more)\.test\.ts$/.test(file) && (folders === undefined || folders.includes(file.split('/')[1])),
)
const among = (names) => names.filter((file) => fast.includes(file))
for (const file of among(ALONE)) spawn(t, file)
const others = fast.filter((file) => !ALONE.includes(file) && !FIRST.includes(file))
const taken = mkdtempSync(join(tmpdir(), 'mkondo-lane-'))
t.teardown(() => rmSync(taken, { recursive: true }))
for (let i = 1; i <= JOBS; i++) spawnSharing(t, `test/ ${i} of ${JOBS}`, [...among(FIRST), ...others], taken)
