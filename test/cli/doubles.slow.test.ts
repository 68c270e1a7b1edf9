import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import type { CallReport } from '../../src/simulator/call-report.js'
import { run } from '../../src/cli/program.js'
import { PROCESS_TERMINAL } from '../../src/cli/terminal.js'
import { loadConfig } from '../../src/config/load-config.js'
import { agentFacts, backendSettings, hostedAgents } from '../../src/gateway/agents/hosted-agents.js'
import { CascadeModels } from '../../src/simulator/vendors/cascade-models.js'
import { DialogueModel } from '../../src/simulator/vendors/dialogue-model.js'
import { callerSays } from '../support/caller-says.js'
import { whole } from '../support/gateway.js'
import { hold, inbound, orderStatusAgent, startHost, TestLine, time } from '../support/host.js'
import type { HostChanges } from '../support/host.js'
import { carrierComplaints, simulateOneCall } from '../support/simulated.js'
import { until } from '../support/until.js'
import { endsWith, mkondo } from './mkondo-process.js'

// The doubles hear and speak. Their calls are on this thread, at the pace of real time; one test has a whole gateway.
t.setTimeout(300_000)
t.jobs = 4

/** Stops the calls' clock while this method works, so that a call does not depend on the speed of the machine. */
function standsDuring<Name extends string>(of: Record<Name, (...args: never[]) => Promise<unknown>>, name: Name): void {
  const work = of[name]
  of[name] = function (this: unknown, ...args: never[]) {
    return hold(work.apply(this, args))
  }
}
standsDuring(DialogueModel.prototype, 'nextCallerText')
standsDuring(DialogueModel.prototype, 'nextReply')
standsDuring(CascadeModels.prototype, 'understand')
standsDuring(CascadeModels.prototype, 'speak')

