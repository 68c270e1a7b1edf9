import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { endedRow } from '../../src/call/documents/call-view.js'
import type { CallTimelineView } from '../../src/call/documents/call-view.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { waterfall } from '../../src/cli/calls.js'
import { OpsClient } from '../../src/cli/ops-client.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { shownSettings } from '../../src/config/shown-settings.js'
import type { CarrierCall } from '../../src/carrier/workspace.js'
import { newSid, ring, startGateway } from '../edge/gateway.js'
import { KEY, simulatedApi } from '../support/carrier-api.js'
import { command } from '../support/command.js'
import { endedCall } from '../support/record.js'
import { storedFile } from '../support/stored-file.js'
import { portOf } from '../support/port-of.js'

const SID = 'HD_0a8d5911d055'

const calls = (argv: readonly string[], env: Record<string, string>) => command(['calls', ...argv], { env })

function leg(callSid: string, hungUp: string[] = []): CarrierCall {
  return {
    callSid,
    from: '+254700000001',
    to: '+254700000000',
    direction: 'inbound',
    answered: true,
    ended: false,
    hangUp: () => {
      hungUp.push(callSid)
    },
    supervise: () => true,
    stopSupervision: () => undefined,
    joinedBy: () => undefined,
    postEvent: () => undefined,
  }
}

t.test('calls are listed, shown and ended', async (t) => {
  const gateway = await startGateway(t)
  const api = await simulatedApi(t, { with: { writeAfterMs: 0 } })
  const env = { SAUTIKIT_API_URL: api.server.origin, SAUTIKIT_API_KEY: KEY }
  const ops = ['--ops-url', gateway.opsUrl]
  await ring(gateway, SID)
  const answered = Date.parse('2026-11-20T10:00:00Z')
  api.workspace.began(leg(SID), answered - 1000)
  api.workspace.over(leg(SID), {
    status: 'completed',
    hangupCause: 'normal_clearing',
    answeredWallMs: answered,
    endedWallMs: answered + 61_000,
    recording: null,
  })

  t.match(await calls(['list', ...ops], env), { code: 0, out: new RegExp(`${SID} +- +waiting +order-status`) })
  const shown = await calls(['show', SID, ...ops], env)
  t.equal(shown.code, 0)
  t.match(shown.out, /gateway: waiting[\s\S]*carrier: completed, 61 s, KES 0\.00[\s\S]*normal_clearing/)
  t.notMatch(shown.out, /254700000001/, "without the caller's number")
  const both = JSON.parse((await calls(['show', SID, '--json', ...ops], env)).out) as {
    gateway: object
    carrier: object
  }
  t.match(both, { gateway: { state: 'waiting' }, carrier: { durationS: 61, hangupCause: 'normal_clearing' } })
  t.match(await calls(['show', SID, ...ops], {}), { code: 0, out: /carrier: SAUTIKIT_API_KEY is not set/ })

  t.match(await calls(['hangup', SID, '--goodbye', ...ops], env), { code: 0, out: /after a goodbye/ })
  t.match(gateway.calls.calls.get(SID)?.hangups, [{ reason: 'operator-hangup', speak: true }])
})

t.test('ended calls are filtered by outcome and listed with reasons', async (t) => {
  const gateway = await startGateway(t)
  await ring(gateway, SID)
  const refused = endedCall({
    callSid: 'HD_refused000001',
    outcome: 'refused',
    served: 'not-connected',
    endReason: 'agent-capacity',
  })
  for (const record of [refused, endedCall()]) gateway.calls.records.set(record.callSid, record)
  const listed = async (...argv: string[]): Promise<string> =>
    (await calls(['list', ...argv, '--ops-url', gateway.opsUrl], {})).out
  t.match(await listed(), new RegExp(`${SID}[^]*HD_refused000001.* refused +not-connected +agent-capacity\\n`))
  const some = await listed('--outcome', 'refused')
  t.match(some, /HD_refused000001/)
  t.notMatch(some, new RegExp(`${SID}|HD_record000001`))
  t.match(await listed('--outcome', 'failed'), /no calls yet/)
})

