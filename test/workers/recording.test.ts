import { readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseCallSid } from '../../src/core/ids.js'
import { channelOf, parseWav } from '../../src/media/wav.js'
import { CallRecorder } from '../../src/workers/call-recorder.js'
import { Archive } from '../../src/telemetry/archive/archive.js'
import type { RecordingSink } from '../../src/telemetry/archive/archive.js'
import { RecordingFiles } from '../../src/telemetry/archive/recording-files.js'
import { createLog } from '../../src/telemetry/log.js'
import { bytesOf } from '../support/stored-file.js'

const SID = parseCallSid('HD_recording01')
const RATE = 16000
const log = createLog({ level: 'silent' })
const limits = (folder: string) => ({
  folder,
  fsync: 'never' as const,
  fileBytes: 1e6,
  recordsKeepDays: 30,
  recordsKeepBytes: 1e7,
  recordingsKeepDays: 30,
  recordingsKeepBytes: 1e8,
})
const tone = (hz: number, samples: number): Int16Array<ArrayBuffer> =>
  Int16Array.from({ length: samples }, (_, i) => Math.round(8000 * Math.sin((2 * Math.PI * hz * i) / RATE)))
const bytes = (samples: Int16Array) => new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength)

/** Where a voice begins and ends, in milliseconds; the gaps inside of it do not count. */
function voiceMs(samples: Int16Array): [number, number] {
  const first = samples.findIndex((sample) => Math.abs(sample) > 100)
  const last = samples.findLastIndex((sample) => Math.abs(sample) > 100)
  return [Math.round(first / 16), Math.round(last / 16)]
}

/** A call of 6 s, given to the recorder as in production: a packet and a tick every 20 ms. */
function sixSeconds(recorder: CallRecorder, channels: 1 | 2 = 1): void {
  const silence = new Int16Array(320)
  for (let nowMs = 20; nowMs <= 6000; nowMs += 20) {
    const voice = nowMs > 2000 && nowMs <= 3000 ? tone(1000, 320) : silence
    const packet =
      channels === 1
        ? voice
        : Int16Array.from({ length: 640 }, (_, i) => (i % 2 === 0 ? (voice[i >> 1] as number) : 77))
    recorder.caller(bytes(packet), nowMs, false)
    // Sent a lead of 100 ms before it is heard.
    if (nowMs > 3900 && nowMs <= 4900) recorder.agent(tone(500, 320), nowMs - 20 + 100)
    recorder.pump(nowMs)
  }
  recorder.end(6000)
}

t.test('a recording has the caller left and the agent right, each at its time', async (t) => {
  const folder = t.testdir()
  const archive = await Archive.start(limits(folder), log)
  const recorder = new CallRecorder(archive.record(SID, RATE), {
    rateHz: RATE,
    track: 'inbound_track',
    openedAtMs: 0,
    announced: false,
  })
  t.notOk(recorder.kept)
  recorder.announced()
  sixSeconds(recorder)
  await archive.close()
  t.equal(recorder.path, 'recordings/HD_recording01.wav')
  t.same(readdirSync(join(folder, 'recordings')), ['HD_recording01.wav'], 'nothing unfinished')

  const again = await Archive.start(limits(folder), log)
  const wav = parseWav(bytesOf(await again.recording(SID)))
  t.equal(await again.recording(parseCallSid('HD_other')), null)
  await again.close()
  t.match(wav, { sampleRateHz: RATE, channels: 2 })
  t.equal(wav.samples.length, 2 * 6 * RATE)
  const [callerFrom, callerTo] = voiceMs(channelOf(wav, 0))
  const [agentFrom, agentTo] = voiceMs(channelOf(wav, 1))
  t.ok(Math.abs(callerFrom - 2000) <= 2 && Math.abs(callerTo - 3000) <= 2, `caller ${callerFrom} to ${callerTo} ms`)
  t.ok(Math.abs(agentFrom - 4000) <= 2 && Math.abs(agentTo - 5000) <= 2, `agent ${agentFrom} to ${agentTo} ms`)
  t.equal(recorder.samplesDropped + recorder.rowsDropped, 0)
})

t.test('a call that went on after its node was lost has a recording for each part', async (t) => {
  const folder = t.testdir()
  const first = await Archive.start(limits(folder), log)
  for (const part of [1, 2]) {
    const sink = first.record(SID, RATE, true, part)
    sink.write(0, tone(500, part * 2 * RATE))
    if (part === 1) sink.end()
  }
  await first.close() // the second is cut off here
  t.same(readdirSync(join(folder, 'recordings')).sort(), ['HD_recording01.2.wav', 'HD_recording01.wav'])
  const again = await Archive.start(limits(folder), log)
  const wav = parseWav(bytesOf(await again.recording(SID)))
  await again.close()
  t.equal(wav.samples.length, 4 * RATE, 'the newest is shown')
})

