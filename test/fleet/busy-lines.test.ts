import t from 'tap'
import { BusyLines } from '../../src/fleet/busy-lines.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { createLog } from '../../src/telemetry/log.js'
import { newSid, post, ringing } from '../edge/gateway.js'
import { hasRedis, startRedis } from '../support/redis.js'
import { fleet } from './nodes.js'

const SECRETS = ['secret-of-nodes-in-a-test']
const AMINA = '+254700000001'
const shared = { secrets: SECRETS, clock: () => performance.now(), log: createLog({ level: 'silent' }) }

t.test('a number in a call at another node is busy', async (t) => {
  const it = await fleet(t, 2)
  const [mine, other] = it.gateways
  if (mine === undefined || other === undefined) throw new Error('no nodes')
  let starts = false
  const [lines] = it.nodes.map(
    (node, index) =>
      new BusyLines({
        ...{ ...shared, node, store: it.store },
        isBusyHere: (number) =>
          starts && index === 1
            ? null
            : [...(it.gateways[index]?.calls.live() ?? [])].some((call) => call.isOf(number)),
      }),
  )
  if (lines === undefined) throw new Error('no node')
  const asked = async (number = AMINA) => {
    const standing = await lines.hold(number, 'reminders r1')
    await lines.released(number, 'reminders r1')
    return standing
  }
  t.equal(await asked(), 'free')
  for (const gateway of [mine, other]) {
    const sid = newSid()
    await post(`${gateway.url}/voice/order-status`, { form: { ...ringing(sid), callerNumber: AMINA } })
    t.equal(await asked(), 'busy')
    t.equal(await asked('+254700000009'), 'free', 'others may be rung')
    gateway.calls.calls.delete(sid)
    t.equal(await asked(), 'free')
  }
  starts = true
  t.equal(await asked(), 'unknown', 'a node that starts does not know its calls yet')
  starts = false
  it.freeze(1)
  t.equal(await asked(), 'unknown', 'a node that does not answer may have a call of it')
})

t.test('a node of the previous version does not block rows', async (t) => {
  const it = await fleet(t, 2)
  const [node] = it.nodes
  if (node === undefined) throw new Error('no node')
  // The other one has no handler of the question.
  const lines = new BusyLines({ ...shared, node, store: it.store, isBusyHere: () => false })
  t.equal(await lines.hold(AMINA, 'reminders r1'), 'free')
})

t.test('only one of two nodes rings the same number', async (t) => {
  if (!hasRedis(t)) return
  const redis = await startRedis()
  t.teardown(() => redis.close())
  const node = { others: () => [], ask: () => Promise.reject(new Error('nobody')), onRequest: () => undefined }
  const open = async (secrets: readonly string[]): Promise<BusyLines> => {
    const store = await connectRedis({ url: redis.url, prefix: 'mkondo:', secrets, log: shared.log })
    t.teardown(() => store.close())
    return new BusyLines({ ...shared, secrets, node, store, isBusyHere: () => false })
  }
  const [one, two] = [await open(SECRETS), await open(['the-next-secret-of-nodes', ...SECRETS])]
  const both = await Promise.all([one.hold(AMINA, 'reminders r1'), two.hold(AMINA, 'call-backs r2')])
  t.same(both.toSorted(), ['busy', 'free'])
  const [holder, row] = both[0] === 'free' ? [one, 'reminders r1'] : [two, 'call-backs r2']
  t.equal(await holder.hold(AMINA, row), 'free', 'the same row again')
  const keys = (await redis.command('KEYS', '*line*')) as string[]
  t.ok(keys.length > 0)
  t.notMatch(JSON.stringify(keys), /2547/, 'and Redis learns no number')
  for (const key of keys) {
    t.ok(Number(await redis.command('PTTL', key)) <= 120_000, 'the entry of a dead node expires')
    t.notMatch(await redis.command('GET', key), /reminders|call-backs/)
  }
  await holder.released(AMINA, row)
  t.equal(await one.hold(AMINA, 'others r3'), 'free')
  await one.released(AMINA, 'another row')
  t.equal(await two.hold(AMINA, 'others r4'), 'busy', 'only its holder gives it back')
  await redis.kill()
  t.equal(await two.hold('+254700000007', 'others r4'), 'unknown', 'without the store nobody is rung')
})
