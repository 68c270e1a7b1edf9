import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import type { ScenarioReport } from '../../src/simulator/scenarios/report.js'
import { command } from '../support/command.js'
import { portOf } from '../support/port-of.js'

// Calls of 10 to 30 s in real time, at once. More of them: end-to-end.slow.test.ts.
t.setTimeout(300_000)
t.jobs = 2

const folder = await mkdtemp(join(tmpdir(), 'mkondo-spoken-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const shipped = join(packageRoot(), 'scenarios')

t.test('the shipped spoken scenarios pass against a gateway', { buffered: true }, async (t) => {
  const json = join(folder, 'report.json')
  const options = ['--filter', '/opening-hours|keys-in-a/', '--jobs', '2', '--record', join(folder, 'wav')]
  const { code, out, err } = await command(['simulate', shipped, '--json', json, ...options])
  t.equal(code, 0, out + err)
  t.same(
    (JSON.parse(await readFile(json, 'utf8')) as ScenarioReport).results.map((result) => result.mode),
    ['audio', 'audio'],
  )
  t.same((await readdir(join(folder, 'wav'))).sort(), [
    'order-status-keys-in-a-noisy-street.wav',
    'support-opening-hours.wav',
  ])
})

t.test('a mailbox gets its message after its greeting [1]', { buffered: true }, async (t) => {
  const example = join(packageRoot(), 'examples/campaigns')
  const argv = ['simulate', join(example, 'scenarios'), '--agents', join(example, 'agents'), '--mode', 'audio']
  const { code, out, err } = await command([...argv, '--jobs', '2', '--json', '-'])
  t.equal(code, 0, out + err)
  const { results } = JSON.parse(out) as ScenarioReport
  t.same(
    results.filter(({ status }) => status === 'passed').map(({ name }) => name),
    ['mailbox-with-a-name', 'sanduku-la-sauti'],
  )
})

t.test('"the second one" of two times is understood when spoken', { buffered: true }, async (t) => {
  const made = join(folder, 'clinic')
  t.match(await command(['init', made, '--template', 'appointments']), { code: 0 })
  const argv = ['simulate', join(made, 'scenarios'), '--agents', join(made, 'agents'), '--mode', 'audio']
  const { code, out, err } = await command([...argv, '--filter', 'second-of-two-times'])
  t.equal(code, 0, out + err)
  t.match(out, /^1 passed/m)
})

t.test('an own agent offers a human if its API is dead', { buffered: true }, async (t) => {
  const api = createServer((_request, response) => response.writeHead(500).end())
  const port = await portOf(t, api)
  const made = join(folder, 'dead-line')
  t.match(await command(['init', made, '--template', 'order-status']), { code: 0 })
  const file = join(made, 'agents/dead-line.yaml')
  const agent = await readFile(file, 'utf8')
  const tool = `tools:
  - name: lookup_order
    description: Looks an order up.
    parameters: { properties: { orderNumber: { type: string } }, required: [orderNumber] }
    http: { url: 'http://127.0.0.1:${port}/orders/{{args.orderNumber}}', allowPrivate: true }
escalation: { numbers: ['+254709000001'] }
`
  t.match(agent, /^modules: .*\n/m)
  await writeFile(file, agent.replace(/^modules: .*\n/m, tool))
  const json = join(folder, 'dead.json')
  const { code, out } = await command([
    ...['simulate', join(made, 'scenarios'), '--agents', join(made, 'agents'), '--json', json],
    ...['--mode', 'text', '--filter', 'first-call'],
  ])
  t.equal(code, 1, out)
  t.match(out, /outcome is abandoned/)
  t.match(out, /the tool lookup_order failed at \d+\.\d s: TOOL_HTTP, the API answered 500/)
  const [result] = (JSON.parse(await readFile(json, 'utf8')) as ScenarioReport).results
  t.match(
    result?.call?.toolCalls.find(({ name }) => name === 'lookup_order'),
    { error: 'TOOL_HTTP', status: 500 },
  )
  t.match(
    result?.call?.transcript.map(({ text }) => text).join(' '),
    /cannot look that up right now.*to speak to a colleague, press 1 or say yes/,
    'the runbook tools-fail.md promises this',
  )

  const accepts = join(made, 'accepts.yaml')
  await writeFile(
    accepts,
    `version: 1
agent: dead-line
mode: text
caller:
  order: '4127'
  steps: [{ say: '4127' }, { say: 'Yes.' }, { say: 'Yes.', heard: to speak to a colleague }]
expect: { outcome: escalated, escalated: true }
`,
  )
  const accepted = await command(['simulate', accepts, '--agents', join(made, 'agents'), '--mode', 'text'])
  t.equal(accepted.code, 0, accepted.out + accepted.err)
})

t.test('a caller hears a filler during a slow tool', async (t) => {
  const shop = createServer((_request, response) => {
    void sleep(3300).then(() => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(
        JSON.stringify({
          orders: [{ orderNumber: '7777', status: 'packed', eta: 'tomorrow', courier: null, items: [] }],
        }),
      )
    })
  })
  const port = await portOf(t, shop)
  const file = join(folder, 'slow.yaml')
  await writeFile(
    file,
    [
      'version: 1',
      'agent: order-status',
      'caller:',
      '  steps:',
      '    - { say: Where is my order?, interruptAfterMs: 100 }',
      '    - hangup: true',
      'expect:',
      '  said: [One moment, Order 7777 is packed]',
      '  turns: { min: 1 }',
      '',
    ].join('\n'),
  )
  const { code, out } = await command(['simulate', file], {
    env: { SHOP_API_URL: `http://127.0.0.1:${port}` },
  })
  t.equal(code, 0, out)
})
