import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { servingIn, usedIn } from '../../src/backends/call-snapshot.js'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { versionOf } from '../../src/workers/main/call/agent-version.js'
import { CallContinuity } from '../../src/workers/main/call/call-continuity.js'
import { CallOrigin } from '../../src/workers/main/call/call-origin.js'
import type { CallRecordBuilder } from '../../src/workers/main/call/call-record.js'
import { versionFor } from '../../src/workers/main/canary.js'
import type { HostedAgent } from '../../src/workers/main/main-thread-context.js'
import { toolSchema } from '../../src/agents/tools/tool-definition.js'
import { allCallsOn, shareOf } from '../../src/backends/split.js'
import { type KeptCall, type KeptState, type KeptWait, parseKeptCall } from '../../src/call/documents/kept-call.js'
import { callRecordSchema } from '../../src/call/documents/record.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { packageRoot } from '../../src/config/package-root.js'
import { GatewayError } from '../../src/core/errors.js'
import type { ResumedRecord } from '../../src/call/documents/record.js'
import { CALL_PARTS_MAX, RESUMES_MAX } from '../../src/core/limits.js'
import { CallKeeper } from '../../src/fleet/call-keeper.js'
import type { OwnerToken, StoredCall } from '../../src/fleet/store/call-store.js'
import { StoredEffects } from '../../src/fleet/store/effects.js'
import { recoveryPlan } from '../../src/fleet/recovery.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { channelOf, parseWav } from '../../src/media/wav.js'
import type { TranscriptPolicy } from '../../src/telemetry/archive/redaction.js'
import { Archive } from '../../src/telemetry/archive/archive.js'
import { createLog } from '../../src/telemetry/log.js'
import type { LiveCall, NewCall } from '../../src/workers/main/live-call.js'
import type { WaitUnheard } from '../../src/workers/main/wait-status.js'
import {
  callOf,
  calledBack,
  continuationOf,
  lostResult,
  mayGoOn,
  partsOf,
  withoutAgent,
} from '../../src/workers/main/kept-call.js'
import type { CallStart } from '../../src/workers/shared/call-messages.js'
import { amdOf } from '../../src/workers/worker/call-setup.js'
import { inbound, orderStatusAgent, pass, settled, sid, startHost, TestLine, time, until } from '../support/host.js'
import { keptCall, keptState } from '../support/kept-call.js'
import { endedCall } from '../support/record.js'
import { archiveLimits, bytesOf } from '../support/stored-file.js'
import { portOf } from '../support/port-of.js'

const archiveIn = (folder: string) => Archive.start(archiveLimits(folder), createLog({ level: 'silent' }))

/** Softer than coded sound, louder than what a filter leaves of silence. */
const LOUD = 250
/** When a side of the recording is first loud, in milliseconds. */
const onsetMs = (samples: Int16Array, fromMs = 0) =>
  samples.findIndex((sample, i) => i >= fromMs * 16 && Math.abs(sample) > LOUD) / 16

t.test('a recording has both voices in time, after its notice', async (t) => {
  const folder = t.testdir()
  const archive = await archiveIn(folder)
  const test = await startHost({ record: (callSid, rateHz) => archive.record(callSid, rateHz) }, (agent) => ({
    ...agent,
    greeting: 'Hello.',
    recording: { ...agent.recording, enabled: true, consent: 'This call is recorded.' },
  }))
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_recorded0001'))
  const openedMs = time.nowMs()
  const line = new TestLine(live)
  line.start()
  await line.agentQuiet(700)
  const saidMs = time.nowMs() - openedMs
  await test.say(line, 'Where is my order?')
  await pass(4000)
  const loud = line.frames.find(({ samples }) => samples.some((sample) => Math.abs(sample) > LOUD))
  live.detach(1000)
  const record = await test.recordOf(live.callSid)
  await archive.close()
  t.match(record, { recording: 'recordings/HD_recorded0001.wav', recordingState: 'ready' })
  t.match(record.transcript[0], { role: 'agent', text: 'This call is recorded.' })
  t.match(record.transcript[1], { role: 'agent' }, 'then the greeting')

  const wav = parseWav(bytesOf(await archive.recording(live.callSid)))
  t.equal(wav.channels, 2)
  const [left, right] = [channelOf(wav, 0), channelOf(wav, 1)]
  t.equal(left.length / 16, record.durationMs)
  t.equal(onsetMs(right), (loud?.atMs ?? 0) - openedMs, 'the agent begins when it was sent')
  t.ok(Math.abs(onsetMs(left) - saidMs) < 20, 'and the caller in the frame in which they spoke')
})

t.test('an agent without recording leaves no file', async (t) => {
  const folder = t.testdir()
  const archive = await archiveIn(folder)
  const test = await startHost({ record: (callSid, rateHz) => archive.record(callSid, rateHz) })
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_recorded0002'))
  const line = new TestLine(live)
  line.start()
  await until(() => line.frames.length > 10, 10_000, 'the greeting')
  line.stop()
  live.detach(1000)
  t.match(await test.recordOf(live.callSid), { recording: null, recordingState: 'off' })
  await archive.close()
  t.notOk(readdirSync(folder).includes('recordings') && readdirSync(join(folder, 'recordings')).length > 0)
})

t.test('a call that ends during the notice has no recording', async (t) => {
  const folder = t.testdir()
  const archive = await archiveIn(folder)
  const test = await startHost({ record: (...asked) => archive.record(...asked) }, (agent) => ({
    ...agent,
    recording: { ...agent.recording, enabled: true, consent: 'This call is recorded.' },
  }))
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_recorded0003'))
  const line = new TestLine(live)
  line.start()
  await until(() => line.frames.length > 3, 10_000, 'the first words')
  line.stop()
  live.detach(1000)
  t.match(await test.recordOf(live.callSid), { recording: null, recordingState: 'missing' })
  await archive.close()
  t.same(readdirSync(join(folder, 'recordings')), [])
})

