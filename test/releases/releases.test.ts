import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import type { z } from 'zod'
import { packageRoot } from '../../src/config/package-root.js'
import { hasRedis, startRedis } from '../support/redis.js'
import { documentsOf } from './documents.js'
import { makeSamples } from './make.js'
import type { Samples } from './make.js'
import * as today from './readers.js'

t.setTimeout(120_000)

/**
 * Values that a release does not read in documents of today, by form and path, each with a line that says what its node
 * does then. A new key needs no entry: each release ignores what it does not know.
 */
const NOT_READ_BY: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>> = {
  '0.1.0': {
    'call-record': {
      endReason: '`disk-full`, of a call that was refused: it shows the record, and adds nothing of the carrier to it',
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

t.test('each release has its samples and its readers', (t) => {
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
    const refused = new Set(documents.flatMap((document) => difference(document, () => ({}), read)))
    t.strictSame([...refused], name in REFUSES ? [REFUSES[name]] : [], name)
  }
  t.end()
})

for (const version of VERSIONS)
  t.test(`documents of ${version} are read, and its reader reads today's`, async (t) => {
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
  t.test(`files of ${version} are read, and it reads today's`, async (t) => {
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
  t.test(`a Redis of ${version} is read, and it reads today's`, async (t) => {
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

t.test('docs/FORMATS.md has the number of every form', (t) => {
  const [, table = ''] =
    /^## Numbers\n([^]*?)\n## /m.exec(readFileSync(join(packageRoot(), 'docs/FORMATS.md'), 'utf8')) ?? []
  for (const [name, { schema }] of Object.entries(today.FORMS)) {
    const [, number] = new RegExp(`^\\|[^|]*\`${name}\`[^|]*\\| (\\d+) \\|`, 'm').exec(table) ?? []
    t.ok(number, `${name} has a row`)
    const written = documentsOf(schema)[0] as { readonly version?: unknown; readonly journal?: unknown }
    if (name === 'journal') t.equal(String(written.journal), number, name)
    // The version of a node is the one of its build, and a checkpoint is part of what is resumed.
    else if (typeof written.version === 'number') t.equal(String(written.version), number, name)
  }
  t.end()
})
