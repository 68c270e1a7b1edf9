import { deepStrictEqual } from 'node:assert'
import { once } from 'node:events'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import {
  CALL_TTL_MS,
  CLAIM_TTL_MS,
  NODE_FORGET_MS,
  NODES_MAX,
  OVER_TTL_MS,
  STORE_DEADLINE_MS,
  STORE_PATIENCE_MS,
  STORE_REST_MS,
  STORED_STREAMS_MAX,
  TALLY_PARTS_MAX,
} from '../../src/core/limits.js'
import { STORED_CALL_BYTES_MAX } from '../../src/fleet/call-keeper.js'
import type { CallStore, FleetView, OwnedKey, StoredCall } from '../../src/fleet/store/call-store.js'
import {
  ChannelStore,
  serveStore,
  STORE_WAITING_MAX,
  type StoreReply,
  type StoreRequest,
} from '../../src/fleet/store/channel-store.js'
import { GuardedStore } from '../../src/fleet/store/guarded-store.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import type { StoreOp } from '../../src/fleet/store/relayed-store.js'
import { hasRedis } from '../support/redis.js'
import {
  bytes,
  channelHome,
  clusterHome,
  forkStoreProcess,
  type Home,
  memoryHome,
  nodeRecord,
  type OpenStore,
  owner,
  PATIENCE_MS,
  redisHome,
} from './store-homes.js'

const SID = 'CA00000000000000000000000000000001'

t.test("the store in one process's memory", async (t) => {
  await holdsTheContract(t, memoryHome())
})

t.test("the store in another process's memory, over IPC", async (t) => {
  await holdsTheContract(t, await channelHome())
})

t.test('the store in Redis', async (t) => {
  if (hasRedis(t)) await holdsTheContract(t, await redisHome())
})

t.test('the store in a Redis Cluster of three masters', async (t) => {
  if (hasRedis(t)) await holdsTheContract(t, await clusterHome())
})

