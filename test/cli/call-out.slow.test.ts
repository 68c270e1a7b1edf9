import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { vocabularyOf } from '../../src/simulator/vocabulary.js'
import { callee, ringCallees } from '../../src/simulator/rest/callees.js'
import { Workspace } from '../../src/carrier/workspace.js'
import type { CalleeKind } from '../../src/simulator/choices.js'
import type { SimulatedCallResult } from '../../src/carrier/call-options.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { KEY, OUR_NUMBER, simulatedApi } from '../support/carrier-api.js'
import { command } from '../support/command.js'
import { whole } from '../support/gateway.js'
import { until } from '../support/until.js'

const CALLEES: Readonly<Record<string, CalleeKind>> = {
  '+254700000001': 'person',
  '+254700000002': 'machine',
  '+254700000003': 'busy',
  '+254700000004': 'no-answer',
}
const OUTBOUND = `
outbound:
  from: '${OUR_NUMBER}'
  ringTimeoutS: 5
  amd:
    machineSpeechMs: 2000
    silenceMs: 8000
    message: This is the order line. We will call you again.
`

// The gateway's files are closed to others whatever the umask is.
process.umask(0)
const speech = await CallerSpeech.start(null)
const folder = mkdtempSync(join(tmpdir(), 'mkondo-call-out-'))
const workspace = new Workspace({
  owned: [{ id: 'num_1', e164: OUR_NUMBER, status: 'active', voiceUrl: null, eventsUrl: null }],
  writeAfterMs: 0,
  recordAfterMs: 0,
})
const results = new Map<string, SimulatedCallResult>()
const api = await simulatedApi(t, {
  workspace,
  place: ringCallees({
    workspace,
    carrier: {},
    callee: (number) =>
      callee(CALLEES[number] ?? 'person', {
        ringMs: 300,
        // A machine waits for longer than the message takes: it is the gateway that hangs up.
        talkMs: CALLEES[number] === 'machine' ? 30_000 : 6000,
        machineWords: 'You have reached my mailbox and I cannot take your call so please leave your message.',
      }),
    person: {
      voice: 'rms',
      line: { sampleRateHz: 8000 },
      speech,
      record: true,
      timeoutMs: 30_000,
      vocabulary: vocabularyOf(null),
    },
    onOver: (result) => {
      results.set(result.to, result)
    },
  }),
})
const gateway = await whole(
  {
    SAUTIKIT_API_URL: api.server.origin,
    SAUTIKIT_API_KEY: KEY,
    DATA_DIR: folder,
    OUTBOUND_PREFIXES: '+254',
    JOURNAL_CALLS: 'audio',
  },
  (yaml) => yaml + OUTBOUND,
)
// The carrier says there when a recording can be fetched.
for (const number of workspace.numbers) number.eventsUrl = `http://127.0.0.1:${gateway.at.port}/events`
t.teardown(async () => {
  await gateway.close()
  await speech.close()
  rmSync(folder, { recursive: true, force: true })
})

const place = (to: string, ...more: readonly string[]) =>
  command([
    ...['call-out', '--agent', 'order-status', '--to', to],
    ...['--ops-url', `http://127.0.0.1:${gateway.at.opsPort}`, '--json', ...more],
  ])

const placed = Promise.all(Object.keys(CALLEES).map(async (number) => [number, await place(number)] as const))

async function recordOf(number: string): Promise<{ readonly code: unknown; readonly record: CallRecord }> {
  const outcome = new Map(await placed).get(number)
  if (outcome === undefined) throw new Error('not placed')
  if (outcome.err !== '') throw new Error(outcome.err)
  // The gateway's side of the call is over; the phone's may need a moment more.
  if (number === '+254700000001' || number === '+254700000002')
    await until(() => results.has(number), 20_000, 'the end of the call on the phone')
  return { code: outcome.code, record: JSON.parse(outcome.out) as CallRecord }
}

t.test('a person who answers is greeted and served', async (t) => {
  const { code, record } = await recordOf('+254700000001')
  t.equal(code, 0)
  t.match(record, {
    direction: 'outbound',
    agent: 'order-status',
    outbound: { result: 'person' },
    from: '+2547…00',
    to: '+2547…01',
  })
  t.match(
    record.timeline.find(({ name }) => name === 'answered-by'),
    { detail: /^human/ },
  )
  t.match(record.transcript[0], { role: 'agent' })
  t.match(
    record.toolCalls[0],
    { name: 'lookup_order', args: { callerNumber: '+2547…01' } },
    "the called number's orders are looked up",
  )
  const heard = results.get('+254700000001')
  t.match(heard, { answered: true, complaints: [] })
  t.ok((heard?.heardPieces.length ?? 0) > 0, 'the agent was heard')
  t.same(
    heard?.webhooks
      .filter(({ url }) => url === 'voice')
      .map(({ state }) => state)
      .slice(0, 2),
    ['Ringing', 'Answered'],
  )
})

