import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseCallSid } from '../../src/core/ids.js'
import type { CallSid } from '../../src/core/ids.js'
import {
  Archive,
  OPEN_RECORDS_PENDING_MAX,
  OPEN_RECORD_EVERY_MS,
  OpenRecords,
} from '../../src/telemetry/archive/archive.js'
import type { ArchiveLimits } from '../../src/telemetry/archive/archive-messages.js'
import { StoredValues } from '../../src/telemetry/archive/stored-values.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/until.js'
import { archiveLimits } from '../support/stored-file.js'

const DAY_MS = 86_400_000
const sid = (n: number): CallSid => parseCallSid(`HD_open${String(n).padStart(6, '0')}`)
const log = createLog({ level: 'silent' })
const limits = (folder: string, changes: Partial<ArchiveLimits> = {}): ArchiveLimits =>
  archiveLimits(folder, { alone: true, fsync: 'each', ...changes })
const open = (folder: string, n: number): string => join(folder, 'records', 'open', `${sid(n)}.json`)

t.test('open records are written at most every two seconds', async (t) => {
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
})

t.test("a crashed call's open record becomes its record [2]", async (t) => {
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
  // A caller who has not heard the notice yet: a crash keeps nothing.
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
    next.died.map(({ document }) => document),
    [
      { callSid: sid(1), said: 'hello', recording: null },
      { callSid: sid(2), recording: `recordings/${sid(2)}.wav` },
      { callSid: sid(3), recording: null, recordingState: 'missing' },
    ],
    'a recording that is not there is not named',
  )
  t.same(readdirSync(join(folder, 'recordings')), [`${sid(2)}.wav`])
  t.equal(next.counters.linesTorn, 1, 'half a file is counted')
  t.equal(await next.find('record', sid(1)), undefined, 'it may go on')
  for (const n of [1, 2, 3]) next.settleLeft(sid(n), true)
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

t.test('an open record waits until its call is settled', async (t) => {
  const left = [1, 2, 3].map((n) => [`${sid(n)}.json`, JSON.stringify({ callSid: sid(n), recording: null })] as const)
  const folder = t.testdir({ records: { open: Object.fromEntries(left) } })
  const archive = await Archive.start(limits(folder), log)
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

t.test("a removed process's calls are closed by the remaining one", async (t) => {
  const folder = t.testdir({ 'process-1': { recordings: { [`${sid(1)}.wav`]: 'x' } } })
  mkdirSync(join(folder, 'process-1', 'records', 'open'), { recursive: true })
  writeFileSync(
    open(join(folder, 'process-1'), 1),
    JSON.stringify({ callSid: sid(1), recording: `recordings/${sid(1)}.wav` }),
  )
  const archive = await Archive.start(limits(folder, { leftFolders: [join(folder, 'process-1')] }), log)
  const closed = { callSid: sid(1), recording: `process-1/recordings/${sid(1)}.wav` }
  t.match(archive.died, [{ document: closed, sealed: null }])
  archive.settleLeft(sid(1), true)
  t.same(await archive.find('record', sid(1)), closed)
  await archive.close()
})

t.test('in an unlocked folder recent files are left alone', async (t) => {
  const folder = t.testdir({ records: { open: { [`${sid(1)}.json`]: JSON.stringify({ callSid: sid(1) }) } } })
  const archive = await Archive.start(limits(folder, { alone: false }), log)
  t.same(archive.died, [])
  t.ok(existsSync(open(folder, 1)))
  await archive.close()
})

t.test('a recording that could not start is marked failed [1]', async (t) => {
  const folder = t.testdir({ recordings: 'a file where a folder should be' })
  const archive = await Archive.start(limits(folder), log)
  const sink = archive.record(sid(1), 16_000)
  await until(() => sink.failed, 5000, 'the disk to refuse')
  sink.write(0, new Int16Array(200))
  sink.end()
  t.ok(sink.failed)
  await archive.close()
})

const bytes = (text: string): Uint8Array => Buffer.from(text)
const kept = (folder: string, n: number): string => join(folder, 'records', 'open', `${sid(n)}.kept`)
const sealedOf = async (folder: string): Promise<Record<string, string>> => {
  const next = await Archive.start(limits(folder), log)
  const found = next.died.map(({ document, sealed }) => [
    (document as { callSid: string }).callSid,
    sealed === null ? 'none' : [sealed.state, ...sealed.log].map((one) => Buffer.from(one).toString()).join(' '),
  ])
  await next.close()
  return Object.fromEntries(found) as Record<string, string>
}

t.test("the call's sealed state is appended beside its record [3]", async (t) => {
  const folder = t.testdir({})
  const archive = await Archive.start(limits(folder), log)
  for (const n of [1, 2, 3, 4, 5, 6]) archive.openRecord(sid(n), () => ({ callSid: sid(n) }))
  const change = (n: number, state: string, append: readonly string[], replace = false) =>
    ({ callSid: sid(n), state: bytes(state), append: append.map(bytes), replace }) as const
  void archive.keepSealed([1, 2, 3, 4, 5].map((n) => change(n, 's1', ['a', 'b'], true)))
  void archive.keepSealed([
    change(1, 's2', ['c']),
    change(2, 's2', ['whole'], true),
    change(3, 's2', []),
    change(6, 's', []),
  ])
  archive.openRecordGone(sid(4))
  archive.sealedGone(sid(5))
  void archive.keepSealed([change(4, 's2', ['late']), change(5, 's2', ['late'])])
  t.equal(await archive.keepSealed([change(7, 's1', [], true)]), true, 'it says when they are on the disk')
  t.ok(existsSync(kept(folder, 7)))
  writeFileSync(kept(folder, 3), Buffer.concat([readFileSync(kept(folder, 3)), bytes('\x01\x00\x00\x00\x05half')]))
  t.same(await sealedOf(folder), {
    [sid(1)]: 's2 a b c',
    [sid(2)]: 's2 whole',
    [sid(3)]: 's2 a b',
    [sid(5)]: 'none',
    [sid(6)]: 'none',
  })
  t.notOk(existsSync(kept(folder, 7)), 'a state without a record is of no call that was live')
  await archive.close()
})

t.test("a long call's replaced states are removed from disk", async (t) => {
  const folder = t.testdir({})
  const archive = await Archive.start(limits(folder, { fsync: 'never' }), log)
  archive.openRecord(sid(1), () => ({ callSid: sid(1) }))
  const state = Buffer.alloc(200_000, 's')
  for (let n = 0; n < 20; n++)
    void archive.keepSealed([{ callSid: sid(1), state, append: [bytes(String(n))], replace: n === 0 }])
  await archive.find('record', sid(1))
  t.ok(statSync(kept(folder, 1)).size < 1_300_000)
  const found = (await sealedOf(folder))[sid(1)] ?? ''
  t.equal(found.replace(/s+/, 's'), `s ${Array.from({ length: 20 }, (_, n) => n).join(' ')}`, 'and its log is whole')
  await archive.close()
})

t.test('writes that wait for the disk are bounded', async (t) => {
  const folder = join(t.testdir({}), 'data')
  const archive = await Archive.start(limits(folder), log)
  const change = { callSid: sid(1), state: bytes('s'), append: [], replace: true }
  const taken = Array.from({ length: OPEN_RECORDS_PENDING_MAX }, () => archive.keepSealed([]))
  t.equal(await archive.keepSealed([]), false, 'one more is not taken')
  t.ok((await Promise.all(taken)).every(Boolean))
  t.equal(await archive.keepSealed([]), true, 'and it takes more when the disk has taken these')
  rmSync(folder, { recursive: true })
  writeFileSync(folder, 'no folder')
  t.equal(await archive.keepSealed([change]), false, 'and says where the disk does not take them')
  await archive.close()
})

t.test('values deleted from the store leave the disk too', (t) => {
  const folder = t.testdir({})
  const values = new StoredValues(folder)
  const onDisk = (): string => readFileSync(join(folder, 'values.jsonl'), 'utf8')
  values.write({ key: 'caller', value: 'sealed', untilMs: DAY_MS }, 0, false)
  values.write({ key: 'other', value: 'kept', untilMs: DAY_MS }, 0, false)
  values.tidy(1)
  t.match(onDisk(), /sealed/)
  values.write({ key: 'caller', value: '', untilMs: 2 }, 1, false)
  values.tidy(5)
  t.notMatch(onDisk(), /sealed/)
  t.match(onDisk(), /"key":"other","value":"kept"/)
  t.end()
})