t.test('a carrier that stops reading is the end reason [2]', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_stuck000001'))
  /** As the edge's socket: the call hears the reason, and gets false. */
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

t.test('calls of an earlier run are shown, not reopened', async (t) => {
  const earlier = endedCall({ callSid: 'HD_earlier0001' })
  const test = await startHost({ ended: [earlier] })
  t.teardown(() => test.close())
  t.same(test.host.record('HD_earlier0001'), earlier)
  t.same(test.host.ended(), [earlier])
  t.throws(() => test.host.prepare(inbound('HD_earlier0001')), GatewayError)
})

t.test('a record keeps only permitted words and numbers', async (t) => {
  const test = await startHost({ privacy: { maskNumbers: false, transcript: 'none' } })
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_private0001'))
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

type Machine = NonNullable<NonNullable<KeptCall['escalation']>['machine']>

const machine: Machine = {
  state: 'none',
  strategy: 'after-stream-dial',
  strategyIndex: 0,
  askedWallMs: 0,
  human: 0,
  lastOutcome: 'failed',
  lastDetail: '',
  settled: false,
  streamClosed: false,
  terminal: false,
  dial: null,
  attemptMs: null,
  owesFarewell: false,
  farewell: { state: 'none', askedMs: null },
  requests: 0,
  hangupTries: 0,
  deadlines: { ring: 1000 },
}
const escalated = (changes: Partial<Machine>, kept: Partial<KeptCall> = {}): KeptCall =>
  keptCall({
    ...kept,
    escalation: {
      history: null,
      packet: null,
      newsSent: { settled: 0, callbacks: 0 },
      machine: { ...machine, ...changes },
    },
  })
const { session } = keptCall()
if (session === null) throw new Error('no session')
const inState = (state: typeof session.state, ending: typeof session.ending = null) =>
  keptCall({ session: { ...session, state, ending } })
const RESULT = { type: 'result' } as NonNullable<KeptCall['result']>

t.test("escalation and end state decide a call's continuation", async (t) => {
  t.equal(continuationOf(keptCall()), 'agent')
  t.equal(continuationOf(keptCall({ session: null })), 'agent', 'it was only prepared')
  t.equal(continuationOf(inState('waiting')), 'agent')
  t.equal(continuationOf(escalated({ state: 'offering' })), 'agent', 'who was asked about a call back may ask again')
  t.equal(
    continuationOf(escalated({ state: 'failed' })),
    'agent',
    'who was told that nobody came goes on with the agent',
  )

  for (const state of ['pending', 'dialing', 'bridged'] as const) {
    t.equal(continuationOf(escalated({ state })), 'human', state)
    t.equal(continuationOf(escalated({ state }, { result: RESULT })), 'human', state)
  }
  t.equal(continuationOf(escalated({ state: 'failed', owesFarewell: true }, { result: RESULT })), 'human', 'to be told')

  t.equal(continuationOf(inState('closing')), 'nobody')
  t.equal(continuationOf(inState('live', { reason: 'agent-goodbye', detail: '' })), 'nobody')
  t.equal(continuationOf(inState('bridged')), 'nobody', 'without an escalation to ask')
  t.equal(continuationOf(keptCall({ result: RESULT })), 'nobody')
  t.equal(continuationOf(escalated({ state: 'failed', owesFarewell: true, terminal: true })), 'nobody', 'hung up')
})

t.test('a kept call is read as written and validated', async (t) => {
  const whole = escalated({
    state: 'dialing',
    dial: { number: '+254720000010', asker: 'voice', sure: true, servedMs: 5 },
  })
  t.same(parseKeptCall(JSON.parse(JSON.stringify(whole))), whole)
  const bad: unknown[] = [
    null,
    'a call',
    [],
    {},
    { ...whole, version: 0 },
    { ...whole, version: 2 },
    { ...whole, streamMs: -1 },
    { ...whole, session: { ...session, version: 1 } },
    { ...whole, session: { ...session, toolsRunning: 5 } },
    { ...whole, escalation: { ...whole.escalation, machine: { ...machine, state: 'flying' } } },
    { ...whole, result: { type: 'fault' } },
    { ...whole, resumed: [{}] },
  ]
  for (const value of bad) t.throws(() => parseKeptCall(value), { code: 'KEPT_CALL_INVALID' }, JSON.stringify(value))
})

const SHIPPED = await orderStatusAgent()
const BACKEND = `module:${new URL('./resumable-backend.js', import.meta.url).href}`
const AGENT: AgentDefinition = {
  ...SHIPPED,
  tools: [
    ...SHIPPED.tools,
    toolSchema.parse({
      name: 'charge',
      description: 'Asks for a payment.',
      http: { method: 'POST', url: '{{env.SHOP_API_URL}}/charge', body: { to: '{{continue.url}}' } },
      waits: { for: '90s', say: 'Enter your PIN.' },
    }),
  ],
  recovery: { ...SHIPPED.recovery, text: 'We were cut off.' },
  recording: { enabled: true, consent: null, notice: null, refusal: null },
  fillers: { ...SHIPPED.fillers, phrases: [] },
}
const numbers = ['+254720000010', '+254720000011']
if (SHIPPED.escalation === null) throw new Error('the shipped agent cannot escalate')
const DESK: AgentDefinition = {
  ...AGENT,
  name: 'desk',
  tools: AGENT.tools.map((tool) => (tool.name === 'charge' ? { ...tool, name: 'book' } : tool)),
  escalation: { ...SHIPPED.escalation, numbers, announce: null },
}

/** A shop that counts what it is asked; a payment only begins there. */
async function countingShop() {
  let asked = 0
  let charged = 0
  const server = createServer((request, response) => {
    if (request.url === '/charge') {
      charged++
      return void response.writeHead(202).end()
    }
    asked++
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ found: true, orderNumber: '4127', status: 'sent' }))
  })
  const port = await portOf(t, server)
  return {
    url: `http://127.0.0.1:${port}`,
    asked: () => asked,
    charged: () => charged,
  }
}

/** Store that the nodes of this file share. */
const store = new MemoryStore(time.wallClock)
const shop = await countingShop()

const hosted = (definition: AgentDefinition): HostedAgent => ({
  ...{ definition, facts: agentFacts(definition), shares: allCallsOn(BACKEND) },
})

/** A node; its carrier is the test. */
async function nodeOf(node: string, goodbye: string, more: Parameters<typeof startHost>[0] = {}) {
  const tokens = new Map<string, OwnerToken>()
  const effects = new StoredEffects({
    store,
    secrets: ['secret'],
    clock: time.nowMs,
    log: createLog({ level: 'silent' }),
  })
  const journals = new Map<string, string[]>()
  const recordings: { readonly callSid: string; readonly part: number }[] = []
  const unheard: WaitUnheard[] = []
  const started: string[] = []
  const keeper = new CallKeeper({
    alone: false,
    node,
    store,
    secrets: ['secret'],
    clock: time.nowMs,
    log: createLog({ level: 'silent' }),
    tokenOf: (callSid) => tokens.get(callSid) ?? null,
    inDoubt: () => false,
    lost: () => undefined,
  })
  const agents = new Map([
    ['order-status', hosted({ ...AGENT, goodbye, handoverTo: { desk: 'they want a room' } })],
    ['desk', hosted({ ...DESK, goodbye })],
  ])
  const test = await startHost({
    agents,
    env: { SHOP_API_URL: shop.url },
    keeper,
    effects: {
      mayAct: () => Promise.resolve(true),
      intend: (key) => effects.intend(key),
      settle: (key, result) => effects.settle(key, result),
    },
    onWaitUnheard: (news) => unheard.push(news),
    onStarted: ({ callSid }) => started.push(callSid),
    leaveResting: async (callSid) => {
      await keeper.flush()
      return callSid === 'HD_drained00001' ? 'kept' : 'nowhere'
    },
    keepJournal: (callSid, lines) => journals.set(callSid, [...(journals.get(callSid) ?? []), ...lines]),
    journal: { build: 'test', audio: false },
    // The caller hears no advice for a silence.
    afterStream: 'continues',
    ...more,
    record: (callSid, _rateHz, _announced, part) => {
      recordings.push({ callSid, part })
      return {
        path: `recordings/${callSid}.${part}.wav`,
        failed: false,
        write: () => true,
        announced: () => undefined,
        end: () => undefined,
        discard: () => undefined,
      }
    },
  })
  t.teardown(async () => {
    await keeper.close()
    await test.close()
  })
  return {
    test,
    agents,
    keeper,
    journals,
    recordings,
    unheard,
    started,
    /** The node takes the call, as its fleet would. */
    own: async (callSid: string, expectedEpoch: number): Promise<void> => {
      const { owner } = await store.claim(
        callSid,
        { node, incarnation: node, nonce: `${node} ${callSid}` },
        expectedEpoch,
      )
      if (owner.node !== node) throw new Error(`${owner.node} has the call`)
      tokens.set(callSid, owner)
    },
    /** The node is lost to this call: nothing more of it reaches the store or the carrier. */
    lose: async (callSid: string): Promise<void> => {
      await keeper.flush()
      tokens.delete(callSid)
    },
  }
}

