import t from 'tap'
import { join } from 'node:path'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'
import { ordersAreHeard } from './spoken-orders.js'

// Calls are spoken in real time.
t.setTimeout(300_000)
t.jobs = 2

t.test(
  'three callers hear the right status of the right order, and the journal of their calls runs again',
  { buffered: true },
  async (t) => {
    const { relies, interrupts } = await ordersAreHeard(t, {
      knows: ['--from', '+254700000009', '--order', '4127'],
      relies: ['--from', '+254700000001', '--voice', 'awb'],
      interrupts: ['--from', '+254700000001', '--order', '4127', '--interrupt'],
    })
    t.equal(
      interrupts?.bargeIns.some((bargeIn) => bargeIn.committed === true),
      true,
      'the agent was interrupted',
    )
    t.match(relies?.toolCalls[0]?.args, { callerNumber: /…/ }, "the caller's number is masked in what an operator sees")
  },
)

t.test('DTMF digits work where words are not understood', { buffered: true }, async (t) => {
  const { at, close } = await whole()
  t.teardown(close)
  const script = join(
    t.testdir({
      'keys.yaml': [
        'version: 1',
        'name: presses the keys',
        'order: "4127"',
        'steps:',
        '  - press: "4127#"',
        '  - say: No, thank you.',
        '  - hangup: true',
      ].join('\n'),
    }),
    'keys.yaml',
  )
  const run = await simulateOneCall({ ...at, args: ['--from', '+254700000009', '--script', script] })
  t.equal(run.code, 0, run.calls[0]?.goal.why ?? run.output)
})
