import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { packageRoot, packageVersion } from '../../../src/config/package-root.js'
import { SETTINGS } from '../../../src/config/settings.js'
import { CHANGES, isBefore, worksWith } from '../../../src/cli/upgrade/changes.js'
import { readRunningFleet } from '../../../src/cli/upgrade/running-fleet.js'
import { folderHash, readStoredForms } from '../../../src/cli/upgrade/stored-forms.js'
import { SealedCall } from '../../../src/fleet/store/sealed-call.js'
import { SAMPLE } from '../../releases/stores.js'
import { command } from '../../support/command.js'
import { filledSection } from '../../documents/made-section.js'
import { hasRedis, startRedis } from '../../support/redis.js'

interface Samples {
  readonly files: Readonly<Record<string, string>>
  readonly redis: readonly (readonly string[])[]
}

const RELEASE = '0.1.0'
const PAGE = 'docs/RELEASES.md'
const SAMPLES = JSON.parse(
  gunzipSync(readFileSync(join(packageRoot(), 'test/releases', RELEASE, 'samples.json.gz'))).toString(),
) as Samples

/** The data folder of the last release, as its own build wrote it. */
function oldFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-upgrade-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const [path, base64] of Object.entries(SAMPLES.files)) {
    const file = join(folder, 'data', path)
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, Buffer.from(base64, 'base64'))
  }
  mkdirSync(join(folder, 'agents'))
  cpSync(join(packageRoot(), 'agents', 'order-status.yaml'), join(folder, 'agents', 'order-status.yaml'))
  return folder
}

function hashOf(folder: string): string {
  const hash = createHash('sha256')
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) hash.update(entry.name).update(readFileSync(join(entry.parentPath, entry.name)))
  return hash.digest('hex')
}

interface Found {
  readonly from: string | null
  readonly to: string
  readonly findings: readonly { readonly ok: boolean | null; readonly what: string }[]
}

async function checked(folder: string, env: Readonly<Record<string, string>> = {}, ...more: readonly string[]) {
  const { code, out, err } = await command(['upgrade', '--check', '--json', ...more], {
    env: {
      ...{ DATA_DIR: join(folder, 'data'), AGENTS_DIR: join(folder, 'agents'), SHOP_API_URL: 'http://127.0.0.1:1' },
      ...env,
    },
  })
  const { from, to, findings } = JSON.parse(out) as Found
  const of = (ok: boolean | null) => findings.filter((one) => one.ok === ok).map(({ what }) => what)
  return { code, err, from, to, good: of(true).join('\n'), lookAt: of(null).join('\n'), bad: of(false).join('\n') }
}

t.test('a folder of the last release is read without changes', async (t) => {
  const folder = oldFolder(t)
  const before = hashOf(folder)
  const { code, from, to, good, lookAt, bad } = await checked(folder)
  t.equal(hashOf(folder), before)
  t.equal(bad, '')
  t.equal(code, 1, 'a changed default is to be looked at')
  t.same([from, to], [RELEASE, packageVersion()], 'the version comes from the newest journal')
  for (const noun of ['call record', 'handoff packet', 'campaign', 'row of a campaign', 'message', 'daily budget'])
    t.match(good, new RegExp(`stored: [1-9]\\d* of the form "${noun}" are read`))
  t.match(good, /replay: 1 of 1 recorded calls have the same decisions as before/)
  t.match(good, /is as it was: sha256 [0-9a-f]{16} before and after/)
  t.match(lookAt, /^OUTBOUND_PREFIXES: .*; rewrite: outboundPrefixes: /)
  t.notMatch(lookAt, /OPS_LISTEN_TOKEN|gpt-live/, 'irrelevant changes are not listed')
  const set = await checked(folder, { OUTBOUND_PREFIXES: '+254', CALL_BACKS_PER_NUMBER_DAY: '2' })
  t.same([set.code, set.lookAt], [0, ''])
  t.match((await checked(folder, { OPS_TOKEN: 'an-ops-token-of-the-tests' })).lookAt, /OPS_LISTEN_TOKEN: recordings/)
})

