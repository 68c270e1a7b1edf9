import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { resumedMs, startFleet, untilStreams } from '../support/fleet.js'
import { hasProgram } from '../deploy/deploy-files.js'
import { hasRedis } from '../support/redis.js'
import { until } from '../support/until.js'

t.test('a single gateway resumes its calls after being killed', async (t) => {
  if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
  const fleet = await startFleet({ alone: true })
  t.teardown(() => fleet.close())
  const [gateway] = fleet.nodes
  if (gateway === undefined) throw new Error('there is no gateway')
  const calls = await fleet.calls(3)
  await sleep(2500) // their states go to the disk once a second
  for (let deaths = 1; deaths <= 2; deaths++) {
    await gateway.kill()
    // HAProxy tries for 9 s, once a second; a start takes some two.
    await gateway.start()
    await untilStreams(calls, deaths + 1, 20_000)
    await sleep(2500)
  }
  for (const call of calls) call.hangUp()
  for (const result of await Promise.all(calls.map(({ done }) => done))) {
    t.notOk(result.verbs.includes('Hangup'), 'nobody is turned away')
    t.ok((resumedMs(result) ?? Infinity) < 20_000, `heard again after ${resumedMs(result)} ms`)
  }
  await until(() => gateway.finalRecords().length >= 3, 10_000, 'the records')
  await sleep(1000)
  t.same([...gateway.finalRecords()].sort(), calls.map(({ callSid }) => callSid).sort(), 'one record each')
  const record = (await (await gateway.ops(`/api/calls/${calls[0]?.callSid ?? ''}`)).json()) as { resumed: unknown[] }
  t.equal(record.resumed.length, 2, 'of the whole call')
})
