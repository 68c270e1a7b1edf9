// Writes what is made from the sources: .env.example, docs/CONFIGURATION.md, the tables of docs/ERRORS.md and
// docs/AGENT-FILE.md, the tests of docs/closures, the balancers' lists of paths, the user of deploy/redis.conf, and the schemas. With --check it writes nothing, names what is not as it
// would be written, and ends with 1. test/documents/blocks.test.ts checks the same.
//
//   node scripts/documents.mjs [--check]
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const { generated } = await import(join(root, 'dist/test/documents/generated.js'))
const made = Object.entries(generated())
if (process.argv.includes('--check')) {
  for (const [file] of made.filter(([file, text]) => readFileSync(join(root, file), 'utf8') !== text)) {
    console.log(`${file} is stale: npm run documents`)
    process.exitCode = 1
  }
} else for (const [file, text] of made) writeFileSync(join(root, file), text)
