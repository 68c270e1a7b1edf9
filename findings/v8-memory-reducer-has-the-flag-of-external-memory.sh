#!/usr/bin/env bash
# Versions: Node 20.20.2 (V8 11.3).
# Expected: A garbage collection with the flag NODE_PERFORMANCE_GC_FLAGS_ALL_EXTERNAL_MEMORY (32) was caused by memory outside
#   of the heap.
# Actual: Memory outside of the heap causes collections with the flags 8 and 32. V8's memory reducer causes collections with 32
#   alone. It collects as soon as the program allocates little, from 8 s after the last collection, or at the latest 100 s after
#   it. `--no-memory-reducer` prevents these collections if Node starts with this option. `v8.setFlagsFromString` affects only
#   threads that start later.
# Source: V8's src/heap/memory-reducer.cc, `NotifyTimer`, and src/heap/heap.cc, `ReportExternalMemoryPressure`.
# Reason to know it: Two pauses of a bench were explained by pressure of ArrayBuffers. But the bench's own collections had
#   started the memory reducer.
# The script takes two minutes and does not need a package.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/flags.mjs" <<'JS'
import { PerformanceObserver } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const [what] = process.argv.slice(2)
const whole = 4
new PerformanceObserver((list) => {
  for (const { detail } of list.getEntries())
    if (detail.kind === whole && (detail.flags & 32) !== 0) {
      console.log(detail.flags)
      process.exit()
    }
}).observe({ entryTypes: ['gc'] })
if (what === 'external') {
  let kept = []
  setInterval(() => {
    for (let i = 0; i < 40; i++) kept.push(new ArrayBuffer(2 ** 20))
    kept = kept.slice(-60)
  }, 20)
} else {
  globalThis.heap = Array.from({ length: 100_000 }, (_, i) => ({ name: `x${i}` }))
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  setInterval(() => undefined, 1000)
}
setTimeout(() => {
  console.log('none')
  process.exit()
}, 125_000)
JS
external="$(node "$folder/flags.mjs" external)"
reducer="$(node "$folder/flags.mjs" reducer & node --no-memory-reducer "$folder/flags.mjs" reducer > "$folder/without" & wait)"
without="$(cat "$folder/without")"
echo "flags of a collection: external memory $external, memory reducer $reducer, with --no-memory-reducer $without"
[ "$external $reducer $without" = '40 32 none' ]
