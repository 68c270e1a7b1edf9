#!/usr/bin/env bash
# Versions: Intl of Node 20 to 26 with full ICU, locale sw-KE.
# One would guess: that the times of a Swahili locale are those that Swahili speakers say: 10 in the morning is the
#   fourth hour of the day, saa nne asubuhi.
# It does: all styles write the hour of the European clock ("10:00", "10 asubuhi"); read out as saa kumi that is four in
#   the afternoon.
# Source: CLDR, common/main/sw.xml: it has day periods, and no calendar or numbering with hours from sunrise.
# It matters here: an agent that reads a formatted time to a caller is wrong by six hours.
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
