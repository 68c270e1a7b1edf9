import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { saveRecording } from '../../src/sautikit-api/call-details.js'
import type { PlaceCallOptions } from '../../src/carrier/call-options.js'
import { startCall } from '../../src/carrier/carrier-call.js'
import { vocabularyOf } from '../../src/simulator/vocabulary.js'
import { callee, ringCallees } from '../../src/simulator/rest/callees.js'
import type { CalleeKind } from '../../src/simulator/choices.js'
import { Workspace } from '../../src/carrier/workspace.js'
import type { CallEntry } from '../../src/carrier/workspace.js'
import { simulatedPerson } from '../../src/simulator/caller.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { OUR_NUMBER, simulatedApi } from '../support/carrier-api.js'
import { until } from '../support/until.js'
import { GatewayDouble } from './support/gateway-double.js'

const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())
const vocabulary = vocabularyOf(null)
const person = {
  voice: 'rms',
  line: { sampleRateHz: 8000 },
  speech,
  vocabulary,
  record: false,
  timeoutMs: 15_000,
} as const
const EMPTY = '<Response></Response>'

/** A call into `double` whose carrier has the REST API `workspace`. */
function callInto(double: GatewayDouble, workspace: Workspace, more: Partial<PlaceCallOptions> = {}) {
  return startCall({
    voiceUrl: `${double.origin}/voice`,
    eventsUrl: `${double.origin}/events`,
    from: '+254700000001',
    to: OUR_NUMBER,
    workspace,
    caller: simulatedPerson({
      ...person,
      script: { name: 'silent', rules: [], steps: [], reactionMs: 0, patienceMs: 12_000, order: null },
      files: new Map(),
    }),
    human: { outcome: 'answered', ringMs: 100, talkMs: 200, greeting: null },
    ...more,
  })
}

async function gatewayDouble(
  t: { teardown(run: () => void): unknown },
  document: (double: GatewayDouble, state: string) => string,
): Promise<GatewayDouble> {
  const double = await GatewayDouble.start({
    answer: (post, self) => document(self, post.fields['callSessionState'] ?? ''),
  })
  t.teardown(() => {
    double.close()
  })
  return double
}

const streaming = (t: { teardown(run: () => void): unknown }): Promise<GatewayDouble> =>
  gatewayDouble(t, (double, state) => (state === 'Ringing' ? double.streamDocument() : EMPTY))

/** Kinds of the events in the carrier's envelope, in order. */
const eventsOf = (double: GatewayDouble): string[] =>
  double.posts.flatMap((post) =>
    post.path === '/events' && post.headers['content-type'] === 'application/json'
      ? [(JSON.parse(post.body) as { kind?: string }).kind ?? '']
      : [],
  )

t.test('a live call is listed, hung up and recorded', async (t) => {
  const api = await simulatedApi(t, { with: { writeAfterMs: 3_600_000 } })
  const double = await streaming(t)
  const call = callInto(double, api.workspace)
  await until(() => double.postsOf('/voice').includes('StreamStarted'), 5000, 'the stream')
  t.match(await api.calls.getCall(call.callSid), { status: 'answered', direction: 'inbound' })
  await api.calls.hangup(call.callSid)
  await api.calls.hangup(call.callSid)
  t.match((await call.done).ended, { by: 'api' })
  t.match(await api.calls.getCall(call.callSid), { status: 'answered' }, 'not written yet')
  const [entry] = api.workspace.calls() as [CallEntry]
  entry.writtenAtMs = 0
  t.match(await api.calls.getCall(call.callSid), { status: 'completed', costMinor: 0, hangupCause: 'normal_clearing' })
  t.match((await api.calls.listCalls({ callSid: call.callSid })).items, [{ callSid: call.callSid }])
})

t.test('one supervisor is rung, joins and leaves', async (t) => {
  const api = await simulatedApi(t)
  const double = await streaming(t)
  const call = callInto(double, api.workspace)
  await until(() => double.postsOf('/voice').includes('StreamStarted'), 5000, 'the stream')
  await api.calls.supervise(call.callSid, '+254700000010')
  await t.rejects(api.calls.supervise(call.callSid, '+254700000010'), {
    message: /supervision_in_progress/,
  })
  await until(() => eventsOf(double).includes('call.supervision.ended'), 5000, 'the supervisor to leave')
  t.same(eventsOf(double), ['call.supervision.started', 'call.supervision.joined', 'call.supervision.ended'])
  await api.calls.hangup(call.callSid)
  t.same((await call.done).dials, [{ numbers: ['+254700000010'], outcome: 'answered', via: 'supervision' }])
})

t.test('a busy supervisor is reported, and the call continues', async (t) => {
  const api = await simulatedApi(t)
  const double = await streaming(t)
  const call = callInto(double, api.workspace, { human: { outcome: 'busy', ringMs: 50, talkMs: 0, greeting: null } })
  await until(() => double.postsOf('/voice').includes('StreamStarted'), 5000, 'the stream')
  await api.calls.supervise(call.callSid, '+254700000010')
  await until(() => eventsOf(double).includes('call.supervision.busy'), 5000, 'the event')
  t.match(await api.calls.getCall(call.callSid), { status: 'answered' })
  await api.calls.hangup(call.callSid)
  await call.done
})

