import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { RedisQueue } from '../../src/campaigns/redis-queue.js'
import { packageRoot } from '../../src/config/package-root.js'
import { REDIS_COMMANDS, redisUser } from '../../src/fleet/store/redis-commands.js'
import { lookAtServers } from '../../src/fleet/store/redis-look.js'
import type { RedisFinding } from '../../src/fleet/store/redis-look.js'
import { connectRedis, lookAtRedis } from '../../src/fleet/store/redis-store.js'
import { parseRedisUrl } from '../../src/fleet/store/redis-url.js'
import type { RedisAddress } from '../../src/fleet/store/redis-url.js'
import { createLog } from '../../src/telemetry/log.js'
import { repositoryFile } from '../deploy/deploy-files.js'
import { freePort } from '../support/free-ports.js'
import { hasRedis, startCluster, startRedis, startSentinel } from '../support/redis.js'
import type { RedisServer, RedisServerOptions } from '../support/redis.js'
import { until } from '../support/until.js'
import { PATIENCE_MS, SECRETS, nodeRecord } from './store-homes.js'

const log = createLog({ level: 'silent' })
const PREFIX = 'mkondo:'
const look = (url: string): Promise<readonly RedisFinding[]> =>
  lookAtRedis({ url, prefix: PREFIX, secrets: SECRETS, log, deadlineMs: PATIENCE_MS })
/** What is not good. */
const faults = (found: readonly RedisFinding[]): string[] =>
  found.filter(({ is }) => is !== 'good').map(({ is, what }) => `${is}: ${what}`)

async function started(t: Test, options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await startRedis(options)
  t.teardown(() => server.close())
  return server
}

t.test('a Redis without faults gives five good findings', async (t) => {
  if (!hasRedis(t)) return
  const found = await look((await started(t)).url)
  t.same(faults(found), [])
  t.match(
    found.map(({ what }) => what),
    [/^Redis \d+\.\d+/, /noeviction/, /clock .* agree/, /may run all commands/],
  )
})

t.test('an unreachable Redis is reported', async (t) => {
  const found = faults(await look(`redis://:siri@127.0.0.1:${await freePort()}`))
  t.match(found, [/bad: REDIS_URL cannot be used: the connection was refused/])
  t.notMatch(found.join(''), /siri/)
})

t.test('a wrong password is reported but not shown', async (t) => {
  if (!hasRedis(t)) return
  const server = await started(t, { password: 'right' })
  const found = faults(await look(`redis://:siri@127.0.0.1:${server.port}`))
  t.match(found, [/bad: REDIS_URL .* user or password are wrong/])
  t.notMatch(found.join(''), /siri/)
})

t.test('an eviction policy is reported as a fault', async (t) => {
  if (!hasRedis(t)) return
  const server = await started(t, { config: { 'maxmemory-policy': 'allkeys-lru', maxmemory: '64mb' } })
  t.match(faults(await look(server.url)), [/bad: Redis drops calls .* is allkeys-lru; allowed: noeviction/])
})

t.test('a Sentinel master without a replica is reported', async (t) => {
  if (!hasRedis(t)) return
  const master = await started(t)
  const sentinel = await startSentinel({ master })
  t.teardown(() => sentinel.close())
  t.match(faults(await look(sentinel.url)), [/look: the master that the Sentinels name has no replica/])
  await started(t, { replicaOf: master })
  t.same(faults(await look(sentinel.url)), [])
})

t.test('cluster slots without a server are reported as a fault', async (t) => {
  if (!hasRedis(t)) return
  const servers = await startCluster()
  t.teardown(() => Promise.all(servers.map((server) => server.close())))
  const url = `redis+cluster://${servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`
  t.match(faults(await look(url)), [/look: a master of the Redis Cluster has no replica/])
  for (const server of servers) await server.command('CONFIG', 'SET', 'cluster-require-full-coverage', 'no')
  await servers[0]?.command('CLUSTER', 'DELSLOTS', '0')
  for (const server of servers.slice(1)) await server.command('CLUSTER', 'DELSLOTS', '0')
  await until(
    async () => faults(await look(url)).some((fault) => fault.startsWith('bad: 1 of 16384 slots')),
    15_000,
    'the slot to be missed',
  )
})

/** The findings of a client of its own. */
async function seen(t: Test, url: string, wallClock = Date.now): Promise<string[]> {
  const client = new Redis(url, { disableClientInfo: true })
  t.teardown(() => client.disconnect())
  return faults(
    await lookAtServers([client], { address: parseRedisUrl(url) as RedisAddress, prefix: PREFIX, wallClock }),
  )
}

