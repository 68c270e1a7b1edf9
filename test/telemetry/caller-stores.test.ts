import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { CALLER_STORES, WITHOUT_CALLERS } from '../../src/telemetry/archive/caller-stores.js'
import type { CallerStore } from '../../src/telemetry/archive/caller-stores.js'
import { KEPT_FILES } from '../../src/telemetry/archive/kept-files.js'

const STORES: readonly CallerStore[] = Object.values(CALLER_STORES)
const sources = readdirSync(join(packageRoot(), 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !/^(?:cli|console)\//.test(file))
  .map((file) => readFileSync(join(packageRoot(), 'src', file), 'utf8'))

/** First groups of all places where a source has this. */
const named = (pattern: RegExp): readonly string[] => [
  ...new Set(sources.flatMap((text) => [...text.matchAll(pattern)].map((match) => match[1] ?? ''))),
]

t.test('every file below DATA_DIR is listed or without caller data', (t) => {
  const known = [
    ...Object.values(KEPT_FILES).map(({ folder }) => folder.split('/')[0]),
    ...STORES.flatMap(({ disk = [] }) => disk),
  ]
  const constants = new Map(
    sources.flatMap((text) =>
      [...text.matchAll(/^const ([A-Z_]+) = '([^'\n]+)'$/gm)].map((m) => [m[1], m[2]] as const),
    ),
  )
  const written = named(/join\((?:\w+\.)*dataDir, ([A-Z_]+|'[^']+')\)/g).map((name) =>
    name.startsWith("'") ? name.slice(1, -1) : (constants.get(name) ?? name),
  )
  t.ok(written.includes('campaigns') && written.includes('do-not-call.jsonl') && written.includes('voices'))
  for (const name of written) t.ok(known.includes(name) || WITHOUT_CALLERS.disk.test(name), name)
  t.end()
})

t.test('every Redis key family is listed or without caller data', (t) => {
  const known = [...STORES.flatMap(({ redis = [] }) => redis), ...WITHOUT_CALLERS.redis]
  const families = [
    ...named(/\$\{(?:this\.#|options\.)?prefix\}([a-z]+(?:-[a-z]+)*)(?=[:}`])/g),
    ...named(/\bstream\('([a-z-]+)'\)/g),
  ]
  for (const name of ['call', 'once', 'tally', 'nodes', 'campaigns']) t.ok(families.includes(name), name)
  for (const name of families) t.ok(known.includes(name), name)
  t.end()
})

t.test('every row states its data, erasure and export', (t) => {
  for (const [name, { data, erased, exported }] of Object.entries(CALLER_STORES))
    t.ok(data !== '' && erased !== '' && exported !== '', name)
  t.end()
})
