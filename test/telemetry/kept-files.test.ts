import type { ChildProcess } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { loadConfig } from '../../src/config/load-config.js'
import { type CallSid, parseCallSid } from '../../src/core/ids.js'
import { openCallArchive } from '../../src/gateway/call-archive.js'
import { JournalFiles, findJournal } from '../../src/gateway/journal-files.js'
import { Outbox } from '../../src/messages/outbox.js'
import { saveRecording } from '../../src/sautikit-api/call-details.js'
import { Archive } from '../../src/telemetry/archive/archive.js'
import { holdDataFolder } from '../../src/telemetry/archive/data-folder.js'
import { CallIndex } from '../../src/telemetry/archive/index/call-index.js'
import { eraseCalls, findCalls } from '../../src/telemetry/archive/erasure.js'
import { KEPT_KINDS, type KeptFile, keptFolder, keptNames, retain } from '../../src/telemetry/archive/kept-files.js'
import { ObjectKeys } from '../../src/telemetry/archive/objects/object-keys.js'
import { writeUpload } from '../../src/telemetry/archive/objects/uploads.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { endedCall } from '../support/record.js'
import { comesUp } from '../support/until.js'
import { spawnOwn } from '../support/spawn-own.js'

const DAY_MS = 86_400_000
const NOW_MS = Date.parse('2026-11-20T12:00:00Z')
const SID = parseCallSid('HD_kept00000001')
const DEAD = parseCallSid('HD_kept00000002')
const HELD = parseCallSid('HD_kept00000003')
const log = createLog({ level: 'silent' })
/** Not random: 32 bytes. */
const MASTER = Buffer.alloc(32, 7).toString('base64')
const limits = (folder: string) => ({
  folder,
  fsync: 'never' as const,
  fileBytes: 1024 * 1024,
  recordsKeepDays: 1,
  recordsKeepBytes: 1024 * 1024,
  recordingsKeepDays: 1,
  recordingsKeepBytes: 1024 * 1024,
})

/** How each kind comes about: the code that writes it in a gateway. A new kind does not compile without an entry. */
const WRITERS: Readonly<Record<KeptFile, (folder: string, archive: Archive) => void | Promise<void>>> = {
  records: (_folder, archive) => archive.keepRecord(SID, endedCall({ callSid: SID })),
  handoffs: (_folder, archive) => archive.keepHandoff(SID, { callSid: SID }),
  openRecords: (_folder, archive) => archive.openRecord(DEAD, () => endedCall({ callSid: DEAD })),
  recordings: (_folder, archive) => {
    archive.record(SID, 8000).end()
    archive.record(SID, 8000, true, 2).end()
    archive.record(DEAD, 8000) // its process dies
    archive.record(HELD, 8000, false) // and nobody heard about this one
  },
  carrierRecordings: async (folder) => {
    const server = createServer((_request, response) => response.setHeader('content-type', 'audio/mpeg').end('sound'))
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const to = keptFolder(folder, 'carrierRecordings')
    await saveRecording(url, SID, { folder: to, allowHttp: true })
    writeFileSync(join(to, `${DEAD}.part`), 'half') // the process died while it was fetched
    server.close()
  },
  outbox: async (folder) => {
    const outbox = await Outbox.open({
      folders: [keptFolder(folder, 'outbox')],
      receivers: [],
      handoff: { url: 'http://127.0.0.1:9/', secret: null },
      source: 'urn:mkondo:test',
      wallClock: Date.now,
      log,
    })
    const message = {
      type: 'escalation.requested',
      callSid: SID,
      agent: 'support',
      number: null,
      outcome: null,
      time: '',
      data: {},
    } as const
    await outbox.addHandoff({ ...message, id: '1' }, null)
    await outbox.close(1000)
    writeFileSync(join(keptFolder(folder, 'outbox'), `${DEAD}.0.1.0..json.part`), 'half') // the process died while it wrote
  },
  journals: async (folder) => {
    const journals = new JournalFiles(folder, log, () => 0)
    journals.append(SID, ['{}'])
    await journals.closeAll()
  },
  uploads: (folder) => writeUpload(folder, { kind: 'record', callSid: SID, days: null, json: '{}' }, Date.now()),
  recordKeys: (folder) => void new ObjectKeys([MASTER]).of(folder, 'recordKeys', null, SID, 'records/1d/x.json'),
  recordingKeys: (folder) =>
    void new ObjectKeys([MASTER]).of(folder, 'recordingKeys', null, SID, 'recordings/1d/x.wav'),
  index: (folder) => new CallIndex([folder]).close(),
  fetched: (folder) => {
    mkdirSync(keptFolder(folder, 'fetched'))
    writeFileSync(join(keptFolder(folder, 'fetched'), `${SID}.recordings.${SID}.wav`), '')
  },
}

