import t from 'tap'
import type { ToolOutcome } from '../../src/agents/tools/tool.js'
import { GatewayError } from '../../src/core/errors.js'
import type { CallStore } from '../../src/fleet/store/call-store.js'
import { EFFECT_TTL_MS, StoredEffects } from '../../src/fleet/store/effects.js'
import { GuardedStore } from '../../src/fleet/store/guarded-store.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/until.js'
import { hasRedis, startRedis } from '../support/redis.js'
import { SECRETS } from './store-homes.js'

const log = createLog({ level: 'silent' })
const KEY = 'HD_1:refund:0123:0'
const DONE: ToolOutcome = { ok: true, value: { receipt: 'R-77' } }

function node(store: Pick<CallStore, 'once' | 'settle'>, ...secrets: readonly string[]): StoredEffects {
  return new StoredEffects({
    ...{ store, clock: () => performance.now(), log },
    secrets: secrets.length === 0 ? ['a secret of the fleet'] : secrets,
  })
}

/** As `node`, on a clock that goes on by so much with each look. */
function hasty(store: Pick<CallStore, 'once' | 'settle'>, stepMs: number): StoredEffects {
  let nowMs = 0
  return new StoredEffects({ store, clock: () => (nowMs += stepMs), log, secrets: ['a secret of the fleet'] })
}

/** The store, and what was written to it. */
function written(store: MemoryStore) {
  const entries = new Map<string, string>()
  return {
    entries,
    once: (key: string, value: string, ttlMs: number) => {
      entries.set(key, value)
      return store.once(key, value, ttlMs)
    },
    settle: (key: string, value: string, ttlMs: number) => {
      entries.set(key, value)
      return store.settle(key, value, ttlMs)
    },
  }
}

t.test('one node runs an effect, the others get its result', async (t) => {
  const store = new MemoryStore(Date.now)
  const [one, other] = [node(store), node(store)]
  t.same((await Promise.all([one.intend(KEY), other.intend(KEY)])).sort(), ['new', 'uncertain'])
  t.equal(await other.intend('HD_1:refund:0123:1'), 'new', 'another occurrence is another effect')
  one.settle(KEY, DONE)
  t.same(await other.intend(KEY), { result: DONE })
})

t.test('an intent and its result are forgotten after a day', async (t) => {
  let nowMs = 1_700_000_000_000
  const store = new MemoryStore(() => nowMs)
  t.equal(await node(store).intend(KEY), 'new')
  node(store).settle(KEY, DONE)
  nowMs += EFFECT_TTL_MS - 1
  t.same(await node(store).intend(KEY), { result: DONE })
  nowMs += 2
  t.equal(await node(store).intend(KEY), 'new')
})

t.test('effect keys and results are unreadable in the store', async (t) => {
  const store = written(new MemoryStore(Date.now))
  await node(store).intend(KEY)
  node(store).settle(KEY, DONE)
  const [[name = '', value = ''] = []] = [...store.entries]
  t.equal(store.entries.size, 1)
  t.notMatch(name + value + Buffer.from(value, 'base64').toString('latin1'), /HD_1|refund|R-77/)

  for (const forged of ['', 'done', Buffer.from(value, 'base64').fill(0, 40).toString('base64')]) {
    await store.settle(name, forged, EFFECT_TTL_MS)
    t.equal(await node(store).intend(KEY), 'uncertain', JSON.stringify(forged))
  }
  // A result that was moved to another key is not the result of that key.
  await node(store).intend('HD_1:refund:0123:1')
  const [, [second = ''] = []] = [...store.entries]
  await store.settle(second, value, EFFECT_TTL_MS)
  t.equal(await node(store).intend('HD_1:refund:0123:1'), 'uncertain')
})

