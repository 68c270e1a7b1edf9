import { execFile } from 'node:child_process'
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { run } from '../../src/cli/program.js'
import { PROCESS_TERMINAL } from '../../src/cli/terminal.js'
import type { ScenarioReport } from '../../src/simulator/scenarios/report.js'
import { SIMULATOR_KEY } from '../../src/simulator/choices.js'
import { runAudioCall } from '../../src/simulator/scenarios/audio-call.js'
import { findScenarios } from '../../src/simulator/scenarios/scenario.js'
import type { Scenario } from '../../src/simulator/scenarios/scenario.js'
import { AnalystDouble } from '../../src/vendors/self-hosted/analyst-double.js'
import { command } from '../support/command.js'
import { freePort } from '../support/free-ports.js'
import { portOf } from '../support/port-of.js'
import { parseXml } from '../support/xml-tree.js'
import { MKONDO } from './mkondo-process.js'

const simulate = (argv: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  command(['simulate', ...argv], { env })

const folder = await mkdtemp(join(tmpdir(), 'mkondo-scenarios-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const shipped = join(packageRoot(), 'scenarios')

/** A scenario file of its own in a folder of its own. */
async function scenarioFile(name: string, text: string): Promise<string> {
  const file = join(folder, `${name}.yaml`)
  await writeFile(file, text)
  return file
}

const ASKS = `version: 1
agent: order-status
caller:
  rules: [{ about: status, say: 'No, thank you.' }]
  steps: [{ say: 'Where is my order?', heard: tell me your order number }]
`

t.test('the shipped text scenarios pass [1]', async (t) => {
  const json = join(folder, 'shipped.json')
  const junit = join(folder, 'shipped.xml')
  const { code, out, err } = await simulate([shipped, '--mode', 'text', '--json', json, '--junit', junit])
  t.equal(code, 0, `${out}${err}`)
  const text = await readFile(json, 'utf8')
  const report = JSON.parse(text) as ScenarioReport
  const files = (await readdir(shipped, { recursive: true })).filter((name) => name.endsWith('.yaml')).length
  // Four are spoken, and ten have callers and judges that are models.
  t.match(report, { version: 1, passed: files - 14, failed: 0, skipped: 14 })
  t.same([...new Set(report.results.map((result) => result.agent))], ['order-status', 'support'])
  const callMs = report.results.reduce((sum, result) => sum + (result.call?.durationMs ?? 0), 0)
  t.ok(report.realMs < callMs / 2, `${report.realMs} ms for ${callMs} ms of calls`)
  t.notMatch(text, /2547000000\d\d/, 'no number of a caller is in the report')
  // The shop's answer before their first word is used by nothing, and kept nowhere.
  const strangers = report.results.filter(({ name }) => /^(wrong-number-known-caller|nimekosea-namba)$/.test(name))
  t.equal(strangers.length, 2)
  for (const { name, call } of strangers)
    t.notMatch(JSON.stringify(call), /4127|PikiPiki|out_for/, `${name}: nothing of the order of a known wrong number`)
  const skipped = [...new Set(report.results.flatMap((result) => result.skipped ?? []))].sort()
  t.match(skipped, ['it needs mode audio', /a model, which costs money: .*--model-cost/])
  const suites = parseXml(await readFile(junit, 'utf8'))
  t.match(suites.attributes, { tests: String(files), failures: '0', skipped: '14' })
})

t.test('the variables of an environment file count', async (t) => {
  const made = join(folder, 'from-a-file')
  t.match(await command(['init', made, '--template', 'order-status']), { code: 0 })
  const file = join(folder, 'simulate.env')
  await writeFile(file, `AGENTS_DIR=${join(made, 'agents')}\n`)
  const { code, out, err } = await simulate([join(made, 'scenarios'), '--mode', 'text', '--env-file', file])
  t.equal(code, 0, out + err)
  t.match(await simulate([join(made, 'scenarios'), '--env-file', join(folder, 'none')]), {
    code: 2,
    err: /--env-file '.*none' cannot be read/,
  })
})

t.test('calls and check work with each TZ of a container', async (t) => {
  const withZone = (zone: string, ...args: readonly string[]): Promise<{ code: number; output: string }> =>
    new Promise((resolve) => {
      const env = {
        PATH: process.env['PATH'] ?? '',
        PORT: '0',
        OPS_PORT: '0',
        DATA_DIR: join(folder, `zone${zone}`),
        TZ: zone,
      }
      execFile(process.execPath, [...MKONDO, ...args], { env }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr })
      })
    })
  const scenario = join(shipped, 'languages/order-status-in-english.yaml')
  for (const zone of ['', 'Etc/Unknown', 'EAT-3', 'Mars/Base']) {
    const call = await withZone(zone, 'simulate', scenario, '--mode', 'text')
    t.equal(call.code, 0, `TZ=${zone}: ${call.output}`)
    const { code, output } = await withZone(zone, 'check', '--with-shop')
    t.equal(code, 0, output)
    t.match(output, /TZ is empty or not an IANA name: agents without context\.timeZone use UTC/, `TZ=${zone}`)
  }
  t.notMatch((await withZone('Africa/Nairobi', 'check', '--with-shop')).output, /TZ is empty/)
})

