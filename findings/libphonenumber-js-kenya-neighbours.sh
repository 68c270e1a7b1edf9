#!/usr/bin/env bash
# Versions: libphonenumber-js 1.13.16.
# One would guess: that a number dialled in Kenya with the code for Uganda (006) or Tanzania (007) is read as one of that
#   country, since the codes for neighbours are known for Uganda and Tanzania.
# It does: in Kenya only 000 is known, so that 006 is read as a national number and is not valid; in Uganda and Tanzania
#   the neighbours' codes count as an international prefix, after which the neighbour's country code is expected, which
#   nobody dials there.
# Source: the metadata of the package, which is Google's; run here.
# It matters here: numbers that callers and lists give in East Africa are written as they are dialled.
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
