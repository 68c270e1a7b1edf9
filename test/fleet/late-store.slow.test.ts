import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { hasProgram } from '../deploy/deploy-files.js'
import { judge, resumedMs, startFleet } from '../support/fleet.js'
import type { Fleet, FleetCall, FleetNode } from '../support/fleet.js'
import { hasRedis } from '../support/redis.js'
import { until } from '../support/until.js'

/** Gateways, Redis behind a proxy that delays, and HAProxy, all real processes. Judged from outside. */

/** Calls that all come to one node, which is fuller than the other, so that it claims them for that one. */
async function arrivals(fleet: Fleet, count: number): Promise<readonly FleetCall[]> {
  const [first] = fleet.nodes as readonly [FleetNode]
  const calls: FleetCall[] = []
  for (let i = 0; i < count; i++) {
    calls.push(fleet.call({ to: (state) => (state === 'Ringing' ? first : undefined) }))
    await sleep(150)
  }
  return calls
}

t.test('a slow or frozen store cuts no call [1]', async (t) => {
  if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
  const fleet = await startFleet({ env: { MAX_CALLS: '30' } })
  t.teardown(() => fleet.close())
  const { redis, redisProxy } = fleet
  const claimsWait = (ms: number) => async (): Promise<readonly FleetCall[]> => {
    redisProxy.claimWaitsMs = ms
    const calls = await arrivals(fleet, 10)
    redisProxy.claimWaitsMs = 0
    return calls
  }
  const faults: Readonly<Record<string, () => Promise<readonly FleetCall[]>>> = {
    'answers to claims 400 ms late': async () => {
      redisProxy.claimAnswerMs = 400
      const calls = await arrivals(fleet, 10)
      redisProxy.claimAnswerMs = 0
      return calls
    },
    'claims carried out 1.5 s late': claimsWait(1500),
    'claims carried out 3 s late': claimsWait(3000),
    'Redis standing still for 3 s': async () => {
      redis.freeze()
      const calls = await arrivals(fleet, 20)
      redis.thaw()
      return calls
    },
  }
  const before = [...(await fleet.calls(4)), ...(await arrivals(fleet, 4))]
  for (const [fault, happens] of Object.entries(faults)) {
    const calls = await happens()
    await until(() => calls.every(({ owners }) => owners.length > 0), 10_000, 'streams').catch(() => undefined)
    // By then each late claim was carried out, and every call is confirmed.
    await sleep(5000)
    for (const call of calls) call.hangUp()
    const { cut, failed } = judge(await Promise.all(calls.map(({ done }) => done)))
    t.same({ cut, failed }, { cut: [], failed: [] }, fault)
  }
  for (const call of before) call.hangUp()
  t.same(judge(await Promise.all(before.map(({ done }) => done))).cut, [], 'those that were live before')
})

t.test('a full node forwards calls although Redis is frozen [2]', async (t) => {
  if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
  const fleet = await startFleet({ env: { MAX_CALLS: '12' } })
  t.teardown(() => fleet.close())
  const before = await fleet.calls(4)
  fleet.redis.freeze()
  const calls = [...before, ...(await arrivals(fleet, 18))]
  fleet.redis.thaw()
  await until(() => calls.every(({ owners }) => owners.length > 0), 10_000, 'streams').catch(() => undefined)
  await sleep(5000)
  for (const call of calls) call.hangUp()
  const { cut, failed } = judge(await Promise.all(calls.map(({ done }) => done)))
  t.same({ cut, failed }, { cut: [], failed: [] })
  t.same([...new Set(calls.map(({ owners }) => owners[0]))].sort(), ['gw-1', 'gw-2'])
})

for (const when of ['afterwards', 'meanwhile'])
  t.test(`calls begun under slow Redis survive a death ${when} [3]`, async (t) => {
    if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
    const fleet = await startFleet({ env: { MAX_CALLS: '30' } })
    t.teardown(() => fleet.close())
    const [victim] = fleet.nodes as readonly [FleetNode]
    const before = await fleet.calls(4)
    fleet.redisProxy.eachWayMs = 400
    const calls = [...before, ...(await arrivals(fleet, 8))]
    await until(() => calls.every(({ owners }) => owners.length > 0), 10_000, 'streams')
    if (when === 'afterwards') fleet.redisProxy.eachWayMs = 0
    // The next heartbeat, the claims of these calls, and what is kept of them.
    await sleep(5000)
    const lost = calls.filter(({ owners }) => owners[0] === victim.name)
    t.ok(lost.length > 2, 'some came to it while Redis was slow')
    await victim.kill()
    await until(() => lost.every(({ owners }) => owners.length > 1), 10_000, 'new streams').catch(() => undefined)
    await sleep(1500)
    for (const call of calls) call.hangUp()
    const results = await Promise.all(calls.map(({ done }) => done))
    t.same(
      results.filter((result, i) => lost.includes(calls[i] as FleetCall) && resumedMs(result) === null),
      [],
    )
    t.same(judge(results.filter((_, i) => !lost.includes(calls[i] as FleetCall))).cut, [], 'callers of the other node')
  })
