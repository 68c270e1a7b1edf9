import t from 'tap'
import { hasProgram } from '../deploy/deploy-files.js'
import { judge, startFleet } from '../support/fleet.js'
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
    call.hangUp()
    const result = await call.done
    t.match(judge([result]), { cut: [], failed: [], slow: [] })
    t.same(result.complaints, [])
    t.ok(
      result.webhooks.some(({ state }) => state === 'StreamStarted') &&
        result.webhooks.some(({ state }) => state === 'Completed'),
    )
  })
})