t.test("of a stereo line the caller's side is recorded", async (t) => {
  const rows: Int16Array[] = []
  const sink: RecordingSink = {
    path: 'x',
    failed: false,
    announced: () => undefined,
    end: () => undefined,
    discard: () => undefined,
    write: (_at, written) => {
      rows.push(written)
      return true
    },
  }
  sixSeconds(new CallRecorder(sink, { rateHz: RATE, track: 'both_tracks', openedAtMs: 0, announced: true }), 2)
  const left = Int16Array.from(rows.flatMap((row) => [...row])).filter((_, i) => i % 2 === 0)
  const [from, to] = voiceMs(left.subarray(16 * 1000))
  t.ok(Math.abs(from - 1000) <= 100 && Math.abs(to - 2000) <= 100, `${from} to ${to} ms`)
  t.notOk(left.subarray(16 * 1000).includes(77), "the agent's side is not on the left")
})

t.test('nothing is kept of a caller who was not told', async (t) => {
  const folder = t.testdir()
  const archive = await Archive.start(limits(folder), log)
  sixSeconds(
    new CallRecorder(archive.record(SID, RATE), {
      rateHz: RATE,
      track: 'inbound_track',
      openedAtMs: 0,
      announced: false,
    }),
  )
  await archive.close()
  t.same(readdirSync(join(folder, 'recordings')), [])
})

t.test('a recording that a crash cut off is finished at the next start', async (t) => {
  const folder = t.testdir()
  const dead = new RecordingFiles(join(folder, 'recordings'))
  dead.begin(SID, RATE)
  dead.write(SID, 0, bytes(tone(440, 2 * RATE)))
  dead.write(SID, RATE, new Uint8Array([1, 2, 3]))
  const part = join(folder, 'recordings', `${SID}.wav.part`)
  const old = Date.now() / 1000 - 3600
  utimesSync(part, old, old)
  writeFileSync(join(folder, 'recordings', 'HD_living.wav.part'), readFileSync(part))

  const archive = await Archive.start(limits(folder), log)
  t.equal(archive.counters.recordingsRecovered, 1)
  const wav = parseWav(bytesOf(await archive.recording(SID)))
  t.equal(wav.samples.length, 2 * RATE, 'whole rows only')
  t.same(
    readdirSync(join(folder, 'recordings')),
    ['HD_living.wav.part', `${SID}.wav`],
    'what is being written by another process is left alone',
  )
  await archive.close()
})

t.test('rows that were dropped are silence, and what follows stays in time', async (t) => {
  const folder = t.testdir()
  const files = new RecordingFiles(folder)
  files.begin(SID, RATE)
  files.write(SID, 0, bytes(tone(440, 2 * RATE)))
  files.write(SID, 3 * RATE, bytes(tone(440, 2 * RATE)))
  files.finish(SID)
  const left = channelOf(parseWav(readFileSync(join(folder, `${SID}.wav`))), 0)
  t.equal(left.length, 4 * RATE)
  t.ok(left.subarray(RATE, 3 * RATE).every((sample) => sample === 0))
  t.throws(() => files.begin(SID, RATE), 'a recording is never written over')
})

t.test('a disk that is too slow costs rows, which are counted, and not memory', async (t) => {
  const archive = await Archive.start(limits(t.testdir()), log)
  const sink = archive.record(SID, RATE)
  let taken = 0
  // The thread answers between our turns of the loop: none, as long as we do not yield.
  for (let i = 0; i < 2000; i++) if (sink.write(i * RATE, new Int16Array(2 * RATE))) taken++
  t.equal(taken, Math.floor((64 * 1024 * 1024) / (4 * RATE)))
  t.equal(archive.counters.recordingBytesDropped, (2000 - taken) * 4 * RATE)
  sink.discard()
  await archive.close()
})

t.test('a disk that refuses recordings is logged once, and the call goes on', async (t) => {
  const lines: string[] = []
  const folder = t.testdir({ recordings: 'a file where a folder should be' })
  const archive = await Archive.start(
    limits(folder),
    createLog({ level: 'error', destination: { write: (line) => lines.push(line) } }),
  )
  for (let i = 0; i < 3; i++) {
    const recorder = new CallRecorder(archive.record(parseCallSid(`HD_refused${i}`), RATE), {
      rateHz: RATE,
      track: 'inbound_track',
      openedAtMs: 0,
      announced: true,
    })
    sixSeconds(recorder)
  }
  await archive.close()
  t.ok(archive.counters.faults >= 3)
  t.equal(lines.filter((line) => line.includes('"recording"')).length, 1)
})