t.test('a clock that differs from the Redis clock is reported', async (t) => {
  if (!hasRedis(t)) return
  const { url } = await started(t)
  t.same(await seen(t, url, () => Date.now() + 29_000), [])
  t.match(await seen(t, url, () => Date.now() - 61_000), [/look: this machine's clock is 61 s behind that of Redis/])
})

/** URL of a user with exactly these rules. */
async function userUrl(server: RedisServer, ...rules: readonly string[]): Promise<string> {
  await server.command('ACL', 'SETUSER', 'gw', 'reset', 'on', '>pw', ...rules)
  return `redis://gw:pw@127.0.0.1:${server.port}`
}

t.test('commands and keys the user lacks are named', async (t) => {
  if (!hasRedis(t)) return
  const server = await started(t)
  for (const [rules, lacks] of [
    [['~*', '+@all', '-xadd', '-wait', '-xinfo'], 'run WAIT, run XADD, run XINFO CONSUMERS'],
    [['~*', '+@all', '-exec'], 'run EXEC'],
    [['~*', '+@all', '-discard'], 'run DISCARD'],
    [['~*', '+@all', '-multi'], 'run MULTI'],
    [['~*', '+@all', '-client'], 'run CLIENT SETNAME'],
    [['~mkondo:*', '+@all'], 'use the keys {mkondo:campaigns}*'],
    [['~other:*', '+@all'], 'use the keys mkondo:*, use the keys {mkondo:campaigns}*'],
  ] as const) {
    const found = faults(await look(await userUrl(server, ...rules)))
    t.same(found, [`bad: the Redis user may not ${lacks}; deploy/redis.conf has the line of a user that may`])
  }
  t.match(faults(await look(await userUrl(server, '~*', '+@all', '-info'))), [/does not let its user run INFO/])
  t.equal(await server.command('DBSIZE'), 0, 'nothing was carried out')
})

t.test('a start logs its findings and continues', async (t) => {
  if (!hasRedis(t)) return
  const server = await started(t, { config: { 'maxmemory-policy': 'volatile-lru' } })
  const url = await userUrl(server, '~*', '+@all', '-xadd')
  const lines: string[] = []
  const own = createLog({ level: 'info', destination: { write: (line) => void lines.push(line) } })
  const store = await connectRedis({ url, prefix: PREFIX, secrets: SECRETS, log: own, deadlineMs: PATIENCE_MS })
  t.teardown(() => store.close())
  t.equal(await store.once('key', 'x', 1000), null)
  await until(() => lines.length >= 3, 10_000, 'its findings')
  t.match(lines.join(''), /"warn".*maxmemory-policy is volatile-lru/)
  t.match(lines.join(''), /"warn".*may not run XADD/)
})

t.test('the user of deploy/redis.conf may do everything a fleet needs', async (t) => {
  if (!hasRedis(t)) return
  const [line = ''] = /^user mkondo.*$/m.exec(repositoryFile('deploy/redis.conf')) ?? []
  t.equal(line, redisUser(PREFIX, 'ANOTHER-PASSWORD'))
  const server = await started(t, { config: { user: line.slice('user '.length) } })
  const url = `redis://mkondo:ANOTHER-PASSWORD@127.0.0.1:${server.port}`
  t.same(faults(await look(url)), [])
  const store = await connectRedis({ url, prefix: PREFIX, secrets: SECRETS, log, deadlineMs: PATIENCE_MS })
  t.teardown(() => store.close())
  await store.beat(nodeRecord('gw-1', { beat: 1 }))
  t.equal((await store.beat(nodeRecord('gw-2', { beat: 2 }))).nodes.length, 1)
  const queue = new RedisQueue({ address: parseRedisUrl(url) as RedisAddress, prefix: PREFIX, secrets: SECRETS, log })
  t.teardown(() => queue.close(0))
  t.same(await queue.campaigns(), [])
  await t.rejects(store.evaluate('outside', "return redis.call('KEYS', '*')", '{outbox}', []), { code: 'STORE_DOWN' })
})

/** Commands of Lua texts. BullMQ's `rcall` is `redis.call`. */
const inLua = (text: string): string[] =>
  [...text.matchAll(/\b(?:redis\.p?call|rcall)\(\s*["']([A-Za-z]+)["'](?:,\s*["']([A-Z]+)["'])?/g)].map(
    ([, name = '', word]) => (['XGROUP', 'XINFO'].includes(name) ? `${name}|${word ?? ''}` : name).toLowerCase(),
  )

t.test('the list of commands matches the scripts', (t) => {
  const inFolder = (folder: string): string[] =>
    readdirSync(join(packageRoot(), folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name))
  const files = [...inFolder('src'), ...inFolder('node_modules/bullmq/dist/cjs/scripts')].filter((file) =>
    // Of BullMQ's relays nothing is used here.
    /(?<!\/relay[\w-]*)\.[jt]s$/.test(file),
  )
  t.ok(files.length > 100)
  const used = new Set(files.flatMap((file) => inLua(readFileSync(join(packageRoot(), file), 'utf8'))))
  const listed: readonly string[] = REDIS_COMMANDS
  t.same(
    [...used].filter((name) => !listed.includes(name)),
    [],
    'in a script, and not in the list',
  )
  // Sent by the clients themselves.
  const direct = [
    'client|setname',
    'cluster|info',
    'cluster|slots',
    'info',
    'ping',
    'readonly',
    'role',
    'select',
    'discard',
  ]
  const more = [
    'eval',
    'evalsha',
    'exec',
    'multi',
    'wait',
    'hsetnx',
    'hscan',
    'bzpopmin',
    'time',
    'hmget',
    'zrange',
    'zrem',
  ]
  t.same(
    listed.filter((name) => !used.has(name) && ![...direct, ...more].includes(name)),
    [],
    'in the list, and in no script',
  )
  t.end()
})