t.test('--carrier asks only the carrier', async (t) => {
  const api = await simulatedApi(t)
  const hungUp: string[] = []
  for (let i = 0; i < 60; i++) api.workspace.began(leg(`HD_${i}`, hungUp), Date.parse('2026-11-20T10:00:00Z'))
  const env = { SAUTIKIT_API_URL: api.server.origin, SAUTIKIT_API_KEY: KEY }
  const listed = JSON.parse((await calls(['list', '--carrier', '--limit', '55', '--json'], env)).out) as {
    calls: object[]
    complete: boolean
  }
  t.equal(listed.calls.length, 55)
  t.notOk(listed.complete)
  t.notMatch(JSON.stringify(listed), /254700000001/)
  t.match(await calls(['show', 'HD_3', '--carrier'], env), { code: 0, out: /^carrier: answered/ })
  t.match(await calls(['hangup', 'HD_3', '--carrier'], env), { code: 0 })
  t.same(hungUp, ['HD_3'])
  t.match(await calls(['show', 'HD_none', '--carrier'], env), { code: 1, err: /calls\.not_found/ })
})

t.test('unknown calls and unreachable gateways are reported', async (t) => {
  const gateway = await startGateway(t, { opsToken: 'ops-token-of-a-test' })
  const ops = ['--ops-url', gateway.opsUrl]
  const env = { OPS_TOKEN: 'ops-token-of-a-test' }
  t.match(await calls(['hangup', 'HD_none', ...ops], env), {
    code: 1,
    err: /no such live call; to end it at the carrier, use --carrier/,
  })
  t.match(await calls(['show', 'HD_none', ...ops], env), { code: 1, out: /CALL_UNKNOWN/ })
  t.match(await calls(['list', ...ops], {}), { code: 1, err: /UNAUTHORIZED/ })
  t.match(await calls(['list', '--ops-url', 'http://127.0.0.1:1'], {}), {
    code: 1,
    err: /no gateway answers at http:\/\/127\.0\.0\.1:1/,
  })
  const wrong: [readonly string[], RegExp][] = [
    [[], /list, find, show/],
    [['show'], /missing required argument 'sid'/],
    [['show', 'a b'], /the SID is not valid/],
    [['list', '--limit', '0'], /--limit/],
    [['hangup', SID, '--carrier', '--goodbye'], /only the agent says goodbye/],
    [['list', '--carrier'], /SAUTIKIT_API_KEY/],
    [['list', '--outcome', 'lost'], /--outcome is .*; allowed: .*refused/],
  ]
  for (const [argv, message] of wrong)
    t.match(await calls(argv, {}), { code: 2, out: '', err: message }, argv.join(' '))
  t.match(await calls(['--help'], {}), { code: 0, out: /Usage: mkondo calls [^]* show \[options\] <sid>/ })
})

const VIEW: CallTimelineView = {
  version: 1,
  callSid: 'HD_00000000beef',
  agent: 'order-status',
  agentVersion: null,
  backend: 'openai',
  live: true,
  startedAt: '2026-11-20T10:00:00.000Z',
  streamOpenedMs: 200,
  traceId: 'ab'.repeat(16),
  timelineDropped: 3,
  timeline: [
    { name: 'webhook', atMs: 0, detail: 'inbound to order-status' },
    { name: 'backend-connect', atMs: 10 },
    { name: 'backend-ready', atMs: 90 },
    { name: 'first-frame', atMs: 240 },
    { name: 'caller-speech-end', atMs: 4000 },
    { name: 'agent-sound', atMs: 4800, detail: 'answer' },
    { name: 'ended', atMs: 9000, detail: 'caller-hung-up' },
  ],
  turns: [{ callerStoppedMs: 3200, firstSoundMs: 400, answerMs: 1400, ear: { firstSoundMs: 480, answerMs: 1490 } }],
  bargeIns: [],
  stages: [],
  tools: [{ name: 'lookup_order', startMs: 3300, ms: 700, ok: false }],
}

