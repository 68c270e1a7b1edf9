import t from 'tap'
import type { Test } from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import type { ScriptedReply } from '../../src/backends/conformance.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { loadConfig } from '../../src/config/load-config.js'
import { agentFacts, backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { callerSays } from '../support/caller-says.js'
import { inbound, TestLine, orderStatusAgent, pass, sid, startHost, time, until } from '../support/host.js'

t.jobs = 3

interface OpenAiCall {
  readonly line: TestLine
  readonly double: OpenAiDouble
  /** Speaks the caller's words, and sets the service's transcript. */
  say(words: string): Promise<void>
  /** The caller has heard the second answer for a second. */
  answers(): Promise<void>
  /** Hangs up. */
  record(): Promise<CallRecord>
}

/** A call to the order line over OpenAI Realtime's double, which the caller hears greet. */
async function openAiCall(
  t: Test,
  callSid: string,
  replies: readonly ScriptedReply[],
  change: (agent: AgentDefinition) => AgentDefinition = (agent) => agent,
): Promise<OpenAiCall> {
  const double = await OpenAiDouble.start({ script: new Script([{ say: 'Hello.' }, ...replies]) })
  const definition = change(await orderStatusAgent())
  const env = { OPENAI_API_KEY: 'key-of-a-test', OPENAI_BASE_URL: double.baseUrl }
  const test = await startHost({
    paced: true,
    speech: null,
    backends: backendSettings(loadConfig(env, null)),
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn('openai') }]]),
  })
  t.teardown(() => Promise.all([test.close(), double.close()]))
  const id = sid(callSid)
  const call = test.host.prepare(inbound(id, { from: '' }))
  const line = new TestLine(call)
  line.start()
  await line.agentQuiet(500)
  return {
    line,
    double,
    say: async (words) => {
      double.script.callerSays(words)
      const samples = await callerSays(words)
      line.say(samples)
      await pass(samples.length / 16)
    },
    answers: async () => {
      await until(() => double.script.answers === 2, 15_000, 'the answer to begin')
      const fromMs = time.nowMs()
      await until(() => line.soundSince(fromMs), 15_000, 'the answer to be heard')
      await pass(1000)
    },
    record: () => {
      call.hangup('operator-hangup', 'the test is over', false)
      line.stop()
      return test.recordOf(id)
    },
  }
}

const STATUS = 'Your order is on its way, and the rider is in Nakuru now, with four other parcels to bring before it.'
/** Pieces of 100 ms: as fast as speech, so that the answer is still being made when the caller makes a sound. */
const slowly = { audioMs: 5000, paceMs: 100 }

const committed = ({ bargeIns }: CallRecord): boolean[] => bargeIns.map(({ committed }) => committed)

t.test('"okay" does not interrupt an answer of OpenAI', async (t) => {
  const call = await openAiCall(t, 'HD_okay0000000001', [{ say: STATUS, ...slowly }])
  await call.say('Where is my order?')
  await call.answers()
  await call.say('Okay.')
  await until(() => !call.line.soundSince(time.nowMs() - 1500), 20_000, 'the answer to end')
  const record = await call.record()
  t.same(committed(record), [false], 'the agent fell silent, and went on')
  t.equal(call.double.script.answers, 2, 'the service was asked for nothing more')
  t.same(call.double.session.truncations, [])
  t.match(record.transcript.findLast(({ role }) => role === 'agent')?.text, STATUS)
  t.equal(record.turns.length, 1, 'where the order is was the only question')
})

t.test('a caller who keeps speaking interrupts an answer of OpenAI', async (t) => {
  const call = await openAiCall(t, 'HD_speakson00001', [{ say: STATUS, ...slowly }, { say: 'It is cancelled.' }])
  await call.say('Where is my order?')
  await call.answers()
  await call.say('No, wait, I want to change my address.')
  await until(() => call.double.script.answers === 3, 15_000, 'the answer to the interruption')
  await call.line.agentQuiet(800)
  const record = await call.record()
  t.same(committed(record), [true])
  t.equal(call.double.session.truncations.length, 1, 'the service knows what was heard')
  t.equal(record.turns.length, 2)
  t.equal(record.turns.filter(({ answerMs }) => answerMs === null).length, 0, 'both were answered')
})

t.test('"stop" interrupts an answer of OpenAI and gets no answer', async (t) => {
  const call = await openAiCall(
    t,
    'HD_stop0000000001',
    [{ say: STATUS, ...slowly }, { say: 'I have stopped.' }],
    // The word alone is long enough by now and then.
    (agent) => ({ ...agent, bargeIn: { ...agent.bargeIn, commitMs: 400 } }),
  )
  await call.say('Where is my order?')
  await call.answers()
  await call.say('Stop!')
  await until(() => call.double.session.truncations.length === 1, 15_000, 'the service to know what was heard')
  await until(() => !call.line.soundSince(time.nowMs() - 1500), 20_000, 'the agent to be quiet')
  const record = await call.record()
  t.same(committed(record), [true])
  t.match(record.bargeIns[0]?.why, /^words in /)
  t.notMatch(JSON.stringify(record.transcript), /I have stopped/)
})
