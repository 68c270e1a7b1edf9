/** Scenarios whose caller and judge are language models, played by a double of a chat model. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import t from 'tap'
import type { ScenarioReport } from '../../src/simulator/scenarios/report.js'
import { loadConfig } from '../../src/config/load-config.js'
import { backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { BoundedModels } from '../../src/simulator/scenarios/bounded-models.js'
import { passAllOf, wilsonInterval } from '../../src/simulator/scenarios/pass-rates.js'
import { parseScenario } from '../../src/simulator/scenarios/scenario.js'
import { PeopleDouble } from '../../src/vendors/self-hosted/people-double.js'
import { command } from '../support/command.js'

const KEY = 'sk-double'
const folder = await mkdtemp(join(tmpdir(), 'mkondo-judged-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const prices = join(folder, 'prices.json')
await writeFile(
  prices,
  JSON.stringify({ currency: 'USD', backends: { cascade: { inputPerMillionTokens: 1, outputPerMillionTokens: 2 } } }),
)

const ASKS = `version: 1
name: asks
agent: order-status
mode: text
caller:
  model:
    persona: A polite caller.
    goal: Learn where the parcel is.
    turns: 5
    lines: [Where is my order?, 'No, thank you.']
judge: { criteria: { says-status: The agent says where the order is., is-polite: The agent is polite. } }
expect: { called: [{ tool: lookup_order, times: 1 }] }
`

/** Runs scenarios against a double. */
async function judged(
  options: readonly string[],
  texts: readonly string[] = [ASKS],
  env: Readonly<Record<string, string>> = {},
) {
  const double = await PeopleDouble.start({ key: KEY })
  try {
    const own = await mkdtemp(join(folder, 'run-'))
    const json = join(folder, 'report.json')
    for (const [index, text] of texts.entries()) await writeFile(join(own, `${index}.yaml`), text)
    const models = { LLM_URL: double.baseUrl, LLM_API_KEY: KEY, LLM_MODEL: 'people', PRICES_FILE: prices }
    const { code, out, err } = await command(['simulate', own, '--json', json, ...options], {
      env: { ...models, ...env },
    })
    const report = JSON.parse(await readFile(json, 'utf8').catch(() => 'null')) as ScenarioReport | null
    return { code, out, err, asked: double.asked, report }
  } finally {
    await double.close()
  }
}

t.test('the interval of a pass rate matches the published examples', (t) => {
  // R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
  for (const [passed, runs, low, high] of [
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ] as const) {
    const interval = wilsonInterval(passed, runs)
    t.same(
      [interval.low, interval.high].map((one) => Number(one.toFixed(4))),
      [low, high],
      `${passed} of ${runs}`,
    )
  }
  t.equal(wilsonInterval(3, 3).high, 1)
  t.end()
})

t.test('repeated runs have own seeds and one pass rate', async (t) => {
  const kept = join(folder, 'kept')
  await mkdir(kept)
  const name = 'order-status-asks.json'
  await writeFile(join(kept, name), 'of an earlier run')
  await chmod(join(kept, name), 0o644)
  const options = ['--model-cost', '1', '--repeat', '2', '--seed', '7', '--jobs', '1', '--transcripts', kept]
  const { code, out, report, asked } = await judged(options)
  t.equal(code, 0, out)
  t.same([...new Set(asked.map(({ seed }) => seed))], [8, 9])
  t.match(out, /2 of 2, 100 % \(34 to 100 %\)\s+order-status\/asks\n\s+2 of 2, 100 % \(34 to 100 %\)\s+all/)
  t.match(report?.rates, [{ agent: 'order-status', name: 'asks', runs: 2, passed: 2, undecided: 0, rate: 1, high: 1 }])
  t.match(report?.rate, { runs: 2, passed: 2 })
  // Answers of the caller and one of the judge, each of 400 and 20 tokens.
  t.match(report?.models, { requests: asked.length, cost: asked.length * 0.00044 })
  const verdicts = [{ verdict: 'pass' }, { verdict: 'pass' }]
  t.match(report?.results[0]?.judged, { callerFault: null, judgeFault: null, criteria: verdicts })

  t.same((await readdir(kept)).sort(), [name, 'order-status-asks~2.json'])
  for (const file of await readdir(kept)) t.equal((await stat(join(kept, file))).mode & 0o777, 0o600, file)
  const text = await readFile(join(kept, name), 'utf8')
  t.match(JSON.parse(text), { name: 'asks', seed: 8, judged: { criteria: [{ name: 'says-status' }, {}] } })
  t.match(text, /where is my order/i)
  t.notMatch(text, /2547000000\d\d/)
})

t.test('a run stops at the allowed model cost', async (t) => {
  const options = ['--model-cost', '0.0015', '--repeat', '20', '--jobs', '1']
  const { code, err, report, asked } = await judged(options)
  t.equal(code, 1)
  t.match(err, /stopped: --model-cost 0\.0015 USD is reached/)
  t.equal(asked.length, 4, 'the request that reaches the amount is the last')
  t.ok((report?.rate?.runs ?? 0) <= 2, 'no call is placed after it')
  t.equal(report?.rate?.undecided, 1)
})

t.test('models get no more requests than allowed', async (t) => {
  const double = await PeopleDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const settings = backendSettings(
    loadConfig({ LLM_URL: double.baseUrl, LLM_API_KEY: KEY, LLM_MODEL: 'people', PRICES_FILE: prices }, null),
  )
  const bounds = { settings, costMax: 1, requestsMax: 2, signal: new AbortController().signal }
  const request = {
    messages: [
      { role: 'system' as const, content: 'x' },
      { role: 'user' as const, content: 'y' },
    ],
    tools: [],
    seed: 1,
  }
  const models = new BoundedModels(bounds)
  await models.ask(undefined, request)
  await models.ask(undefined, request)
  await t.rejects(models.ask(undefined, request), { message: '--model-requests 2 is reached' })
  t.equal(models.stopped.aborted, true)
  t.equal(double.asked.length, 2)
  double.reports = false
  const blind = new BoundedModels(bounds)
  await t.rejects(blind.ask(undefined, request), /did not report what it charges/)
  await t.rejects(blind.ask(undefined, request), /did not report what it charges/)
  t.equal(double.asked.length, 3)
})