t.test('intents stay valid while TOKEN_SECRET is replaced', async (t) => {
  for (const [first, second] of [
    [['old'], ['new', 'old']],
    [['new', 'old'], ['old']],
    [['new', 'old'], ['new']],
    [['new'], ['new', 'old']],
  ] as const) {
    const store = new MemoryStore(Date.now)
    t.equal(await node(store, ...first).intend(KEY), 'new')
    t.equal(await node(store, ...second).intend(KEY), 'uncertain', `${first.join()} then ${second.join()}`)
    node(store, ...first).settle(KEY, DONE)
    t.same(await node(store, ...second).intend(KEY), { result: DONE })
  }
})

t.test('a request stored twice is one intent', async (t) => {
  const store = new MemoryStore(Date.now)
  const twice = {
    settle: store.settle.bind(store),
    once: async (key: string, value: string, ttlMs: number) => {
      await store.once(key, value, ttlMs)
      return store.once(key, value, ttlMs)
    },
  }
  t.equal(await node(twice).intend(KEY), 'new')
})

t.test('a retried intent is stored under its own value [1]', async (t) => {
  const store = new MemoryStore(Date.now)
  const sent: string[] = []
  const slow = {
    settle: store.settle.bind(store),
    once: async (key: string, value: string, ttlMs: number) => {
      sent.push(value)
      const standing = await store.once(key, value, ttlMs)
      // Redis carried the first one out, and its answer came too late.
      if (sent.length === 1) throw new GatewayError('STORE_DOWN', 'it did not answer', { retryable: true })
      return standing
    },
  }
  t.equal(await node(slow).intend(KEY), 'new')
  t.equal(new Set(sent).size, 1)
  t.equal(sent.length, 2)
  t.equal(await node(store).intend(KEY), 'uncertain', 'another node sees it')
})

t.test('the same call finds an intent that was stored late', async (t) => {
  const store = new MemoryStore(Date.now)
  let isAway = true
  const late = {
    settle: store.settle.bind(store),
    once: async (key: string, value: string, ttlMs: number) => {
      const standing = await store.once(key, value, ttlMs)
      if (isAway) throw new GatewayError('STORE_DOWN', 'it did not answer', { retryable: true })
      return standing
    },
  }
  const effects = hasty(late, 1000)
  t.equal(await effects.intend(KEY), 'store-down')
  isAway = false
  t.equal(await node(store).intend(KEY), 'uncertain', 'another node')
  t.equal(await effects.intend(KEY), 'new', 'it did not run, so it may now')
  t.equal(await effects.intend(KEY), 'uncertain', 'once')
})

t.test('all tries of an intent share one deadline', async (t) => {
  let tries = 0
  const slow = {
    settle: () => Promise.resolve(),
    once: (): Promise<string | null> =>
      ++tries > 1
        ? new Promise(() => undefined)
        : Promise.reject(new GatewayError('STORE_DOWN', 'it did not answer', { retryable: true })),
  }
  t.equal(await hasty(slow, 800).intend(KEY), 'store-down')
  t.equal(tries, 2, 'and the second is not waited for')
})

t.test('an effect whose result is not stored stays uncertain [2]', async (t) => {
  if (!hasRedis(t)) return
  const redis = await startRedis()
  t.teardown(() => redis.close())
  const [one, other] = await Promise.all(
    [1, 2].map(async () => {
      const store = await connectRedis({ url: redis.url, prefix: 'effects:', secrets: SECRETS, log })
      t.teardown(() => store.close())
      return store
    }),
  )
  if (one === undefined || other === undefined) throw new Error('two stores')
  t.equal(await node(one).intend(KEY), 'new')
  t.equal(await node(other).intend(KEY), 'uncertain')
  redis.freeze()
  const frozen = node(new GuardedStore(other, { clock: () => performance.now(), onOp: () => undefined }).patient)
  t.equal(await frozen.intend('HD_1:refund:0123:1'), 'store-down')
  redis.thaw()
  await redis.kill()
  const gone = node(one)
  t.equal(await gone.intend('HD_1:refund:0123:2'), 'store-down')
  gone.settle(KEY, DONE)
  await until(() => gone.resultsLost === 1, 10_000, 'the lost result to be counted')
})
