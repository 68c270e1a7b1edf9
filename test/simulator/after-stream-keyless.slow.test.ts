import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { channelOf, parseWav } from '../../src/media/wav.js'
import type { AfterStream } from '../../src/carrier/choices.js'
import type { SimulatedCallResult, SimulatedHuman } from '../../src/carrier/call-options.js'
import { startCall } from '../../src/carrier/carrier-call.js'
import { silentCaller } from '../support/simulated.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { whole } from '../support/gateway.js'
import type { WholeGateway } from '../support/gateway.js'
import { until } from '../support/until.js'

/**
 * Without an API key the gateway cannot hang up a caller whom the carrier leaves in silence after the stream. It
 * therefore does not close the stream if the carrier is known to hold the leg. Before that is known, it tells the
 * caller to hang up and have them called back. The tests also check the handoff posts to the line's owner and the state
 * after a restart.
 */
t.jobs = 2

interface Told {
  /** Type of a CloudEvent. */
  readonly type?: string
  readonly subject?: string
  readonly kind: string
  readonly callSid: string
  readonly handoff: { readonly from: string; readonly escalation: unknown }
}
const told: Told[] = []
const owner = createServer((request, response) => {
  let body = ''
  request.on('data', (chunk: Buffer) => (body += chunk.toString()))
  request.on('end', () => {
    told.push(JSON.parse(body) as Told)
    response.writeHead(204).end()
  })
})
await new Promise<void>((resolve) => owner.listen(0, '127.0.0.1', resolve))
const dataDir = t.testdir()
const messagesFile = join(dataDir, 'messages.yaml')
await writeFile(
  messagesFile,
  `receivers: [{ name: crm, url: 'http://127.0.0.1:${(owner.address() as AddressInfo).port}/', unsigned: true, events: [call.ended] }]`,
)
const speech = await CallerSpeech.start(null)
const start = (name: string): Promise<WholeGateway> =>
  whole(
    {
      HANDOFF_URL: `http://127.0.0.1:${(owner.address() as AddressInfo).port}/`,
      HANDOFF_SECRET: 'a-secret-of-some-length',
      MESSAGES_FILE: messagesFile,
      DATA_DIR: join(dataDir, name),
    },
    (
      yaml,
    ) => `${yaml.replace(/strategies: \[[^\]]*\]/, 'strategies: [after-stream-dial, callback]').replace(/announce:(\n {4}.*){2}/, 'announce: I connect you.')}
recording:
  enabled: true
  consent: We record this.
`,
  )
t.teardown(async () => {
  await speech.close()
  owner.close()
})

const answered: SimulatedHuman = { outcome: 'answered', ringMs: 200, talkMs: 300, greeting: null }

/** A caller who says nothing, and an operator who wants a human for them. */
async function escalated(
  gateway: WholeGateway,
  afterStream: AfterStream,
  meanwhile: (callSid: string) => Promise<void> = () => Promise.resolve(),
): Promise<SimulatedCallResult> {
  const call = startCall({
    voiceUrl: `http://127.0.0.1:${gateway.at.port}/voice/order-status`,
    eventsUrl: null,
    from: '+254700000001',
    to: '+254709000000',
    afterStream,
    giveUpMs: 5000,
    human: answered,
    caller: silentCaller(speech),
  })
  const live = () => gateway.gateway.calls.find(call.callSid)
  await until(
    () =>
      live()
        ?.timeline()
        .timeline.some(({ name }) => name === 'recording') === true,
    15_000,
    'the line about the recording',
  )
  live()?.escalate('wants a person')
  await meanwhile(call.callSid)
  return call.done
}

t.test('a carrier that continues with its document dials the human', { buffered: true }, async (t) => {
  const gateway = await start('continues')
  const result = await escalated(gateway, 'continues')
  t.match(result.dials, [{ outcome: 'answered' }])
  const dial = result.webhooks.find(({ verbs }) => verbs.includes('Dial'))
  t.comment(`the carrier asked and had its Dial after ${dial?.ms.toFixed(1) ?? '?'} ms`)
  const { callSid } = result
  await until(
    () => told.some((news) => news.callSid === callSid && news.kind === 'handoff.settled'),
    5000,
    'the owner to be told',
  )
  const news = told.filter((entry) => entry.callSid === callSid)
  t.same(
    news.map(({ kind }) => kind),
    ['handoff.requested', 'handoff.settled'],
  )
  t.match(news[0]?.handoff, { from: '+254700000001', escalation: { outcome: null } })
  t.match(news[1]?.handoff.escalation, {
    strategy: 'after-stream-dial',
    outcome: 'answered',
    attempts: [{ human: 1, outcome: 'answered' }],
  })
  await until(() => gateway.gateway.calls.record(callSid) !== undefined, 5000, 'the record')
  const ended = (): Told | undefined => told.find(({ subject, type }) => subject === callSid && type === 'call.ended')
  await until(() => ended() !== undefined, 5000, 'the end of the call to be told')
  t.match(ended(), { specversion: '1.0', data: { callSid, outcome: 'escalated' } })
  await gateway.close()

  const again = await start('continues')
  const api = `http://127.0.0.1:${again.at.opsPort}/api/calls/${callSid}`
  const record = (await (await fetch(api)).json()) as { recording: string }
  t.match(record, {
    callSid,
    outcome: 'escalated',
    escalation: { outcome: 'answered' },
    from: /…/,
    recording: `recordings/${callSid}.wav`,
  })
  t.match(await (await fetch(`${api}/handoff`)).json(), {
    callSid,
    from: '+254700000001',
    escalation: { outcome: 'answered' },
  })
  const wav = parseWav(new Uint8Array(await (await fetch(`${api}/recording.wav`)).arrayBuffer()))
  t.equal(wav.channels, 2)
  t.ok(
    channelOf(wav, 1).some((sample) => Math.abs(sample) > 1000),
    'the agent is heard in it',
  )
  t.equal((await fetch(`http://127.0.0.1:${again.at.opsPort}/api/calls/HD_nobody`)).status, 404)
  await again.close()
})

t.test('after one silent leg the next caller keeps the stream', { buffered: true }, async (t) => {
  const gateway = await start('holds')
  const first = await escalated(gateway, 'holds')
  const record = gateway.gateway.calls.record(first.callSid)
  t.match(record?.transcript.at(-1), {
    role: 'agent',
    text: 'I connect you. If the line stays silent, please hang up and we will call you back.',
  })
  t.match(record?.escalation, { outcome: 'failed', callback: { asked: 'nobody-reached', number: /…/ } })
  t.same(
    told
      .filter(({ callSid }) => callSid === first.callSid)
      .map(({ kind }) => kind)
      .sort(),
    ['callback.requested', 'handoff.requested', 'handoff.settled'],
  )

  const second = await escalated(gateway, 'holds', async (callSid) => {
    const live = () => gateway.gateway.calls.find(callSid)
    await until(
      () =>
        live()
          ?.timeline()
          .timeline.some(({ name }) => name === 'callback-offered') === true,
      10_000,
      'the offer of a call back',
    )
    t.equal(live()?.state, 'streaming', 'the caller still has somebody to talk to')
    live()?.hangup('operator-hangup', 'enough', false)
  })
  t.same(second.dials, [])
  t.match(gateway.gateway.calls.record(second.callSid)?.transcript.at(-1)?.text ?? '', /press 1/)
  await gateway.close()
})
