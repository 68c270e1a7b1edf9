import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import type { CallSid } from '../../src/core/ids.js'
import { Archive } from '../../src/telemetry/archive/archive.js'
import { eraseCalls, findCalls } from '../../src/telemetry/archive/erasure.js'
import { createLog } from '../../src/telemetry/log.js'
import { endedCall } from '../support/record.js'

const NUMBER = '+254700000017'
const MASKED = '+2547…17'
const log = createLog({ level: 'silent' })

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

t.test('an erased call leaves nothing, and the log that is being written goes on', async (t) => {
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
    records: 2,
    handoffs: 1,
    recordings: 2,
    carrierRecordings: 1,
    journals: 1,
    messages: 1,
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
    records: 0,
    handoffs: 0,
    recordings: 0,
    carrierRecordings: 0,
    journals: 0,
    messages: 0,
  })
})

t.test('the calls of a number are those of its caller; a masked record only looks like it', (t) => {
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