async function holdsTheContract(t: Test, home: Home): Promise<void> {
  t.teardown(() => home.close())
  const check = (name: string, run: (t: Test, open: OpenStore) => Promise<void>): Promise<unknown> =>
    t.test(name, async (t) => {
      const open = await home.open()
      t.teardown(() => open.close())
      await run(t, open)
    })

  await check('one of two nodes wins a simultaneous claim', async (t, { store, other }) => {
    const [one, two] = [owner('gw-1', 'nonce-1'), owner('gw-2', 'nonce-2')]
    const [seenByOne, seenByTwo] = await Promise.all([store.claim(SID, one, 0), other.claim(SID, two, 0)])
    t.same(seenByOne, seenByTwo)
    const winner = seenByOne.owner.node === 'gw-1' ? one : two
    t.same(seenByOne, { owner: { ...winner, epoch: 1 }, phase: 'claimed', state: null, log: [] })
    t.same(await other.read(SID), seenByOne)
  })

  await check('a takeover names the old epoch and raises it', async (t, { store, other }) => {
    const first = await store.claim(SID, owner('gw-1', 'a'), 0)
    const second = await other.claim(SID, owner('gw-2', 'b'), 1)
    t.same(second.owner, { ...owner('gw-2', 'b'), epoch: 2 })
    t.same((await store.claim(SID, owner('gw-3', 'c'), 1)).owner, second.owner, 'too late')
    t.same((await store.claim(SID, owner('gw-3', 'c'), 0)).owner, second.owner, 'it is not new either')
    t.equal(await store.save(SID, first.owner, { state: bytes(1) }), 'lost')
    t.equal(await store.attach(SID, first.owner, 'stream'), 'lost')
    t.equal(await store.over(SID, first.owner), 'lost')
    t.equal(await other.save(SID, second.owner, { state: bytes(2) }), 'ok')
  })

  await check('an unconfirmed claim expires and a confirmed claim stays', async (t, open) => {
    const { store } = open
    await store.claim(SID, owner('gw-1', 'a'), 0)
    const kept = await store.claim('kept', owner('gw-1', 'b'), 0)
    t.equal(await store.save('kept', kept.owner, {}), 'ok')
    t.equal((await store.read('kept'))?.phase, 'owned')
    await open.older(CLAIM_TTL_MS - 1000)
    t.not(await store.read(SID), null)
    await open.older(1001)
    t.equal(await store.read(SID), null)
    t.same(await store.callsOf('gw-1'), [{ key: 'kept', incarnation: 'first' }])
    t.same((await store.claim(SID, owner('gw-2', 'c'), 0)).owner.epoch, 1)
    await open.older(CALL_TTL_MS - 60_000)
    t.equal(await store.save('kept', kept.owner, {}), 'ok')
    await open.older(CALL_TTL_MS - 60_000)
    t.not(await store.read('kept'), null, 'a write renews it')
    await open.older(60_001)
    t.equal(await store.read('kept'), null)
    t.equal(await store.save('kept', kept.owner, {}), 'lost')
  })

  await check('the state survives a taker that dies before confirming', async (t, open) => {
    const { store } = open
    const first = await store.claim(SID, owner('gw-1', 'a'), 0)
    await store.save(SID, first.owner, { state: bytes(7), append: [bytes(1)] })
    await store.claim(SID, owner('gw-2', 'b'), 1)
    await open.older(CLAIM_TTL_MS + 1)
    const third = await store.claim(SID, owner('gw-3', 'c'), 2)
    t.same(third.owner, { ...owner('gw-3', 'c'), epoch: 3 })
    t.same(plain(third), { phase: 'claimed', state: [7], log: [[1]] })
  })

  await check('epochs continue after the store lost a call', async (t, { store, other }) => {
    const taken = await store.claim(SID, owner('gw-2', 'b'), 4)
    t.equal(taken.owner.epoch, 5)
    t.equal((await other.claim(SID, owner('gw-3', 'c'), 4)).owner.nonce, 'b')
  })

  await check('a save replaces or appends only the given parts', async (t, { store, other }) => {
    const { owner: token } = await store.claim(SID, owner('gw-1', 'a'), 0)
    const every = Uint8Array.from({ length: 256 }, (_, i) => i)
    await store.save(SID, token, { state: every, append: [bytes(1), bytes()] })
    t.same(plain(await other.read(SID)), { phase: 'owned', state: [...every], log: [[1], []] })
    await store.save(SID, token, { append: [bytes(0, 13, 10, 255)] })
    t.same(plain(await other.read(SID)), { phase: 'owned', state: [...every], log: [[1], [], [0, 13, 10, 255]] })
    await store.save(SID, token, { state: bytes(2), append: [bytes(9), bytes(8)], replace: true })
    t.same(plain(await other.read(SID)), { phase: 'owned', state: [2], log: [[9], [8]] })
    await store.save(SID, token, { replace: true })
    t.same(plain(await other.read(SID)), { phase: 'owned', state: [2], log: [] })
    await store.save(SID, token, { append: [bytes(5)] })
    t.same(plain(await other.read(SID)), { phase: 'owned', state: [2], log: [[5]] })
  })

  await check('the largest allowed state is returned unchanged', async (t, { store, other }) => {
    const { owner: token } = await store.claim(SID, owner('gw-1', 'a'), 0)
    const state = new Uint8Array(STORED_CALL_BYTES_MAX).fill(0xe5)
    t.equal(await store.save(SID, token, { state }), 'ok')
    t.ok(Buffer.from((await other.read(SID))?.state ?? []).equals(state))
  })

  await check('a stream token opens one stream', async (t, { store, other }) => {
    const { owner: token } = await store.claim(SID, owner('gw-1', 'a'), 0)
    const tries = await Promise.all([store.attach(SID, token, 'one'), other.attach(SID, token, 'one')])
    t.same(tries.sort(), ['ok', 'used'])
    t.equal(await store.attach(SID, token, 'two'), 'ok')
    const taken = await other.claim(SID, owner('gw-2', 'b'), 1)
    t.equal(await other.attach(SID, taken.owner, 'one'), 'used', 'a takeover does not make it new')
    for (let i = 2; i < STORED_STREAMS_MAX; i++) t.equal(await store.attach(SID, taken.owner, `more-${i}`), 'ok')
    t.equal(await store.attach(SID, taken.owner, 'one too many'), 'used')
    t.equal(await store.attach('unknown', token, 'one'), 'lost')
  })

  await check('an ended call stays ended', async (t, open) => {
    const { store, other } = open
    const { owner: token } = await store.claim(SID, owner('gw-1', 'a'), 0)
    await store.save(SID, token, { state: bytes(1), append: [bytes(2)] })
    t.equal(await store.over(SID, token), 'ok')
    const over = { owner: token, phase: 'over', state: null, log: [] } as const
    const { overAtMs = 0, ...read } = (await other.read(SID)) ?? {}
    t.ok(overAtMs > 0, 'with the time')
    t.same(read, over)
    t.equal(await store.save(SID, token, { state: bytes(3) }), 'lost')
    t.equal(await store.attach(SID, token, 'stream'), 'lost')
    t.same(await other.claim(SID, owner('gw-2', 'b'), 1), { ...over, overAtMs }, 'nobody takes it')
    t.same(await store.callsOf('gw-1'), [])
    await open.older(OVER_TTL_MS - 60_000)
    t.equal(await store.over(SID, token), 'ok', 'again does no harm')
    await open.older(60_001)
    t.equal(await store.read(SID), null, 'and does not renew it')
    t.equal(await store.over(SID, token), 'lost')
  })

  await check('the calls of a node include all its incarnations', async (t, { store, other }) => {
    const first = await store.claim('one', owner('gw-1', 'a', 'first'), 0)
    await store.save('one', first.owner, {})
    await store.claim('two', owner('gw-1', 'b', 'second'), 0)
    const third = await store.claim('three', owner('gw-1', 'c', 'second'), 0)
    await store.over('three', third.owner)
    await store.claim('four', owner('gw-10', 'd'), 0)
    t.same(byKey(await other.callsOf('gw-1')), [
      { key: 'one', incarnation: 'first' },
      { key: 'two', incarnation: 'second' },
    ])
    await other.claim('one', owner('gw-2', 'e'), 1)
    t.same(await store.callsOf('gw-1'), [{ key: 'two', incarnation: 'second' }])
    t.same(await store.callsOf('gw-2'), [{ key: 'one', incarnation: 'first' }])
    t.same(await store.callsOf('gw-3'), [])
  })

  await check('a value is written once, settled and expires', async (t, open) => {
    const { store, other } = open
    const tries = await Promise.all([store.once('key', 'of one', 5000), other.once('key', 'of two', 5000)])
    t.same(
      tries.filter((standing) => standing === null),
      [null],
    )
    const value = await store.once('key', 'late', 5000)
    t.ok(value === 'of one' || value === 'of two')
    t.equal(await other.standing('key'), value)
    t.equal(await other.standing('nobody wrote it'), null)
    await store.settle('key', '{"done":"ndiyo, ½"}', 10_000)
    await open.older(6000)
    t.equal(await other.once('key', 'late', 5000), '{"done":"ndiyo, ½"}', 'settling gave it its own time')
    await open.older(4001)
    await store.settle('key', 'nobody wrote it', 5000)
    t.equal(await store.once('key', 'new', 5000), null)
    t.equal(await store.once('', '', 5000), null, 'an empty one is a value too')
    t.equal(await store.once('', 'x', 5000), '')
  })

  await check('a value is replaced by one of two simultaneous swaps', async (t, open) => {
    const { store, other } = open
    const first = await Promise.all([store.swap('head', null, 'one', 5000), other.swap('head', null, 'two', 5000)])
    t.equal(first.filter((standing) => standing === null).length, 1)
    const now = await store.standing('head')
    t.ok(now === 'one' || now === 'two')
    t.equal(await other.swap('head', 'neither', 'x', 5000), now, 'who expects another one changes nothing')
    t.equal(await other.swap('head', null, 'x', 5000), now)
    const next = await Promise.all([store.swap('head', now, 'three', 60_000), other.swap('head', now, 'four', 60_000)])
    t.equal(next.filter((standing) => standing === now).length, 1)
    await open.older(6000)
    t.match(await store.standing('head'), /^(three|four)$/, 'it has its own time')
  })

  await check('each heartbeat returns all nodes and their last write', async (t, open) => {
    const { store, other } = open
    const one = nodeRecord('gw-1')
    const two = nodeRecord('gw-2', { internalUrl: null, callsByAgent: {}, afterStream: null, state: 'draining' })
    t.same(records(await store.beat(one)), [], 'what was there before')
    const seen = await other.beat(two)
    t.same(records(seen), [one])
    t.ok(writtenAt(seen, 'gw-1') <= seen.storeTimeMs)
    await open.older(5000)
    t.same(records(await store.beat({ ...one, beat: 2, free: 59 })), [one, two])
    const later = await store.beat({ ...one, beat: 1, free: 0 })
    t.same(records(later), [{ ...one, beat: 2, free: 59 }, two], 'one that comes late is only a read')
    t.ok(Math.abs(later.storeTimeMs - 5000 - writtenAt(later, 'gw-1')) <= 9000, 'as new as the view before it')
    t.ok(later.storeTimeMs - writtenAt(later, 'gw-2') >= 5000)
    t.same(records(await other.beat({ ...two, beat: 2 }))[0], { ...one, beat: 2, free: 59 })
    const again = nodeRecord('gw-1', { incarnation: 'second' })
    t.same(records(await store.beat(again))[0], { ...one, beat: 2, free: 59 }, 'who had the name')
    t.same(records(await store.beat({ ...again, beat: 1 }))[0], again, 'a new incarnation begins at 1')
  })

  await check('a node that stands still is forgotten', async (t, open) => {
    const { store, other } = open
    await store.beat(nodeRecord('gw-1'))
    await other.beat(nodeRecord('gw-2'))
    await store.leave('gw-1', 'another')
    t.equal((await other.beat(nodeRecord('gw-2', { beat: 2 }))).nodes.length, 2)
    await store.leave('gw-1', 'first')
    t.same(names(await other.beat(nodeRecord('gw-2', { beat: 3 }))), ['gw-2'])
    await store.leave('gw-9', 'never there')
    await open.older(NODE_FORGET_MS - 60_000)
    t.same(names(await store.beat(nodeRecord('gw-3'))), ['gw-2'])
    await open.older(60_001)
    t.same(names(await store.beat(nodeRecord('gw-3', { beat: 2 }))), ['gw-3'])
  })

  await check('each node adds its part to a shared sum', async (t, open) => {
    const { store, other } = open
    t.equal(await store.tally('spent', 'one', 1.5, 60_000), 0)
    t.equal(await other.tally('spent', 'two', 2.25, 60_000), 1.5)
    t.equal(await store.tally('spent', 'one', 1.5, 60_000), 2.25, 'again does no harm')
    t.equal(await store.tally('spent', 'one', 0.5, 60_000), 2.25)
    t.equal(await other.tally('spent', 'two', 0, 60_000), 1.5, 'a lower one is only a read')
    t.equal(await other.tally('another', 'two', 7, 60_000), 0)
    await open.older(60_001)
    t.equal(await store.tally('spent', 'one', 0, 60_000), 0, 'it is gone after its time')
    await Promise.all(Array.from({ length: TALLY_PARTS_MAX }, (_, i) => store.tally('full', `${i}`, 1, 60_000)))
    t.equal(await other.tally('full', 'one more', 5, 60_000), TALLY_PARTS_MAX)
    t.equal(await store.tally('full', '0', 3, 60_000), TALLY_PARTS_MAX - 1, 'who has a part counts on')
    t.equal(await other.tally('full', 'one more', 5, 60_000), TALLY_PARTS_MAX + 2, 'and the others see it')
  })

  await check('the number of nodes is bounded', async (t, { store }) => {
    for (let i = 1; i <= NODES_MAX; i++) await store.beat(nodeRecord(`gw-${i}`))
    await t.rejects(store.beat(nodeRecord('one-more')), { code: 'STORE_REFUSED', message: /256 nodes/ })
    t.equal((await store.beat(nodeRecord('gw-1', { beat: 2 }))).nodes.length, NODES_MAX, 'the others go on')
  })
}