const linesOf = (view: CallTimelineView, columns = 120): string[] => waterfall(view, columns).split('\n')
const barOf = (line: string | undefined): number => [...(line ?? '')].filter((character) => character === '█').length

t.test('a waterfall draws each turn with bars in proportion', async (t) => {
  const lines = linesOf(VIEW)
  t.match(lines[0], /HD_00000000beef {2}order-status on openai, live, .* trace abab/)
  t.match(lines[1], /3 marks/)
  t.match(
    waterfall(VIEW, 120),
    /turn 1: the caller stopped at 3\.400 s, first sound 400 ms, answer 1400 ms, at the caller 1490 ms/,
  )
  const line = (name: string): string | undefined => lines.find((text) => text.includes(` ${name} `))
  t.ok(barOf(line('answer')) > 3 * barOf(line('first sound')) - 3, 'three and a half times as long')
  t.match(line('lookup_order (failed)'), /░+█+ +700 ms/, 'a tool begins later')
  t.equal(
    lines.filter((text) => text.includes('●')).length + lines.filter((text) => text.includes('›')).length,
    VIEW.timeline.length,
    'each mark is shown once, even beyond the scale',
  )
})

t.test('the waterfall fits the width of the terminal', async (t) => {
  for (const columns of [80, 120, 200]) {
    for (const text of linesOf(
      { ...VIEW, timeline: VIEW.timeline.map(({ name, atMs }) => ({ name, atMs })) },
      columns,
    ).slice(3)) {
      if (!text.startsWith('turn'))
        t.ok([...text].length <= Math.max(80, columns), `${[...text].length} of ${columns}: ${text}`)
    }
  }
})

t.test('calls without a stream or turns are drawn too', async (t) => {
  t.match(
    waterfall({ ...VIEW, streamOpenedMs: null, turns: [], tools: [], timeline: [] }, 100),
    /set-up and greeting\n$/,
  )
  t.match(
    waterfall({ ...VIEW, turns: [{ callerStoppedMs: 100, firstSoundMs: null, answerMs: null }] }, 100),
    /first sound never, answer never/,
  )
})

t.test('terminal control characters are shown as dots', async (t) => {
  const text = waterfall(
    {
      ...VIEW,
      agent: 'a\u001b[2Jb',
      timeline: [{ name: 'x\u0007\ny', atMs: 1, detail: '\u001b]0;title\u0007\u202e' }],
    },
    100,
  )
  t.notMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f\u202e]/)
  t.match(text, /x··y/)
})

t.test('mkondo calls timeline draws a call or reports it unknown', async (t) => {
  const server = createServer((request, response) => {
    const known = request.url === `/api/calls/${VIEW.callSid}/timeline`
    response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' })
    response.end(JSON.stringify(known ? VIEW : { error: { code: 'CALL_UNKNOWN', message: 'no such call' } }))
  })
  const port = await portOf(t, server)
  const timeline = (...argv: string[]) =>
    command(['calls', 'timeline', ...argv, '--ops-url', `http://127.0.0.1:${port}`])
  t.match(await timeline(VIEW.callSid), { code: 0, out: /turn 1: the caller stopped at 3\.400 s/ })
  const asJson = await timeline(VIEW.callSid, '--json')
  t.equal(asJson.code, 0)
  t.same(JSON.parse(asJson.out), VIEW)
  t.match(await timeline('HD_unknown'), { code: 1, err: /CALL_UNKNOWN/ })
  t.match(await timeline('"; rm -rf'), { code: 2, err: /the SID is not valid; allowed: 1 to 64/ })
})

