import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import type { AgentAssets } from '../../src/agents/file/assets.js'
import { factsReadBy } from '../../src/agents/file/business.js'
import { readCallers } from '../../src/agents/identity/caller.js'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { loadAgents } from '../../src/agents/file/loader.js'
import { toolSchema } from '../../src/agents/tools/tool-definition.js'
import { allCallsOn } from '../../src/backends/split.js'
import { packageRoot } from '../../src/config/package-root.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { keptCall, keptState } from '../support/kept-call.js'
import { TestLine, inbound, pass, startHost, until } from '../support/host.js'
import type { HostChanges } from '../support/host.js'

// Features that change who has a call, and with which tools, against what protects its caller. A row is a call.
// Pairs without a call here:
// - stage, budget and own number: they change neither the list of humans nor who the caller is;
// - stage, offline and consent: the consent text is said before the first stage and the first step;
// - stage, handover, offline and do-not-call: do_not_call is the gateway's own tool, by no stage or agent left out (call-setup.ts);
// - takeover and do-not-call: fleet/recovery.test.ts, "a caller on the do-not-call list is not called back";
// - budget and do-not-call: whose budget is used up places no campaign call (outbound-calls.ts, `budgetSpent`);
// - budget and consent: the definition that a budget's step changes keeps `recording`;
// - budget, offline and verification: answers are compared by the same `verify_caller`, whatever asks;
// - offline and own number: a dialogue reaches humans by escalate_to_human, as a model does;
// - stage and masked digits, as sound: workers/keypad.test.ts; takeover of the worker: call/digits.test.ts.

const BACKEND = `module:${new URL('./keypad-backend.js', import.meta.url).href}`
const PIN = '7386'

const { agents } = await loadAgents(join(packageRoot(), 'agents'), { SHOP_API_URL: 'http://127.0.0.1:1' })
const SUPPORT = agents.get('support') as AgentDefinition
if (SUPPORT.verification === null || SUPPORT.escalation === null) throw new Error('the support line verifies nobody')
/** The support line without stages and recording: a right ID number verifies its caller, who may ask for an account. */
const FIRST: AgentDefinition = {
  ...SUPPORT,
  name: 'first',
  stages: null,
  facts: {},
  offline: null,
  fillers: { ...SUPPORT.fillers, phrases: [] },
  recording: { enabled: false, consent: null, notice: null, refusal: null },
  verification: { ...SUPPORT.verification, required: 1 },
  handoverTo: { next: 'they want the other desk' },
  tools: [
    toolSchema.parse({
      name: 'account',
      description: 'The account.',
      requires: 'verified',
      http: { url: '{{env.SHOP_API_URL}}/api/orders', allowPrivate: true },
    }),
  ],
}
const NEXT: AgentDefinition = { ...FIRST, name: 'next', handoverTo: {}, digits: [], verification: null }

interface Rest {
  readonly backend?: string
  readonly next?: AgentDefinition
  readonly host?: HostChanges
  readonly resume?: ReturnType<typeof keptState>
  readonly call?: Partial<ReturnType<typeof inbound>>
  /** By agent. */
  readonly assets?: Readonly<Record<string, AgentAssets>>
}

async function open(
  t: Test,
  callSid: string,
  first: AgentDefinition,
  { backend = BACKEND, next = NEXT, host = {}, resume, call = {}, assets = {} }: Rest = {},
) {
  const journal: string[] = []
  const hosted = (definition: AgentDefinition) =>
    [
      definition.name,
      {
        definition,
        facts: agentFacts(definition),
        reads: factsReadBy(definition),
        shares: allCallsOn(backend),
        assets: assets[definition.name] ?? NO_ASSETS,
      },
    ] as const
  const agents = new Map([hosted(first), hosted(next)])
  const edit = (definition: AgentDefinition): void => void agents.set(...hosted(definition))
  const remove = (name: string): void => void agents.delete(name)
  const test = await startHost({
    agents,
    journal: { build: 'test', audio: false },
    keepJournal: (_sid, lines) => journal.push(...lines),
    ...host,
  })
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound(callSid, { agent: 'first', ...call }), resume)
  const line = new TestLine(live)
  const said = (): string[] => live.view().transcript.map(({ text }) => text)
  const hears = (text: RegExp): Promise<void> => until(() => said().some((one) => text.test(one)), 20_000, String(text))
  const press = (keys: string): void => [...keys].forEach((digit) => live.text([{ type: 'dtmf', digit }]))
  line.start()
  const over = async () => {
    line.stop()
    live.detach(1000)
    return test.recordOf(callSid)
  }
  return { test, live, line, said, hears, press, over, journal, edit, remove }
}

const keysIn = (journal: readonly string[]): string =>
  journal.flatMap((text) => /"type":"dtmf","digit":"(.)"/.exec(text)?.[1] ?? []).join('')