const saidBy = (line: TestLine): string[] => line.call.view().transcript.map(({ text }) => text)

async function stateOf(callSid: string): Promise<KeptState> {
  const entry = await store.read(callSid)
  const state = entry === null ? null : b.keeper.opened(sid(callSid), entry)
  if (state === null) throw new Error('the store has nothing of the call')
  return state
}

const [a, b] = await Promise.all([nodeOf('node-a', 'Goodbye.'), nodeOf('node-b', 'Goodbye from another version.')])

/** The first node takes a call, whose caller hears the greeting. */
async function greeted(call: NewCall): Promise<TestLine> {
  await a.own(call.callSid, 0)
  const line = new TestLine(a.test.host.prepare(call))
  line.start()
  await line.agentQuiet(150)
  return line
}

/** Another node takes a call over, in its `epoch`th claim, and its caller has a new stream. */
async function goesOn({ callSid }: Pick<NewCall, 'callSid'>, node = b, epoch = 1): Promise<TestLine> {
  await node.own(callSid, epoch)
  const state = await stateOf(callSid)
  const line = new TestLine(node.test.host.prepare(callOf(state.kept, 0), state))
  line.start()
  return line
}

const press = (call: LiveCall, digit: string): void => call.text([{ type: 'dtmf', digit }])
const hears = (line: TestLine, text: string, what: string) => until(() => saidBy(line).includes(text), 20_000, what)
const silent = (line: TestLine) => until(() => !line.soundSince(time.nowMs() - 300), 20_000, 'the agent to fall silent')

t.test('a call of a dead node continues at another [3]', async (t) => {
  const call = inbound('HD_resumed00001')
  const first = await greeted(call)
  press(first.call, '1')
  await hears(first, 'It is sent.', 'the answer')
  first.stop()
  await a.lose(call.callSid)

  await b.own(call.callSid, 1)
  const state = await stateOf(call.callSid)
  t.same(callOf(state.kept, 0), call)
  const live = b.test.host.prepare(callOf(state.kept, 0), state)
  t.equal(live.state, 'waiting', 'for its new stream')
  t.equal(live.view().transcript.length, 2, 'and it is shown with what was said')
  const second = new TestLine(live)
  second.start()
  await until(() => saidBy(second).length === 3, 20_000, 'the words')
  t.ok(second.soundSince(0), 'the caller hears it')
  t.same(saidBy(second), ['Welcome.', 'It is sent.', 'We were cut off.'], 'nothing was owed')
  // A model that begins again may ask for the same tool call.
  press(live, '1')
  await until(() => saidBy(second).length === 4, 20_000, 'the answer')
  t.equal(saidBy(second)[3], 'It is sent.')
  t.equal(shop.asked(), 1, 'the tool did not run again')
  second.stop()
  live.detach(1000)

  const record = await b.test.recordOf(call.callSid)
  t.match(record, {
    endReason: 'caller-hung-up',
    rehomes: 0,
    resumed: [{ node: 'node-a', recording: `recordings/${call.callSid}.1.wav` }],
    recording: `recordings/${call.callSid}.2.wav`,
    toolCalls: [{ name: 'lookup_order', ok: true }],
    usage: { inputTokens: 30, outputTokens: 15 },
  })
  t.same(callRecordSchema.parse(JSON.parse(JSON.stringify(record))), JSON.parse(JSON.stringify(record)))
  const marks = record.timeline.map(({ name }) => name)
  t.equal(marks.filter((name) => name === 'stream-opened').length, 1)
  t.ok(marks.indexOf('node-lost') > marks.indexOf('stream-opened') && marks.includes('resumed'), marks.join())
  const times = record.transcript.map(({ startMs }) => startMs)
  t.same(
    times,
    [...times].sort((x, y) => x - y),
    'one clock for both parts',
  )
  t.ok(record.durationMs >= (record.resumed[0]?.streamMs ?? Infinity))
  const parts = [...a.recordings, ...b.recordings].filter(({ callSid }) => callSid === call.callSid)
  t.same(
    parts.map(({ part }) => part),
    [1, 2],
  )
  const { outputs, recorded, header } = replayJournal(b.journals.get(call.callSid) ?? [])
  t.match(header.resume, { newStream: { consented: true } })
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 0 }), [], 'its journal is replayed to the same outputs')
  await b.keeper.flush()
  t.match(await store.read(call.callSid), { phase: 'over', state: null }, 'and the store is empty')
})

const PAID = { status: 'succeeded', result: { receipt: 'QX1' } } as const

/** A call at the first node whose tool waits, as its caller has heard; and the id in the URL that its API got. */
async function waitingCall(callSid: string, node = a) {
  await node.own(callSid, 0)
  const live = node.test.host.prepare(inbound(callSid))
  const charged = shop.charged()
  let waitId = ''
  live.continueUrl = (id) => `https://gateway.example/${(waitId = id)}`
  const line = new TestLine(live)
  line.start()
  await line.agentQuiet(150)
  press(live, '4')
  await hears(line, 'Enter your PIN.', 'the words of the tool')
  return { line, waitId, charged: () => shop.charged() - charged }
}

t.test('the node that opens the first stream reports it [6]', async (t) => {
  const [first, next] = await Promise.all([nodeOf('node-r1', 'Goodbye.'), nodeOf('node-r2', 'Goodbye.')])
  const rings = inbound('HD_rings00000001')
  await first.own(rings.callSid, 0)
  first.test.host.prepare(rings)
  await first.lose(rings.callSid)
  const talks = inbound('HD_talks00000001')
  await first.own(talks.callSid, 0)
  const line = new TestLine(first.test.host.prepare(talks))
  line.start()
  await line.agentQuiet(150)
  line.stop()
  await first.lose(talks.callSid)
  for (const call of [rings, talks]) {
    const again = await goesOn(call, next)
    again.stop()
    again.call.detach(1000)
    await next.test.recordOf(call.callSid)
  }
  t.same([first.started, next.started], [[talks.callSid], [rings.callSid]])
})

