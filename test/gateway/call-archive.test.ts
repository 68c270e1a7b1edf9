import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadConfig } from '../../src/config/load-config.js'
import { parseCallSid } from '../../src/core/ids.js'
import { openCallArchive, usesDataFolder } from '../../src/gateway/call-archive.js'
import { JournalFiles, openJournals } from '../../src/gateway/journal-files.js'
import { receiverOf } from '../../src/messages/receivers.js'
import { holdDataFolder } from '../../src/telemetry/archive/data-folder.js'
import { eraseCalls } from '../../src/telemetry/archive/erasure.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import type { FleetNode } from '../../src/fleet/fleet-node.js'
import { fleet } from '../fleet/nodes.js'
import { endedCall } from '../support/record.js'
import { until } from '../support/until.js'
import { portOf } from '../support/port-of.js'

const log = createLog({ level: 'silent' })
const nothing = (): void => undefined
const SID = 'HD_left0000001'

const handoffOf = (callSid: string) => ({
  version: 1 as const,
  callSid,
  agent: 'support',
  reason: 'refused: capacity',
  summary: 'all lines are busy',
  identity: null,
  tried: [],
  transcript: [],
  at: '2026-11-26T06:00:00.000Z',
  from: '+254712345699',
  to: '+254720000101',
  escalation: null,
})

type Opening = Parameters<typeof openCallArchive>

/** @param left  folders of processes that are gone */
function openArchive(config: Opening[0], folder: Opening[1], left: readonly string[] = [], ofNumber?: Opening[6]) {
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  return openCallArchive(config, folder, log, metrics, { left, spare: null }, {}, ofNumber)
}

t.test('a draining earlier process keeps its calls until it ends', async (t) => {
  const dataDir = t.testdir()
  const config = loadConfig({ DATA_DIR: dataDir }, null)
  const left = join(dataDir, 'process-1')
  mkdirSync(join(left, 'records', 'open'), { recursive: true })
  const open = join(left, 'records', 'open', `${SID}.json`)
  writeFileSync(open, JSON.stringify(endedCall({ callSid: SID, outcome: 'failed', endReason: 'process-died' })))
  const drains = await holdDataFolder(left)

  const begin = async () => ({ archive: await openArchive(config, await holdDataFolder(dataDir), [left]) })
  const first = await begin()
  t.same(first.archive.ended, [])
  t.ok(existsSync(open), 'its calls are live')
  await first.archive.close()
  drains.release()

  const second = await begin()
  t.match(second.archive.left, [{ callSid: SID, record: { endReason: 'process-died' }, sealed: null, ended: false }])
  second.archive.settleLeft(parseCallSid(SID), true)
  t.match(await second.archive.find('record', parseCallSid(SID)), { endReason: 'process-died' })
  t.notOk(existsSync(open))
  await second.archive.close()

  const third = await begin()
  t.match(third.archive.ended, [{ callSid: SID }])
  t.same(third.archive.left, [], 'once')
  await third.archive.close()
})

t.test('a failed start leaves earlier folders to the next start', async (t) => {
  const dataDir = t.testdir({ 'process-1': {} })
  const left = join(dataDir, 'process-1')
  const held = await holdDataFolder(dataDir)
  const begin = (env: Record<string, string>) =>
    openArchive(loadConfig({ DATA_DIR: dataDir, ...env }, null), held, [left])
  await t.rejects(begin({ STORAGE_BUCKET: 'calls' }), { code: 'CONFIG_INVALID', message: /STORAGE_KEYS/ })
  writeFileSync(join(left, 'outbox'), 'no folder')
  await t.rejects(begin({}), { code: 'EEXIST' }, 'the messages cannot be read')
  rmSync(join(left, 'outbox'))

  const archive = await begin({})
  t.same(archive.leftFolders, [left])
  await archive.close()
})

