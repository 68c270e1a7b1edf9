import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { run } from '../../src/cli/program.js'
import { PROCESS_TERMINAL } from '../../src/cli/terminal.js'
import type { CallReport } from '../../src/simulator/call-report.js'
import { whole } from '../support/gateway.js'
import { carrierComplaints, simulateOneCall } from '../support/simulated.js'
import { until } from '../support/until.js'
import { endsWith, mkondo } from './mkondo-process.js'

t.jobs = 4

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

const saidBy = (call: CallReport | undefined): string =>
  (call?.transcript ?? [])
    .filter(({ role }) => role === 'agent')
    .map(({ text }) => text)
    .join(' ')
/** The tools that ran well, without the moves between stages. */
const ranWell = (call: CallReport | undefined): string[] =>
  (call?.toolCalls ?? []).filter(({ name, ok }) => ok && name !== 'go_to_stage').map(({ name }) => name)

// That each protocol of a cascade carries speech is in test/simulator/spoken-doubles.slow.test.ts; a server with OpenAI's protocol
// passes the suite of conformance.
for (const [service, backend = service] of [
  ['openai'],
  ['openai-live'],
  ['gemini'],
  ['azure-voice-live'],
  ['xai'],
  ['cascade'],
  // Their language model has a double of its own.
  ['anthropic', 'cascade'],
  ['gemini-text', 'cascade'],
] as const) {
  // The tools of support are one path for all.
  const support = service === 'cascade'
  const calls = `a call on the order line${support ? ' and one of support' : ''}`
  t.test(`a double of ${service} carries ${calls}`, { buffered: true }, async (t) => {
    const variables = await double(t, service)
    const { at, close } = await whole({ ...variables, MEDIA_WORKERS: '1' })
    t.teardown(close)
    const from = ['--from', '+254700000001']
    const script = ['--script', join(t.testdir({ 'script.yaml': BALANCE }), 'script.yaml')]
    // One after the other: beside another call four spoken digits were once heard as five.
    const order = await simulateOneCall({ ...at, args: from })
    const helpedRun = support ? await simulateOneCall({ ...at, agent: 'support', args: [...from, ...script] }) : null
    const [asked] = order.calls
    t.equal(asked?.backend, backend, order.output)
    t.match(saidBy(asked), /Order 4127 is out for delivery\. PikiPiki should be with you today/)
    t.equal(asked?.outcome, 'contained')
    t.same(ranWell(asked), ['lookup_order', 'end_call'])
    t.equal(saidBy(asked).split('Hello, this is the order line').length, 2, 'one greeting')
    // The last one may have been a goodbye that nobody waited for.
    t.ok(
      (asked?.turns ?? []).slice(0, -1).every(({ answerMs }) => answerMs !== null),
      'every turn was answered',
    )
    t.same(carrierComplaints(asked), [])

    if (helpedRun === null) return
    const [helped] = helpedRun.calls
    t.equal(helped?.backend, backend, helpedRun.output)
    t.match(saidBy(helped), /your balance is KES 350/, 'the account of the verified caller')
    t.same(ranWell(helped), ['verify_caller', 'verify_caller', 'getAccount'])
    t.same(carrierComplaints(helped), [])
  })
}

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
  const variables = { ...google, ...azure, MEDIA_WORKERS: '1' }
  const { at, close } = await whole(variables, (yaml) =>
    yaml.replace(
      /^backend: auto$/m,
      'backend: cascade\nbackends: { cascade: { stt: { service: google }, tts: { service: google } } }',
    ),
  )
  t.teardown(close)
  const { calls, output } = await simulateOneCall({ ...at, args: ['--from', '+254700000001'] })
  const [asked] = calls
  t.match(saidBy(asked), /Order 4127 is out for delivery/, output)
  t.same(ranWell(asked), ['lookup_order', 'end_call'])
})
