import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { startShopApi } from '../../examples/shop-api/server.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { packageRoot } from '../../src/config/package-root.js'
import type { CallerScript } from '../../src/simulator/caller-script.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { asked, startLine } from '../support/broken-line.js'
import { hasProgram } from '../deploy/deploy-files.js'
import { OUR_NUMBER, startFleet } from '../support/fleet.js'
import type { Fleet } from '../support/fleet.js'
import { hasRedis } from '../support/redis.js'
import { until } from '../support/until.js'

/**
 * A caller of the shipped order line, on the embedded backend, is cut off and rung back. They speak, and their words are
 * really recognised.
 */

t.setTimeout(300_000)
t.jobs = 2

const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())
const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
t.teardown(() => shop.close())

const ORDER_LINE = parse(readFileSync(join(packageRoot(), 'agents/order-status.yaml'), 'utf8')) as Record<
  string,
  unknown
>
const AMINA = '+254700000001'

/**
 * @param answer  what the person who is rung says to the question
 * @param hears  what they wait to have heard before they hang up; null: they do not hang up
 */
async function calledBack(t: Test, answer: string, hears: RegExp | null): Promise<CallRecord> {
  const callee: CallerScript = {
    name: 'called-back',
    rules: [],
    order: null,
    reactionMs: 700,
    patienceMs: 15_000,
    steps: [
      { act: { type: 'say', text: 'Hello?' }, heard: [], interruptAfterMs: null },
      { act: { type: 'say', text: answer }, heard: [], interruptAfterMs: null },
      // The test hangs up.
      { act: { type: 'wait', ms: 90_000 }, heard: [], interruptAfterMs: null },
      { act: { type: 'hangup' }, heard: [], interruptAfterMs: null },
    ],
  }
  const agent = { ...ORDER_LINE, name: 'fleet', backend: 'embedded', recovery: 'callback' }
  const line = await startLine(t, speech, { SAUTIKIT_AFTER_STREAM: 'holds', SHOP_API_URL: shop.url }, { agent, callee })
  const call = line.call('holds', AMINA)
  await until(() => call.streams() === 1, 10_000, 'the stream')
  await until(() => false, 3000, '').catch(() => undefined)
  line.breaks()
  await until(() => asked(line, /calls$/).length > 0, 15_000, 'the caller to be rung')
  const again = (): CallRecord | undefined => line.records.find(({ direction }) => direction === 'outbound')
  const heard = (): boolean =>
    hears !== null &&
    [...line.gateway.calls.live()].some((live) =>
      live.view().transcript.some(({ role, text }) => role === 'agent' && hears.test(text)),
    )
  await until(() => heard() || again() !== undefined, 90_000, 'the end of the conversation')
  for (const { leg } of line.carrier.rest.workspace.calls()) leg.hangUp()
  await until(() => again() !== undefined, 15_000, 'the record of the call back')
  return again() as CallRecord
}

void t.test(
  'who says yes is asked for their order again, as somebody who is not verified',
  { buffered: true },
  async (t) => {
    const record = await calledBack(t, 'Yes please.', /Please ask again where your order is/)
    const said = record.transcript.map(({ role, text }) => `${role}: ${text}`)
    t.ok(
      said.some((text) => /^caller: yes/i.test(text)),
      said.join(' / '),
    )
    // Not next to each other for certain: a sound of the line may make the agent pause between its two sentences.
    t.match(said.join('\n'), /\ncaller: yes[^]*\nagent: [^\n]*Please ask again where your order is/, said.join(' / '))
    t.ok(record.timeline.some(({ name, detail }) => name === 'call-back-confirmed' && detail === 'words'))
  },
)

void t.test('who says no hears a goodbye, and nothing of the call', { buffered: true }, async (t) => {
  const record = await calledBack(t, 'No, thank you.', null)
  const said = record.transcript.map(({ role, text }) => `${role}: ${text}`)
  t.match(said.at(-1), /Goodbye/, said.join(' / '))
  t.equal(record.endReason, 'agent-goodbye')
  t.notOk(record.timeline.some(({ name }) => name === 'call-back-confirmed'))
})