/** All files below a folder except its lock and the mark of its clock. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'clock.json')
    .map((entry) => join(entry.parentPath, entry.name))
}

/** A folder in which every kind of file was written, as a process left it that died; without subfolders of others. */
async function written(t: Test, ...path: readonly string[]): Promise<string> {
  const folder = join(t.testdirName, ...path)
  const alive = join(t.testdirName, 'alive')
  const archive = await Archive.start(limits(alive), log)
  for (const kind of KEPT_KINDS) await WRITERS[kind](alive, archive)
  await archive.forget([]) // all before it is on the disk
  cpSync(alive, folder, { recursive: true })
  await archive.close()
  rmSync(alive, { recursive: true })
  return folder
}

/** Makes files look as old as that. */
function age(folder: string, days: number, nowMs = Date.now()): void {
  const atMs = nowMs - days * DAY_MS
  for (const path of filesIn(folder)) {
    const aged = path.replace(/\d{4}-\d{2}-\d{2}/, new Date(atMs).toISOString().slice(0, 10))
    renameSync(path, aged)
    utimesSync(aged, atMs / 1000, atMs / 1000)
  }
}

t.test('each kind of call file is deleted after its time [1]', async (t) => {
  t.testdir({})
  const folder = await written(t, 'data')
  const left = await written(t, 'data', 'process-1')
  const spare = await written(t, 'data', 'process-2')
  for (const each of [folder, left, spare])
    for (const kind of KEPT_KINDS) t.ok(keptNames(each, kind).length > 0, `${kind} is written`)
  const files = filesIn(folder)
  t.equal(files.length, 3 * 18)
  const known = [folder, left, spare].flatMap((each) =>
    KEPT_KINDS.flatMap((kind) => keptNames(each, kind).map((name) => join(keptFolder(each, kind), name))),
  )
  t.same(files.sort(), known.sort(), 'and the inventory has all files')

  age(folder, 400)
  const archive = await Archive.start({ ...limits(folder), leftFolders: [left], spareFolder: spare }, log)
  await archive.close()
  t.same(filesIn(folder), [])
  t.same(archive.newest, [], 'nor is it shown')
  t.same(archive.died, [])
  t.equal(archive.counters.faults, 0)
  for (const kind of KEPT_KINDS) t.ok(archive.counters.deleted[kind].age > 0, `${kind} is counted`)
})

t.test('nothing is deleted before its time', async (t) => {
  t.testdir({})
  const folder = await written(t, 'data')
  age(folder, 0.5, NOW_MS)
  const rule = { days: 1, bytes: 1024 * 1024 }
  const deleted: string[] = []
  retain(folder, {
    rules: { records: rule, recordings: rule },
    nowMs: NOW_MS,
    onDeleted: (kind) => deleted.push(kind),
    onFault: (message) => t.fail(message),
  })
  t.same(deleted, [])
  t.equal(filesIn(folder).length, 18)
})

