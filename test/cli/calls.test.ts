import t from 'tap'
import { endedCall } from '../support/record.js'
import type { CarrierCall } from '../../src/simulator/rest/workspace.js'
import { KEY, simulatedApi } from '../support/carrier-api.js'
import { ring, startGateway } from '../edge/gateway.js'
import { command } from '../support/command.js'

const SID = 'HD_0a8d5911d055'

const calls = (argv: readonly string[], env: Record<string, string>) => command(['calls', ...argv], { env })

function leg(callSid: string, hungUp: string[] = []): CarrierCall {
  return {
    callSid,
    from: '+254700000001',
    to: '+254700000000',
    direction: 'inbound',
    clientRequestId: null,
    answered: true,
    ended: false,
    hangUp: () => {
      hungUp.push(callSid)
    },
    supervise: () => true,
    stopSupervision: () => undefined,
    joinedBy: () => undefined,
    postEvent: () => undefined,
  }
}

t.test("the gateway's calls are listed, shown beside the carrier's account, and ended", async (t) => {
  const gateway = await startGateway(t)
  const api = await simulatedApi(t, { with: { writeAfterMs: 0 } })
  const env = { SAUTIKIT_API_URL: api.server.origin, SAUTIKIT_API_KEY: KEY }
  const ops = ['--ops-url', gateway.opsUrl]
  await ring(gateway, SID)
  const answered = Date.parse('2026-11-20T10:00:00Z')
  api.workspace.began(leg(SID), answered - 1000)
  api.workspace.over(leg(SID), {
    status: 'completed',
    hangupCause: 'normal_clearing',
    answeredWallMs: answered,
    endedWallMs: answered + 61_000,
    recording: null,
  })

  t.match(await calls(['list', ...ops], env), { code: 0, out: new RegExp(`${SID} +- +waiting +order-status`) })
  const shown = await calls(['show', SID, ...ops], env)
  t.equal(shown.code, 0)
  t.match(shown.out, /gateway: waiting[\s\S]*carrier: completed, 61 s, KES 0\.00[\s\S]*normal_clearing/)
  t.notMatch(shown.out, /254700000001/, "without the caller's number")
  const both = JSON.parse((await calls(['show', SID, '--json', ...ops], env)).out) as {
    gateway: object
    carrier: object
  }
  t.match(both, { gateway: { state: 'waiting' }, carrier: { durationS: 61, hangupCause: 'normal_clearing' } })
  t.match(await calls(['show', SID, ...ops], {}), { code: 0, out: /carrier: SAUTIKIT_API_KEY is not set/ })

  t.match(await calls(['hangup', SID, '--goodbye', ...ops], env), { code: 0, out: /after a goodbye/ })
  t.match(gateway.calls.calls.get(SID)?.hangups, [{ reason: 'operator-hangup', speak: true }])
})

t.test('ended calls are listed by outcome, with their reason', async (t) => {
  const gateway = await startGateway(t)
  await ring(gateway, SID)
  const refused = endedCall({ callSid: 'HD_refused000001', outcome: 'refused', endReason: 'agent-capacity' })
  for (const record of [refused, endedCall()]) gateway.calls.records.set(record.callSid, record)
  const listed = async (...argv: string[]): Promise<string> =>
    (await calls(['list', ...argv, '--ops-url', gateway.opsUrl], {})).out
  t.match(await listed(), new RegExp(`${SID}[^]*HD_refused000001.* refused +agent-capacity\\n`))
  const some = await listed('--outcome', 'refused')
  t.match(some, /HD_refused000001/)
  t.notMatch(some, new RegExp(`${SID}|HD_record000001`))
  t.match(await listed('--outcome', 'failed'), /no calls yet/)
})

t.test('with --carrier the carrier is asked alone', async (t) => {
  const api = await simulatedApi(t)
  const hungUp: string[] = []
  for (let i = 0; i < 60; i++) api.workspace.began(leg(`HD_${i}`, hungUp), Date.parse('2026-11-20T10:00:00Z'))
  const env = { SAUTIKIT_API_URL: api.server.origin, SAUTIKIT_API_KEY: KEY }
  const listed = JSON.parse((await calls(['list', '--carrier', '--limit', '55', '--json'], env)).out) as {
    calls: object[]
    complete: boolean
  }
  t.equal(listed.calls.length, 55)
  t.notOk(listed.complete)
  t.notMatch(JSON.stringify(listed), /254700000001/)
  t.match(await calls(['show', 'HD_3', '--carrier'], env), { code: 0, out: /^carrier: answered/ })
  t.match(await calls(['hangup', 'HD_3', '--carrier'], env), { code: 0 })
  t.same(hungUp, ['HD_3'])
  t.match(await calls(['show', 'HD_none', '--carrier'], env), { code: 1, err: /calls\.not_found/ })
})

t.test('an unknown call, and a gateway or carrier that does not answer, are reported', async (t) => {
  const gateway = await startGateway(t, { opsToken: 'ops-token-of-a-test' })
  const ops = ['--ops-url', gateway.opsUrl]
  const env = { OPS_TOKEN: 'ops-token-of-a-test' }
  t.match(await calls(['hangup', 'HD_none', ...ops], env), {
    code: 1,
    err: /no such live call; to end it at the carrier, use --carrier/,
  })
  t.match(await calls(['show', 'HD_none', ...ops], env), { code: 1, out: /CALL_UNKNOWN/ })
  t.match(await calls(['list', ...ops], {}), { code: 1, err: /UNAUTHORIZED/ })
  t.match(await calls(['list', '--ops-url', 'http://127.0.0.1:1'], {}), {
    code: 1,
    err: /no gateway answers at http:\/\/127\.0\.0\.1:1/,
  })
  const wrong: [readonly string[], RegExp][] = [
    [[], /list, show/],
    [['show'], /missing required argument 'sid'/],
    [['show', 'a b'], /the SID is not valid/],
    [['list', '--limit', '0'], /--limit/],
    [['hangup', SID, '--carrier', '--goodbye'], /only the agent says goodbye/],
    [['list', '--carrier'], /SAUTIKIT_API_KEY/],
    [['list', '--outcome', 'lost'], /--outcome is .*; allowed: .*refused/],
  ]
  for (const [argv, message] of wrong)
    t.match(await calls(argv, {}), { code: 2, out: '', err: message }, argv.join(' '))
  t.match(await calls(['--help'], {}), { code: 0, out: /Usage: mkondo calls [^]* show \[options\] <sid>/ })
})
