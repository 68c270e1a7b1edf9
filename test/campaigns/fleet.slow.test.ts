import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { campaignSchema } from '../../src/campaigns/campaign.js'
import type { Row } from '../../src/campaigns/campaign.js'
import { RedisDoNotCall, RedisQueue } from '../../src/campaigns/redis-queue.js'
import { Campaigns } from '../../src/campaigns/campaigns.js'
import { unrefTimer } from '../../src/core/clock.js'
import { parseCallSid } from '../../src/core/ids.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { outboundRecord, unreachedRecord } from '../../src/workers/main/call/call-record.js'
import { startRedisProxy } from '../support/redis-proxy.js'
import { parseRedisUrl } from '../../src/fleet/store/redis-url.js'
import { RestServer } from '../../src/carrier/rest-server.js'
import { Workspace } from '../../src/carrier/workspace.js'
import { createLog } from '../../src/telemetry/log.js'
import { hasRedis, startRedis } from '../support/redis.js'
import { comesUp, until } from '../support/until.js'
import { spawnOwn } from '../support/spawn-own.js'
import { NEW_ROW, UNBOUND } from './appointments.js'

const ROWS = 3000
/** A campaign has at most 6,000 calls a minute, so there are three of them. */
const CAMPAIGNS = ['reminders-1', 'reminders-2', 'reminders-3']
const SECRETS = ['token-secret-of-a-test']

const rowsOf = (count: number): Row[] =>
  Array.from({ length: count }, (_, n) => ({
    ...NEW_ROW,
    id: `r${n}`,
    campaign: CAMPAIGNS[n % CAMPAIGNS.length] ?? '',
    to: `+2547${String(10_000_000 + n)}`,
    variables: { name: 'Wanjiru' },
  }))

const runningCampaign = (id: string, rows: number) =>
  campaignSchema.parse({
    version: 1,
    id,
    name: id,
    agent: 'appointments',
    window: '00:00-24:00',
    timeZone: 'Africa/Nairobi',
    atOnce: 50,
    perMinute: 6000,
    tries: 1,
    state: 'running',
    why: null,
    createdAt: new Date().toISOString(),
    rows,
  })

