import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { messagesOf, startReceiver } from '../../bench/kit/receiver.js'
import { hasProgram } from '../deploy/deploy-files.js'
import { judge, resumedMs, startFleet } from '../support/fleet.js'
import type { Fleet, FleetCall, FleetNode } from '../support/fleet.js'
import { hasRedis } from '../support/redis.js'
import { until } from '../support/until.js'

/** Nodes that reach each other late, and nodes that stand still. All real processes; judged from outside. */

/** Added to each piece between nodes, each way, and what one of twenty waits beside: it is sent again. */
const EACH_WAY_MS = 200
const LOST = { every: 20, ms: 400 }

async function arrivals(fleet: Fleet, ms: number): Promise<readonly FleetCall[]> {
  const calls: FleetCall[] = []
  for (const untilMs = performance.now() + ms; performance.now() < untilMs; await sleep(600)) calls.push(fleet.call())
  return calls
}

async function nobodyNotices(t: Test, calls: readonly FleetCall[], what: string): Promise<void> {
  await until(() => calls.every(({ owners }) => owners.length > 0), 10_000, 'streams').catch(() => undefined)
  for (const call of calls) call.hangUp()
  const { cut, failed } = judge(await Promise.all(calls.map(({ done }) => done)))
  t.same({ cut, failed }, { cut: [], failed: [] }, `${what}: ${calls.length} callers`)
}

/** Each call has one record, and its messages have come. */
async function complete(t: Test, fleet: Fleet, calls: readonly FleetCall[], receiver: Receiver): Promise<void> {
  const sids = calls.map(({ callSid }) => callSid).toSorted()
  t.same(await receiver.missing(messagesOf(sids), 60_000), [], 'messages')
  const records = (): readonly string[] => fleet.nodes.flatMap((node) => node.finalRecords()).toSorted()
  await until(() => records().length >= sids.length, 15_000, 'the records').catch(() => undefined)
  const ends = fleet.nodes.flatMap((node) =>
    node.records().map((each) => `${node.name} ${each.callSid} ${each.endReason}`),
  )
  t.same(records(), sids, 'one record each', { ends })
}
type Receiver = Awaited<ReturnType<typeof startReceiver>>

t.test('a slow, lossy network between nodes cuts no call [1]', async (t) => {
  if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
  const receiver = await startReceiver()
  t.teardown(() => receiver.close())
  const env = { SAUTIKIT_AFTER_STREAM: 'continues', MESSAGES_FILE: receiver.file }
  const fleet = await startFleet({ proxied: true, env })
  t.teardown(() => fleet.close())
  const before = await fleet.calls(4)
  for (const proxy of fleet.peerProxies) Object.assign(proxy, { eachWayMs: EACH_WAY_MS, stalls: LOST })
  const calls = await arrivals(fleet, 6000)
  await sleep(2000)
  await nobodyNotices(t, calls, 'while it is slow')
  const [victim] = fleet.nodes as readonly [FleetNode]
  const lost = before.filter(({ owners }) => owners[0] === victim.name)
  t.ok(lost.length > 0)
  await victim.kill()
  await until(() => lost.every(({ owners }) => owners.length > 1), 15_000, 'new streams').catch(() => undefined)
  await sleep(2000)
  for (const call of lost) call.hangUp()
  for (const result of await Promise.all(lost.map(({ done }) => done)))
    t.type(resumedMs(result), 'number', `${result.callSid} hears the agent again`)
  await nobodyNotices(
    t,
    before.filter((call) => !lost.includes(call)),
    'at the other node',
  )
  await victim.start()
  await complete(t, fleet, [...before, ...calls], receiver)
})

t.test('pauses of one node cut and refuse no call [2]', async (t) => {
  if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
  const receiver = await startReceiver()
  t.teardown(() => receiver.close())
  const fleet = await startFleet({ nodes: 3, env: { MESSAGES_FILE: receiver.file } })
  t.teardown(() => fleet.close())
  const before = await fleet.calls(3)
  const all = [...before]
  for (const [index, ms] of [1000, 3000, 10_000].entries()) {
    const node = fleet.nodes[index] as FleetNode
    node.pause()
    const calls = await arrivals(fleet, ms)
    node.resume()
    await sleep(4000)
    await nobodyNotices(t, calls, `${ms} ms`)
    all.push(...calls)
  }
  for (const call of before) call.hangUp()
  t.same(judge(await Promise.all(before.map(({ done }) => done))).cut, [], 'those that were live all the time')
  await complete(t, fleet, all, receiver)
})
