import { spawnSync } from 'node:child_process'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { replayJournal } from '../../src/call/journal/replay.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { shownSettings } from '../../src/config/shown-settings.js'
import { newSid, ring, startGateway } from '../edge/gateway.js'
import { command } from '../support/command.js'
import { endedCall } from '../support/record.js'
import { storedFile } from '../support/stored-file.js'

const SID = 'HD_bundle000001'
const TOKEN = 'ops-token-of-a-test'
const SECRETS =
  /254700000017|wanjiru|zebra|whsec_of_a_test|tsk_0123456789|ops-token-of|p4ssword|rice cooker|where's my order/i

const journal = gunzipSync(readFileSync(join(packageRoot(), 'test', 'journals', 'caller-interrupts.jsonl.gz')))

const record = endedCall({
  callSid: SID,
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

const run = (opsUrl: string, ...argv: readonly string[]) =>
  command(['bundle', ...argv, '--ops-url', opsUrl], { env: { OPS_TOKEN: TOKEN } })

/** The files of an archive, by name, as tar unpacks them. */
function unpacked(folder: string, name: string): Readonly<Record<string, string>> {
  const tar = spawnSync('tar', ['-xzf', `${name}.tar.gz`], { cwd: folder, encoding: 'utf8' })
  if (tar.status !== 0) throw new Error(tar.stderr)
  return Object.fromEntries(
    readdirSync(join(folder, name)).map((file) => [file, readFileSync(join(folder, name, file), 'utf8')]),
  )
}

t.test('a bundle has what support needs, and nothing that anybody said, nor a number or key', async (t) => {
  const gateway = await startGateway(t, {
    opsToken: TOKEN,
    settings,
    journal: () => Promise.resolve(storedFile(t, journal)),
  })
  gateway.calls.records.set(SID, record)
  const folder = t.testdir()
  const { code, out: text } = await run(gateway.opsUrl, SID, '--to', folder)
  t.equal(code, 0)
  t.match(
    text,
    /Redacted:\n[^]*record\.json, timeline\.json: \d+ texts were replaced with x and 0[^]*Missing:\n[^]*log lines/,
  )
  t.equal(statSync(join(folder, `mkondo-bundle-${SID}.tar.gz`)).mode & 0o777, 0o600)
  const files = unpacked(folder, `mkondo-bundle-${SID}`)
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
  t.match(audit, [{ command: 'journal.jsonl', call_sid: SID, outcome: 'done', token_kind: 'OPS_TOKEN' }])
})

t.test('words stay where that is asked for, numbers never; what is missing is said', async (t) => {
  const gateway = await startGateway(t, { opsToken: TOKEN })
  gateway.calls.records.set(SID, record)
  const folder = t.testdir()
  t.match(await run(gateway.opsUrl, SID, '--to', folder, '--with-words', '--json'), {
    code: 0,
    out: /"journal\.jsonl: [^"]*there is no journal of this call/,
  })
  const files = unpacked(folder, `mkondo-bundle-${SID}`)
  t.match(files['record.json'], 'I am Wanjiru, zebra 4127')
  t.notMatch(JSON.stringify(files), '254700000017')
})

t.test('a call that is live or unknown has no bundle', async (t) => {
  const gateway = await startGateway(t, { opsToken: TOKEN })
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
