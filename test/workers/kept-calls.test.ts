import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { channelOf, parseWav } from '../../src/media/wav.js'
import { Archive } from '../../src/telemetry/archive/archive.js'
import { createLog } from '../../src/telemetry/log.js'
import { TestLine, callerSays, sid, startHost, until } from '../support/host.js'
import { endedCall } from '../support/record.js'
import { bytesOf } from '../support/stored-file.js'

t.setTimeout(90_000)

const call = (callSid: string) => ({
  callSid: sid(callSid),
  agent: 'order-status',
  from: '+254700000001',
  to: '+254709000000',
  direction: 'inbound' as const,
})
const archiveIn = (folder: string) =>
  Archive.start(
    {
      folder,
      fsync: 'never',
      fileBytes: 1e6,
      recordsKeepDays: 30,
      recordsKeepBytes: 1e7,
      recordingsKeepDays: 30,
      recordingsKeepBytes: 1e9,
    },
    createLog({ level: 'silent' }),
  )

/** When a side of the recording is first loud, in milliseconds. */
const onsetMs = (samples: Int16Array, fromMs = 0) =>
  samples.findIndex((sample, i) => i >= fromMs * 16 && Math.abs(sample) > 1000) / 16

t.test(
  'a recorded call is a WAV with both voices where they were heard, and begins with the line about it',
  async (t) => {
    const folder = t.testdir()
    const archive = await archiveIn(folder)
    const test = await startHost({ record: (callSid, rateHz) => archive.record(callSid, rateHz) }, (agent) => ({
      ...agent,
      recording: { enabled: true, consent: 'This call is recorded.' },
    }))
    t.teardown(() => test.close())
    const question = await callerSays('Where is my order?')
    const live = test.host.prepare(call('HD_recorded0001'))
    const openedMs = performance.now()
    const line = new TestLine(live)
    line.start()
    await line.agentQuiet(700)
    const saidMs = performance.now() - openedMs
    line.say(question)
    await until(() => performance.now() - openedMs > saidMs + 4000, 10_000, 'the caller to have spoken')
    const loud = line.frames.find(({ samples }) => samples.some((sample) => Math.abs(sample) > 1000))
    line.stop()
    live.detach(1000)
    const record = await test.recordOf(live.callSid)
    await archive.close()
    t.equal(record.recording, 'recordings/HD_recorded0001.wav')
    t.match(record.transcript[0], { role: 'agent', text: 'This call is recorded.' })
    t.match(record.transcript[1], { role: 'agent' }, 'then the greeting')

    const wav = parseWav(bytesOf(await archive.recording(live.callSid)))
    t.equal(wav.channels, 2)
    const [left, right] = [channelOf(wav, 0), channelOf(wav, 1)]
    t.ok(Math.abs(left.length / 16 - record.durationMs) < 500, `${left.length / 16} ms of ${record.durationMs}`)
    const agentMs = onsetMs(right) - ((loud?.atMs ?? 0) - openedMs)
    t.ok(agentMs > -100 && agentMs < 500, `the agent begins ${Math.round(agentMs)} ms after it was sent`)
    const callerMs = onsetMs(left) - saidMs
    t.ok(callerMs > -100 && callerMs < 600, `the caller begins ${Math.round(callerMs)} ms after they spoke`)
  },
)

t.test('an agent that records nothing leaves nothing behind', async (t) => {
  const folder = t.testdir()
  const archive = await archiveIn(folder)
  const test = await startHost({ record: (callSid, rateHz) => archive.record(callSid, rateHz) })
  t.teardown(() => test.close())
  const live = test.host.prepare(call('HD_recorded0002'))
  const line = new TestLine(live)
  line.start()
  await until(() => line.frames.length > 10, 10_000, 'the greeting')
  line.stop()
  live.detach(1000)
  t.equal((await test.recordOf(live.callSid)).recording, null)
  await archive.close()
  t.notOk(readdirSync(folder).includes('recordings') && readdirSync(join(folder, 'recordings')).length > 0)
})

t.test('a carrier that stops reading is the reason of the end, not a caller who hung up', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const live = test.host.prepare(call('HD_stuck000001'))
  /** As the edge's socket: the call is told why, and gets false. */
  class StuckLine extends TestLine {
    override sendAudio(bytes: Uint8Array): boolean {
      if (this.frames.length < 20) return super.sendAudio(bytes)
      live.hangup('carrier-not-reading', 'the carrier does not read its socket', false)
      return false
    }
  }
  const line = new StuckLine(live)
  line.start()
  const record = await test.recordOf(live.callSid)
  line.stop()
  t.match(record, { endReason: 'carrier-not-reading', outcome: 'failed' })
})

t.test('calls of an earlier run are shown, and are not opened again by a late webhook', async (t) => {
  const earlier = endedCall({ callSid: 'HD_earlier0001' })
  const test = await startHost({ ended: [earlier] })
  t.teardown(() => test.close())
  t.same(test.host.record('HD_earlier0001'), earlier)
  t.same(test.host.ended(), [earlier])
  t.throws(() => test.host.prepare(call('HD_earlier0001')), GatewayError)
})

t.test('a record keeps of words and numbers what its owner wants', async (t) => {
  const test = await startHost({ privacy: { maskNumbers: false, transcript: 'none' } })
  t.teardown(() => test.close())
  const live = test.host.prepare(call('HD_private0001'))
  const line = new TestLine(live)
  line.start()
  await until(() => line.frames.length > 25, 10_000, 'the greeting')
  line.stop()
  t.notMatch(JSON.stringify(live.view()), /254700000001/, 'what an operator looks at is masked all the same')
  live.detach(1000)
  const record = await test.recordOf(live.callSid)
  t.equal(record.from, '+254700000001')
  t.same(record.transcript, [])
  t.same(test.host.record(live.callSid), record, 'nothing else is kept in memory either')
})
