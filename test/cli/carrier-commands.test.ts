import { execFile } from 'node:child_process'
import t from 'tap'
import type { CallRecord, CarrierDetail } from '../../src/call/documents/record.js'
import { carrierFindings } from '../../src/cli/check.js'
import { loadConfig } from '../../src/config/load-config.js'
import { parseCallSid } from '../../src/core/ids.js'
import { joinedRecord, resumeDetails } from '../../src/gateway/carrier-side.js'
import { outboundRecord, unreachedRecord } from '../../src/workers/main/call/call-record.js'
import { KEY, OUR_NUMBER, simulatedApi } from '../support/carrier-api.js'
import { command } from '../support/command.js'
import { MKONDO } from './mkondo-process.js'

function mkondo(
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [...MKONDO, ...args],
      { env: { PATH: process.env['PATH'] ?? '', ...env } },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, stdout, stderr })
      },
    )
  })
}

t.test('commands exit with 0 (done), 1 (refused), 2 (usage)', async (t) => {
  const { server } = await simulatedApi(t, { keys: { [KEY]: ['numbers.read'] } })
  const env = { SAUTIKIT_API_URL: server.origin, SAUTIKIT_API_KEY: KEY }
  const [done, refused, wrong, help] = await Promise.all([
    mkondo(['numbers', 'list', '--json'], env),
    mkondo(['numbers', 'claim', 'inv_1'], env),
    mkondo(['calls', 'show'], env),
    mkondo(['call-out', '--help'], {}),
  ])
  t.equal(done?.code, 0)
  t.match(JSON.parse(done?.stdout ?? ''), { numbers: [{ id: 'num_1' }] })
  t.match(refused, {
    code: 1,
    stdout: '',
    stderr:
      /^mkondo: POST \/v1\/numbers: refused with status 403 \(api_key\.scope_denied: this API key lacks the scope numbers\.claim\)\n$/,
  })
  t.match(wrong, { code: 2, stderr: /calls show: missing required argument 'sid'/ })
  t.match(help, { code: 0, stdout: /Usage: mkondo call-out [^]*--agent <name>[^]*--to <number>/ })
})

t.test("check lists the key's rights and the numbers routed here", async (t) => {
  const found = async (env: Record<string, string>): Promise<string[]> =>
    (await carrierFindings(loadConfig(env, null))).map(({ ok, what }) => `${String(ok)} ${what}`)
  const api = await simulatedApi(t)
  await api.numbers.route('num_1', { voiceUrl: 'https://gw.example/voice/order-status' })
  const env = { SAUTIKIT_API_URL: api.server.origin, SAUTIKIT_API_KEY: KEY, PUBLIC_URL: 'https://gw.example' }
  t.match(await found(env), [
    /^true .*1 of 1 are routed to this gateway/,
    /^true .*may read calls/,
    /^true .*may read recordings/,
    /^true .*may hang up calls/,
    /^true .*may supervise calls/,
    /^true .*may read the wallet; it holds 1250\.00/,
    /^true costs are counted with the carrier's public prices: KES 0\.00 inbound; 3\.00 outbound/,
  ])
  t.same(
    api.server.seen.filter(({ method }) => ['POST', 'DELETE'].includes(method)).map(({ status }) => status),
    [404, 404],
    'nothing is changed',
  )
  t.match(await found({ ...env, SAUTIKIT_API_KEY: 'tsk_wrong_0000' }), [/^false .*api_key\.invalid/])
  t.match(await found({ ...env, SAUTIKIT_API_URL: 'http://127.0.0.1:1' }), [/^false .*GET \/v1\/numbers/])
})

t.test('check names features that fail for lack of a scope', async (t) => {
  const { server } = await simulatedApi(t, { keys: { [KEY]: ['numbers.read'] } })
  const env = { SAUTIKIT_API_URL: server.origin, SAUTIKIT_API_KEY: KEY }
  const agent = (name: string, ...strategies: ('supervision' | 'callback')[]) =>
    ({ name, escalation: { strategies } }) as unknown as Parameters<typeof carrierFindings>[1] &
      object extends readonly (infer A)[]
      ? A
      : never
  const found = async (more: Record<string, string>, ...agents: ReturnType<typeof agent>[]): Promise<string[]> =>
    (await carrierFindings(loadConfig({ ...env, ...more }, null), agents)).map(
      ({ ok, what }) => `${String(ok)} ${what}`,
    )
  t.match(await found({}, agent('support', 'supervision'), agent('orders', 'callback')), [
    /^true .*may read numbers/,
    /^null .*lacks the scope calls\.read.*: records have no duration/,
    /^null .*lacks the scope calls\.read.*: the carrier's recordings are not fetched/,
    /^null .*lacks the scope calls\.create.*: calls are not hung up/,
    /^null .*lacks the scope calls\.supervise.*: the escalation strategy supervision fails for support$/,
    /^null .*lacks the scope wallet\.read.*: nothing warns of an empty wallet/,
    /^true costs are counted with the carrier's public prices/,
  ])
  const fewer = (await found({ CARRIER_RECORDINGS: 'false' }, agent('orders', 'callback'))).join('\n')
  t.notMatch(fewer, /recordings|supervision/, 'unused scopes are not tested')
})

