import t from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import { loadConfig } from '../../src/config/load-config.js'
import { agentFacts, backendSettings } from '../../src/gateway/hosted-agents.js'
import { OpenAiDouble } from '../../src/simulator/vendors/openai-realtime-double.js'
import { Script, toneSpeaker } from '../../src/simulator/vendors/double.js'
import { TestLine, callerSays, orderStatusAgent, sid, startHost, until } from '../support/host.js'

// A call is spoken in real time.
t.setTimeout(60_000)

const KEY = 'sk-test-words'
const OFFER = 'How can I help you?'

t.test('a silent caller gets an offer, which the model learns of, and one who is done gets a goodbye', async (t) => {
  const script = new Script([{ say: 'Hello.' }, { say: 'You are welcome.' }], ["That's all, thank you."])
  const double = await OpenAiDouble.start({
    key: KEY,
    speaker: () => toneSpeaker(24_000)('short'),
    model: () => script,
  })
  const shipped = await orderStatusAgent()
  const definition = {
    ...shipped,
    silence: { ...shipped.silence, afterMs: 4000, firstAfterMs: 4000, firstPrompt: OFFER },
    closing: { afterMs: 1000 },
  }
  const settings = { OPENAI_API_KEY: KEY, OPENAI_BASE_URL: double.baseUrl }
  const served = await startHost({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn('openai') }]]),
    backends: backendSettings(loadConfig(settings, null)),
  })
  t.teardown(async () => {
    await served.close()
    await double.close()
  })
  const words = await callerSays('That is all thank you')
  const callSid = sid('HD_lastwords0001')
  const call = served.host.prepare({
    callSid,
    agent: 'order-status',
    from: '+254700000001',
    to: '+254700000009',
    direction: 'inbound',
  })
  const line = new TestLine(call)
  line.start()
  const received = (): string => JSON.stringify(double.sessions.map(({ received }) => received))
  await until(() => received().includes(OFFER), 20_000, 'the model to learn of the offer')
  t.match(received(), /"role":"assistant"[^}]*How can I help you\?/)
  line.say(words)
  const record = await served.recordOf(callSid)
  t.match(record, { endReason: 'agent-goodbye', outcome: 'contained' })
  t.same(
    record.transcript.map(({ role, text }) => [role, text]),
    [
      ['agent', 'Hello.'],
      ['agent', OFFER],
      ['caller', "That's all, thank you."],
      ['agent', 'You are welcome.'],
      ['agent', 'Thank you for calling. Goodbye.'],
    ],
  )
})
