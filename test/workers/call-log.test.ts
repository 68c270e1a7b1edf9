import assert from 'node:assert/strict'
import { readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { CallLog } from '../../src/call/call-log.js'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import type { CallOutput } from '../../src/call/events.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { parseCallSid } from '../../src/core/ids.js'
import { plainJson } from '../../src/core/json.js'
import { channelOf, parseWav } from '../../src/media/wav.js'
import { Archive, type RecordingSink } from '../../src/telemetry/archive/archive.js'
import { RecordingFiles } from '../../src/telemetry/archive/recording-files.js'
import { CallSeries } from '../../src/telemetry/call-series.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { CallRecordBuilder } from '../../src/workers/main/call/call-record.js'
import { CallRecorder } from '../../src/workers/main/call/call-recorder.js'
import { callStep, play } from '../call/random-call.js'
import { escalation, Rig } from '../call/rig.js'
import { archiveLimits, bytesOf } from '../support/stored-file.js'

const metrics = new Metrics({ version: 'test', processMetrics: false })
const call = {
  callSid: parseCallSid('HD_test'),
  agent: 'order-status',
  agentVersion: null,
  from: '+254700000001',
  to: '+254709000000',
  direction: 'inbound',
} as const
const now = { state: 'streaming', durationMs: 1000, rehomes: 0 } as const

const builderOf = (): CallRecordBuilder =>
  new CallRecordBuilder(call, 'embedded', metrics, new CallSeries({ clock: () => 0 }), { ms: 0, wallMs: 0 })

/** Gives the main thread what a worker says of this output. */
function give(builder: CallRecordBuilder, output: CallOutput): void {
  if (output.type === 'log')
    builder.take({ type: 'log', entries: [structuredClone(output.entry)], saved: null, frameLatencyP99Ms: null })
}

/** Throws where two things differ as JSON. */
function same(what: string, is: unknown, was: unknown): void {
  const [a, b] = [JSON.stringify(is), JSON.stringify(was)]
  if (a !== b) throw new Error(`${what} differs:\n${a}\n${b}`)
}

t.test('live view, record and replay of a call agree', async () => {
  fc.assert(
    fc.property(
      fc.array(callStep, { maxLength: 60 }),
      fc.option(fc.nat(60)),
      fc.boolean(),
      (steps, moveAt, serverVad) => {
        const settings = { escalation, serverVad }
        const builder = builderOf()
        const worker = new Rig(settings)
        let rig = worker
        let given = 0
        const pass = (): void => {
          for (const { output } of rig.log.slice(given)) give(builder, output)
          given = rig.log.length
        }
        rig.open()
        for (const [i, step] of steps.entries()) {
          play(rig, step)
          pass()
          if (i !== moveAt || rig.session.state === 'ended') continue
          // Another process reads the data that this one wrote.
          const resume = { checkpoint: rig.session.checkpoint(), log: builder.log.records() }
          same('what the next worker reads', parseResume(JSON.parse(JSON.stringify(resume))), resume)
          assert.deepStrictEqual(plainJson(resume, 'the call'), resume)
          same('the log before the move', builder.log.records(), rig.session.log.records())
          const next = new Rig(settings, parseResume(JSON.parse(JSON.stringify(resume))))
          next.nowMs = rig.nowMs
          rig.writer.flush()
          next.journal.unshift(...rig.journal)
          rig = next
          given = 0
          rig.open()
          pass()
        }
        rig.in({ type: 'stream-closed', code: 1000 })
        pass()
        rig.writer.flush()

        const { log } = rig.session
        same('the log of the main thread', builder.log.records(), log.records())
        const replayed = replayJournal(rig.journal)
        same("the replayed session's log", replayed.session.log.records(), log.records())
        const rebuilt = new CallLog()
        for (const { output } of replayed.outputs) if (output.type === 'log') rebuilt.append(output.entry)
        same("the log of the replay's outputs", rebuilt.records(), log.records())

        const view = builder.view(now)
        const record = builder.close({
          ...now,
          result: null,
          language: null,
          fault: 'x',
          escalation: null,
          waits: [],
          recording: null,
          consent: null,
          recordingState: 'off',
          packetsDropped: 0,
          underruns: 0,
          outbound: null,
          caller: null,
        })
        same('the transcript of view and record', view.transcript, record.transcript)
        same('the tool calls of view and record', view.toolCalls, record.toolCalls)
        same(
          'texts',
          record.transcript.map(({ text }) => text),
          log.conversation.map(({ text }) => text),
        )
        same(
          'tools',
          record.toolCalls.map(({ name, ok }) => [name, ok]),
          log.toolCalls.map(({ record: { name, ok } }) => [name, ok]),
        )
        same(
          'turns',
          record.turns.map(({ callerStoppedMs }) => callerStoppedMs),
          log.turns.map(({ callerStoppedMs }) => Math.round(callerStoppedMs)),
        )
        same(
          'barge-ins',
          record.bargeIns.map(({ why }) => why),
          log.bargeIns.map(({ why }) => why),
        )
      },
    ),
    { numRuns: 150 },
  )
})

t.test('each tool call is in the log once', async (t) => {
  const rig = Rig.talking({ escalation })
  rig.toolCall('a', 'find_order', { order: 5 })
  rig.in({ type: 'tool-result', callId: 'a', ok: true, value: { status: 'sent' } })
  rig.in({ type: 'tool-result', callId: 'a', ok: true, value: { status: 'sent' } })
  rig.toolCall('b', 'find_order', { order: 6 })
  rig.backend({ type: 'tool-cancel', callIds: ['b'] })
  rig.toolCall('c', 'no_such_tool')
  rig.toolCall('d', 'refund')
  rig.run(31_000)
  rig.toolCall('e', 'find_order', { order: 7 })
  const next = new Rig({ escalation }, rig.resume)
  next.nowMs = rig.nowMs
  next.open()
  next.toolCall('f', 'end_call', { reason: 'done' })
  next.in({ type: 'stream-closed', code: 1000 })
  t.same(
    next.session.log.toolCalls.map(({ callId, end, record: { ok } }) => [callId, end, ok]),
    [
      ['a', 'answered', true],
      ['b', 'cancelled', false],
      ['c', 'refused', false],
      ['d', 'overdue', false],
      ['e', 'lost', false],
      ['f', 'built-in', false],
    ],
  )
})

t.test("words cut off by a worker's death are logged", async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.audio(2, 'a2', 4000)
  rig.backend({
    type: 'transcript',
    role: 'agent',
    text: ' It was sent on Monday. ',
    final: false,
    itemId: 'a2',
    generation: 2,
  })
  rig.run(300)
  t.equal(rig.session.log.transcript.at(-1)?.text, 'Hello.')
  const next = new Rig({}, rig.resume)
  next.nowMs = rig.nowMs
  next.open()
  t.match(next.onlyLogged('transcript'), { role: 'agent', text: 'It was sent on Monday.' })
  t.same(next.mirror.records(), next.session.log.records())
})

