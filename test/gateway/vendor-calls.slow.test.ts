import t from 'tap'
import type { Test } from 'tap'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { allCallsOn } from '../../src/backends/split.js'
import { loadConfig } from '../../src/config/load-config.js'
import { agentFacts, backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { AzureSpeechDouble } from '../../src/vendors/azure/double.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { GoogleVoiceDouble } from '../../src/vendors/google/voice-double.js'
import { OpenAiLiveDouble } from '../../src/vendors/openai/live-double.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { inbound, orderStatusAgent, startHost, TestLine, time } from '../support/host.js'

// Whole calls on the doubles of single vendors: what a caller meets because of the vendor's own ways.

const KEY = 'vendor-calls-0123456789abcdef'

/** A call of the order line on one backend, after its greeting. */
async function call(
  t: Test,
  backend: string,
  settings: Readonly<Record<string, string>>,
  own: Partial<AgentDefinition> = {},
) {
  const definition = { ...(await orderStatusAgent()), greeting: 'Hello.', ...own }
  const served = await startHost({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn(backend) }]]),
    backends: backendSettings(loadConfig(settings, null)),
    paced: true,
  })
  t.teardown(() => served.close())
  const live = served.host.prepare(inbound('HD_vendor00001'))
  const line = new TestLine(live)
  line.start()
  await line.agentQuiet(400)
  return {
    live,
    line,
    say: (words: string) => served.say(line, words),
    record: () => {
      live.hangup('operator-hangup', 'the test is over', false)
      return served.recordOf('HD_vendor00001')
    },
  }
}

const cascadeOf = (double: CascadeDouble) => ({
  STT_URL: double.baseUrl,
  STT_API_KEY: KEY,
  LLM_URL: double.baseUrl,
  LLM_API_KEY: KEY,
  TTS_URL: double.baseUrl,
  TTS_API_KEY: KEY,
})

for (const masked of [false, true])
  t.test(`a swear word escalates on Azure${masked ? ' unless masked' : ''}`, async (t) => {
    const cascade = await CascadeDouble.start({ key: KEY })
    const azure = await AzureSpeechDouble.start({ key: KEY, script: cascade.script })
    t.teardown(() => Promise.all([cascade.close(), azure.close()]))
    // A service that did not know the field would mask.
    if (masked) azure.objection = (sent) => (/profanity/i.test(sent) ? 'Unsupported value of profanity.' : null)
    const { rules: _, ...agent } = await orderStatusAgent()
    const { live, say, record } = await call(
      t,
      'cascade',
      { ...cascadeOf(cascade), AZURE_SPEECH_KEY: KEY, AZURE_STT_URL: azure.baseUrl },
      {
        ...agent,
        backends: { cascade: { stt: 'azure' } },
        rules: { words: { phrases: ['bloody'], times: 1 }, vip: null, failures: null },
      },
    )
    cascade.script.callerSays('this bloody order is late')
    cascade.script.reply({ say: 'I am sorry.' })
    await say('this bloody order is late')
    const names = (): readonly string[] => live.timeline().timeline.map(({ name }) => name)
    // The greeting sounds first; then comes the answer, or the gateway's own words for a caller who is handed over.
    const answered = (): boolean => names().filter((name) => name === 'agent-sound').length > 1
    await time.until(answered, 20_000, 'the agent to speak again')
    t.equal(names().includes('escalation'), !masked)
    const { transcript } = await record()
    t.match(JSON.stringify(transcript), masked ? /this \*{6}/ : /this bloody/)
  })

t.test('Gemini calls a tool once despite an empty answer', async (t) => {
  const gemini = await GeminiDouble.start({ key: KEY })
  t.teardown(() => gemini.close())
  const settings = { GEMINI_API_KEY: KEY, GEMINI_BASE_URL: gemini.baseUrl, GEMINI_MODEL: 'gemini-3.8-live' }
  const { line, say, record } = await call(t, 'gemini', settings)
  gemini.script.callerSays('order nine nine nine nine')
  gemini.script.reply(
    { calls: [{ callId: 'c1', name: 'lookup_order', args: { orderNumber: '9999' } }] },
    { say: 'There is no such order.' },
  )
  await say('order nine nine nine nine')
  await line.agentQuiet(400)
  t.match(gemini.session.toolAnswers, [{ callId: 'c1', text: /"status":"no_results"/ }])
  t.equal(gemini.session.repeatedCalls, 0)
  const { toolCalls } = await record()
  t.same(
    toolCalls.map(({ name, ok }) => [name, ok]),
    [['lookup_order', true]],
  )
})

t.test('an agent says that its voice cannot speak slower', async (t) => {
  const cascade = await CascadeDouble.start({ key: KEY })
  const google = await GoogleVoiceDouble.start({ key: KEY, script: cascade.script })
  t.teardown(() => Promise.all([cascade.close(), google.close()]))
  const slower = (callId: string) => ({ calls: [{ callId, name: 'set_speech_rate', args: { rate: 'slower' } }] })
  const { line, say, record } = await call(
    t,
    'cascade',
    { ...cascadeOf(cascade), GOOGLE_SPEECH_API_KEY: KEY, GOOGLE_TTS_URL: google.baseUrl },
    { backends: { cascade: { tts: 'google' } } },
  )
  cascade.script.callerSays('speak slower please', 'slower please')
  cascade.script.reply(slower('c1'), { say: 'I speak slower now.' }, { say: 'I cannot change my speed.' })
  await say('speak slower please')
  await time.until(() => google.spoken.includes('I cannot change my speed.'), 20_000, 'the agent to say so')
  await line.agentQuiet(400)
  cascade.script.reply(slower('c2'), { say: 'I use shorter sentences.' })
  await say('slower please')
  await time.until(() => google.spoken.includes('I use shorter sentences.'), 20_000, 'the second answer')
  t.equal(google.asked.filter(({ audioConfig }) => audioConfig.speakingRate !== undefined).length, 1, 'asked once')
  const { toolCalls, endReason } = await record()
  t.match(
    toolCalls.map(({ name, ok }) => [name, ok]),
    [
      ['set_speech_rate', true],
      ['set_speech_rate', true],
    ],
  )
  t.match(JSON.stringify(cascade.chats.at(-1)?.messages), /This voice cannot change its speed/)
  t.equal(endReason, 'operator-hangup', 'the call went on')
})

t.test('GPT-Live delegates an order but not small talk', async (t) => {
  const live = await OpenAiLiveDouble.start({ key: KEY })
  t.teardown(() => live.close())
  const settings = { OPENAI_API_KEY: KEY, OPENAI_LIVE_URL: live.baseUrl, OPENAI_LIVE_DELEGATE: 'responses' }
  const { line, say, record } = await call(t, 'openai-live', settings)
  live.script.callerSays('how are you', 'where is order four one two seven')
  await say('how are you')
  await line.agentQuiet(400)
  t.equal(live.session.delegations, 0, 'the voice answers by itself')
  live.script.reply(
    { calls: [{ callId: 'c1', name: 'lookup_order', args: { orderNumber: '4127' } }] },
    { say: 'It is out for delivery.' },
  )
  await say('where is order four one two seven')
  await line.agentQuiet(400)
  t.equal(live.session.delegations, 1)
  t.same(live.session.undelegated, [], 'its prompt is as the guide asks')
  const { toolCalls, transcript } = await record()
  t.same(
    toolCalls.map(({ name, ok }) => [name, ok]),
    [['lookup_order', true]],
  )
  t.match(JSON.stringify(transcript), /It is out for delivery/)
})