/** A gateway with 1,200 ended calls, whose page after the first 500 is refused as busy for these times. */
async function busyGateway(t: Test, refusals: number, retryAfter: string) {
  let left = refusals
  const asked: number[] = []
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://localhost')
    const from = Number(searchParams.get('cursor') ?? 0)
    const until = from + Number(searchParams.get('limit'))
    asked.push(from)
    if (from > 0 && left > 0) {
      left--
      response.writeHead(503, { 'content-type': 'application/json', 'retry-after': retryAfter })
      return response.end(JSON.stringify({ error: { code: 'CAPACITY', message: 'too many searches wait; ask again' } }))
    }
    response.writeHead(200, { 'content-type': 'application/json' })
    const rows = Array.from({ length: until - from }, (_, at) => ({
      ...endedRow(endedCall({ callSid: `HD_busy${from + at}` })),
      node: null,
    }))
    const nodes = [{ name: null, answered: true, current: true }]
    return response.end(JSON.stringify({ calls: rows, cursor: String(until), nodes, alike: false }))
  })
  const opsUrl = `http://127.0.0.1:${await portOf(t, server)}`
  return { opsUrl, asked, find: () => command(['calls', 'find', '--limit', '1000', '--ops-url', opsUrl]) }
}

t.test('find retries a busy page three times', async (t) => {
  const short = await busyGateway(t, 3, '0')
  const whole = await short.find()
  t.match(whole, { code: 0, err: '', out: /HD_busy0 [^]*HD_busy999 [^]*there are more: --cursor 1000\n/ })
  t.same(short.asked, [0, 500, 500, 500, 500])
  const long = await busyGateway(t, 4, '0')
  const part = await long.find()
  t.match(part, {
    code: 1,
    out: /HD_busy0 [^]*HD_busy499 [^]*there are more: --cursor 500\n/,
    err: /^mkondo: stopped after 500 calls .*--cursor 500\b.*CAPACITY: too many searches/,
  })
  t.same(long.asked, [0, 500, 500, 500, 500])
})

t.test('retries wait at most ten seconds and never repeat commands', async (t) => {
  const waits: number[] = []
  const wait = (ms: number): Promise<void> => {
    waits.push(ms)
    return Promise.resolve()
  }
  for (const [retryAfter, waitMs] of [
    ['2', 2000],
    ['3600', 10_000],
  ] as const) {
    const { opsUrl, asked } = await busyGateway(t, 1, retryAfter)
    const client = new OpsClient(opsUrl, null, 5000, wait)
    t.match(await client.ask('/api/find?cursor=500&limit=1'), { calls: [{ callSid: 'HD_busy500' }] })
    t.same(asked, [500, 500])
    t.equal(waits.pop(), waitMs)
  }
  const { opsUrl, asked } = await busyGateway(t, 1, '2')
  const client = new OpsClient(opsUrl, null, 5000, wait)
  await t.rejects(client.ask('/api/find?cursor=500&limit=1', {}), { message: /^CAPACITY/ })
  t.same([asked, waits], [[500], []])
})

const BUNDLED = 'HD_bundle000001'
const TOKEN = 'ops-token-of-a-test'
const SECRETS =
  /254700000017|wanjiru|zebra|whsec_of_a_test|tsk_0123456789|ops-token-of|p4ssword|rice cooker|where's my order/i

const journal = gunzipSync(readFileSync(join(packageRoot(), 'test', 'journals', 'caller-interrupts.jsonl.gz')))

const record = endedCall({
  callSid: BUNDLED,
  from: '+254700000017',
  endReason: 'agent-goodbye',
  endDetail: 'Wanjiru was helped',
  transcript: [{ role: 'caller', text: 'I am Wanjiru, zebra 4127', startMs: 0, endMs: 900 }],
  toolCalls: [
    { name: 'lookup_order', args: { who: 'Wanjiru', order: 4127 }, startMs: 1, ms: 2, ok: false, error: 'TOOL_HTTP' },
  ],
  turns: [{ callerStoppedMs: 900, firstSoundMs: 310, answerMs: 310 }],
  bargeIns: [{ atMs: 1, stopMs: 40, committed: true, why: '200 ms of voice, 200 needed' }],
  timeline: [
    { name: 'barge-in', atMs: 1, detail: '200 ms of voice, 200 needed' },
    { name: 'ended', atMs: 2, detail: 'agent-goodbye: Wanjiru was helped; 3 turns' },
  ],
  stops: [{ kind: 'hang-up', atMs: 2, mark: 'ended', why: 'agent-goodbye: Wanjiru was helped' }],
  escalation: {
    reason: 'Wanjiru asked',
    strategy: 'callback',
    outcome: 'failed',
    attempts: [],
    callback: { asked: 'words', number: '+254700000017', note: 'zebra', at: '2026-11-20T12:00:00.000Z' },
  },
})

