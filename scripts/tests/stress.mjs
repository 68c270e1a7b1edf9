// Runs test files again and again, each alone or beside busy processes, and shows how often each file passed and which
// assertions failed.
//
//   npm run test:stress -- test/fleet/late-store.slow.test.ts … [--runs 20] [--busy 2]
//
// The exit code is 0 if each run of each file passed.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { runOf } from '../ci/command.mjs'
import { readLane } from '../ci/lane-output.mjs'

const RUNS = 20
const BUSY = 2
/** Maximum duration of one run of a file. */
const FILE_MS_MAX = 20 * 60_000
const BUSY_PROGRAM = 'for (;;) Math.sqrt(Math.random())'

function parsed() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { runs: { type: 'string', default: String(RUNS) }, busy: { type: 'string', default: String(BUSY) } },
  })
  const [runs, busy] = [Number(values.runs), Number(values.busy)]
  const missing = positionals.filter((file) => !existsSync(file))
  if (positionals.length === 0) throw new Error('name one test file or more')
  if (missing.length > 0) throw new Error(`there is no ${missing.join(', ')}`)
  if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs ${values.runs}: give a whole number from 1`)
  if (!Number.isInteger(busy) || busy < 0) throw new Error(`--busy ${values.busy}: give a whole number from 0`)
  return { files: positionals, runs, busy }
}

/** @returns null if the file passed, or the failed assertions of this run */
async function failuresOf(file) {
  const { code, output, end } = await runOf(['node_modules/.bin/tap', file], {
    env: process.env,
    limitMs: FILE_MS_MAX,
    isPrinted: false,
  })
  if (code === 0 && end === null) return null
  const failures = readLane(output)?.failures ?? []
  if (failures.length === 0) return [end ?? `exit code: ${code}`]
  return failures.map(({ test, excerpt }) => [test, ...excerpt].join('\n      '))
}

async function stress({ files, runs, busy }) {
  const rows = new Map(files.map((file) => [file, { passed: 0, longestS: 0, seen: new Map() }]))
  for (let run = 1; run <= runs; run++)
    for (const file of files) {
      const row = rows.get(file)
      const beganMs = performance.now()
      const failures = await failuresOf(file)
      const seconds = (performance.now() - beganMs) / 1000
      row.longestS = Math.max(row.longestS, seconds)
      if (failures === null) row.passed++
      else for (const failure of failures) row.seen.set(failure, (row.seen.get(failure) ?? 0) + 1)
      const load = loadavg()[0].toFixed(1)
      console.log(
        `${run} of ${runs}  ${failures === null ? 'ok    ' : 'NOT OK'} ${seconds.toFixed(1).padStart(6)} s  load ${load}  ${file}`,
      )
    }
  console.log(`\n${runs} runs beside ${busy} busy processes`)
  for (const [file, { passed, longestS, seen }] of rows) {
    console.log(`${String(passed).padStart(4)} of ${runs} passed, at most ${longestS.toFixed(0)} s  ${file}`)
    for (const [failure, times] of seen) console.log(`    ${times} x ${failure}`)
  }
  return [...rows.values()].every(({ passed }) => passed === runs)
}

try {
  const options = parsed()
  for (let i = 0; i < options.busy; i++) {
    const neighbour = spawn(process.execPath, ['-e', BUSY_PROGRAM], { stdio: 'ignore' })
    process.once('exit', () => neighbour.kill('SIGKILL'))
  }
  process.exit((await stress(options)) ? 0 : 1)
} catch (thrown) {
  console.error(`test:stress: ${thrown.message}`)
  process.exit(2)
}