t.test("the next node delivers a waiting tool's outcome [10]", async (t) => {
  const { line, waitId, charged } = await waitingCall('HD_waiting00002')
  const { callSid } = line.call
  line.stop()
  await a.lose(callSid)
  const second = await goesOn(line.call)
  const live = second.call
  await hears(second, 'We were cut off.', 'the words')
  t.equal(await live.takeWaitStatus(waitId, PAID), 'taken')
  await hears(second, 'It is paid.', 'the outcome')
  await silent(second)
  live.hangup('operator-hangup', 'the test is over', false)
  const record = await b.test.recordOf(callSid)
  second.stop()
  t.match(record.waits, [{ tool: 'charge', status: 'succeeded', told: true }])
  t.equal(record.transcript.filter(({ text }) => text === 'It is paid.').length, 1)
  t.equal(charged(), 1)
  t.same(b.unheard, [])
})

t.test('the next node delivers an outcome already acknowledged', async (t) => {
  const { line, waitId, charged } = await waitingCall('HD_waiting00004')
  const { callSid } = line.call
  t.equal(await line.call.takeWaitStatus(waitId, PAID), 'taken')
  const state = await stateOf(callSid)
  t.match(state.kept.waits, [{ status: 'succeeded', result: PAID.result }], 'it is in the store')
  line.stop()
  const second = await goesOn(line.call)
  const live = second.call
  await hears(second, 'It is paid.', 'the outcome')
  t.equal(await live.takeWaitStatus(waitId, PAID), 'repeated', 'its API is answered as before')
  await silent(second)
  live.hangup('operator-hangup', 'the test is over', false)
  t.match((await b.test.recordOf(callSid)).waits, [{ tool: 'charge', status: 'succeeded', told: true }])
  second.stop()
  t.equal(charged(), 1)
})

t.test('an outcome is sent after the caller left [11]', async (t) => {
  const { line, waitId } = await waitingCall('HD_waiting00003')
  const { callSid } = line.call
  line.stop()
  await a.lose(callSid)
  await b.own(callSid, 1)
  const left = withoutAgent(await stateOf(callSid))
  if (left === null) throw new Error('nothing waits')
  const live = b.test.host.prepare(callOf(left.kept, 0), left)
  t.equal(await live.takeWaitStatus(waitId, PAID), 'taken')
  const record = await b.test.recordOf(callSid)
  t.match(record, { endReason: 'process-died', waits: [{ tool: 'charge', status: 'succeeded', told: false }] })
  t.match(b.unheard, [{ callSid, tool: 'charge', status: 'succeeded', result: PAID.result, from: '+254700000001' }])
})

t.test('a call stored in the first format version is resumed', async (t) => {
  // Bytes of a real call of version 1. They stay as they are: a later version reads them as long as it reads version 1.
  const file = join(packageRoot(), 'test', 'workers', 'kept-call-1.json')
  const { state, log } = JSON.parse(readFileSync(file, 'utf8')) as { state: string; log: string[] }
  const call = inbound('HD_version000001')
  const bytes = (text: string): Uint8Array => Buffer.from(text, 'base64')
  const claim = { node: 'node-old', incarnation: 'node-old', nonce: 'node-old' }
  const { owner } = await store.claim(call.callSid, claim, 0)
  await store.save(call.callSid, owner, { state: bytes(state), append: log.map(bytes), replace: true })
  const line = await goesOn(call)
  await until(() => saidBy(line).length === 3, 20_000, 'the words')
  t.same(saidBy(line), ['Welcome.', 'It is sent.', 'We were cut off.'])
  line.stop()
  line.call.detach(1000)
  t.match(await b.test.recordOf(call.callSid), { resumed: [{ node: 'node-a' }], toolCalls: [{ name: 'lookup_order' }] })
})

t.test('a call keeps its agent version when moving [1]', async (t) => {
  const greets = (greeting: string, of = AGENT) => hosted({ ...of, greeting, handoverTo: { desk: 'they want a room' } })
  const [main, canary] = [greets('Welcome.'), greets('Karibu.')]
  const recovery = { ...AGENT.recovery, text: 'It broke off.' }
  const share = (node: typeof a, percent: number) => {
    const before = [...node.agents]
    node.agents.set('order-status', { ...main, canary: { percent, version: canary } })
    node.agents.set('desk', { ...hosted(DESK), canary: { percent, version: hosted({ ...DESK, recovery }) } })
    t.teardown(() => before.forEach(([name, agent]) => node.agents.set(name, agent)))
  }
  share(a, 100)
  share(b, 0)
  const call = inbound('HD_canary000001')
  const first = await greeted(call)
  press(first.call, '5')
  await until(() => saidBy(first).some((text) => text.startsWith('Here is desk.')), 20_000, 'the other agent')
  await silent(first)
  first.stop()
  await a.lose(call.callSid)
  const second = await goesOn(call)
  await hears(second, 'It broke off.', 'the words of the version that the handover gave the call to')
  second.stop()
  second.call.detach(1000)
  t.equal((await b.test.recordOf(call.callSid)).agentVersion, versionOf(canary))
  t.not(versionOf(canary), versionOf(main))

  const next = new TestLine(b.test.host.prepare(inbound('HD_canary000002')))
  next.start()
  await hears(next, 'Welcome.', 'the greeting')
  next.stop()
  next.call.detach(1000)
  t.equal((await b.test.recordOf('HD_canary000002')).agentVersion, versionOf(main))
})

t.test('every node chooses the same calls for a canary', (t) => {
  const [main, version] = [hosted(AGENT), hosted({ ...AGENT, greeting: 'Karibu.' })]
  const at = (percent: number, rootSid: string) =>
    versionFor({ ...main, canary: { percent, version } }, { rootSid, had: null })
  const sids = Array.from({ length: 2000 }, (_, index) => `HD_share${index}`)
  const chosen = sids.filter((rootSid) => at(10, rootSid) === version)
  t.ok(chosen.length > 160 && chosen.length < 240, `${chosen.length} of 2000`)
  t.ok(
    chosen.every((rootSid) => at(20, rootSid) === version),
    'a larger share adds calls, and moves none',
  )
  t.ok(sids.every((rootSid) => at(0, rootSid) !== version && at(100, rootSid) === version))
  const shares = [
    { percent: 50, auto: false, names: ['a'] },
    { percent: 50, auto: false, names: ['b'] },
  ]
  const first = chosen.filter((rootSid) => shareOf(shares, rootSid).names[0] === 'a').length
  t.ok(first > 0.3 * chosen.length && first < 0.7 * chosen.length, `${first} of ${chosen.length} on the first model`)
  t.end()
})

t.test('a draft serves only the call placed to try it', (t) => {
  const [main, version, draft] = ['Hello.', 'Karibu.', 'Draft.'].map((greeting) => hosted({ ...AGENT, greeting }))
  if (main === undefined || version === undefined || draft === undefined) throw new Error('three versions')
  const agent = { ...main, canary: { percent: 100, version } }
  t.equal(versionFor(agent, { rootSid: 'HD_tries0000001', had: null, draft }), draft)
  t.equal(versionFor(agent, { rootSid: 'HD_tries0000001', had: versionOf(version), draft }), draft)
  t.equal(versionFor(agent, { rootSid: 'HD_tries0000001', had: versionOf(draft) }), version, 'a call without it, later')
  const other = hosted({ ...AGENT, name: 'other' })
  t.equal(versionFor(other, { rootSid: 'HD_tries0000001', had: null, draft }), other, 'after a handover')
  t.end()
})