t.test("an agent's own retention applies only to its calls", async (t) => {
  const folder = t.testdir()
  const config = loadConfig({ DATA_DIR: folder }, null)
  const begin = async () => {
    const metrics = new Metrics({ version: 'test', processMetrics: false })
    const idle = { left: [], spare: null }
    const held = await holdDataFolder(folder)
    const daysOf = (agent: string): number | null => (agent === 'clinic' ? 3650 : agent === 'sales' ? 2 : null)
    return openCallArchive(config, held, log, metrics, idle, {}, undefined, null, {}, daysOf)
  }
  const agents = { HD_clinic: 'clinic', HD_sales: 'sales', HD_other: 'support' }
  const archive = await begin()
  const journals = new JournalFiles(folder, log, () => 0)
  for (const [sid, agent] of Object.entries(agents)) {
    const days = agent === 'support' ? null : agent === 'clinic' ? 3650 : 2
    const callSid = parseCallSid(sid)
    const sink = archive.record?.(callSid, 8000, true, 1, days)
    if (agent !== 'clinic') sink?.end() // the process dies in the middle of that one
    journals.append(callSid, ['{}'], days)
    archive.over(endedCall({ callSid, agent, recording: sink?.path ?? null }))
  }
  await journals.closeAll()
  t.match(await archive.find('record', parseCallSid('HD_sales')), { recording: 'recordings/2d/HD_sales.wav' })
  await archive.close()
  for (const path of filesIn(folder)) {
    const old = Date.now() - 40 * DAY_MS
    const aged = path.replace(/\d{4}-\d{2}-\d{2}/, new Date(old).toISOString().slice(0, 10))
    renameSync(path, aged)
    utimesSync(aged, old / 1000, old / 1000)
  }
  const next = await begin()
  const left = (kind: KeptFile): string[] => keptNames(folder, kind).map((name) => name.replace(/-\d{4}-.*/, ''))
  t.same(left('records'), ['calls', join('3650d', 'calls')], 'the 90 days of the settings are not over')
  t.same(left('recordings'), [join('3650d', 'HD_clinic.wav')], 'nor the 3650; the 2, and the 30 of recordings, are')
  t.same(left('journals'), [join('3650d', 'HD_clinic.jsonl')])
  t.same(
    next.ended.map(({ callSid }) => callSid),
    ['HD_other', 'HD_clinic'],
  )
  t.match(await next.find('record', parseCallSid('HD_clinic')), { agent: 'clinic' })
  t.ok(await next.recording('HD_clinic', null))
  t.ok(await findJournal(folder, 'HD_clinic'))
  t.match(eraseCalls([folder], ['HD_clinic']), { records: 1, recordings: 1, journals: 1 })
  t.equal(await next.find('record', parseCallSid('HD_clinic')), undefined)
  await next.close()
})

t.test('without KEEP_CALLS carrier recordings are deleted too', async (t) => {
  t.testdir({})
  const folder = await written(t, 'data')
  age(folder, 400)
  const config = loadConfig(
    { DATA_DIR: folder, KEEP_CALLS: 'false', SAUTIKIT_API_KEY: 'tsk_0123456789', RECORDINGS_KEEP_DAYS: '1' },
    null,
  )
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const held = await holdDataFolder(folder)
  const archive = await openCallArchive(config, held, log, metrics, { left: [], spare: null }, {})
  t.equal(archive.record, null)
  t.same(
    filesIn(folder).filter((path) => !path.includes('gateway-')),
    [],
  )
  t.match(
    await metrics.render(),
    /mkondo_archive_deleted_total\{(?=[^}]*kind="carrierRecordings")[^}]*reason="age"[^}]*\} 2\b/,
  )
  await archive.close()
})

t.test('a recovered recording keeps its age', async (t) => {
  t.testdir({})
  const folder = await written(t, 'data')
  age(folder, 20)
  const archive = await Archive.start({ ...limits(folder), recordingsKeepDays: 30, recordsKeepDays: 30 }, log)
  await archive.close()
  t.equal(archive.counters.recordingsRecovered, 1)
  const path = join(keptFolder(folder, 'recordings'), `${DEAD}.wav`)
  t.ok(Date.now() - statSync(path).mtimeMs > 19 * DAY_MS)
})