function byKey(owned: readonly OwnedKey[]): readonly OwnedKey[] {
  return [...owned].sort((a, b) => (a.key < b.key ? -1 : 1))
}

t.test('the memory store drops its oldest entries and counts them', async (t) => {
  const store = new MemoryStore(Date.now, { calls: 3, once: 2 })
  const over = await store.claim('over', owner('gw-1', 'a'), 0)
  const live = await store.claim('live', owner('gw-1', 'b'), 0)
  await store.over('over', over.owner)
  await store.save('live', live.owner, {})
  await store.claim('third', owner('gw-1', 'c'), 0)
  await store.claim('fourth', owner('gw-1', 'd'), 0)
  t.equal(await store.read('over'), null)
  t.not(await store.read('live'), null)
  for (const key of ['one', 'two', 'three']) await store.once(key, 'x', 60_000)
  t.equal(await store.once('one', 'y', 60_000), null)
  t.same(store.counters, { callsDropped: 1, onceDropped: 2, nodesRefused: 0 })
})

t.test('memory and Redis answer any sequence of operations alike', async (t) => {
  if (!hasRedis(t)) return
  const homes = [memoryHome(), await redisHome()] as const
  t.teardown(() => Promise.all(homes.map((home) => home.close())))
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const [memory, redis] = await Promise.all([homes[0].open(), homes[1].open()])
      try {
        for (const [i, run] of steps.entries()) {
          const answers = [await run.on(memory), await run.on(redis)]
          deepStrictEqual(answers[1], answers[0], `step ${i}: ${run.name}`)
        }
      } finally {
        await Promise.all([memory.close(), redis.close()])
      }
    }),
    { numRuns: 60 },
  )
})

