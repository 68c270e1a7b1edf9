#!/usr/bin/env bash
# Versions: @alexanderolsen/libsamplerate-js 2.1.2, typescript 5.9.3, any Node.
# Expected: If the compiler accepts a named import for Node (module nodenext), the import works when the program runs.
# Actual: The package is one CommonJS bundle. Node cannot see its exports before it runs, so the import is a SyntaxError. Only
#   the default export works (`import libsamplerate from …; const { create } = libsamplerate`).
# Source: dist/libsamplerate.js of the package (a UMD bundle), and its dist/index.d.ts, which declares named exports.
# Reason to know it: A resampler without type errors would end the process at its start.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts @alexanderolsen/libsamplerate-js@2.1.2 typescript@5.9.3 >/dev/null
cat >named.mts <<'EOF'
import { create } from '@alexanderolsen/libsamplerate-js'
export const made = create(1, 16_000, 24_000)
EOF
npx tsc --strict --module nodenext --target es2023 --skipLibCheck named.mts
echo 'tsc: no error'
if said=$(node named.mjs 2>&1); then
  echo 'node: no error either: this has changed'
  exit 1
fi
grep -o "Named export 'create' not found" <<<"$said"