t.test('the oldest files are deleted first when space runs out [2]', async (t) => {
  const folder = t.testdir({
    records: {
      'calls-2026-11-18-0001.jsonl': 'x'.repeat(100),
      'calls-2026-11-19-0001.jsonl': 'x'.repeat(100),
      'calls-2026-11-20-0001.jsonl': 'x'.repeat(100),
      'notes.txt': '',
    },
    recordings: { 'a.wav': 'x'.repeat(100), 'd.wav.part': 'x'.repeat(100) },
    'carrier-recordings': { 'b.mp3': 'x'.repeat(100) },
    journals: { 'c.jsonl': 'x'.repeat(100) },
  })
  const at = (path: string, hours: number): void =>
    utimesSync(join(folder, path), NOW_MS / 1000 - hours * 3600, NOW_MS / 1000 - hours * 3600)
  at('journals/c.jsonl', 30)
  at('carrier-recordings/b.mp3', 20)
  at('recordings/a.wav', 10)
  at('recordings/d.wav.part', 0)
  const deleted: string[] = []
  const to = (records: number, recordings: number): void =>
    retain(folder, {
      rules: { records: { days: 30, bytes: records }, recordings: { days: 30, bytes: recordings } },
      nowMs: NOW_MS,
      onDeleted: (kind, reason) => deleted.push(`${kind} ${reason}`),
      onFault: (message) => t.fail(message),
    })
  to(1000, 300)
  t.same(deleted, ['journals size'])
  to(250, 200)
  t.same(deleted.slice(1), ['records size', 'carrierRecordings size'])
  to(0, 0)
  t.same(
    filesIn(folder)
      .map((path) => path.slice(folder.length + 1))
      .sort(),
    ['recordings/d.wav.part', 'records/calls-2026-11-20-0001.jsonl', 'records/notes.txt'],
    'the newest log may be open',
  )
})

t.test('an unused log is deleted with its day', async (t) => {
  const folder = t.testdir()
  const archive = await Archive.start(limits(folder), log)
  archive.keepRecord(SID, endedCall({ callSid: SID }))
  t.match(await archive.find('record', SID), { callSid: SID })
  age(folder, 3)
  retain(folder, {
    rules: { records: { days: 1, bytes: 1e6 }, recordings: { days: 1, bytes: 1e6 } },
    nowMs: Date.now(),
    onDeleted: () => undefined,
    onFault: (message) => t.fail(message),
  })
  t.equal(await archive.find('record', SID), undefined)
  await archive.close()
  t.same(filesIn(folder), [])
})

t.test('a file that cannot be deleted does not block others [3]', async (t) => {
  const folder = t.testdir({ recordings: { 'a.wav': 'x' }, journals: 'a file where a folder should be' })
  utimesSync(join(folder, 'recordings', 'a.wav'), 0, 0)
  const faults: string[] = []
  const rule = { days: 1, bytes: 10 }
  retain(folder, {
    rules: { records: rule, recordings: rule },
    nowMs: NOW_MS,
    onDeleted: () => undefined,
    onFault: (message) => faults.push(message),
  })
  t.equal(faults.length, 1)
  t.notOk(existsSync(join(folder, 'recordings', 'a.wav')))
})

t.test('an erasure finds a call in each kind of file', async (t) => {
  t.testdir({})
  const folder = await written(t, 'data')
  eraseCalls([folder], [SID, DEAD, HELD])
  // Its own thread erases from it.
  const left = filesIn(folder).filter((path) => !path.includes('index.sqlite'))
  t.same(
    left.filter((path) => !path.endsWith('.jsonl')),
    [],
  )
  for (const path of left) t.match(readFileSync(path, 'utf8'), /^ *\n$/, path)
})