t.test('a refused consent stops recording, in either language', async (t) => {
  const agents = join(folder, 'refusable')
  await cp(join(packageRoot(), 'agents'), agents, { recursive: true })
  const consent = `{ en: 'This call is recorded. Say no if you mind.', sw: 'Inarekodiwa.' }`
  await appendFile(
    join(agents, 'order-status.yaml'),
    `\nrecording:\n  enabled: true\n  consent: ${consent}\n  refusal: {}\n`,
  )
  const kept = 'nothing of this call is kept'
  const ask = (say: string): string => `{ say: '${say}', heard: mind }`
  const order = `{ say: 'Where is my order?', heard: order number }`
  const files = await Promise.all([
    scenarioFile(
      'no',
      `version: 1\nagent: order-status\ncaller: { steps: [${ask('No.')}, ${order}] }\nexpect: { said: ${kept} }\n`,
    ),
    scenarioFile(
      'hapana',
      `version: 1\nagent: order-status\ncaller: { steps: [${ask('Hapana.')}] }\nexpect: { said: ${kept} }\n`,
    ),
    scenarioFile(
      'asks',
      `version: 1\nagent: order-status\ncaller: { steps: [${ask('Where is my order?')}] }\nexpect: { neverSaid: ${kept}, said: out for delivery }\n`,
    ),
  ])
  const { code, out } = await simulate([...files, '--agents', agents])
  t.equal(code, 0, out)
})

t.test('a failed expectation shows its conversation and exits with 1', async (t) => {
  const file = await scenarioFile(
    'wrong',
    `${ASKS}expect:\n  neverSaid: out for delivery\n  called: [{ tool: lookup_order, with: { orderNumber: '1111' } }]\n`,
  )
  const junit = join(folder, 'wrong.xml')
  const sarif = join(folder, 'wrong.sarif')
  const { code, out } = await simulate([file, '--junit', junit, '--sarif', sarif])
  t.equal(code, 1)
  t.match(JSON.parse(await readFile(sarif, 'utf8')), {
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { rules: [{ id: 'order-status/wrong' }] } },
        results: [
          {
            ...{ ruleId: 'order-status/wrong', level: 'error', message: { text: /"out for delivery" was said/ } },
            locations: [{ physicalLocation: { artifactLocation: { uri: /\/wrong\.yaml$/ } } }],
          },
        ],
      },
    ],
  })
  t.match(out, /^FAILED order-status\/wrong text/m)
  t.match(out, /"out for delivery" was said: "Order 4127 is out for delivery\./)
  t.match(out, /lookup_order with orderNumber: 1111 was called never/)
  t.match(
    out,
    /\d s caller +where is my order\n +\d+\.\d s agent +Order 4127 is out for delivery/,
    'the conversation before it',
  )
  t.match(out, /1 failed, 0 passed/)
  const xml = await readFile(junit, 'utf8')
  t.match(xml, /<testcase name="wrong \(text\)" classname="order-status"/)
  t.match(xml, /<failure type="expectation" message="[^"]*was said/)
  t.match(xml, /<system-out>call HD_/)
  const failure = parseXml(xml).children[0]?.children[0]?.children.find(({ name }) => name === 'failure')
  t.match(failure?.text, /"out for delivery" was said: "Order 4127/, 'a reader gets the quotes and line ends back')
  t.match(failure?.attributes['message'], /"out for delivery" was said: "Order 4127/)
})