t.test('a process that dies before the record leaves one record [3]', async (t) => {
  const sid = parseCallSid('HD_ended00001')
  const dataDir = t.testdir()
  const config = loadConfig({ DATA_DIR: dataDir }, null)
  const begin = async () => {
    const folder = await holdDataFolder(dataDir)
    return { folder, archive: await openArchive(config, folder) }
  }
  const record = endedCall({ callSid: sid, endReason: 'agent-goodbye' })
  const first = await begin()
  let tell = (): void => undefined
  const told = new Promise<boolean>((resolve) => (tell = () => resolve(true)))
  first.archive.keepIfOurs(record, told, () => record, nothing)
  t.equal(await first.archive.find('record', sid), undefined, 'until the store knows, it is no record')
  // It dies here: the next start finds it, and asks the fleet whether another node has taken the call.
  first.folder?.release()
  const second = await begin()
  t.match(second.archive.left, [{ callSid: sid, record: { endReason: 'agent-goodbye' }, ended: true }])
  t.equal(await second.archive.find('record', sid), undefined)
  second.archive.settleLeft(sid, true)
  t.match(await second.archive.find('record', sid), { endReason: 'agent-goodbye' })
  await second.archive.close()
  // As though it had lived: the record follows as soon as the store knows, and nothing is left.
  tell()
  await told
  t.match(await first.archive.find('record', sid), { endReason: 'agent-goodbye' })
  t.same(readdirSync(join(dataDir, 'records', 'open')), [])
  const erased = parseCallSid('HD_erased0001')
  let tellLate = (): void => undefined
  const late = new Promise<boolean>((resolve) => (tellLate = () => resolve(true)))
  const stored: unknown[] = []
  const then = (record: unknown): void => void stored.push(record)
  first.archive.keepIfOurs(endedCall({ callSid: erased }), late, () => undefined, then)
  await first.archive.forget([erased])
  tellLate()
  await late
  t.equal(await first.archive.find('record', erased), undefined, 'erased meanwhile')
  t.same(stored, [], 'and it gets no analysis')
  const older = parseCallSid('HD_older00001')
  first.archive.keepIfOurs(endedCall({ callSid: older }), late, () => undefined, then)
  await late
  t.match(stored, [{ callSid: older }], 'which is analysed too')
  t.match(await first.archive.find('record', older), { callSid: older }, 'a thousand other calls have ended since')
  const taken = parseCallSid('HD_taken0001')
  const notOurs = Promise.resolve(false)
  first.archive.keepIfOurs(endedCall({ callSid: taken }), notOurs, () => endedCall({ callSid: taken }), then)
  await notOurs
  t.equal(await first.archive.find('record', taken), undefined, 'another node has its record')
  await first.archive.close()
  const open = readdirSync(join(dataDir, 'records', 'open'))
  t.same(
    open.filter((name) => name.includes(taken)),
    [],
    'and the next start asks nobody',
  )
})

t.test('a call that ended here twice has its last record', async (t) => {
  const archive = await openArchive(loadConfig({ DATA_DIR: t.testdir() }, null), null)
  const sid = parseCallSid('HD_twice000001')
  const decided: unknown[] = []
  const ends = (endReason: 'socket-lost' | 'agent-goodbye') => {
    let tell: (isOurs: boolean) => void = nothing
    const isOurs = new Promise<boolean>((resolve) => (tell = resolve))
    const record = endedCall({ callSid: sid, endReason })
    archive.keepIfOurs(
      record,
      isOurs,
      () => record,
      (stored) => void decided.push(stored?.endReason),
    )
    return (ours: boolean) => {
      tell(ours)
      return isOurs
    }
  }
  const [first, second] = [ends('socket-lost'), ends('agent-goodbye')]
  await first(false)
  await second(true)
  t.same(decided, ['agent-goodbye'])
  await archive.close()
})

t.test('closing waits once for undecided calls and messages together [5]', async (t) => {
  const archive = await openArchive(loadConfig({ DATA_DIR: t.testdir(), KEEP_CALLS: 'false' }, null), null)
  archive.keepIfOurs(endedCall(), new Promise(() => undefined), () => undefined, nothing)
  const closed = t.capture(archive.outbox, 'close', archive.outbox.close.bind(archive.outbox))
  const args: number[] = []
  void archive.closeMessages(50).then(() => args.push(...closed.args().flat()))
  await until(() => args.length > 0, 10_000, 'the end')
  t.ok((args[0] ?? 0) < 50, `${args[0]} ms are left for messages`)
  await archive.close()
})

