import { existsSync, readdirSync, utimesSync, writeFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Archive } from '../../src/telemetry/archive/archive.js'
import { retainLeftLog } from '../../src/telemetry/archive/line-log.js'
import { createLog } from '../../src/telemetry/log.js'

const NOW_MS = Date.parse('2026-11-20T12:00:00Z')

t.test('retention applies to a folder without a writer', async (t) => {
  const folder = t.testdir({
    'calls-2026-11-01-0001.jsonl': 'x'.repeat(100),
    'calls-2026-11-18-0001.jsonl': 'x'.repeat(100),
    'calls-2026-11-19-0001.jsonl': 'x'.repeat(100),
    'handoffs-2026-01-01-0001.jsonl': '',
    'notes.txt': '',
  })
  const options = { folder, name: 'calls', keepDays: 7, keepBytes: 1000 }
  t.equal(retainLeftLog(options, NOW_MS), 1, 'too old')
  t.equal(retainLeftLog(options, NOW_MS), 0)
  t.equal(retainLeftLog({ ...options, keepBytes: 150 }, NOW_MS), 1, 'too much: the oldest goes')
  t.same(
    readdirSync(folder).sort(),
    ['calls-2026-11-19-0001.jsonl', 'handoffs-2026-01-01-0001.jsonl', 'notes.txt'],
    'and nothing else',
  )
  t.equal(retainLeftLog({ ...options, folder: join(folder, 'nowhere') }, NOW_MS), 0)
})

t.test('the archive does that for the folders of removed processes', async (t) => {
  const folder = t.testdir({
    'process-1': { records: { 'calls-2020-01-01-0001.jsonl': '' }, recordings: { 'HD_000000000001.wav': '' } },
  })
  const recording = join(folder, 'process-1', 'recordings', 'HD_000000000001.wav')
  utimesSync(recording, 0, 0)
  mkdirSync(join(folder, 'process-2'))
  writeFileSync(join(folder, 'process-2', 'anything'), '')
  const archive = await Archive.start(
    {
      folder,
      leftFolders: [join(folder, 'process-1'), join(folder, 'process-2')],
      fsync: 'never',
      fileBytes: 1024 * 1024,
      recordsKeepDays: 30,
      recordsKeepBytes: 1024 * 1024,
      recordingsKeepDays: 30,
      recordingsKeepBytes: 1024 * 1024,
    },
    createLog({ level: 'silent' }),
  )
  await archive.close()
  t.same(readdirSync(join(folder, 'process-1', 'records')), [])
  t.notOk(existsSync(recording))
  t.ok(existsSync(join(folder, 'process-2', 'anything')))
  t.equal(archive.counters.faults, 0)
})
