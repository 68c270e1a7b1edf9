import t from 'tap'
import { agentFacts } from '../../src/cli/agent-facts.js'
import type { CallHostOptions } from '../../src/shard/call-host.js'
import { createLog } from '../../src/telemetry/log.js'
import { TestLine, orderStatusAgent, sid, startHost, until } from '../support/host.js'
import type { TestHost } from '../support/host.js'

// Each deadly call kills two workers, and the watch takes two seconds for some.
t.setTimeout(180_000)

async function poisonHost(changes: Partial<CallHostOptions> = {}): Promise<TestHost> {
  const definition = await orderStatusAgent()
  const backend = `module:${new URL('./poison-backend.js', import.meta.url).href}`
  return startHost({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), backends: [backend], shadow: null }]]),
    speech: null, maxCalls: 16, workerMemoryMb: 64, ...changes,
  })
}

function lineOf(test: TestHost, callSid: string): TestLine {
  const line = new TestLine(test.host.prepare({
    callSid: sid(callSid), agent: 'order-status', from: '+254700000001', to: '+254709000000', direction: 'inbound',
  }))
  line.start()
  return line
}

const counted = async (test: TestHost, series: string): Promise<number> => {
  const line = (await test.metrics.render()).split('\n').find((text) => text.startsWith(`${series} `))
  return Number(line?.split(' ')[1] ?? NaN)
}

for (const [mistake, what, cause] of [
  ['exit', 'exits in a timer of its own', 'exit'],
  ['tickexit', 'exits in the tick', 'exit'],
  ['spin', 'spins in a timer', 'silent'],
  ['promises', 'spins in promises', 'silent'],
  ['heap', 'fills the heap in one go', 'heap'],
  ['leak', 'fills the heap bit by bit', 'heap'],
  ['buffers', 'fills the memory beside the heap bit by bit', 'buffers'],
  ['flood', 'fills the memory beside the heap in one go', 'silent'],
] as const) {
  t.test(`a call whose backend ${what} ends alone, and the others are moved once`, async (t) => {
    const lines: string[] = []
    const test = await poisonHost({ log: createLog({ destination: { write: (line: string) => void lines.push(line) } }) })
    t.teardown(() => test.close())
    const bystanders = ['HD_fine1', 'HD_fine2', 'HD_fine3'].map((callSid) => lineOf(test, callSid))
    await until(() => bystanders.every((line) => line.frames.length > 20), 10_000, 'the bystanders to hear their agents')
    const guilty = lineOf(test, `HD_${mistake}`)
    await until(() => guilty.closedWith !== null, 40_000, 'the guilty call to end')
    const endedAtMs = performance.now()

    t.equal(guilty.closedWith, 1011)
    const record = await test.recordOf(guilty.call.callSid)
    t.match(record, { outcome: 'failed', endReason: 'call-fault', rehomes: 1 }, 'tried once more, and then ended')
    const lost = record.timeline.filter((mark) => mark.name === 'worker-lost').map((mark) => mark.detail ?? '')
    t.equal(lost.length, 2)
    t.match(lost[0], /suspected: this call/)
    t.ok(await counted(test, `mkondo_media_worker_ends_total{cause="${cause}"}`) >= 1, `counted as ${cause}`)

    const died = lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ msg }) => msg === 'a media worker died')
    t.match(died, [{ cause, call_sid: `HD_${mistake}`, calls: 4 }, { cause, call_sid: `HD_${mistake}`, calls: 1 }], 'the log names the call both times')
    t.notMatch(lines.join(''), /254700000001/)

    // Its second death was on a worker of its own.
    await until(() => bystanders.every((line) => line.soundSince(endedAtMs)), 10_000, 'the bystanders to be heard after it all')
    for (const line of bystanders) {
      t.equal(line.closedWith, null)
      t.equal(line.call.view().rehomes, 1, `${line.call.callSid} was moved once, not twice`)
      line.call.hangup('operator-hangup', 'the test is over', false)
      const fine = await test.recordOf(line.call.callSid)
      t.equal(fine.endReason, 'operator-hangup')
      t.match(fine.timeline.find((mark) => mark.name === 'worker-lost')?.detail, new RegExp(`suspected: HD_${mistake};`))
    }
    t.equal(test.host.free, test.host.capacity)
  })
}

t.test('where nobody can say whose code it was, all go on alone, and the second death is its own', async (t) => {
  const test = await poisonHost()
  t.teardown(() => test.close())
  const lines = ['HD_fine1', 'HD_fine2', 'HD_fine3'].map((callSid) => lineOf(test, callSid))
  await until(() => lines.every((line) => line.frames.length > 20), 10_000, 'the calls to begin')
  await test.host.threads[0]?.terminate()
  await until(() => lines.every((line) => line.call.view().rehomes === 1), 20_000, 'all to be moved')
  await until(() => test.host.threads.length === 4, 20_000, 'three workers for three suspects beside the one of all others')
  const movedAtMs = performance.now()
  await until(() => lines.every((line) => line.soundSince(movedAtMs)), 20_000, 'all to be heard again')
  t.equal(await counted(test, 'mkondo_calls_alone'), 3)

  await test.host.threads[1]?.terminate()
  await until(() => lines.some((line) => line.closedWith !== null), 20_000, 'one of them to end')
  t.same(lines.map((line) => line.closedWith).filter((code) => code !== null), [1011], 'one, and only one')
  const others = lines.filter((line) => line.closedWith === null)
  const diedAtMs = performance.now()
  await until(() => others.every((line) => line.soundSince(diedAtMs)), 10_000, 'the others to go on')
  for (const line of others) {
    t.equal(line.call.view().rehomes, 1)
    line.call.hangup('operator-hangup', 'the test is over', false)
    await test.recordOf(line.call.callSid)
  }
})

t.test('more suspects than there are workers for them: the rest goes among the others, and nobody is dropped', async (t) => {
  const test = await poisonHost()
  t.teardown(() => test.close())
  const lines = Array.from({ length: 7 }, (_, i) => lineOf(test, `HD_fine${i}`))
  await until(() => lines.every((line) => line.frames.length > 5), 10_000, 'the calls to begin')
  await test.host.threads[0]?.terminate()
  await until(() => lines.every((line) => line.call.view().rehomes === 1), 20_000, 'all to be moved')
  const movedAtMs = performance.now()
  await until(() => lines.every((line) => line.soundSince(movedAtMs)), 20_000, 'all to be heard again')
  t.equal(await counted(test, 'mkondo_calls_alone'), 4)
  for (const line of lines) {
    line.call.hangup('operator-hangup', 'the test is over', false)
    t.equal((await test.recordOf(line.call.callSid)).endReason, 'operator-hangup')
  }
})

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
