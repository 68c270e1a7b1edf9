#!/usr/bin/env bash
# Versions: libphonenumber-js 1.13.16.
# Expected: A number that is dialled in Kenya with the code for Uganda (006) or Tanzania (007) is read as a number of that
#   country, because the package has such codes for Uganda and Tanzania.
# Actual: For Kenya the package has only 000. So a number with 006 is read as a national number, and is not valid. In Uganda and
#   Tanzania the codes for neighbours count as an international prefix. After this prefix the package expects the neighbour's
#   country code, which callers do not dial there.
# Source: The metadata of the package, which comes from Google; the result of this script.
# Reason to know it: In East Africa, callers and lists give numbers as they are dialled.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts libphonenumber-js@1.13.16 >/dev/null
cat >probe.mjs <<'JS'
import { parsePhoneNumberFromString } from 'libphonenumber-js/max'
const read = (text, country) => {
  const number = parsePhoneNumberFromString(text, country)
  return number === undefined ? 'none' : `${number.number} ${number.isValid() ? 'valid' : 'not valid'}`
}
const rows = [
  ['006772123456', 'KE'],
  ['000256772123456', 'KE'],
  ['005712345678', 'UG'],
  ['005254712345678', 'UG'],
]
const seen = rows.map(([text, country]) => read(text, country))
rows.forEach(([text, country], i) => console.log(`${text} in ${country}: ${seen[i]}`))
const asExpected =
  !/^\+256.* valid$/.test(seen[0].replace('not valid', 'no')) && seen[1] === '+256772123456 valid' && !seen[2].startsWith('+254') && seen[3] === '+254712345678 valid'
process.exit(asExpected ? 0 : 1)
JS
node probe.mjs
