import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { hasProgram } from '../deploy/deploy-files.js'
import { judge, resumedMs, startFleet } from '../support/fleet.js'
import type { FleetNode } from '../support/fleet.js'
import { until } from '../support/until.js'
import { hasRedis } from '../support/redis.js'

/** Two real gateways, a real redis-server and a real HAProxy with the shipped configuration; more in fleet.slow.test.ts. */
t.test('two nodes behind a balancer are one gateway to the carrier', async (t) => {
  if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
  const fleet = await startFleet({ env: { SAUTIKIT_AFTER_STREAM: 'continues' } })
  t.teardown(() => fleet.close())
  const [first, second] = fleet.nodes as readonly [FleetNode, FleetNode]
  const other = (name: string | undefined): FleetNode => (name === first.name ? second : first)

  await t.test('a call whose webhooks all go to the node that does not have it', async (t) => {
    const call = fleet.call({
      to: (state) => (state === 'Ringing' ? first : call.owners.length === 0 ? undefined : other(call.owners[0])),
    })
    await until(() => call.owners.length > 0, 10_000, 'the stream')
    await sleep(500)
    call.hangUp()
    const result = await call.done
    t.match(judge([result]), { cut: [], failed: [], slow: [] })
    t.same(result.complaints, [])
    t.ok(
      result.webhooks.some(({ state }) => state === 'StreamStarted') &&
        result.webhooks.some(({ state }) => state === 'Completed'),
    )
  })

  await t.test(
    'a node is killed: its callers hear the agent again within 3 s, the others notice nothing',
    async (t) => {
      const calls = await fleet.calls(4)
      await sleep(1000)
      const victim = fleet.nodes.find(({ name }) => name === calls[0]?.owners[0]) as FleetNode
      await victim.kill()
      const lost = calls.filter(({ owners }) => owners[0] === victim.name)
      await until(() => lost.every(({ owners }) => owners.length === 2), 5000, 'a new stream for each lost call').catch(
        () => undefined, // the judgement below says which
      )
      await sleep(1500)
      for (const call of calls) call.hangUp()
      const results = await Promise.all(calls.map(({ done }) => done))
      const of = (some: typeof calls) => results.filter((_, i) => some.includes(calls[i] as (typeof calls)[number]))
      const others = judge(of(calls.filter((call) => !lost.includes(call))))
      t.match(others, { cut: [], failed: [], slow: [] })
      t.ok(others.gapMs < 2000, `the largest gap of the others: ${others.gapMs} ms`)
      t.same(
        judge(of(lost)).failed,
        [],
        `of ${JSON.stringify(of(lost).map(({ streams, webhooks }) => ({ streams, webhooks })))}`,
      )
      for (const result of of(lost)) {
        t.match(result.streams, [{ path: `/n/${victim.name}/audio` }, { path: `/n/${other(victim.name).name}/audio` }])
        const waited = resumedMs(result)
        t.ok(
          waited !== null && waited < 3000,
          `${result.callSid}: heard the agent again after ${waited ?? 'nothing'} ms`,
        )
      }
    },
  )
})
