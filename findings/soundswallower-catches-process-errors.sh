#!/usr/bin/env bash
# Versions: soundswallower 0.6.3 (Emscripten).
# Expected: Creating a WebAssembly module does not change the process in which the module runs.
# Actual: Each new module adds a listener for uncaught exceptions of the process. This listener throws the exceptions again, so
#   another listener can no longer log or handle them.
# Source: soundswallower.node.js: the start-up code that Emscripten writes for Node.
# Reason to know it: A speech worker creates a module for each decoder, and must still handle faults itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts soundswallower@0.6.3 >/dev/null
cat >probe.mjs <<'EOF'
import createSoundSwallower from 'soundswallower'
const before = process.listenerCount('uncaughtException')
await createSoundSwallower()
const after = process.listenerCount('uncaughtException')
console.log(`listeners of uncaughtException: ${before} before the module is made, ${after} after it`)
process.exit(before === 0 && after === 1 ? 0 : 1)
EOF
node probe.mjs