t.test("a handover hides the first agent's PIN", async (t) => {
  const { hears, press, over, said, journal } = await open(t, 'HD_protect00001', FIRST)
  await hears(/Welcome/)
  press('2')
  await until(() => said().filter((text) => text === 'Welcome.').length === 2, 20_000, 'the next agent')
  await pass(1000)
  press(PIN)
  await hears(/^Keys: 0 loud samples, 0 digits/)
  const record = await over()
  t.match(record.handovers, [{ to: 'next' }])
  t.equal(keysIn(journal), '2xxxx')
})

t.test('a takeover by a supervisor discards keyed digits', async (t) => {
  const { live, hears, press, over, journal } = await open(t, 'HD_protect00002', FIRST)
  await hears(/Welcome/)
  press('7')
  await hears(/your PIN/)
  await pass(500)
  press(PIN.slice(0, 2))
  live.escalate('a supervisor takes over')
  await pass(3000)
  press(PIN.slice(2))
  await pass(500)
  await over()
  t.equal(keysIn(journal), '7xxxx')
})

t.test("a goodbye at the budget's end keeps a PIN private", async (t) => {
  const { hears, press, over, journal } = await open(t, 'HD_protect00003', FIRST)
  await hears(/Welcome/)
  press('3')
  await hears(/your PIN/)
  press(PIN)
  await pass(3000)
  t.match((await over()).toolCalls.at(-1), { name: 'end_call' })
  t.equal(keysIn(journal), '3xxxx')
})

t.test('an offline dialogue verifies a secret slot without keeping it', async (t) => {
  const embedded = { ...SUPPORT, name: 'first', fillers: { ...SUPPORT.fillers, phrases: [] } }
  const { test, line, hears, press, over, journal } = await open(t, 'HD_protect00004', embedded, {
    backend: 'embedded',
  })
  await line.agentQuiet(500)
  await test.say(line, 'what is my balance')
  await hears(/ID number/)
  await pass(500)
  press(PIN)
  await hears(/customer number/)
  await pass(2000)
  const record = await over()
  t.match(
    record.toolCalls.find(({ name }) => name === 'verify_caller'),
    { ok: true },
  )
  t.equal(keysIn(journal), 'xxxx')
  t.notMatch(journal.join(''), new RegExp(`"${PIN}"`))
  t.notMatch(JSON.stringify(record), new RegExp(`"${PIN}"`))
})

t.test('verification does not carry over to a different agent', async (t) => {
  const verification = FIRST.verification as NonNullable<AgentDefinition['verification']>
  const first = { ...FIRST, verification: { ...verification, required: 2 } }
  const next = { ...FIRST, name: 'next', handoverTo: {}, verification: { ...verification, required: 2, attempts: 2 } }
  const { hears, press, over, said } = await open(t, 'HD_protect00005', first, { next })
  await hears(/Welcome/)
  press('8')
  await hears(/last four digits of your ID number/)
  press(PIN)
  await hears(/"answered":\["id-number"\]/)
  await pass(2500)
  press('6')
  await until(() => said().filter((text) => text.includes('Welcome')).length === 2, 20_000, 'the next agent')
  await pass(500)
  press('1')
  await hears(/last four digits of your customer number/)
  press('5291')
  await hears(/"answered":\["customer-number"\]/)
  t.match(said().at(-1), /"verified":false/)
  const record = await over()
  t.equal(record.toolCalls.filter(({ name }) => name === 'verify_caller').length, 2)
})

t.test('an edited verification invalidates earlier proof', async (t) => {
  const verification = { ...(FIRST.verification as NonNullable<AgentDefinition['verification']>), required: 2 }
  const next = { ...FIRST, name: 'next', handoverTo: {}, verification }
  const { hears, press, over, said, edit } = await open(t, 'HD_protect00012', FIRST, { next })
  await hears(/Welcome/)
  press('8')
  await hears(/last four digits of your ID number/)
  press(PIN)
  await hears(/"verified":true/)
  await pass(2500)
  edit({ ...FIRST, verification })
  press('6')
  await until(() => said().filter((text) => text.includes('Welcome')).length === 2, 20_000, 'the next agent')
  await pass(500)
  press('4')
  await hears(/not verified/)
  t.match((await over()).toolCalls.at(-1), { name: 'account', ok: false })
})

t.test('a handover at another node transfers no proof', async (t) => {
  const kept = keptCall({ callSid: 'HD_protect00006', agent: 'first', streamOpenedMs: 400 })
  const session = { ...(kept.session as NonNullable<typeof kept.session>), identity: { accountId: 'ACC-1' } }
  const resume = keptState(
    { ...kept, session },
    { handovers: [{ atMs: 9000, from: 'first', to: 'next', summary: '' }] },
  )
  const { hears, press, over } = await open(t, 'HD_protect00006', FIRST, { resume })
  await hears(/cut off/)
  await pass(3000)
  press('4')
  await hears(/not verified/)
  t.match((await over()).toolCalls.at(-1), { name: 'account', ok: false })
})