t.test('the upgrade page matches the check of the last release', async (t) => {
  const folder = oldFolder(t)
  const agent = join(folder, 'agents', 'order-status.yaml')
  writeFileSync(agent, `${readFileSync(agent, 'utf8').trimEnd()}\ncallbacks: { retryMinutes: 5 }\n`)
  const { code, out } = await command(['upgrade', '--check'], {
    env: { DATA_DIR: join(folder, 'data'), AGENTS_DIR: join(folder, 'agents'), SHOP_API_URL: 'http://127.0.0.1:1' },
  })
  t.equal(code, 2)
  const text = out
    .replaceAll(folder, '/srv/mkondo')
    .replaceAll(/sha256 [0-9a-f]{16}/g, 'sha256 …')
    .trim()
  const page = readFileSync(join(packageRoot(), PAGE), 'utf8')
  const made = filledSection(page, PAGE, 'upgrade', `\`\`\`text\n${text}\n\`\`\`\n`)
  // MKONDO_WRITE_UPGRADE=1 npm run test:one test/cli/upgrade/upgrade.test.ts
  if (process.env['MKONDO_WRITE_UPGRADE'] !== undefined) writeFileSync(join(packageRoot(), PAGE), made)
  else t.equal(page, made, 'written with MKONDO_WRITE_UPGRADE=1')
})

t.test('a breaking line is named with its rewrite', async (t) => {
  const folder = oldFolder(t)
  const agent = join(folder, 'agents', 'order-status.yaml')
  const lines = readFileSync(agent, 'utf8').trimEnd().split('\n')
  writeFileSync(agent, [...lines, 'callbacks: { retryMinutes: 5 }', ''].join('\n'))
  const rows = join(folder, 'data', 'campaigns', 'sample-1.rows.jsonl')
  writeFileSync(rows, `${readFileSync(rows, 'utf8')}{"id":"x","to":"+254700000001"}\n`)
  const rowCount = readFileSync(rows, 'utf8').trimEnd().split('\n').length
  const journal = join(folder, 'data', 'journals', 'HD_sample000001.jsonl')
  writeFileSync(journal, readFileSync(journal, 'utf8').replace('"journal":5', '"journal":4'))
  const before = hashOf(folder)
  const { code, bad } = await checked(folder)
  t.equal(code, 2)
  t.equal(hashOf(folder), before)
  t.match(
    bad,
    new RegExp(`order-status\\.yaml:${lines.length + 1}:\\d+: .*retryMinutes.*; rewrite: retryBusyMinutes: N`),
  )
  t.match(bad, new RegExp(`sample-1\\.rows\\.jsonl:${rowCount} \\w+ is not what this version reads`))
  t.notMatch(bad, /254700000001/, 'no caller is named')
  t.match(bad, /replay: .*HD_sample000001\.jsonl/)
  const config = join(folder, 'mkondo.yaml')
  writeFileSync(config, 'port: 8080\nopsTokn: x\n')
  t.match(
    (await checked(folder, {}, '--config', config)).bad,
    /mkondo\.yaml:2:1: unknown setting 'opsTokn'; did you mean opsToken\?/,
  )
})

t.test('settings may need each other across file and environment', async (t) => {
  const folder = oldFolder(t)
  const config = join(folder, 'mkondo.yaml')
  writeFileSync(config, 'agentsEdit: true\n')
  const { code, bad, good } = await checked(folder, { OPS_TOKEN: 'an-ops-token-of-the-tests' }, '--config', config)
  t.same([code, bad], [1, ''])
  t.match(good, /agents: order-status/)
})

t.test('a replay difference shows no words of the caller', async (t) => {
  const folder = oldFolder(t)
  const journal = join(folder, 'data', 'journals', 'HD_sample000001.jsonl')
  const words = '"role":"caller","text":"where is my order 4127","startMs"'
  const recorded = readFileSync(journal, 'utf8')
  t.ok(recorded.includes(words))
  writeFileSync(journal, recorded.replace(words, '"role":"caller","text":"my secret words","startMs"'))
  const { lookAt } = await checked(folder)
  t.match(lookAt, /replay: .*HD_sample000001\.jsonl decides differently: - +\d+\.\d+ s +transcript of the caller/)
  t.notMatch(lookAt, /secret|4127/)
})