interface Step {
  readonly name: string
  readonly on: (open: OpenStore) => Promise<unknown>
}

const key = fc.constantFrom('CA1', 'CA2')
const node = fc.constantFrom('gw-1', 'gw-2')
const claimant = fc.record({
  node,
  incarnation: fc.constantFrom('first', 'second'),
  nonce: fc.constantFrom('a', 'b'),
})
const chunk = fc.uint8Array({ maxLength: 3 })
const change = fc.record(
  { state: chunk, append: fc.array(chunk, { maxLength: 3 }), replace: fc.boolean() },
  { requiredKeys: [] },
)

/** The token that stands there, so that most writes are those of an owner; now and then one that is not. */
async function tokenOf(store: CallStore, key: string, epochOff: number): Promise<StoredCall['owner']> {
  const token = (await store.read(key))?.owner ?? { ...owner('gw-1', 'a'), epoch: 1 }
  return { ...token, epoch: token.epoch + epochOff }
}

const beats = new WeakMap<OpenStore, Map<string, number>>()

/**
 * The next heartbeat of a run in this store, or its newest one again. Never a lower one after the run has left: no node
 * does so, and only Redis takes it for a replay.
 */
function beatOf(open: OpenStore, run: string, again: boolean): number {
  const ofRuns = beats.get(open) ?? new Map<string, number>()
  beats.set(open, ofRuns)
  const newest = ofRuns.get(run) ?? 0
  const beat = again && newest > 0 ? newest : newest + 1
  ofRuns.set(run, beat)
  return beat
}