t.test('a claim without its tool call fails the call', async (t) => {
  const agents = await mkdtemp(join(folder, 'agents-'))
  const agent = await readFile(join(packageRoot(), 'agents/order-status.yaml'), 'utf8')
  const claims = agent.replace('en: Is there anything else?', 'en: I have cancelled it. Is there anything else?')
  t.not(claims, agent)
  await writeFile(join(agents, 'order-status.yaml'), claims)
  const file = await scenarioFile('claims', `${ASKS}expect: { neverSaid: refund }\n`)
  const { code, out } = await simulate([file, '--agents', agents])
  t.equal(code, 1, out)
  t.match(
    out,
    /the agent claimed what nothing supports \(it has no tool for that: no-tool\); it said <have> \* \(cancelled/,
  )
})

/** Too few keys, then the number in two ways, then the code. */
const KEYS_AND_WORDS = `version: 1
agent: parcel
caller:
  steps:
    - { press: '82#', heard: say or key in your parcel number }
    - { press: '8214#', heard: did not get all }
    - { press: '1', heard: I have 8 }
    - { press: '4127', heard: key in your secret code }
    - { say: Goodbye., heard: Your parcel is }
expect:
  said: ['Parcel 8214.', 'Your parcel is']
  called:
    - { tool: collect_digits, with: { name: parcel-number } }
    - { tool: open_parcel, with: { code: '••••' } }
    - { tool: collect_digits, with: { name: code } }
  neverSaid: '4127'
`

t.test('secret digits of a caller appear in no report', async (t) => {
  const file = await scenarioFile('keys-and-words', KEYS_AND_WORDS)
  const [json, keypad] = [join(folder, 'keys.json'), join(packageRoot(), 'test/agents/keypad')]
  const { code, out } = await simulate([file, '--mode', 'text', '--agents', keypad, '--json', json])
  t.equal(code, 0, out)
  t.notMatch(await readFile(json, 'utf8'), /4127/)
})

t.test('a run that cannot start exits with 2', async (t) => {
  const good = await scenarioFile('good', `${ASKS}expect: { outcome: contained }\n`)
  const unknownKey = await scenarioFile('unknown-key', `${ASKS}expect: { outcom: contained }\n`)
  const contradiction = await scenarioFile('contradiction', `${ASKS}expect: { outcome: escalated, escalated: false }\n`)
  const noAgent = await scenarioFile(
    'no-agent',
    ASKS.replace('order-status', 'sales').concat('expect: { outcome: contained }\n'),
  )
  const url = `http://127.0.0.1:${await freePort()}`
  const cases: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['an unknown option', [good, '--fast'], /unknown option '--fast'/],
    ['a file that is not there', [join(folder, 'nothing.yaml')], /nothing\.yaml cannot be read/],
    [
      'an unknown key',
      [unknownKey],
      /unknown-key\.yaml:6:11: expect\.outcom is not a key of expect; did you mean outcome\?/,
    ],
    [
      'a contradiction',
      [contradiction],
      /contradiction\.yaml:6:\d+: expect\.escalated is false, but the outcome is escalated/,
    ],
    [
      'an agent that is not there',
      [noAgent],
      /no-agent\.yaml: there is no agent sales; allowed: order-status, support/,
    ],
    ['a filter that nothing has', [good, '--filter', 'refund'], /no scenario matches --filter/],
    ['a filter that cannot be read', [good, '--filter', '/(/'], /--filter .* cannot be read/],
    [
      'no gateway',
      [good, '--url', url, '--ops-url', url],
      /no gateway answers at --url http:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED/,
    ],
    ['half of a gateway', [good, '--url', url], /--url and --ops-url need each other/],
    ['text through a gateway', [good, '--url', url, '--ops-url', url, '--mode', 'text'], /runs without a gateway/],
    ['too many at once', [good, '--jobs', '1000'], /--jobs is "1000"; allowed: a whole number from 1 to 64/],
    ['an agents folder that is not there', [good, '--agents', join(folder, 'none')], /cannot read the agents folder/],
  ]
  for (const [what, argv, expected] of cases) {
    const { code, out, err } = await simulate(argv)
    t.equal(code, 2, what)
    t.match(err, expected, what)
    t.equal(out, '', 'nothing was run')
  }
})