t.test('a model without a price is refused before the call', async (t) => {
  const free = await judged(['--model-cost', '0'])
  t.equal(free.code, 2)
  t.match(free.err, /people@127\.0\.0\.1:\d+ costs money, and --model-cost is 0; PRICES_FILE may give it another price/)
  t.equal(free.asked.length, 0)
  const { code, err, asked } = await judged(['--model-cost', '1'], [ASKS], { PRICES_FILE: '' })
  t.equal(code, 2)
  t.match(err, /people@127\.0\.0\.1:\d+ has no price, so that --model-cost cannot hold.*PRICES_FILE/)
  t.equal(asked.length, 0)
})

t.test('a faulty model never makes a passed call', async (t) => {
  const scripted = `  steps: [{ say: 'Where is my order?' }, { say: 'No, thank you.' }]\n`
  const named = (name: string, text = ASKS): string => text.replace('name: asks', `name: ${name}`)
  const caller = (model: string): string =>
    named(`caller-${model}`, ASKS.replace('turns: 5', `turns: 2\n    llm: { model: ${model} }`))
  const judge = (model: string): string =>
    named(
      `judge-${model}`,
      ASKS.replace(/ {2}model:[^]*(?=judge:)/, scripted).replace('judge: {', `judge: { llm: { model: ${model} },`),
    )
  const texts = [
    ...['refuses', 'malformed', 'endless'].map(caller),
    ...['lies', 'quotes-the-caller', 'refuses', 'malformed'].map(judge),
  ]
  const { code, out, report } = await judged(['--model-cost', '1'], texts)
  t.equal(code, 1)
  t.match(report, { passed: 0, failed: 7, rate: { passed: 0, undecided: 7 } })
  t.match(out, /0 of 1, 0 % \(0 to 79 %\)\s+order-status\/judge-lies; 1 undecided/)
  const wrong = Object.fromEntries(
    (report?.results ?? []).map(({ name, findings }) => [name, JSON.stringify(findings)]),
  )
  t.match(wrong, {
    'caller-refuses': /the caller's model: refused to answer/,
    'caller-malformed': /the caller's model: answered nothing/,
    'caller-endless': /the caller's model: did not hang up within 2 answers/,
    'judge-lies': /the judge says unclear of says-status \(it says pass, with a quote that the agent never said\)/,
    'judge-quotes-the-caller': /unclear of says-status \(it says pass, with a quote that the agent never said\)/,
    'judge-refuses': /the judge's model: refused to judge/,
    'judge-malformed': /the judge's model: the model did not fill in the form/,
  })
  t.notMatch(JSON.stringify(report), /Nobody has ever said/)
})

t.test("a scenario's caller is a model or a script", (t) => {
  const fault = (text: string): string => {
    try {
      parseScenario(text, 'x.yaml')
      return ''
    } catch (thrown) {
      return String(thrown)
    }
  }
  t.equal(fault(ASKS), '')
  t.match(
    fault(ASKS.replace('caller:', 'caller:\n  steps: [{ say: Hello. }]')),
    /leave out steps and rules, or the model/,
  )
  t.match(fault(ASKS.replace('judge: { criteria: { says', 'judge: { criteria: { Says')), /a name of a-z 0-9 -/)
  t.match(fault(ASKS.replace(/criteria: \{.*?\} \}/, 'criteria: {} }')), /has no criterion/)
  t.end()
})

t.test('the double behaves like the vendor towards its client', async (t) => {
  const double = await PeopleDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const client = new OpenAI({ apiKey: KEY, baseURL: double.baseUrl, maxRetries: 0 })
  const messages = [
    { role: 'system' as const, content: 'You call.\nFor example, such a caller says:\nHabari.' },
    { role: 'user' as const, content: 'Hello.' },
  ]
  const request = { model: 'people', stream: true as const, seed: 1, messages }
  let said = ''
  for await (const chunk of await client.chat.completions.create(request)) said += chunk.choices[0]?.delta.content ?? ''
  t.equal(said, 'Habari.')
  const refused = async (more: object): Promise<unknown> => {
    return client.chat.completions.create({ ...request, ...more }).then(
      () => 200,
      (thrown: unknown) => (thrown as InstanceType<typeof OpenAI.APIError>).status,
    )
  }
  t.equal(await refused({ seeds: 1 }), 400)
  t.equal(await refused({ seed: 'one' }), 400)
  t.equal(await refused({ messages: messages.slice(0, 1) }), 400)
  const stranger = new OpenAI({ apiKey: 'sk-other', baseURL: double.baseUrl, maxRetries: 0 })
  await t.rejects(stranger.chat.completions.create(request), { message: /Incorrect API key/ })
})

void t.test('pass^k needs all of k runs', (t) => {
  const shares = passAllOf([
    { runs: 4, passed: 4 },
    { runs: 5, passed: 3 },
  ])
  t.strictSame(
    shares.map(({ k, rate }) => [k, Math.round(rate * 1000)]),
    // Of the second: 3/5, C(3,2)/C(5,2), and never four.
    [
      [1, 800],
      [2, 650],
      [4, 500],
    ],
  )
  t.strictSame(passAllOf([]), [])
  t.end()
})
