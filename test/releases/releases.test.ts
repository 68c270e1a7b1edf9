import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import type { z } from 'zod'
import { packageRoot } from '../../src/config/package-root.js'
import { PEER_ANSWERS } from '../../src/fleet/peer-requests.js'
import { KEPT_FILES } from '../../src/telemetry/archive/kept-files.js'
import type { KeptFile } from '../../src/telemetry/archive/kept-files.js'
import { hasRedis, startRedis } from '../support/redis.js'
import { BACKENDS } from '../../src/vendors/list.js'
import { STATE_OF } from './backend-states.js'
import { documentsOf } from './documents.js'
import { makeSamples } from './make.js'
import type { Samples } from './make.js'
import * as today from './readers.js'
import { KEY_FAMILIES, familiesOf, valueNames } from './redis-keys.js'
import { SAMPLE } from './stores.js'

/**
 * Values that a release does not read in documents of today, by form and path, each with a line that says what its node
 * does then. A new key needs no entry: each release ignores what it does not know.
 */
const NOT_READ_BY: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>> = {
  '0.1.0': {
    'call-record': {
      endReason: '`disk-full`, of a call that was refused: it shows the record, and adds nothing of the carrier to it',
    },
    'ops-request': {
      search: '`served`: its node refuses the search, and the answer says that it has not answered',
    },
  },
}

type Readers = Pick<typeof today, 'FORMS' | 'readFolder' | 'readRedis'>

interface Release extends Samples {
  readonly readers: Readers
}

const FOLDER = join(packageRoot(), 'test/releases')
const unpacked = (...path: readonly string[]): Buffer => gunzipSync(readFileSync(join(FOLDER, ...path)))

/** The releases whose samples are kept. */
const VERSIONS = readdirSync(FOLDER).filter((name) => existsSync(join(FOLDER, name, 'samples.json.gz')))

async function release(t: Test, version: string): Promise<Release> {
  const module = join(t.testdir({ 'readers.mjs': unpacked(version, 'readers.mjs.gz').toString() }), 'readers.mjs')
  const readers = (await import(pathToFileURL(module).href)) as Readers
  return { ...(JSON.parse(unpacked(version, 'samples.json.gz').toString()) as Samples), readers }
}

/** Paths at which `whole` lacks what `part` has, or has something else. */
function missing(part: unknown, whole: unknown, path = ''): string[] {
  if (typeof part !== 'object' || part === null || typeof whole !== 'object' || whole === null)
    return Object.is(part, whole) ? [] : [path]
  const keys = Object.keys(part)
  if (Array.isArray(part) && (!Array.isArray(whole) || whole.length !== part.length)) return [path]
  return keys.flatMap((key) =>
    missing(
      (part as Readonly<Record<string, unknown>>)[key],
      (whole as Readonly<Record<string, unknown>>)[key],
      `${path}.${key}`,
    ),
  )
}

/** Parts in which nothing was found. */
const empty = (found: Readonly<Record<string, unknown>>): string[] =>
  Object.keys(found).filter((name) => found[name] == null || (found[name] as { readonly length?: number }).length === 0)

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value)) as unknown

/** Reads a document with both. @returns where the older has something that the newer lacks, or why one cannot read it */
function difference(
  document: unknown,
  older: (document: unknown) => unknown,
  newer: (document: unknown) => unknown,
): string[] {
  try {
    return missing(plain(older(plain(document))), plain(newer(plain(document))))
  } catch (thrown) {
    if (thrown instanceof Error && 'issues' in thrown)
      return (thrown as z.ZodError).issues.map(({ path }) => path.map(String).join('.'))
    return [String(thrown)]
  }
}

t.test('each release has samples and readers', (t) => {
  t.ok(VERSIONS.includes('0.1.0'))
  for (const version of VERSIONS) t.ok(existsSync(join(FOLDER, version, 'readers.mjs.gz')), version)
  t.end()
})

