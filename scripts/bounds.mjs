// Lists every bound of the gateway, for an audit:
//
//   node scripts/bounds.mjs
//
// A bound is a constant of src whose name ends in _MAX. A bound is declared beside its queue, map, wait or retry.
// Bounds that several layers use, or that an operator sets, are in src/core/limits.ts.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const files = readdirSync('src', { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
  .map((entry) => join(entry.parentPath, entry.name))
  .sort()
for (const file of files) {
  const found = readFileSync(file, 'utf8').matchAll(/^(?:export )?const ([A-Z0-9_]+_MAX)(?:: [^=]+)? = (.*)$/gm)
  for (const [, name, value] of found) console.log(`${file}  ${name} = ${value}`)
}
