/** An erasure looks at rows of campaigns and at memory, whatever is switched on now, and names what it could not look at. */
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { FileQueue } from '../../src/campaigns/file-queue.js'
import { campaignSchema, rowSchema } from '../../src/campaigns/campaign.js'
import { RedisQueue } from '../../src/campaigns/redis-queue.js'
import type { RowQueue } from '../../src/campaigns/row-queue.js'
import { loadConfig } from '../../src/config/load-config.js'
import { CallerMemory } from '../../src/fleet/store/caller-memory.js'
import { parseRedisUrl } from '../../src/fleet/store/redis-url.js'
import { startGateway } from '../../src/gateway/gateway.js'
import { StoredValues } from '../../src/telemetry/archive/stored-values.js'
import { createLog } from '../../src/telemetry/log.js'
import { command } from '../support/command.js'
import { hasRedis, startRedis } from '../support/redis.js'

const NUMBER = '+254700000101'
const OTHER = '+254700000102'
const SECRET = 'a-secret-of-thirty-two-characters'
const log = createLog({ level: 'silent' })

async function fill(queue: RowQueue): Promise<void> {
  const order = {
    version: 1,
    name: 'Dues',
    agent: 'order-status',
    from: '+254700000000',
    timeZone: 'Africa/Nairobi',
    window: '09:00-18:00',
  }
  const more = { id: 'dues', state: 'draft', why: null, createdAt: '2026-11-20T06:00:00.000Z', rows: 2 }
  await queue.add(
    'dues',
    [NUMBER, OTHER].map((to, i) =>
      rowSchema.parse({
        ...{ id: `r${i}`, campaign: 'dues', agent: 'order-status', to, from: null, variables: { name: `Wanjiru${i}` } },
        ...{ externalId: null, timeZone: null, dueMs: 0, tries: [], result: null },
      }),
    ),
  )
  await queue.keep(campaignSchema.parse({ ...order, ...more }))
}

async function onDisk(folder: string): Promise<void> {
  const queue = await FileQueue.start({ folder: join(folder, 'campaigns'), wallClock: Date.now, log })
  await fill(queue)
  await queue.close(1000)
}

const campaignFiles = (folder: string): string =>
  readdirSync(join(folder, 'campaigns'))
    .map((name) => readFileSync(join(folder, 'campaigns', name), 'utf8'))
    .join()

/** A gateway without the carrier's key. */
async function keyless(t: Test, dataDir: string, env: Readonly<Record<string, string>> = {}) {
  const settings = { TOKEN_SECRET: SECRET, ...env }
  const gateway = await startGateway({
    config: { ...loadConfig(settings, null), dataDir, host: '127.0.0.1', port: 0, opsPort: 0 },
    env: { SHOP_API_URL: 'http://127.0.0.1:9' },
    log,
  })
  t.teardown(() => gateway.stop(0))
  return (argv: readonly string[]) =>
    command([...argv, '--ops-url', `http://127.0.0.1:${gateway.opsPort}`], { env: {} })
}