t.test('two scenarios with the same name are refused', async (t) => {
  const first = await scenarioFile('first', `${ASKS}name: twin\nexpect: { outcome: contained }\n`)
  const second = await scenarioFile('second', `${ASKS}name: twin\nexpect: { outcome: contained }\n`)
  const { code, err } = await simulate([first, second])
  t.equal(code, 2)
  t.match(err, /the name "twin" is already used by .*first\.yaml/)
})

t.test("an agent is simulated without its model's key", async (t) => {
  const agents = join(folder, 'keyless')
  await mkdir(agents)
  const text = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  await writeFile(join(agents, 'order-status.yaml'), text.replace(/^backend: .*$/m, 'backend: [cascade, gemini]'))
  const file = await scenarioFile('keyless', `${ASKS}expect: { outcome: contained }\n`)
  t.match(await simulate([file, '--agents', agents]), { code: 0, out: /1 passed/ })
})

t.test('a call that does not end is ended and fails', async (t) => {
  const file = await scenarioFile(
    'endless',
    'version: 1\nagent: order-status\ntimeoutS: 6\ncaller: { steps: [{ wait: 600000 }] }\nexpect: { turns: 0 }\n',
  )
  const startedMs = performance.now()
  const { code, out } = await simulate([file])
  t.equal(code, 1)
  t.match(out, /the call did not end within 6 s/)
  t.match(out, /agent +Hello, this is the order line/, 'the transcript so far is shown')
  t.ok(performance.now() - startedMs < 30_000)
})

t.test('kept calls of similar names get separate files', async (t) => {
  const yaml = `version: 1\nagent: order-status\ncaller: { steps: [{ say: 'Wrong number.' }] }\n`
  const files = [await scenarioFile('kept', yaml), await scenarioFile('kept-2', yaml)]
  const kept = join(folder, 'transcripts')
  const { code, out } = await simulate([...files, '--repeat', '2', '--transcripts', kept])
  t.equal(code, 0, out)
  const names = [
    'order-status-kept.json',
    'order-status-kept-2.json',
    'order-status-kept-2~2.json',
    'order-status-kept~2.json',
  ]
  t.same((await readdir(kept)).sort(), names.sort())
})

t.test('scenarios that would share a kept file are refused', async (t) => {
  const yaml = (name: string) =>
    `version: 1\nname: ${name}\nagent: order-status\ncaller: { steps: [{ say: 'Wrong number.' }] }\n`
  const files = [
    await scenarioFile('one-file-a', yaml('is it late')),
    await scenarioFile('one-file-b', yaml('is-it-late')),
  ]
  const kept = join(folder, 'one-file')
  const { code, err } = await simulate([...files, '--transcripts', kept])
  t.equal(code, 2)
  t.match(
    err,
    /one-file-b\.yaml and .*one-file-a\.yaml would write their calls to the same file, order-status-is-it-late\.json/,
  )
  t.match(await simulate(files), { code: 0 }, 'without --transcripts both run')
})

t.test('--filter selects, --repeat changes the seed, --list runs nothing', async (t) => {
  const json = join(folder, 'repeated.json')
  const { code } = await simulate([
    shipped,
    '--filter',
    '/status.(knows|interrupts)/',
    '--repeat',
    '2',
    '--seed',
    '10',
    '--json',
    json,
  ])
  t.equal(code, 0)
  const { results } = JSON.parse(await readFile(json, 'utf8')) as ScenarioReport
  t.same(
    results.map(({ name, repetition, seed }) => [name, repetition, seed]),
    [
      ['interrupts-the-greeting', 1, 11],
      ['interrupts-the-greeting', 2, 12],
      ['knows-the-number', 1, 11],
      ['knows-the-number', 2, 12],
    ],
  )
  const said = (index: number): unknown => results[index]?.call?.transcript.map((line) => [line.role, line.text])
  t.same(said(2), said(3), 'the same is said every time')
  const listed = await simulate([shipped, '--list', '--filter', 'support'])
  t.equal(listed.code, 0)
  t.equal(listed.out.trim().split('\n').length, 13)
  t.match(listed.out, /^support\/opening-hours audio /m)
})