const step: fc.Arbitrary<Step> = fc.oneof(
  fc
    .record({ key, claimant, epochOff: fc.constantFrom(0, 0, 0, 1, -1), fresh: fc.boolean() })
    .map(({ key, claimant, epochOff, fresh }) => ({
      name: `claim ${key} ${JSON.stringify(claimant)} ${epochOff} ${fresh}`,
      on: async ({ store }: OpenStore) => {
        const epoch = fresh ? 0 : ((await store.read(key))?.owner.epoch ?? 0) + epochOff
        return plainWithOwner(await store.claim(key, claimant, Math.max(0, epoch)))
      },
    })),
  fc.record({ key, change, epochOff: fc.constantFrom(0, 0, 0, 1) }).map(({ key, change, epochOff }) => ({
    name: `save ${key} ${JSON.stringify(change)} ${epochOff}`,
    on: async ({ store }: OpenStore) => store.save(key, await tokenOf(store, key, epochOff), change),
  })),
  key.map((key) => ({
    name: `read ${key}`,
    on: async ({ store }: OpenStore) => plainWithOwner(await store.read(key)),
  })),
  fc.record({ key, nonce: fc.constantFrom('s1', 's2') }).map(({ key, nonce }) => ({
    name: `attach ${key} ${nonce}`,
    on: async ({ store }: OpenStore) => store.attach(key, await tokenOf(store, key, 0), nonce),
  })),
  fc.record({ key, epochOff: fc.constantFrom(0, 1) }).map(({ key, epochOff }) => ({
    name: `over ${key} ${epochOff}`,
    on: async ({ store }: OpenStore) => store.over(key, await tokenOf(store, key, epochOff)),
  })),
  node.map((node) => ({
    name: `callsOf ${node}`,
    on: async ({ store }: OpenStore) => byKey(await store.callsOf(node)),
  })),
  fc.record({ key, value: fc.constantFrom('', 'x', 'y'), settle: fc.boolean() }).map(({ key, value, settle }) => ({
    name: `${settle ? 'settle' : 'once'} ${key} ${value}`,
    on: async ({ store }: OpenStore) => (settle ? store.settle(key, value, 60_000) : store.once(key, value, 60_000)),
  })),
  fc.record({ key, node, amount: fc.constantFrom(0, 1, 2.5) }).map(({ key, node, amount }) => ({
    name: `tally ${key} ${node} ${amount}`,
    on: async ({ store }: OpenStore) => store.tally(key, node, amount, 60_000),
  })),
  fc
    .record({ node, incarnation: fc.constantFrom('first', 'second'), again: fc.boolean() })
    .map(({ node, incarnation, again }) => ({
      name: `beat ${node} ${incarnation} ${again ? 'again' : 'next'}`,
      on: async (open: OpenStore) => {
        const beat = beatOf(open, `${node} ${incarnation}`, again)
        return records(await open.store.beat(nodeRecord(node, { beat, incarnation })))
      },
    })),
  fc.record({ node, incarnation: fc.constantFrom('first', 'second') }).map(({ node, incarnation }) => ({
    name: `leave ${node} ${incarnation}`,
    on: async ({ store }: OpenStore) => store.leave(node, incarnation),
  })),
  // Far from every expiry, because a moment passes between the two stores.
  fc.constantFrom(40_000, CALL_TTL_MS / 2 + 20_000, 1100).map((ms) => ({
    name: `older ${ms}`,
    on: async (open: OpenStore) => open.older(ms),
  })),
)

