import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { AfterStream } from '../../src/simulator/choices.js'
import type { SimulatedCallResult } from '../../src/simulator/call-options.js'
import { startCall } from '../../src/simulator/carrier.js'
import { silentCaller, simulateOneCall } from '../support/simulated.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { KEY, OUR_NUMBER, simulatedApi } from '../support/carrier-api.js'
import { freePort } from '../support/free-ports.js'
import { whole } from '../support/gateway.js'
import type { WholeGateway } from '../support/gateway.js'
import { until } from '../support/until.js'

/**
 * The three after-stream behaviours of the carrier when the gateway ends a stream for an escalation. With an API key,
 * each of them has to end with the human reached or with words to the caller, never with silence.
 */
t.setTimeout(120_000)

const speech = await CallerSpeech.start(null)
const api = await simulatedApi(t)

const gateways = new Map<string, WholeGateway>()
async function gatewayWith(strategies: string): Promise<WholeGateway> {
  const known = gateways.get(strategies)
  if (known !== undefined) return known
  const gateway = await whole({ SAUTIKIT_API_URL: api.server.origin, SAUTIKIT_API_KEY: KEY }, (yaml) =>
    yaml
      .replace(/strategies: \[[^\]]*\]/, `strategies: ${strategies}`)
      .replace(/announce:(\n {4}.*){2}/, 'announce: I connect you.'),
  )
  gateways.set(strategies, gateway)
  return gateway
}
t.teardown(async () => {
  for (const gateway of gateways.values()) await gateway.close()
  await speech.close()
})

/** A caller who says nothing, and an operator who wants a human for them. */
async function escalated(gateway: WholeGateway, afterStream: AfterStream): Promise<SimulatedCallResult> {
  const call = startCall({
    voiceUrl: `http://127.0.0.1:${gateway.at.port}/voice/order-status`,
    eventsUrl: `http://127.0.0.1:${gateway.at.port}/events`,
    from: '+254700000001',
    to: OUR_NUMBER,
    afterStream,
    giveUpMs: 12_000,
    workspace: api.workspace,
    human: { outcome: 'answered', ringMs: 200, talkMs: 300, greeting: null },
    caller: silentCaller(speech),
  })
  await until(() => gateway.gateway.calls.find(call.callSid)?.state === 'streaming', 10_000, 'the stream')
  gateway.gateway.calls.find(call.callSid)?.escalate('wants a person')
  return call.done
}

/** Nobody gave up in silence: a human was there, or words were and then the line's end. */
function served(
  t: { ok(value: unknown, message: string): unknown; not(found: unknown, unwanted: unknown, message: string): unknown },
  result: SimulatedCallResult,
): void {
  t.not(result.ended.why, 'gave up on a silent line after the stream', 'the caller did not stand in silence')
  const reached = result.dials.some(({ outcome }) => outcome === 'answered')
  t.ok(
    reached || (result.heardPieces.length > 0 && ['api', 'document'].includes(result.ended.by)),
    'a human, or words and the end',
  )
}

for (const strategies of ['[after-stream-dial, supervision, callback]', '[supervision, after-stream-dial, callback]']) {
  t.test(`strategies ${strategies}`, async (t) => {
    const gateway = await gatewayWith(strategies)
    const [continues, reposts, holds] = await Promise.all(
      (['continues', 'reposts', 'holds'] as const).map((behaviour) => escalated(gateway, behaviour)),
    )
    for (const [name, result] of Object.entries({ continues, reposts, holds })) {
      t.test(name, async (t) => {
        if (result === undefined) throw new Error('no result')
        served(t, result)
      })
    }
    const first = strategies.startsWith('[supervision')
    t.match(continues?.dials, [first ? { via: 'supervision', outcome: 'answered' } : { outcome: 'answered' }])
    t.match(reposts?.dials, [first ? { via: 'supervision', outcome: 'answered' } : { outcome: 'answered' }])
    if (first)
      t.match(
        holds?.dials,
        [{ via: 'supervision', outcome: 'answered' }],
        'what the carrier does after a stream does not matter',
      )
  })
}

t.test('mkondo call with the REST API beside it: a human joins the live call, and the gateway ends it', async (t) => {
  const port = await freePort()
  const gateway = await whole({ SAUTIKIT_API_URL: `http://127.0.0.1:${port}`, SAUTIKIT_API_KEY: KEY }, (yaml) =>
    yaml
      .replace(/strategies: \[[^\]]*\]/, 'strategies: [supervision, callback]')
      .replace(/announce:(\n {4}.*){2}/, 'announce: I connect you.'),
  )
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-call-api-'))
  t.teardown(async () => {
    await gateway.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const script = join(folder, 'zero.yaml')
  writeFileSync(
    script,
    'version: 1\nname: presses zero for a person\npatienceMs: 3000\nsteps:\n  - press: "0"\n    interruptAfterMs: 300\n  - wait: 15000\n  - hangup: true\n',
  )
  const { calls, output } = await simulateOneCall({
    port: gateway.at.port,
    opsPort: gateway.at.opsPort,
    args: [
      '--script',
      script,
      '--after-stream',
      'holds',
      '--api-port',
      String(port),
      '--api-key',
      KEY,
      '--timeout',
      '40',
    ],
  })
  t.match(output, /dialled|a human/i)
  const record = gateway.gateway.calls.record(calls[0]?.callSid ?? '')
  t.match(record?.escalation, { strategy: 'supervision', outcome: 'answered' })
})
