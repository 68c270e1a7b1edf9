import { existsSync, mkdirSync, readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseCallSid } from '../../src/core/ids.js'
import type { CallSid } from '../../src/core/ids.js'
import { OPEN_RECORD_EVERY_MS } from '../../src/core/limits.js'
import { Archive, OpenRecords } from '../../src/telemetry/archive/archive.js'
import type { ArchiveLimits } from '../../src/telemetry/archive/archive-messages.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/host.js'

const DAY_MS = 86_400_000
const sid = (n: number): CallSid => parseCallSid(`HD_open${String(n).padStart(6, '0')}`)
const log = createLog({ level: 'silent' })
const limits = (folder: string, changes: Partial<ArchiveLimits> = {}): ArchiveLimits => ({
  folder,
  alone: true,
  fsync: 'each',
  fileBytes: 1e6,
  recordsKeepDays: 30,
  recordsKeepBytes: 1e7,
  recordingsKeepDays: 30,
  recordingsKeepBytes: 1e8,
  ...changes,
})
const open = (folder: string, n: number): string => join(folder, 'records', 'open', `${sid(n)}.json`)

t.test(
  'a call is written when its stream opens, then at most every two seconds, one call a sweep, oldest change first',
  async (t) => {
    let nowMs = 0
    const written: string[] = []
    let room = true
    const records = new OpenRecords({
      clock: () => nowMs,
      write: (_callSid, compose) => {
        if (room) written.push(compose() as string)
        return room
      },
    })
    t.teardown(() => records.stop())
    let news = 0
    for (let n = 0; n < 3; n++) records.open(sid(n), () => `${n} at ${news}`)
    t.same(written.splice(0), ['0 at 0', '1 at 0', '2 at 0'], 'at once')
    news = 1
    for (const n of [2, 0, 0, 0]) records.changed(sid(n))
    records.changed(sid(9))
    records.sweep()
    t.same(written, [], 'not yet')
    nowMs = OPEN_RECORD_EVERY_MS
    news = 2
    records.sweep()
    t.same(written.splice(0), ['2 at 2'], 'with what is known then')
    room = false
    records.sweep()
    room = true
    records.sweep()
    t.same(written.splice(0), ['0 at 2'], 'a slow disk makes it later, and no more of it')
    records.sweep()
    t.same(written, [])
    records.changed(sid(1))
    records.close(sid(1))
    nowMs += OPEN_RECORD_EVERY_MS
    records.sweep()
    t.same(written, [], 'a call that is over is not written')
  },
)

t.test('after a crash the open record of a live call is its record, kept as long as any other', async (t) => {
  const folder = t.testdir({ recordings: {} })
  const dead = await Archive.start(limits(folder), log)
  let said = 'nothing'
  dead.openRecord(sid(1), () => ({ callSid: sid(1), said, recording: null }))
  dead.openRecord(sid(2), () => ({ callSid: sid(2), recording: `recordings/${sid(2)}.wav` }))
  dead.openRecord(sid(3), () => ({ callSid: sid(3), recording: `recordings/${sid(3)}.wav` }))
  dead.openRecord(sid(4), () => ({ callSid: sid(4), recording: null }))
  dead.openRecord(sid(5), () => ({ callSid: sid(5), recording: null }))
  said = 'hello'
  dead.openRecordChanged(sid(1))
  dead.record(sid(2), 16_000)
  // A caller who has not been told yet: a crash keeps nothing.
  dead.record(sid(3), 16_000, false)
  dead.keepRecord(sid(4), { callSid: sid(4), over: true })
  await until(
    () => existsSync(open(folder, 1)) && readFileSync(open(folder, 1), 'utf8').includes('hello'),
    10_000,
    'the change',
  )
  t.same(
    readdirSync(join(folder, 'records', 'open')).sort(),
    [1, 2, 3, 5].map((n) => `${sid(n)}.json`),
    'one that is over has its record in the log',
  )
  const longAgo = (Date.now() - 40 * DAY_MS) / 1000
  utimesSync(open(folder, 5), longAgo, longAgo)
  const lately = Date.now() / 1000 - (2 * DAY_MS) / 1000
  utimesSync(open(folder, 1), lately, lately)
  writeFileSync(open(folder, 6), '{"callSid":"HD_')
  // The dead one is not closed: it would say goodbye to its recordings. Its thread writes no more.
  const next = await Archive.start(limits(folder), log)
  t.same(
    next.died,
    [
      { callSid: sid(1), said: 'hello', recording: null },
      { callSid: sid(2), recording: `recordings/${sid(2)}.wav` },
      { callSid: sid(3), recording: null },
    ],
    'a recording that is not there is not named',
  )
  t.same(readdirSync(join(folder, 'recordings')), [`${sid(2)}.wav`])
  t.equal(next.counters.linesTorn, 1, 'half a file is counted')
  t.same(await next.find('record', sid(1)), { callSid: sid(1), said: 'hello', recording: null })
  t.same(await next.find('record', sid(4)), { callSid: sid(4), over: true })
  t.equal(await next.find('record', sid(5)), undefined, 'older than RECORDS_KEEP_DAYS')
  t.same(readdirSync(join(folder, 'records', 'open')), [])
  const day = new Date(lately * 1000).toISOString().slice(0, 10)
  t.ok(readdirSync(join(folder, 'records')).includes(`calls-${day}-0001.jsonl`), 'dated to when it was last known')
  await next.close()
  const last = await Archive.start(limits(folder), log)
  t.same(last.died, [], 'once')
  t.equal(last.newest.length, 4)
  await last.close()
  await dead.close()
})