function rings(api: { readonly workspace: Workspace }, kind: CalleeKind, more: { readonly record?: boolean } = {}) {
  return ringCallees({
    workspace: api.workspace,
    callee: () => callee(kind, { ringMs: 100, talkMs: 300 }),
    carrier: {},
    person: { ...person, ...more },
  })
}

t.test('a placed call rings, gets our document and is charged', async (t) => {
  const workspace = new Workspace({
    owned: [{ id: 'num_1', e164: OUR_NUMBER, status: 'active', voiceUrl: null, eventsUrl: null }],
    writeAfterMs: 0,
  })
  const api = await simulatedApi(t, { workspace, place: rings({ workspace }, 'nobody') })
  const double = await gatewayDouble(t, (_double, state) =>
    state === 'Answered' ? '<Response><Say>Hello.</Say><Hangup/></Response>' : EMPTY,
  )
  const order = {
    from: OUR_NUMBER,
    to: '+254700000001',
    voiceCallbackUrl: `${double.origin}/voice`,
    clientRequestId: 'label-1',
  }
  const placed = await api.calls.createCall(order)
  t.same(await api.calls.createCall(order), placed, 'the same key places one call')
  await until(() => double.posts.some((post) => post.fields['callSessionState'] === 'Completed'), 10_000, 'the end')
  t.same(
    double.posts.map((post) => post.fields['callSessionState']),
    ['Ringing', 'Answered', 'Completed'],
  )
  t.ok(
    double.posts.every(
      (post) => post.fields['direction'] === 'outbound' && post.path === '/voice?clientRequestId=label-1',
    ),
  )
  await until(() => workspace.calls()[0]?.end !== null, 2000, 'the record')
  t.match(await api.calls.getCall(placed.callSid ?? ''), {
    direction: 'outbound',
    status: 'completed',
    costMinor: 300,
    costCurrency: 'KES',
  })
})

for (const [kind, state, status] of [
  ['busy', 'Busy', 'busy'],
  ['no-answer', 'NoAnswer', 'no_answer'],
  ['declined', 'Failed', 'failed'],
] as const) {
  t.test(`a phone that is ${kind} is reported as ${state}`, async (t) => {
    const workspace = new Workspace({
      owned: [{ id: 'num_1', e164: OUR_NUMBER, status: 'active', voiceUrl: null, eventsUrl: null }],
      writeAfterMs: 0,
    })
    const api = await simulatedApi(t, { workspace, place: rings({ workspace }, kind) })
    const double = await gatewayDouble(t, () => EMPTY)
    const { callSid } = await api.calls.createCall({
      from: OUR_NUMBER,
      to: '+254700000001',
      voiceCallbackUrl: `${double.origin}/voice`,
    })
    await until(() => workspace.calls()[0]?.end != null, 5000, 'the end')
    t.same(double.postsOf('/voice'), ['Ringing', state])
    t.match(await api.calls.getCall(callSid ?? ''), { status, costMinor: 0 })
  })
}

t.test('a room closes when its human leaves', async (t) => {
  const workspace = new Workspace({
    owned: [{ id: 'num_1', e164: OUR_NUMBER, status: 'active', voiceUrl: null, eventsUrl: null }],
  })
  const api = await simulatedApi(t, { workspace, place: rings({ workspace }, 'nobody') })
  const room = (end: boolean): string =>
    `<Response><Conference startOnEnter="true" endOnExit="${end}" beep="false">room-1</Conference></Response>`
  const double = await gatewayDouble(t, (_double, state) => (state === 'Ringing' ? room(false) : EMPTY))
  const human = await gatewayDouble(t, (_double, state) => (state === 'Answered' ? room(true) : EMPTY))
  const call = callInto(double, workspace)
  await until(() => double.postsOf('/voice').includes('Ringing'), 5000, 'the caller')
  await api.calls.createCall({ from: OUR_NUMBER, to: '+254700000010', voiceCallbackUrl: `${human.origin}/voice` })
  t.match(await call.done, {
    dials: [{ numbers: ['+254700000010'], outcome: 'answered', via: 'conference' }],
    ended: { by: 'document' },
  })
})

t.test('a recording is fetched by a link without key', async (t) => {
  const api = await simulatedApi(t, { with: { recordAfterMs: 3_600_000 } })
  const double = await gatewayDouble(t, (_double, state) =>
    state === 'Ringing' ? '<Response><Say>Good morning.</Say></Response>' : EMPTY,
  )
  const call = callInto(double, api.workspace, {
    caller: simulatedPerson({
      ...person,
      record: true,
      script: { name: 'silent', rules: [], steps: [], reactionMs: 0, patienceMs: 9000, order: null },
      files: new Map(),
    }),
  })
  await call.done
  t.match(await api.calls.recording(call.callSid), { state: 'pending', retryAfterS: 1 })
  const [entry] = api.workspace.calls() as [CallEntry]
  entry.recordedAtMs = 0
  const ready = await api.calls.recording(call.callSid)
  t.equal(ready.state, 'ready')
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-rest-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const { file } = await saveRecording(ready.state === 'ready' ? ready.url : '', call.callSid, {
    folder,
    allowHttp: true,
  })
  t.equal(readFileSync(join(folder, file)).subarray(0, 4).toString(), 'RIFF')
  t.same(await api.calls.recording('HD_none'), { state: 'none' })
})
