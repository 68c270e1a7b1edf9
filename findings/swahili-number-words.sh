#!/usr/bin/env bash
# Versions: n2words 4.0.0, to-words 5.7.0, each with the locale sw-KE.
# Expected: If a library lists a locale, it writes whole numbers below a million correctly in this locale.
# Actual: n2words writes 10,001 and 11,000 with the same words (elfu kumi na moja); there are 1,701 such pairs. to-words puts
#   the count before its scale, as English does ("Moja Mia Moja", "Mbili Elfu"). In Swahili the count comes after the scale (mia
#   moja na moja, elfu mbili).
# Source: n2words/sw-KE; locales/sw-KE of to-words.
# Reason to know it: The agent says amounts of money, and reads them back, in Swahili.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts n2words@4.0.0 to-words@5.7.0 >/dev/null
cat >probe.mjs <<'EOF'
import { toCardinal } from 'n2words/sw-KE'
import { ToWords } from 'to-words'
const toWords = new ToWords({ localeCode: 'sw-KE' })
const seen = []
for (const [name, say] of [['n2words', toCardinal], ['to-words', (n) => toWords.convert(n)]])
  for (const n of [21, 101, 1100, 2000, 10_001, 11_000]) {
    seen.push(say(n).toLowerCase())
    console.log(`${name.padEnd(8)} ${String(n).padStart(6)}  ${say(n)}`)
  }
const same = toCardinal(10_001) === toCardinal(11_000)
const misplaced = seen.includes('moja mia moja') && seen.includes('mbili elfu')
process.exit(same && misplaced ? 0 : 1)
EOF
node probe.mjs
