import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { hasProgram } from '../deploy/deploy-files.js'
import { judge, resumedMs, startFleet } from '../support/fleet.js'
import type { Fleet, FleetCall, FleetNode } from '../support/fleet.js'
import { hasRedis } from '../support/redis.js'
import { until } from '../support/until.js'

/** The shipped files of both balancers before real gateways, as operators meet them. Judged from outside. */

const CALLS = 6

/** Rings twice a second while `happens`. @returns these callers */
async function arriving(fleet: Fleet, happens: () => Promise<void>): Promise<readonly FleetCall[]> {
  const calls: FleetCall[] = []
  const ringing = setInterval(() => calls.push(fleet.call()), 500)
  await happens().finally(() => clearInterval(ringing))
  await until(() => calls.every(({ owners }) => owners.length > 0), 10_000, 'a stream of each').catch(() => undefined)
  return calls
}

async function nobodyNotices(t: Test, calls: readonly FleetCall[], what: string): Promise<void> {
  for (const call of calls) call.hangUp()
  const { cut, failed, slow } = judge(await Promise.all(calls.map(({ done }) => done)))
  t.same({ cut, failed, slow }, { cut: [], failed: [], slow: [] }, what)
}

for (const balancer of ['haproxy', 'nginx'] as const)
  t.test(`reloading ${balancer} cuts no call and fails no webhook [1]`, async (t) => {
    if (!hasRedis(t) || !hasProgram(t, balancer, balancer === 'nginx' ? 'nginx-light' : balancer)) return
    const fleet = await startFleet({ balancer })
    t.teardown(() => fleet.close())
    const calls = await fleet.calls(CALLS)
    const later = await arriving(fleet, async () => {
      for (let reload = 0; reload < 3; reload++) {
        fleet.balancer.reload()
        await sleep(3000)
      }
    })
    await nobodyNotices(t, [...calls, ...later], `${calls.length + later.length} callers`)
  })

t.test('nginx survives a killed and a restarted node [2]', async (t) => {
  if (!hasRedis(t) || !hasProgram(t, 'nginx', 'nginx-light')) return
  const fleet = await startFleet({ balancer: 'nginx', env: { SAUTIKIT_AFTER_STREAM: 'continues' } })
  t.teardown(() => fleet.close())
  const [first, second] = fleet.nodes as readonly [FleetNode, FleetNode]
  const calls = await fleet.calls(CALLS)
  await sleep(1500)
  const meanwhile = await arriving(fleet, async () => {
    await first.kill()
    await sleep(4000)
  })
  const lost = calls.filter(({ owners }) => owners[0] === first.name)
  t.ok(lost.length > 0)
  t.ok(
    lost.every(({ owners }) => owners.length > 1),
    'each of its callers has another stream',
  )
  await sleep(2000)
  for (const call of lost) call.hangUp()
  const results = await Promise.all(lost.map(({ done }) => done))
  t.same(judge(results).failed, [], 'every webhook was answered')
  for (const result of results) t.type(resumedMs(result), 'number', `${result.callSid} hears the agent again`)
  await nobodyNotices(t, [...calls.filter((call) => !lost.includes(call)), ...meanwhile], 'the other callers')

  await first.start()
  const deploy = await arriving(fleet, async () => {
    const exit = second.drain()
    await exit
    await second.start()
  })
  await nobodyNotices(t, deploy, 'callers while a node is restarted')
})
