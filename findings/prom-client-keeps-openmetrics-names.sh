#!/usr/bin/env bash
# Versions: prom-client 15.1.3.
# Expected: `setContentType` decides the format in which a registry is written. So one endpoint can answer each scraper in the
#   format that it accepts.
# Actual: Writing OpenMetrics removes `_total` from the name of each counter permanently. The text format that is written
#   afterwards has a series with another name.
# Source: lib/registry.js, `metrics()`: it sets metric.name.
# Reason to know it: One scraper that requests OpenMetrics would rename the series of all other scrapers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts prom-client@15.1.3 >/dev/null
cat >probe.mjs <<'EOF'
import { Counter, Registry } from 'prom-client'
const page = async (type, before) => {
  const registry = new Registry()
  new Counter({ name: 'calls_total', help: 'Calls', registers: [registry] }).inc()
  if (before !== undefined) {
    registry.setContentType(before)
    await registry.metrics()
  }
  registry.setContentType(type)
  return (await registry.metrics()).split('\n').find((line) => line.startsWith('calls'))
}
const fresh = await page(Registry.PROMETHEUS_CONTENT_TYPE)
const after = await page(Registry.PROMETHEUS_CONTENT_TYPE, Registry.OPENMETRICS_CONTENT_TYPE)
console.log(`the text format of a registry: ${fresh}`)
console.log(`of one that has written OpenMetrics before: ${after}`)
process.exit(fresh === 'calls_total 1' && after === 'calls 1' ? 0 : 1)
EOF
node probe.mjs