const settings = shownSettings(
  loadConfig(
    {
      SAUTIKIT_WEBHOOK_SECRETS: 'whsec_of_a_test',
      SAUTIKIT_API_KEY: 'tsk_0123456789',
      OPS_TOKEN: TOKEN,
      REALTIME_URL: 'wss://user:p4ssword@models.example/v1',
      MAX_CALLS: '7',
    },
    null,
  ),
)

const LISTEN_TOKEN = 'listen-token-of-a-test'
const LISTENS = { OPS_TOKEN: TOKEN, OPS_LISTEN_TOKEN: LISTEN_TOKEN }
const bundled = (opsUrl: string, env: Readonly<Record<string, string>>, argv: readonly string[]) =>
  command(['bundle', ...argv, '--ops-url', opsUrl], { env })
const run = (opsUrl: string, ...argv: readonly string[]) => bundled(opsUrl, LISTENS, argv)

/** The files of an archive, by name, as tar unpacks them. */
function unpacked(folder: string, name: string): Readonly<Record<string, string>> {
  const tar = spawnSync('tar', ['-xzf', `${name}.tar.gz`], { cwd: folder, encoding: 'utf8' })
  if (tar.status !== 0) throw new Error(tar.stderr)
  return Object.fromEntries(
    readdirSync(join(folder, name)).map((file) => [file, readFileSync(join(folder, name, file), 'utf8')]),
  )
}

t.test('a bundle has no words, numbers or keys', async (t) => {
  const gateway = await startGateway(t, {
    opsToken: TOKEN,
    opsListenToken: LISTEN_TOKEN,
    settings,
    journal: () => Promise.resolve(storedFile(t, journal)),
  })
  gateway.calls.records.set(BUNDLED, record)
  const folder = t.testdir()
  const { code, out: text } = await run(gateway.opsUrl, BUNDLED, '--to', folder)
  t.equal(code, 0)
  t.match(
    text,
    /Redacted:\n[^]*record\.json, timeline\.json: \d+ texts were replaced with x and 0[^]*Missing:\n[^]*log lines/,
  )
  t.equal(statSync(join(folder, `mkondo-bundle-${BUNDLED}.tar.gz`)).mode & 0o777, 0o600)
  const files = unpacked(folder, `mkondo-bundle-${BUNDLED}`)
  t.same(Object.keys(files).sort(), [
    'README.txt',
    'journal.jsonl',
    'node.json',
    'record.json',
    'settings.json',
    'timeline.json',
  ])
  for (const [name, content] of Object.entries(files)) t.notMatch(content, SECRETS, name)
  const json = (name: string): unknown => JSON.parse(files[name] ?? '')
  t.match(json('record.json'), {
    from: '+2547…17',
    turns: [{ firstSoundMs: 310 }],
    bargeIns: [{ why: '200 ms of voice, 200 needed' }],
    transcript: [{ text: 'x xx xxxxxxx, xxxxx 0000', endMs: 900 }],
    toolCalls: [{ name: 'lookup_order', args: { who: 'xxxxxxx', order: 0 }, ok: false, error: 'TOOL_HTTP' }],
    escalation: { strategy: 'callback', outcome: 'failed', callback: { number: '+2547…17' } },
  })
  t.match(json('timeline.json'), { live: false, timeline: [{ detail: '200 ms of voice, 200 needed' }, {}] })
  t.match(json('settings.json'), {
    settings: {
      MAX_CALLS: 7,
      SAUTIKIT_WEBHOOK_SECRETS: '[set]',
      OPENAI_API_KEY: '[not set]',
      REALTIME_URL: 'wss://[redacted]@models.example/v1',
    },
  })
  const lines = (files['journal.jsonl'] ?? '').trimEnd().split('\n')
  t.ok(replayJournal(lines).outputs.length > 10, 'its journal can be run again')
  const audit = gateway.logged().filter(({ component }) => component === 'audit')
  t.match(audit, [{ command: 'journal.jsonl', call_sid: BUNDLED, outcome: 'done', token_kind: 'OPS_LISTEN_TOKEN' }])
})

