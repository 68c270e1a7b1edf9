#!/usr/bin/env bash
# Versions: Intl of Node 20 to 26 with full ICU, locale sw-KE.
# Expected: The times of a Swahili locale are the times that Swahili speakers say: 10 in the morning is the fourth hour of the
#   day, saa nne asubuhi.
# Actual: All styles write the hour of the European clock ("10:00", "10 asubuhi"). Read aloud as saa kumi, this means four in
#   the afternoon.
# Source: CLDR, common/main/sw.xml: it has day periods, but not a calendar or numbering with hours from sunrise.
# Reason to know it: If an agent reads a formatted time to a caller, the time is wrong by six hours.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >probe.mjs <<'EOF'
const at = new Date('2026-11-27T07:00:00Z')
const zone = { timeZone: 'Africa/Nairobi' }
const said = [{ timeStyle: 'short' }, { timeStyle: 'full' }, { hour: 'numeric', dayPeriod: 'long', hour12: true }].map(
  (options) => new Intl.DateTimeFormat('sw-KE', { ...options, ...zone }).format(at),
)
for (const text of said) console.log(text)
console.log(`locale ${new Intl.DateTimeFormat('sw-KE').resolvedOptions().locale}, ICU ${process.versions.icu}`)
process.exit(said.every((text) => /10/.test(text) && !/\b(4|nne)\b/i.test(text)) ? 0 : 1)
EOF
node probe.mjs
