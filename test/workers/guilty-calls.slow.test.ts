import t from 'tap'
import { until } from '../support/host.js'
import { counted, endsAlone, lineOf, poisonHost } from './poison-host.js'

t.setTimeout(300_000)

t.test('a call whose backend exits in the tick ends alone, and the others are moved once', (t) =>
  endsAlone(t, 'tickexit', 'exit'),
)
t.test('a call whose backend spins in promises ends alone, and the others are moved once', (t) =>
  endsAlone(t, 'promises', 'silent'),
)
t.test('a call whose backend fills the heap bit by bit ends alone, and the others are moved once', (t) =>
  endsAlone(t, 'leak', 'heap', 'silent'),
)
t.test(
  'a call whose backend fills the memory beside the heap in one go ends alone, and the others are moved once',
  (t) => endsAlone(t, 'flood', 'silent'),
)

t.test(
  'more suspects than there are workers for them: the rest goes among the others, and nobody is dropped',
  async (t) => {
    const test = await poisonHost()
    t.teardown(() => test.close())
    const lines = Array.from({ length: 7 }, (_, i) => lineOf(test, `HD_fine${i}`))
    await until(() => lines.every((line) => line.frames.length > 5), 10_000, 'the calls to begin')
    // A worker cannot read this message: a fault of no call's code, where `terminate` would meet a call's by chance.
    test.host.threads[0]?.postMessage(null)
    await until(() => lines.every((line) => line.call.view().rehomes === 1), 20_000, 'all to be moved')
    const movedAtMs = performance.now()
    await until(() => lines.every((line) => line.soundSince(movedAtMs)), 20_000, 'all to be heard again')
    t.equal(await counted(test, 'mkondo_calls_alone'), 4)
    for (const line of lines) {
      line.call.hangup('operator-hangup', 'the test is over', false)
      t.equal((await test.recordOf(line.call.callSid)).endReason, 'operator-hangup')
    }
  },
)

t.test('an idle worker that spins is replaced before a call is given to it for long', async (t) => {
  const test = await poisonHost()
  t.teardown(() => test.close())
  const line = lineOf(test, 'HD_late')
  await until(() => line.frames.length > 5, 10_000, 'the call to begin')
  line.call.hangup('operator-hangup', 'the test is over', false)
  await test.recordOf(line.call.callSid)
  const [before] = test.host.threads
  await until(() => test.host.threads[0] !== before, 20_000, 'the worker to be replaced')
  const next = lineOf(test, 'HD_fine')
  await until(() => next.frames.length > 5, 20_000, 'the next call to be served')
  t.equal(next.call.view().rehomes, 0)
  next.call.hangup('operator-hangup', 'the test is over', false)
  await test.recordOf(next.call.callSid)
})
