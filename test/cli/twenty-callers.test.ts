import t from 'tap'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

// Calls are spoken in real time.
t.setTimeout(170_000)

t.test('twenty callers at once all hear their answer', async (t) => {
  const { at, gateway, close } = await whole({ SPEECH_DECODERS: '10' })
  t.teardown(close)
  const run = await simulateOneCall({ ...at, args: ['--from', '+254700000001', '--order', '4127', '--calls', '20', '--timeout', '150'] })
  const missed = run.calls.filter((call) => !call.goal.reached)
  t.same(missed.map((call) => `${call.callSid}: ${call.goal.why}`), [])
  t.equal(run.calls.length, 20)
  t.equal(gateway.calls.free, gateway.calls.capacity, 'every slot is free again')
})
