import { join } from 'node:path'
import t from 'tap'
import { AFTER_STREAM, type AfterStream } from '../../src/carrier/choices.js'
import type { SimulatedCallResult } from '../../src/carrier/call-options.js'
import { startCall } from '../../src/carrier/carrier-call.js'
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

const speech = await CallerSpeech.start(null)
const api = await simulatedApi(t)

const gatewayWith = (strategies: string, apiUrl: string): Promise<WholeGateway> =>
  whole({ SAUTIKIT_API_URL: apiUrl, SAUTIKIT_API_KEY: KEY }, (yaml) =>
    yaml
      .replace(/strategies: \[[^\]]*\]/, `strategies: ${strategies}`)
      .replace(/announce:(\n {4}.*){2}/, 'announce: I connect you.'),
  )
t.teardown(() => speech.close())

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

t.test('a caller is served after every after-stream behaviour', async (t) => {
  const gateway = await gatewayWith('[after-stream-dial, supervision, callback]', api.server.origin)
  t.teardown(() => gateway.close())
  const results = await Promise.all(AFTER_STREAM.map((behaviour) => escalated(gateway, behaviour)))
  for (const [i, { dials, ended, heardPieces }] of results.entries()) {
    const behaviour = AFTER_STREAM[i] ?? ''
    t.not(ended.why, 'gave up on a silent line after the stream', `${behaviour}: no caller stood in silence`)
    if (behaviour !== 'holds') t.match(dials, [{ outcome: 'answered' }], behaviour)
    const reached = dials.some(({ outcome }) => outcome === 'answered')
    t.ok(reached || heardPieces.length > 0, `${behaviour}: a human, or words`)
    t.ok(reached || ['api', 'document'].includes(ended.by), `${behaviour}: and the end`)
  }
})

t.test('a human joins a live call that the gateway ends', async (t) => {
  const port = await freePort()
  const gateway = await gatewayWith('[supervision, callback]', `http://127.0.0.1:${port}`)
  t.teardown(() => gateway.close())
  const folder = t.testdir({
    'zero.yaml':
      'version: 1\nname: presses zero for a person\npatienceMs: 3000\nsteps:\n  - press: "0"\n    interruptAfterMs: 300\n  - wait: 15000\n  - hangup: true\n',
  })
  const carrier = ['--after-stream', 'holds', '--api-port', String(port), '--api-key', KEY, '--timeout', '40']
  const { calls, output } = await simulateOneCall({
    port: gateway.at.port,
    opsPort: gateway.at.opsPort,
    args: ['--script', join(folder, 'zero.yaml'), ...carrier],
  })
  t.match(output, /dialled|a human/i)
  const record = gateway.gateway.calls.record(calls[0]?.callSid ?? '')
  t.match(record?.escalation, { strategy: 'supervision', outcome: 'answered' })
})
