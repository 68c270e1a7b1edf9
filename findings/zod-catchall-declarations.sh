#!/usr/bin/env bash
# Versions: zod 4.6.7, typescript 5.9.3.
# Expected: The declarations that the compiler writes for a schema compile.
# Actual: An optional key beside `catchall` is written as `[x: string]: string; embedded?: string | undefined`. TypeScript
#   refuses this in a file (TS2411), although it infers the same type without an error. With `skipLibCheck` the fault is hidden.
# Source: $InferObjectOutput with $catchall in the types of zod; the TypeScript handbook on index signatures.
# Reason to know it: A user's strict program could not import our types. With `.catchall(schema.optional())` it can.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts zod@4.6.7 typescript@5.9.3 >/dev/null
cat >voices.ts <<'EOF'
import { z } from 'zod'
export const voices = z
  .object({ embedded: z.string().optional() })
  .catchall(z.string())
  .transform((voice) => ({ ...voice }))
EOF
npx tsc --strict --module preserve --moduleResolution bundler --target es2023 --declaration --outDir out voices.ts
echo 'the source: no error'
if said=$(npx tsc --strict --noEmit --module preserve --moduleResolution bundler --target es2023 out/voices.d.ts); then
  echo 'its declarations: no error either: this has changed'
  exit 1
fi
echo "its declarations: $(head -n 1 <<<"$said")"
grep -q TS2411 <<<"$said"