t.test('a handover does not transfer known caller data', async (t) => {
  const folder = t.testdir({
    'customers.csv': 'phone,name,balance\n0700000001,Amina,120\n',
    'guests.csv': 'phone,plan\n0700000001,gold\n',
  })
  const caller = { key: 'phone', withinMs: 800, personal: [], memory: false }
  const of = async (file: string): Promise<AgentAssets> => ({
    ...NO_ASSETS,
    callers: (await readCallers(join(folder, file), 'phone')).rows,
  })
  const first = { ...FIRST, caller: { ...caller, file: 'customers.csv', personal: ['balance'] } }
  const next = { ...NEXT, caller: { ...caller, file: 'guests.csv' } }
  const assets = { first: await of('customers.csv'), next: await of('guests.csv') }
  const { hears, press, over, said } = await open(t, 'HD_protect00010', first, { next, assets })
  await hears(/Welcome/)
  await pass(500)
  press('6')
  await until(() => said().filter((text) => text === 'Welcome.').length === 2, 20_000, 'the next agent')
  const { caller: known } = await over()
  t.equal(known?.source, 'file')
  t.same(known?.fields, ['plan'], 'not the balance, which only a verified caller of the first may hear')
})

t.test('the next agent announces its recording first', async (t) => {
  const next = { ...NEXT, recording: { enabled: true, consent: 'This call is recorded.', notice: null, refusal: null } }
  const { hears, press, over, said } = await open(t, 'HD_protect00007', FIRST, { next })
  await hears(/Welcome/)
  await pass(500)
  press('6')
  await hears(/This call is recorded/)
  await until(() => said().filter((text) => text === 'Welcome.').length === 2, 20_000, 'the next agent')
  const record = await over()
  t.same(said().slice(-2), ['This call is recorded.', 'Welcome.'])
  t.match(record, { consent: 'told', recording: null })
})

t.test('a refused recording stays refused after a handover', async (t) => {
  const recording = {
    ...{ enabled: true, consent: 'This call is recorded.', notice: null },
    refusal: { text: 'Nothing is kept.', waitMs: 1500 },
  }
  let discarded = 0
  let opened = 0
  const record = () => {
    opened++
    return {
      ...{ path: 'recordings/x.wav', failed: false, announced: () => undefined, end: () => t.fail('it is kept') },
      discard: () => discarded++,
      write: () => true,
    }
  }
  const next = { ...NEXT, recording }
  const { hears, press, over, said, live } = await open(
    t,
    'HD_protect00011',
    { ...FIRST, recording },
    { next, host: { record } },
  )
  await hears(/This call is recorded/)
  press('2')
  await hears(/Nothing is kept/)
  await hears(/Welcome/)
  await pass(500)
  press('6')
  await until(() => said().filter((text) => text === 'Welcome.').length === 2, 20_000, 'the next agent')
  t.equal(said().filter((text) => text.includes('recorded')).length, 1)
  t.equal(live.view().transcript.length > 0, true, 'who listens live still sees the call')
  t.match(await over(), { consent: 'refused', recording: null, recordingState: 'off' })
  t.same([opened, discarded], [1, 1])
})

t.test('variables of a placed call reach the next agent', async (t) => {
  const notice = 'Hello {{call.variables.name}}, this is written down.'
  const next = { ...NEXT, recording: { enabled: false, consent: null, notice, refusal: null } }
  const first = { ...FIRST, outbound: { ...FIRST.outbound, amd: null } }
  const [from, to] = ['+254709000000', '+254700000001']
  const placed = {
    ...{ clientRequestId: 'r1', agent: 'first', from, to, ringMs: 0, orderedAtMs: 0, variables: { name: 'Amina' } },
    ...{ externalId: null, leaveMessage: true, promised: false, joins: null },
  }
  const call = { direction: 'outbound' as const, from, to, placed }
  const { hears, press, over } = await open(t, 'HD_protect00013', first, { next, call })
  await hears(/Welcome/)
  await pass(500)
  press('6')
  await hears(/this is written down/)
  const record = await over()
  t.match(
    record.transcript.find(({ text }) => text.includes('written')),
    { text: 'Hello Amina, this is written down.' },
  )
  t.equal(record.handovers.length, 1)
})

t.test('a number without business facts keeps its agent', async (t) => {
  const notice = 'Here is {{business.name}}.'
  const next = { ...NEXT, recording: { enabled: false, consent: null, notice, refusal: null } }
  const { hears, press, over, said } = await open(t, 'HD_protect00014', FIRST, { next })
  await hears(/Welcome/)
  await pass(500)
  press('6')
  await pass(3000)
  press('4')
  await hears(/not verified/)
  t.notMatch(said().join(), /business/)
  t.match((await over()).toolCalls.at(-1), { name: 'account' })
})