t.test('3,000 rows are called once despite two killed nodes', async (t) => {
  if (!hasRedis(t)) return
  const redis = await startRedis()
  t.teardown(() => redis.close())
  const rung = new Map<string, number>()
  const workspace = new Workspace({
    owned: [{ id: 'n1', e164: '+254700000000', status: 'active', voiceUrl: null, eventsUrl: null }],
    inventory: [],
  })
  let calls = 0
  const carrier = await RestServer.start({
    workspace,
    keys: { tsk_0123456789: 'all' },
    port: 0,
    place: ({ to }) => {
      rung.set(to, (rung.get(to) ?? 0) + 1)
      return `HD_${String(++calls).padStart(12, '0')}`
    },
  })
  t.teardown(() => carrier.close())
  const address = parseRedisUrl(redis.url)
  if (address === undefined) throw new Error('no Redis')
  const queue = new RedisQueue({ address, prefix: 'mkondo:', secrets: SECRETS, log: createLog({ level: 'silent' }) })
  t.teardown(() => queue.close(0))
  const list = new RedisDoNotCall(queue, { secrets: SECRETS })
  await list.add('+254710000000', 'caller', Date.now())
  const rows = rowsOf(ROWS)
  for (const id of CAMPAIGNS) {
    const own = rows.filter(({ campaign }) => campaign === id)
    t.equal(await queue.add(id, own), own.length)
    t.equal(await queue.add(id, own.slice(0, 100)), 0, 'a row is there once')
    await queue.keep(runningCampaign(id, own.length))
  }
  const nodes: ChildProcess[] = []
  t.teardown(() => nodes.forEach((node) => node.kill('SIGKILL')))
  for (const name of ['gw-1', 'gw-2', 'gw-3']) {
    const file = fileURLToPath(new URL('./dialling-node.js', import.meta.url))
    const node = spawnOwn(process.execPath, [file, redis.url, carrier.origin, name], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    nodes.push(node)
    let isUp = false
    node.stdout.once('data', () => (isUp = true))
    await comesUp(node, () => isUp, 60_000, `node ${name}`)
  }
  for (const [index, share] of [0.15, 0.4].entries()) {
    await until(() => rung.size >= ROWS * share, 400_000, `${share} of the rows`)
    nodes[index]?.kill('SIGKILL')
  }
  await until(() => rung.size >= ROWS - 1, 400_000, 'all rows')
  const over = async (): Promise<number> => {
    const counts = await Promise.all(CAMPAIGNS.map((id) => queue.counts(id)))
    return counts.flatMap(({ results }) => Object.values(results)).reduce((sum, count) => sum + count, 0)
  }
  await until(async () => (await over()) === ROWS, 120_000, 'the rows of the dead nodes')
  const twice = [...rung.values()].filter((times) => times > 1).length
  t.equal(twice, 0, 'nobody is called twice')
  t.equal(rung.size, ROWS - 1)
  t.notOk(rung.has('+254710000000'), 'whoever wants no calls is not called')
  const kept = await Promise.all(CAMPAIGNS.map((id) => queue.rows(id)))
  const results = kept.flat().map(({ result }) => result)
  t.equal(results.length, ROWS)
  t.notOk(results.includes(null), 'each has a result')
  const uncertain = results.filter((result) => result === 'uncertain').length
  t.comment(`${uncertain} of ${ROWS} uncertain`)
  t.ok(uncertain <= 100, 'only what was on its way when a node was killed may be uncertain')
  const seen = JSON.stringify(await redis.command('HVALS', '{mkondo:campaigns}:do-not-call'))
  t.notMatch(seen, /710000000/, 'Redis has no number in clear')
})

t.test('rows are called once although answers of Redis are lost [1]', async (t) => {
  if (!hasRedis(t)) return
  const redis = await startRedis()
  t.teardown(() => redis.close())
  const proxy = await startRedisProxy(redis.url)
  t.teardown(() => proxy.close())
  const log = createLog({ level: 'silent' })
  const address = parseRedisUrl(proxy.url)
  if (address === undefined) throw new Error('no Redis')
  const claims = await connectRedis({ url: proxy.url, prefix: 'mkondo:', secrets: SECRETS, log })
  t.teardown(() => claims.close())
  const queue = new RedisQueue({ address, prefix: 'mkondo:', secrets: SECRETS, log })
  const rung = new Map<string, number>()
  const labels = new Set<string>()
  const campaigns: Campaigns = new Campaigns({
    ...UNBOUND,
    slots: () => ({ capacity: 100, free: 100 }),
    ...{ queue, claims, log, doNotCall: new RedisDoNotCall(queue, { secrets: SECRETS }) },
    // As the carrier does: one label rings once.
    place: ({ clientRequestId = '', to }) => {
      if (!labels.has(clientRequestId)) rung.set(to, (rung.get(to) ?? 0) + 1)
      labels.add(clientRequestId)
      const one = {
        ...{ agent: 'appointments', to, from: '+254700000000', clientRequestId, orderedAtMs: 0, ringMs: 0 },
        ...{ variables: {}, externalId: null, leaveMessage: true, promised: false, joins: null },
      }
      const end = { streamOpened: false, endReason: null, lastState: 'busy' as const, ringMs: 0 }
      unrefTimer(20, () =>
        campaigns.ended(
          unreachedRecord(one, parseCallSid('HD_row000000001'), outboundRecord(one, end), Date.now(), ''),
        ),
      )
      return Promise.resolve({ callSid: null })
    },
  })
  t.teardown(() => campaigns.close(0))
  await queue.add(
    'reminders-1',
    rowsOf(60).map((row) => ({ ...row, campaign: 'reminders-1' })),
  )
  await queue.keep(runningCampaign('reminders-1', 60))
  await campaigns.look()
  for (let cuts = 1; cuts <= 8; cuts++) {
    await until(() => rung.size >= cuts * 6, 60_000, `${cuts * 6} rows`)
    proxy.loseAnswer()
  }
  const over = async (): Promise<number> =>
    Object.values((await queue.counts('reminders-1')).results).reduce((sum, count) => sum + count, 0)
  await until(async () => (await over()) === 60, 120_000, 'all rows')
  t.equal(rung.size, 60)
  t.same(
    [...rung.values()].filter((times) => times > 1),
    [],
    'nobody is called twice',
  )
})
