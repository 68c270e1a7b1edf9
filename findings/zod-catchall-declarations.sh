#!/usr/bin/env bash
# Versions: zod 4.6.7, typescript 5.9.3.
# One would guess: that declarations which the compiler writes for a schema compile.
# It does: an optional key beside `catchall` is written as `[x: string]: string; embedded?: string | undefined`, which
#   TypeScript refuses in a file (TS2411), though it infers the same type without a word. With `skipLibCheck` nobody
#   sees it.
# Source: $InferObjectOutput with $catchall in the types of zod; the TypeScript handbook on index signatures.
# It matters here: a user's strict program could not import our types: `.catchall(schema.optional())` can be.
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
