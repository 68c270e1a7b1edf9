import { Cluster } from 'ioredis'
import t from 'tap'
import { CALL_TTL_MS, CLAIM_TTL_MS, NODES_MAX, NODE_FORGET_MS, OVER_TTL_MS } from '../../src/core/limits.js'
import { SCRIPTS } from '../../src/fleet/redis-scripts.js'
import { hasRedis, startCluster } from '../support/redis.js'

t.test('each script has one key, so that no two have to be in one slot', async (t) => {
  for (const [name, { numberOfKeys, lua }] of Object.entries(SCRIPTS)) {
    t.equal(numberOfKeys, 1, name)
    t.notMatch(lua, /KEYS\[[^1]\]/, name)
    // A key that a script makes up itself may be in a slot of another server.
    const keyed = /redis\.p?call\('(?!TIME')[A-Z]+', (?!KEYS\[1\])/
    t.notMatch(lua, keyed, `${name}: each command is about its key`)
  }
})

t.test('every script runs in a cluster of three masters, whatever slots its entries are in', async (t) => {
  if (!hasRedis(t)) return
  const servers = await startCluster()
  t.teardown(() => Promise.all(servers.map((server) => server.close())))
  const cluster = new Cluster(servers.map(({ port }) => ({ host: '127.0.0.1', port })))
  cluster.on('error', () => undefined)
  t.teardown(() => cluster.disconnect())
  for (const [name, script] of Object.entries(SCRIPTS)) cluster.defineCommand(`script-${name}`, script)
  const run = (name: keyof typeof SCRIPTS, key: string, ...args: readonly (string | number)[]): Promise<unknown> =>
    (cluster as unknown as Record<string, (...all: unknown[]) => Promise<unknown>>)[`script-${name}`]?.(
      `fleet:${key}`,
      ...args,
    ) ?? Promise.reject(new Error(`no command ${name}`))
  const owner = ['gw-1', 'first', 'nonce', 1]
  for (let i = 0; i < 12; i++) {
    const call = `call:HD_${i}`
    await run('claim', call, ...owner, 0, CLAIM_TTL_MS)
    t.equal(await run('save', call, ...owner, 1, CALL_TTL_MS, CALL_TTL_MS / 2, 0, 1, 'state', 'chunk'), 'new')
    await run('index', 'calls-of:gw-1', `HD_${i}`, CALL_TTL_MS)
    t.equal(await run('attach', call, ...owner, 'stream', 8), 'ok')
    t.match(await run('read', call), ['format', '1'])
    await run('once', `once:${i}`, 'x', 1000)
    await run('settle', `once:${i}`, 'y', 1000)
    if (i % 2 === 0) t.equal(await run('over', call, ...owner, OVER_TTL_MS), 'ok')
  }
  t.equal((await cluster.zrange('fleet:calls-of:gw-1', '0', '-1')).length, 12)
  t.equal((await cluster.hmget('fleet:call:HD_1', 'node', 'phase'))[1], 'owned')
  t.match(await run('beat', 'nodes', 'gw-1', 'first', 1, '{}', NODE_FORGET_MS, NODES_MAX, 0), [/^\d+$/])
  await run('leave', 'nodes', 'gw-1', 'first')
  const sizes = await Promise.all(servers.map(async (server) => Number(await server.command('DBSIZE'))))
  t.ok(
    sizes.every((size) => size > 0),
    `each master holds some of them: ${sizes.join(', ')}`,
  )
})