t.test('an incomplete journal is reported and the rest is checked', async (t) => {
  const folder = oldFolder(t)
  const journals = join(folder, 'data', 'journals')
  const whole = gzipSync(readFileSync(join(journals, 'HD_sample000001.jsonl')))
  writeFileSync(join(journals, 'HD_torn00000001.jsonl.gz'), whole.subarray(0, whole.length / 2))
  const { code, from, good, bad } = await checked(folder)
  t.equal(code, 2)
  t.equal(from, RELEASE, 'the version comes from the previous journal')
  t.match(bad, /^replay: .*HD_torn00000001\.jsonl\.gz/)
  t.match(good, /replay: 1 of 2 recorded calls/)
  const gone = join(folder, 'gone')
  t.same([readStoredForms(gone), folderHash(gone)], [[], folderHash(join(gone, 'too'))], 'a folder that is removed')
})

t.test('upgrade without --check is refused', async (t) => {
  t.match(await command(['upgrade']), { code: 2, err: /needs --check/ })
  const nothing = await checked(join(tmpdir(), 'mkondo-no-such-folder'), { AGENTS_DIR: join(packageRoot(), 'agents') })
  t.match(nothing.lookAt, /^from an unknown version/)
  t.match(nothing.good, /DATA_DIR .* does not exist: nothing is stored/)
})

t.test('each rewrite names existing settings', (t) => {
  const settings: readonly { readonly key: string; readonly env: string }[] = Object.values(SETTINGS)
  for (const { place, rewrite } of CHANGES) {
    if (place !== 'callbacks')
      t.ok(
        settings.some(({ env }) => env === place),
        place,
      )
    const keys = [...rewrite.matchAll(/\b([a-z]+[A-Z]\w*)(?=:)/g)].map(([, key = '']) => key)
    t.ok(keys.length > 0, rewrite)
    for (const key of keys)
      t.ok(
        settings.some((one) => one.key === key),
        key,
      )
  }
  t.end()
})

t.test('versions are compared by their parts', (t) => {
  t.ok(isBefore('0.1.0', '0.1.0') && isBefore('0.1.9', '0.10.0') && isBefore(null, '0.1.0'))
  t.notOk(isBefore('0.2.0', '0.1.9') || isBefore('1.0.0', '0.9.9'))
  t.ok(worksWith('0.1.7', '0.2.0') && worksWith('0.2.0', '0.2.1'))
  t.notOk(worksWith('0.1.0', '0.3.0') || worksWith('0.2.0', '0.1.0') || worksWith('0.9.0', '1.0.0'))
  t.end()
})

t.test('nodes are listed in the order of replacement', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const node = (name: string, changes: object) => {
    const record = {
      ...{ name, incarnation: 'first', beat: 1, startedAtMs: 0, internalUrl: null, opsUrl: null, version: RELEASE },
      ...{ capacity: 10, free: 5, state: 'open', callsByAgent: {}, clockAheadMs: null, afterStream: null },
      ...changes,
    }
    // As a node writes it, with its proof before it.
    return server.command('HSET', 'mkondo:nodes', name, `1 1795902682535 1 first ${JSON.stringify(record)}`)
  }
  await node('gw-a', { callsByAgent: { x: 3, y: 2 } })
  await node('gw-b', { callsByAgent: { x: 1 } })
  await node('gw-c', { state: 'cordoned', callsByAgent: { x: 9 } })
  await server.command('HSET', '{mkondo:campaigns}:all', 'broken', '{"id":7}')
  const keys = async () =>
    JSON.stringify([await server.command('HGETALL', 'mkondo:nodes'), await server.command('KEYS', '*')])
  const before = await keys()
  const env = {
    REDIS_URL: server.url,
    TOKEN_SECRET: 'a-token-secret-of-the-tests-0123456789',
    OUTBOUND_PREFIXES: '+254',
  }
  const { from, good, bad } = await checked(oldFolder(t), env)
  t.equal(await keys(), before, 'Redis is as it was')
  t.equal(from, RELEASE)
  t.match(good, /work as one fleet/)
  t.match(good, /mkondo drain NODE: gw-c \(0\.1\.0, 9 calls\), gw-b \(0\.1\.0, 1 calls\), gw-a \(0\.1\.0, 5 calls\)/)
  t.equal(bad, `REDIS_URL: campaigns broken cannot be read by ${packageVersion()}`)
  await node('gw-d', { version: '9.0.0' })
  t.match((await checked(oldFolder(t), env)).bad, /nodes of 9\.0\.0 do not work with nodes of/)
  await node('gw-a', { version: '0.10.0' })
  await node('gw-b', { version: '0.9.0' })
  await server.command('HDEL', 'mkondo:nodes', 'gw-c', 'gw-d')
  t.equal((await checked(oldFolder(t), env)).from, '0.9.0', 'the oldest version is the one to upgrade from')
  await t.rejects(readRunningFleet('redis://127.0.0.1:1', 'mkondo:', []))
})

