import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { run as mkondo } from '../../src/cli/program.js'
import { PROCESS_TERMINAL } from '../../src/cli/terminal.js'
import type { SimulatedCallResult } from '../../src/carrier/call-options.js'
import {
  type Expectation,
  expectationsOf,
  type GatewaySays,
  goalOf,
  reportOf,
} from '../../src/simulator/call-report.js'
import { readWavFile } from '../../src/carrier/caller-leg.js'
import type { GatewayCall } from '../../src/simulator/gateway-view.js'
import { textPattern } from '../../src/simulator/spoken-words.js'
import { command } from '../support/command.js'
import { until } from '../support/until.js'
import { GatewayDouble } from './support/gateway-double.js'
import { freePort } from '../support/free-ports.js'
import { portOf } from '../support/port-of.js'

const run = (argv: readonly string[], env: Readonly<Record<string, string>> = {}) => command(['call', ...argv], { env })

void t.test('wrong usage prints one line and exits with 2', async (t) => {
  const wrong = async (argv: string[], message: RegExp, env = {}): Promise<void> => {
    const { code, err, out } = await run(argv, env)
    t.equal(code, 2, argv.join(' '))
    t.match(err, message)
    t.equal(err.split('\n').length, 2, 'one line')
    t.equal(out, '')
  }
  await wrong(['--ordre', '4127'], /unknown option '--ordre'; did you mean --order\?/)
  await wrong(['--order', 'abc'], /--order is "abc"; allowed: 3 to 12 digits/)
  await wrong(['--order', '4127', '--wav', 'x.wav'], /exclude each other/)
  await wrong(['--rate', '44100'], /one of 8000, 16000/)
  await wrong(['--calls', '0'], /whole number from 1/)
  await wrong(['--echo', '61'], /--echo is "61"; allowed: a whole number from 0 to 60/)
  await wrong(['--echo', '20', '--echo-delay', '10'], /whole number from 20 to 1000/)
  await wrong(['--echo-delay', '80'], /--echo-delay needs --echo/)
  await wrong(['--url', 'ftp://x'], /http or https/)
  await wrong(['--script', '/nowhere.yaml'], /cannot be read/)
  await wrong(['--wav', '/nowhere.wav'], /cannot be read/)
  await wrong(['--expect', '/(late/'], /--expect is "\/\(late\/": Invalid regular expression/)
  await wrong(['--expect', '...'], /--expect is "\.\.\."; allowed: words/)
  await wrong(
    ['--expect-outcome', 'fine'],
    /--expect-outcome is "fine"; allowed: one of contained, escalated, abandoned, failed/,
  )
  await wrong([], /PORT is "80800"; allowed: a whole number from 1 to 65535/, { PORT: '80800' })
  await wrong([], /OPS_PORT is "x"/, { OPS_PORT: 'x' })
  const { err } = await run(['--from', '+2547123456x'])
  t.notMatch(err, /123456x/, 'a phone number is not repeated')
  t.match(await run(['--help']), { code: 0, out: /--order <n>[^]*OPS_PORT[^]*--expect-tool <name>[^]*Exit codes/ })
})

void t.test('a call without the ops port is reported from audio', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-'))
  const double = await GatewayDouble.start({
    answer: (post, self) =>
      post.fields['callSessionState'] === 'Ringing' ? self.streamDocument() : '<Response></Response>',
  })
  t.teardown(async () => {
    double.close()
    await rm(folder, { recursive: true })
  })
  const script = join(folder, 'call.yaml')
  await writeFile(
    script,
    'version: 1\norder: "4127"\npatienceMs: 500\nsteps:\n  - say: hello\n  - press: "5"\n  - hangup: true\n',
  )
  const json = join(folder, 'calls.json')
  const record = join(folder, 'call.wav')
  const { code, out } = await run([
    '--url',
    double.origin,
    '--script',
    script,
    '--json',
    json,
    '--record',
    record,
    '--ops-url',
    'http://127.0.0.1:9',
    '--expect',
    'was cancelled',
  ])
  t.equal(code, 1, 'what was expected was not said')
  t.match(out, /expected "was cancelled": NO, the agent said nothing that was understood/)
  t.match(out, /did NOT reach its goal: expected "was cancelled"/)
  t.match(out, /ops port cannot be reached/)
  const report = JSON.parse(await readFile(json, 'utf8')) as { calls: unknown[] }
  t.match(report.calls, [
    {
      agent: null,
      backend: null,
      outcome: null,
      source: 'caller',
      toolCalls: [],
      recording: record,
      heard: { order: null, status: null },
      transcript: [
        { role: 'caller', text: 'hello' },
        { role: 'caller', text: '[keys 5]' },
      ],
      turns: [{ firstSoundMs: null, answerMs: null }, {}],
    },
  ])
  const wav = await readWavFile(record)
  t.equal(wav.sampleRateHz, 8000)
  t.ok(
    wav.pcm.some((sample) => Math.abs(sample) > 3000),
    'the caller is on the left',
  )
})

