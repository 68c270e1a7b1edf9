// Writes what is made from the sources: .env.example, docs/CONFIGURATION.md, the tables of docs/ERRORS.md and
// docs/AGENT-FILE.md, and the schemas. test/documents/blocks.test.ts holds them to it.
//
//   node scripts/documents.mjs
import { writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const { generated } = await import(join(root, 'dist/test/documents/generated.js'))
for (const [file, text] of Object.entries(generated())) writeFileSync(join(root, file), text)
