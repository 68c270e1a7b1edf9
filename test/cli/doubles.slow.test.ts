import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { run } from '../../src/cli/program.js'
import { PROCESS_TERMINAL } from '../../src/cli/terminal.js'
import type { CallReport } from '../../src/simulator/call-report.js'
import { whole } from '../support/gateway.js'
import { carrierComplaints, simulateOneCall } from '../support/simulated.js'

// Calls are spoken in real time, one at a time for each double.
t.setTimeout(300_000)
t.jobs = 3

/** `mkondo double SERVICE` on a free port. Gives the variables that it prints. */
async function double(t: Test, service: string, ...agents: readonly string[]): Promise<Record<string, string>> {
  const stop = new AbortController()
  let printed = ''
  const running = run(['double', service, '--port', '0', ...agents.flatMap((agent) => ['--agent', agent])], {
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

/** Proves who they are on the keypad, and hears their balance. */
const BALANCE = `
version: 1
name: balance
patienceMs: 3000
rules:
  - { heard: did not catch, repeat: true }
steps:
  - { say: What is my balance?, heard: report a problem }
  - { press: '7386#', heard: last four digits of your ID }
  - { press: '5291#', heard: customer number }
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

for (const [service, backend] of [
  ['openai', 'openai'],
  ['openai-live', 'openai-live'],
  ['gemini', 'gemini'],
  ['realtime', 'self-hosted'],
  ['cascade', 'cascade'],
] as const) {
  t.test(`a double of ${service} holds a call on the order line and one of support`, { buffered: true }, async (t) => {
    const variables = await double(t, service)
    const { at, close } = await whole({ ...variables, MEDIA_WORKERS: '1' })
    t.teardown(close)
    const order = await simulateOneCall({ ...at, args: ['--from', '+254700000001'] })
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

    const file = join(t.testdir({ 'script.yaml': BALANCE }), 'script.yaml')
    const support = await simulateOneCall({
      ...at,
      agent: 'support',
      args: ['--from', '+254700000001', '--script', file],
    })
    const [helped] = support.calls
    t.equal(helped?.backend, backend, support.output)
    t.match(saidBy(helped), /your balance is KES 350/, 'the account of a caller who was verified')
    t.same(ranWell(helped), ['verify_caller', 'verify_caller', 'getAccount'])
    t.same(carrierComplaints(helped), [])
  })
}

// One recogniser and one voice; that all protocols carry speech is in test/simulator/spoken-doubles.test.ts.
for (const service of ['openai-transcription', 'elevenlabs']) {
  t.test(
    `a double of ${service} holds a call on the order line over its own protocol`,
    { buffered: true },
    async (t) => {
      const { at, close } = await whole({ ...(await double(t, service, 'order-status')), MEDIA_WORKERS: '1' })
      t.teardown(close)
      const { calls, output } = await simulateOneCall({ ...at, args: ['--from', '+254700000001'] })
      const [asked] = calls
      t.equal(asked?.backend, 'cascade', output)
      t.match(saidBy(asked), /Order 4127 is out for delivery\. PikiPiki should be with you today/)
      t.same(ranWell(asked), ['lookup_order', 'end_call'])
      t.same(carrierComplaints(asked), [])
    },
  )
}
