import t from 'tap'
import { ordersAreHeard } from './spoken-orders.js'

// The call is spoken in real time. Three at once, and keys, are in end-to-end.slow.test.ts.
t.setTimeout(300_000)

t.test(
  'a caller who interrupts the agent hears the right status of the right order, and the journal of the call runs again',
  async (t) => {
    const { interrupts } = await ordersAreHeard(t, {
      interrupts: ['--from', '+254700000001', '--order', '4127', '--interrupt'],
    })
    t.equal(
      interrupts?.bargeIns.some((bargeIn) => bargeIn.committed === true),
      true,
      'the agent was interrupted',
    )
  },
)
