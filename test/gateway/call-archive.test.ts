import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openCallArchive, usesDataFolder } from '../../src/gateway/call-archive.js'
import { loadConfig } from '../../src/config/load-config.js'
import { holdDataFolder } from '../../src/telemetry/archive/data-folder.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { endedCall } from '../support/record.js'

const log = createLog({ level: 'silent' })
const SID = 'HD_left0000001'

t.test(
  'a process of an earlier start that still has calls keeps them; once it is gone they are closed and counted',
  async (t) => {
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
        false,
      )
      return { metrics, archive }
    }
    const first = await begin()
    t.same(first.archive.ended, [])
    t.ok(existsSync(open), 'its calls are live')
    await first.archive.close()
    drains.release()

    const second = await begin()
    t.match(second.archive.ended, [{ callSid: SID, endReason: 'process-died' }])
    t.notOk(existsSync(open))
    t.match(
      await second.metrics.render(),
      /mkondo_calls_total\{agent="order-status",outcome="failed"\} 1\b[^]*mkondo_call_ends_total\{reason="process-died"\} 1\b/,
    )
    await second.archive.close()

    const third = await begin()
    t.match(third.archive.ended, [{ callSid: SID }])
    t.notMatch(await third.metrics.render(), /mkondo_call_ends_total\{reason="process-died"\} 1/, 'once')
    await third.archive.close()
  },
)

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
