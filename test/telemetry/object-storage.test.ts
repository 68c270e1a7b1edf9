import { mkdirSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { loadConfig } from '../../src/config/load-config.js'
import { parseCallSid } from '../../src/core/ids.js'
import { openCallArchive } from '../../src/gateway/call-archive.js'
import { holdDataFolder } from '../../src/telemetry/archive/data-folder.js'
import { eraseCalls } from '../../src/telemetry/archive/erasure.js'
import { keptFolder, keptNames, retain } from '../../src/telemetry/archive/kept-files.js'
import { S3Store } from '../../src/telemetry/archive/objects/s3-store.js'
import { StoredObjects, type StoredObjectsOptions } from '../../src/telemetry/archive/objects/stored-objects.js'
import { writeUpload } from '../../src/telemetry/archive/objects/uploads.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { endedCall } from '../support/record.js'
import { S3_BUCKET, S3_CREDENTIALS, startS3 } from '../support/s3.js'
import { until } from '../support/until.js'

const DAY_MS = 86_400_000
const SID = 'HD_stored000001'
const OTHER = 'HD_stored000002'
const WORDS = 'my word is zebra'
const OLD_KEY = Buffer.alloc(32, 1).toString('base64')
const NEW_KEY = Buffer.alloc(32, 2).toString('base64')

type Store = StoredObjectsOptions['store']

/** A data folder with a bucket, and a clock of its own. */
async function storage(t: Test, masters: readonly string[] = [OLD_KEY]) {
  const root = t.testdir({})
  const dataFolder = join(root, 'data')
  const s3 = await startS3(t, join(root, 's3'))
  let nowMs = Date.now()
  const open = (keys = masters, change: (store: S3Store) => Store = (store) => store): StoredObjects => {
    const bucket = new S3Store({
      bucket: S3_BUCKET,
      endpoint: s3.url,
      region: 'us-east-1',
      credentials: S3_CREDENTIALS,
    })
    const objects = new StoredObjects({
      store: change(bucket),
      folders: [dataFolder],
      prefix: 'mkondo/',
      days: { records: 90, recordings: 30 },
      masters: keys,
      wallClock: () => nowMs,
    })
    t.teardown(() => objects.close(0))
    return objects
  }
  return {
    dataFolder,
    s3,
    open,
    after: (ms: number) => (nowMs += ms),
    record: (callSid: string, text = WORDS, days: number | null = null) => {
      const path = join(keptFolder(dataFolder, 'recordings', days), `${callSid}.wav`)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
    },
    document: (callSid: string, document: object) =>
      writeUpload(dataFolder, { kind: 'record', callSid, days: null, json: JSON.stringify(document) }, nowMs),
    local: () => (['recordings', 'uploads'] as const).flatMap((kind) => keptNames(dataFolder, kind)),
  }
}

const textOf = (file: { readonly path: string } | null): string =>
  file === null ? '' : readFileSync(file.path, 'utf8')

t.test('completed files are uploaded encrypted and deleted locally', async (t) => {
  const { s3, open, record, document, local, dataFolder } = await storage(t)
  const long = WORDS.repeat(100_000)
  record(SID, long)
  record(OTHER, WORDS, 7)
  document(SID, { callSid: SID, transcript: 'the first version' })
  document(SID, { callSid: SID, transcript: WORDS })
  writeFileSync(join(keptFolder(dataFolder, 'recordings'), 'HD_live.wav.part'), 'a live call')
  const objects = open()
  await objects.pass()
  t.same([...s3.objects().keys()].sort(), [
    `mkondo/recordings/30d/${SID}.wav`,
    `mkondo/recordings/7d/${OTHER}.wav`,
    `mkondo/records/90d/${SID}.json`,
  ])
  for (const [name, bytes] of s3.objects()) t.notMatch(bytes.toString('latin1'), /zebra/, name)
  t.same(local(), ['HD_live.wav.part'])
  t.equal(objects.state.fault, null)
  t.match(objects.state, { stored: 3, failed: 0, waiting: 0, oldestMs: 0, fault: null })

  t.equal(textOf(await objects.recording('recordings', SID, [`${SID}.2.wav`, `${SID}.wav`])), long)
  t.equal(textOf(await objects.recording('recordings', OTHER, [`${OTHER}.wav`])), WORDS)
  t.same(await objects.document('record', SID), { callSid: SID, transcript: WORDS })
  t.equal(await objects.document('handoff', SID), undefined)
  t.equal(await objects.recording('carrier-recordings', SID, [`${SID}.mp3`]), null)
})

t.test('files wait on the disk while the bucket is unreachable [1]', async (t) => {
  const { s3, open, record, after, local } = await storage(t)
  await s3.stop()
  const away = open()
  for (let i = 0; i < 10; i++) record(`HD_away${i}`)
  await away.pass()
  const { failed } = away.state
  t.ok(failed >= 3 && failed < 10, `after ${failed} failures in a row it waits`)
  t.match(away.state.fault, /ECONNREFUSED/)
  await away.pass()
  t.equal(away.state.failed, failed)
  after(DAY_MS)
  await away.pass()
  t.equal(away.state.waiting, 10)
  t.ok(away.state.oldestMs > DAY_MS - 5000)
  t.equal(local().length, 10)

  await s3.start()
  const next = open()
  await next.pass()
  t.match(next.state, { stored: 10, waiting: 0 })
  t.equal(s3.objects().size, 10)
  t.equal(textOf(await next.recording('recordings', 'HD_away7', ['HD_away7.wav'])), WORDS)
  after(60_000)
  await away.pass()
  t.match(away.state, { waiting: 0, oldestMs: 0 })
})

t.test('an upload survives the death of its process', async (t) => {
  const { s3, open, record, document, local } = await storage(t)
  for (const step of ['before the bucket has it', 'after the bucket has it']) {
    record(SID, step)
    document(SID, { callSid: SID, step })
    const dies = open([OLD_KEY], (store) => ({
      put: async (...of) => {
        if (step.startsWith('after')) await store.put(...of)
        else of[1].destroy()
        throw new Error('killed')
      },
      get: () => Promise.resolve(null),
      delete: () => Promise.resolve(),
      close: () => undefined,
    }))
    await dies.pass()
    t.equal(local().length, 2, step)
    const next = open()
    await next.pass()
    t.same(local(), [])
    t.equal(s3.objects().size, 2, 'each object once')
    t.equal(textOf(await next.recording('recordings', SID, [`${SID}.wav`])), step)
    t.same(await next.document('record', SID), { callSid: SID, step })
    rmSync((await next.recording('recordings', SID, [`${SID}.wav`]))?.path ?? '')
  }
})

t.test('a file that cannot be stored does not block others [2]', async (t) => {
  const { s3, open, record, after, dataFolder } = await storage(t)
  record(SID)
  record(OTHER)
  // A key that was encrypted by a master key that nobody has.
  const key = join(keptFolder(dataFolder, 'recordingKeys'), `${SID}.json`)
  mkdirSync(dirname(key), { recursive: true })
  writeFileSync(key, JSON.stringify({ version: 1, callSid: SID, master: 'lost', key: '', objects: [] }))
  const objects = open()
  await objects.pass()
  t.match(objects.state, { stored: 1, failed: 1, waiting: 1 })
  t.match(objects.state.fault, /master key lost, which is not set/)
  for (let i = 0; i < 5; i++) {
    record(`HD_bad${i}`)
    writeFileSync(
      join(dirname(key), `HD_bad${i}.json`),
      JSON.stringify({ version: 1, callSid: 'x', master: 'lost', key: '', objects: [] }),
    )
  }
  await objects.pass()
  for (let i = 0; i < 3; i++) {
    after(301_000)
    record(`HD_good${i}`)
    await objects.pass()
    t.equal(s3.objects().size, 2 + i, 'what comes later is stored, however many cannot be')
  }
  rmSync(key)
  await objects.pass()
  t.equal(s3.objects().size, 4, 'not at once')
  after(301_000)
  await objects.pass()
  t.ok(s3.objects().has(`mkondo/recordings/30d/${SID}.wav`))
})

t.test('an erased call loses its key even without the bucket [3]', async (t) => {
  const { s3, open, record, document, local, dataFolder } = await storage(t)
  const objects = open()
  for (const callSid of [SID, OTHER]) record(callSid)
  document(SID, { callSid: SID })
  await objects.pass()
  t.equal(textOf(await objects.recording('recordings', SID, [`${SID}.wav`])), WORDS)
  t.same(await objects.erase([SID]), { erased: 2, left: 0 })
  t.same([...s3.objects().keys()], [`mkondo/recordings/30d/${OTHER}.wav`])
  t.equal(await objects.recording('recordings', SID, [`${SID}.wav`]), null)
  t.match(eraseCalls([dataFolder], [SID]), { objects: 0, recordings: 0 })
  t.same(keptNames(dataFolder, 'fetched'), [], 'nor what was read back')

  await s3.stop()
  t.same(await objects.erase([OTHER]), { erased: 1, left: 1 })
  await s3.start()
  t.equal(await objects.recording('recordings', OTHER, [`${OTHER}.wav`]), null)
  t.same(keptNames(dataFolder, 'recordingKeys'), [])
  record(OTHER) // it was about to be erased here too
  await objects.pass()
  t.same(local(), [`${OTHER}.wav`], 'and is not uploaded any more')
})

t.test("a key is deleted only by its files' retention", async (t) => {
  const { open, record, document, dataFolder } = await storage(t)
  const objects = open()
  record(SID)
  record(OTHER, WORDS, 60)
  document(SID, { callSid: SID })
  await objects.pass()
  const nowMs = Date.now()
  for (const kind of ['recordKeys', 'recordingKeys'] as const)
    for (const name of keptNames(dataFolder, kind)) {
      const atS = (nowMs - 45 * DAY_MS) / 1000
      utimesSync(join(keptFolder(dataFolder, kind), name), atS, atS)
    }
  const clean = (bytes: number): void =>
    retain(dataFolder, {
      rules: { records: { days: 90, bytes }, recordings: { days: 30, bytes } },
      nowMs,
      onDeleted: () => undefined,
      onFault: (message) => t.fail(message),
    })
  clean(0)
  t.equal(await objects.recording('recordings', SID, [`${SID}.wav`]), null, '30 days are over')
  t.equal(textOf(await objects.recording('recordings', OTHER, [`${OTHER}.wav`])), WORDS, "the agent's 60 are not")
  t.same(await objects.document('record', SID), { callSid: SID }, 'nor are the 90 of records')
})

t.test('a new master key keeps stored files readable', async (t) => {
  const { open, record, dataFolder } = await storage(t)
  const first = open([OLD_KEY])
  record(SID)
  await first.pass()
  const both = open([NEW_KEY, OLD_KEY])
  t.equal(both.renewKeys(), 1)
  t.equal(both.renewKeys(), 0)
  record(SID, 'part two')
  const rotated = open([NEW_KEY])
  await rotated.pass()
  t.equal(textOf(await rotated.recording('recordings', SID, [`${SID}.wav`])), 'part two')
  await t.rejects(first.recording('recordings', SID, [`${SID}.wav`]), { code: 'STORAGE' })
  t.equal(readdirSync(keptFolder(dataFolder, 'recordingKeys')).length, 1)
})

t.test('a changed or swapped object is rejected [4]', async (t) => {
  const { s3, open, record, dataFolder } = await storage(t)
  const objects = open()
  record(SID)
  await objects.pass()
  const root = join(dataFolder, '..', 's3', S3_BUCKET)
  const path = join(root, `mkondo/recordings/30d/${SID}.wav._S3rver_object`)
  const whole = s3.objects().get(`mkondo/recordings/30d/${SID}.wav`) as Buffer
  for (const changed of [
    Buffer.concat([whole.subarray(0, 20), Buffer.of((whole[20] ?? 0) ^ 1), whole.subarray(21)]),
    whole.subarray(0, -5),
    Buffer.from('hello'),
  ]) {
    writeFileSync(path, changed)
    await t.rejects(objects.recording('recordings', SID, [`${SID}.wav`]), { code: 'STORAGE' })
    t.same(keptNames(dataFolder, 'fetched'), [], 'and nothing of it is left')
  }
  rmSync(path)
  t.equal(await objects.recording('recordings', SID, [`${SID}.wav`]), null, 'nor one that the bucket has deleted')
})

t.test('records are restored from the bucket after local deletion [5]', async (t) => {
  const root = t.testdir({})
  const dataDir = join(root, 'data')
  const s3 = await startS3(t, join(root, 's3'))
  const sid = parseCallSid(SID)
  const config = loadConfig(
    {
      DATA_DIR: dataDir,
      STORAGE_BUCKET: S3_BUCKET,
      STORAGE_URL: s3.url,
      STORAGE_ACCESS_KEY_ID: S3_CREDENTIALS.accessKeyId,
      STORAGE_SECRET_ACCESS_KEY: S3_CREDENTIALS.secretAccessKey,
      STORAGE_KEYS: OLD_KEY,
    },
    null,
  )
  const log = createLog({ level: 'silent' })
  const begin = async () => {
    const metrics = new Metrics({ version: 'test', processMetrics: false })
    return openCallArchive(config, await holdDataFolder(dataDir), log, metrics, { left: [], spare: null }, {})
  }
  const archive = await begin()
  const sink = archive.record?.(sid, 8000, true, 1, null)
  sink?.write(0, new Int16Array(16_000))
  sink?.end()
  archive.over(endedCall({ callSid: SID, transcript: [{ role: 'caller', text: WORDS, startMs: 0, endMs: 1 }] }))
  await until(() => s3.objects().size === 2, 20_000, 'two uploads')
  await until(() => keptNames(dataDir, 'recordings').length === 0, 5000, 'the recording to be gone here')
  const file = await archive.recording(SID, null)
  t.equal(file?.bytes, 44 + 32_000)
  await archive.close()
  rmSync(keptFolder(dataDir, 'records'), { recursive: true })

  const next = await begin()
  t.match(await next.find('record', sid), { callSid: SID, transcript: [{ text: WORDS }] })
  t.equal(await next.inStorage(sid), 'elsewhere', 'what restored files have of it is older')
  t.match(await next.eraseObjects([sid]), { erased: 2, left: 0 })
  t.equal(await next.inStorage(sid), 'nowhere')
  t.equal(await next.find('record', sid), undefined)
  await next.close()
})

t.test('a bucket without a master key stops the start', async (t) => {
  const dataDir = t.testdir({})
  const begin = (env: Record<string, string>) =>
    openCallArchive(
      loadConfig({ DATA_DIR: dataDir, STORAGE_BUCKET: 'calls', ...env }, null),
      { locked: true, close: () => 'closed', release: () => undefined, undo: () => undefined },
      createLog({ level: 'silent' }),
      new Metrics({ version: 'test', processMetrics: false }),
      { left: [], spare: null },
      {},
    )
  await t.rejects(begin({}), { code: 'CONFIG_INVALID', message: /STORAGE_KEYS/ })
  const half = { STORAGE_KEYS: OLD_KEY, STORAGE_ACCESS_KEY_ID: 'key' }
  await t.rejects(begin(half), { code: 'CONFIG_INVALID', message: /STORAGE_SECRET_ACCESS_KEY/ })
  t.throws(() => loadConfig({ STORAGE_KEYS: 'too-short' }, null), { message: /STORAGE_KEYS is set to 9 characters/ })
})