const HOLD = fileURLToPath(new URL('./hold-folder.js', import.meta.url))
const IN_USE = /^DATA_DIR is '.*', which another gateway is using; allowed: a folder of its own for each gateway$/

interface Holder {
  readonly child: ChildProcess
  /** Its answer: `held`, or why not. */
  readonly said: Promise<string>
  readonly exit: Promise<void>
}

function hold(folder: string, uid?: number): Holder {
  const child = spawnOwn(process.execPath, [HOLD, folder, ...(uid === undefined ? [] : [String(uid)])], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => (text += part))
  return {
    child,
    said: comesUp(
      child,
      () => text.includes('\n'),
      60_000,
      'a process with the folder',
      () => text,
    ).then(() => text.trim()),
    exit: new Promise((resolve) => child.once('exit', () => resolve())),
  }
}

/** Sockets want a short path; tap's own folders are long, which has a test of its own. */
function folderOf(t: { teardown(work: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-hold-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

t.test('a folder has one gateway at a time', async (t) => {
  const folder = folderOf(t)
  const first = hold(folder)
  t.equal(await first.said, 'held')
  t.match(await hold(folder).said, IN_USE)
  await t.rejects(holdDataFolder(folder), { code: 'CONFIG_INVALID', message: IN_USE })
  first.child.kill('SIGSTOP')
  t.match(await hold(folder).said, IN_USE, 'one that stands still has it all the same')
  first.child.kill('SIGKILL')
  await first.exit
  const next = await holdDataFolder(folder)
  t.ok(next.locked)
  t.match(await hold(folder).said, IN_USE)
  next.release()
  const last = await holdDataFolder(folder)
  t.equal(readdirSync(folder).length, 1, `nothing piles up: ${readdirSync(folder).join(' ')}`)
  last.release()
})

t.test('exactly one of several simultaneous starts gets the folder', async (t) => {
  const folder = folderOf(t)
  for (let round = 0; round < 3; round++) {
    const starters = Array.from({ length: 6 }, () => hold(folder))
    const said = await Promise.all(starters.map((starter) => starter.said))
    t.equal(said.filter((line) => line === 'held').length, 1, said.join(' / '))
    t.equal(said.filter((line) => IN_USE.test(line)).length, 5)
    for (const { child } of starters) child.kill('SIGKILL')
    await Promise.all(starters.map(({ exit }) => exit))
  }
})

t.test('exactly one attempt within a process gets the folder', async (t) => {
  const folder = folderOf(t)
  for (let round = 0; round < 20; round++) {
    const tries = await Promise.allSettled(Array.from({ length: 8 }, () => holdDataFolder(folder)))
    const held = tries.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    t.equal(held.length, 1)
    for (const one of held) one.release()
  }
})

t.test('a folder of our own is closed to other users', async (t) => {
  const modeOf = (folder: string): number => statSync(folder).mode & 0o7777
  const closed = async (folder: string, mode: number): Promise<string> => {
    chmodSync(folder, mode)
    const held = await holdDataFolder(folder)
    t.equal(modeOf(folder), mode, 'who only looks at it changes nothing')
    const did = held.close()
    held.release()
    return `${did} ${modeOf(folder).toString(8)}`
  }
  const folder = folderOf(t)
  t.equal(await closed(folder, 0o755), 'closes 700', 'an empty one')
  t.equal(await closed(folder, 0o700), 'closed 700')
  writeFileSync(join(folder, 'record'), '')
  t.equal(await closed(folder, 0o2770), 'closes 700', 'one with a lock of an earlier run')
  t.equal(await closed(folder, 0o1777), 'open 1777', 'such as /tmp')
  const shared = folderOf(t)
  writeFileSync(join(shared, 'report.pdf'), '')
  t.equal(await closed(shared, 0o755), 'open 755', 'somebody else keeps files there')
})

t.test('a path too long for a socket is locked too', async (t) => {
  const folder = join(folderOf(t), 'x'.repeat(100), 'y'.repeat(100), 'data')
  const held = await holdDataFolder(folder)
  t.ok(held.locked)
  t.equal(statSync(folder).mode & 0o777, 0o700, 'readable by this user alone')
  await t.rejects(holdDataFolder(folder), { message: IN_USE })
  held.undo()
  t.notOk(existsSync(join(folder, '..', '..')), 'what was made only to try is taken away')
})

t.test('an unusable folder is reported in one line', async (t) => {
  const folder = folderOf(t)
  writeFileSync(join(folder, 'file'), '')
  const cases = [
    ['/proc/x', /ENOENT/],
    ['/proc/1/x/y', /E[A-Z]+/],
    [join(folder, 'file'), /ENOTDIR/],
    [join(folder, 'file', 'below'), /ENOTDIR/],
    [join(folder, 'n'.repeat(300)), /ENAMETOOLONG/],
  ] as const
  for (const [path, why] of cases) {
    const thrown = await holdDataFolder(path).then(
      () => null,
      (error: unknown) => error as Error,
    )
    t.match(
      thrown?.message,
      new RegExp(
        `^DATA_DIR is '${path}', which cannot be made or written \\(${why.source}\\); allowed: a folder that `,
      ),
    )
    t.equal((thrown as { code?: string } | null)?.code, 'CONFIG_INVALID')
  }
  const foreign = join(folder, 'foreign')
  mkdirSync(foreign)
  chmodSync(foreign, 0o555)
  chmodSync(folder, 0o755)
  const user = process.getuid?.() === 0 ? 65_534 : undefined // the superuser may write anywhere
  const closed = join(folder, 'closed')
  mkdirSync(closed)
  chmodSync(closed, 0o000)
  for (const path of [foreign, join(foreign, 'below'), closed, join(closed, 'below')])
    t.match(await hold(path, user).said, /^DATA_DIR is '.*', which cannot be made or written \(EACCES\)/)
})

const NUMBER = '+254700000017'
const MASKED = '+2547…17'

function archiveIn(folder: string): Promise<Archive> {
  const days = 30
  const bytes = 1024 * 1024
  return Archive.start(
    {
      folder,
      fsync: 'never',
      fileBytes: bytes,
      recordsKeepDays: days,
      recordsKeepBytes: bytes,
      recordingsKeepDays: days,
      recordingsKeepBytes: bytes,
    },
    log,
  )
}

function said(sid: string, words: string, changes: Partial<CallRecord> = {}): CallRecord {
  return endedCall({
    callSid: sid,
    transcript: [{ role: 'caller', text: words, startMs: 0, endMs: 1 }],
    ...changes,
  })
}

/** All bytes below a folder. */
function everything(folder: string): string {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.name}\n${readFileSync(join(entry.parentPath, entry.name), 'latin1')}`)
    .join('\n')
}

function put(folder: string, ...path: readonly string[]): void {
  mkdirSync(join(folder, ...path.slice(0, -1)), { recursive: true })
  writeFileSync(join(folder, ...path), 'words of the caller')
}

t.test('an erased call leaves nothing in an open log', async (t) => {
  const folder = t.testdir()
  const archive = await archiveIn(folder)
  const [a, b, c] = ['HD_erased000001', 'HD_kept00000001', 'HD_later0000001'] as CallSid[] as [
    CallSid,
    CallSid,
    CallSid,
  ]
  archive.keepRecord(a, said(a, 'my word is zebra'))
  archive.keepRecord(b, said(b, 'my word is antelope'))
  archive.keepHandoff(a, { callSid: a, from: NUMBER, summary: 'zebra' })
  archive.keepRecord(a, said(a, 'my word is zebra', { durationMs: 1 })) // again, with the carrier's detail
  const recording = archive.record(a, 8000)
  recording.write(0, new Int16Array(1600))
  recording.end()
  await archive.forget([a])
  for (const path of [
    ['recordings', `${a}.2.wav`],
    ['recordings', `${b}.wav`],
    ['carrier-recordings', `${a}.mp3`],
    ['journals', `${a}.jsonl`],
    ['outbox', `${a}.0.0.0..json`],
    ['journals', `${b}.jsonl`],
    ['records', 'open', `${a}.json`],
  ])
    put(folder, ...path)
  const names = readdirSync(join(folder, 'records'))
  const sizes = names.map((name) => statSync(join(folder, 'records', name)).size)

  t.same(eraseCalls([folder, join(folder, 'none')], [a]), {
    calls: 1,
    rows: 0,
    records: 2,
    handoffs: 1,
    recordings: 2,
    carrierRecordings: 1,
    journals: 1,
    messages: 1,
    objects: 0,
    objectsLeft: 0,
  })
  t.notMatch(everything(folder), /zebra|HD_erased|254700000017/)
  t.match(everything(folder), /antelope[^]*HD_kept00000001\.wav|HD_kept00000001\.wav[^]*antelope/)
  t.same(
    names.map((name) => statSync(join(folder, 'records', name)).size),
    sizes,
    'every other line is where it was',
  )
  t.equal(await archive.find('record', a), undefined)
  t.equal(await archive.find('handoff', a), undefined)
  t.match(await archive.find('record', b), { callSid: b })
  archive.keepRecord(c, said(c, 'my word is giraffe'))
  t.match(await archive.find('record', c), { callSid: c })
  await archive.close()

  const again = await archiveIn(folder)
  t.same(
    (again.newest as CallRecord[]).map(({ callSid }) => callSid),
    [b, c],
  )
  await again.close()
  t.same(eraseCalls([folder], [a]), {
    calls: 0,
    rows: 0,
    records: 0,
    handoffs: 0,
    recordings: 0,
    carrierRecordings: 0,
    journals: 0,
    messages: 0,
    objects: 0,
    objectsLeft: 0,
  })
})

t.test("a number's calls are its caller's, without masked lookalikes", (t) => {
  const folder = t.testdir()
  mkdirSync(join(folder, 'records', 'open'), { recursive: true })
  const lines = (...documents: object[]): string => documents.map((each) => `${JSON.stringify(each)}\n`).join('')
  writeFileSync(
    join(folder, 'records', 'calls-2026-11-20-0001.jsonl'),
    lines(
      endedCall({ callSid: 'inbound', from: NUMBER, to: '+254709000000' }),
      endedCall({ callSid: 'ours', from: '+254709000000', to: NUMBER }),
      endedCall({ callSid: 'outbound', direction: 'outbound', from: '+254709000000', to: NUMBER }),
      endedCall({ callSid: 'masked', from: MASKED }),
      endedCall({ callSid: 'masked-escalated', from: MASKED }),
      endedCall({ callSid: 'other', from: '+2547…18' }),
      endedCall({ callSid: 'withheld', from: '' }),
      endedCall({
        callSid: 'called-back',
        from: '+254709000001',
        escalation: {
          reason: '',
          strategy: null,
          outcome: null,
          attempts: [],
          callback: { asked: 'words', number: NUMBER, note: '', at: '' },
        },
      }),
    ) + '{"callSid":"torn","from":"+2547',
  )
  writeFileSync(
    join(folder, 'records', 'handoffs-2026-11-20-0001.jsonl'),
    lines({ callSid: 'masked-escalated', from: NUMBER, to: '+254709000000' }),
  )
  writeFileSync(
    join(folder, 'records', 'open', 'died.json'),
    JSON.stringify(endedCall({ callSid: 'died', from: NUMBER })),
  )
  const { exact, alike } = findCalls([folder], NUMBER)
  t.same([...exact].sort(), ['called-back', 'died', 'inbound', 'masked-escalated', 'outbound'])
  t.same(alike, ['masked'])
  t.notOk(existsSync(join(folder, 'recordings')), 'nothing is made')
  t.end()
})
