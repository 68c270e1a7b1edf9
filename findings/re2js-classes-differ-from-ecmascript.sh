#!/usr/bin/env bash
# Versions: re2js 2.10.0.
# One would guess: that a pattern which both engines accept matches the same texts, since only look-around and
#   back-references are known to be missing in RE2.
# It does: `\s` leaves out the no-break space and the vertical tab, and `.` matches a carriage return.
# Source: the syntax of RE2, which the package follows; run here.
# It matters here: patterns of JSON Schema are ECMAScript's, and an engine that is safe on callers' words must mean the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts re2js@2.10.0 >/dev/null
cat >probe.mjs <<'JS'
import { RE2JS } from 're2js'
const rows = [
  ['^\\s$', '\u00a0', 'a no-break space'],
  ['^\\s$', '\v', 'a vertical tab'],
  ['^.$', '\r', 'a carriage return'],
]
let same = 0
for (const [pattern, text, name] of rows) {
  const [ours, theirs] = [new RegExp(pattern).test(text), RE2JS.compile(pattern).matcher(text).find()]
  console.log(`${pattern} on ${name}: RegExp ${ours}, re2js ${theirs}`)
  if (ours === theirs) same++
}
process.exit(same === 0 ? 0 : 1)
JS
node probe.mjs
