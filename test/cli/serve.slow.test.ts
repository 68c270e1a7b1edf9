import t from 'tap'
import { until } from '../support/until.js'
import { endsWith, mkondo, takesCalls } from './mkondo-process.js'
import { silentCall } from './two-processes.js'

t.test('SIGTERM lets the live call finish [1]', async (t) => {
  const run = mkondo(['serve', '--with-shop'], {
    PORT: '0',
    OPS_PORT: '0',
    HOST: '127.0.0.1',
    DATA_DIR: t.testdir(),
    LOG_LEVEL: 'info,workers=debug',
  })
  endsWith(t, run)
  const logs = (msg: string): string | undefined => run.lines.find((line) => line.includes(msg))
  const ready = await takesCalls(run)
  const opsUrl = `http://127.0.0.1:${ready.ops_port}`
  const call = silentCall(`http://127.0.0.1:${ready.port}`, 'continues', null)
  await until(() => call.streams() === 1, 10_000, 'the stream')
  run.child.kill('SIGTERM')
  await until(() => logs('stopping') !== undefined, 5000, 'the drain to begin')
  t.equal((await fetch(`${opsUrl}/readyz`)).status, 503, 'no longer ready')
  const view = `${opsUrl}/api/calls/${call.callSid}`
  const greeted = async (): Promise<boolean> =>
    (await (await fetch(`${view}/transcript`)).text()).includes('where your order is')
  await until(greeted, 15_000, 'the agent to speak on')
  call.hangUp()
  const { complaints, webhooks } = await call.done
  t.same(complaints, [])
  t.ok(webhooks.every(({ status }) => status === 200 || status === 204))
  t.equal(await run.exit, 0)
  const lines = run.lines.join('\n')
  t.notMatch(lines, /254700000001/, 'no number in the log')
  t.notMatch(lines, /where your order is/i, 'none of what was said in the log')
})
