#!/usr/bin/env bash
# Versions: csv-parse 7.0.3.
# Expected: `info.lines` counts the lines of the file, as an editor shows them.
# Actual: A Windows line break within quotes counts as two lines. So every later record has a line number that is too high.
# Source: The result of this script. The package's documentation calls the figure the number of lines encountered.
# Reason to know it: A mistake in a list of people to call is reported with its line, and such lists come from spreadsheets.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts csv-parse@7.0.3 >/dev/null
cat >probe.mjs <<'JS'
import { parse } from 'csv-parse/sync'
const lineOfLast = (lineEnd) => {
  const file = ['number,note', '0711000000,"first', 'second"', '0722000000,none', ''].join(lineEnd)
  return parse(file, { columns: true, info: true }).at(-1).info.lines
}
const [unix, windows] = [lineOfLast('\n'), lineOfLast('\r\n')]
console.log(`the last record stands on line 4; with \\n info.lines is ${unix}, with \\r\\n ${windows}`)
process.exit(unix === 4 && windows === 5 ? 0 : 1)
JS
node probe.mjs
