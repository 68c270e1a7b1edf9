import t from 'tap'
import { until } from '../support/until.js'
import { simulateOneCall } from '../support/simulated.js'
import { mkondo } from './mkondo-process.js'

// The call is spoken in real time.
t.setTimeout(300_000)

t.test('SIGTERM lets the call that is under way come to its end, and then the process exits with 0', async (t) => {
  const run = mkondo(['serve', '--with-shop'], {
    PORT: '0',
    OPS_PORT: '0',
    HOST: '127.0.0.1',
    DATA_DIR: t.testdir(),
    LOG_LEVEL: 'info,workers=debug',
  })
  t.teardown(() => run.child.kill('SIGKILL'))
  await until(() => run.lines.some((line) => line.includes('taking calls')), 20_000, 'the gateway to start')
  const ready = JSON.parse(run.lines.find((line) => line.includes('taking calls')) ?? '{}') as {
    port: number
    ops_port: number
    shop: string
  }
  const call = simulateOneCall({
    port: ready.port,
    opsPort: ready.ops_port,
    shopUrl: ready.shop,
    args: ['--from', '+254700000001'],
  })
  await until(() => run.lines.some((line) => line.includes('stream opened')), 10_000, 'the stream')
  run.child.kill('SIGTERM')
  await until(() => run.lines.some((line) => line.includes('stopping')), 5000, 'the drain to begin')
  const health = await fetch(`http://127.0.0.1:${ready.ops_port}/readyz`)
  t.equal(health.status, 503, 'no longer ready')
  const report = await call
  t.equal(report.code, 0, `the caller got the answer: ${report.output}`)
  t.equal(await run.exit, 0)
  const lines = run.lines.join('\n')
  t.notMatch(lines, /254700000001/, 'no number in the log')
  t.notMatch(lines, /out for delivery/i, 'none of what was said in the log')
})
