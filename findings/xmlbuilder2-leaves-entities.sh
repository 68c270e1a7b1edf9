#!/usr/bin/env bash
# Versions: xmlbuilder2 4.0.3, read with saxes 6.0.0.
# Expected: A parser returns a text exactly as the builder got it.
# Actual: Text that looks like an entity is not escaped (`&lt;` is read as `<`). Line ends in attributes are written without
#   escapes, and a parser must read them as spaces.
# Source: The serialisers below src/writers of the package; XML 1.0, 3.3.3 (attribute-value normalization).
# Reason to know it: The carrier speaks the words of a caller or an API from such a document.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts xmlbuilder2@4.0.3 saxes@6.0.0 >/dev/null
cat >probe.mjs <<'EOF'
import { create } from 'xmlbuilder2'
import { SaxesParser } from 'saxes'
const words = 'type &lt; for less'
const xml = create().ele('Say', { hint: 'one\ntwo' }).txt(words).end()
console.log(xml)
const read = { text: '', hint: '' }
const parser = new SaxesParser()
parser.on('text', (text) => (read.text += text))
parser.on('opentag', ({ attributes }) => (read.hint = attributes.hint))
parser.write(xml).close()
console.log(`written ${JSON.stringify(words)} and "one\\ntwo", read ${JSON.stringify(read.text)} and ${JSON.stringify(read.hint)}`)
process.exit(read.text === 'type < for less' && read.hint === 'one two' ? 0 : 1)
EOF
node probe.mjs
