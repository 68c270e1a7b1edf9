import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { until } from '../support/until.js'
import { mkondo } from './mkondo-process.js'
import { lastStart, silentCall, startTwo, streaming } from './two-processes.js'
import type { SilentCall } from './two-processes.js'

t.test('SIGHUP replaces both processes without cutting a call', async (t) => {
  const file = join(t.testdir({ 'gw.env': 'MAX_CALLS=40\n' }), 'gw.env')
  const two = await startTwo(t, { args: ['--env-file', file], env: { DRAIN_TIMEOUT: '60', MAX_CALLS: '' } })
  const first = [0, 1].map((index) => lastStart(two.run, index)['pid'])
  // A call every half second, each of a few seconds, before, during and after the roll.
  const calls: SilentCall[] = []
  const timers: NodeJS.Timeout[] = []
  // A caller hangs up only after the stream opened: a process that drains waits up to 30 s for a stream that never opens.
  const ring = (): void => {
    const call = silentCall(two.url, 'continues')
    calls.push(call)
    void until(() => call.streams() > 0, 60_000, 'its stream')
      .catch(() => undefined)
      .then(() => timers.push(setTimeout(() => call.hangUp(), 3000)))
  }
  for (let i = 0; i < 4; i++) ring()
  // On a busy machine a stream is seen seconds after it began.
  await Promise.all(calls.map((call) => streaming(two, call)))
  const ringing = setInterval(ring, 500)
  t.teardown(() => {
    clearInterval(ringing)
    for (const timer of timers) clearTimeout(timer)
  })

  writeFileSync(file, 'MAX_CALLS=nonsense\n')
  two.run.child.kill('SIGHUP')
  const refused = 'the processes are not replaced, nothing has changed'
  await until(() => two.run.logged(refused).length === 1, 30_000, 'the wrong setting to be refused')
  t.match(two.run.logged(refused), [{ level: 'error', reason: /^MAX_CALLS is 'nonsense'; allowed:/ }])
  t.same(
    [0, 1].map((index) => lastStart(two.run, index)['pid']),
    first,
    'both processes stay',
  )

  writeFileSync(file, 'MAX_CALLS=60\n')
  const begun = (count: number): Promise<void> =>
    until(
      () => two.run.logged('replacing the processes, with the current settings').length === count,
      10_000,
      `roll ${count}`,
    )
  two.run.child.kill('SIGHUP')
  await begun(2)
  two.run.child.kill('SIGHUP') // remembered, once
  await until(() => two.run.logged('a process is replaced').length > 0, 150_000, 'the first one to be replaced')
  two.run.child.kill('SIGHUP')
  await until(() => two.run.logged('all processes are replaced').length === 2, 150_000, 'two rolls')
  clearInterval(ringing)
  t.equal(lastStart(two.run, 0)['max_calls'], 30, 'with the new settings')
  t.not(lastStart(two.run, 0)['pid'], first[0])
  t.not(lastStart(two.run, 1)['pid'], first[1])
  t.equal(two.run.logged('all processes are replaced').length, 2, 'three signals are two rolls')

  for (const call of calls.slice(-13)) call.hangUp()
  const results = await Promise.all(calls.map(({ done }) => done))
  let streamed = 0
  for (const [i, result] of results.entries()) {
    const told = result.webhooks.map(({ url, state, atMs, status }) => `${url} ${state} at ${atMs} ms: ${status}`)
    t.same(result.complaints, [], `${i}: nothing to complain about; ${told.join(', ')}`)
    t.same(
      result.webhooks.filter(({ status }) => status === null || status >= 300),
      [],
      `${i}: every webhook was answered`,
    )
    // On a busy machine a webhook may wait too long. Then the document connects the caller to a human.
    if (result.streams.length === 0) continue
    streamed++
    t.equal(result.ended.by, 'api', `${i}: its caller hung up, not we: ${result.ended.why}`)
  }
  t.ok(streamed > 20 && streamed > 0.75 * results.length, `${streamed} of ${results.length} calls had a stream`)
  t.notOk(two.run.logged('a process died and is started again').length)

  const opsUrl = `http://127.0.0.1:${lastStart(two.run, 0)['ops_port'] as number}`
  // Each node sees the others as of its last heartbeat.
  await until(
    async () => ((await (await fetch(`${opsUrl}/api/fleet`)).json()) as { nodes: object[] }).nodes.length === 2,
    10_000,
    'the spare place to be empty again',
  )
  const listed = mkondo(['fleet', '--ops-url', opsUrl])
  t.equal(await listed.exit, 0)
  t.match(listed.lines.slice(0, 3), [/^NODE/, /-0 \* +open/, /-1 +open/])
  two.run.child.kill('SIGTERM')
  t.equal(await two.run.exit, 0)
})
