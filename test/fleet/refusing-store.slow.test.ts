import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { messagesOf, startReceiver } from '../../bench/kit/receiver.js'
import { hasProgram } from '../deploy/deploy-files.js'
import { judge, startFleet } from '../support/fleet.js'
import type { FleetCall } from '../support/fleet.js'
import { hasRedis } from '../support/redis.js'
import { until } from '../support/until.js'

/** Gateways whose Redis answers and refuses. All real processes; judged from outside. */

/** What an operator does to Redis, and how it is undone. */
const REFUSALS: Readonly<Record<string, readonly [readonly string[], readonly string[]]>> = {
  'its memory is full': [
    ['CONFIG', 'SET', 'maxmemory', '1'],
    ['CONFIG', 'SET', 'maxmemory', '0'],
  ],
  'its user may not write': [
    ['ACL', 'SETUSER', 'default', '-@write'],
    ['ACL', 'SETUSER', 'default', '+@all'],
  ],
  'its user may not run scripts': [
    ['ACL', 'SETUSER', 'default', '-@scripting'],
    ['ACL', 'SETUSER', 'default', '+@all'],
  ],
  'its user may use the keys of calls alone': [
    ['ACL', 'SETUSER', 'default', 'resetkeys', '~mkondo:call:*'],
    ['ACL', 'SETUSER', 'default', '~*'],
  ],
}

t.test('no call is cut while Redis refuses operations [1]', async (t) => {
  if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
  const receiver = await startReceiver()
  t.teardown(() => receiver.close())
  const fleet = await startFleet({ env: { MESSAGES_FILE: receiver.file } })
  t.teardown(() => fleet.close())
  const before = await fleet.calls(2)
  const all: FleetCall[] = [...before]
  for (const [why, [refuse, undo]] of Object.entries(REFUSALS)) {
    await fleet.redis.command(...refuse)
    const calls: FleetCall[] = []
    for (let i = 0; i < 6; i++) {
      calls.push(fleet.call())
      await sleep(600)
    }
    // Half of them end meanwhile.
    for (const call of calls.slice(0, 3)) call.hangUp()
    await Promise.all(calls.slice(0, 3).map(({ done }) => done))
    await sleep(1500)
    await fleet.redis.command(...undo)
    await sleep(3000)
    for (const call of calls) call.hangUp()
    const { cut, failed } = judge(await Promise.all(calls.map(({ done }) => done)))
    t.same({ cut, failed }, { cut: [], failed: [] }, why)
    all.push(...calls)
  }
  for (const call of before) call.hangUp()
  t.same(judge(await Promise.all(before.map(({ done }) => done))).cut, [], 'those that were live all the time')
  for (const reason of ['its memory is full', 'its user may not do'])
    for (const { name, lines } of fleet.nodes)
      t.ok(
        lines.some((line) => line.includes(reason) && line.includes('does not carry out an operation')),
        `the log of ${name}: ${reason}`,
      )
  t.same(await receiver.missing(messagesOf(all.map(({ callSid }) => callSid)), 60_000), [], 'messages')
  const records = (): readonly string[] => fleet.nodes.flatMap((node) => node.finalRecords()).toSorted()
  await until(() => records().length >= all.length, 10_000, 'the records').catch(() => undefined)
  t.same(records(), all.map(({ callSid }) => callSid).toSorted(), 'one record each')
})
