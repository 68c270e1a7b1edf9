import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { STREAM_OFFERS_MAX } from '../../src/core/limits.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { asked, startLine } from '../support/broken-line.js'
import { until } from '../support/until.js'

t.jobs = 2

const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())

await Promise.all([
  t.test('calls get new streams after a balancer is killed [3]', async (t) => {
    const line = await startLine(t, speech, {})
    const calls = [line.call('continues'), line.call('reposts')]
    await until(() => calls.every(({ streams }) => streams() === 1), 10_000, 'streams')
    await sleep(800)
    line.breaks()
    await until(() => calls.every(({ streams }) => streams() === 2), 5000, 'new streams')
    await sleep(500)
    for (const call of calls) call.hangUp()
    for (const call of calls) {
      const { callSid } = await call.done
      t.match(
        await line.recordOf(callSid),
        { endReason: 'caller-hung-up', resumed: [{ recording: null }], recoveredFrom: null, rootSid: callSid },
        'one record, of both streams',
      )
    }
    t.equal(line.records.length, 2)
    t.same(asked(line, /hangup|calls$/), [], 'nobody is hung up or rung')
  }),
  t.test('a call resumes although its old socket seems open [4]', async (t) => {
    const line = await startLine(t, speech, {})
    const call = line.call('continues')
    await until(() => call.streams() === 1, 10_000, 'the stream')
    await sleep(500)
    line.vanishes()
    await until(() => call.streams() === 2, 5000, 'a new stream')
    await sleep(300)
    call.hangUp()
    const { callSid } = await call.done
    t.match(await line.recordOf(callSid), { endReason: 'caller-hung-up', resumed: [{ recording: null }] })
  }),
  t.test('streams refused by a starting balancer are offered again [1]', async (t) => {
    const line = await startLine(t, speech, {})
    line.refuses(2)
    const call = line.call('continues')
    await until(() => call.streams() === 1, 10_000, 'a first stream')
    await sleep(500)
    line.refuses(3)
    line.breaks()
    await until(() => call.streams() === 2, 10_000, 'the stream that comes back')
    await sleep(300)
    call.hangUp()
    const { callSid } = await call.done
    const record = await line.recordOf(callSid)
    t.match(record, { endReason: 'caller-hung-up', resumed: [{ recording: null }] })
    t.equal(record.timeline.filter(({ name }) => name === 'stream-offered-again').length, 5)
  }),
  t.test('the caller hears the fallback if no stream opens [2]', async (t) => {
    for (const [setting, carrier] of [
      ['learn', 'reposts'],
      ['holds', 'continues'],
    ] as const) {
      const line = await startLine(t, speech, { SAUTIKIT_AFTER_STREAM: setting })
      line.refuses(100)
      const placed = line.call(carrier)
      const { callSid, verbs } = placed
      await until(() => verbs.includes('Say'), 10_000, 'words')
      t.equal((await line.recordOf(callSid)).endReason, 'stream-error')
      t.same(asked(line, /hangup|calls$/), [], 'the carrier is not asked to end it')
      t.equal(verbs.filter((verb) => verb === 'Stream').length, STREAM_OFFERS_MAX)
      placed.hangUp()
    }
  }),
  t.test('callers held by the carrier are called back [5]', async (t) => {
    const line = await startLine(t, speech, { SAUTIKIT_AFTER_STREAM: 'holds' })
    const [held, asks, left] = [line.call('holds'), line.call('continues'), line.call('holds')]
    await until(() => [held, asks, left].every(({ streams }) => streams() === 1), 10_000, 'streams')
    await sleep(800)
    line.breaks()
    // The connections that the carrier kept are broken too: what it would tell on one of them is lost.
    await until(() => [held, asks, left].every(({ told }) => told() > 0), 5000, 'the carrier to meet with that')
    left.hangUp()
    t.match(await line.recordOf((await left.done).callSid), { endReason: 'caller-hung-up', resumed: [] })
    await until(() => asks.streams() === 2, 5000, 'a new stream of the one whose carrier asks all the same')
    await until(() => asked(line, /calls$/).length > 0, 10_000, 'the caller to be rung')
    t.same(asked(line, /calls$/), [`recover-${held.callSid}`])
    t.same(asked(line, /hangup$/), [`${held.callSid}:lost`])
    t.match(await line.recordOf(held.callSid), { endReason: 'socket-lost', recoveredFrom: null })
    asks.hangUp()
    t.match(await line.recordOf((await asks.done).callSid), { endReason: 'caller-hung-up', resumed: [{}] })
    const greeted = (): boolean => line.records.some(({ direction }) => direction === 'outbound')
    // The gateway hears who has answered before it greets. It takes a second, and longer on a busy machine.
    await sleep(4000)
    for (const { leg } of line.carrier.rest.workspace.calls()) leg.hangUp()
    await until(greeted, 5000, 'the record of the call back')
    const record = line.records.find(({ direction }) => direction === 'outbound') as CallRecord
    t.match(record, {
      direction: 'outbound',
      recoveredFrom: held.callSid,
      rootSid: held.callSid,
      outbound: { clientRequestId: `recover-${held.callSid}` },
    })
    t.ok(record.timeline.some(({ name }) => name === 'call-back'))
    t.ok(record.timeline.some(({ name }) => name === 'amd'))
  }),
])
