import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { allCallsOn } from '../../src/backends/split.js'
import { loadConfig } from '../../src/config/load-config.js'
import { agentFacts, backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { inbound, orderStatusAgent, type TestHost, TestLine } from '../support/host.js'
import { REAL_TIME, startThreads } from '../support/threads.js'
import { until } from '../support/until.js'
import { counted, endsAlone, lineOf, POISON, poisonHost } from './poison-host.js'
import { spawnOwn } from '../support/spawn-own.js'

for (const [does, mistake, ...causes] of [
  ['exits in a timer of its own', 'exit', 'exit'],
  ['exits in the tick', 'tickexit', 'exit'],
  ['spins in a timer', 'spin', 'silent'],
  ['spins in promises', 'promises', 'silent'],
  ['fills the heap in one go', 'heap', 'heap', 'silent'],
  ['fills the heap bit by bit', 'leak', 'heap', 'silent'],
  ['fills the memory beside the heap in one go', 'flood', 'silent'],
  ['fills the memory beside the heap bit by bit', 'buffers', 'buffers'],
] as const)
  t.test(`only the call whose backend ${does} ends [3]`, (t) => endsAlone(t, mistake, ...causes))

/** One row: a call of that agent, whose service sends without an end, beside three others on one worker. */
function row(title: string, agent: string, series: string): void {
  void t.test(title, async (t) => {
    const service = spawnOwn(process.execPath, [fileURLToPath(new URL('./endless-service.js', import.meta.url))])
    t.teardown(() => service.kill())
    const [port] = (await once(service.stdout, 'data')) as [Buffer]
    const env = { OPENAI_API_KEY: 'key-of-a-test', OPENAI_BASE_URL: `http://127.0.0.1:${String(port).trim()}` }
    const shipped = await orderStatusAgent()
    const local = fileURLToPath(new URL('../agents/endless-mcp-server.js', import.meta.url))
    const { mcp } = agentSchema.parse({
      ...{ version: 1, name: 'served', instructions: 'x' },
      mcp: [{ name: 'x', command: [process.execPath, local], tools: ['echo'] }],
    })
    const hosted = (definition: AgentDefinition, backend: string) => ({
      definition,
      facts: agentFacts(definition),
      shares: allCallsOn(backend),
    })
    const test = await poisonHost({
      backends: backendSettings(loadConfig(env, null)),
      agents: new Map([
        ['order-status', hosted(shipped, POISON)],
        ['wordy', hosted({ ...shipped, name: 'wordy' }, 'openai')],
        ['served', hosted({ ...shipped, name: 'served', mcp }, POISON)],
      ]),
    })
    t.teardown(() => test.close())
    const bystanders = ['HD_fine1', 'HD_fine2', 'HD_fine3'].map((callSid) => lineOf(test, callSid))
    await until(
      () => bystanders.every((line) => line.frames.length > 20),
      10_000,
      'the bystanders to hear their agents',
    )
    const heardMs = bystanders.map(() => performance.now())
    let gapMs = 0
    const guilty = lineOf(test, 'HD_finebeside', agent)
    const overrun = async (): Promise<boolean> => {
      for (const [i, line] of bystanders.entries())
        if (line.soundSince(heardMs[i] ?? 0)) {
          gapMs = Math.max(gapMs, performance.now() - (heardMs[i] ?? 0))
          heardMs[i] = performance.now()
        }
      return (await counted(test, series)) > 0
    }
    await until(overrun, 20_000, 'the service to be cut off')
    const cutMs = performance.now()
    await until(() => bystanders.every((line) => line.soundSince(cutMs)), 10_000, 'the bystanders to be heard after it')
    await overrun()
    t.ok(gapMs < 1500, `a bystander heard nothing for ${Math.round(gapMs)} ms`)
    for (const line of [...bystanders, guilty]) {
      t.equal(line.call.view().rehomes, 0, 'the worker lives')
      line.call.hangup('operator-hangup', 'the test is over', false)
      line.stop()
    }
  })
}

row(
  'a model that sends endlessly fails alone [1]',
  'wordy',
  'mkondo_backend_errors_total{backend="openai",code="overrun"}',
)
row(
  'an MCP server that sends endlessly is left out [7]',
  'served',
  'mkondo_mcp_server_events_total{agent="served",server="x",event="overrun"}',
)

t.test('after an unexplained death suspects get separate workers [2]', async (t) => {
  const test = await poisonHost()
  t.teardown(() => test.close())
  const lines = ['HD_fine1', 'HD_fine2', 'HD_fine3'].map((callSid) => lineOf(test, callSid))
  await until(() => lines.every((line) => line.frames.length > 20), 10_000, 'the calls to begin')
  // Ended from here it could die in a call's code, which would then be the suspect. piscina's own listener throws for
  // this message, outside of every call.
  test.host.threads[0]?.postMessage({ niceIncrement: 0 })
  await until(() => lines.every((line) => line.call.view().rehomes === 1), 20_000, 'all to be moved')
  await until(
    () => test.host.threads.length === 4,
    20_000,
    'three workers for three suspects beside the one of all others',
  )
  const movedAtMs = performance.now()
  await until(() => lines.every((line) => line.soundSince(movedAtMs)), 20_000, 'all to be heard again')
  t.equal(await counted(test, 'mkondo_calls_alone'), 3)

  await test.host.threads[1]?.terminate()
  await until(() => lines.some((line) => line.closedWith !== null), 20_000, 'one of them to end')
  t.same(
    lines.map((line) => line.closedWith).filter((code) => code !== null),
    [1011],
    'one, and only one',
  )
  const others = lines.filter((line) => line.closedWith === null)
  const diedAtMs = performance.now()
  await until(() => others.every((line) => line.soundSince(diedAtMs)), 10_000, 'the others to go on')
  for (const line of others) {
    t.equal(line.call.view().rehomes, 1)
    line.call.hangup('operator-hangup', 'the test is over', false)
    await test.recordOf(line.call.callSid)
  }
})

t.test('suspects without a free worker join the others [4]', async (t) => {
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
})

t.test('a spinning idle worker is replaced [6]', async (t) => {
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

/** The call goes on alone after the first death, on a worker beside the others. */
const terminateAll = (test: TestHost): Promise<unknown> =>
  Promise.all(test.host.threads.map((thread) => thread.terminate()))

t.test('a call that loses two workers reaches a human [5]', async (t) => {
  const test = await startThreads()
  t.teardown(() => test.close())
  const call = test.host.prepare(inbound('HD_death0000002'))
  const line = new TestLine(call, REAL_TIME)
  line.start()
  t.teardown(() => line.stop())
  await line.agentQuiet(300)
  await terminateAll(test)
  await until(
    () => call.timeline().timeline.some(({ name }) => name === 'taken-over'),
    20_000,
    'another worker to go on',
  )
  t.equal(call.view().rehomes, 1)
  await terminateAll(test)
  await until(() => line.closedWith !== null, 20_000, 'the socket to close')
  t.equal(line.closedWith, 1011)
  const verbs = call.continuation('after-stream').map((action) => action.verb)
  t.same(verbs, ['say', 'dial', 'hangup'])
  const record = await test.recordOf(call.callSid)
  t.equal(record.outcome, 'failed')
  t.equal(record.endReason, 'call-fault')
  t.match(record.endDetail, /its media worker ended/)
})