t.test("receivers get the last call's end despite an early stop [4]", async (t) => {
  const ids: string[] = []
  const server = createServer((request, response) => {
    ids.push(String(request.headers['webhook-id']))
    request.resume().on('end', () => response.end())
  })
  const folder = t.testdir({
    'messages.yaml': `receivers: [{ name: crm, url: 'http://127.0.0.1:${await portOf(t, server)}/', unsigned: true }]`,
  })
  const dataDir = join(folder, 'data')
  const config = loadConfig({ DATA_DIR: dataDir, MESSAGES_FILE: join(folder, 'messages.yaml') }, null)
  const archive = await openArchive(config, await holdDataFolder(dataDir))
  const sid = parseCallSid('HD_last0000001')
  const record = endedCall({ callSid: sid })
  let tell = (): void => undefined
  archive.keepIfOurs(record, new Promise<boolean>((resolve) => (tell = () => resolve(true))), () => record, nothing)
  const closing = archive.closeMessages()
  tell()
  await closing
  t.same(ids, [`${sid}:call.ended`])
  t.match(await archive.find('record', sid), { endReason: 'agent-goodbye' })
  await archive.close()
})

t.test('receivers get refused calls and calls of dead processes', async (t) => {
  const posts: { readonly type: string; readonly id: string; readonly data: Readonly<Record<string, unknown>> }[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      posts.push(JSON.parse(body) as (typeof posts)[number])
      response.end()
    })
  })
  const url = `http://127.0.0.1:${await portOf(t, server)}/`
  const folder = t.testdir({
    'messages.yaml': `receivers: [{ name: crm, url: '${url}', unsigned: true, events: [call.*, escalation.*] }]`,
    data: { records: { open: { [`${SID}.json`]: JSON.stringify(endedCall({ callSid: SID })) } } },
  })
  const dataDir = join(folder, 'data')
  const config = loadConfig({ DATA_DIR: dataDir, MESSAGES_FILE: join(folder, 'messages.yaml') }, null)
  const archive = await openArchive(config, await holdDataFolder(dataDir), [], (number) =>
    number === '+254720000101'
      ? [receiverOf({ name: 'owner', url, unsigned: true, events: ['call.refused'] }, {})]
      : [],
  )
  archive.settleLeft(parseCallSid(SID), true)
  const refused = endedCall({
    callSid: 'HD_refused0001',
    outcome: 'refused',
    from: '+2547…01',
    number: '+254720000101',
  })
  archive.keepRefused(refused, { ...handoffOf('HD_refused0001'), from: '+254712345601' })
  archive.handoff({
    kind: 'handoff.requested',
    id: 'HD_refused0001:handoff.requested:1',
    url: null,
    handoff: handoffOf('HD_refused0001'),
    keepsWords: false,
  })
  await until(() => posts.length === 4, 10_000, 'four messages')
  await archive.close()
  t.same(posts.map(({ type, data }) => `${type} ${String(data['from'])}`).sort(), [
    'call.ended +2547…01',
    'call.refused +254712345601',
    'call.refused +254712345601',
    'escalation.requested +254712345699',
  ])
  const [asked] = posts.filter(({ type }) => type === 'escalation.requested')
  t.match(asked?.data, { summary: 'all lines are busy' }, 'the human gets the words')
  const [day = ''] = readdirSync(join(dataDir, 'records')).filter((name) => name.startsWith('handoffs-'))
  const last =
    readFileSync(join(dataDir, 'records', day), 'utf8')
      .trim()
      .split('\n')
      .at(-1) ?? ''
  t.match(last, '+254712345699')
  t.notMatch(last, 'all lines are busy', 'and the disk has none that the caller wants nobody to keep')
})

t.test('with RECORDS_TRANSCRIPT=none a handoff packet has no words', async (t) => {
  const dataDir = t.testdir()
  const config = loadConfig({ DATA_DIR: dataDir, RECORDS_TRANSCRIPT: 'none' }, null)
  const archive = await openArchive(config, await holdDataFolder(dataDir))
  const callback = { asked: 'words' as const, number: '+254712345699', note: 'the zebra', at: '2026-11-26T06:00:00Z' }
  const history = { strategy: 'callback' as const, outcome: 'answered' as const, attempts: [], callback }
  const escalation = { ...history, reason: 'a zebra' }
  const transcript = [{ role: 'caller' as const, text: 'zebra', startMs: 0, endMs: 1 }]
  const handoff = { ...handoffOf(SID), reason: 'zebra', summary: 'zebra', transcript, escalation }
  archive.handoff({ kind: 'callback.requested', id: 'a', url: null, handoff, keepsWords: true })
  await archive.close()
  const [day = ''] = readdirSync(join(dataDir, 'records')).filter((name) => name.startsWith('handoffs-'))
  const kept = readFileSync(join(dataDir, 'records', day), 'utf8')
  t.match(kept, '+254712345699', 'whom to call back')
  t.notMatch(kept, /zebra/)
})

