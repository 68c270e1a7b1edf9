import t from 'tap'
import type { Test } from 'tap'
import { SUSPECT_MS } from '../../src/core/limits.js'
import { NodeProof } from '../../src/fleet/node-proof.js'
import { Ownership } from '../../src/fleet/ownership.js'
import type { OwnershipOutput } from '../../src/fleet/ownership-events.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { createLog } from '../../src/telemetry/log.js'
import { PATIENCE_MS, SECRETS, nodeRecord } from '../fleet/store-homes.js'
import { hasRedis, startRedis } from '../support/redis.js'
import type { RedisServer } from '../support/redis.js'

// Somebody who writes to Redis, and does not have TOKEN_SECRET.

async function storeOf(t: Test, server: RedisServer, secrets: readonly string[] = SECRETS) {
  const lines: string[] = []
  const log = createLog({ destination: { write: (line) => lines.push(line) } })
  const store = await connectRedis({ url: server.url, prefix: 'fleet:', secrets, log, deadlineMs: PATIENCE_MS })
  t.teardown(() => store.close())
  return { store, lines }
}

async function redis(t: Test): Promise<RedisServer> {
  const server = await startRedis()
  t.teardown(() => server.close())
  return server
}

const stored = (record: object & { beat: number; incarnation: string }, json: string): string =>
  `1 99999999999999 ${record.beat} ${record.incarnation} ${json}`

t.test("a node record without the secret's proof is ignored", async (t) => {
  if (!hasRedis(t)) return
  const server = await redis(t)
  const { store, lines } = await storeOf(t, server)
  const ours = nodeRecord('gw-1')
  await store.beat(ours)
  const fake = nodeRecord('gw-9', { internalUrl: 'http://10.66.66.66:9600' })
  const stranger = new NodeProof(['a-strangers-secret']).sign({ ...fake, storeTimeMs: 0 })
  const proof = new NodeProof(SECRETS)
  const genuine = proof.sign({ ...nodeRecord('gw-2'), storeTimeMs: 0 })
  for (const [what, name, text] of [
    ['without a proof', 'gw-9', stored(fake, JSON.stringify({ ...fake, storeTimeMs: 0 }))],
    ['of another secret', 'gw-9', stored(fake, stranger)],
    ['with another address', 'gw-2', stored(fake, genuine.replace('gw-2.internal', '10.66.66.66'))],
    ['under another name', 'gw-9', stored(fake, genuine)],
    ['with another beat', 'gw-2', stored({ ...fake, beat: 7 }, genuine)],
    ['of another run', 'gw-2', stored({ ...fake, incarnation: 'second' }, genuine)],
    ['with a proven part', 'gw-2', stored(fake, genuine.replace('}', ',"internalUrl":"http://10.66.66.66:9600"}'))],
    ['with something behind it', 'gw-2', stored(fake, genuine.replace(/\}$/, ',"free":9}'))],
  ] as const) {
    await server.command('HSET', 'fleet:nodes', name, text)
    const before = store.ignored.unproven
    t.same(
      (await store.beat({ ...ours, beat: 2 })).nodes.map(({ name: seen }) => seen),
      ['gw-1'],
      what,
    )
    t.equal(store.ignored.unproven, before + 1, what)
    await server.command('HDEL', 'fleet:nodes', name)
  }
  t.ok(lines.some((line) => line.includes('no node with our TOKEN_SECRET wrote')))
  await server.command('HSET', 'fleet:nodes', 'gw-2', stored(nodeRecord('gw-2'), genuine))
  t.equal((await store.beat({ ...ours, beat: 3 })).nodes.length, 2, 'and the genuine one is')
})

