import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openCallArchive, usesDataFolder } from '../../src/gateway/call-archive.js'
import { loadConfig } from '../../src/config/load-config.js'
import { holdDataFolder } from '../../src/telemetry/archive/data-folder.js'
import { parseCallSid } from '../../src/core/ids.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { endedCall } from '../support/record.js'

const log = createLog({ level: 'silent' })
const SID = 'HD_left0000001'

t.test('a process of an earlier start that still has calls keeps them; once it is gone they are closed', async (t) => {
  const dataDir = t.testdir()
  const config = loadConfig({ DATA_DIR: dataDir }, null)
  const left = join(dataDir, 'process-1')
  mkdirSync(join(left, 'records', 'open'), { recursive: true })
  const open = join(left, 'records', 'open', `${SID}.json`)
  writeFileSync(open, JSON.stringify(endedCall({ callSid: SID, outcome: 'failed', endReason: 'process-died' })))
  const drains = await holdDataFolder(left)

  const begin = async () => {
    const metrics = new Metrics({ version: 'test', processMetrics: false })
    const archive = await openCallArchive(
      config,
      await holdDataFolder(dataDir),
      log,
      metrics,
      { left: [left], spare: null },
      {},
    )
    return { archive }
  }
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

t.test('a process that dies between the end of a call and its record: it has one, with its true end', async (t) => {
  const sid = parseCallSid('HD_ended00001')
  const dataDir = t.testdir()
  const config = loadConfig({ DATA_DIR: dataDir }, null)
  const begin = async () => {
    const metrics = new Metrics({ version: 'test', processMetrics: false })
    const folder = await holdDataFolder(dataDir)
    return { folder, archive: await openCallArchive(config, folder, log, metrics, { left: [], spare: null }, {}) }
  }
  const record = endedCall({ callSid: sid, endReason: 'agent-goodbye' })
  const first = await begin()
  let tell = (): void => undefined
  const told = new Promise<boolean>((resolve) => (tell = () => resolve(true)))
  first.archive.keepIfOurs(record, told, () => record)
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
  first.archive.keepIfOurs(endedCall({ callSid: erased }), told, () => undefined)
  await told
  t.equal(await first.archive.find('record', erased), undefined, 'erased meanwhile')
  const taken = parseCallSid('HD_taken0001')
  const notOurs = Promise.resolve(false)
  first.archive.keepIfOurs(endedCall({ callSid: taken }), notOurs, () => endedCall({ callSid: taken }))
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

t.test('settings under which nothing is written need no folder', async (t) => {
  t.notOk(usesDataFolder(loadConfig({ KEEP_CALLS: 'false' }, null)))
  t.ok(usesDataFolder(loadConfig({}, null)))
  t.ok(usesDataFolder(loadConfig({ KEEP_CALLS: 'false', JOURNAL_CALLS: 'true' }, null)))
  t.ok(
    usesDataFolder(loadConfig({ KEEP_CALLS: 'false', SAUTIKIT_API_KEY: 'tsk_0123456789' }, null)),
    "the carrier's recordings",
  )
  t.notOk(
    usesDataFolder(
      loadConfig({ KEEP_CALLS: 'false', SAUTIKIT_API_KEY: 'tsk_0123456789', CARRIER_RECORDINGS: 'false' }, null),
    ),
  )
})