t.test('`--json -` prints only the report on standard output', async (t) => {
  const file = await scenarioFile('json', `${ASKS}expect: { outcome: contained }\n`)
  const { code, out, err } = await simulate([file, '--json', '-'])
  t.equal(code, 0)
  t.equal((JSON.parse(out) as ScenarioReport).passed, 1)
  t.match(err, /^ok +order-status\/json text/m)
})

t.test('a caller reaches a human or is offered a callback', async (t) => {
  const files = await Promise.all(
    ['continues', 'reposts'].flatMap((afterStream) =>
      // The human's action, and its value in the record.
      Object.entries({ answered: 'answered', busy: 'busy', declined: 'failed' }).map(([human, outcome]) =>
        scenarioFile(
          `${afterStream}-${human}`,
          [
            'version: 1',
            'agent: order-status',
            'caller:',
            '  rules: [{ heard: press 1, press: "1" }]',
            '  steps: [{ say: I want to talk to a person., heard: tell me your order number }, { wait: 60000 }]',
            `carrier: { afterStream: ${afterStream} }`,
            `human: { outcome: ${human} }`,
            'expect:',
            `  outcome: ${human === 'answered' ? 'escalated' : 'failed'}`,
            `  escalated: { outcome: ${outcome}, strategy: after-stream-dial, callback: ${human !== 'answered'} }`,
            `  said: [I am connecting you to a colleague${human !== 'answered' ? ', none of my colleagues is free, will call you back' : ''}]`,
            '',
          ].join('\n'),
        ),
      ),
    ),
  )
  const { code, out } = await simulate(files)
  t.equal(code, 0, out)
})

t.test("a broken gateway fails the call with the carrier's view", async (t) => {
  const broken = createServer((request, response) => {
    const ops = request.url?.startsWith('/api/') === true
    response.writeHead(ops ? 200 : 500, { 'content-type': 'application/json' }).end(ops ? '{"calls":[]}' : '{}')
  })
  const url = `http://127.0.0.1:${await portOf(t, broken)}`
  const file = await scenarioFile('broken', `${ASKS}expect: { outcome: contained }\n`)
  const quiet = await scenarioFile('quiet', `${ASKS}mode: text\nexpect: { outcome: contained }\n`)
  const { code, out } = await simulate([file, quiet, '--url', url, '--ops-url', url])
  t.equal(code, 1)
  t.match(out, /^FAILED order-status\/broken audio/m)
  t.match(out, /the voice webhook \(Ringing\) was answered with 500/)
  t.match(out, /the gateway has no record of the call/)
  t.match(out, /^skipped order-status\/quiet text: text mode runs without a gateway/m)
  t.match(out, /1 failed, 0 passed, 1 skipped/)
})

t.test('a stopped run ends its calls and fails', async (t) => {
  const stop = new AbortController()
  const out: string[] = []
  const err: string[] = []
  const slow = await scenarioFile('stopped', `${ASKS}expect: { outcome: contained }\n`)
  const code = await run(['simulate', slow, '--repeat', '50', '--jobs', '1'], {
    ...PROCESS_TERMINAL,
    out: (text) => {
      if (out.push(text) === 2) stop.abort()
    },
    err: (text) => err.push(text),
    env: {},
    signal: stop.signal,
  })
  t.equal(code, 1)
  t.match(err.join(''), /stopped before all scenarios had run/)
  t.ok(out.length < 6, 'the other calls were not started')
})

