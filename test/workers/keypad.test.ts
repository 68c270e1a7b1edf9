import { createServer } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { digitsSchema } from '../../src/call/tools/digit-collection.js'
import { loadAgents } from '../../src/agents/file/loader.js'
import { toolSchema } from '../../src/agents/tools/tool-definition.js'
import { allCallsOn } from '../../src/backends/split.js'
import { stagesSchema } from '../../src/call/stage-definition.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { packageRoot } from '../../src/config/package-root.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { loadVoiceDetectors } from '../../src/workers/shared/media-assets.js'
import { dtmfTones } from '../../src/carrier/line.js'
import { inbound, TestLine, orderStatusAgent, pass, sid, startHost, until } from '../support/host.js'
import { portOf } from '../support/port-of.js'

const BACKEND = `module:${new URL('./keypad-backend.js', import.meta.url).href}`
const PIN = '7359'
/** Times have such digits too. */
const AS_TEXT = new RegExp(`"${PIN}"|PIN ${PIN}`)

const STAGES = stagesSchema.parse({
  pay: { instructions: 'Take the PIN.', tools: ['check_pin'], next: { rest: 'it is right' } },
  rest: { instructions: 'Say goodbye.', tools: [], final: true },
})

/** A call of a bank's line, with all that is kept of it. Each of the caller's keys is a tone from `key` on. */
async function bankCall(t: Test, callSid: string, stages: AgentDefinition['stages'] = null) {
  const bodies: string[] = []
  const bank = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      bodies.push(body)
      // A service that repeats what it got.
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ ok: true, for: `PIN ${PIN}` }))
    })
  })
  const port = await portOf(t, bank)
  const shipped = await orderStatusAgent()
  const definition = {
    ...shipped,
    fillers: { ...shipped.fillers, phrases: [] },
    recording: { enabled: true, consent: null, notice: null, refusal: null },
    tools: [
      toolSchema.parse({
        name: 'check_pin',
        description: 'Checks the PIN.',
        parameters: { properties: { pin: { type: 'string' } }, required: ['pin'] },
        http: {
          method: 'POST',
          url: `http://127.0.0.1:${port}/pin`,
          body: { pin: '{{args.pin}}' },
        },
      }),
    ],
    stages,
    digits: digitsSchema.parse([
      {
        name: 'pin',
        description: 'The PIN.',
        say: 'Your PIN.',
        length: 4,
        sensitive: true,
        tool: 'check_pin',
        argument: 'pin',
      },
    ]),
  }
  const journal: string[] = []
  const rows: { readonly at: number; readonly rows: Int16Array }[] = []
  const test = await startHost({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn(BACKEND) }]]),
    journal: { build: 'test', audio: true },
    keepJournal: (_sid, lines) => journal.push(...lines),
    record: () => ({
      path: 'recordings/x.wav',
      failed: false,
      announced: () => undefined,
      end: () => undefined,
      discard: () => undefined,
      write: (at, written) => {
        rows.push({ at, rows: written.slice() })
        return true
      },
    }),
  })
  t.teardown(() => test.close())
  const call = inbound(callSid)
  const line = new TestLine(test.host.prepare(call))
  const said = (): string[] => line.call.view().transcript.map(({ text }) => text)
  line.start()
  await line.agentQuiet(150)
  return { test, call, line, said, rows, journal, bodies }
}

t.test('a PIN requested in words is kept nowhere [1]', async (t) => {
  const { test, call, line, said, rows, journal, bodies } = await bankCall(t, 'HD_keypad000003', STAGES)
  line.call.text([{ type: 'dtmf', digit: '7' }])
  await until(() => said().some((text) => text.includes('your PIN')), 20_000, 'the question')
  // The gateway's own words about the silence do not take the model's question back.
  await until(() => said().some((text) => text.startsWith('Are you still there')), 20_000, 'a caller who looks for it')
  const listened: number[] = []
  line.call.listen(
    (part) => {
      for (let i = 0; i < part.length; i += 2) listened.push(Math.abs(part[i] as number))
    },
    () => undefined,
  )
  line.say(dtmfTones(PIN, 16_000))
  await until(() => said().some((text) => text.startsWith('Keys: ')), 20_000, 'the model to be told')
  t.equal(said().at(-1), 'Keys: 0 loud samples, 0 digits', 'the model has neither tones nor digits')
  await pass(500)
  line.stop()
  line.call.detach(1000)
  const record = await test.recordOf(call.callSid)
  const loud = rows.flatMap(({ rows: part }) => [...part].filter((sample, i) => i % 2 === 0 && Math.abs(sample) > 200))
  t.equal(loud.length, 0, 'the recording is silent')
  t.ok(listened.length > 0 && Math.max(...listened) <= 200, 'and so is a supervisor who listens')
  t.notMatch(JSON.stringify(record), AS_TEXT)
  t.notMatch(journal.join(' '), AS_TEXT)
  const keys = journal.flatMap((text) => /"type":"dtmf","digit":"(.)"/.exec(text)?.[1] ?? [])
  t.same(keys, ['7', 'x', 'x', 'x', 'x'])
  t.same(bodies, [])
  const { outputs, recorded } = replayJournal(journal)
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 0 }), [], 'and the call is replayed to the same outputs')
})