void t.test('a missing gateway is reported before anything is synthesised', async (t) => {
  const port = String(await freePort())
  const expected = new RegExp(
    `^mkondo: no gateway at http://127\\.0\\.0\\.1:${port} \\(.*ECONNREFUSED.*\\); start one with npm start, or set --url or PORT\n$`,
  )
  t.match(await run(['--url', `http://127.0.0.1:${port}`]), { code: 1, out: '', err: expected })
  t.match(
    await run([], { PORT: port }),
    { code: 1, out: '', err: expected },
    'PORT is where the gateway of the same environment listens',
  )
})

/** The ops port of a gateway that has these calls. */
async function opsDouble(
  t: Test,
  answers: Readonly<Record<string, { readonly status: number; readonly body: object }>>,
): Promise<string> {
  const server = createServer((request, response) => {
    const { status, body } = answers[request.url ?? ''] ?? answers['*'] ?? { status: 404, body: {} }
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  return String(await portOf(t, server))
}

void t.test('an expectation about the record requires the ops port', async (t) => {
  const double = await GatewayDouble.start({ answer: () => '<Response></Response>' })
  t.teardown(() => {
    double.close()
  })
  const opsPort = String(await freePort())
  for (const wish of [
    ['--expect-tool', 'lookup_order'],
    ['--expect-outcome', 'contained'],
  ]) {
    t.match(await run(['--url', double.origin, ...wish], { OPS_PORT: opsPort }), {
      code: 1,
      out: '',
      err: new RegExp(
        `need the gateway's record, but the ops port cannot be reached at http://127\\.0\\.0\\.1:${opsPort} \\(--ops-url, OPS_PORT, OPS_TOKEN\\)`,
      ),
    })
  }
  t.equal(double.posts.length, 0, 'no call was placed')
})

void t.test('a fallback document does not count as success', async (t) => {
  const double = await GatewayDouble.start({
    answer: ({ fields }) =>
      fields['callSessionState'] === 'Ringing'
        ? '<Response><Say>Sorry.</Say><Dial phoneNumbers="+254720000010"/><Hangup/></Response>'
        : '<Response></Response>',
  })
  t.teardown(() => {
    double.close()
  })
  const opsPort = await opsDouble(t, { '/readyz': { status: 503, body: { ready: false, reason: 'draining' } } })
  const { code, out } = await run(['--url', double.origin, '--human'], { OPS_PORT: opsPort })
  t.equal(code, 1)
  t.match(
    out,
    /did NOT reach its goal: no agent took the call; the gateway answered with its fallback document \(Say, Dial, Hangup\): the gateway is draining/,
  )
  t.match(out, /a human was dialled: answered/, 'and yet somebody answered')
  t.notMatch(out, /order none/)
})

void t.test('the goal needs the right status of the right order', (t) => {
  const expected: Expectation = {
    ...NOTHING_MORE,
    kind: 'order',
    order: '4127',
    statuses: new Map([
      ['4127', 'out_for_delivery'],
      ['2968', 'delivered'],
    ]),
  }
  t.equal(goalOf(result({ order: '4127', status: 'out_for_delivery' }), UNSEEN, expected).reached, true)
  t.match(goalOf(result({ order: '4127', status: 'delivered' }), UNSEEN, expected), {
    reached: false,
    why: /shop says "out_for_delivery"/,
  })
  t.match(goalOf(result({ order: '2968', status: 'delivered' }), UNSEEN, expected), {
    reached: false,
    why: /asked about 4127 and heard 2968/,
  })
  t.match(goalOf(result({ status: 'out_for_delivery' }), UNSEEN, expected), { reached: false })
  t.match(goalOf(result({}), UNSEEN, expected), { reached: false, why: /never heard a status/ })
  t.equal(
    goalOf(result({ status: 'delivered' }), UNSEEN, { ...expected, order: null }).reached,
    true,
    'one of their orders',
  )
  t.end()
})

void t.test('the words that were said decide if the caller misunderstood them', (t) => {
  const expected: Expectation = {
    ...NOTHING_MORE,
    kind: 'order',
    order: '4127',
    statuses: new Map([['4127', 'out_for_delivery']]),
  }
  const said = 'Order 4127 is out for delivery. Is there anything else?'
  const lines: GatewayCall['transcript'] = [
    { role: 'caller', text: '4127', startMs: 5000, endMs: 6000, language: 'en' },
    { role: 'agent', text: said, startMs: 7000, endMs: 11_000, language: 'en' },
  ]
  const says = seen('contained', { transcript: lines })
  const ear = (startMs: number, endMs: number): SimulatedCallResult => ({
    ...result({ order: '4128', text: ['order four one two eight'] }),
    stream: { openedMs: 2000 } as SimulatedCallResult['stream'],
    heardPieces: [{ startMs: 2000 + startMs, endMs: 2000 + endMs, text: 'order four one two eight' }],
  })
  t.match(goalOf(ear(7050, 10_900), says, expected), {
    reached: true,
    why: 'the caller was told "out_for_delivery" for order 4127, and its sound arrived; understood otherwise: the caller never heard a status',
  })
  t.match(goalOf(ear(7050, 8000), says, expected), { reached: false }, 'its sound was lost')
  t.match(goalOf(ear(1000, 5000), says, expected), { reached: false }, 'only the greeting sounded')
  t.match(goalOf(ear(7050, 10_900), UNSEEN, expected), { reached: false }, 'nobody knows what was said')
  const wrong = { ...expected, statuses: new Map([['4127', 'delivered']]) }
  t.match(goalOf(ear(7050, 10_900), says, wrong), { reached: false }, 'it was said, and it is wrong')
  t.end()
})

void t.test('without known data the goal needs the requested order', (t) => {
  const expected: Expectation = { ...NOTHING_MORE, kind: 'order', order: '4127', statuses: new Map() }
  const status = 'out_for_delivery'
  const said = 'order four one two seven is out for delivery'
  const misheard = `${said} one three five should be with you eight three five six`
  t.match(goalOf(result({ order: '1358356', status, text: ['order 4127', misheard] }), UNSEEN, expected), {
    reached: true,
    why: 'the caller heard "out_for_delivery" for order 4127; which status is right is not known (--shop-url)',
  })
  t.match(goalOf(result({ order: '41270', status, text: ['order 41270'] }), UNSEEN, expected), {
    reached: false,
    why: /asked about 4127 and heard 41270/,
  })
  t.match(goalOf(result({ order: '4127', text: ['order 4127'] }), UNSEEN, expected), { reached: false })
  const known = { ...expected, statuses: new Map([['4127', status]]) }
  t.match(
    goalOf(result({ order: '1358', status, text: [said, 'order one three five eight'] }), UNSEEN, known),
    { reached: false, why: /heard 1358/ },
    'where the truth is known, the number that the agent corrects itself to counts',
  )
  t.end()
})

void t.test("the caller uses the gateway's own shop API", async (t) => {
  const asked: string[] = []
  const shop = createServer((request, response) => {
    asked.push(`${request.headers.host ?? ''}${request.url ?? ''}`)
    response.writeHead(404).end('{}')
  })
  const port = await portOf(t, shop)
  const settings = { status: 200, body: { settings: { SHOP_API_URL: `http://127.0.0.1:${port}` } } }
  const opsPort = await opsDouble(t, { '/api/settings': settings })
  const double = await GatewayDouble.start({ answer: () => '<Response><Hangup/></Response>' })
  t.teardown(() => {
    double.close()
  })
  const call = (...more: readonly string[]) =>
    run(['--url', double.origin, '--from', '+254700000001', ...more], { OPS_PORT: opsPort })
  await call('--order', '4127')
  t.same(asked.splice(0), [
    `127.0.0.1:${port}/api/orders?order_number=4127`,
    `127.0.0.1:${port}/api/orders?phone=%2B254700000001`,
  ])
  await call('--order', '4127', '--shop-url', `http://localhost:${port}`)
  t.match(asked.splice(0), [/^localhost:/, /^localhost:/])
  await call('--human')
  t.same(asked, [], 'nobody who asks for no order')
})

const UNSEEN: GatewaySays = { call: null, notReady: null }
const NOTHING_MORE = { texts: [], tools: [], outcomes: [], phrases: {} } as const
const TALK: Expectation = { ...NOTHING_MORE, kind: 'talk', order: null, statuses: new Map() }

/** A call that was taken and heard. */
function result(heard: Partial<SimulatedCallResult['heard']>): SimulatedCallResult {
  return {
    callSid: 'HD_1',
    from: '',
    to: '',
    answered: true,
    ended: { by: 'caller', why: '' },
    durationMs: 1,
    webhooks: [],
    verbs: [],
    dials: [],
    streams: [],
    silences: [],
    stream: {
      openedMs: 0,
      path: '/audio',
      closedMs: 1,
      closedBy: 'us',
      closeCode: 1000,
      messagesSent: 1,
      messagesReceived: 1,
      samplesHeard: 1,
      samplesFlushed: 0,
      kills: 0,
      marksPlayed: 0,
      bytesDropped: 0,
    },
    said: [],
    heardPieces: [{ startMs: 0, endMs: 1, text: '' }],
    callerHeard: { greetingMs: null, turns: [], bargeIns: [] },
    complaints: [],
    audio: null,
    heard: { order: null, status: null, eta: null, text: [], ...heard },
  }
}

/** The gateway's record of it. */
function seen(outcome: 'contained' | 'failed' | 'refused', more: Partial<GatewayCall> = {}): GatewaySays {
  const record = {
    outcome,
    endReason: outcome === 'failed' ? 'backend-failed' : 'caller-hung-up',
    endDetail: '',
    turns: [],
    bargeIns: [],
  } as unknown as GatewayCall['record']
  return { call: { agent: 'a', backend: 'b', transcript: [], toolCalls: [], record, ...more }, notReady: null }
}

void t.test('an agent without a scenario must be heard and answer', (t) => {
  const answered: Expectation = { ...TALK, kind: 'answered' }
  const said = [{ startMs: 2000, endMs: 3000, text: 'hello' }] as unknown as SimulatedCallResult['said']
  const piece = (startMs: number) => ({ startMs, endMs: startMs + 500, text: '' })
  const goal = (more: Partial<SimulatedCallResult>) => goalOf({ ...result({}), ...more }, seen('contained'), answered)
  t.match(goal({ said, heardPieces: [piece(0), piece(3400)] }), { reached: true, why: /heard and answered/ })
  t.match(goal({ said, heardPieces: [piece(0)] }), { reached: false, why: /never answered the caller/ })
  t.match(goal({ said, heardPieces: [] }), { reached: false, why: /never heard/ })
  t.match(goal({ heardPieces: [piece(0)] }), { reached: false, why: /the caller never spoke/ })
  t.end()
})

void t.test("a scenario's call meets its file's expectations", (t) => {
  const expected: Expectation = { ...TALK, kind: 'scenario' }
  const goal = (findings: readonly string[], says: GatewaySays = seen('failed')) =>
    goalOf(result({}), { ...says, scenario: { name: 'first-call', findings } }, expected)
  t.match(goal([]), { reached: true, why: 'the call is as the scenario first-call expects' })
  t.match(goal(['"yes" was never said to the caller']), { reached: false, why: /first-call: "yes" was never said/ })
  t.match(goal(['x'], UNSEEN), { reached: false, why: /no record of this call \(--ops-url/ })
  t.end()
})

void t.test('an agent of your own is called by its scenario', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const double = await GatewayDouble.start({ answer: () => '<Response><Hangup/></Response>' })
  t.teardown(() => {
    double.close()
  })
  await mkdir(join(folder, 'agents'))
  await mkdir(join(folder, 'scenarios'))
  const call = (...more: readonly string[]) =>
    run(['--url', double.origin, '--agent', 'mine', ...more], { AGENTS_DIR: join(folder, 'agents'), OPS_PORT: '9' })
  t.match(await call('--json', '-'), { code: 1, err: /^(?![^]*scenario)[^]*did NOT reach its goal/ }, 'it has none')
  const scenario = (name: string, more: string): Promise<void> =>
    writeFile(
      join(folder, 'scenarios', `${name}.yaml`),
      `version: 1\nagent: mine\ncaller:\n  number: '+254711000001'\n${more}`,
    )
  await scenario('a-noisy-one', '  steps: [{ say: hi }]\nnoise: { snrDb: 10 }\n')
  await scenario('a-busy-human', '  steps: [{ say: hi }]\nhuman: { outcome: busy }\n')
  await scenario('a-carrier-that-hangs-up', '  steps: [{ say: hi }]\ncarrier: { streamFailsAfterMs: 100 }\n')
  await scenario('b-plain', '  steps: [{ say: hi }, { hangup: true }]\n')
  t.match(await call('--json', '-'), { err: /the caller of the scenario \S+b-plain\.yaml/ })
  t.match(double.posts.at(-1)?.fields, { callerNumber: '+254711000001' }, 'the number of the scenario')
})

void t.test('a failed call misses its goal unless failure was expected', (t) => {
  t.equal(goalOf(result({}), seen('contained'), TALK).reached, true)
  t.match(goalOf(result({}), seen('failed'), TALK), { reached: false, why: 'the outcome is failed: backend-failed' })
  t.equal(goalOf(result({}), seen('failed'), { ...TALK, outcomes: ['failed'] }).reached, true)
  t.match(goalOf(result({}), seen('contained'), { ...TALK, outcomes: ['failed', 'abandoned'] }), {
    reached: false,
    why: 'expected the outcome failed or abandoned; the outcome is contained (caller-hung-up)',
  })
  t.match(goalOf(result({}), UNSEEN, { ...TALK, outcomes: ['contained'] }), {
    reached: false,
    why: /no record of this call/,
  })
  const webhook = { atMs: 0, url: 'voice', state: 'Ringing', ms: 1, verbs: [], fault: null } as const
  const untaken = { ...result({}), stream: null }
  t.match(goalOf({ ...untaken, webhooks: [{ ...webhook, status: 401 }] }, UNSEEN, TALK), {
    reached: false,
    why: /webhook with 401: it wants another signature \(--secret\)/,
  })
  t.match(goalOf({ ...untaken, webhooks: [{ ...webhook, status: 200, verbs: ['Say'] }] }, seen('refused'), TALK), {
    reached: false,
    why: /fallback document \(Say\): it was refused \(/,
  })
  t.match(goalOf({ ...untaken, webhooks: [{ ...webhook, status: 200, verbs: ['Stream'] }] }, UNSEEN, TALK), {
    reached: false,
    why: /media socket was never opened/,
  })
  t.end()
})

void t.test('expectations are compared with audio, transcript and tools', (t) => {
  const expect = (...sources: string[]): Expectation => ({ ...TALK, texts: sources.map(textPattern) })
  const entry = { role: 'agent', text: 'Order 4127 is on its way.', startMs: 0, endMs: 1 } as const
  const transcript = [entry, { ...entry, role: 'caller', text: 'Where is my parcel?' } as const]
  t.match(
    expectationsOf(result({ text: ['order four one', 'two seven'] }), null, expect('order 4127')),
    [{ met: true }],
    'from the sound alone',
  )
  t.match(
    expectationsOf(result({}), seen('contained', { transcript }).call, expect('order 4127', '/on (its|the) way/')),
    [{ met: true }, { met: true }],
    'by the record',
  )
  t.match(expectationsOf(result({}), seen('contained', { transcript }).call, expect('parcel')), [
    { expected: '"parcel"', met: false, came: 'the agent said "Order 4127 is on its way."' },
  ])
  t.match(expectationsOf(result({}), null, expect('hello')), [
    { met: false, came: 'the agent said nothing that was understood' },
  ])
  const tools: Expectation = { ...TALK, tools: ['lookup_order', 'end_call'] }
  const ran = [
    { name: 'lookup_order', args: {}, startMs: 0, ms: 1, ok: true },
    { name: 'end_call', args: {}, startMs: 0, ms: 1, ok: false },
  ]
  t.match(expectationsOf(result({}), seen('contained', { toolCalls: ran }).call, tools), [
    { met: true },
    { expected: 'the tool end_call', met: false, came: 'tools that ran: lookup_order, end_call (failed)' },
  ])
  t.match(expectationsOf(result({}), seen('contained').call, { ...TALK, tools: ['lookup_order'] }), [
    { met: false, came: 'no tool ran' },
  ])
  t.end()
})

void t.test('order, status and eta are reported only if requested', (t) => {
  t.same(reportOf(result({ text: ['hello'] }), UNSEEN, TALK, null).heard, { text: ['hello'] })
  t.match(reportOf(result({ text: ['hello'] }), UNSEEN, { ...TALK, kind: 'order' }, null).heard, {
    text: ['hello'],
    order: null,
    status: null,
    eta: null,
  })
  t.end()
})

async function simulator(argv: readonly string[]) {
  const printed: string[] = []
  const print = (text: string) => printed.push(text)
  const stop = new AbortController()
  const done = mkondo(['simulator', ...argv], {
    ...PROCESS_TERMINAL,
    out: print,
    err: print,
    env: {},
    signal: stop.signal,
  })
  return { printed, stop, done }
}

t.test('a carrier double runs until it is stopped', async (t) => {
  const { printed, stop, done } = await simulator([
    '--port',
    '0',
    '--key',
    'k-all',
    '--key',
    'k-read=numbers.read',
    '--number',
    '+254700000077',
  ])
  await until(() => printed.some((line) => line.includes('REST API')), 10_000, 'the simulator')
  const origin = /http:\S+/.exec(printed.join(''))?.[0] ?? ''
  const ask = (path: string, key: string, method = 'GET') =>
    fetch(origin + path, { method, headers: { authorization: `Bearer ${key}` } })
  t.match(await (await ask('/v1/numbers', 'k-read')).json(), { numbers: [{ e164: '+254700000077' }] })
  t.equal((await ask('/v1/calls', 'k-read')).status, 403)
  t.equal((await ask('/v1/numbers', 'k-none')).status, 401)
  t.equal((await ask('/v1/nothing', 'k-all')).status, 404)
  t.equal((await ask('/v1/numbers', 'k-all', 'DELETE')).status, 405)
  const fault = await fetch(`${origin}/simulator/faults`, {
    method: 'POST',
    headers: { authorization: 'Bearer k-all' },
    body: JSON.stringify({ match: 'GET /v1/numbers', status: 429, retryAfterS: 7, times: 1 }),
  })
  t.equal(fault.status, 201)
  const limited = await ask('/v1/numbers', 'k-all')
  t.same([limited.status, limited.headers.get('retry-after')], [429, '7'])
  t.equal((await ask('/v1/numbers', 'k-all')).status, 200)
  stop.abort()
  t.equal(await done, 0)
  await t.rejects(ask('/v1/numbers', 'k-all'), 'and its port is free again')
})

t.test('wrong usage exits with 2 and the allowed values', async (t) => {
  for (const argv of [
    ['--port', 'x'],
    ['--callee', '+254700000001=ghost'],
    ['--number', '1'],
    ['--ring', '-1'],
    ['--what'],
  ]) {
    const { printed, done } = await simulator(argv)
    t.equal(await done, 2, argv.join(' '))
    t.match(printed.join(''), /see mkondo simulator --help/)
  }
  const help = await simulator(['--help'])
  t.equal(await help.done, 0)
  t.match(help.printed.join(''), /SAUTIKIT_API_URL/)
})