t.test('times of heard speech belong to their turn', async (t) => {
  const log = new CallLog()
  const turn = { callerStoppedMs: 1000.25, firstSoundMs: 300, answerMs: 400 }
  log.append({ kind: 'turn', record: turn })
  log.append({ kind: 'turn', record: { ...turn, callerStoppedMs: 5000 } })
  log.append({ kind: 'turn-played', callerStoppedMs: 1000.25, ear: { firstSoundMs: 340, answerMs: 440 } })
  log.append({ kind: 'turn-played', callerStoppedMs: 1, ear: { firstSoundMs: 1, answerMs: 1 } })
  t.same(log.turns, [
    { ...turn, ear: { firstSoundMs: 340, answerMs: 440 } },
    { ...turn, callerStoppedMs: 5000 },
  ])
})

t.test('values from outside code become plain JSON or are refused', async (t) => {
  const circle: Record<string, unknown> = {}
  circle['self'] = circle
  t.strictSame(plainJson({ at: new Date(0), gone: undefined, list: [undefined, NaN] }, 'x'), {
    at: '1970-01-01T00:00:00.000Z',
    list: [null, null],
  })
  t.equal(plainJson(undefined, 'x'), null)
  for (const value of [1n, circle, { deep: { big: 2n } }])
    t.throws(() => plainJson(value, 'the result'), { code: 'CALL_FAULT', message: /^the result is not JSON/ })
})

const SID = parseCallSid('HD_recording01')
const RATE = 16000
const log = createLog({ level: 'silent' })
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

t.test('a recording has the caller left and the agent right', async (t) => {
  const folder = t.testdir()
  const archive = await Archive.start(archiveLimits(folder), log)
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

  const again = await Archive.start(archiveLimits(folder), log)
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

t.test('a call has a recording for each node', async (t) => {
  const folder = t.testdir()
  const first = await Archive.start(archiveLimits(folder), log)
  for (const part of [1, 2]) {
    const sink = first.record(SID, RATE, true, part)
    sink.write(0, tone(500, part * 2 * RATE))
    if (part === 1) sink.end()
  }
  await first.close() // the second is cut off here
  t.same(readdirSync(join(folder, 'recordings')).sort(), ['HD_recording01.2.wav', 'HD_recording01.wav'])
  const again = await Archive.start(archiveLimits(folder), log)
  const wav = parseWav(bytesOf(await again.recording(SID)))
  await again.close()
  t.equal(wav.samples.length, 4 * RATE, 'the newest is shown')
})

t.test("the caller's side of a stereo line is recorded", async (t) => {
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

t.test('a caller who heard no notice is not recorded [5]', async (t) => {
  const folder = t.testdir()
  const archive = await Archive.start(archiveLimits(folder), log)
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

t.test('a restart finishes recordings cut off by crashes [4]', async (t) => {
  const folder = t.testdir()
  const dead = new RecordingFiles(join(folder, 'recordings'))
  dead.begin(SID, RATE)
  dead.write(SID, 0, bytes(tone(440, 2 * RATE)))
  dead.write(SID, RATE, new Uint8Array([1, 2, 3]))
  const part = join(folder, 'recordings', `${SID}.wav.part`)
  const old = Date.now() / 1000 - 3600
  utimesSync(part, old, old)
  writeFileSync(join(folder, 'recordings', 'HD_living.wav.part'), readFileSync(part))

  const archive = await Archive.start(archiveLimits(folder), log)
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

t.test('dropped rows of a recording are replaced by silence [3]', async (t) => {
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

t.test('a slow disk drops recording rows and counts them [2]', async (t) => {
  const archive = await Archive.start(archiveLimits(t.testdir()), log)
  const sink = archive.record(SID, RATE)
  let taken = 0
  // The thread answers between our turns of the loop: none, as long as we do not yield.
  for (let i = 0; i < 2000; i++) if (sink.write(i * RATE, new Int16Array(2 * RATE))) taken++
  t.equal(taken, Math.floor((64 * 1024 * 1024) / (4 * RATE)))
  t.equal(archive.counters.recordingBytesDropped, (2000 - taken) * 4 * RATE)
  sink.discard()
  await archive.close()
})

t.test('a disk that refuses recordings is logged once [1]', async (t) => {
  const lines: string[] = []
  const folder = t.testdir({ recordings: 'a file where a folder should be' })
  const archive = await Archive.start(
    archiveLimits(folder),
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