/** `mkondo double SERVICE` on a free port. Gives the variables that it prints. */
async function double(t: Test, service: string): Promise<Record<string, string>> {
  const stop = new AbortController()
  let printed = ''
  const running = run(['double', service, '--port', '0'], {
    ...PROCESS_TERMINAL,
    out: (text) => (printed += text),
    env: {},
    signal: stop.signal,
  })
  t.teardown(async () => {
    stop.abort()
    return running
  })
  while (!printed.includes('export ')) {
    await Promise.race([running, new Promise((resolve) => setTimeout(resolve, 50))])
  }
  return Object.fromEntries(
    [...printed.matchAll(/^export (\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value] as const),
  )
}

/** Proves who they are, aloud because what is keyed reaches no model, and hears their balance. */
const BALANCE = `
version: 1
name: balance
patienceMs: 3000
rules:
  - { heard: did not catch, repeat: true }
steps:
  - { say: What is my balance?, heard: report a problem }
  - { say: seven three eight six, heard: last four digits of your ID }
  - { say: five two nine one, heard: customer number }
  - { hangup: true, heard: anything else }
`

/** What is judged of a call: of its record, or of the report of `mkondo call`. */
type HeldCall = Pick<CallReport, 'transcript' | 'toolCalls' | 'turns' | 'backend' | 'outcome'>

const saidBy = (call: Pick<HeldCall, 'transcript'> | undefined): string =>
  (call?.transcript ?? [])
    .filter(({ role }) => role === 'agent')
    .map(({ text }) => text)
    .join(' ')
/** The tools that ran well, without the moves between stages. */
const ranWell = (call: Pick<HeldCall, 'toolCalls'> | undefined): string[] =>
  (call?.toolCalls ?? []).filter(({ name, ok }) => ok && name !== 'go_to_stage').map(({ name }) => name)

/** A caller asks the order line for their order by voice, wants nothing else, and hears the goodbye. */
async function asks(
  t: Test,
  agents: NonNullable<HostChanges['agents']>,
  variables: Readonly<Record<string, string>>,
): Promise<CallRecord> {
  const test = await startHost({ agents, backends: backendSettings(loadConfig(variables, null)), paced: true })
  t.teardown(() => test.close())
  const call = inbound('HD_double000001')
  const line = new TestLine(test.host.prepare(call))
  line.start()
  for (const [said, words] of [
    ['Hello, this is the order line', "where's my order"],
    ['Is there anything else', 'no thank you'],
  ] as const) {
    const isSaid = (): boolean => saidBy(line.call.view()).includes(said)
    await time.until(isSaid, LIMIT_MS, `"${said}"`)
    await time.until(() => !line.soundSince(time.nowMs() - QUIET_MS), LIMIT_MS, 'the end of its sound')
    line.say(await callerSays(words))
  }
  return test.recordOf(call.callSid)
}

/** Silence in ms after which the caller speaks, longer than the pauses of the agent's voice. */
const QUIET_MS = 1000
/** Maximum time in ms of a sentence of the agent, on the clock of the call. */
const LIMIT_MS = 60_000

function askedWell(t: Test, asked: HeldCall | undefined, backend: string, output = 'its backend'): void {
  t.equal(asked?.backend, backend, output)
  t.match(saidBy(asked), /Order 4127 is out for delivery\. PikiPiki should be with you today/)
  t.equal(asked?.outcome, 'contained')
  t.same(ranWell(asked), ['lookup_order', 'end_call'])
  t.equal(saidBy(asked).split('Hello, this is the order line').length, 2, 'one greeting')
  // The last one may have been a goodbye that nobody waited for.
  t.ok(
    (asked?.turns ?? []).slice(0, -1).every(({ answerMs }) => answerMs !== null),
    'every turn was answered',
  )
}

// The tools of support are one path for all services, and so are the carrier and the gateway's sockets. The longest test
// begins first.
t.test('a double of cascade carries a call on the order line and one of support', { buffered: true }, async (t) => {
  const { at, close } = await whole({ ...(await double(t, 'cascade')), MEDIA_WORKERS: '1' })
  t.teardown(close)
  const from = ['--from', '+254700000001']
  const script = ['--script', join(t.testdir({ 'script.yaml': BALANCE }), 'script.yaml')]
  // One after the other: beside another call four spoken digits were once heard as five.
  const order = await simulateOneCall({ ...at, args: from })
  const support = await simulateOneCall({ ...at, agent: 'support', args: [...from, ...script] })
  const [[asked], [helped]] = [order.calls, support.calls]
  askedWell(t, asked, 'cascade', order.output)
  t.same(carrierComplaints(asked), [])
  t.equal(helped?.backend, 'cascade', support.output)
  t.match(saidBy(helped), /your balance is KES 350/, 'the account of the verified caller')
  t.same(ranWell(helped), ['verify_caller', 'verify_caller', 'getAccount'])
  t.same(carrierComplaints(helped), [])
})

// That each protocol of a cascade carries speech is in test/simulator/spoken-doubles.slow.test.ts; a server with OpenAI's protocol
// passes the suite of conformance.
for (const [service, backend = service] of [
  ['openai'],
  ['openai-live'],
  ['gemini'],
  ['azure-voice-live'],
  ['xai'],
  // Their language model has a double of its own.
  ['anthropic', 'cascade'],
  ['gemini-text', 'cascade'],
] as const)
  t.test(`a double of ${service} carries a call on the order line`, { buffered: true }, async (t) => {
    const variables = await double(t, service)
    const { agents } = await hostedAgents(loadConfig(variables, null), { SHOP_API_URL: 'http://127.0.0.1:1' })
    askedWell(t, await asks(t, agents, variables), backend)
  })

/** `mkondo double SERVICE` as a process of its own. Gives the variables that it prints. */
async function doubleProcess(t: Test, service: string): Promise<Record<string, string>> {
  const double = mkondo(['double', service, '--port', '0'])
  endsWith(t, double)
  const { lines } = double
  await until(() => lines.some((line) => line.startsWith('export LLM_MODEL')), 60_000, `the double of ${service}`)
  return Object.fromEntries(
    lines.flatMap((line) => {
      const [, name, value] = /^export (\w+)=(.*)$/.exec(line) ?? []
      return name === undefined || value === undefined ? [] : [[name, value] as const]
    }),
  )
}

t.test('two doubles together carry one call', { buffered: true }, async (t) => {
  const [google, azure] = await Promise.all([doubleProcess(t, 'google'), doubleProcess(t, 'azure')])
  // The recogniser and the voice of one, the model of the other.
  const definition = {
    ...(await orderStatusAgent()),
    backends: { cascade: { stt: { service: 'google' }, tts: { service: 'google' } } },
  }
  const hosted = { definition, facts: agentFacts(definition), shares: allCallsOn('cascade') }
  const asked = await asks(t, new Map([['order-status', hosted]]), { ...google, ...azure })
  t.match(saidBy(asked), /Order 4127 is out for delivery/)
  t.same(ranWell(asked), ['lookup_order', 'end_call'])
})
