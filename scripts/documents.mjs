// Writes what is generated from the settings table: .env.example and docs/CONFIGURATION.md. test/config/settings.test.ts
// holds both to the table.
//
//   node scripts/documents.mjs
import { writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const { envExample } = await import(join(root, 'dist/src/config/env-example.js'))
const { configurationPage } = await import(join(root, 'dist/src/config/configuration-page.js'))
writeFileSync(join(root, '.env.example'), envExample(null))
writeFileSync(join(root, 'docs/CONFIGURATION.md'), configurationPage())