function plain(call: StoredCall | null): object | null {
  return call === null
    ? null
    : {
        phase: call.phase,
        state: call.state === null ? null : [...call.state],
        log: call.log.map((chunk) => [...chunk]),
      }
}

function plainWithOwner(call: StoredCall | null): object | null {
  return call === null ? null : { ...plain(call), owner: { ...call.owner } }
}

function records({ nodes }: FleetView): object[] {
  return nodes.map(({ writtenAtMs: _, ...record }) => record).sort((left, right) => left.name.localeCompare(right.name))
}

function names({ nodes }: FleetView): string[] {
  return nodes.map(({ name }) => name).sort()
}

function writtenAt({ nodes }: FleetView, name: string): number {
  return nodes.find((node) => node.name === name)?.writtenAtMs ?? Number.NaN
}

/** A guarded store at the end of a channel that the test stops and lets run. */
function guarded(t: Test, channelMs?: number) {
  const home = new MemoryStore(Date.now)
  const held: StoreRequest[] = []
  const serve = (request: StoreRequest): void => {
    void serveStore(home, request).then((reply) => {
      channel.received(reply)
    })
  }
  let stopped = false
  const channel: ChannelStore = new ChannelStore((request) => {
    if (stopped) held.push(request)
    else serve(request)
  }, channelMs)
  const tried: StoreOp[] = []
  let nowMs = 1000
  const store = new GuardedStore(channel, {
    clock: () => nowMs,
    onOp: (op, durationMs) => {
      t.ok(durationMs >= 0)
      tried.push(op)
    },
  })
  return {
    store,
    channel,
    home,
    tried,
    held,
    stop: () => {
      stopped = true
    },
    go: () => {
      stopped = false
      for (const request of held.splice(0)) serve(request)
    },
    pass: (ms: number) => {
      nowMs += ms
    },
  }
}

const silent = { code: 'STORE_DOWN', retryable: true, message: /did not answer within 250 ms$/ }
const rests = { code: 'STORE_DOWN', retryable: true, message: /is left alone for 1000 ms$/ }

t.test('an answering store is up and every operation is counted', async (t) => {
  const { store, tried } = guarded(t)
  t.ok(store.up)
  await store.once('key', 'x', 1000)
  await store.read('CA1')
  await store.read('CA1')
  t.ok(store.up)
  t.same(store.counters.read, { ok: 2, 'lost-deadline': 0, refused: 0, skipped: 0 })
  t.same(tried, ['once', 'read', 'read'])
})