t.test('an erasure without a carrier key empties rows on disk', async (t) => {
  const folder = t.testdir()
  await onDisk(folder)
  const asks = await keyless(t, folder)
  const exported = await asks(['export', NUMBER, '--to', t.testdirName])
  t.match(exported, { code: 0, out: /campaigns\.json/ })
  t.match(await asks(['erase', '--number', NUMBER]), { code: 0, out: /in campaigns and call backs: 1 row emptied/ })
  t.notMatch(campaignFiles(folder), /254700000101|Wanjiru0/)
  t.match(campaignFiles(folder), /254700000102/)

  writeFileSync(join(folder, 'campaigns-seen.json'), '{}')
  const named = /not looked at: campaigns and call backs in Redis \(REDIS_URL is not set/
  t.match(await asks(['erase', '--number', NUMBER]), { code: 1, out: named })
  // An export of the same second has the same name.
  const second = join(folder, 'second')
  mkdirSync(second)
  t.match(await asks(['export', NUMBER, '--to', second]), { code: 1, out: /Redis .*: not looked at/ })

  mkdirSync(join(folder, 'campaigns', 'more.rows.jsonl'), { recursive: true })
  t.match(await asks(['erase', '--number', NUMBER]), { code: 1, out: /not looked at: campaigns .* \(EISDIR/ })
})

t.test('an erasure without a carrier key empties rows in Redis', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const address = parseRedisUrl(server.url)
  if (address === undefined) throw new Error(server.url)
  const { redisPrefix: prefix } = loadConfig({}, null)
  const queue = new RedisQueue({ address, prefix, secrets: [SECRET], log })
  t.teardown(() => queue.close(100))
  await fill(queue)
  const folder = t.testdir()
  await onDisk(folder)
  const asks = await keyless(t, folder, { REDIS_URL: server.url, NODE_NAME: 'gw-1', INTERNAL_PORT: '0' })
  t.match(await asks(['erase', '--number', NUMBER]), { code: 0, out: /in campaigns and call backs: 2 rows emptied/ })
  t.notMatch(campaignFiles(folder), /254700000101/, 'those of before the fleet too')
  t.match((await queue.rows('dues')).map(({ to }) => to).sort(), ['', OTHER])
})

t.test('an erasure names rows of another secret', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const address = parseRedisUrl(server.url)
  if (address === undefined) throw new Error(server.url)
  const { redisPrefix: prefix } = loadConfig({}, null)
  const [lost, queue] = ['a-secret-of-thirty-two-that-is-gone', SECRET].map(
    (secret) => new RedisQueue({ address, prefix, secrets: [secret], log }),
  )
  if (lost === undefined || queue === undefined) throw new Error('no queue')
  t.teardown(() => Promise.all([lost.close(100), queue.close(100)]))
  await fill(lost)
  // Without a campaign that can be read, as a newer version leaves them.
  await queue.add(
    'newer',
    [NUMBER].map((to) =>
      rowSchema.parse({
        ...{ id: 'n1', campaign: 'newer', agent: 'order-status', to, from: null, variables: {} },
        ...{ externalId: null, timeZone: null, dueMs: 0, tries: [], result: null },
      }),
    ),
  )
  await queue.redis.hset(`${queue.prefix}:all`, 'newer', JSON.stringify({ version: 9 }))
  const env = { REDIS_URL: server.url, NODE_NAME: 'gw-1', INTERNAL_PORT: '0', SAUTIKIT_API_KEY: 'tsk_0123456789' }
  for (const settings of [{}, env]) {
    const asks = await keyless(t, t.testdir(), { ...env, SAUTIKIT_API_KEY: '', ...settings })
    const named = /not looked at: 2 rows of campaigns and call backs in Redis \(another TOKEN_SECRET/
    const erased = await asks(['erase', '--number', NUMBER])
    t.match(erased, { code: 1, out: named })
    const folder = t.testdir()
    t.match(await asks(['export', NUMBER, '--to', folder]), { code: 1, out: /2 rows .*not looked at/ })
  }
  t.match(await queue.rows('newer'), [{ to: '', result: 'erased' }])
})

t.test('an offline erasure empties rows and memory on the disk', async (t) => {
  const folder = t.testdir({ records: { open: {} } })
  await onDisk(folder)
  const values = new StoredValues(join(folder, 'records', 'open'))
  const kept = new Map<string, string>()
  const memory = new CallerMemory({
    ...{ secrets: [SECRET], wallClock: Date.now, log },
    store: {
      standing: (key) => Promise.resolve(kept.get(key) ?? null),
      once: (key, value, ttlMs) => {
        kept.set(key, value)
        values.write({ key, value, untilMs: Date.now() + ttlMs }, Date.now(), true)
        return Promise.resolve(null)
      },
      settle: () => Promise.resolve(),
    },
  })
  const call = { callSid: 'HD_last00000001', at: '2026-11-20T06:00:00.000Z', outcome: 'contained', facts: {} }
  await memory.remember(NUMBER, 'line', call as never, 86_400_000)
  const [sealed = ''] = kept.values()
  const path = join(folder, 'records', 'open', 'values.jsonl')
  // A file without a value that counts is deleted.
  const text = (): string => (existsSync(path) ? readFileSync(path, 'utf8') : '')
  t.match(text(), sealed)
  const unsure = await command(['erase', '--offline', '--number', NUMBER], { env: { DATA_DIR: folder } })
  t.match(unsure, { code: 1, out: /not looked at: the memory of callers on the disk \(TOKEN_SECRET is not set\)/ })
  const env = { DATA_DIR: folder, TOKEN_SECRET: SECRET }
  t.match(await command(['erase', '--offline', '--number', NUMBER], { env }), { code: 0 })
  t.notMatch(text(), sealed)
  t.notMatch(campaignFiles(folder), /254700000101|Wanjiru0/)
})

t.test("an offline erasure names the fleet's Redis", async (t) => {
  const folder = t.testdir()
  writeFileSync(join(folder, 'x'), '')
  const env = { DATA_DIR: folder, REDIS_URL: 'redis://127.0.0.1:9', TOKEN_SECRET: SECRET }
  const { code, out } = await command(['erase', '--offline', '--number', NUMBER], { env })
  t.equal(code, 1)
  t.match(out, /not looked at: the fleet's store .*campaigns.*without --offline/)
})