t.test('with RECORDS_TRANSCRIPT=none no journal is kept', async (t) => {
  const settings = { dataDir: t.testdir(), journalCalls: 'audio' } as const
  const { log, lines } = logged()
  t.equal(
    openJournals({ ...settings, recordsTranscript: 'none' }, log, () => 0),
    null,
  )
  t.match(lines().join('\n'), /"level":"warn".*RECORDS_TRANSCRIPT=none/)
  t.notOk(existsSync(join(settings.dataDir, 'journals')))
  await openJournals({ ...settings, recordsTranscript: 'masked' }, log, () => 0)?.closeAll()
  t.ok(existsSync(join(settings.dataDir, 'journals')))
})

t.test('an old call is found until it is erased', async (t) => {
  const dataDir = t.testdir()
  const begin = async (keepCalls: boolean) =>
    openArchive(
      loadConfig({ DATA_DIR: dataDir, KEEP_CALLS: String(keepCalls), SAUTIKIT_API_KEY: 'tsk_0123456789' }, null),
      await holdDataFolder(dataDir),
    )
  const archive = await begin(true)
  const sid = parseCallSid('HD_found00001')
  archive.over(endedCall({ callSid: sid, agent: 'support' }))
  await archive.forget([]) // all before it is on the disk
  const found = async (): Promise<number | undefined> =>
    (await archive.finder?.find({ agent: 'support' }, null, 10, null))?.hits.length
  t.equal(await found(), 1)
  t.match(await archive.finder?.record(sid), { agent: 'support' })
  eraseCalls([dataDir], [sid])
  await archive.finder?.forget([sid])
  t.equal(await found(), 0)
  t.equal(await archive.finder?.record(sid), undefined)
  t.ok(existsSync(join(dataDir, 'index')))
  await archive.close()
  const without = await begin(false)
  t.equal(without.finder, null)
  t.notOk(existsSync(join(dataDir, 'index')))
  await without.close()
})

/** The archive of one node of a fleet; its records' folder is a file where `isFull`, so that nothing can be written to it. */
async function archiveOf(t: Test, node: FleetNode, isFull: boolean, parent = t.testdir()) {
  const dataDir = join(parent, node.name)
  mkdirSync(dataDir)
  if (isFull) writeFileSync(join(dataDir, 'records'), '')
  const config = loadConfig({ DATA_DIR: dataDir }, null)
  const fleetSide = { outbox: null, node, storeLost: nothing, onForgotten: nothing }
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const idle = { left: [], spare: null }
  const folder = await holdDataFolder(dataDir)
  const archive = await openCallArchive(config, folder, log, metrics, idle, {}, () => [], fleetSide)
  t.teardown(() => archive.close())
  return { archive, dataDir, metrics }
}

t.test('records that a full disk refused are written later [1]', async (t) => {
  const { nodes } = await fleet(t, 1)
  const { archive, dataDir } = await archiveOf(t, nodes[0] as FleetNode, true)
  archive.over(endedCall({ callSid: SID }))
  await until(() => archive.isFull, 10_000, 'the disk to be known as full')
  rmSync(join(dataDir, 'records'))
  await until(() => !archive.isFull, 10_000, 'the disk to take records again')
  await until(() => existsSync(join(dataDir, 'records')), 10_000, 'the record')
  const records = () => readdirSync(join(dataDir, 'records')).filter((name) => name.startsWith('calls-'))
  await until(() => records().length === 1, 10_000, 'the record')
  t.match(readFileSync(join(dataDir, 'records', records()[0] ?? ''), 'utf8'), SID)
})

