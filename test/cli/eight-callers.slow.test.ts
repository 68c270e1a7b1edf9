import t from 'tap'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

// Calls are spoken in real time.
t.setTimeout(300_000)

t.test('eight callers at once all hear their answer', async (t) => {
  const { at, gateway, close } = await whole({ SPEECH_DECODERS: '4' })
  t.teardown(close)
  const run = await simulateOneCall({
    ...at,
    args: ['--from', '+254700000001', '--order', '4127', '--calls', '8', '--timeout', '150'],
  })
  // More than there are decoders, and no more than two cores at half their speed speak for, listen for and recognise
  // without being late: of twenty the gateway misheard one now and then. Judged by what the gateway did: the callers' own ears would be as much work again.
  const missed = run.calls.filter((call) => {
    const said = call.transcript
      .filter((entry) => entry.role === 'agent')
      .map((entry) => entry.text)
      .join(' ')
    return call.outcome !== 'contained' || !/4127 is out for delivery/.test(said)
  })
  t.same(
    missed.map((call) => `${call.callSid}: ${call.outcome ?? 'no outcome'}`),
    [],
  )
  t.equal(run.calls.length, 8)
  t.equal(gateway.calls.free, gateway.calls.capacity, 'every slot is free again')
})