t.test('in a fleet it waits until it is known whether the call went on elsewhere', async (t) => {
  const left = [1, 2, 3].map((n) => [`${sid(n)}.json`, JSON.stringify({ callSid: sid(n), recording: null })] as const)
  const folder = t.testdir({ records: { open: Object.fromEntries(left) } })
  const archive = await Archive.start(limits(folder, { holdsLeft: true }), log)
  t.equal(archive.died.length, 3)
  t.same(archive.newest, [], 'none of them has ended yet')
  archive.settleLeft(sid(1), true)
  archive.settleLeft(sid(2), false)
  archive.openRecord(sid(3), () => ({ callSid: sid(3), live: 'again' }))
  archive.settleLeft(sid(3), false)
  t.same(await archive.find('record', sid(1)), { callSid: sid(1), recording: null })
  t.equal(await archive.find('record', sid(2)), undefined, 'its record is at the other node')
  t.same(readdirSync(join(folder, 'records', 'open')), [`${sid(3)}.json`], 'one that came back here is live')
  archive.openRecordGone(sid(3))
  t.equal(await archive.find('record', sid(3)), undefined)
  t.same(readdirSync(join(folder, 'records', 'open')), [], 'and another node may take it')
  await archive.close()
})

t.test('calls of a removed process are closed by the remaining one', async (t) => {
  const folder = t.testdir({ 'process-1': { recordings: { [`${sid(1)}.wav`]: 'x' } } })
  mkdirSync(join(folder, 'process-1', 'records', 'open'), { recursive: true })
  writeFileSync(
    open(join(folder, 'process-1'), 1),
    JSON.stringify({ callSid: sid(1), recording: `recordings/${sid(1)}.wav` }),
  )
  const archive = await Archive.start(limits(folder, { leftFolders: [join(folder, 'process-1')] }), log)
  const closed = { callSid: sid(1), recording: `process-1/recordings/${sid(1)}.wav` }
  t.same(archive.died, [closed])
  t.same(await archive.find('record', sid(1)), closed)
  await archive.close()
})

t.test('where the folder is not locked, recently written files are left to their writer', async (t) => {
  const folder = t.testdir({ records: { open: { [`${sid(1)}.json`]: JSON.stringify({ callSid: sid(1) }) } } })
  const archive = await Archive.start(limits(folder, { alone: false }), log)
  t.same(archive.died, [])
  t.ok(existsSync(open(folder, 1)))
  await archive.close()
})

t.test('a recording that could not be begun is known to have failed', async (t) => {
  const folder = t.testdir({ recordings: 'a file where a folder should be' })
  const archive = await Archive.start(limits(folder), log)
  const sink = archive.record(sid(1), 16_000)
  await until(() => sink.failed, 5000, 'the disk to refuse')
  sink.write(0, new Int16Array(200))
  sink.end()
  t.ok(sink.failed)
  await archive.close()
})
