import t from 'tap'
import { command } from '../support/command.js'
import { whole } from '../support/gateway.js'
import { ordersAreHeard } from './spoken-orders.js'

// Calls are spoken in real time.
t.setTimeout(300_000)

t.test(
  'three callers hear the right status of the right order, and the journal of their calls runs again',
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

t.test('a caller who goes from Swahili to English is answered in both, in the voice of each', async (t) => {
  const { code, out } = await command(['demo', '--languages', '--json', '-'], {})
  const { missing, transcript } = JSON.parse(out) as { missing: string[]; transcript: { language?: string }[] }
  t.same(missing, [])
  t.equal(transcript.map(({ language }) => language).join(' '), 'en sw sw sw sw sw sw sw sw en en en en')
  t.equal(code, 0)
})

t.test('an idle gateway that is drained by a command answers it, and ends', async (t) => {
  const { gateway, at, close } = await whole()
  t.teardown(close)
  const drained = await command(['drain', '--ops-url', `http://127.0.0.1:${at.opsPort}`])
  t.match(drained, { code: 0, err: '' })
  await gateway.stopped
})
