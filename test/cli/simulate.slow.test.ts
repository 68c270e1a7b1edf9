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