t.test('slower speech continues at the next node', async (t) => {
  const call = inbound('HD_resumed00033')
  const first = await greeted(call)
  press(first.call, '3')
  await hears(first, 'At 0.85.', 'the answer')
  first.stop()
  await a.lose(call.callSid)

  const second = await goesOn(call)
  await hears(second, 'We were cut off.', 'the words')
  press(second.call, '3')
  await hears(second, 'At 0.7.', 'the answer')
  second.stop()
  second.call.detach(1000)
  const record = await b.test.recordOf(call.callSid)
  t.match(record.toolCalls, [
    { name: 'set_speech_rate', ok: true },
    { name: 'set_speech_rate', ok: true },
  ])
  const { outputs, recorded } = replayJournal(b.journals.get(call.callSid) ?? [])
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 0 }), [], 'its journal is replayed to the same outputs')
})

t.test('a handed-over call and its waits continue at another node', async (t) => {
  const call = inbound('HD_handed000001')
  await a.own(call.callSid, 0)
  const live = a.test.host.prepare(call)
  let waitId = ''
  live.continueUrl = (id) => `https://gateway.example/${(waitId = id)}`
  const first = new TestLine(live)
  first.start()
  await first.agentQuiet(150)
  press(live, '4')
  await hears(first, 'Enter your PIN.', 'a tool of the first agent to wait')
  const chargeId = waitId
  press(live, '5')
  await until(() => saidBy(first).some((text) => text.startsWith('Here is desk.')), 20_000, 'the other agent')
  t.match(saidBy(first).at(-1), 'Here is desk. 2 lines, 2 tools', 'with the words and tools of the first')
  await silent(first)
  press(live, '4')
  await until(() => waitId !== chargeId, 20_000, 'a tool of the second agent to wait')
  await until(() => saidBy(first).filter((text) => text === 'Enter your PIN.').length === 2, 20_000, 'its words')
  t.equal(
    await live.takeWaitStatus(chargeId, { status: 'succeeded', result: { receipt: 'QX1' } }),
    'taken',
    'of the first agent',
  )
  await hears(first, 'It is paid.', 'the outcome, from the second')
  first.stop()
  await a.lose(call.callSid)

  const second = await goesOn(call)
  await hears(second, 'We were cut off.', 'the words')
  t.equal(await second.call.takeWaitStatus(waitId, { status: 'failed', result: {} }), 'taken')
  await hears(second, 'It is not paid.', 'the outcome')
  await silent(second)
  second.call.hangup('operator-hangup', 'the test is over', false)
  const record = await b.test.recordOf(call.callSid)
  second.stop()
  t.match(record, {
    agent: 'order-status',
    handovers: [{ from: 'order-status', to: 'desk', summary: 'Wants a room.' }],
    rehomes: 0,
    waits: [
      { tool: 'charge', status: 'succeeded', told: true },
      { tool: 'book', status: 'failed', told: true },
    ],
  })
  for (const { journals } of [a, b]) {
    const { outputs, recorded } = replayJournal(journals.get(call.callSid) ?? [])
    t.same(diffOutputs(recorded, outputs, { toleranceMs: 0 }), [], 'its journal is replayed to the same outputs')
  }
})

t.test('a promised handover continues at the next node', async (t) => {
  const call = inbound('HD_promised0001')
  const first = await greeted(call)
  press(first.call, '6')
  await until(() => first.call.view().toolCalls.length > 0, 20_000, 'the promise')
  first.stop()
  await a.lose(call.callSid)
  const second = await goesOn(call)
  a.test.host.giveUp(call.callSid, 'lost')
  await until(() => saidBy(second).some((text) => text.startsWith('Here is desk.')), 20_000, 'the promised agent')
  second.stop()
  second.call.detach(1000)
  const record = await b.test.recordOf(call.callSid)
  t.match(record.handovers, [{ from: 'order-status', to: 'desk', summary: 'Wants a room.' }])
  t.equal(record.handovers.length, 1)
  const { outputs, recorded } = replayJournal(b.journals.get(call.callSid) ?? [])
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 0 }), [], 'its journal is replayed to the same outputs')
})

t.test("an answer cut off by a node's death is finished", async (t) => {
  const call = inbound('HD_resumed00002')
  const first = await greeted(call)
  press(first.call, '2')
  await until(() => first.frames.length > 30, 20_000, 'the answer to begin')
  first.stop()
  await a.lose(call.callSid)

  const second = await goesOn(call)
  await until(() => saidBy(second).some((text) => text.startsWith('I go on.')), 20_000, 'the rest')
  t.same(saidBy(second), ['Welcome.', 'A long answer.', 'We were cut off.', 'I go on. 2 lines, 0 tools, asked 1'])

  // The second node is lost too, and the first has no part of the call any more.
  second.stop()
  await b.lose(call.callSid)
  first.call.detach(1006)
  await a.test.recordOf(call.callSid)
  const third = await goesOn(call, a, 2)
  await until(() => saidBy(third).filter((text) => text === 'We were cut off.').length === 2, 20_000, 'the words')
  third.stop()
  third.call.detach(1000)
  await until(() => a.test.records.filter(({ callSid }) => callSid === call.callSid).length === 2, 20_000, 'the record')
  t.same(
    a.test.records.at(-1)?.resumed.map(({ node }) => node),
    ['node-a', 'node-b'],
  )
})

/** A call whose stream has ended after its promise of a human, and whose carrier may ask how it goes on. */
async function promised({ test }: typeof a, call: NewCall): Promise<LiveCall> {
  const live = test.host.prepare(call)
  live.afterStreamUrl = 'https://gw.example/after-stream?t=1'
  const line = new TestLine(live)
  line.start()
  await line.agentQuiet(150)
  live.escalate('the operator wants it')
  await until(() => line.closedWith !== null, 20_000, 'the stream to close')
  line.stop()
  return live
}