// --- a campaign ----------------------------------------------------------------------------------------------------

void t.test(
  'whoever is called by a campaign and says that they want no more calls gets none',
  { buffered: true },
  async (t) => {
    const template = join(packageRoot(), 'templates/appointments')
    const agent = {
      ...(parse(readFileSync(join(template, 'agent.yaml'), 'utf8')) as Record<string, unknown>),
      name: 'fleet',
      backend: 'embedded',
      modules: ['tools/tools.mjs'],
    }
    const callee: CallerScript = {
      name: 'wants-no-calls',
      rules: [],
      order: null,
      reactionMs: 700,
      patienceMs: 20_000,
      steps: [
        { act: { type: 'say', text: 'Hello?' }, heard: [], interruptAfterMs: null },
        { act: { type: 'say', text: 'Do not call me again.' }, heard: [], interruptAfterMs: null },
      ],
    }
    const line = await startLine(
      t,
      speech,
      { SAUTIKIT_AFTER_STREAM: 'holds' },
      { agent, callee, module: join(template, 'tools.mjs') },
    )
    const api = async (path: string, body?: unknown): Promise<Record<string, unknown>> => {
      const answer = await fetch(`http://127.0.0.1:${line.gateway.opsPort}/api/campaigns${path}`, {
        ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
        headers: { 'content-type': 'application/json' },
      })
      return (await answer.json()) as Record<string, unknown>
    }
    const called = async (name: string): Promise<unknown> => {
      await api('', {
        name,
        agent: 'fleet',
        from: OUR_NUMBER,
        window: 'Mon-Sun 00:00-24:00',
        timeZone: 'Africa/Nairobi',
        csv: `phone,name,when\n${AMINA},Amina,on Thursday at ten\n`,
      })
      await api(`/${name}/start`, {})
      let view: Record<string, unknown> = {}
      await until(async () => (view = await api(`/${name}`))['stands'] === 'done', 90_000, `the end of ${name}`)
      return view['results']
    }
    t.same(await called('reminders'), { person: 1 })
    const said = line.records[0]?.transcript.map(({ role, text }) => `${role}: ${text}`) ?? []
    t.match(
      said.join('\n'),
      /agent: Hello Amina, [^]*Will you come\?\n[^]*caller: do not call me again\n[^]*You will get no more calls from us/i,
      said.join(' / '),
    )
    t.same(await called('again'), { 'do-not-call': 1 })
    t.equal(asked(line, /calls$/).length, 1, 'their telephone has rung once')
  },
)

// --- a human first, over two nodes ---------------------------------------------------------------------------------

const HUMAN = '+254709000001'
const ASKER = '+254700000104'

/** A human who says that they take it, and again where they are asked again. */
const TAKES_IT: CallerScript = {
  name: 'human',
  rules: [],
  order: null,
  reactionMs: 700,
  patienceMs: 60_000,
  steps: [
    { act: { type: 'say', text: 'Hello?' }, heard: [], interruptAfterMs: null },
    { act: { type: 'press', keys: '1' }, heard: [], interruptAfterMs: null },
    { act: { type: 'press', keys: '1' }, heard: [], interruptAfterMs: null },
    { act: { type: 'press', keys: '1' }, heard: [], interruptAfterMs: null },
  ],
}

interface Told {
  readonly type: string
  readonly subject: string
  readonly data: {
    readonly result?: string
    readonly tries?: readonly { readonly human: boolean; readonly result: string }[]
  }
}

