#!/usr/bin/env bash
# Versions: soundswallower 0.6.3 (Emscripten).
# One would guess: that making a module of WebAssembly changes nothing of the process that it runs in.
# It does: each module made adds a listener for the process's uncaught exceptions, which throws them again: another
#   listener that would have logged or survived them does not decide any more.
# Source: soundswallower.node.js: the start-up code that Emscripten writes for Node.
# It matters here: a speech worker makes a module for each decoder, and its own handling of faults has to stay in
#   charge.
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