t.test('a bundle lacks the journal without the right to listen', async (t) => {
  const gateway = await startGateway(t, { opsToken: TOKEN, journal: () => Promise.resolve(storedFile(t, journal)) })
  gateway.calls.records.set(BUNDLED, record)
  const argv = [BUNDLED, '--to', t.testdir(), '--json']
  t.match(await bundled(gateway.opsUrl, { OPS_TOKEN: TOKEN }, argv), {
    code: 0,
    out: /"journal\.jsonl: [^"]*use OPS_LISTEN_TOKEN/,
  })
})

t.test('--with-words keeps words but not numbers', async (t) => {
  const gateway = await startGateway(t, { opsToken: TOKEN, opsListenToken: LISTEN_TOKEN })
  gateway.calls.records.set(BUNDLED, record)
  const folder = t.testdir()
  t.match(await run(gateway.opsUrl, BUNDLED, '--to', folder, '--with-words', '--json'), {
    code: 0,
    out: /"journal\.jsonl: [^"]*there is no journal of this call/,
  })
  const files = unpacked(folder, `mkondo-bundle-${BUNDLED}`)
  t.match(files['record.json'], 'I am Wanjiru, zebra 4127')
  t.notMatch(JSON.stringify(files), '254700000017')
})

t.test('a live or unknown call has no bundle', async (t) => {
  const gateway = await startGateway(t, { opsToken: TOKEN, opsListenToken: LISTEN_TOKEN })
  const { sid } = await ring(gateway)
  const folder = t.testdir()
  t.match(await run(gateway.opsUrl, sid, '--to', folder), {
    code: 2,
    err: /the call is live: its record is made when it ends/,
  })
  t.match(await run(gateway.opsUrl, newSid(), '--to', folder), { code: 1, err: /CALL_UNKNOWN/ })
  t.match(await run(gateway.opsUrl, '../x'), { code: 2, err: /the SID is not valid/ })
  t.match(await run(gateway.opsUrl), { code: 2, err: /missing required argument 'sid'/ })
  t.same(readdirSync(folder), [])
})

t.test('calls why explains how a call went', async (t) => {
  const gateway = await startGateway(t)
  const record = endedCall({
    ...{ callSid: 'HD_why000000001', outcome: 'abandoned', served: 'not-answered', endReason: 'caller-hung-up' },
    timeline: [
      { name: 'webhook', atMs: 0 },
      { name: 'stream-opened', atMs: 300 },
      { name: 'caller-speech', atMs: 1000 },
      { name: 'ended', atMs: 9300 },
    ],
    turns: [{ callerStoppedMs: 2000, firstSoundMs: null, answerMs: null }],
  })
  gateway.calls.records.set(record.callSid, record)
  const why = (...argv: string[]) => command(['why', ...argv, '--ops-url', gateway.opsUrl])
  const { code, out } = await why(record.callSid)
  t.equal(code, 0)
  t.match(
    out,
    /^The caller hung up after waiting 7\.0 s: the backend embedded had given no answer\.\nSee failover\.stallMs, docs\/runbooks\/first-sound\.md\.\n/,
  )
  t.match(out, /Waits of the caller\n {2}1\. The caller stopped at 2\.30 s; no answer was sent in 7\.0 s\.\n/)
  t.match(JSON.parse((await why(record.callSid, '--json')).out), { cause: { code: 'model-slow' }, usual: null })
  await ring(gateway, SID)
  t.match(await why(SID), { code: 1, err: /this call is live/ })
  t.match(await why('HD_nosuchcall1'), { code: 1 })
})
