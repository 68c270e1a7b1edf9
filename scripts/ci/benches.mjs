// `.ci/more benches`: a smoke run of each bench. It passes if the bench ends with a verdict: exit code 0, or 1 if the
// verdict depends on times, which mean nothing beside other work.
//
//   npm run -s build && node scripts/ci/benches.mjs [--OPTION …]
//
// With options such as --turns, only these benches run.
import { runOf } from './command.mjs'
import { BENCHES } from '../../dist/bench/benches.js'

/** Time limit of a smoke run. The longest, --soak, takes four minutes. */
const SMOKE_MS_MAX = 10 * 60_000

const options = process.argv.slice(2)
const unknown = options.filter((option) => !(option in BENCHES))
if (unknown.length > 0) {
  console.error(`benches: no bench ${unknown.join(', ')}. The benches are ${Object.keys(BENCHES).join(', ')}`)
  process.exit(2)
}
let [passed, failed] = [0, 0]
for (const [option, { smoke, isTimed }] of Object.entries(BENCHES)) {
  if (options.length > 0 && !options.includes(option)) continue
  const args = [option, ...smoke]
  const beganMs = performance.now()
  console.log(`--- bench ${args.join(' ')}`)
  const { code, end } = await runOf([process.execPath, 'dist/bench/main.js', ...args], {
    env: process.env,
    limitMs: SMOKE_MS_MAX,
  })
  const seconds = ((performance.now() - beganMs) / 1000).toFixed(1).padStart(6)
  const isVerdict = end === null && (code === 0 || (isTimed && code === 1))
  if (isVerdict) {
    passed++
    console.log(`ok     ${seconds} s  ${args.join(' ')}${code === 1 ? ' (targets missed)' : ''}`)
    continue
  }
  failed++
  console.log(`not ok: bench ${args.join(' ')}: ${end ?? `exit code ${code}`}`)
}
console.log(`${passed} passed, ${failed} failed, 0 skipped`)
process.exitCode = failed === 0 && passed > 0 ? 0 : 1
