/** The shipped judged scenarios, against a double of a chat model. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startPayDemo } from '../../examples/pay-api/demo.js'
import { packageRoot } from '../../src/config/package-root.js'
import type { ScenarioReport } from '../../src/simulator/scenarios/report.js'
import { PeopleDouble } from '../../src/vendors/self-hosted/people-double.js'
import { command } from '../support/command.js'

t.jobs = 2

const folder = await mkdtemp(join(tmpdir(), 'mkondo-judged-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const prices = join(folder, 'prices.json')
await writeFile(
  prices,
  JSON.stringify({ currency: 'USD', backends: { cascade: { inputPerMillionTokens: 0, outputPerMillionTokens: 0 } } }),
)
const double = await PeopleDouble.start({ key: 'sk-double' })
t.teardown(() => double.close())
const env = { LLM_URL: double.baseUrl, LLM_API_KEY: 'sk-double', LLM_MODEL: 'people', PRICES_FILE: prices }

t.test('the judged scenarios pass with scripted caller and judge', { buffered: true }, async (t) => {
  const pay = await startPayDemo({ pinMs: 5 })
  t.teardown(() => pay.close())
  const example = join(packageRoot(), 'examples', 'pay-api')
  const sets = [
    [join(packageRoot(), 'scenarios', 'judged')],
    [join(example, 'scenarios'), '--agents', join(example, 'agents')],
  ]
  for (const template of ['appointments', 'receptionist']) {
    const made = join(folder, template)
    t.match(await command(['init', made, '--template', template]), { code: 0 })
    sets.push([join(made, 'scenarios'), '--agents', join(made, 'agents')])
  }
  const agents: string[] = []
  for (const [index, set] of sets.entries()) {
    const json = join(folder, `set-${index}.json`)
    const only = index === 0 ? [] : ['--filter', 'judged-by-a-model']
    const argv = ['simulate', ...set, ...only, '--model-cost', '0', '--json', json]
    const { code, out, err } = await command(argv, {
      env: { ...env, AGENT_ENV: 'SHOP_API_URL,PAY_API_URL', PAY_API_URL: pay.url },
    })
    t.equal(code, 0, out + err)
    const report = JSON.parse(await readFile(json, 'utf8')) as ScenarioReport
    t.match(report, { failed: 0, skipped: 0, models: { cost: 0 }, rate: { undecided: 0 } })
    agents.push(...report.results.map(({ agent }) => agent))
  }
  t.same(
    ['order-status', 'pay', 'appointments', 'receptionist', 'support'].map(
      (name) => agents.filter((agent) => agent === name).length,
    ),
    [7, 1, 1, 1, 3],
  )
})

t.test('a model as caller works in a spoken call', { buffered: true }, async (t) => {
  // A short greeting, because a spoken call takes as long as a call.
  const agents = join(folder, 'agents')
  await cp(join(packageRoot(), 'agents'), agents, { recursive: true })
  const agent = join(agents, 'order-status.yaml')
  await writeFile(agent, (await readFile(agent, 'utf8')).replace(/^greeting: .*$/m, 'greeting: Hello.'))
  const file = join(folder, 'spoken.yaml')
  await writeFile(
    file,
    [
      'version: 1',
      'agent: order-status',
      'mode: audio',
      'caller:',
      '  model: { persona: Somebody in a hurry., goal: To end the call., lines: [Goodbye.] }',
      'judge: { criteria: { says-line: The agent says goodbye. } }',
      'expect: { understood: goodbye }',
      '',
    ].join('\n'),
  )
  const { code, out } = await command(['simulate', file, '--model-cost', '0', '--agents', agents], { env })
  t.equal(code, 0, out)
  t.ok(double.asked.some(({ messages }) => messages.some(({ content }) => content === 'Hello.')))
})
