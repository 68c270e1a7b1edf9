import t from 'tap'
import { hasProgram } from '../deploy/deploy-files.js'
import { startFleet, untilStreams } from '../support/fleet.js'
import type { FleetNode } from '../support/fleet.js'
import { hasRedis } from '../support/redis.js'
import { until } from '../support/until.js'

t.test('a full disk keeps new calls off a node [1]', async (t) => {
  if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy') || !hasProgram(t, 'prlimit', 'util-linux')) return
  const fleet = await startFleet({ nodes: 2 })
  t.teardown(() => fleet.close())
  const [victim, other] = fleet.nodes as readonly [FleetNode, FleetNode]
  const calls = await fleet.calls(6)
  const his = calls.filter(({ owners }) => owners[0] === victim.name)
  t.ok(his.length > 0)
  victim.disk(false)
  for (const call of his) call.hangUp()
  await Promise.all(his.map(({ done }) => done))
  const ready = async (): Promise<string> => (await victim.ops('/readyz')).text()
  await until(async () => (await ready()).includes('disk-full'), 30_000, 'the full disk to be said')
  const later = Array.from({ length: 3 }, () => fleet.call())
  await untilStreams(later, 1, 30_000)
  t.same(
    later.map(({ owners }) => owners[0]),
    later.map(() => other.name),
  )
  t.equal(await victim.drain(), 0)
  const kept = (): number => his.filter(({ callSid }) => other.finalRecords().includes(callSid)).length
  await until(() => kept() === his.length, 10_000, 'their records at the other node').catch(() => undefined)
  t.equal(kept(), his.length, 'none is lost')
  for (const call of [...calls, ...later]) call.hangUp()
})