t.test('calls, rows and messages kept in Redis are read', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { secrets, callSid, campaign } = SAMPLE
  const env = { REDIS_URL: server.url, TOKEN_SECRET: secrets[0], OUTBOUND_PREFIXES: '+254' }
  const redis = new Redis(server.url)
  t.teardown(() => redis.disconnect())
  try {
    for (const [key = '', base64 = ''] of SAMPLES.redis)
      await redis.restore(key, 0, Buffer.from(base64, 'base64'), 'REPLACE')
  } catch (thrown) {
    if (!String(thrown).includes('Bad data format')) throw thrown
    t.pass('read', { skip: 'redis-server is older than the one that wrote the samples' })
    return
  }
  const changes = async () => /^rdb_changes_since_last_save:\d+/m.exec(await redis.info('persistence'))?.[0]
  const before = await changes()
  const { good, bad } = await checked(oldFolder(t), env)
  t.match(before, /:[1-9]/)
  t.equal(await changes(), before, 'Redis is as it was')
  t.equal(bad, '')
  for (const noun of ['kept call', 'row of a campaign', 'message'])
    t.match(good, new RegExp(`REDIS_URL: [1-9]\\d* of the form "${noun}" are read`))

  // Documents that a newer version would have written, or another program.
  const seal = (key: string, kind: 'state' | 'message', value: object) =>
    Buffer.from(new SealedCall(key, secrets).seal(kind, JSON.stringify(value)))
  await redis.hset(`mkondo:call:${callSid}`, 'state', seal(callSid, 'state', { version: 1, caller: '+254700000001' }))
  const row = seal('x1', 'state', { id: 'x1', campaign, to: 254700000001 }).toString('base64')
  await redis.hset(`{mkondo:campaigns}:${campaign}:x1`, 'data', JSON.stringify({ sealed: row }))
  await redis.zadd(`{mkondo:campaigns}:${campaign}:delayed`, 1, 'x1')
  await redis.xadd('mkondo:{outbox}', '*', 'key', 'HD_x.1', 'd', seal('HD_x', 'message', { version: 2 }))
  await redis.hset('mkondo:{outbox}:dead', 'HD_y.1', 'not sealed')
  const faulty = await checked(oldFolder(t), env)
  t.equal(faulty.code, 2)
  t.match(faulty.bad, new RegExp(`REDIS_URL: kept call: call:${callSid} a kept call is wrong at \\w+`))
  t.match(faulty.bad, new RegExp(`row of a campaign: campaigns ${campaign}:x1 \\w+ is not what this version reads`))
  t.match(faulty.bad, /message: outbox HD_x\.1 version is not what this version reads/)
  t.match(faulty.bad, /message: outbox HD_y\.1 a stored message of 10 bytes has not format 1/)
  t.notMatch(faulty.bad, /254700000001/, 'no caller is named')
  const other = await checked(oldFolder(t), { ...env, TOKEN_SECRET: 'another-token-secret-of-the-tests' })
  t.match(other.bad, /kept call: call:.* a stored \w+ does not open: .*another TOKEN_SECRET/)
})