t.test('after a missed deadline the store rests before another try', async (t) => {
  const { store, tried, held, stop, go, pass } = guarded(t)
  stop()
  const claim = owner('gw-1', 'my-nonce')
  await t.rejects(store.claim('CA1', claim, 0), silent)
  t.notOk(store.up)
  await t.rejects(store.read('CA1'), rests)
  pass(STORE_REST_MS - 1)
  await t.rejects(store.once('key', 'x', 1000), rests)
  t.equal(held.length, 1, 'the store was not asked')
  pass(1)
  const finds = store.read('CA1')
  await t.rejects(store.read('CA2'), rests, 'the others do not wait with it')
  await t.rejects(finds, silent)
  await t.rejects(store.read('CA1'), rests, 'another rest')

  pass(STORE_REST_MS)
  go()
  t.same((await store.read('CA1'))?.owner, { ...claim, epoch: 1 }, 'the claim that was given up has taken effect')
  t.ok(store.up)
  t.equal(await store.save('CA1', { ...claim, epoch: 1 }, { state: bytes(1) }), 'ok')
  t.same(store.counters.claim, { ok: 0, 'lost-deadline': 1, refused: 0, skipped: 0 })
  t.same(store.counters.read, { ok: 1, 'lost-deadline': 1, refused: 0, skipped: 3 })
  t.same(tried, ['claim', 'read', 'read', 'save'], 'what is skipped has no duration')
})

t.test('a patient operation is sent although the store rests', async (t) => {
  const { store, held, stop, go, pass } = guarded(t, STORE_PATIENCE_MS)
  stop()
  await t.rejects(store.read('CA1'), silent)
  const patient = store.patient.claim('CA1', owner('gw-1', 'my-nonce'), 0)
  t.equal(held.length, 2, 'it is asked')
  pass(STORE_DEADLINE_MS + 1)
  go()
  t.match(await patient, { owner: { nonce: 'my-nonce' }, phase: 'claimed' })
  await t.rejects(store.read('CA1'), rests, 'the others do not wait with it')
  t.match(await store.patient.read('CA1'), { phase: 'claimed' })
  t.match(await store.read('CA1'), { phase: 'claimed' }, 'one that came in time ends it')
})

t.test('a refused entry does not mark the store as down', async (t) => {
  const { store, channel } = guarded(t)
  for (let i = 0; i < 256; i++) await store.beat(nodeRecord(`gw-${i}`))
  await t.rejects(store.beat(nodeRecord('one-more')), { code: 'STORE_REFUSED', message: /256 nodes/ })
  t.ok(store.up)
  channel.closed()
  await t.rejects(store.read('CA1'), { code: 'STORE_DOWN', message: /its supervisor is gone/ })
  t.notOk(store.up)
  await t.rejects(store.read('CA1'), { code: 'STORE_DOWN', message: /its supervisor is gone/ })
  t.same(store.counters.read, { ok: 0, 'lost-deadline': 0, refused: 2, skipped: 0 })
})

t.test('the number of pending operations is bounded', async (t) => {
  const sent: StoreRequest[] = []
  const store = new ChannelStore((request) => sent.push(request))
  const waiting = Array.from({ length: STORE_WAITING_MAX }, () => store.read('CA1'))
  await t.rejects(store.read('CA1'), { code: 'STORE_DOWN', message: /1000 operations wait/ })
  t.equal(sent.length, STORE_WAITING_MAX)
  const results = await Promise.allSettled(waiting)
  t.ok(results.every((result) => result.status === 'rejected'))
  store.received({ type: 'stored', id: 1, value: null })
  const next = store.read('CA1')
  store.received({ type: 'stored', id: sent.at(-1)?.id ?? 0, value: null })
  t.equal(await next, null, 'and there is room again')
})

t.test('pending operations are rejected if the supervisor dies', async (t) => {
  const { child, tell } = forkStoreProcess()
  const store = new ChannelStore(tell, PATIENCE_MS)
  child.on('message', (reply: StoreReply) => {
    store.received(reply)
  })
  child.on('exit', () => {
    store.closed()
  })
  await once(child, 'spawn')
  child.kill('SIGSTOP')
  const waiting = t.rejects(store.read('CA1'), { code: 'STORE_DOWN', message: /its supervisor is gone/ })
  child.kill('SIGKILL')
  await waiting
  await t.rejects(store.read('CA1'), { code: 'STORE_DOWN', message: /its supervisor is gone/ })
})