/** Requests whose further keys make them other requests: an older node must not do more than it was asked. */
const REFUSES: Readonly<Record<string, string>> = {
  'ops-request': 'search',
  'erase-request': 'target',
}

t.test('a reader ignores keys of later releases', (t) => {
  for (const [name, { schema, read }] of Object.entries(today.FORMS)) {
    const documents = documentsOf(schema, { fromALaterRelease: { sample: true } })
    const refused = new Set(documents.flatMap((document) => difference(document, read, read)))
    t.strictSame([...refused], name in REFUSES ? [REFUSES[name]] : [], name)
  }
  t.end()
})

for (const version of VERSIONS)
  t.test(`documents of ${version} and of today are readable both ways`, async (t) => {
    const before = await release(t, version)
    for (const [name, documents] of Object.entries(before.documents)) {
      const [older, newer] = [before.readers.FORMS[name], today.FORMS[name]]
      if (older === undefined || newer === undefined) {
        t.fail(`${name}: this form of ${version} is not read any more`)
        continue
      }
      const forth = new Set(documents.flatMap((one) => difference(one, older.read, newer.read)))
      t.strictSame([...forth], [], `${name}, forth`)
      const known = Object.keys(NOT_READ_BY[version]?.[name] ?? {})
      const back = new Set(documentsOf(newer.schema).flatMap((one) => difference(one, older.read, newer.read)))
      t.strictSame([...back].toSorted(), [...known].toSorted(), `${name}, back`)
    }
  })

/** Samples of this build, made once. */
let made: Promise<Samples> | null = null

function folderOf(t: Test, name: string, { files }: Samples): string {
  const folder = join(t.testdirName, name)
  for (const [path, base64] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), Buffer.from(base64, 'base64'))
  }
  return folder
}

for (const version of VERSIONS)
  t.test(`files of ${version} and of today are readable both ways`, async (t) => {
    if (!hasRedis(t)) return
    const before = await release(t, version)
    const now = await (made ??= makeSamples())
    for (const [name, samples] of Object.entries({ forth: before, back: now })) {
      const older = await before.readers.readFolder(folderOf(t, `${name}-older`, samples))
      const newer = await today.readFolder(folderOf(t, `${name}-newer`, samples))
      t.strictSame(missing(plain(older), plain(newer)), [], name)
      t.strictSame(empty(newer), [], `${name}: each part has something`)
    }
  })

/** A redis-server with these samples; null where it is older than the one that wrote them. */
async function redisWith(t: Test, { redis: keys }: Samples): Promise<string | null> {
  const server = await startRedis()
  t.teardown(() => server.close())
  const client = new Redis(server.url)
  try {
    for (const [key = '', base64 = ''] of keys) await client.restore(key, 0, Buffer.from(base64, 'base64'), 'REPLACE')
    return server.url
  } catch (thrown) {
    if (!String(thrown).includes('Bad data format')) throw thrown
    t.pass('read', { skip: 'redis-server is older than the one that wrote the samples' })
    return null
  } finally {
    client.disconnect()
  }
}

for (const version of VERSIONS)
  t.test(`a Redis of ${version} and of today is readable both ways`, async (t) => {
    if (!hasRedis(t)) return
    const before = await release(t, version)
    const now = await (made ??= makeSamples())
    for (const [name, samples] of Object.entries({ forth: before, back: now })) {
      const urls = [await redisWith(t, samples), await redisWith(t, samples)] as const
      if (urls[0] === null || urls[1] === null) return
      const older = await before.readers.readRedis(urls[0])
      const newer = await today.readRedis(urls[1])
      t.strictSame(missing(plain(older), plain(newer)), [], name)
      t.strictSame(empty(newer), [], `${name}: each part has something`)
    }
  })

/** Kinds of files that have no form of their own. */
const WITHOUT_SAMPLE: Readonly<Partial<Record<KeptFile, string>>> = {
  carrierRecordings: 'as the carrier has sent them',
  uploads: 'records and handoffs',
  recordingKeys: 'of the form of recordKeys',
  fetched: 'copies, kept for minutes',
}

