import { createServer } from 'node:http'
import t from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import { whyOf } from '../../src/call/why/why.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { effectKey } from '../../src/workers/shared/effects.js'
import { TestLine, codedSpeech, orderStatusAgent, sid } from '../support/host.js'
import { REAL_TIME, startThreads } from '../support/threads.js'
import { until } from '../support/until.js'
import { httpTool as tool } from './http-tool.js'
import { portOf } from '../support/port-of.js'

/**
 * These calls run in real time on real media workers: only a thread that dies takes a session and a request with it, and says
 * nothing.
 */

const requests: { readonly method: string; readonly path: string; readonly key: string | null }[] = []
/** A real API that holds back its answer to the first request under `/held`, and whose charges only begin. */
const api = createServer((request, response) => {
  const key = request.headers['idempotency-key']
  const { method = '', url: path = '' } = request
  requests.push({ method, path, key: typeof key === 'string' ? key : null })
  if (path === '/held' && requests.filter((one) => one.path === path).length === 1) return
  if (path === '/charge') return void response.writeHead(202).end()
  response.writeHead(200, { 'content-type': 'application/json' }).end('{"done":true}')
})
const port = await portOf(t, api)

const tools = [
  tool('pay', { method: 'POST', url: '{{env.API}}/held' }),
  tool('book', { method: 'POST' }, { idempotent: true }),
  tool('look', {}),
  tool(
    'charge',
    { method: 'POST', body: { to: '{{continue.url}}' } },
    { waits: { for: '90s', say: 'Enter your PIN.' } },
  ),
]
const shipped = await orderStatusAgent()
const fillers = { ...shipped.fillers, phrases: [] }
const served = ['tool', 'resumable', 'desk'].map((name) => {
  const handoverTo = name === 'resumable' ? { desk: 'they want a room' } : {}
  const definition = { ...shipped, name, tools, fillers, handoverTo, verification: null }
  const backend = `module:${new URL(`./${name === 'tool' ? name : 'resumable'}-backend.js`, import.meta.url).href}`
  return [name, { definition, facts: agentFacts(definition), shares: allCallsOn(backend) }] as const
})
const test = await startThreads({
  agents: new Map(served),
  defaultAgent: 'tool',
  env: { API: `http://127.0.0.1:${port}` },
  afterStream: 'continues',
  speech: codedSpeech(REAL_TIME),
})
t.teardown(async () => {
  // The worker in place of the dead one: Node aborts where a thread is ended that still loads its modules.
  await test.host.ready()
  await test.close()
})

function lineOf(agent: 'tool' | 'resumable', callSid: string): TestLine {
  const call = { callSid: sid(callSid), agent, from: '+254700000001', to: '+254709000000' }
  const line = new TestLine(test.host.prepare({ ...call, direction: 'inbound' }), REAL_TIME)
  line.start()
  return line
}

async function ended(line: TestLine): ReturnType<typeof test.recordOf> {
  line.call.hangup('operator-hangup', 'the test is over', false)
  return test.recordOf(line.call.callSid)
}

t.test("a payment interrupted by a worker's death is uncertain [1]", async (t) => {
  const line = lineOf('tool', 'HD_look_book_pay_1')
  await until(() => requests.some(({ path }) => path === '/held'), 20_000, 'the payment to be asked for')
  await test.host.threads[0]?.terminate()
  const repeated = (): boolean => line.call.view().toolCalls.some(({ error }) => error === 'TOOL_UNCERTAIN')
  await until(repeated, 20_000, 'the model to try the payment again')

  const rootSid = line.call.callSid
  t.same(
    requests.map(({ method, path, key }) => [method, path, key]),
    [
      ['GET', '/look', null],
      ['POST', '/book', effectKey(rootSid, 'book', { order: 5 }, 0)],
      ['POST', '/held', effectKey(rootSid, 'pay', { order: 5 }, 0)],
      ['GET', '/look', null],
      ['POST', '/book', effectKey(rootSid, 'book', { order: 5 }, 1)],
    ],
    'each key once, and what only looks something up is asked for again',
  )
  const record = await ended(line)
  t.match(whyOf(record, null).cause, {
    code: 'worker-dead',
    text: /^The media worker of the call died at \d+\.\d\d s, and another worker continued it\.$/,
  })
  t.same(
    record.toolCalls.map(({ name, ok, error }) => [name, ok, error ?? null]),
    [
      ['look', true, null],
      ['book', true, null],
      ['pay', false, 'lost with its worker'],
      ['look', true, null],
      ['book', true, null],
      ['pay', false, 'TOOL_UNCERTAIN'],
    ],
  )
  t.match(await test.metrics.render(), /mkondo_effect_intents_total\{answer="uncertain"\} 1\b/)
})

t.test("an outcome during a worker's replacement is delivered once [2]", async (t) => {
  const line = lineOf('resumable', 'HD_waiting00001')
  const { call } = line
  let waitId = ''
  call.continueUrl = (id) => `https://gateway.example/${(waitId = id)}`
  const said = (text: string): number => call.view().transcript.filter((entry) => entry.text === text).length
  const marks = (name: string): number => call.timeline().timeline.filter((mark) => mark.name === name).length
  await line.agentQuiet(150)
  call.text([{ type: 'dtmf', digit: '4' }])
  await until(() => said('Enter your PIN.') === 1, 20_000, 'the words of the tool')
  await test.host.threads[0]?.terminate()
  await until(() => marks('worker-lost') === 1, 20_000, 'the death')
  const paid = { status: 'succeeded', result: { receipt: 'QX1' } } as const
  t.equal(await call.takeWaitStatus(waitId, paid), 'taken')
  await until(() => marks('tool-told') === 1, 20_000, 'the outcome to be heard')
  t.equal(await call.takeWaitStatus(waitId, paid), 'repeated')
  t.equal(said('It is paid.'), 1)
  const record = await ended(line)
  t.match(record, { rehomes: 1, waits: [{ tool: 'charge', status: 'succeeded', late: false, told: true }] })
  t.equal(requests.filter(({ path }) => path === '/charge').length, 1)
})

t.test("a promised handover survives the worker's death", async (t) => {
  const line = lineOf('resumable', 'HD_promised0001')
  const { call } = line
  const said = (text: string): boolean => call.view().transcript.some((entry) => entry.text.startsWith(text))
  await line.agentQuiet(150)
  call.text([{ type: 'dtmf', digit: '6' }])
  await until(() => call.view().toolCalls.some(({ name }) => name === 'hand_over'), 20_000, 'the promise')
  await test.host.threads[0]?.terminate()
  await until(() => said('Here is desk.'), 20_000, 'the promised agent')
  t.notOk(said('I go on.'), 'and not the first once more')
  t.match(await ended(line), {
    rehomes: 1,
    handovers: [{ from: 'resumable', to: 'desk', summary: 'Wants a room.' }],
  })
})

t.test("a hang-up during a worker's death ends the call", async (t) => {
  const line = lineOf('resumable', 'HD_hangs_up0001')
  await line.agentQuiet(150)
  const dies = test.host.threads[0]?.terminate()
  line.call.detach(1000)
  await dies
  t.match(await test.recordOf(line.call.callSid), { endReason: 'caller-hung-up' })
  line.stop()
})