t.test('a proven node keeps its place despite overwritten records', async (t) => {
  if (!hasRedis(t)) return
  const server = await redis(t)
  const [one, two] = [await storeOf(t, server), await storeOf(t, server)]
  await one.store.beat(nodeRecord('gw-1'))
  await two.store.beat(nodeRecord('gw-2', { beat: 5 }))
  t.equal((await one.store.beat(nodeRecord('gw-1', { beat: 2 }))).nodes.length, 2)
  await server.command(
    'HSET',
    'fleet:nodes',
    'gw-2',
    stored({ beat: 9_999_999, incarnation: 'first' }, '{}'),
    'gw-1',
    'x',
  )
  const view = await one.store.beat(nodeRecord('gw-1', { beat: 3 }))
  t.match(
    view.nodes
      .map(({ name, beat, internalUrl }) => ({ name, beat, internalUrl }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    [
      { name: 'gw-1', beat: 1 },
      { name: 'gw-2', beat: 5, internalUrl: 'http://gw-2.internal:9600' },
    ],
  )
  await two.store.beat(nodeRecord('gw-2', { beat: 6 }))
  await two.store.beat(nodeRecord('gw-2', { beat: 7 }))
  const after = await one.store.beat(nodeRecord('gw-1', { beat: 4 }))
  t.equal(after.nodes.find(({ name }) => name === 'gw-2')?.beat, 7, 'a beat beyond all of its own does not silence it')
})

t.test('both secrets of a rotation prove a node', async (t) => {
  if (!hasRedis(t)) return
  const server = await redis(t)
  const before = await storeOf(t, server, ['old-secret'])
  const during = await storeOf(t, server, ['new-secret', 'old-secret'])
  const after = await storeOf(t, server, ['new-secret'])
  await before.store.beat(nodeRecord('gw-1'))
  t.equal((await during.store.beat(nodeRecord('gw-2'))).nodes.length, 1)
  t.same(
    (await after.store.beat(nodeRecord('gw-3'))).nodes.map(({ name }) => name),
    ['gw-2'],
  )
})

t.test('replayed old heartbeats revive no run', async (t) => {
  if (!hasRedis(t)) return
  const server = await redis(t)
  const [one, two] = [await storeOf(t, server), await storeOf(t, server)]
  const recorded: string[] = []
  for (let beat = 1; beat <= 4; beat++) {
    await two.store.beat(nodeRecord('gw-2', { beat }))
    await one.store.beat(nodeRecord('gw-1', { beat }))
    recorded.push(String(await server.command('HGET', 'fleet:nodes', 'gw-2')))
  }
  for (const [i, old] of recorded.entries()) {
    await server.command('HSET', 'fleet:nodes', 'gw-2', old)
    const view = await one.store.beat(nodeRecord('gw-1', { beat: 10 + i }))
    t.equal(view.nodes.find(({ name }) => name === 'gw-2')?.beat, 4, 'its heartbeat stands still')
  }
  t.ok(one.store.ignored.late >= 3)
})

t.test('an unproven or dead rival does not end a node', async (t) => {
  const outputs: OwnershipOutput[] = []
  const node = new Ownership({ name: 'gw-1', incarnation: 'ours', startedAtMs: 2000, random: () => 0.5 })
  let nowMs = 0
  let beat = 0
  const view = (writtenAtMs: number): void => {
    nowMs += 1000
    const rival = { ...nodeRecord('gw-1', { incarnation: 'rival', startedAtMs: 1000, beat: ++beat }), writtenAtMs }
    node.handle(
      {
        type: 'beat-done',
        askedMs: nowMs - 1,
        view: { nodes: [rival], storeTimeMs: 1_000_000 + nowMs },
        wallMs: 1_000_000 + nowMs,
      },
      nowMs,
    )
    for (let output = node.poll(); output !== null; output = node.poll()) outputs.push(output)
  }
  for (let i = 0; i < 12; i++) view(1_000_000 - SUSPECT_MS)
  t.notOk(
    outputs.some(({ type }) => type === 'exit'),
    'heartbeats of the run before, which somebody recorded and writes again',
  )
  for (let i = 0; i < 3; i++) view(1_000_000 + nowMs)
  t.ok(
    outputs.some(({ type }) => type === 'exit'),
    'one that lives does',
  )
})
