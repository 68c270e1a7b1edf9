import t from 'tap'
import { TestLine, callerSays, sid, startHost, until } from '../support/host.js'

// Calls are in real time.
t.setTimeout(300_000)

const LIMIT_MS = 8000
const SOUND_MS = 10_000
const RATE_HZ = 16_000

/**
 * What plays while we are on hold: an announcer who never pauses. A voice to any detector, and no words of the agent's.
 */
async function holdProgramme(): Promise<Int16Array> {
  const announcer = await callerSays(
    'Thanks for holding we value your business and remember our wonderful summer sale with carpets and curtains for the whole family and a garden full of flowers',
  )
  const voiced = announcer.subarray(
    announcer.findIndex((sample) => Math.abs(sample) > 300),
    announcer.findLastIndex((sample) => Math.abs(sample) > 300),
  )
  return Int16Array.from({ length: (RATE_HZ * SOUND_MS) / 1000 }, (_, i) => voiced[i % voiced.length] ?? 0)
}

t.test('a caller who has put us on hold hears us within eight seconds', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const call = test.host.prepare({
    callSid: sid('HD_holdmusic0001'),
    agent: 'order-status',
    from: '+254700000001',
    to: '+254709000000',
    direction: 'inbound',
  })
  const line = new TestLine(call)
  const programme = await holdProgramme()
  line.start()
  t.teardown(() => line.stop())
  await until(() => line.soundSince(0), 10_000, 'the greeting')
  const fromMs = performance.now()
  line.say(programme)
  await until(
    () => line.closedWith !== null || performance.now() - fromMs > SOUND_MS,
    SOUND_MS + 5000,
    'the end of the programme',
  )
  const untilMs = performance.now()
  const heard = line.frames
    .filter((frame) => frame.samples.some((sample) => Math.abs(sample) > 200))
    .map(({ atMs }) => atMs)
  const times = [fromMs, ...heard.filter((atMs) => atMs > fromMs && atMs < untilMs), untilMs]
  const longestMs = Math.max(...times.slice(1).map((atMs, index) => atMs - (times[index] ?? atMs)))
  const { timeline } = call.timeline()
  t.ok(
    timeline.some(({ name }) => name === 'caller-speech'),
    'the programme passes for a voice',
  )
  t.ok(
    timeline.some(({ name }) => name === 'not-understood'),
    'and goes on without a pause',
  )
  t.ok(longestMs <= LIMIT_MS, `the longest silence has ${Math.round(longestMs)} ms`)
  call.hangup('operator-hangup', 'the test is over', false)
  await test.recordOf(call.callSid)
})
