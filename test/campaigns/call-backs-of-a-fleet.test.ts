import t from 'tap'
import { passedLimit } from '../../src/campaigns/call-back-limits.js'
import { CALL_BACKS } from '../../src/campaigns/campaign.js'
import type { Row } from '../../src/campaigns/campaign.js'
import { RedisQueue } from '../../src/campaigns/redis-queue.js'
import { parseRedisUrl } from '../../src/fleet/store/redis-url.js'
import { createLog } from '../../src/telemetry/log.js'
import { hasRedis, startRedis } from '../support/redis.js'
import { NEW_ROW } from './appointments.js'

const SECRETS = ['token-secret-of-a-test']
const LIMITS = { perNumberDay: 2, perNumberWeek: 4, perCallerDay: 3 }
const VICTIM = '+254700000101'

const back = (id: string, to: string, by: string): Row => ({
  ...NEW_ROW,
  ...{ id, to, campaign: CALL_BACKS, dueMs: Date.now() + 3_600_000, asked: { by, atMs: Date.now() } },
})

t.test('two nodes with simultaneous promises keep one call back', async (t) => {
  if (!hasRedis(t)) return
  const redis = await startRedis()
  t.teardown(() => redis.close())
  const address = parseRedisUrl(redis.url)
  if (address === undefined) throw new Error('no Redis')
  const log = createLog({ level: 'silent' })
  const nodes = [0, 1, 2].map(() => new RedisQueue({ address, prefix: 'mkondo:', secrets: SECRETS, log }))
  t.teardown(() => Promise.all(nodes.map((node) => node.close(1000))))
  const promise = async (node: number, row: Row) =>
    await nodes[node]?.promise(row, (others) => passedLimit(row, others, LIMITS, Date.now()))
  const [first] = nodes
  if (first === undefined) throw new Error('no node')

  // Of one victim by several callers, and by one caller of several.
  const ofVictim = await Promise.all([0, 1, 2].map((n) => promise(n, back(`v${n}`, VICTIM, `25470000020${n}`))))
  t.equal(ofVictim.filter((one) => one === true).length, 1)
  t.equal(ofVictim.filter((one) => one === 'open').length, 2)
  const ofCaller = await Promise.all(
    [0, 1, 2].map((n) => promise(n, back(`c${n}`, `+25470000030${n}`, '254700000209'))),
  )
  t.equal(ofCaller.filter((one) => one === true).length, 1)
  t.equal(ofCaller.filter((one) => one === 'caller-open').length, 2)
  t.equal((await first.rows(CALL_BACKS)).length, 2)

  const [mine] = (await first.rows(CALL_BACKS)).filter(({ to }) => to === VICTIM)
  t.equal(await promise(1, mine as Row), false, 'again it is the same row')
  await first.change(CALL_BACKS, (row) => (row.to === VICTIM ? { ...row, result: 'person' } : null))
  t.equal(await promise(2, back('v3', VICTIM, '254700000210')), true, 'the second of the day')
  await first.change(CALL_BACKS, (row) => (row.to === VICTIM ? { ...row, result: 'person' } : null))
  t.equal(await promise(0, back('v4', VICTIM, '254700000211')), 'number')
  t.equal(await promise(1, back('v6', '+254700000309', '254700000210')), true, 'a caller may have another')
  await first.change(CALL_BACKS, (row) => (row.id === 'v3' ? { ...row, to: '', result: 'erased' } : null))
  t.equal(await promise(0, back('v5', VICTIM, '254700000212')), true, 'what is erased is not counted')
  const keys = await first.redis.keys('*call-backs-*')
  t.notMatch(keys.join(), /25470/, 'and Redis learns no number')
})
