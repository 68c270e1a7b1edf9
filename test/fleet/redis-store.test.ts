import { type AddressInfo, createServer } from 'node:net'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { STORE_DEADLINE_MS } from '../../src/core/limits.js'
import { SCRIPTS } from '../../src/fleet/store/redis-scripts.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { parseRedisUrl, shownRedisUrl } from '../../src/fleet/store/redis-url.js'
import { createLog } from '../../src/telemetry/log.js'
import { freePort } from '../support/free-ports.js'
import { hasRedis, type RedisServerOptions, startRedis, startSentinel } from '../support/redis.js'
import { bytes, nodeRecord, openRedis, owner, PATIENCE_MS, SECRETS } from './store-homes.js'
import { succeeds, until } from '../support/until.js'

const PASSWORD = 'siri ya/test@1'

/** A server and a store in it, and what the store logged. */
async function redisStore(t: Test, options: RedisServerOptions = {}, deadlineMs = PATIENCE_MS) {
  const server = await startRedis(options)
  t.teardown(() => server.close())
  return { server, ...(await storeAt(t, server.url, deadlineMs)) }
}

async function storeAt(t: Test, url: string, deadlineMs = PATIENCE_MS) {
  const lines: string[] = []
  const log = createLog({ destination: { write: (line) => lines.push(line) } })
  const store = await connectRedis({ url, prefix: 'fleet:', secrets: SECRETS, log, deadlineMs })
  t.teardown(() => store.close())
  return {
    store,
    lines,
    /** Resolves when the store answers again. */
    healed: () => until(() => succeeds(store.read('nobody')), 15_000, 'the store to answer'),
  }
}

t.test('Redis URLs are parsed and shown without passwords', (t) => {
  t.same(parseRedisUrl('redis://cache'), {
    tls: false,
    hosts: [{ host: 'cache', port: 6379 }],
    masterName: null,
    cluster: false,
    db: 0,
    username: null,
    password: null,
  })
  t.same(parseRedisUrl('rediss://gw:a%40b%2Fc%3A@10.0.0.7:6380/3'), {
    tls: true,
    hosts: [{ host: '10.0.0.7', port: 6380 }],
    masterName: null,
    cluster: false,
    db: 3,
    username: 'gw',
    password: 'a@b/c:',
  })
  t.same(parseRedisUrl('rediss+sentinel://:pass@one:26380,two,[fd00::3]:1/main.1/2'), {
    tls: true,
    hosts: [
      { host: 'one', port: 26380 },
      { host: 'two', port: 26379 },
      { host: 'fd00::3', port: 1 },
    ],
    masterName: 'main.1',
    cluster: false,
    db: 2,
    username: null,
    password: 'pass',
  })
  t.match(parseRedisUrl('rediss+cluster://:pass@one:7000,two'), {
    tls: true,
    hosts: [
      { host: 'one', port: 7000 },
      { host: 'two', port: 6379 },
    ],
    masterName: null,
    cluster: true,
    password: 'pass',
  })
  for (const wrong of [
    '',
    'http://cache',
    'redis://',
    'redis://one,two',
    'redis://cache:0',
    'redis://cache:65536',
    'redis://cache/one',
    'redis://cache/1/2',
    'redis://cache?db=1',
    'redis://user@cache',
    'redis://user:@cache',
    'redis://:%zz@cache',
    'redis://:a@b@cache',
    'redis+cluster://one/1',
    'redis+cluster://one/name',
    'redis+sentinel://one',
    'redis+sentinel://one/',
    'redis+sentinel://one/name/x',
    'redis+sentinel://one,/name',
    `redis+sentinel://${'one,'.repeat(16)}one/name`,
  ])
    t.equal(parseRedisUrl(wrong), undefined, wrong)
  for (const shown of [
    'redis://cache:6379/0',
    'rediss+sentinel://one:1,[fd00::3]:2/main/4',
    'redis+cluster://one:1,two:2',
  ]) {
    const address = parseRedisUrl(shown.replace('://', '://user:secret@'))
    t.equal(address === undefined ? '' : shownRedisUrl(address), shown)
  }
  t.end()
})

