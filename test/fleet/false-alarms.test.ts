import t from 'tap'
import type { Test } from 'tap'
import { newSid, post, ringing } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { fleet } from './nodes.js'
import type { Fleet } from './nodes.js'

/** Less than what counts as a stall of the event loop, for longer than a node looks for calls of its runs before. */
const STEP_MS = 900
const STEPS = 15

/** A node on its own, after something ordinary has happened in its first minute: nobody may be told that a node is lost. */
async function quiet(t: Test, happens: (gateway: Gateway, it: Fleet) => Promise<unknown>): Promise<void> {
  const it = await fleet(t, 1)
  const [gateway, node] = [it.gateways[0] as Gateway, it.nodes[0]]
  for (let step = 0; step < STEPS; step++) {
    // An unconfirmed claim lasts for three seconds: here it happens again and again.
    await happens(gateway, it)
    it.aheadMs += STEP_MS
    await it.look()
  }
  t.same(node?.counters.takeOvers, { refused: 0, 'new-incarnation': 0, silent: 0, 'stream-over': 0 })
}

const voice = (gateway: Gateway, agent: string, form: Readonly<Record<string, string>>) =>
  post(`${gateway.url}/voice/${agent}`, { form })

t.test('two outbound calls that ring are no lost node', async (t) => {
  let rings = false
  await quiet(t, async (_gateway, { nodes: [node] }) => {
    if (rings) return
    rings = true
    for (const order of ['order-1', 'order-2']) {
      await node?.reserve(order)
      await node?.reserve(newSid())
    }
  })
})

t.test('a post to an unknown agent is no lost node', async (t) => {
  await quiet(t, async (gateway) => {
    t.equal((await voice(gateway, 'nobody', ringing(newSid()))).status, 200)
  })
})

t.test('a number that is busy is no lost node', async (t) => {
  await quiet(t, async (gateway) => {
    const busy = { ...ringing(newSid()), callSessionState: 'Busy', direction: 'outbound' }
    t.equal((await voice(gateway, 'order-status', busy)).status, 200)
  })
})

t.test('a stream that is said to be over late is no lost node', async (t) => {
  await quiet(t, async (gateway) => {
    const late = { ...ringing(newSid()), callSessionState: 'StreamStopped' }
    t.equal((await voice(gateway, 'order-status', late)).status, 200)
  })
})

t.test('a call that a run of the name before this one has left is taken over, and counted', async (t) => {
  const it = await fleet(t, 1)
  await it.store.claim(newSid(), { node: 'gw-0', incarnation: 'before', nonce: 'x' }, 0)
  for (let step = 0; step < STEPS; step++) {
    it.aheadMs += STEP_MS
    await it.look()
  }
  t.equal(it.nodes[0]?.counters.takeOvers['new-incarnation'], 1)
})