t.test('the next node connects a promised human [4]', async (t) => {
  const call = { ...inbound('HD_resumed00003'), agent: 'desk' }
  await a.own(call.callSid, 0)
  const live = await promised(a, call)
  const [dial] = live.continuation('after-stream')
  t.match(dial, { verb: 'dial', numbers: numbers.slice(0, 1) })
  live.carrierState('ringing')
  await a.lose(call.callSid)

  await b.own(call.callSid, 1)
  const state = await stateOf(call.callSid)
  const { free } = b.test.host
  const resumed = b.test.host.prepare(call, state)
  t.equal(resumed.state, 'after')
  t.ok(resumed.escalating)
  t.equal(b.test.host.free, free, 'it takes no slot')
  t.throws(() => new TestLine(resumed), { code: 'DUPLICATE_CALL' })
  t.match(b.test.host.handoff(call.callSid), {
    reason: 'the operator wants it',
    transcript: [{ text: 'Welcome.' }],
    from: call.from,
  })
  // The first number does not answer, and the second does.
  resumed.carrierState('no-answer')
  t.match(resumed.continuation('after-stream'), [
    { verb: 'dial', numbers: numbers.slice(1) },
    { verb: 'redirect', url: 'https://gw.example/after-stream?t=1' },
  ])
  resumed.carrierState('answered')
  const record = await b.test.recordOf(call.callSid)
  t.match(record, {
    outcome: 'escalated',
    endReason: 'escalated',
    resumed: [{ node: 'node-a' }],
    escalation: {
      outcome: 'answered',
      attempts: [
        { human: 1, outcome: 'no-answer' },
        { human: 2, outcome: 'answered' },
      ],
    },
  })
  t.notOk(b.journals.has(call.callSid), 'no session ran')
})

t.test('a call that cannot continue is refused without traces [5]', async (t) => {
  const { host } = b.test
  const call = inbound('HD_kept00000001')
  const { free } = host
  const { session } = keptCall()
  if (session === null) throw new Error('no session')
  const refused = (changes: Parameters<typeof keptCall>[0], code: string): void =>
    void t.throws(() => host.prepare(call, keptState(keptCall(changes))), { code }, JSON.stringify(changes))
  refused({ session: { ...session, state: 'closing' } }, 'CALL_REFUSED')
  refused({ session: { ...session, ending: { reason: 'agent-goodbye', detail: '' } } }, 'CALL_REFUSED')
  refused({ session: { ...session, state: 'bridged' } }, 'CALL_REFUSED')
  const parts = (count: number, why: ResumedRecord['why'], ms = 60_000): ResumedRecord[] =>
    Array.from({ length: count }, (_, i) => ({ node: 'n', why, streamMs: (i + 1) * ms, recording: null }))
  refused({ resumed: parts(RESUMES_MAX, 'node-lost'), streamMs: 900_000 }, 'CALL_REFUSED')
  for (const why of ['moved', 'stream-lost'] as const) {
    refused({ resumed: parts(RESUMES_MAX, why, 1000), streamMs: 900_000 }, 'CALL_REFUSED')
    refused({ resumed: parts(CALL_PARTS_MAX - 1, why), streamMs: 3_600_000 }, 'CALL_REFUSED')
  }
  refused({ callSid: 'HD_other' }, 'KEPT_CALL_INVALID')
  refused({ agent: 'support' }, 'KEPT_CALL_INVALID')
  t.equal(host.free, free)
  t.equal(host.find(call.callSid), undefined)
})

t.test('a moving call is stored before its stream closes [8]', async (t) => {
  const d = await nodeOf('node-d', 'Goodbye.', { elsewhere: () => 'now' })
  const calls = ['HD_planned00001', 'HD_planned00002', 'HD_planned00003'].map((callSid) => inbound(callSid))
  const entries = new Map<string, Promise<StoredCall | null>>()
  class ClosedLine extends TestLine {
    override close(code: number): void {
      entries.set(this.call.callSid, store.read(this.call.callSid))
      super.close(code)
    }
  }
  const lines: ClosedLine[] = []
  for (const call of calls) {
    await d.own(call.callSid, 0)
    const line = new ClosedLine(d.test.host.prepare(call))
    line.start()
    lines.push(line)
  }
  await until(() => lines.every((line) => line.frames.length > 0), 20_000, 'the greetings')
  await d.keeper.flush()
  await pass(8000)
  const drained = d.test.host.drain(100)
  await until(() => lines.every(({ call }) => call.state === 'cut'), 20_000, 'the streams to close')
  for (const { callSid } of calls) {
    const entry = await entries.get(callSid)
    const state = entry == null ? null : b.keeper.opened(sid(callSid), entry)
    t.match(state === null ? null : partsOf(state).at(-1), { node: 'node-d', why: 'moved' })
    t.ok((state?.kept.streamMs ?? 0) > 8000, `the store has ${state?.kept.streamMs ?? 0} ms of the stream`)
    d.test.host.giveUp(callSid, 'lost')
  }
  await settled(drained)
})

t.test('planned moves do not count as lost nodes [9]', (t) => {
  const after = (...whys: readonly ResumedRecord['why'][]): boolean =>
    mayGoOn(whys.map((why, i) => ({ node: 'n', why, streamMs: (i + 1) * 10_000, recording: null })))
  t.ok(after('moved', 'moved', 'moved', 'moved', 'moved'))
  t.ok(after('stream-lost', 'moved', 'stream-lost', 'stream-lost', 'moved', 'called-back'))
  t.ok(after('moved', 'node-lost', 'moved', 'node-lost', 'moved', 'node-lost', 'moved'))
  t.notOk(after('moved', 'node-lost', 'moved', 'node-lost', 'moved', 'node-lost', 'moved', 'node-lost'))
  t.end()
})

t.test('a call back first asks who answers', (t) => {
  const ended = { ...inState('closing', { reason: 'caller-hung-up', detail: '' }) }
  const kept = { ...ended, result: lostResult(ended, 'human') }
  t.equal(continuationOf(kept), 'nobody')
  const placed = {
    callSid: sid('HD_calledback01'),
    agent: kept.agent,
    direction: 'outbound',
    from: kept.to,
    to: kept.from,
  } as const
  const back = calledBack(keptState(kept), placed).kept
  t.equal(continuationOf(back), 'agent')
  t.match(back, { recoveredFrom: kept.callSid, session: { callBack: 'asks', identity: null, greeted: false } })
  const session = { ...(kept.session as NonNullable<typeof kept.session>), amd: 'recording' as const }
  t.equal(
    calledBack(keptState({ ...kept, session }), placed).kept.session?.amd,
    undefined,
    'whoever answers is another',
  )
  t.end()
})

t.test('a call back to another number has no caller data', (t) => {
  const caller = { source: 'file', of: 'x', state: 'found', from: 'file', ms: 1, values: { name: 'Amina' } } as const
  const ours = '+254709000000'
  const at = (from: string, to: string) => {
    const before = keptCall({ from, to: ours, wrongAnswers: 2, session: { ...session, caller } })
    const placed = {
      callSid: sid('HD_calledback02'),
      agent: before.agent,
      direction: 'outbound',
      from: ours,
      to,
    } as const
    const { kept } = calledBack(keptState(before), placed)
    return [kept.session?.caller?.values, kept.wrongAnswers]
  }
  t.same(at('+254700000001', '+254700000001'), [{ name: 'Amina' }, 2])
  t.same(at('+254700000001', '+254700000002'), [undefined, 0])
  t.same(at('', '+254700000002'), [undefined, 0], 'of a withheld number there is nothing')
  t.end()
})