t.test('permanent configuration errors stop the start without showing passwords', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis({ password: PASSWORD })
  const open = await startRedis()
  const sentinel = await startSentinel({ master: server })
  t.teardown(() => Promise.all([server, open, sentinel].map((each) => each.close())))
  const lines: string[] = []
  const log = createLog({ destination: { write: (line) => lines.push(line) } })
  const at = `127.0.0.1:${server.port}`
  for (const [url, message] of [
    [`redis://:neno-baya@${at}`, /user or password are wrong/],
    [`redis://nobody:neno-baya@${at}`, /user or password are wrong/],
    [`redis://${at}`, /asks for a password/],
    [`${server.url}/99`, /does not have the database/],
    [`redis://127.0.0.1:${sentinel.port}`, /it is a Sentinel; .*redis\+sentinel:/],
    [sentinel.url.replace('/mkondo', '/another'), /know no master of the name another/],
    [sentinel.url.replace(/:[^:@]+@/, ':neno-baya@'), /user or password are wrong/],
    [`redis://127.0.0.1:${await fakeServer(t, 'redis_version:6.0.16\r\nredis_mode:standalone')}`, /it is Redis 6\.0, /],
    [`redis://127.0.0.1:${await fakeServer(t, 'redis_version:7.2.4\r\nredis_mode:cluster')}`, /redis\+cluster:/],
    [`redis+cluster://127.0.0.1:${open.port}`, /it is no Redis Cluster/],
    [`redis+cluster://${at}`, /asks for a password/],
    [`redis+cluster://:neno-baya@${at}`, /user or password are wrong/],
    ['redis://:neno-baya@one,two', /not of the form redis:/],
  ] as const) {
    const error: Error = await connectRedis({
      url,
      prefix: 'fleet:',
      secrets: SECRETS,
      log,
      deadlineMs: PATIENCE_MS,
    }).then(
      async (store) => {
        await store.close()
        return new Error('it connected')
      },
      (thrown: unknown) => thrown as Error,
    )
    t.match(error, { code: 'CONFIG_INVALID', message }, message.source)
    t.match(error.message, /REDIS_URL/)
    t.notMatch(error.message + JSON.stringify(error), /siri|neno/)
  }
  t.notMatch(lines.join(''), /siri|neno/)
})

t.test('a URL with credentials, database and Sentinels connects', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis({ password: PASSWORD })
  const sentinel = await startSentinel({ master: server, password: PASSWORD })
  t.teardown(() => Promise.all([server, sentinel].map((each) => each.close())))
  await server.command('ACL', 'SETUSER', 'gw', 'on', `>${PASSWORD}`, '~fleet:*', '+info', '+@scripting', '+@all')
  for (const url of [`${server.url}/5`, server.url.replace('redis://', 'redis://gw'), `${sentinel.url}/5`]) {
    const { store } = await storeAt(t, url)
    t.equal(await store.once(`key of ${url}`, 'x', 1000), null)
  }
})

t.test('a takeover waits for a live replica only', async (t) => {
  if (!hasRedis(t)) return
  const { server, store } = await redisStore(t)
  const waits = async (): Promise<number> =>
    Number(/cmdstat_wait:calls=(\d+)/.exec(String(await server.command('INFO', 'commandstats')))?.[1] ?? 0)
  await store.claim('CA1', owner('gw-1', 'a'), 0)
  await store.claim('CA1', owner('gw-2', 'b'), 1)
  t.equal(await waits(), 0, 'there is no replica')
  const replica = await startRedis({ replicaOf: server })
  t.teardown(() => replica.close())
  const { store: later } = await storeAt(t, server.url)
  await later.claim('CA2', owner('gw-1', 'a'), 0)
  t.equal(await waits(), 0, 'nobody else can have a new call')
  await later.claim('CA2', owner('gw-2', 'b'), 1)
  t.equal(await waits(), 1)
  // On a busy machine the wait may be over before: the replica learns it all the same.
  const node = async () => await replica.command('HGET', String(await replica.command('KEYS', '*CA2')), 'node')
  await until(async () => (await node()) === 'gw-2', 20_000, 'the replica')
  replica.freeze()
  await later.claim('CA3', owner('gw-1', 'a'), 0)
  t.equal((await later.claim('CA3', owner('gw-2', 'b'), 1)).owner.node, 'gw-2')
  replica.thaw()
})

