#!/usr/bin/env bash
# Versions: re2js 2.10.0.
# Expected: If both engines accept a pattern, it matches the same texts. The only known differences are that RE2 lacks
#   look-around and back-references.
# Actual: `\s` does not match the no-break space and the vertical tab, and `.` matches a carriage return.
# Source: The syntax of RE2, which the package follows; the result of this script.
# Reason to know it: Patterns in JSON Schema are ECMAScript patterns. The engine that runs them safely on callers' words must
#   give the same results.
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