/** Two nodes, one receiver, and a caller who is promised a call back and leaves. The promised call rings. */
async function promised(
  t: Test,
): Promise<{ readonly fleet: Fleet; readonly told: readonly Told[]; readonly owner: () => string }> {
  const told = new Map<string, Told>()
  const receiver = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      told.set(String(request.headers['webhook-id']), JSON.parse(body) as Told)
      response.writeHead(204).end()
    })
  })
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    receiver.closeAllConnections()
    receiver.close()
  })
  const messages = join(t.testdir(), 'messages.yaml')
  const { port } = receiver.address() as AddressInfo
  writeFileSync(messages, `receivers: [{ name: crm, url: 'http://127.0.0.1:${port}/', unsigned: true }]`)
  const fleet = await startFleet({
    env: { MESSAGES_FILE: messages, SAUTIKIT_AFTER_STREAM: 'continues' },
    callee: TAKES_IT,
    agent: {
      outbound: { from: OUR_NUMBER },
      escalation: { numbers: [HUMAN], strategies: ['supervision', 'callback'], announce: null },
      callbacks: {
        humanFirst: true,
        hours: { timeZone: 'Africa/Nairobi', week: Object.fromEntries(DAYS.map((day) => [day, ['00:00-24:00']])) },
      },
    },
  })
  t.teardown(() => fleet.close())
  const call = fleet.call({ from: ASKER })
  await until(() => [...told.values()].some(({ type }) => type === 'callback.requested'), 30_000, 'the promise')
  call.hangUp()
  await call.done
  const opened = () => fleet.placedEvents.flatMap((event) => (event.type === 'stream-opened' ? [event.path] : []))
  await until(() => opened().length > 0, 30_000, 'the human to be asked')
  return {
    fleet,
    get told() {
      return [...told.values()]
    },
    owner: () => opened().at(-1)?.split('/')[2] ?? '',
  }
}

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']

/** The human and the caller are each rung once, whatever happens, and receivers hear of one call back and no escalation. */
async function keptOnce(t: Test, it: Awaited<ReturnType<typeof promised>>): Promise<void> {
  const { fleet } = it
  const row = (): Told | undefined => it.told.find(({ type }) => type === 'campaign.row')
  await until(() => row() !== undefined, 120_000, 'the end of the call back')
  t.match(row()?.data, { result: 'person', tries: [{ human: true, result: 'person' }] })
  t.equal(row()?.data.tries?.length, 1)
  await until(() => fleet.placed.length > 0, 30_000, 'the end of the call to the human')
  t.same(
    fleet.placed.map(({ dials }) => dials.map(({ numbers, outcome }) => [...numbers, outcome])),
    [[[ASKER, 'answered']]],
    'one human is rung once, and put through to the caller once',
  )
  const types = it.told.map(({ type }) => type)
  t.equal(types.filter((type) => type === 'callback.requested').length, 1)
  t.same(
    types.filter((type) => type.startsWith('escalation.')),
    [],
    'nobody is told of an escalation',
  )
}

/** The caller has answered, and a node knows it. */
const talks = ({ placedEvents }: Fleet): boolean =>
  placedEvents.some((event) => event.type === 'webhook' && event.state === 'call.supervision.joined')

for (const [when, dies] of [
  ['', null],
  [', also where the node dies that asks the human', 'asks'],
  [', also where the node dies while both talk', 'talks'],
] as const)
  void t.test(`a human takes a promised call back and is put through${when}`, { buffered: true }, async (t) => {
    if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
    const it = await promised(t)
    const { fleet } = it
    const kill = (): Promise<void> | undefined => fleet.nodes.find(({ name }) => name === it.owner())?.kill()
    if (dies === 'asks') {
      const asked = async (): Promise<boolean> => {
        const owner = fleet.nodes.find(({ name }) => name === it.owner())
        const callSid = fleet.placedEvents[0]?.callSid ?? ''
        return /connect you/.test((await (await owner?.ops(`/api/calls/${callSid}/transcript`))?.text()) ?? '')
      }
      await until(asked, 20_000, 'the question')
      await kill()
    }
    await until(() => talks(fleet), 60_000, 'the human to be put through')
    // What is written down every second says that they talk.
    await sleep(2500)
    if (dies === 'talks') await kill()
    await sleep(1000)
    for (const { leg } of fleet.carrier.workspace.calls()) leg.hangUp()
    await keptOnce(t, it)
  })