/** Server that answers as an old Redis or a Cluster would; neither is to be had here. */
async function fakeServer(t: Test, info: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on('data', () => socket.write(`$${info.length}\r\n${info}\r\n`))
    socket.on('error', () => undefined)
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

t.test('an unreachable Redis does not stop the start', async (t) => {
  if (!hasRedis(t)) return
  const port = await freePort()
  const { store, lines, healed } = await storeAt(t, `redis://:siri@127.0.0.1:${port}`)
  await t.rejects(store.read('CA1'), { code: 'STORE_DOWN', retryable: true, message: /the connection was refused/ })
  t.match(lines.join(''), /"level":"warn".*the call store is down/)
  t.equal(lines.length, 1, 'said once, not at each attempt')
  const server = await startRedis({ port, password: 'siri' })
  t.teardown(() => server.close())
  await healed()
  t.match(lines[1], /the call store is connected/)
  t.notMatch(lines.join(''), /siri/)
})

t.test('operations fail immediately while a killed server is away', async (t) => {
  if (!hasRedis(t)) return
  const { server, store, lines, healed } = await redisStore(t, { durable: true })
  const { owner: token } = await store.claim('CA1', owner('gw-1', 'a'), 0)
  t.equal(await store.save('CA1', token, { state: bytes(1) }), 'ok')
  server.freeze()
  const underWay = store.read('CA1')
  const killed = server.kill()
  await t.rejects(underWay, { code: 'STORE_DOWN' })
  await killed
  await t.rejects(store.read('CA1'), { code: 'STORE_DOWN', message: /redis:\/\/127\.0\.0\.1:\d+\/0/ })
  await until(() => lines.some((line) => line.includes('connection was refused')), 15_000, 'the reason in the log')
  await server.restart()
  await healed()
  t.same([...((await store.read('CA1'))?.state ?? [])], [1])
  const said = lines.map((line) => (JSON.parse(line) as { msg: string; reason?: string }).msg)
  t.match([said[0], said.at(-1)], ['the call store is connected', 'the call store is connected'])
  const reasons = lines.flatMap((line) => (JSON.parse(line) as { reason?: string }).reason ?? [])
  t.same(reasons, [...new Set(reasons)], 'each reason once, however often it is tried')
})

t.test('a changed password marks the store down with the reason', async (t) => {
  if (!hasRedis(t)) return
  const { server, store, lines, healed } = await redisStore(t)
  await server.command('CONFIG', 'SET', 'requirepass', PASSWORD)
  const client = new Redis({ port: server.port, password: PASSWORD, lazyConnect: true })
  await client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until(() => lines.some((line) => line.includes('cannot be used')), 15_000, 'the log to say it')
  await t.rejects(store.read('CA1'), { code: 'STORE_DOWN', message: /asks for a password, and the URL has none/ })
  t.equal(lines.filter((line) => line.includes('"level":"error"')).length, 1)
  await client.call('CONFIG', 'SET', 'requirepass', '')
  client.disconnect()
  await healed()
})

t.test('operations on a frozen server fail within the deadline', async (t) => {
  if (!hasRedis(t)) return
  const { server, store, healed } = await redisStore(t, {}, STORE_DEADLINE_MS)
  await healed()
  server.freeze()
  const startMs = performance.now()
  const results = await Promise.allSettled([
    store.read('CA1'),
    store.claim('CA1', owner('gw-1', 'a'), 0),
    store.beat(nodeRecord('gw-1')),
  ])
  // Far less than the freeze, which only `thaw` ends.
  t.ok(performance.now() - startMs < STORE_DEADLINE_MS * 20)
  for (const result of results) t.match(result, { status: 'rejected', reason: { code: 'STORE_DOWN' } })
  server.thaw()
  await healed()
  // The claim was with the server when it froze. Whoever reads finds what became of it.
  const entry = await store.read('CA1')
  t.same(entry?.owner, { ...owner('gw-1', 'a'), epoch: 1 })
})

t.test('a delayed write does not overwrite a later one', async (t) => {
  if (!hasRedis(t)) return
  const { server, store } = await redisStore(t)
  const { owner: token } = await store.claim('CA1', owner('gw-1', 'a'), 0)
  await store.save('CA1', token, { state: bytes(1), append: [bytes(1)] })
  // Repeats a write of an earlier connection, as a server would: takes the line that Redis logged, and sends it again.
  await server.command('CONFIG', 'SET', 'slowlog-log-slower-than', '0')
  await store.save('CA1', token, { append: [bytes(65)] })
  const logged = (await server.command('SLOWLOG', 'GET', '5')) as [number, number, number, string[]][]
  const late = logged.map(([, , , words]) => words).find(([name]) => /^eval/i.test(name ?? ''))
  await store.save('CA1', token, { state: bytes(2), append: [bytes(66)], replace: true })
  t.equal(await server.command(...(late ?? [])), 'late')
  const entry = await store.read('CA1')
  t.same([[...(entry?.state ?? [])], entry?.log.map((chunk) => [...chunk])], [[2], [[66]]])
})

t.test('a full Redis refuses writes and still reads [1]', async (t) => {
  if (!hasRedis(t)) return
  const { server, store, lines } = await redisStore(t, { config: { 'maxmemory-policy': 'noeviction' } })
  const { owner: token } = await store.claim('CA1', owner('gw-1', 'a'), 0)
  await server.command('CONFIG', 'SET', 'maxmemory', '1')
  const full = { code: 'STORE_DOWN', message: /its memory is full \(maxmemory\)/ }
  await t.rejects(store.claim('CA2', owner('gw-1', 'b'), 0), full)
  await t.rejects(store.save('CA1', token, { state: bytes(1), append: [bytes(1)] }), full)
  await t.rejects(store.once('key', 'x', 1000), full)
  await t.rejects(store.beat(nodeRecord('gw-1')), full)
  await t.rejects(store.evaluate('of-a-test', "return redis.call('SET', KEYS[1], '1')", 'key', []), full)
  t.match(lines.join(''), /"reason":"its memory is full [^"]*","redis":[^\n]*does not carry out an operation/)
  t.same(await store.read('CA1'), { owner: token, phase: 'claimed', state: null, log: [] }, 'nothing is half done')
  t.equal(await store.over('CA1', token), 'ok')
  await server.command('CONFIG', 'SET', 'maxmemory', '0')
  t.equal((await store.claim('CA2', owner('gw-1', 'b'), 0)).owner.nonce, 'b')
})

t.test('operations fail with the reason after permissions shrink [2]', async (t) => {
  if (!hasRedis(t)) return
  const { server, store, lines, healed } = await redisStore(t)
  await healed()
  await server.command('ACL', 'SETUSER', 'default', '-@write')
  const narrowed = { code: 'STORE_DOWN', message: /its user may not do what the store does/ }
  await t.rejects(store.claim('CA1', owner('gw-1', 'a'), 0), narrowed)
  await t.rejects(store.beat(nodeRecord('gw-1')), narrowed)
  t.equal(await store.read('CA1'), null, 'nothing is half done')
  t.match(lines.join(''), /"reason":"its user may not [^\n]*does not carry out an operation/)
  await server.command('ACL', 'SETUSER', 'default', '+@all')
  t.equal((await store.claim('CA1', owner('gw-1', 'a'), 0)).owner.nonce, 'a')
})

t.test('the connection leaves a server that became a replica', async (t) => {
  if (!hasRedis(t)) return
  const { server, store, healed } = await redisStore(t)
  await server.command('REPLICAOF', '127.0.0.1', '1')
  await until(
    () =>
      store.claim('CA1', owner('gw-1', 'a'), 0).then(
        () => false,
        (error: Error) => error.message.includes('is a replica and takes no writes'),
      ),
    15_000,
    'the refusal of a replica',
  )
  await server.command('REPLICAOF', 'NO', 'ONE')
  await healed()
  t.equal((await store.claim('CA1', owner('gw-1', 'a'), 0)).owner.nonce, 'a')
})

t.test('after a Sentinel failover the store has its calls', async (t) => {
  if (!hasRedis(t)) return
  const master = await startRedis({ password: PASSWORD })
  const replica = await startRedis({ password: PASSWORD, replicaOf: master })
  const sentinel = await startSentinel({ master })
  t.teardown(() => Promise.all([sentinel, replica, master].map((server) => server.close())))
  const { store, healed } = await storeAt(t, sentinel.url)
  const { owner: token } = await store.claim('CA1', owner('gw-1', 'a'), 0)
  await store.save('CA1', token, { state: bytes(3) })
  const atReplica = (): Promise<unknown> => replica.command('HGET', 'fleet:call:CA1', 'state')
  // WAIT would speak of the writes of its own connection.
  await until(async () => (await atReplica()) === '\u0003', 15_000, 'the replica to have it')
  await sentinel.failover()
  t.equal(await sentinel.masterPort(), replica.port)
  // A write that the old master takes in its last moment is lost with it.
  await until(
    async () => {
      await store.save('CA1', token, { state: bytes(4) }).catch(() => undefined)
      return (await atReplica()) === '\u0004'
    },
    15_000,
    'a write to the new master',
  )
  await healed()
  t.same([...((await store.read('CA1'))?.state ?? [])], [4])
})

t.test("the store is down during another program's endless script", async (t) => {
  if (!hasRedis(t)) return
  const { server, store, healed } = await redisStore(t, { config: { 'busy-reply-threshold': '20' } })
  const endless = t.rejects(server.command('EVAL', 'while true do end', '0'), { message: /killed/i })
  await until(
    () =>
      server.command('PING').then(
        () => false,
        (error: Error) => error.message.includes('BUSY'),
      ),
    15_000,
    'the server to be busy',
  )
  await t.rejects(store.read('CA1'), { code: 'STORE_DOWN', message: /long script/ })
  await server.command('SCRIPT', 'KILL')
  await endless
  await healed()
})

t.test('entries of other programs and versions are refused by name', async (t) => {
  if (!hasRedis(t)) return
  const { server, store, lines } = await redisStore(t)
  const refused = (key: string, found: RegExp): { code: string; message: RegExp } => ({
    code: 'STORE_REFUSED',
    message: new RegExp(`${found.source}.*: fleet:call:${key}$`),
  })
  const token = { ...owner('gw-1', 'a'), epoch: 1 }
  await server.command('SET', 'fleet:call:text', 'siri')
  await server.command('HSET', 'fleet:call:hash', 'name', 'siri')
  await server.command('HSET', 'fleet:call:newer', 'format', '2', 'owner', 'siri')
  for (const [key, found] of [
    ['text', /is of another program/],
    ['hash', /is of another program/],
    ['newer', /has format 2, and this build reads format 1/],
  ] as const) {
    await t.rejects(store.read(key), refused(key, found))
    await t.rejects(store.claim(key, owner('gw-1', 'a'), 0), refused(key, found))
    await t.rejects(store.save(key, token, { state: bytes(1) }), refused(key, found))
    await t.rejects(store.attach(key, token, 'x'), refused(key, found))
    await t.rejects(store.over(key, token), refused(key, found))
  }
  t.same(await server.command('HGETALL', 'fleet:call:newer'), ['format', '2', 'owner', 'siri'], 'they stay as they are')

  const broken = await store.claim('broken', owner('gw-1', 'a'), 0)
  await store.save('broken', broken.owner, { append: [bytes(1), bytes(2)] })
  for (const [field, value] of [
    ['chunks', '3'],
    ['chunks', 'siri'],
    ['epoch', 'siri'],
    ['phase', 'siri'],
    ['node', ''],
  ] as const) {
    const before = (await server.command('HGET', 'fleet:call:broken', field)) as string
    await server.command('HSET', 'fleet:call:broken', field, value)
    await t.rejects(store.read('broken'), refused('broken', /is of another program/), `${field} ${value}`)
    await server.command('HSET', 'fleet:call:broken', field, before)
  }
  t.equal((await store.read('broken'))?.log.length, 2)

  await server.command('LPUSH', 'fleet:once:tool', 'siri')
  const once = { code: 'STORE_REFUSED', message: /: a value that is written once$/ }
  await t.rejects(store.once('tool', 'x', 1000), once)
  await t.rejects(store.settle('tool', 'x', 1000), once)

  await server.command('ZADD', 'fleet:calls-of:gw-1', '99999999999999', 'text', '99999999999999', 'nothing')
  t.same(await store.callsOf('gw-1'), [{ key: 'broken', incarnation: 'first' }])

  await server.command(
    'HSET',
    'fleet:nodes',
    'gw-2',
    'siri',
    'gw-3',
    '1 5 1 first {"name":"siri"}',
    'gw-4',
    '1 99999999999999 1 first {siri',
  )
  t.same((await store.beat(nodeRecord('gw-1'))).nodes, [], 'what was there before, as far as it can be read')
  await server.command('HSET', 'fleet:nodes', 'gw-1', 'siri')
  t.same((await store.beat(nodeRecord('gw-1', { beat: 2 }))).nodes, [])
  t.same(
    (await store.beat(nodeRecord('gw-1', { beat: 3 }))).nodes.map(({ name, beat }) => ({ name, beat })),
    [{ name: 'gw-1', beat: 2 }],
    'its own is written anew',
  )
  t.not(lines.filter((line) => line.includes('heartbeat')).length, 0)
  t.ok(store.ignored.entries >= 20)
  t.notMatch(lines.join(''), /siri/)
})

t.test('a closed store rejects pending and new operations', async (t) => {
  if (!hasRedis(t)) return
  const { server, store } = await redisStore(t)
  server.freeze()
  const waiting = store.read('CA1')
  await Promise.all([t.rejects(waiting, { code: 'STORE_DOWN' }), store.close()])
  await t.rejects(store.read('CA1'), { code: 'STORE_DOWN', message: /it is closed/ })
  await store.close()
})

t.test('the prefix separates two fleets and every key expires', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const [one, two] = [await openRedis([server], 'one:'), await openRedis([server], 'two:')]
  t.teardown(() => Promise.all([one.close(), two.close()]))
  for (const { store } of [one, two]) {
    const { owner: token } = await store.claim('CA1', owner('gw-1', 'a'), 0)
    await store.save('CA1', token, { state: bytes(1), append: [bytes(1)] })
    await store.attach('CA1', token, 'stream')
    await store.once('key', 'x', 1000)
    await store.beat(nodeRecord('gw-1'))
    t.equal((await store.beat(nodeRecord('gw-1', { beat: 2 }))).nodes.length, 1)
  }
  const keys = (await server.command('KEYS', '*')) as string[]
  t.equal(keys.length, 8)
  for (const key of keys) t.ok(Number(await server.command('PTTL', key)) > 0, `${key} expires`)
})

t.test('each script uses one key', async (t) => {
  for (const [name, lua] of Object.entries(SCRIPTS)) {
    t.notMatch(lua, /KEYS\[[^1]\]/, name)
    // A key that a script makes up itself may be in a slot of another server.
    const keyed = /redis\.p?call\('(?!TIME')[A-Z]+', (?!KEYS\[1\])/
    t.notMatch(lua, keyed, `${name}: each command is about its key`)
  }
})