t.test('an answering machine gets the message after its beep [1]', async (t) => {
  const { code, record } = await recordOf('+254700000002')
  t.equal(code, 1)
  t.match(record, { outcome: 'unreached', endReason: 'answering-machine', outbound: { result: 'machine' } })
  t.same(
    record.transcript.map(({ role, text }) => [role, text]),
    [['agent', 'This is the order line. We will call you again.']],
  )
  const said = results.get('+254700000002')?.said.find(({ text }) => text === '[beep]')
  const heard = results.get('+254700000002')?.heardPieces[0]
  t.ok(said !== undefined && heard !== undefined && heard.startMs >= said.endMs, 'after the beep')
  t.equal(results.get('+254700000002')?.ended.by, 'api', 'and the gateway hangs up')
})

t.test('busy and unanswered calls leave a record', async (t) => {
  for (const [number, result] of [
    ['+254700000003', 'busy'],
    ['+254700000004', 'no-answer'],
  ] as const) {
    const { code, record } = await recordOf(number)
    t.equal(code, 1)
    t.match(record, { outcome: 'unreached', endReason: 'not-taken', durationMs: 0, outbound: { result } })
  }
})

t.test("the carrier's details and recording are joined to the record", async (t) => {
  const { record } = await recordOf('+254700000001')
  const joinedNow = (): CallRecord | undefined => gateway.gateway.calls.record(record.callSid)
  await until(() => joinedNow()?.carrier?.recording != null, 30_000, 'the recording of the carrier')
  const joined = joinedNow()
  t.match(joined?.carrier, {
    status: 'completed',
    costMinor: 300,
    costCurrency: 'KES',
    hangupCause: 'normal_clearing',
    recording: `carrier-recordings/${record.callSid}.wav`,
  })
  t.equal(joined?.transcript.length, record.transcript.length, "the gateway's own data is kept")
})

t.test('a forbidden call is refused with the reason', async (t) => {
  const refused = async (to: string, ...more: readonly string[]): Promise<string> => (await place(to, ...more)).err
  t.match(
    await refused('+12025550143'),
    /CALL_REFUSED: to is a number that begins as none that may be called; allowed: \+254/,
  )
  t.match(await refused('0700000001'), /CALL_REFUSED: to is not a number in E\.164 form/)
  t.match(
    await refused('+2547000000010'),
    /CALL_REFUSED: to is a number that does not exist in its country; allowed: such as/,
  )
  t.match(await refused('+254700000001', '--from', '+254711111111'), /CARRIER_API: .*calls\.from_not_owned/)
  t.match(await refused('+254700000001', '--agent', 'nobody'), /AGENT_UNKNOWN/)
})

t.test('a do-not-call number is refused without --ignore-do-not-call', async (t) => {
  await placed
  const at = `http://127.0.0.1:${gateway.at.opsPort}`
  t.match(await command(['do-not-call', 'add', '0700000003', '--ops-url', at]), { code: 0 })
  const refused = await place('+254700000003')
  t.match(refused, {
    code: 1,
    err: /DO_NOT_CALL: the number is on the do-not-call list; allowed: .*--ignore-do-not-call/,
  })
  t.notMatch(refused.err, '700000003')
  const rang = await place('+254700000003', '--ignore-do-not-call')
  t.match(JSON.parse(rang.out), { outbound: { result: 'busy' } })
})

t.test('a file of numbers is read in all spreadsheet encodings', async (t) => {
  const csv = '\ufeffphone\tname\r\n0700000001\tMwãnzĩ\r\n071\tb\r\n'
  const wide = Buffer.from(csv, 'utf16le')
  const create = async (bytes: Uint8Array): Promise<string> => {
    const file = join(folder, 'list.csv')
    writeFileSync(file, bytes)
    const { out, err } = await command([
      ...['campaign', 'create', file, '--agent', 'order-status', '--dry-run', '--window', 'Mon 09:00-18:00'],
      ...['--time-zone', 'Africa/Nairobi', '--ops-url', `http://127.0.0.1:${gateway.at.opsPort}`],
    ])
    return out + err
  }
  for (const [encoding, bytes] of [
    ['UTF-8', Buffer.from(csv)],
    ['UTF-16, as "Unicode text"', wide],
    ['UTF-16, the other way round', Buffer.from(wide).swap16()],
    ['UTF-16 without its mark', wide.subarray(2)],
    ['Latin-1, as "CSV" of Excel', Buffer.from(csv.replace('Mwãnzĩ', 'caf\xe9').slice(1), 'latin1')],
  ] as const)
    t.match(await create(bytes), /list\.csv:\n {2}line 3: has a number that does not exist in its country/, encoding)
})

t.test('kept call files are readable by their owner only', async (t) => {
  await recordOf('+254700000001')
  const kept = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(
    (entry) => (entry.isFile() || entry.isDirectory()) && entry.name !== 'list.csv',
  )
  for (const name of ['records', 'carrier-recordings', 'journals'])
    t.ok(
      kept.some((entry) => entry.name === name),
      name,
    )
  const open = kept
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => (statSync(path).mode & 0o077) !== 0)
  t.same(open, [])
})