t.test('check passes without a key', async (t) => {
  const found = async (env: Record<string, string>): Promise<string[]> =>
    (await carrierFindings(loadConfig(env, null))).map(({ ok, what }) => `${String(ok)} ${what}`)
  t.match(await found({}), [/^true SAUTIKIT_API_KEY is not set/])
})

const PLACED = {
  clientRequestId: 'label',
  agent: 'order-status',
  from: '+254700000000',
  to: '+254700000001',
  orderedAtMs: 0,
  ringMs: 30_000,
  variables: {},
  externalId: null,
  leaveMessage: true,
  promised: false,
  joins: null,
}
function record(sid: string, startedAtMs: number): CallRecord {
  return unreachedRecord(
    PLACED,
    parseCallSid(sid),
    outboundRecord(PLACED, { streamOpened: false, endReason: null, lastState: 'busy', ringMs: 1000 }),
    startedAtMs,
    '',
  )
}
const DETAIL: CarrierDetail = {
  callId: 'c-1',
  status: 'busy',
  startedAt: null,
  answeredAt: null,
  endedAt: null,
  durationS: 0,
  costMinor: 0,
  costCurrency: 'KES',
  ratePerMinuteMinor: null,
  hangupCause: 'user_busy',
  failureCode: null,
  recording: null,
  recordingState: 'off',
  fetchedAt: '2026-11-20T10:00:00.000Z',
}

t.test('late carrier details are joined to the record on disk', async (t) => {
  const kept = record('HD_1', 0)
  const archive = {
    find: (_kind: string, callSid: string) =>
      Promise.resolve(callSid === 'HD_1' ? (JSON.parse(JSON.stringify(kept)) as unknown) : undefined),
  }
  t.same(await joinedRecord(parseCallSid('HD_1'), DETAIL, { join: () => null }, archive), {
    ...kept,
    carrier: DETAIL,
  })
  t.equal(await joinedRecord(parseCallSid('HD_2'), DETAIL, null, archive), null)
})

t.test('after a restart missing carrier details are requested again', async (t) => {
  const hourMs = 3_600_000
  const followed: string[] = []
  const ended = [
    record('HD_old', 0),
    record('HD_recent', 10 * hourMs - 1000),
    { ...record('HD_known', 10 * hourMs - 1000), carrier: DETAIL },
    { ...record('HD_recording', 10 * hourMs - 1000), carrier: { ...DETAIL, recordingState: 'pending' as const } },
  ]
  resumeDetails(
    {
      follow: (callSid) => {
        followed.push(callSid)
      },
    },
    ended,
    10 * hourMs,
  )
  t.same(followed, ['HD_recent', 'HD_recording'])
})

const numbers = (origin: string, argv: readonly string[], env: Record<string, string> = {}) =>
  command(['numbers', ...argv], {
    env: { SAUTIKIT_API_URL: origin, SAUTIKIT_API_KEY: KEY, PUBLIC_URL: 'https://gw.example', ...env },
  })

t.test('numbers are listed, claimed and routed to an agent', async (t) => {
  const { server, workspace } = await simulatedApi(t)
  t.match(await numbers(server.origin, ['list']), { code: 0, out: /NUMBER +ID .*\n\+254700000000 +num_1/ })
  t.match(
    await numbers(server.origin, ['list', '--available']),
    { code: 0, out: /\+254700000129 +inv_30 +KES 500\.00 +voice/ },
    'all pages',
  )
  const claimed = await numbers(server.origin, ['claim', '+254700000104', '--json'])
  t.match(claimed, { code: 0 })
  const { id } = JSON.parse(claimed.out) as { id: string }
  t.match(await numbers(server.origin, ['route', '+254700000104', '--agent', 'order-status']), {
    code: 0,
    out: '+254700000104 leads to https://gw.example/voice/order-status\n',
  })
  t.match(
    workspace.numbers.find((number) => number.id === id),
    { voiceUrl: 'https://gw.example/voice/order-status', eventsUrl: 'https://gw.example/events' },
  )
  await numbers(server.origin, ['route', 'num_1', '--url', 'https://elsewhere.example/voice'])
  t.match(workspace.numbers[0], { e164: OUR_NUMBER, voiceUrl: 'https://elsewhere.example/voice', eventsUrl: null })
})

