#!/usr/bin/env bash
# Versions: piscina 5.3.2.
# Expected: `signal` only cancels a task. A worker with `concurrentTasksPerWorker: 10` runs ten tasks.
# Actual: A worker that has a task with a signal does not accept other tasks until this task ends, because an abort ends the
#   whole worker. Its nine other slots stay empty.
# Source: src/index.ts and src/worker_pool of piscina (a task that can be aborted makes its worker busy).
# Reason to know it: Calls are tasks. If each call had a signal, a pool of 8 workers would accept 8 calls instead of 200.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts piscina@5.3.2 >/dev/null
cat >probe.mjs <<'EOF'
import { writeFileSync } from 'node:fs'
import { Piscina } from 'piscina'
writeFileSync('worker.mjs', "import { setTimeout } from 'node:timers/promises'\nexport default (ms) => setTimeout(ms)\n")
const filename = new URL('worker.mjs', import.meta.url).href
const pool = new Piscina({ filename, minThreads: 1, maxThreads: 1, concurrentTasksPerWorker: 10 })
await pool.run(1)
const tookBeside = async (options) => {
  const long = pool.run(600, options)
  const fromMs = performance.now()
  await pool.run(1)
  const ms = performance.now() - fromMs
  await long
  return ms
}
const [plain, abortable] = [await tookBeside({}), await tookBeside({ signal: new AbortController().signal })]
console.log(`a task of 1 ms in a worker of ten slots took ${plain.toFixed(0)} ms beside a task without a signal`)
console.log(`and ${abortable.toFixed(0)} ms beside one with a signal, which nobody aborted`)
await pool.destroy()
process.exit(plain < 300 && abortable > 400 ? 0 : 1)
EOF
node probe.mjs
