import t from 'tap'
import type { Test } from 'tap'
import { once } from 'node:events'
import { STORE_DEADLINE_MS, STORE_PATIENCE_MS, STORE_REST_MS } from '../../src/core/limits.js'
import { ChannelStore, STORE_WAITING_MAX, serveStore } from '../../src/fleet/channel-store.js'
import type { StoreReply, StoreRequest } from '../../src/fleet/channel-store.js'
import { GuardedStore } from '../../src/fleet/guarded-store.js'
import type { StoreOp } from '../../src/fleet/relayed-store.js'
import { MemoryStore } from '../../src/fleet/memory-store.js'
import { connectRedis } from '../../src/fleet/redis-store.js'
import { createLog } from '../../src/telemetry/log.js'
import { hasRedis, startRedis, waitFor } from '../support/redis.js'
import { SECRETS, PATIENCE_MS, bytes, forkStoreProcess, nodeRecord, owner } from './store-homes.js'

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

t.test('a store that answers is up, and every operation is counted', async (t) => {
  const { store, tried } = guarded(t)
  t.ok(store.up)
  await store.once('key', 'x', 1000)
  await store.read('CA1')
  await store.read('CA1')
  t.ok(store.up)
  t.same(store.counters.read, { ok: 2, 'lost-deadline': 0, refused: 0, skipped: 0 })
  t.same(tried, ['once', 'read', 'read'])
})

t.test('after one deadline the store rests, then one operation finds out whether it answers again', async (t) => {
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

t.test('who is patient waits while the store rests, and a late answer does not end its rest', async (t) => {
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

t.test('a store that is down at once needs no rest; one that refuses an entry is up', async (t) => {
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

t.test('a Redis that is frozen, behind the guard', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  const redis = await connectRedis({
    url: server.url,
    prefix: 'fleet:',
    secrets: SECRETS,
    log: createLog({ level: 'silent' }),
  })
  const store = new GuardedStore(redis, { clock: () => performance.now(), onOp: () => undefined })
  t.teardown(async () => {
    await store.close()
    await server.close()
  })
  await waitFor('the store to answer', () =>
    store.read('CA1').then(
      () => true,
      () => false,
    ),
  )
  const before = { ...store.counters.read }
  server.freeze()
  await t.rejects(store.read('CA1'), silent, 'the deadline is the one of the guard, and not that of ioredis')
  await t.rejects(store.read('CA1'), rests)
  t.same(store.counters.read, {
    ...before,
    'lost-deadline': before['lost-deadline'] + 1,
    skipped: before.skipped + 1,
  })
  server.thaw()
})

t.test('a process waits for a bounded number of answers, and late ones are dropped', async (t) => {
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

t.test('when the supervisor dies, what waits for its store rejects at once', async (t) => {
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