t.test("a scope error shows the carrier's message but no key", async (t) => {
  const { server } = await simulatedApi(t, { keys: { [KEY]: ['numbers.read'] } })
  const refused = await numbers(server.origin, ['claim', 'inv_1'])
  t.match(refused, {
    code: 1,
    err: /403 \(api_key\.scope_denied: this API key lacks the scope numbers\.claim\)/,
  })
  t.notMatch(refused.err, KEY)
  t.match(await numbers(server.origin, ['list'], { SAUTIKIT_API_KEY: 'tsk_wrong_0000' }), {
    code: 1,
    err: /api_key\.invalid/,
  })
})

t.test('a repeated claim with one idempotency key claims once', async (t) => {
  const { server, workspace } = await simulatedApi(t)
  const first = await numbers(server.origin, ['claim', 'inv_1', '--key', 'mine', '--json'])
  t.equal((await numbers(server.origin, ['claim', 'inv_1', '--key', 'mine', '--json'])).out, first.out)
  t.equal(workspace.numbers.length, 2)
})

t.test('wrong usage is reported before any request', async (t) => {
  const { server } = await simulatedApi(t)
  const wrong: [readonly string[], RegExp][] = [
    [[], /list, claim, route/],
    [['sell'], /unknown command 'sell'/],
    [['claim'], /missing required argument 'number'/],
    [['list', 'x'], /too many arguments/],
    [['route', 'num_1'], /--agent or --url/],
    [['route', 'num_1', '--agent', 'a', '--url', 'https://x.example'], /cannot be used with/],
    [['route', 'num_1', '--url', 'ftp://x'], /an http or https address/],
    [['list', '--nonsense'], /nonsense/],
  ]
  for (const [argv, message] of wrong)
    t.match(await numbers(server.origin, argv), { code: 2, out: '', err: message }, argv.join(' '))
  t.match(await numbers(server.origin, ['route', 'num_1', '--agent', 'a'], { PUBLIC_URL: '' }), {
    code: 2,
    err: /PUBLIC_URL/,
  })
  t.match(await numbers(server.origin, ['list'], { SAUTIKIT_API_KEY: '' }), {
    code: 2,
    err: /SAUTIKIT_API_KEY/,
  })
  t.same(server.seen, [])
  t.match(await numbers(server.origin, ['--help']), { code: 0, out: /claim \[options\] <number>/ })
})

t.test('an unknown number gives exit code 1', async (t) => {
  const { server } = await simulatedApi(t)
  t.match(await numbers(server.origin, ['route', '+254700009999', '--url', 'https://x.example']), {
    code: 1,
    err: /no such number/,
  })
  t.match(await numbers(server.origin, ['claim', '+254700009999']), { code: 1, err: /cannot be claimed/ })
})

t.test('a number is not routed to an unknown agent', async (t) => {
  const { server, workspace } = await simulatedApi(t)
  const refused = await numbers(server.origin, ['route', 'num_1', '--agent', 'nosuch'])
  t.match(refused, {
    code: 2,
    err: /^mkondo: numbers route: --agent is 'nosuch'; allowed, from \S+agents \(AGENTS_DIR of this machine\): order-status, support; .*--url https:\/\/gw\.example\/voice\/nosuch\n$/,
  })
  t.same(server.seen, [], 'before anything is asked')
  const dir = t.testdir({
    'mine.yaml':
      'version: 1\nname: mine\n# broken, and of a gateway with other variables\ntools: [{http: {url: "{{env.NO_SUCH_URL}}"}}]\n',
    'coded.mjs': 'export default { name: "coded" }\n',
    'broken.yaml': 'name: [',
    'other.txt': 'name: other\n',
  })
  for (const agent of ['mine', 'coded']) {
    t.match(await numbers(server.origin, ['route', 'num_1', '--agent', agent], { AGENTS_DIR: dir }), { code: 0 }, agent)
    t.match(workspace.numbers[0], { voiceUrl: `https://gw.example/voice/${agent}` })
  }
  t.match(await numbers(server.origin, ['route', 'num_1', '--agent', 'order-status'], { AGENTS_DIR: dir }), {
    code: 2,
    err: /: coded, mine;/,
  })
  t.match(await numbers(server.origin, ['route', 'num_1', '--agent', 'mine'], { AGENTS_DIR: `${dir}/none` }), {
    code: 2,
    err: /none/,
  })
})
