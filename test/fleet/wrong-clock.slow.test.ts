import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { MAIN } from '../cli/mkondo-process.js'
import { hasProgram } from '../deploy/deploy-files.js'
import { FAKETIME } from '../support/faketime.js'
import { judge, resumedMs, startFleet } from '../support/fleet.js'
import type { FleetNode } from '../support/fleet.js'
import { hasRedis } from '../support/redis.js'
import { until } from '../support/until.js'

/** A fleet of real processes with one machine whose calendar clock goes wrong (Debian's faketime). Judged from outside. */

for (const change of ['+90s', '-90s'])
  t.test(`a node whose clock is ${change} off gives its calls away [1]`, async (t) => {
    if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
    if (FAKETIME === null) return t.comment('SKIPPED: it needs the Debian package faketime')
    const clock = join(t.testdir({}), 'clock')
    writeFileSync(clock, '+0s')
    const fleet = await startFleet({ env: { SAUTIKIT_AFTER_STREAM: 'continues', DRAIN_TIMEOUT: '1s' } })
    t.teardown(() => fleet.close())
    const [first, second] = fleet.nodes as readonly [FleetNode, FleetNode]
    await first.kill()
    await first.start({ main: MAIN, env: { ...FAKETIME, FAKETIME_TIMESTAMP_FILE: clock } })
    const calls = await fleet.calls(6)
    const moved = calls.filter(({ owners }) => owners[0] === first.name)
    t.ok(moved.length > 0, 'the node has calls')
    writeFileSync(clock, change)
    const notReady = async (): Promise<boolean> =>
      (await (await fetch(`${first.opsUrl}/readyz`)).text()).includes('clock')
    await until(notReady, 30_000, 'its readyz says that its clock is wrong')
    const ended = first.drain()
    await until(() => moved.every(({ owners }) => owners.at(-1) === second.name), 30_000, 'new streams').catch(
      () => undefined,
    )
    t.equal(await ended, 0)
    for (const call of calls) call.hangUp()
    const results = await Promise.all(calls.map(({ done }) => done))
    t.same(judge(results).failed, [])
    for (const result of results.filter(({ callSid }) => moved.some((call) => call.callSid === callSid)))
      t.type(resumedMs(result), 'number', `${result.callSid} hears the agent again`)
    t.equal(await second.metric('mkondo_peer_requests_refused_total{reason="late"}'), 0)
  })
