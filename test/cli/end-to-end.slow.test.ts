import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
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

t.test('mkondo call finds a running gateway by PORT and OPS_PORT, and its keys work without words', async (t) => {
  const { gateway, at, close } = await whole()
  t.teardown(close)
  const env = { PORT: String(at.port), OPS_PORT: String(at.opsPort), SHOP_API_URL: at.shopUrl }
  const call = async (
    argv: string[],
    signal = new AbortController().signal,
  ): Promise<{ code: number; out: string }> => {
    const { code, out, err } = await command(['call', ...argv], { env, signal })
    return { code, out: out + err }
  }
  const script = join(
    t.testdir({
      'keys.yaml': 'version: 1\nsteps:\n  - press: "4127#"\n    interruptAfterMs: 300\n  - wait: 100000\n',
    }),
    'keys.yaml',
  )
  const [hangUp, endOfTest] = [new AbortController(), new AbortController()]
  const staying = call(['--script', script], endOfTest.signal)
  const placed = Promise.all([
    call(
      [
        '--script',
        script,
        '--expect',
        'out for delivery',
        '--expect-tool',
        'lookup_order',
        '--expect-outcome',
        'contained',
        '--expect-outcome',
        'abandoned',
      ],
      hangUp.signal,
    ),
    call(
      [
        '--script',
        script,
        '--expect',
        'was cancelled',
        '--expect-tool',
        'refund_order',
        '--expect-outcome',
        'escalated',
      ],
      hangUp.signal,
    ),
  ])
  const answered = (): number =>
    [...gateway.calls.live()].filter((live) => JSON.stringify(live.view()).includes('out for delivery')).length
  while (answered() < 3) await sleep(50)
  hangUp.abort()
  const [asExpected, otherwise] = await placed
  t.equal(asExpected.code, 0, asExpected.out)
  t.notMatch(asExpected.out, /heard: order/, 'no order was asked about')
  t.equal(otherwise.code, 1, otherwise.out)
  t.match(otherwise.out, /expected "was cancelled": NO, the agent said .*out for delivery/)
  t.match(otherwise.out, /expected the tool refund_order: NO, tools that ran: lookup_order/)
  t.match(otherwise.out, /expected the outcome escalated: NO, the outcome is (contained|abandoned)/)

  // With a call on the line a drain is not over before it is.
  const drain = await fetch(`http://127.0.0.1:${at.opsPort}/api/drain`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  })
  t.equal(drain.status, 202)
  const drained = await call(['--human', '--human-outcome', 'busy'])
  t.equal(drained.code, 1, 'a gateway that takes no calls')
  t.match(
    drained.out,
    /no agent took the call; the gateway answered with its fallback document \(.*\): the gateway is draining/,
  )
  endOfTest.abort()
  await staying
})

t.test('an idle gateway that is drained by a command answers it, and ends', async (t) => {
  const { gateway, at, close } = await whole()
  t.teardown(close)
  const drained = await command(['drain', '--ops-url', `http://127.0.0.1:${at.opsPort}`])
  t.match(drained, { code: 0, err: '' })
  await gateway.stopped
})
