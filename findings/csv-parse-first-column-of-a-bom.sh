#!/usr/bin/env bash
# Versions: csv-parse 7.0.3.
# Expected: Spreadsheets save UTF-8 with a byte order mark. The mark is not part of the first column's name. A second column
#   with the same name is an error.
# Actual: The name has the mark as its first character, which terminals do not show, so the column seems to be missing. The
#   option `bom` is off by default. If two columns have one name, the last column is used, without an error.
# Source: The package's documentation of the options bom and columns.
# Reason to know it: Lists of people to call come from spreadsheets, and their first column is the number.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts csv-parse@7.0.3 >/dev/null
cat >probe.mjs <<'EOF'
import { parse } from 'csv-parse/sync'
const file = Buffer.from('\ufeffnumber,name\n0711000000,Amina\n')
const [row] = parse(file, { columns: true })
const [known] = parse(file, { columns: true, bom: true })
const [twice] = parse('name,name\nAmina,Otieno\n', { columns: true })
console.log(`as saved by a spreadsheet: ${JSON.stringify(row)}, row.number is ${row.number}`)
console.log(`with bom: true: ${JSON.stringify(known)}`)
console.log(`two columns of one name: ${JSON.stringify(twice)}`)
process.exit(row.number === undefined && known.number === '0711000000' && twice.name === 'Otieno' ? 0 : 1)
EOF
node probe.mjs
