import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Cluster } from 'ioredis'
import t from 'tap'
import { RedisQueue } from '../../src/campaigns/redis-queue.js'
import type { OwnerToken } from '../../src/fleet/store/call-store.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { parseRedisUrl } from '../../src/fleet/store/redis-url.js'
import { createLog } from '../../src/telemetry/log.js'
import { NEW_ROW } from '../campaigns/appointments.js'
import { hasRedis, makeAuthority, makeTls, startCluster, startRedis, startSentinel } from '../support/redis.js'
import type { RedisServer } from '../support/redis.js'
import { SECRETS, bytes, owner } from './store-homes.js'
import { spawnOwn } from '../support/spawn-own.js'
import { until } from '../support/until.js'

const log = createLog({ level: 'silent' })

// They wait for servers to notice.
t.jobs = 3
// Each server is ended with the process.
process.setMaxListeners(30)

t.test('Sentinel moves calls and campaigns to the promoted replica', { buffered: true }, async (t) => {
  if (!hasRedis(t)) return
  const master = await startRedis()
  const replica = await startRedis({ replicaOf: master })
  const sentinel = await startSentinel({ master, downAfterMs: 500 })
  t.teardown(() => Promise.all([sentinel, replica, master].map((server) => server.close())))
  const store = await connectRedis({ url: sentinel.url, prefix: 'fleet:', secrets: SECRETS, log })
  t.teardown(() => store.close())
  const { owner: token } = await store.claim('CA1', owner('gw-1', 'a'), 0)
  await store.save('CA1', token, { state: bytes(1) })
  const address = parseRedisUrl(sentinel.url)
  if (address === undefined) throw new Error('no URL of Redis')
  const queue = new RedisQueue({ address, prefix: 'fleet:', secrets: SECRETS, log })
  t.teardown(() => queue.close(0))
  const called = new Set<string>()
  const row = { ...NEW_ROW, campaign: 'reminders', to: '+254711000001' }
  await queue.add('reminders', [{ ...row, id: 'r1' }])
  await queue.serve('reminders', { atOnce: 1, perMinute: 6000 }, (row) => {
    called.add(row.id)
    return Promise.resolve({ next: 'done', row: { ...row, result: 'expired' } })
  })
  await until(() => called.has('r1'), 15_000, 'a row to be called')
  const atReplica = (): Promise<unknown> => replica.command('HGET', 'fleet:call:CA1', 'state')
  await until(async () => (await atReplica()) === '\u0001', 15_000, 'the replica to have the call')
  // The Sentinel must have seen the replica before its master is gone.
  await until(
    async () => ((await sentinel.command('SENTINEL', 'replicas', sentinel.masterName)) as unknown[]).length === 1,
    15_000,
    'the Sentinel to know the replica',
  )
  await sleep(1000)
  master.freeze()
  await until(
    () =>
      store.save('CA1', token, { state: bytes(2) }).then(
        (result) => result === 'ok',
        () => false,
      ),
    15_000,
    'a write to the new master',
  )
  t.equal(await atReplica(), '\u0002')
  await queue.add('reminders', [{ ...row, id: 'r2' }])
  await until(() => called.has('r2'), 30_000, 'a row to be called from the new master')
})

t.test('the store follows a promoted replica of a cluster [2]', { buffered: true }, async (t) => {
  if (!hasRedis(t)) return
  const servers = await startCluster(true)
  t.teardown(() => Promise.all(servers.map((server) => server.close())))
  const [first, , , replica] = servers as readonly [RedisServer, RedisServer, RedisServer, RedisServer]
  const url = `redis+cluster://${servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`
  const store = await connectRedis({ url, prefix: 'fleet:', secrets: SECRETS, log })
  t.teardown(() => store.close())
  const tokens = new Map<string, OwnerToken>()
  for (let i = 0; i < 12; i++) tokens.set(`CA${i}`, (await store.claim(`CA${i}`, owner('gw-1', 'a'), 0)).owner)
  const savesAll = async (): Promise<boolean> => {
    const writes = [...tokens].map(([key, token]) => ({ key, token, change: { state: bytes(2) } }))
    return (await store.saveAll(writes)).every((result) => result === 'ok')
  }
  t.ok(await savesAll())
  const before = (await first.command('KEYS', 'fleet:call:*')) as readonly string[]
  t.ok(before.length > 0, 'some of them are at the first')
  const atReplica = async (): Promise<readonly string[]> =>
    ((await replica.command('KEYS', 'fleet:call:*')) as readonly string[]).toSorted()
  // WAIT would speak of the writes of its own connection.
  await until(async () => (await atReplica()).length === before.length, 15_000, 'the replica to have them')
  first.freeze()
  await until(() => savesAll().catch(() => false), 15_000, 'writes to all masters')
  t.same(await atReplica(), before.toSorted())

  const look: (this: Cluster, done?: () => void) => void = Reflect.get(Cluster.prototype, 'refreshSlotsCache')
  const looks = t.capture(Cluster.prototype, 'refreshSlotsCache', look)
  for (const server of servers) server.freeze()
  await sleep(1500) // a look for what has moved is under way
  await store.close()
  for (const server of servers) server.thaw()
  looks()
  await sleep(2500)
  t.same(looks(), [], 'a store that is closed looks no more')
})