t.test('a hang-up during a handover ends the call', async (t) => {
  const { test } = await open(t, 'HD_protect00015', FIRST)
  for (const ends of ['caller', 'operator'])
    for (const ms of [60, 80, 100, 120, 140, 160]) {
      const callSid = `HD_${ends}_${ms}_00000`
      const live = test.host.prepare(inbound(callSid, { agent: 'first' }))
      const line = new TestLine(live)
      line.start()
      await until(() => live.view().transcript.length > 0, 20_000, 'the greeting')
      await pass(500)
      live.text([{ type: 'dtmf', digit: '6' }])
      await pass(ms)
      if (ends === 'caller') live.detach(1000)
      else live.hangup('operator-hangup', 'the test is over', false)
      await until(() => test.records.some((record) => record.callSid === callSid), 5000, `the end after ${ms} ms`)
      line.stop()
      const { endReason } = await test.recordOf(callSid)
      t.equal(endReason, ends === 'caller' ? 'caller-hung-up' : 'operator-hangup')
    }
})

t.test("an agent without the call's language uses its own", async (t) => {
  const first = { ...FIRST, languages: ['en', 'sw'] }
  const next = { ...NEXT, languages: ['en'], handoverTo: { first: 'they want the first desk' } }
  const { hears, press, over, said } = await open(t, 'HD_protect00016', first, { next })
  const welcomed = (times: number) =>
    until(() => said().filter((text) => text === 'Welcome.').length === times, 20_000, `agent ${times}`)
  await welcomed(1)
  await pass(500)
  press('0')
  await hears(/"language":"sw"/)
  for (const times of [2, 3]) {
    await pass(1000)
    press('6')
    await welcomed(times)
    await pass(500)
    press('*')
    await hears(times === 2 ? /Begun in en/ : /Begun in sw/)
  }
  t.match(await over(), { language: 'sw', handovers: [{ to: 'next' }, { to: 'first' }] })
})

t.test('a handover to a removed agent is refused', async (t) => {
  const { hears, press, over, remove } = await open(t, 'HD_protect00017', FIRST)
  await hears(/Welcome/)
  await pass(500)
  remove('next')
  press('6')
  await hears(/next cannot have this call/)
  press('4')
  await hears(/not verified/)
  t.same((await over()).handovers, [])
})

t.test('a handover to a failed backend tells the caller', async (t) => {
  const next = { ...NEXT, instructions: 'DOWN', escalation: null }
  const { hears, press, live, test } = await open(t, 'HD_protect00018', FIRST, { next })
  await hears(/Welcome/)
  await pass(500)
  press('6')
  await hears(/something went wrong on our side/)
  t.match(await test.recordOf(live.callSid), { endReason: 'backend-failed', handovers: [{ to: 'next' }] })
})

t.test('a handover ends the recording the caller agreed to', async (t) => {
  const first = {
    ...FIRST,
    recording: { enabled: true, consent: 'This call is recorded.', notice: null, refusal: null },
  }
  let ended = 0
  const record = () => ({
    ...{ path: 'recordings/x.wav', failed: false, announced: () => undefined, discard: () => undefined },
    end: () => ended++,
    write: () => true,
  })
  const { hears, press, over, said } = await open(t, 'HD_protect00008', first, { host: { record } })
  await hears(/This call is recorded/)
  await hears(/Welcome/)
  await pass(500)
  press('6')
  await until(() => said().filter((text) => text === 'Welcome.').length === 2, 20_000, 'the next agent')
  t.equal(ended, 1, 'while the call goes on')
  await over()
  t.equal(ended, 1)
})

t.test('a caller who is also a colleague is not dialled', async (t) => {
  const escalation = {
    ...(SUPPORT.escalation as NonNullable<typeof SUPPORT.escalation>),
    numbers: ['+254700000001', '+254720000011'],
    strategies: ['after-stream-dial' as const],
    hours: null,
  }
  const { live, hears, press, over, said } = await open(t, 'HD_protect00009', FIRST, {
    next: { ...NEXT, escalation },
  })
  await hears(/Welcome/)
  await pass(500)
  press('6')
  await until(() => said().filter((text) => text === 'Welcome.').length === 2, 20_000, 'the next agent')
  await pass(500)
  press('5')
  await until(() => live.escalating, 20_000, 'the escalation')
  await pass(4000)
  const document = JSON.stringify(live.continuation('after-stream'))
  t.match(document, /254720000011/)
  t.notMatch(document, /254700000001/)
  live.carrierState('completed')
  await over()
})