t.test('a call back continues the budget of its first call', (t) => {
  const used = { models: [], usedMs: 61_000, cost: { currency: 'USD', known: 2 } }
  const serving = { member: 'openai', serial: 3, generation: 9, state: { words: 'a secret' } }
  const before = keptCall({ backendState: { version: 2, used, serving } })
  const [ours, to] = [before.to, before.from]
  const placed = {
    callSid: sid('HD_calledback03'),
    agent: before.agent,
    direction: 'outbound',
    from: ours,
    to,
  } as const
  const { backendState } = calledBack(keptState(before), placed).kept
  t.same(usedIn(backendState), used)
  t.equal(servingIn(backendState), null, 'nothing that was said goes with it before somebody confirms')
  t.equal(calledBack(keptState(), placed).kept.backendState, null)

  const usage = { inputTokens: 900, outputTokens: 200, audioInMs: 0, audioOutMs: 0 }
  const models = [{ backend: 'openai', model: null, usage }]
  const lost = keptCall({ backendState: { version: 2, used: { ...used, models }, serving } })
  const again = calledBack({ ...keptState(lost), how: 'stream-lost' }, placed).kept.backendState
  t.same(
    usedIn(again),
    { models: [], usedMs: 61_000, recorded: { inputTokens: 900, outputTokens: 200, known: 2 } },
    'but is no part of its cost where the call that was cut off has a record',
  )
  t.end()
})

t.test('answering-machine detection restarts in a moved call without a result', (t) => {
  const amd = { message: 'We will call again.' }
  const at = (session: object | null, newStream?: object): unknown =>
    amdOf({
      ...{ agent: { outbound: { amd } }, direction: 'outbound', leaveMessage: false },
      resume: session === null ? null : { checkpoint: session, newStream },
    } as unknown as CallStart)?.message
  t.equal(at(null), null)
  t.equal(at({ amd: 'recording' }), null, 'what the order says of a message stands')
  t.equal(at({ amd: 'undecided' }, {}), null)
  t.equal(at({ callBack: 'asks' }, {}), amd.message, 'of a caller who is rung back, there is no order')
  t.equal(at({ callBack: 'asks', amd: 'recording' }), amd.message)
  t.equal(at({}), undefined, 'a person is on the line')
  t.equal(at({ callBack: 'asks' }), undefined)
  t.end()
})

t.test("an ending call continues only for its tool's outcome", async (t) => {
  const wait: KeptWait = {
    ...{ id: 'w', key: 'k', tool: 'pay', callId: 't1', args: {}, pendingId: '' },
    ...{ phase: 'pending' as const, status: null },
    ...{ startedWallMs: 0, waitUntilWallMs: 90_000, untilWallMs: 210_000, settledWallMs: null, result: null },
    ...{ told: false, sent: false },
  }
  const live = keptCall({ waits: [wait] })
  t.equal(continuationOf(live), 'agent')
  t.equal(continuationOf(keptCall({ waits: [wait], result: RESULT })), 'outcome')
  const ending = (changes: Partial<KeptWait>): string =>
    continuationOf(keptCall({ waits: [{ ...wait, ...changes }], result: RESULT }))
  t.equal(ending({ phase: 'asked' }), 'outcome', 'its API may have begun')
  t.equal(ending({ phase: 'settled', status: 'succeeded' }), 'outcome', 'nobody has been told')
  t.equal(ending({ phase: 'settled', status: 'succeeded', told: true }), 'nobody')
  t.equal(ending({ phase: 'settled', status: 'succeeded', sent: true }), 'nobody')
  const left = withoutAgent(keptState(live))
  t.match(left?.kept, { result: { outcome: 'failed', endReason: 'process-died' }, waits: [{ tool: 'pay' }] })
  t.equal(withoutAgent(keptState()), null, 'nothing waits')
  t.equal(recoveryPlan(keptCall({ waits: [wait], result: RESULT }), false), 'escalation', 'without a stream')
  t.same(parseKeptCall(JSON.parse(JSON.stringify(live))).waits, [wait], 'and is read as it was written')
})

t.test('waiting tools of a stopping node move or expire [12]', async (t) => {
  const [goesOn, ends] = ['HD_drained00001', 'HD_drained00002'] as const
  const waits: { readonly waitId: string }[] = []
  const c = await nodeOf('node-c', 'Goodbye.')
  for (const callSid of [goesOn, ends]) {
    const { line, waitId } = await waitingCall(callSid, c)
    waits.push({ waitId })
    line.stop()
    line.call.detach(1000)
  }
  await until(() => [...c.test.host.live()].every(({ state }) => state !== 'streaming'), 20_000, 'the callers to leave')
  await settled(c.test.host.drain(100))
  t.match((await c.test.recordOf(ends)).waits, [{ tool: 'charge', status: 'expired', told: false }])
  t.match(
    c.unheard.filter(({ status }) => status === 'expired').map(({ callSid }) => callSid),
    [ends],
  )
  t.notOk(c.test.records.some(({ callSid }) => callSid === goesOn))

  await b.own(goesOn, 1)
  const state = await stateOf(goesOn)
  const live = b.test.host.prepare(callOf(state.kept, 0), state)
  t.equal(await live.takeWaitStatus(waits[0]?.waitId ?? '', PAID), 'taken')
  t.match(await b.test.recordOf(goesOn), {
    endReason: 'caller-hung-up',
    waits: [{ tool: 'charge', status: 'succeeded', told: false }],
  })
  t.match(b.unheard.at(-1), { callSid: goesOn, status: 'succeeded' })
})

t.test('a stopping node hangs up no transferred call [7]', async (t) => {
  const hungUp: string[] = []
  const carrier = {
    hangup: (callSid: string) => Promise.resolve(void hungUp.push(callSid)),
    supervise: () => Promise.reject(new Error('not allowed')),
    callHuman: () => Promise.reject(new Error('not allowed')),
  }
  const left: string[] = []
  const leaveResting = async (callSid: string): Promise<'kept' | 'nowhere'> => {
    left.push(callSid)
    await until(() => left.length === 2, 5000, 'both calls to be left at once')
    await e.keeper.flush()
    return callSid === goesOn.callSid ? 'kept' : 'nowhere'
  }
  const e = await nodeOf('node-e', 'Goodbye.', { carrier, leaveResting })
  const [goesOn, alone] = [inbound('HD_drained00005'), inbound('HD_drained00003')].map((call) => ({
    ...call,
    agent: 'desk',
  })) as [NewCall, NewCall]
  for (const call of [goesOn, alone]) {
    await e.own(call.callSid, 0)
    const live = await promised(e, call)
    t.match(live.continuation('after-stream')[0], { verb: 'dial' })
  }
  await settled(e.test.host.drain(100))
  t.same(hungUp, [])
  t.same(e.test.records, [], 'neither is over')
  for (const { callSid } of [goesOn, alone])
    t.notOk(
      e.test.host
        .find(callSid)
        ?.timeline()
        .timeline.some(({ name }) => ['forced', 'hang-up'].includes(name)),
    )

  await b.own(goesOn.callSid, 1)
  const resumed = b.test.host.prepare(goesOn, await stateOf(goesOn.callSid))
  t.ok(resumed.escalating, 'another node goes on')
  resumed.carrierState('answered')
  t.match(await b.test.recordOf(goesOn.callSid), { outcome: 'escalated', escalation: { outcome: 'answered' } })
})