t.test('a PIN keyed as sound reaches only its tool', async (t) => {
  const { test, call, line, said, rows, journal, bodies } = await bankCall(t, 'HD_keypad000001', STAGES)
  line.call.text([{ type: 'dtmf', digit: '9' }])
  await until(
    () =>
      test.host
        .find(call.callSid)
        ?.timeline()
        .timeline.some(({ name }) => name === 'private') === true,
    10_000,
    'a private line',
  )
  await line.agentQuiet(150)
  const listened: number[] = []
  const listening = line.call.listen(
    (part) => {
      for (let i = 0; i < part.length; i += 2) listened.push(Math.abs(part[i] as number))
    },
    () => undefined,
  )
  t.equal(listening?.rateHz, 16_000)
  const fromMs = rows.reduce((sum, { rows: part }) => sum + part.length, 0) / 32
  line.say(dtmfTones(PIN, 16_000))
  await until(() => said().some((text) => text.includes('loud samples')), 20_000, 'the result')
  t.same(bodies, [JSON.stringify({ pin: PIN })], 'the tool has it')
  t.equal(said().at(-1), '{"ok":true,"for":"PIN ••••"}; 0 loud samples, 0 digits', 'the model does not')
  await until(() => said().length >= 3, 5000, 'the words')
  await pass(500) // a listener hears later
  line.stop()
  line.call.detach(1000)
  const record = await test.recordOf(call.callSid)

  t.ok(listened.length / 16 >= 1000 && Math.max(...listened) <= 200, 'a supervisor hears silence')
  t.notMatch(JSON.stringify(record), AS_TEXT, 'nor does the record')
  t.match(record.toolCalls, [
    { name: 'check_pin', args: { pin: '••••' }, ok: true },
    { name: 'collect_digits', args: { name: 'pin' }, ok: true },
  ])
  const left = rows.flatMap(({ rows: part }) => [...part].filter((_, index) => index % 2 === 0))
  t.ok(left.length / 16 > fromMs + 500, 'the recording covers that time')
  t.notOk(
    left.some((sample) => Math.abs(sample) > 200),
    'and is silent in it',
  )

  t.notMatch(journal.join(' '), AS_TEXT, 'nor does the journal')
  const keys = journal.flatMap((text) => /"type":"dtmf","digit":"(.)"/.exec(text)?.[1] ?? [])
  t.same(keys, ['9', 'x', 'x', 'x', 'x'])
  const vadBank = await loadVoiceDetectors()
  const heard: string[] = []
  const { outputs, recorded, frameDifferences } = replayJournal(journal, {
    decode: (text) => new Uint8Array(Buffer.from(text, 'base64')),
    openPath: (media) => {
      const path = new CallerPath({ ...media, vadBank })
      const pull = path.pull.bind(path)
      path.pull = (nowMs) => {
        const due = pull(nowMs)
        if (due && path.digit !== null) heard.push(path.digit)
        return due
      }
      return path
    },
  })
  t.same(heard, [], 'its audio has no key in it')
  t.same(frameDifferences, [])
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 0 }), [], 'and the call is replayed to the same outputs')
})

t.test('a keyed verification answer is not kept', async (t) => {
  const { agents } = await loadAgents(join(packageRoot(), 'agents'), { SHOP_API_URL: 'http://127.0.0.1:1' })
  const shipped = agents.get('support')
  if (shipped?.verification == null) throw new Error('agents/support.yaml verifies nobody')
  const fillers = { ...shipped.fillers, phrases: [] }
  const definition = { ...shipped, fillers, verification: { ...shipped.verification, required: 1 } }
  const test = await startHost({
    agents: new Map([['support', { definition, facts: agentFacts(definition), shares: allCallsOn(BACKEND) }]]),
  })
  t.teardown(() => test.close())
  const call = { callSid: sid('HD_keypad000002'), agent: 'support', from: '+254700000001', to: '+254709000000' }
  const live = test.host.prepare({ ...call, direction: 'inbound' })
  const line = new TestLine(live)
  const said = (text: RegExp): boolean => live.view().transcript.some((entry) => text.test(entry.text))
  line.start()
  await line.agentQuiet(150)
  live.text([{ type: 'dtmf', digit: '8' }])
  await until(() => said(/last four digits of your ID number/), 20_000, 'the question')
  for (const digit of '7386') live.text([{ type: 'dtmf', digit }])
  await until(() => said(/"verified":true/), 20_000, 'the result')
  live.detach(1000)
  line.stop()
  const record = await test.recordOf(call.callSid)
  t.match(record.stages, [{ stage: 'verify' }, { stage: 'help' }])
  t.match(record.toolCalls[0], { name: 'verify_caller', args: { question: 'id-number', answer: '…' }, ok: true })
  t.notMatch(JSON.stringify(record.transcript), /7386/)
})