t.test('a spoken call stopped during start-up is not placed', async (t) => {
  const campaign = join(packageRoot(), 'examples', 'campaigns', 'scenarios')
  const placed = (await findScenarios([campaign])).filter((one) => one.placed !== null)
  const incoming = await findScenarios([await scenarioFile('early', `${ASKS}expect: { outcome: contained }\n`)])
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    response.end('{}')
  })
  const url = `http://127.0.0.1:${await portOf(t, server)}`
  for (const scenario of [...incoming, ...placed.slice(0, 1)]) {
    const stop = new AbortController()
    const gateway = () => {
      stop.abort()
      return Promise.resolve({ url, opsUrl: url, opsToken: null, secret: null })
    }
    const options = { shopUrl: null, seed: 1, agentYaml: null, recordTo: null, signal: stop.signal }
    await t.rejects(runAudioCall({ ...options, gateway, scenario }), { message: /stopped before the call was placed/ })
  }
  t.strictSame(asked, [])
})

t.test('a placed call stopped early is hung up unanswered', async (t) => {
  const campaign = join(packageRoot(), 'examples', 'campaigns', 'scenarios')
  const scenario = (await findScenarios([campaign])).find((one) => one.placed !== null) as Scenario
  const stop = new AbortController()
  const states: (string | null)[] = []
  let carrierUrl = ''
  const server = createServer((request, response) => {
    void textOf(request).then(async (body) => {
      if (request.url !== '/api/calls') {
        states.push(new URLSearchParams(body).get('callSessionState'))
        return void response.end('<Response/>')
      }
      stop.abort()
      const { from, to } = JSON.parse(body) as { readonly from: string; readonly to: string }
      const placed = await fetch(`${carrierUrl}/v1/calls/originate`, {
        method: 'POST',
        headers: { authorization: `Bearer ${SIMULATOR_KEY}`, 'content-type': 'application/json' },
        body: JSON.stringify({ from, to, clientRequestId: 'order-1', webhook_url: `${url}/voice` }),
      })
      response.writeHead(placed.status).end()
    })
  })
  const url = `http://127.0.0.1:${await portOf(t, server)}`
  const gateway = (carrier: string | null) => {
    carrierUrl = carrier ?? ''
    return Promise.resolve({ url, opsUrl: url, opsToken: null, secret: null })
  }
  const options = { shopUrl: null, seed: 1, agentYaml: null, recordTo: null, signal: stop.signal }
  t.match(await runAudioCall({ ...options, gateway, scenario }), { ended: 'hung up through the REST API' })
  t.notOk(states.includes('Answered'), states.join())
})

t.test('the scenario sets the time of the call', async (t) => {
  const json = join(folder, 'at.json')
  const file = await scenarioFile('at', `${ASKS}at: '2031-02-03T04:05:06+03:00'\nexpect: { outcome: contained }\n`)
  const { code, out } = await simulate([file, '--json', json])
  t.equal(code, 0, out)
  t.match(JSON.parse(await readFile(json, 'utf8')), { results: [{ status: 'passed', mode: 'text' }] })
})

t.test('help lists the options', async (t) => {
  const { code, out } = await simulate(['--help'])
  t.equal(code, 0)
  for (const option of ['--junit', '--url', '--mode', '--repeat', '--filter']) t.match(out, option)
})

t.test('a scenario checks fields filled in by the text model', async (t) => {
  const analyst = await AnalystDouble.start()
  t.teardown(() => analyst.close())
  const agents = await mkdtemp(join(folder, 'agents-'))
  const shippedAgent = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  const fields = '{ intent: { type: string, enum: [order, refund] }, used: { known: tools } }'
  await writeFile(join(agents, 'order-status.yaml'), `${shippedAgent}\nanalysis: { fields: ${fields} }\n`)
  const env = { AGENTS_DIR: agents, LLM_URL: analyst.baseUrl, LLM_MODEL: 'analyst' }
  const expecting = (what: string): Promise<string> =>
    scenarioFile('about', `${ASKS}expect:\n  fields: { intent: ${what}, used: /lookup_order/ }\n`)
  const right = await simulate([await expecting('order')], env)
  t.equal(right.code, 0, right.out)
  const wrong = await simulate([await expecting('refund')], env)
  t.equal(wrong.code, 1)
  t.match(wrong.out, /the field intent is "order"; expected refund/)
  t.equal(analyst.requests.length, 2)
  const none = await simulate([await expecting('null')], { AGENTS_DIR: agents })
  t.equal(none.code, 0, 'without a model the gateway fills in what it knows')
})