t.test('every kind of kept file has a sample', async (t) => {
  if (!hasRedis(t)) return
  const paths = Object.keys((await (made ??= makeSamples())).files)
  for (const [kind, { folder, name }] of Object.entries(KEPT_FILES)) {
    const has = paths.some((path) => dirname(path) === folder && name.test(basename(path)))
    t.equal(has, !(kind in WITHOUT_SAMPLE), kind)
  }
})

t.test("every backend's own state has a form", (t) => {
  t.same(Object.keys(STATE_OF).sort(), [...BACKENDS].sort(), 'each backend has a form')
  for (const [backend, name] of Object.entries(STATE_OF)) t.ok(today.FORMS[name], backend)
  t.end()
})

t.test('a webhook from before 0.1.0 is read', (t) => {
  const { schema, read } = today.FORMS['orphan-request'] as (typeof today.FORMS)[string]
  for (const one of documentsOf(schema)) {
    const { heldSinceMs: _, ...before } = one as Readonly<Record<string, unknown>>
    t.match(read(before), { heldSinceMs: null, route: before['route'] })
  }
  t.end()
})

t.test('every request and answer between nodes has a form', (t) => {
  for (const name of Object.keys(PEER_ANSWERS))
    for (const of of ['request', 'answer']) t.ok(today.FORMS[`${name}-${of}`], `${name}-${of}`)
  t.end()
})

t.test('each name of a Redis value belongs to a family', (t) => {
  const names = valueNames()
  t.ok(names.length >= 8, names.join(', '))
  for (const name of names) {
    // The key of a placed call, which has an entry as any call has.
    if (name === 'order:') continue
    t.ok(`once:${name}` in KEY_FAMILIES || `tally:${name}` in KEY_FAMILIES, name)
  }
  t.end()
})

t.test('docs/FORMATS.md lists each family of keys', (t) => {
  const [, table = ''] =
    /^## Keys in Redis\n([^]*?)\n## /m.exec(readFileSync(join(packageRoot(), 'docs/FORMATS.md'), 'utf8')) ?? []
  const rows = [...table.matchAll(/^\| `([^`]+)` \| ([^|]+) \| (\d+) \|$/gm)]
  t.same(rows.map(([, family]) => family).toSorted(), Object.keys(KEY_FAMILIES).toSorted())
  t.end()
})

for (const version of ['today', ...VERSIONS])
  t.test(`each key that ${version} writes to Redis has one family`, async (t) => {
    if (!hasRedis(t)) return
    const { redis } = version === 'today' ? await (made ??= makeSamples()) : await release(t, version)
    for (const [key = ''] of redis) t.equal(familiesOf(key, SAMPLE.prefix).length, 1, key)
    t.strictSame(familiesOf(`${SAMPLE.prefix}once:new-name:1`, SAMPLE.prefix), [], 'a name without a row')
  })

t.test('docs/FORMATS.md lists the number of every form', (t) => {
  const [, table = ''] =
    /^## Numbers\n([^]*?)\n## /m.exec(readFileSync(join(packageRoot(), 'docs/FORMATS.md'), 'utf8')) ?? []
  for (const [name, { schema }] of Object.entries(today.FORMS)) {
    const [, number] = new RegExp(`^\\|[^|]*\`${name}\`[^|]*\\| (\\d+) \\|`, 'm').exec(table) ?? []
    t.ok(number, `${name} has a row`)
    const written = (documentsOf(schema)[0] ?? {}) as { readonly version?: unknown; readonly journal?: unknown }
    if (name === 'journal') t.equal(String(written.journal), number, name)
    // The version of a node is the one of its build, and a checkpoint is part of what is resumed.
    else if (typeof written.version === 'number') t.equal(String(written.version), number, name)
  }
  t.end()
})
