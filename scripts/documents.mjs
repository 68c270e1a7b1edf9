// Writes the files and parts of files that are generated from the sources: .env.example, docs/CONFIGURATION.md, the tables
// of docs/ERRORS.md, of the vendors' pages and of docs/AGENT-FILE.md, the balancers' lists of paths, the user of
// deploy/redis.conf, and the schemas. With --check the script writes nothing: it lists the outdated files, and its exit code
// is then 1. test/documents/blocks.test.ts makes the same check.
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
