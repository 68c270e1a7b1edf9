import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  cpSync,
  existsSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { loadConfig } from '../../src/config/load-config.js'
import { parseCallSid } from '../../src/core/ids.js'
import { openCallArchive } from '../../src/gateway/call-archive.js'
import { JournalFiles } from '../../src/gateway/journal-files.js'
import { saveRecording } from '../../src/sautikit-api/call-details.js'
import { Outbox } from '../../src/messages/outbox.js'
import { Archive } from '../../src/telemetry/archive/archive.js'
import { holdDataFolder } from '../../src/telemetry/archive/data-folder.js'
import { eraseCalls } from '../../src/telemetry/archive/erasure.js'
import { KEPT_KINDS, keptFolder, keptNames, retain } from '../../src/telemetry/archive/kept-files.js'
import type { KeptFile } from '../../src/telemetry/archive/kept-files.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { endedCall } from '../support/record.js'

const DAY_MS = 86_400_000
const NOW_MS = Date.parse('2026-11-20T12:00:00Z')
const SID = parseCallSid('HD_kept00000001')
const DEAD = parseCallSid('HD_kept00000002')
const HELD = parseCallSid('HD_kept00000003')
const log = createLog({ level: 'silent' })
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
    archive.record(HELD, 8000, false) // and nobody was told of this one
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
    const journals = new JournalFiles(keptFolder(folder, 'journals'), log, () => 0)
    journals.append(SID, ['{}'])
    await journals.closeAll()
  },
}

/** All files below a folder but its lock. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
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

t.test(
  'each kind of file that holds a call is gone when its time is over, also in the folders of other processes',
  async (t) => {
    t.testdir({})
    const folder = await written(t, 'data')
    const left = await written(t, 'data', 'process-1')
    const spare = await written(t, 'data', 'process-2')
    for (const each of [folder, left, spare])
      for (const kind of KEPT_KINDS) t.ok(keptNames(each, kind).length > 0, `${kind} is written`)
    const files = filesIn(folder)
    t.equal(files.length, 3 * 12)
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
  },
)

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
  t.equal(filesIn(folder).length, 12)
})

t.test('without KEEP_CALLS the recordings of the carrier, and what was kept before, are deleted too', async (t) => {
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

t.test('a recording that was cut off is no younger because it is finished later', async (t) => {
  t.testdir({})
  const folder = await written(t, 'data')
  age(folder, 20)
  const archive = await Archive.start({ ...limits(folder), recordingsKeepDays: 30, recordsKeepDays: 30 }, log)
  await archive.close()
  t.equal(archive.counters.recordingsRecovered, 1)
  const path = join(keptFolder(folder, 'recordings'), `${DEAD}.wav`)
  t.ok(Date.now() - statSync(path).mtimeMs > 19 * DAY_MS)
})

t.test(
  'of what is too much the oldest is deleted first, whatever its kind, and nothing that has a writer',
  async (t) => {
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
  },
)

t.test('a log that no call was added to since is deleted with its day', async (t) => {
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

t.test('one file that cannot be deleted is a fault, and the others are deleted', async (t) => {
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

t.test('erasure finds a call in each kind of file', async (t) => {
  t.testdir({})
  const folder = await written(t, 'data')
  eraseCalls([folder], [SID, DEAD, HELD])
  const left = filesIn(folder)
  t.same(
    left.filter((path) => !path.endsWith('.jsonl')),
    [],
  )
  for (const path of left) t.match(readFileSync(path, 'utf8'), /^ *\n$/, path)
})
