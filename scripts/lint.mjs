// `npm run lint`: runs one check per processor at the same time. The output of a check that passes is printed when it
// ends, that of a check that fails at the end of all: .ci/run reports the last lines.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { mendFirst } from './ci/flaky.mjs'

/** The longest first. */
const CHECKS = [
  'eslint . --concurrency 2',
  'npm run -s typecheck',
  'depcruise src --config .dependency-cruiser.cjs',
  'npm run -s format:check',
  'npm run -s unused',
]

const failed = []

async function checks() {
  for (let command = CHECKS.shift(); command !== undefined; command = CHECKS.shift()) {
    const child = spawn(command, { shell: true, stdio: ['ignore', 'pipe', 'pipe'] })
    let printed = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (printed += chunk.toString()))
    const [code] = await once(child, 'close')
    if (code === 0) process.stdout.write(printed)
    else failed.push(`${printed}lint: ${command}: failed\n`)
  }
}

await Promise.all(Array.from({ length: availableParallelism() }, checks))
// A line for people: it does not refuse (test/flaky.yaml has the reason).
for (const line of mendFirst()) console.log(line)
for (const printed of failed) process.stdout.write(printed)
if (failed.length > 0) process.exitCode = 1