/** A call of which every text of the caller, or of a model about them, says "4127". */
const worded = (refused: boolean): KeptState => {
  const words = 'They asked for order 4127.'
  const [said, args] = [{ atMs: 1000, summary: words }, { order: '4127' }]
  const toolCall = { name: 'charge', args, startMs: 1, ms: 1, ok: true }
  const running = { callId: 't9', name: 'charge', args, startMs: 1 }
  const packet = {
    ...{ version: 1 as const, callSid: 'HD_kept00000001', agent: 'order-status', reason: words, summary: words },
    ...{ identity: { order: '4127' }, facts: { order: '4127' }, stages: [{ stage: 'order', summary: words }] },
    at: '2026-11-20T12:00:00.000Z',
  }
  const callback = { asked: 'words' as const, number: '+254700000001', note: 'The bill.', at: packet.at }
  const kept = keptCall({
    recording: { announced: true, refused, file: null },
    session: {
      ...session,
      ...{ openTranscript: [{ role: 'caller', text: words, startMs: 0, endMs: 1 }], toolsRunning: [running] },
      ...{ identity: { order: '4127' }, escalation: { reason: words, summary: words } },
      ...{ ending: { reason: 'agent-goodbye', detail: words }, waits: [{ ...running, untilMs: 1, state: 'waiting' }] },
      openClaims: [{ atMs: 1, tools: [], result: {}, language: 'en', phrase: words, fact: words }],
    },
    backendState: { words },
    escalation: {
      packet,
      newsSent: { settled: 1, callbacks: 1 },
      machine: { ...machine, lastDetail: words },
      history: { reason: words, strategy: 'callback', outcome: 'answered', attempts: [], callback },
    },
    waits: [{ args, result: words, phase: 'asked' } as unknown as KeptWait],
    result: { ...RESULT, endDetail: words },
  })
  const { log } = keptState(kept, {
    transcript: [{ role: 'caller', text: words, startMs: 0, endMs: 900 }],
    toolCalls: [{ callId: 't1', end: 'answered', record: toolCall, args, result: words }],
    claims: [{ atMs: 1, tool: null, language: 'und', phrase: words, verdict: 'no-source' }],
    stages: [{ ...said, from: 'begin', stage: 'order', why: 'model' }],
    facts: [{ atMs: 1, name: 'order', value: '4127', from: 'charge' }],
    handovers: [{ ...said, from: 'first', to: 'next' }],
  })
  return { kept, log, marks: [{ name: 'whisper', atMs: 1, detail: words }] }
}

t.test('a promised call back keeps no words after a refusal', async (t) => {
  const definition = await orderStatusAgent()
  const promised = (state: KeptState, transcript: TranscriptPolicy = 'full'): KeptState =>
    new CallContinuity(
      { now: () => state.kept, mark: () => undefined, changed: () => undefined },
      {
        origin: new CallOrigin(inbound('HD_promised0001'), null, { clock: () => 0, wallClock: () => 0 }),
        hosted: hosted(definition),
        record: { log: { records: () => state.log }, timeline: { marks: state.marks } } as unknown as Pick<
          CallRecordBuilder,
          'log' | 'timeline'
        >,
        log: createLog({ level: 'silent' }),
      },
      { clock: () => 0, wallClock: () => 0, keeper: null, transcript } as unknown as ConstructorParameters<
        typeof CallContinuity
      >[2],
    ).promised()
  t.match(JSON.stringify(promised(worded(false))), /They asked for order 4127/)
  const state = promised(worded(true))
  t.notMatch(JSON.stringify(state), /4127/)
  t.match(state, { kept: { escalation: { history: { callback: { note: 'The bill.' } } } } }, 'but that they asked for')
  const none = promised(worded(false), 'none')
  t.notMatch(JSON.stringify(none), /4127|The bill/, 'with RECORDS_TRANSCRIPT=none not even that')
  t.match(none, { kept: { escalation: { history: { callback: { number: '+254700000001' } } } } })
  t.equal(state.log.dropped.toolCalls, 1, 'and no effect gets the key of an earlier one')
  const { kept, log } = worded(true)
  const lost = log.toolCalls.map((call) => ({ ...call, end: 'lost' as const }))
  t.match(
    promised({ kept, log: { ...log, toolCalls: lost }, marks: [] }).log.toolCalls,
    [{ args: { order: '4127' }, result: null }],
    'what may have been paid is not paid again',
  )
})

t.test('a recovered call keeps no words after a refusal', async (t) => {
  const promises: KeptState[] = []
  const remembered: unknown[] = []
  const test = await startHost(
    {
      callBacks: {
        mayRing: () => true,
        refusal: () => Promise.resolve(null),
        promise: (state) => Promise.resolve(promises.push(state)).then(() => null),
      },
      callerMemory: {
        recall: () => Promise.resolve(null),
        remember: (...call) => Promise.resolve(void remembered.push(call)),
      },
    },
    (agent) => ({ ...agent, caller: { key: 'phone', withinMs: 800, personal: [], memory: true } }),
  )
  t.teardown(() => test.close())
  const { kept, log, marks } = worded(true)
  test.host.addLostCall({ kept: { ...kept, result: null }, log, marks })
  t.equal(promises.length, 1)
  t.notMatch(JSON.stringify(promises), /4127/)

  // Words of before, as a caller is rung back at once whose call was cut off.
  for (const [n, refused, confirms] of [
    [0, false, false],
    [1, false, true],
    [2, true, true],
  ] as const) {
    const state = worded(refused)
    const before = { ...state, log: { ...state.log, stages: [], handovers: [] } }
    const [from, to] = ['+254709000000', '+254700000001']
    const callSid = sid(`HD_backagain00${n}`)
    const placed = { clientRequestId: 'r1', orderedAtMs: time.nowMs(), ringMs: 0, variables: {}, externalId: null }
    const call: NewCall = {
      ...{ callSid, agent: 'order-status', direction: 'outbound', from, to },
      placed: {
        ...{ ...placed, agent: 'order-status', from, to },
        ...{ leaveMessage: true, promised: false, joins: null },
      },
    }
    const line = new TestLine(test.host.prepare(call, calledBack(before, call)))
    line.start()
    await until(() => line.frames.length > 3, 20_000, 'the first words')
    if (confirms) {
      line.call.text([{ type: 'dtmf', digit: '1' }])
      const confirmed = () => line.call.timeline().timeline.some(({ name }) => name === 'call-back-unproven')
      await until(confirmed, 20_000, 'the confirmation: somebody was verified, and nobody is now')
    }
    line.stop()
    line.call.detach(1000)
    const record = await test.recordOf(callSid)
    t.equal(record.consent, refused ? 'refused' : null)
    t.equal(record.outbound?.result, 'person')
    if (refused) t.notMatch(JSON.stringify(record), /4127/)
    else t.match(record.facts, [{ name: 'order', value: '4127' }])
    t.same(remembered, [], 'nobody has proved who they are')
  }
})
