#!/usr/bin/env bash
# Versions: undici 7.30.2.
# Expected: A request fails when its signal aborts. A connection with `timeout: 300` fails after 300 ms.
# Actual: The signal is read only after the connection is open; until then the request continues. A timer that runs about once a
#   second checks the timeouts of connections.
# Source: lib/core/connect.js and lib/util/timers.js of undici.
# Reason to know it: A caller hears silence after a tool's deadline has passed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts undici@7.30.2 >/dev/null
cat >probe.mjs <<'EOF'
import { Agent, request } from 'undici'
const awake = setInterval(() => undefined, 1000)
// A resolver that does not answer.
const dispatcher = (timeout) => new Agent({ connect: { timeout, lookup: () => undefined } })
const took = async (timeout, options) => {
  const fromMs = performance.now()
  const failure = await request('http://example.test/', { dispatcher: dispatcher(timeout), ...options }).catch((e) => e)
  return { name: failure.name, ms: Math.round(performance.now() - fromMs) }
}
const aborted = await took(1500, { signal: AbortSignal.timeout(100) })
const late = await took(300, {})
console.log(`aborted after 100 ms, while connecting: ${aborted.name} after ${aborted.ms} ms`)
console.log(`connect.timeout of 300 ms: ${late.name} after ${late.ms} ms`)
clearInterval(awake)
process.exit(aborted.name === 'ConnectTimeoutError' && aborted.ms > 1000 && late.ms > 500 ? 0 : 1)
EOF
node probe.mjs
