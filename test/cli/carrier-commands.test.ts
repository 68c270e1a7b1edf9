import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { CallRecord, CarrierDetail } from '../../src/call/documents/record.js'
import { joinedRecord, resumeDetails } from '../../src/gateway/carrier-side.js'
import { carrierFindings } from '../../src/cli/check.js'
import { loadConfig } from '../../src/config/load-config.js'
import { parseCallSid } from '../../src/core/ids.js'
import { outboundRecord, unreachedRecord } from '../../src/workers/call-record.js'
import { KEY, simulatedApi } from '../support/carrier-api.js'

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

function mkondo(
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [MAIN, ...args],
      { env: { PATH: process.env['PATH'] ?? '', ...env } },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, stdout, stderr })
      },
    )
  })
}

t.test('exit codes: 0 done, 1 refused by the carrier with its own words, 2 wrong usage', async (t) => {
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

t.test('check says what the key may do, and which numbers lead here', async (t) => {
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
  ])
  t.same(
    api.server.seen.filter(({ method }) => ['POST', 'DELETE'].includes(method)).map(({ status }) => status),
    [404, 404],
    'nothing is changed',
  )
  t.match(await found({ ...env, SAUTIKIT_API_KEY: 'tsk_wrong_0000' }), [/^false .*api_key\.invalid/])
  t.match(await found({ ...env, SAUTIKIT_API_URL: 'http://127.0.0.1:1' }), [/^false .*GET \/v1\/numbers/])
})

t.test('check names the feature that fails without a scope, for the agents that use it', async (t) => {
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
  ])
  const fewer = (await found({ CARRIER_RECORDINGS: 'false' }, agent('orders', 'callback'))).join('\n')
  t.notMatch(fewer, /recordings|supervision/, 'what nobody uses is not asked for')
})

t.test('check without a key', async (t) => {
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
  fetchedAt: '2026-11-20T10:00:00.000Z',
}

t.test('an account that comes when the record has left the memory is joined to the one on the disk', async (t) => {
  const kept = record('HD_1', 0)
  const archive = {
    find: (_kind: string, callSid: string) =>
      Promise.resolve(callSid === 'HD_1' ? (JSON.parse(JSON.stringify(kept)) as unknown) : undefined),
  }
  t.same(await joinedRecord(parseCallSid('HD_1'), DETAIL, { joinCarrier: () => null }, archive), {
    ...kept,
    carrier: DETAIL,
  })
  t.equal(await joinedRecord(parseCallSid('HD_2'), DETAIL, null, archive), null)
})

t.test('after a restart the calls that the carrier had not written of are asked for again', async (t) => {
  const hourMs = 3_600_000
  const followed: string[] = []
  const ended = [
    record('HD_old', 0),
    record('HD_recent', 10 * hourMs - 1000),
    { ...record('HD_known', 10 * hourMs - 1000), carrier: DETAIL },
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
  t.same(followed, ['HD_recent'])
})