t.test('TLS works with one server, Sentinel and a cluster', { buffered: true }, async (t) => {
  const tls = hasRedis(t) ? makeTls(t) : null
  if (tls === null) return
  const single = await startRedis({ tls, password: 'siri kuu' })
  t.teardown(() => single.close())
  const sentinel = await startSentinel({ master: single, password: 'siri kuu', tls })
  t.teardown(() => sentinel.close())
  const servers = await startCluster(false, tls)
  t.teardown(() => Promise.all(servers.map((server) => server.close())))
  const cluster = servers[0]?.url.replace('rediss:', 'rediss+cluster:') ?? ''

  const unknown = await connectRedis({ url: single.url, prefix: 'fleet:', secrets: SECRETS, log })
  t.teardown(() => unknown.close())
  await t.rejects(unknown.read('CA1'), {
    code: 'STORE_DOWN',
    message: /no TLS connection could be made: this node does not know the authority/,
  })

  // Node reads this variable only when it starts.
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL('./tls-node.js', import.meta.url)), single.url, sentinel.url, cluster],
    { env: { NODE_EXTRA_CA_CERTS: tls.certificate }, stdio: ['ignore', 'pipe', 'inherit'], timeout: 90_000 },
  )
  const printed = (await text(child.stdout)).trim().split('\n').toSorted()
  t.same(
    printed,
    ['rediss+cluster:', 'rediss+sentinel:', 'rediss:'].flatMap((kind) => [`${kind} calls`, `${kind} campaigns`]),
  )
})

t.test('a running node accepts a renewed Redis certificate [1]', { buffered: true }, async (t) => {
  const authority = hasRedis(t) ? makeAuthority(t) : null
  if (authority === null) return
  const [first, expired, renewed] = [1, -1, 1].map((days, i) => authority.sign(`redis-${i}`, days))
  if (first === undefined || expired === undefined || renewed === undefined) throw new Error('no certificates')
  const server = await startRedis({ tls: first, config: { 'tls-ca-cert-file': authority.certificate } })
  t.teardown(() => server.close())
  const present = async ({ key, certificate }: typeof first): Promise<void> => {
    await server.command('CONFIG', 'SET', 'tls-key-file', key, 'tls-cert-file', certificate)
  }
  const cut = (): Promise<unknown> => server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  const watcher = fileURLToPath(new URL('./tls-watcher.js', import.meta.url))
  const child = spawnOwn(process.execPath, [watcher, server.url], {
    env: { NODE_EXTRA_CA_CERTS: authority.certificate },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const printed: string[] = []
  if (child.stdout === null) throw new Error('it has no output')
  createInterface(child.stdout).on('line', (line) => void printed.push(line))
  const says = (what: RegExp, times: number): Promise<void> =>
    until(
      () => printed.filter((line) => what.test(line)).length === times,
      30_000,
      `${what.source}: ${printed.join(' / ')}`,
    )
  await says(/^works$/, 1)
  await says(/^row r1$/, 1)
  await present(expired)
  await cut()
  await says(/its certificate has expired$/, 1)
  await present(renewed)
  await says(/^works$/, 2)
  await says(/^row r2$/, 1)
  await cut()
  await says(/^works$/, 3)
  await says(/^row r3$/, 1)
})