t.test('records that a full disk refused move to another node [2]', async (t) => {
  const it = await fleet(t, 3)
  await it.look()
  const folder = t.testdir()
  const [full, alsoFull, other] = await Promise.all(
    it.nodes.map((node, index) => archiveOf(t, node, index < 2, folder)),
  )
  alsoFull?.archive.over(endedCall({ callSid: 'HD_another0001' }))
  full?.archive.over(endedCall({ callSid: SID }))
  full?.archive.keepRefused(endedCall({ callSid: 'HD_refused0001' }), handoffOf('HD_refused0001'))
  await until(() => full?.archive.isFull === true && alsoFull?.archive.isFull === true, 10_000, 'two full disks')
  await full?.archive.closeMessages()
  t.match(await other?.archive.find('record', parseCallSid(SID)), { callSid: SID })
  t.match(await other?.archive.find('record', parseCallSid('HD_refused0001')), { callSid: 'HD_refused0001' })
  t.match(await other?.archive.find('handoff', parseCallSid('HD_refused0001')), { agent: 'support' })
  const page = (await full?.metrics.render()) ?? ''
  t.match(page, /mkondo_archive_documents_total\{result="handed-over"\} 3/)
  await full?.archive.close()
  t.match(await full?.metrics.render(), /mkondo_archive_documents_total\{result="lost"\} 0/)
})

t.test('no folder is needed if nothing is written', async (t) => {
  t.notOk(usesDataFolder(loadConfig({ KEEP_CALLS: 'false' }, null)))
  t.ok(usesDataFolder(loadConfig({}, null)))
  t.ok(usesDataFolder(loadConfig({ KEEP_CALLS: 'false', JOURNAL_CALLS: 'true' }, null)))
  t.ok(
    usesDataFolder(loadConfig({ KEEP_CALLS: 'false', SAUTIKIT_API_KEY: 'tsk_0123456789' }, null)),
    "campaigns, and the carrier's recordings",
  )
})

const sid = (name: string) => parseCallSid(`HD_journal-${name}`)

function logged(): { readonly log: ReturnType<typeof createLog>; readonly lines: () => string[] } {
  const texts: string[] = []
  const log = createLog({ level: 'info', destination: { write: (text) => void texts.push(text) } })
  return {
    log,
    lines: () =>
      texts
        .join('')
        .split('\n')
        .filter((text) => text !== ''),
  }
}

t.test('each call has a journal readable only by the gateway', async (t) => {
  const dataDir = t.testdir()
  const folder = join(dataDir, 'journals')
  const files = new JournalFiles(dataDir, logged().log, () => 0)
  files.append(sid('one'), ['{"journal":2}', '{"t":1}'])
  files.append(sid('two'), ['{"journal":2}'])
  files.append(sid('one'), ['{"t":2}'])
  await files.closeAll()
  t.equal(readFileSync(join(folder, `${sid('one')}.jsonl`), 'utf8'), '{"journal":2}\n{"t":1}\n{"t":2}\n')
  t.equal(statSync(join(folder, `${sid('two')}.jsonl`)).mode & 0o777, 0o600)
  t.equal(files.dropped, 0)
})

t.test('a full disk pauses journals with one log line', async (t) => {
  const dataDir = t.testdir()
  const folder = join(dataDir, 'journals')
  mkdirSync(folder)
  for (const name of ['full1', 'full2']) symlinkSync('/dev/full', join(folder, `${sid(name)}.jsonl`))
  const { log, lines } = logged()
  let nowMs = 0
  const files = new JournalFiles(dataDir, log, () => nowMs)
  files.append(sid('full1'), ['{"journal":2}'])
  files.append(sid('full2'), ['{"journal":2}'])
  const complaints = (): number => lines().filter((line) => /cannot be written/.test(line)).length
  await until(() => complaints() > 0, 10_000, 'the line in the log')
  const dropsOfFull1 = (): boolean => {
    files.append(sid('full1'), ['{"t":1}'])
    return files.dropped > 0
  }
  await until(dropsOfFull1, 10_000, 'the first of them to fail too')
  const { dropped } = files
  files.append(sid('later'), ['{"journal":2}'])
  t.equal(files.dropped, dropped + 1)
  files.close(sid('later'))
  t.equal(complaints(), 1)
  nowMs += 61_000
  files.append(sid('much-later'), ['{"journal":2}'])
  await files.closeAll()
  t.equal(readFileSync(join(folder, `${sid('much-later')}.jsonl`), 'utf8'), '{"journal":2}\n')
})
